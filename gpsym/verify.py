"""Checking a derived formula against its definition, by a route that shares nothing with the derivation.

The definition is made of integrals of a polynomial against a Gaussian density (or its derivatives in q), one for
each piece of the activation.  mpmath computes them by Gauss-Legendre quadrature, split at the knots and further where
the density changes fast, at random points of the whole domain.  Of the double integrals of two inputs the inner one is
elementary, by the recursion of truncated moments; derivatives in rho are central differences of such integrals.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import mpmath
import sympy as sp

from gpsym.activation import Activation
from gpsym.formula import Q1, Q2, RHO, SIGMA_B2, SIGMA_W2, Formula, Q, X, Y
from gpsym.maps import QUANTITIES, derive
from gpsym.numeric import Mpf, at_precision, context, precise, to_mpf
from gpsym.verdicts import Refuted, Undecided, Verified

__all__ = ["Check", "Refuted", "Undecided", "Verdict", "Verified", "verify_activation", "verify_formula"]

Point = dict[Any, Any]  # exact numbers by symbol

# A value that has lost more than this many digits to cancellation between the panels of its definition (V''
# next to its zero) is compared to digits + _CANCELLATION digits of those panels instead.
_CANCELLATION = 30

# Of the widest quadrature panel, in standard deviations: 24 nodes on it then give 50 digits.
_WIDTH = 0.5


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


def verify_activation(
    activation: Activation,
    quantities: Sequence[str] = (),
    *,
    digits: int = 50,
    points: int = 100,
    seed: int = 0,
) -> list[Check]:
    """A verdict on each quantity that `maps.derive` knows by these names, at the same points.

    quantities  those of `maps.QUANTITIES` if none is given; other arguments and errors are those of `verify_formula`.
    """
    formulas = [derive(activation, name) for name in quantities or QUANTITIES]
    verdicts = _verify(formulas, digits, points, seed)
    return [Check(activation.name, f.name, verdict) for f, verdict in zip(formulas, verdicts, strict=True)]


def verify_formula(formula: Formula, *, digits: int = 50, points: int = 100, seed: int = 0) -> Verdict:
    """Whether the closed form agrees with its definition at random points of its domain.

    digits  significant digits to agree on, >= 1.
    points  number of random points, >= 1.  Variances are log-uniform on [1e-3, 1e3] (q1 on [0.1, 1e3], q2 / q1 on
            [0.1, 10]), lengths such as tau and m are sqrt(q) times log-uniform numbers on [1e-3, 10] and
            [1e-3, 1e3], rho is uniform on [-0.97, 0.97]; whatever may be zero or negative sometimes is.
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
    symbols = tuple(dict.fromkeys(v for formula in formulas for v in formula.variables))
    conditions = tuple(dict.fromkeys(c for formula in formulas for c in formula.conditions))
    verdicts: list[Verdict] = [Verified(digits, points, 0.0) for _ in formulas]
    for _ in range(points):
        whole_point = _random_point(symbols, conditions, rng)
        for k, formula in enumerate(formulas):
            so_far = verdicts[k]
            if isinstance(so_far, Verified):
                here = _verify_at(formula, {v: whole_point[v] for v in formula.variables}, digits)
                better = isinstance(here, Verified) and here.worst <= so_far.worst
                verdicts[k] = so_far if better else replace(here, points=points) if isinstance(here, Verified) else here
    return verdicts


def _random_point(symbols: Sequence[sp.Symbol], conditions: Sequence[sp.Expr], rng: random.Random) -> Point:
    """A point of the domain, log-uniform, by rejection of what breaks the conditions."""
    while True:
        q = 10 ** rng.uniform(-3, 3)
        if Q1 in symbols:
            q = 10 ** rng.uniform(-1, 3)
        known = {Q: q, Q1: q, Q2: q * 10 ** rng.uniform(-1, 1), RHO: rng.uniform(-0.97, 0.97)}
        point: Point = {s: sp.Rational(known[s] if s in known else _random_number(s, q, rng)) for s in symbols}
        if not any(condition.subs(point).is_negative for condition in conditions):
            return point


def _random_number(symbol: sp.Symbol, q: float, rng: random.Random) -> float:
    is_length = symbol not in (SIGMA_W2, SIGMA_B2)
    if symbol.is_positive is None and rng.random() < 0.1:
        return 0.0
    size = 10 ** rng.uniform(-3, 1 if is_length and not symbol.is_positive else 3) * (math.sqrt(q) if is_length else 1)
    return size if symbol.is_nonnegative else rng.choice((1, -1)) * size


