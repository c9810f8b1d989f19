"""Formulas in Arb, as balls that contain the value; imports flint, the module of python-flint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce
from importlib.util import find_spec
from typing import Any

import sympy as sp

from gpsym.formula import Formula
from gpsym.numeric.precise import at_point
from gpsym.special import BivariateTail, TailMoment

if find_spec("flint") is None:
    raise ImportError("gpsym.numeric.balls: need python-flint, got no module flint; pip install python-flint.")

from flint import acb, arb, ctx, fmpq

__all__ = ["enclose", "image"]

_MOST_BITS = 2**15  # E phi^4 at the ends of float64's range, m^4 = 1e-1200 of terms of q^2 = 1e600, needs 2^13


def enclose(formula: Formula, values: Mapping[str, Any], digits: int = 20, least: float = 0.0) -> arb:
    """A ball that contains the formula's value at one point, of relative radius at most 10^-digits.

    values  number per variable name; floats count as the exact rationals that they are.  Names that the
            formula does not use are ignored.
    least   a size below which any ball will do, if it is as near to 0; without it, two bivariate tails whose difference
            is far below float64's range may take minutes.
    The precision is doubled until the ball is small enough; flint's own is left as it is.  What vanishes with the
    values that are 0 is exactly 0; what 2^15 bits do not tell from 0, or not determine so well, comes as the ball that
    they give, and so does at once what is less than 2^-(2^15), where flint's erfc is inexact.
    Raises ValueError where a variable is missing, or a value is not finite and real or outside the domain, and for a
    formula of other functions than powers, exp, erf, erfc, asin, Max and those of `gpsym.special`.

    >>> from gpsym import clipped_relu, maps
    >>> enclose(maps.chi_1(clipped_relu()), {"q": 1, "tau": 1, "m": 1e-12, "sigma_w2": 1}, digits=20)
    [2.41970724519022e-13 +/- 3.60e-28]
    """
    expression, numbers = at_point(formula, values, digits)
    zeros = {symbol: number for symbol, number in numbers.items() if number == 0}
    negligible = arb(least).max(arb(2) ** -_MOST_BITS)
    bits = math.ceil(digits * math.log2(10)) + 64
    while True:
        with ctx.workprec(bits):
            balls: dict[Any, arb] = {}
            balls |= {symbol: _ball(number, balls) for symbol, number in numbers.items()}
            ball = _ball(expression, balls)
            small = ball.rad() * arb(10) ** digits <= ball.abs_lower()
            if small or ball.abs_upper() < negligible or bits >= _MOST_BITS:
                return ball
        if ball.contains(0) and expression.subs(zeros) == 0:
            return arb(0)
        bits *= 2


def image(expression: sp.Expr, box: Mapping[sp.Symbol, arb]) -> arb:
    """A ball that contains the expression's values for all values of its symbols in balls, at flint's precision.

    Each operation takes balls to a ball, so that what depends on a symbol in several places comes out too wide.
    Raises ValueError as `enclose` does.

    >>> q = sp.Symbol("q")
    >>> image(q**2 - q, {q: arb(1, 0.125)})
    [+/- 0.391]
    """
    return _ball(expression, dict(box))


def _ball(expression: Any, balls: dict[Any, arb]) -> arb:
    """The expression at flint's precision; `balls` has those of its symbols, and gets those of its parts."""
    if expression not in balls:
        balls[expression] = _new_ball(expression, balls)
    return balls[expression]


def _new_ball(expression: Any, balls: dict[Any, arb]) -> arb:
    if isinstance(expression, sp.Rational):
        return arb(fmpq(expression.p, expression.q))
    if expression in _CONSTANTS:
        return _CONSTANTS[expression]()
    if isinstance(expression, TailMoment):
        return _ball(expression.rewrite(sp.erfc), balls)
    if expression.func not in _OPERATIONS:
        raise ValueError(
            f"enclose: need {', '.join(f.__name__ for f in _OPERATIONS)} and numbers, got {expression}; use evaluate."
        )
    return _OPERATIONS[expression.func](*(_ball(argument, balls) for argument in expression.args))


