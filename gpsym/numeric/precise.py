"""Formulas in mpmath, at whatever precision the asked digits need."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import mpmath
import sympy as sp

from gpsym.formula import RHO, Formula, exact, require
from gpsym.numeric.printing import function_source
from gpsym.special import bivariate_tail

__all__ = ["Mpf", "at_point", "at_precision", "context", "evaluate", "precise", "to_mpf"]


Mpf = Any  # a number of some mpmath context, each of which has a type of its own


def evaluate(formula: Formula, values: Mapping[str, Any], digits: int = 17) -> Mpf:
    """The formula at one point, to `digits` correct significant digits.

    values  number per variable name; floats count as the exact rationals that they are.  Names that the
            formula does not use are ignored.
    Raises ValueError where a variable is missing, or a value is not finite and real or outside the domain.

    >>> from gpsym import clipped_relu, maps
    >>> value = evaluate(maps.chi_1(clipped_relu()), {"q": 1, "tau": 1, "m": 1e-12, "sigma_w2": 1}, digits=20)
    >>> mpmath.nstr(value, 20)
    '2.4197072451902235957e-13'
    """
    expression, numbers = at_point(formula, values, digits)
    return precise(expression, numbers, digits)


def at_point(formula: Formula, values: Mapping[str, Any], digits: int) -> tuple[sp.Expr, dict[Any, Any]]:
    """The closed form to take at this point, the elementary one where rho is -1, 0 or 1; its variables' exact values.

    Raises ValueError as `evaluate` does.
    """
    if digits < 1:
        raise ValueError(f"{formula.name}: need digits >= 1, got {digits}; 17 make a float64.")
    missing = [str(v) for v in formula.variables if str(v) not in values]
    if missing:
        raise ValueError(f"{formula.name}: need a value for {', '.join(missing)}; pass one.")
    numbers = require(formula.name, {v: values[str(v)] for v in formula.variables}, formula.conditions)
    elementary = formula.at_rho and numbers[RHO] in (-1, 0, 1)
    return (formula.at_rho(numbers[RHO]) if formula.at_rho and elementary else formula.expression), numbers


def precise(expression: sp.Expr, values: Mapping[sp.Symbol, Any], digits: int = 17, least: Any = 0) -> Mpf:
    """A closed form at one point, to `digits` correct significant digits.

    The precision starts where no number is absorbed by another, not even in their fourth powers, and grows until two
    evaluations agree, first by 128 bits and then by factors of two: so cancellation costs time and not digits.  Zero is
    returned where the expression vanishes with the values that are 0, and where 2^13 bits more show nothing else, as
    far below float64's range.

    least  a size below which the digits of the value do not matter: they count from there.
    """
    if expression is sp.oo:
        return context(64).inf
    numbers: dict[Any, Any] = {symbol: exact(value) for symbol, value in values.items()}
    near_end = 1 - abs(numbers.get(RHO, sp.S.Zero))  # of rho, whose distance from -1 and 1 is what counts
    sizes = [n.p.bit_length() - n.q.bit_length() for n in (*numbers.values(), near_end, sp.S.One) if n != 0]
    bits = math.ceil(digits * math.log2(10)) + 16 + 4 * (max(sizes) - min(sizes))
    if least:  # what is 0 or settled at fewer bits may be the difference of equal parts
        bits += max(0, -mpmath.frexp(least)[1])
    first = precision = 128 * math.ceil(bits / 128)  # few precisions, for the caches
    zeros = {symbol: number for symbol, number in numbers.items() if number == 0}
    previous = None
    while precision <= first + 2**13:
        function = at_precision(tuple(numbers), expression, precision)
        value = context(precision).mpf(function(*(to_mpf(n, precision) for n in numbers.values())))
        if value == 0 and expression.subs(zeros) == 0:
            break
        tolerance = max(abs(value), least) / mpmath.mpf(10) ** (digits + 1)
        if (value != 0 or least) and previous is not None and abs(value - previous) <= tolerance:
            return value
        precision, previous = precision + 128 if previous is None else 2 * precision, value
    return context(precision).zero


@lru_cache(maxsize=256)
def context(precision: int) -> mpmath.MPContext:
    """A private mpmath context with this many bits; mpmath's global precision is never touched."""
    ctx = mpmath.MPContext()
    ctx.prec = precision
    return ctx


class _Functions:
    """The functions of a context under the names that `MpmathPrinter` writes, with tails that underflow to zero.

    mpmath's numbers have no smallest one, but their exponents must be computed: exp(-10^16) and erfc(10^8) are
    counted as 0.
    """

    def __init__(self, ctx: mpmath.MPContext):
        self.mpf, self.sqrt, self.erf, self.asin, self.pi = ctx.mpf, ctx.sqrt, ctx.erf, ctx.asin, ctx.pi
        self.inf, self.ninf, self._ctx = ctx.inf, ctx.ninf, ctx

    def exp(self, x: Mpf) -> Mpf:
        return self._ctx.zero if x < -1e16 else self._ctx.exp(x)

    def erfc(self, x: Mpf) -> Mpf:
        if abs(x) > 1e8:
            return self._ctx.mpf(0 if x > 0 else 2)
        return self._ctx.erfc(x)

    def bivariate_tail(self, h: Mpf, k: Mpf, rho: Mpf) -> Mpf:
        return bivariate_tail(self._ctx, h, k, rho)


@lru_cache(maxsize=4096)
def at_precision(variables: tuple[sp.Symbol, ...], expression: sp.Expr, precision: int) -> Callable[..., Mpf]:
    """The expression as a function of numbers of `context(precision)`."""
    namespace: dict[str, Any] = {"mpmath": _Functions(context(precision))}
    exec(function_source("function", variables, expression, "mpmath"), namespace)
    return namespace["function"]


def to_mpf(number: Any, precision: int) -> Mpf:
    """The rational as a number of `context(precision)`."""
    return context(precision).mpf(number.p) / number.q