def _verify_at(formula: Formula, point: Point, digits: int) -> Verdict:
    """The verdict at one point; the working precision grows until the quadrature can tell."""
    if formula.definition.has(sp.Limit):
        return Undecided("limits are not computed", _shown(point))
    if sp.oo in (formula.expression, formula.definition):
        same = formula.expression == formula.definition
        return Verified(digits, 1, 0.0) if same else Refuted(_shown(point), str(formula.expression), "oo")
    tolerance = mpmath.mpf(10) ** -digits
    cancellation = _CANCELLATION // 3 if RHO in point else _CANCELLATION  # two inputs cost much more
    closed = precise(formula.expression, point, digits + cancellation)
    for guard in (10, 20 + cancellation):
        defined, error, mass = _definition(formula.definition, point, math.ceil((digits + guard) * math.log2(10)))
        least = 1 if closed == 0 else mpmath.mpf(10) ** -cancellation
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


Value = tuple[Mpf, Mpf, Mpf]  # a number, an estimate of its error, and the sum of the absolute values of its parts


def _definition(definition: sp.Expr, point: Point, precision: int) -> Value:
    """The definition at the point, every integral done by quadrature."""
    ctx = context(precision)
    parts = {part: sp.Dummy() for part in _outermost(definition)}
    values = [_derivative(part, point, precision) if part.is_Derivative else _integral(part, point, precision)
              for part in parts]  # fmt: skip
    outer = definition.xreplace(parts)
    variables = (*point, *parts.values())
    numbers = [*(to_mpf(value, precision) for value in point.values()), *(value for value, _, _ in values)]
    value = ctx.mpf(at_precision(variables, outer, precision)(*numbers))
    # What a change of a part changes, to first order.
    shares = [abs(at_precision(variables, sp.diff(outer, name), precision)(*numbers)) for name in parts.values()]
    mass = ctx.fsum(share * part for share, (_, _, part) in zip(shares, values, strict=True))
    error = ctx.fsum(share * part for share, (_, part, _) in zip(shares, values, strict=True))
    return value, error + (abs(value) + mass) * ctx.mpf(2) ** (10 - precision), mass


def _outermost(expression: Any) -> list[Any]:
    """The integrals and derivatives that are inside no other."""
    if isinstance(expression, sp.Integral | sp.Derivative):
        return [expression]
    return list(dict.fromkeys(part for argument in expression.args for part in _outermost(argument)))


