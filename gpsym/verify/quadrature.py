"""Gaussian expectations by Gauss-Legendre quadrature in Arb, whose balls carry all rounding errors.

The line, in standard deviations, is cut at the knots and into panels on which the density changes gently.  On each
panel a rule and one of half the nodes are compared, and the panel is halved where they differ by too much.  Twice the
nodes at least square the relative error on an entire function, so that the squared relative distance of both rules,
with a wide margin, bounds the error of the finer one; that bound widens the ball.

Of two inputs the inner expectation, given U, is elementary: truncated moments of a normal variable, by parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from itertools import pairwise
from typing import Any

from flint import arb, ctx, fmpq

from gpsym.verify.shapes import Shape, horner

__all__ = [
    "INFINITE",
    "Excluded",
    "Unknown",
    "Value",
    "expectation",
    "line_expectation",
    "pair_expectation",
    "product_expectation",
]

# The widest panel, in standard deviations, and the greatest change on it of the exponent that falls linearly.
_WIDTH, _FALL = 4.0, 16.0
# Panels end where the density has fallen by the precision and so many bits, for the powers that it meets.
_MARGIN = 32
_DEPTH = 60  # halvings of a panel
# No joint density of knots further out than so many deviations is looked for: it is below 1e-400.
_REACH = 45.0


class Unknown(Exception):
    """A quantity that has no value by the rules of `gpsym.verify`; the message says why."""


class Excluded(Exception):
    """A point that the quantity is not defined at."""


@dataclass(frozen=True)
class Value:
    """A ball that holds a number, and the sum of the sizes of the parts that the number was added up from."""

    ball: arb
    mass: arb

    def __add__(self, other: Any) -> Value:
        other = _value(other)
        return Value(self.ball + other.ball, self.mass + other.mass)

    def __sub__(self, other: Any) -> Value:
        return self + (-1) * _value(other)

    def __mul__(self, other: Any) -> Value:
        other = _value(other)
        return Value(self.ball * other.ball, self.mass * other.mass)

    def __truediv__(self, other: Any) -> Value:
        other = _value(other)
        return Value(self.ball / other.ball, self.mass / abs(other.ball))

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> Value:
        return _value(other) - self


def _value(number: Any) -> Value:
    return number if isinstance(number, Value) else Value(arb(number), abs(arb(number)))


INFINITE = Value(arb.pos_inf(), arb.pos_inf())


@dataclass
class _Sum:
    """Integrals over panels, added up."""

    value: arb = field(default_factory=lambda: arb(0))
    error: arb = field(default_factory=lambda: arb(0))
    mass: arb = field(default_factory=lambda: arb(0))

    def add(self, coarse: tuple[arb, arb], fine: tuple[arb, arb]) -> None:
        """Add a panel by its two rules, each a sum and that of the sizes of its terms."""
        self.value += fine[0]
        self.mass += fine[1]
        self.error += _error(coarse, fine)

    def result(self) -> Value:
        """The sum as a ball."""
        return Value(self.value + arb(0, self.error.abs_upper()), self.mass)


def _error(coarse: tuple[arb, arb], fine: tuple[arb, arb]) -> arb:
    difference, mass = (coarse[0] - fine[0]).mid(), fine[1].mid()
    return arb(0) if mass == 0 else 1000 * difference**2 / mass


# One input.


def expectation(shape: Shape, q: fmpq, integrand: Callable[[Sequence[arb], arb, arb], Any]) -> Value:
    """E[integrand(piece, U, Z)] for U = sqrt(q) Z, where `piece` holds the coefficients of the piece that U is in."""
    total = _Sum()
    for piece, (panels, beyond) in zip(shape.pieces, _mesh(shape.knots, q, ctx.prec), strict=True):
        function = partial(integrand, [arb(c) for c in piece])
        for panel in panels:
            total.add(*(_applied(rule, function) for rule in panel))
        total.error += _applied(beyond, function)[1]
    return total.result()


Rule = list[tuple[arb, arb, arb]]  # U, Z, and the weight with the density


@lru_cache(maxsize=8)  # all quantities of one point share the panels
def _mesh(knots: tuple[fmpq, ...], q: fmpq, precision: int) -> list[tuple[list[tuple[Rule, Rule]], Rule]]:
    """For each piece its panels, each with a coarse and a fine rule, and a rule that bounds what lies beyond them."""
    sigma = arb(q).sqrt()
    ends = [None, *(arb(t) / sigma for t in knots), None]
    cuts = [_cuts(lower, upper) for lower, upper in pairwise(ends)]
    return [
        ([_rules_on(a, b, sigma) for a, b in pairwise(map(arb, places))], _beyond(places, sigma)) for places in cuts
    ]


def _beyond(cuts: Sequence[Any], sigma: arb) -> Rule:
    """Bounds the integrals outward from ends at which the density is small: there it falls by e on 1 / end."""
    ends = [end for end in (*cuts[:1], *cuts[-1:]) if isinstance(end, float)]
    return [(sigma * arb(z), arb(z), 2 * _density(arb(z)) / max(1.0, abs(z))) for z in ends]


def _rules_on(a: arb, b: arb, sigma: arb) -> tuple[Rule, Rule]:
    middle, radius = (a + b) / 2, (b - a) / 2
    coarse, fine = (
        [(sigma * z, z, radius * weight * _density(z)) for z, weight in ((middle + radius * x, w) for x, w in rule)]
        for rule in _rules(ctx.prec)
    )
    return coarse, fine


def product_expectation(f: Shape, g: Shape, q: fmpq) -> Value:
    """E[f(U) g(U)], U = sqrt(q) Z; an atom meets the mean of the one-sided limits of the other factor.

    Infinite if atoms of order 0 meet whose product is positive.  Raises Unknown where other atoms meet.
    """
    if any(a.place == b.place for a in f.atoms for b in g.atoms):
        return INFINITE if f == g else _meeting([(a.weight * b.weight, a.order + b.order) for a in f.atoms
                                                 for b in g.atoms if a.place == b.place])  # fmt: skip
    sigma = arb(q).sqrt()
    total = line_integral(f, g, sigma, sigma, 1)
    for atom, other in [*((a, g) for a in f.atoms), *((b, f) for b in g.atoms)]:
        total = total + _against_density(atom, other, sigma)
    return total


def _meeting(products: Sequence[tuple[fmpq, int]]) -> Value:
    if all(weight > 0 and order == 0 for weight, order in products):
        return INFINITE
    raise Unknown("atoms meet whose product has no sign")


def _against_density(atom: Any, g: Shape, sigma: arb) -> Value:
    """The integral of an atom times g times the density of U: (-1)^n (g density)^(n), by Leibniz's rule."""
    z, n = arb(atom.place) / sigma, atom.order
    terms = [
        math.comb(n, i)
        * arb(sum((horner(side, atom.place, i) for side in g.sides(atom.place)), fmpq(0)) / 2)
        * (-1) ** (n - i)
        * hermite(n - i, z)
        / sigma ** (n - i)
        for i in range(n + 1)
    ]
    factor = (-1) ** n * arb(atom.weight) * _density(z) / sigma
    return Value(factor * sum(terms, arb(0)), abs(factor) * sum(map(abs, terms), arb(0)))


