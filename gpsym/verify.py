"""Checking a derived formula against its definition, by a route that shares nothing with the derivation.

The definition is a sum of integrals of a polynomial against the Gaussian density (or its derivatives in q),
one for each linear piece of the activation.  mpmath computes them by Gauss-Legendre quadrature, split at the
knots and further where the density changes fast, at random points of the whole domain.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import mpmath
import sympy as sp

from gpsym.activation import Activation
from gpsym.formula import Formula, Q, X
from gpsym.maps import QUANTITIES
from gpsym.numeric import Mpf, at_precision, context, precise, to_mpf

__all__ = ["Check", "Refuted", "Undecided", "Verdict", "Verified", "verify_activation", "verify_formula"]

Point = dict[Any, Any]  # exact numbers by symbol

# A value that has lost more than this many digits to cancellation between the panels of its definition (V''
# next to its zero) is compared to digits + _CANCELLATION digits of those panels instead.
_CANCELLATION = 30

# Of the widest quadrature panel, in standard deviations: 24 nodes on it then give 50 digits.
_WIDTH = 0.5


@dataclass(frozen=True)
class Verified:
    """Formula and definition agree to `digits` significant digits at all `points` points."""

    digits: int
    points: int
    worst: float  # largest relative difference


@dataclass(frozen=True)
class Refuted:
    """Formula and definition differ at the witness by far more than the quadrature's error."""

    witness: dict[str, str]
    formula: str
    definition: str


@dataclass(frozen=True)
class Undecided:
    """The quadrature was not accurate enough to decide at `where`."""

    why: str
    where: dict[str, str]


Verdict = Verified | Refuted | Undecided


@dataclass(frozen=True)
class Check:
    """A verdict on one formula of one activation."""

    activation: str
    quantity: str
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """The check as plain JSON types."""
        kind = type(self.verdict).__name__
        return {"activation": self.activation, "quantity": self.quantity, "verdict": kind, **vars(self.verdict)}


def verify_activation(activation: Activation, *, digits: int = 50, points: int = 100, seed: int = 0) -> list[Check]:
    """A verdict on each of `maps.QUANTITIES`, at the same points; arguments and errors as in `verify_formula`."""
    verdicts = _verify([quantity(activation) for quantity in QUANTITIES.values()], digits, points, seed)
    return [Check(activation.name, name, verdict) for name, verdict in zip(QUANTITIES, verdicts, strict=True)]


def verify_formula(formula: Formula, *, digits: int = 50, points: int = 100, seed: int = 0) -> Verdict:
    """Whether the closed form agrees with its definition at random points of its domain.

    digits  significant digits to agree on, >= 1.
    points  number of random points, >= 1.  q, sigma_w2 and sigma_b2 are log-uniform on [1e-3, 1e3], lengths
            such as tau and m are sqrt(q) times log-uniform numbers on [1e-3, 10] and [1e-3, 1e3]; whatever
            may be zero or negative sometimes is.
    seed    of the random points.

    Agreement at points is strong evidence, not a proof: that is the business of proofs/.

    Raises ValueError for digits or points below 1.
    """
    return _verify([formula], digits, points, seed)[0]


def _verify(formulas: list[Formula], digits: int, points: int, seed: int) -> list[Verdict]:
    """A verdict on each formula; the one with the most variables sets the points, so that they share panels."""
    for name, number in (("digits", digits), ("points", points)):
        if number < 1:
            raise ValueError(f"verify: need {name} >= 1, got {number}; pass a positive integer.")
    rng = random.Random(seed)
    richest = max(formulas, key=lambda formula: len(formula.variables))
    verdicts: list[Verdict] = [Verified(digits, points, 0.0) for _ in formulas]
    for _ in range(points):
        whole_point = _random_point(richest, rng)
        for k, formula in enumerate(formulas):
            so_far = verdicts[k]
            if isinstance(so_far, Verified):
                here = _verify_at(formula, {v: whole_point[v] for v in formula.variables}, digits)
                better = isinstance(here, Verified) and here.worst <= so_far.worst
                verdicts[k] = so_far if better else replace(here, points=points) if isinstance(here, Verified) else here
    return verdicts