def _power(base: arb, exponent: arb) -> arb:
    # Flint's own is nan where a ball around 0 has a positive integer exponent.
    n = exponent.unique_fmpz() if exponent.is_exact() else None
    if n is not None and n > 0:
        return math.prod(int(n) * [base], start=arb(1))
    return base**exponent


def _tail(h: arb) -> arb:
    """P(Z > h)."""
    return (h / arb(2).sqrt()).erfc() / 2


def _bivariate_tail(h: arb, k: arb, rho: arb) -> arb:
    """L(h, k; rho) for -1 < rho < 1, as in `gpsym.special.bivariate_tail`.

    With r = tanh(y), E = exp(2 y), A = (h - k)^2 and B = (h + k)^2 the integrand
    exp(-(A (1 + E) + B (1 + 1 / E)) / 8) / (2 pi cosh y) is meromorphic, so that flint bounds all errors by itself.
    It is divided by its greatest exponential, near y = peak, because flint's tolerance is absolute, and written in
    z = y - peak, in which balls stay small however narrow the peak is: A E + B / E = s cosh(2 z) + d sinh(2 z).
    """
    a, b, end = (h - k) * (h - k), (h + k) * (h + k), rho.atanh()
    if not (a + b + end).is_finite():
        return arb.nan()
    peak = _peak(a.mid(), b.mid(), end.mid())
    up, down = a * (2 * peak).exp(), b / (2 * peak).exp()
    s, d = up + down, up - down

    def integrand(z: acb, _: bool) -> acb:
        sinh, cosh = z.sinh_cosh()
        return (-(s * sinh + d * cosh) * sinh / 4).exp() * (peak + z).sech()

    if rho > 0:
        start, rest, below = arb(0), arb(0), _tail(h) * _tail(k)
    else:
        start = _start(b.mid(), s.mid(), end.mid())
        # Left of it B / E is greater, and the integral of 1 / cosh is less than 2 e^y.
        rest, below = ((s - b / (2 * start).exp()) / 8).exp() * 2 * start.exp(), _interval(h, -k)
    integral = acb.integral(integrand, start - peak, end - peak).real + rest * arb(0.5, 0.5)
    return below + ((-s - a - b) / 8).exp() * integral / (2 * arb.pi())


def _peak(a: arb, b: arb, end: arb) -> arb:
    """About where a E + b / E is least for y <= end, exact as a number."""
    return end.min((b / a).log() / 4).mid() if a > 0 and b > 0 else end


def _start(b: arb, least: arb, end: arb) -> arb:
    """Where b / E exceeds `least` by enough, 8 times the precision; or e^y is that much less than at the end."""
    start = end - ctx.prec
    return (start.max((b / (least + 8 * ctx.prec)).log() / 2) if b > 0 else start).mid()


def _interval(lower: arb, upper: arb) -> arb:
    """P(lower < Z < upper), by the tails that are smaller; 0 if lower > upper."""
    if lower >= upper:
        return arb(0)
    if lower + upper < 0:
        lower, upper = -upper, -lower
    return _tail(lower) - _tail(upper)


_CONSTANTS: dict[Any, Callable[[], arb]] = {sp.pi: arb.pi, sp.E: arb.const_e, sp.oo: arb.pos_inf}
_OPERATIONS: dict[Any, Callable[..., arb]] = {
    sp.Add: lambda *terms: sum(terms, arb(0)),
    sp.Mul: lambda *factors: math.prod(factors, start=arb(1)),
    sp.Pow: _power,
    sp.Max: lambda *terms: reduce(arb.max, terms),
    sp.exp: arb.exp,
    sp.erf: arb.erf,
    sp.erfc: arb.erfc,
    sp.asin: arb.asin,
    BivariateTail: _bivariate_tail,
}