def hermite(n: int, x: Any) -> Any:
    """He_n(x)."""
    before, here = 0 * x, 0 * x + 1
    for k in range(n):
        before, here = here, x * here - k * before
    return here


def _density(z: arb) -> arb:
    return (-z * z / 2).exp() / (2 * arb.pi()).sqrt()


# Two inputs.


def line_integral(f: Shape, g: Shape, sigma: arb, other: arb, sign: int) -> Value:
    """E[f(sigma Z) g(sign other Z)] without the atoms."""
    knots = sorted([*(arb(t) / sigma for t in f.knots), *(sign * arb(t) / other for t in g.knots)], key=float)
    total = _Sum()
    for lower, upper in pairwise([None, *knots, None]):
        middle = _between(lower, upper)
        left, right = _piece(f, sigma * middle), _piece(g, sign * other * middle)
        if left and right:
            _add(
                total,
                lambda z, p=left, r=right: horner(p, sigma * z) * horner(r, sign * other * z),
                _cuts(lower, upper),
            )
    return total.result()


def _between(lower: arb | None, upper: arb | None) -> arb:
    if lower is None or upper is None:
        return arb(0) if lower is upper else upper - 1 if lower is None else lower + 1  # type: ignore[operator]
    return (lower + upper) / 2


def _piece(shape: Shape, x: arb) -> list[arb]:
    return [arb(c) for c in shape.pieces[sum(bool(arb(t) < x) for t in shape.knots)]]