def _random_point(formula: Formula, rng: random.Random) -> Point:
    """A point of the domain, log-uniform, by rejection of what breaks the conditions."""
    while True:
        point: Point = {}
        for symbol in formula.variables:
            is_length = symbol not in formula.variances
            exponent = rng.uniform(-3, 1 if is_length and not symbol.is_positive else 3)
            size = 10**exponent * (math.sqrt(point[Q]) if is_length else 1)
            if symbol.is_positive is None and rng.random() < 0.1:
                size = 0.0
            sign = rng.choice((1, -1)) if symbol.is_nonnegative is None else 1
            point[symbol] = sp.Rational(sign * size)
        if not any(condition.subs(point).is_negative for condition in formula.conditions):
            return point


def _verify_at(formula: Formula, point: Point, digits: int) -> Verdict:
    """The verdict at one point; the working precision grows until the quadrature can tell."""
    tolerance = mpmath.mpf(10) ** -digits
    closed = precise(formula.expression, point, digits + _CANCELLATION)
    for guard in (10, 20 + _CANCELLATION):
        defined, error, mass = _definition(formula, point, math.ceil((digits + guard) * math.log2(10)))
        least = 1 if closed == 0 else mpmath.mpf(10) ** -_CANCELLATION
        scale = max(abs(defined), least * mass)
        difference = abs(closed - defined)
        if difference > tolerance * scale + 2 * error:
            return Refuted(_shown(point), _digits(closed), _digits(defined))
        if difference + error <= tolerance * scale:
            return Verified(digits, 1, float(difference / scale) if scale else 0.0)
    return Undecided(f"the quadrature error is {mpmath.nstr(error, 3)}", _shown(point))


def _digits(number: Mpf) -> str:
    return str(mpmath.nstr(number, 20))


def _shown(point: Point) -> dict[str, str]:
    return {str(symbol): repr(float(value)) for symbol, value in point.items()}


def _definition(formula: Formula, point: Point, precision: int) -> tuple[Mpf, Mpf, Mpf]:
    """The definition at the point with every integral done by quadrature: (value, error, sum of |panels|)."""
    ctx = context(precision)
    numbers = [to_mpf(value, precision) for value in point.values()]
    variables = tuple(point)
    integrals = {integral: sp.Dummy() for integral in formula.definition.atoms(sp.Integral)}
    values, error, mass = [], ctx.zero, ctx.zero
    for integral in integrals:
        _, *ends = integral.limits[0]  # type: ignore[attr-defined]
        lower, upper = (ctx.mpf(at_precision(variables, end, precision)(*numbers)) for end in ends)
        (gaussian,) = integral.function.atoms(sp.exp)
        polynomial = sp.Poly(integral.function.xreplace({gaussian: sp.S.One}), X)
        coefficients = [(k, at_precision(variables, c, precision)(*numbers)) for (k,), c in polynomial.terms()]
        panels = _panels(lower, upper, ctx.sqrt(numbers[variables.index(Q)]), ctx)
        sums = [
            (side**k * c, *_power_sum(k, a, b, point[Q], bits, precision))
            for a, b, side, bits in panels
            for k, c in coefficients
        ]
        values.append(ctx.fsum(c * value for c, value, _ in sums))
        error += ctx.fsum(abs(c) * estimate for c, _, estimate in sums)
        mass += ctx.fsum(abs(c) * value for c, value, _ in sums)
    outer = at_precision((*variables, *integrals.values()), formula.definition.xreplace(integrals), precision)
    slope = abs(outer(*numbers, *(ctx.one for _ in values)) - outer(*numbers, *(ctx.zero for _ in values)))
    value = ctx.mpf(outer(*numbers, *values))
    rounding = (abs(value) + slope * mass) * ctx.mpf(2) ** (10 - precision)
    return value, slope * error + rounding, slope * mass