def _derivative(derivative: Any, point: Point, precision: int) -> Value:
    """A derivative in rho by central differences of two steps, of which the wider one tells the error."""
    fine, wide = (_difference(derivative, point, precision, sp.Rational(k, 2 ** (precision // 2))) for k in (1, 2))
    return fine[0], fine[1] + wide[1] + abs(fine[0] - wide[0]), max(abs(fine[0]), fine[2])


def _difference(derivative: Any, point: Point, precision: int, step: Any) -> Value:
    ((variable, order),) = derivative.variable_count
    finer = precision + int(order) * (precision // 2) + 32
    value, error, mass = (context(finer).zero for _ in range(3))
    for k in range(order + 1):
        weight = (-1) ** (order - k) * math.comb(order, k) / to_mpf(step, finer) ** order
        shifted = {**point, variable: point[variable] + (k - sp.Rational(order, 2)) * step}
        here = _definition(derivative.expr, shifted, finer)
        value, error, mass = value + weight * here[0], error + abs(weight) * here[1], max(mass, here[2])
    return value, error, mass


def _integral(integral: Any, point: Point, precision: int) -> Value:
    """A single integral over x, or a double one over x and y, on one piece."""
    ctx = context(precision)
    numbers = [to_mpf(value, precision) for value in point.values()]
    _, *ends = integral.limits[0]
    lower, upper = (ctx.mpf(at_precision(tuple(point), end, precision)(*numbers)) for end in ends)
    if integral.function.has(sp.Integral):
        return _double(integral.function, (lower, upper), point, precision)
    polynomial = integral.function.xreplace(dict.fromkeys(integral.function.atoms(sp.exp), sp.S.One))
    coefficients = _coefficients(polynomial, X, point, precision)
    sums = [
        (side**k * c, *_power_sum(k, a, b, point[Q], bits, precision))
        for a, b, side, bits in _panels(lower, upper, ctx.sqrt(to_mpf(point[Q], precision)), ctx, _WIDTH)
        for k, c in coefficients
    ]
    value = ctx.fsum(c * value for c, value, _ in sums)
    mass = ctx.fsum(abs(c) * value for c, value, _ in sums)
    return value, ctx.fsum(abs(c) * estimate for c, _, estimate in sums), mass


def _coefficients(polynomial: sp.Expr, x: sp.Symbol, point: Point, precision: int) -> list[tuple[int, Mpf]]:
    """(power, coefficient) of a polynomial in x at the point."""
    numbers = [to_mpf(value, precision) for value in point.values()]
    terms = sp.Poly(polynomial, x).terms()
    return [(k, at_precision(tuple(point), c, precision)(*numbers)) for (k,), c in terms]


def _double(function: Any, ends: tuple[Mpf, Mpf], point: Point, precision: int) -> Value:
    """The integral over x in ends of polynomial(x) density(x) E[g(V) given U = x].

    The inner expectation changes with x on the scale sqrt(q1 (1 - rho^2)) / rho, so panels are so much narrower.
    """
    ctx = context(precision)
    outer, inner = function.as_independent(sp.Integral)
    coefficients = _coefficients(outer.xreplace(dict.fromkeys(outer.atoms(sp.exp), sp.S.One)), X, point, precision)
    given = _conditional(inner, point, precision)
    rho, sigma = to_mpf(point[RHO], precision), ctx.sqrt(to_mpf(_variances(point)[0], precision))
    width = min(_WIDTH, _WIDTH * float(ctx.sqrt(1 - rho**2) / abs(rho))) if rho else _WIDTH

    def panel(a: Mpf, b: Mpf, side: int, rule: list) -> tuple[Mpf, Mpf]:
        """The sum of a rule, and of the absolute values of its terms."""
        parts = []
        for z, weight in rule:
            x = side * ((a + b) + (b - a) * z) / 2
            factor = (
                (b - a) / 2 * weight * ctx.exp(-((x / sigma) ** 2) / 2) * ctx.fsum(c * x**k for k, c in coefficients)
            )
            parts.append([factor * inside for inside in given(x)])
        return ctx.fsum(part for part, _ in parts), ctx.fsum(abs(size) for _, size in parts)

    value, error, mass = ctx.zero, ctx.zero, ctx.zero
    furthest: dict[int, Mpf] = {}  # by side
    for a, b, side, bits in _panels(*ends, sigma, ctx, width, _reach(inner, point)):
        (fine, bulk), (coarse, _) = (panel(a, b, side, rule) for rule in _legendre_rules(bits, precision))
        error += 1000 * (fine - coarse) ** 2 / bulk if bulk else ctx.zero
        value, mass = value + fine, mass + bulk
        furthest[side] = b
    for side, b in furthest.items():
        end = ends[1] if side > 0 else -ends[0]
        if b < end * (1 - ctx.mpf(2) ** -(ctx.prec // 2)):  # b is rounded
            # Where the panels stop, the density falls by e on sigma^2 / b; the parts of g grow like powers.
            weight = ctx.fsum(abs(c) * b**k for k, c in coefficients) * ctx.exp(-((b / sigma) ** 2) / 2)
            error += 2 * sigma**2 / b * weight * _size(given, side * b)
    return value, error, mass


def _size(given: Callable[[Mpf], tuple[Mpf, Mpf]], x: Mpf) -> Mpf:
    return given(x)[1] + given(2 * x)[1]


_REACH = 40.0  # deviations


def _reach(inner: sp.Expr, point: Point) -> float:
    """How many deviations from 0 the joint density can have its peak next to a knot of g, up to `_REACH`.

    Given V = s it is at U = rho s sqrt(q1 / q2).  What lies further shows in the error of the integral.
    """
    knots = [
        float(sp.Abs(end.subs(point))) for part in _outermost(inner) for end in part.limits[0][1:] if end.is_finite
    ]
    return min(_REACH, abs(float(point[RHO])) * max(knots, default=0.0) / math.sqrt(_variances(point)[1]))


def _variances(point: Point) -> tuple[Any, Any]:
    return (point[Q1], point[Q2]) if Q1 in point else (point[Q], point[Q])


def _conditional(inner: sp.Expr, point: Point, precision: int) -> Callable[[Mpf], tuple[Mpf, Mpf]]:
    """x -> E[g(V) given U = x], and the sum of the absolute values of its parts; normal with mean rho x sqrt(q2/q1).

    With a, b the standardized ends of a piece, E[Z^n; a < Z < b] = (n - 1) E[Z^(n-2); a < Z < b]
    + a^(n-1) p(a) - b^(n-1) p(b).
    """
    ctx = context(precision)
    q1, q2, rho = (to_mpf(number, precision) for number in (*_variances(point), point[RHO]))
    slope, sigma = rho * ctx.sqrt(q2 / q1), ctx.sqrt(q2 * (1 - rho**2))
    numbers, divisor = [to_mpf(value, precision) for value in point.values()], sigma * ctx.sqrt(2 * ctx.pi)
    pieces = []
    for piece in _outermost(inner):
        _, *ends = piece.limits[0]
        weight = piece.function.xreplace(dict.fromkeys(piece.function.atoms(sp.exp), sp.S.One))
        # The density's divisor is in the moments already.
        coefficients = [(k, c * divisor) for k, c in _coefficients(weight, Y, point, precision)]
        pieces.append(([ctx.mpf(at_precision(tuple(point), end, precision)(*numbers)) for end in ends], coefficients))

    def expectation(x: Mpf) -> tuple[Mpf, Mpf]:
        parts = []
        for ends, coefficients in pieces:
            a, b = ((end - slope * x) / sigma for end in ends)
            moments = _truncated_moments(max(k for k, _ in coefficients), a, b, ctx)
            for k, c in coefficients:
                parts += [c * math.comb(k, n) * (slope * x) ** (k - n) * sigma**n * moments[n] for n in range(k + 1)]
        return ctx.fsum(parts), ctx.fsum(map(abs, parts))

    return expectation


def _truncated_moments(order: int, a: Mpf, b: Mpf, ctx: mpmath.MPContext) -> list[Mpf]:
    """E[Z^n; a < Z < b] for n = 0, ..., order."""
    root = ctx.sqrt(2)
    mirrored = a < 0 and b < -a  # erfc of the side that is nearer to its tail
    probability = (
        ctx.erfc(-b / root) - ctx.erfc(-a / root) if mirrored else ctx.erfc(a / root) - ctx.erfc(b / root)
    ) / 2
    edges = [(t, ctx.npdf(t)) if ctx.isfinite(t) else (ctx.zero, ctx.zero) for t in (a, b)]
    moments = [probability]
    for n in range(1, order + 1):
        edge = edges[0][0] ** (n - 1) * edges[0][1] - edges[1][0] ** (n - 1) * edges[1][1]
        moments.append((n - 1) * moments[n - 2] + edge if n > 1 else edge)
    return moments


def _panels(
    lower: Mpf, upper: Mpf, sigma: Mpf, ctx: mpmath.MPContext, width: float, reach: float = 0.0
) -> Iterator[tuple[Mpf, Mpf, int, int]]:
    """(lower, upper) cut at zero and into panels on which the density of N(0, sigma^2) changes gently.

    Each is (a, b, side, bits) with 0 <= a < b.  It stands for (a, b) if side = 1 and for (-b, -a) if side = -1,
    and needs so many bits: those of the precision less half the fall of the density since the first panel (the
    other half pays for the density's steeper fall within the panel).
    """
    if lower < 0:
        mirrored = _panels(max(-upper, ctx.zero), -lower, sigma, ctx, width, reach)
        yield from ((a, b, -1, bits) for a, b, _, bits in mirrored)
    start = max(lower, ctx.zero) / sigma
    first = max(start, ctx.mpf(reach))
    # At z the density falls on the scale 1 / max(1, z): panels grow from there, to four of it.
    step = min(ctx.mpf(width), 1 / max(ctx.one, start))
    while start < upper / sigma and (fall := (start**2 - first**2) / (2 * ctx.ln2)) < ctx.prec + 20:
        end = min(start + step, upper / sigma)
        yield sigma * start, sigma * end, 1, math.ceil(ctx.prec - 20 - max(fall, 0) / 2)
        start, step = end, min(2 * step, ctx.mpf(width), 4 / max(ctx.one, end))


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