def line_expectation(f: Shape, g: Shape, q1: fmpq, q2: fmpq, sign: int) -> Value:
    """E[f(sqrt(q1) Z) g(sign sqrt(q2) Z)], atoms of order 0 included; infinite if two meet.

    Raises Unknown for atoms of higher orders.
    """
    if any(atom.order for h in (f, g) for atom in h.atoms):
        raise Unknown("no rule for derivatives of delta at correlation -1 or 1")
    meeting = [
        (a.weight * b.weight, 0)
        for a in f.atoms
        for b in g.atoms
        if a.place**2 * q2 == b.place**2 * q1 and a.place * b.place * sign >= 0
    ]
    if meeting:
        return _meeting(meeting)
    first, second = arb(q1).sqrt(), arb(q2).sqrt()
    total = line_integral(f, g, first, second, sign)
    for atoms, here, h, there in ((f.atoms, first, g, second), (g.atoms, second, f, first)):
        for atom in atoms:
            x = sign * arb(atom.place) / here * there
            exact = atom.place * sign if q1 == q2 else None
            sides = h.sides(exact) if exact is not None else (_piece(h, x),) * 2
            mean = sum((horner([arb(c) for c in side], x) for side in sides), arb(0)) / 2
            value = arb(atom.weight) * mean * _density(arb(atom.place) / here) / here
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
    total = _Sum()

    def integrand(piece: Sequence[arb], z: arb) -> arb:
        inner = given(z, order)
        return horner(piece, first * z) * sum(
            (c * hermite(order - k, z) * inner[k] for k, c in enumerate(factors)), arb(0)
        )

    for (lower, upper), piece in zip(pairwise([None, *knots, None]), f.pieces, strict=True):
        if piece:
            numbers = [arb(c) for c in piece]
            _add(total, partial(integrand, numbers), _cuts(lower, upper, min(reach, _REACH), steps))
    divisor = (first * second) ** order
    return total.result() / divisor


def _steps(g: Shape, sigma: arb, rho: float, s: float) -> Iterator[float]:
    """Where E[g(V) | Z = z] changes fast: around knot / (sigma rho), on the scale s / rho, in steps that double."""
    if abs(rho) <= s:
        return
    for t in g.knots:
        place = float(arb(t) / sigma) / rho
        yield place
        step = _WIDTH * s / abs(rho)
        while step < 2 * _WIDTH:
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
    return c, _density(c), (side * c / arb(2).sqrt()).erfc() / 2, side


def _truncated_moments(left: Edge, right: Edge, order: int) -> list[arb]:
    """E[C^n; a < C < b] for n = 0, ..., order: (n - 1) E[C^(n-2)] + a^(n-1) p(a) - b^(n-1) p(b)."""
    moments = [_probability(left, right)]
    for n in range(1, order + 1):
        edge = sum((sign * e[0] ** (n - 1) * e[1] for sign, e in ((1, left), (-1, right)) if e), arb(0))
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
        slope**k * sum((math.comb(n, k) * piece[n] * shift ** (n - k) for n in range(k, len(piece))), arb(0))
        for k in range(len(piece))
    ]