def _panels(lower: Mpf, upper: Mpf, sigma: Mpf, ctx: mpmath.MPContext) -> Iterator[tuple[Mpf, Mpf, int, int]]:
    """(lower, upper) cut at zero and into panels on which the density of N(0, sigma^2) changes gently.

    Each is (a, b, side, bits) with 0 <= a < b.  It stands for (a, b) if side = 1 and for (-b, -a) if side = -1,
    and needs so many bits: those of the precision less half the fall of the density since the first panel (the
    other half pays for the density's steeper fall within the panel).
    """
    if lower < 0:
        mirrored = _panels(max(-upper, ctx.zero), -lower, sigma, ctx)
        yield from ((a, b, -1, bits) for a, b, _, bits in mirrored)
    first = start = max(lower, ctx.zero) / sigma
    # At z the density falls on the scale 1 / max(1, z): panels grow from there.
    step = min(ctx.mpf(_WIDTH), 1 / max(ctx.one, start))
    while start < upper / sigma and (fall := (start**2 - first**2) / (2 * ctx.ln2)) < ctx.prec + 20:
        end = min(start + step, upper / sigma)
        yield sigma * start, sigma * end, 1, math.ceil(ctx.prec - 20 - fall / 2)
        start, step = end, min(2 * step, ctx.mpf(_WIDTH))


def _power_sum(k: int, a: Mpf, b: Mpf, q: sp.Rational, bits: int, precision: int) -> tuple[Mpf, Mpf]:
    """Integral of x^k exp(-x^2 / (2 q)) over (a, b), and an estimate of its error.

    Twice the nodes at least square the relative error of Gauss-Legendre quadrature on an entire function, so the
    squared relative distance of the two rules, with a wide margin, estimates the error of the finer one.
    """
    fine, coarse = _weighted_powers(k, a, b, q, bits, precision)[2]
    return fine, 1000 * (fine - coarse) ** 2 / fine


@lru_cache(maxsize=4096)  # the panels of one point, which all quantities share
def _weighted_powers(
    k: int, a: Mpf, b: Mpf, q: sp.Rational, bits: int, precision: int
) -> tuple[tuple[list, ...], tuple[list, ...], tuple[Mpf, ...]]:
    """(nodes, weights x^k exp(-x^2 / (2 q)), their sums), each for the finer and for the coarser rule."""
    ctx = context(precision)
    if k == 0:
        middle, radius, twice_q = (a + b) / 2, (b - a) / 2, 2 * to_mpf(q, precision)
        rules = _legendre_rules(bits, precision)
        nodes = tuple([middle + radius * z for z, _ in rule] for rule in rules)
        terms = tuple(
            [radius * w * ctx.exp(-(x * x) / twice_q) for x, (_, w) in zip(xs, rule, strict=True)]
            for xs, rule in zip(nodes, rules, strict=True)
        )
    else:
        nodes, lower_terms, _ = _weighted_powers(k - 1, a, b, q, bits, precision)
        terms = tuple([w * x for w, x in zip(ws, xs, strict=True)] for ws, xs in zip(lower_terms, nodes, strict=True))
    return nodes, terms, tuple(map(ctx.fsum, terms))


@cache
def _legendre_rules(bits: int, precision: int) -> tuple[list, list]:
    """Gauss-Legendre nodes and weights on (-1, 1) whose estimated error is below 2^-bits, and half of them.

    On a panel of width 2 r the error of n nodes for exp(-z^2 / 2) is about (r / 4)^(2 n) 2^n / n!; the estimate
    squares that of half the nodes and multiplies by 1000 < 2^10.
    """

    def bits_of(n: int) -> float:
        return 2 * n * math.log2(8 / _WIDTH) - n + math.lgamma(n + 1) / math.log(2)

    degree = next(d for d in range(2, 20) if 2 * bits_of(3 * 2 ** (d - 2)) - 10 > bits)
    return _legendre(degree, precision), _legendre(degree - 1, precision)


@cache
def _legendre(degree: int, precision: int) -> list[tuple[Mpf, Mpf]]:
    """Gauss-Legendre nodes and weights on (-1, 1), 3 * 2^(degree - 1) of them."""
    return context(precision)._gauss_legendre.calc_nodes(degree, precision)
