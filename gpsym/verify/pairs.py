"""Gaussian expectations of two correlated normal variables.

Given the first variable, the inner expectation is elementary: truncated moments of a normal variable, by parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache, partial
from itertools import pairwise

from flint import arb, fmpq

from gpsym.verify.panels import WIDTH, Total, add_panels, density, panel_ends
from gpsym.verify.quadrature import hermite, line_integral, meeting, piece_at
from gpsym.verify.shapes import Shape, horner
from gpsym.verify.values import Unknown, Value, power

__all__ = ["joint_expectation", "line_expectation", "pair_expectation"]

# No joint density of knots further out than so many deviations is looked for: it is below 1e-400.
_REACH = 45.0
# Digits after the point: integrals are not told from 0 below.
_NOTHING = 200


def joint_expectation(f: Shape, g: Shape, q1: fmpq, q2: fmpq, rho: fmpq, order: int = 0) -> Value:
    """E[f^(order)(U) g^(order)(V)], variances q1 and q2, correlation rho from -1 to 1."""
    if abs(rho) == 1:
        return line_expectation(f.derivative(order), g.derivative(order), q1, q2, int(rho.p))
    return pair_expectation(f, g, (arb(q1).sqrt(), arb(q2).sqrt()), arb(rho), order)


def line_expectation(f: Shape, g: Shape, q1: fmpq, q2: fmpq, sign: int) -> Value:
    """E[f(sqrt(q1) Z) g(sign sqrt(q2) Z)], atoms of order 0 included; infinite if two meet.

    Raises Unknown for atoms of higher orders.
    """
    if any(atom.order for h in (f, g) for atom in h.atoms):
        raise Unknown("no rule for derivatives of delta at correlation -1 or 1")
    together = [
        (a.weight * b.weight, 0)
        for a in f.atoms
        for b in g.atoms
        if a.place**2 * q2 == b.place**2 * q1 and a.place * b.place * sign >= 0
    ]
    if together:
        return meeting(together)
    first, second = arb(q1).sqrt(), arb(q2).sqrt()
    total = line_integral(f, g, first, second, sign)
    for atoms, here, h, there in ((f.atoms, first, g, second), (g.atoms, second, f, first)):
        for atom in atoms:
            x = sign * arb(atom.place) / here * there
            exact = atom.place * sign if q1 == q2 else None
            sides = h.sides(exact) if exact is not None else (piece_at(h, x),) * 2
            mean = sum((horner([arb(c) for c in side], x) for side in sides), arb(0)) / 2
            value = arb(atom.weight) * mean * density(arb(atom.place) / here) / here
            total = total + Value(value, abs(value))
    return total


def pair_expectation(f: Shape, g: Shape, sigmas: tuple[arb, arb], rho: arb, order: int) -> Value:
    """E[f^(order)(U) g^(order)(V)] for abs(rho) < 1, with all derivatives on the density of (U, V).

    With V = sigma_2 (rho Z + s C), s^2 = 1 - rho^2, and C standard normal and independent of Z, Leibniz's rule gives

        sum_k (-1)^k binom(n, k) rho^k / s^(n + k) E[He_(n-k)(Z) f(U) E[g(V) He_(n+k)(C) | Z]] / (sigma_1 sigma_2)^n.
    """
    first, second = sigmas
    s = (1 - rho * rho).sqrt()
    factors = [(-1) ** k * math.comb(order, k) * rho**k / s ** (order + k) for k in range(order + 1)]
    given = _Given(g, second, rho, s, 2 * order)
    knots = [arb(t) / first for t in f.knots]
    steps = sorted(_steps(g, second, float(rho), float(s)))
    reach = abs(float(rho)) * max((abs(float(arb(t) / second)) for t in g.knots), default=0.0)
    total = Total()

    def integrand(piece: Sequence[arb], z: arb) -> arb:
        inner = given(z, order)
        return horner(piece, first * z) * sum(
            (c * hermite(order - k, z) * inner[k] for k, c in enumerate(factors)), arb(0)
        )

    for (lower, upper), piece in zip(pairwise([None, *knots, None]), f.pieces, strict=True):
        if piece:
            numbers = [arb(c) for c in piece]
            ends = panel_ends(lower, upper, min(reach, _REACH), steps)
            add_panels(total, partial(integrand, numbers), ends, arb(10) ** -_NOTHING)
    divisor = (first * second) ** order
    return total.result() / divisor


def _steps(g: Shape, sigma: arb, rho: float, s: float) -> Iterator[float]:
    """Where E[g(V) | Z = z] changes fast: around knot / (sigma rho), on the scale s / rho, in steps that double."""
    if abs(rho) <= s:
        return
    for t in g.knots:
        place = float(arb(t) / sigma) / rho
        yield place
        step = WIDTH * s / abs(rho)
        while step < 2 * WIDTH:
            yield from (place - step, place + step)
            step *= 2


class _Given:
    """z -> E[g(V) He_m(C) | Z = z] for m = n, ..., 2 n."""

    def __init__(self, g: Shape, sigma: arb, rho: arb, s: arb, most: int):
        self._knots = [arb(t) / sigma for t in g.knots]
        self._pieces = [[arb(c) * sigma**k for k, c in enumerate(piece)] for piece in g.pieces]
        self._rho, self._s, self._most = rho, s, most

    def __call__(self, z: arb, order: int) -> list[arb]:
        mean = self._rho * z
        ends = [None, *((t - mean) / self._s for t in self._knots), None]
        edges = [_edge(end) for end in ends]
        sums = [arb(0) for _ in range(order, self._most + 1)]
        for piece, left, right in zip(self._pieces, edges, edges[1:], strict=False):
            if not piece:
                continue
            moments = _truncated_moments(left, right, len(piece) - 1 + self._most)
            shifted = _composed(piece, mean, self._s)
            for m in range(order, self._most + 1):
                weights = _hermite_coefficients(m)
                sums[m - order] += sum(
                    (c * w * moments[j + k] for j, c in enumerate(shifted) for k, w in weights), arb(0)
                )
        return sums


Edge = tuple[arb, arb, arb, int] | None  # place, density, tail on the side away from 0, that side


def _edge(c: arb | None) -> Edge:
    if c is None:
        return None
    side = 1 if float(c) >= 0 else -1
    return c, density(c), (side * c / arb(2).sqrt()).erfc() / 2, side


def _truncated_moments(left: Edge, right: Edge, order: int) -> list[arb]:
    """E[C^n; a < C < b] for n = 0, ..., order: (n - 1) E[C^(n-2)] + a^(n-1) p(a) - b^(n-1) p(b)."""
    moments = [_probability(left, right)]
    for n in range(1, order + 1):
        edge = sum((sign * power(e[0], n - 1) * e[1] for sign, e in ((1, left), (-1, right)) if e), arb(0))
        moments.append((n - 1) * moments[n - 2] + edge if n > 1 else edge)
    return moments


def _probability(left: Edge, right: Edge) -> arb:
    """P(a < C < b) by tails on one side where both ends are there, so that small ones keep their digits."""
    low_tail, low_side = (left[2], left[3]) if left else (arb(0), -1)
    high_tail, high_side = (right[2], right[3]) if right else (arb(0), 1)
    if low_side != high_side:
        return 1 - low_tail - high_tail
    return low_tail - high_tail if low_side > 0 else high_tail - low_tail


def _composed(piece: Sequence[arb], shift: arb, slope: arb) -> list[arb]:
    """The coefficients of p(shift + slope c) in c."""
    return [
        slope**k * sum((math.comb(n, k) * piece[n] * power(shift, n - k) for n in range(k, len(piece))), arb(0))
        for k in range(len(piece))
    ]


@cache
def _hermite_coefficients(m: int) -> tuple[tuple[int, int], ...]:
    """(power, coefficient) of He_m."""
    return tuple(
        (m - 2 * k, (-1) ** k * math.factorial(m) // (math.factorial(k) * math.factorial(m - 2 * k) * 2**k))
        for k in range(m // 2 + 1)
    )