@cache
def _hermite_coefficients(m: int) -> tuple[tuple[int, int], ...]:
    """(power, coefficient) of He_m."""
    return tuple(
        (m - 2 * k, (-1) ** k * math.factorial(m) // (math.factorial(k) * math.factorial(m - 2 * k) * 2**k))
        for k in range(m // 2 + 1)
    )


# Panels.


def _add(total: _Sum, function: Callable[[arb], arb], cuts: Sequence[Any]) -> None:
    """Add the integral of function times density, from the panels of the greatest density on."""
    panels = sorted(pairwise(cuts), key=lambda panel: min(abs(float(z)) for z in panel))
    for a, b in panels:
        _add_panel(total, function, arb(a), arb(b), _DEPTH)
    total.error += _applied(_beyond(cuts, arb(1)), lambda _, z: function(z))[1]


def _add_panel(total: _Sum, function: Callable[[arb], arb], a: arb, b: arb, depth: int) -> None:
    coarse, fine = (_applied(rule, lambda _, z: function(z)) for rule in _rules_on(a, b, arb(1)))
    difference = coarse[0] - fine[0]
    noise = abs(difference.mid()) <= difference.rad()
    if depth and not noise and _error(coarse, fine) > arb(2) ** (_GUARD - ctx.prec) * fine[1].max(total.mass):
        middle = (a + b) / 2
        _add_panel(total, function, a, middle, depth - 1)
        _add_panel(total, function, middle, b, depth - 1)
    else:
        total.add(coarse, fine)


def _applied(rule: Rule, function: Callable[[arb, arb], arb]) -> tuple[arb, arb]:
    """The sum of a rule for a function of U and Z, and that of the sizes of its terms."""
    value, mass = arb(0), arb(0)
    for u, z, weight in rule:
        term = function(u, z)
        if term == 0:
            continue
        term = term * weight
        value += term
        mass += abs(term)
    return value, mass


_GUARD = 24  # bits of the precision that are left to rounding


@cache
def _rules(precision: int) -> tuple[Any, Any]:
    """Gauss-Legendre nodes and weights on (-1, 1): a coarse rule, and one of twice as many nodes.

    On a panel of radius 2 the error of n nodes for exp(-z^2 / 2) is about 2^-n / n!; the square of the coarse rule's
    is what bounds the finer one's.
    """
    n = next(2 * k for k in range(2, 10**4) if 2 * (k + math.lgamma(k + 1) / math.log(2)) > precision)
    with ctx.workprec(precision + 20):
        coarse, fine = ([arb.legendre_p_root(k, i, weight=True) for i in range(k)] for k in (n // 2, n))
    return coarse, fine


def _cuts(lower: arb | None, upper: arb | None, reach: float = 0.0, steps: Sequence[float] = ()) -> list[arb | float]:
    """The ends of panels from lower to upper; an end that is a float stands where the density is too small.

    reach  deviations from 0 up to which the other factor may grow faster than the density falls.
    steps  further places at which to cut.
    """
    low, high = (-math.inf if lower is None else float(lower)), (math.inf if upper is None else float(upper))
    start = min(max(0.0, low), high)
    if abs(start) > _FARTHEST:
        return []
    if low == high:
        return [lower, upper] if lower is not None and upper is not None and lower < upper else []
    places = {start, *_outward(start, high, reach), *(-z for z in _outward(-start, -low, reach))}
    places |= {z for z in steps if min(places) < z < max(places)}
    exact: dict[float, Any] = {low: lower, high: upper}
    return [exact.get(z, z) for z in sorted(places)]


# Deviations beyond which the density, below 1e-(10^11), counts as 0.
_FARTHEST = 1e6


def _outward(start: float, end: float, reach: float) -> list[float]:
    """Places from start on to the right, until the end or until the density has fallen far enough."""
    places = []
    z, first = start, max(abs(start), reach)
    while z < end and (z < first or (z * z - first * first) / 2 < (ctx.prec + _MARGIN) * math.log(2)):
        z = min(end, z + min(_WIDTH, _FALL / max(1.0, abs(z))))
        places.append(z)
    return places
