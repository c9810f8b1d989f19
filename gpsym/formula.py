"""A formula with everything needed to print, evaluate and check it; and the symbols that all rooms share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy as sp
from mpmath.libmp import to_rational

from gpsym.limits import shown
from gpsym.parsing import read, require_size

if TYPE_CHECKING:
    from gpsym.activation import Activation

__all__ = [
    "ALPHA",
    "Q1",
    "Q2",
    "RHO",
    "SIGMA_B2",
    "SIGMA_W2",
    "TAU",
    "THETA",
    "A",
    "Formula",
    "M",
    "Q",
    "X",
    "Y",
    "exact",
    "require",
]

# Declared once; equal names elsewhere mean these.
Q = sp.Symbol("q", positive=True)  # pre-activation variance
Q1, Q2 = sp.symbols("q1 q2", positive=True)  # pre-activation variances of two inputs
RHO = sp.Symbol("rho", real=True)  # correlation of their pre-activations, from -1 to 1
THETA = sp.Symbol("theta", real=True)  # neural tangent kernel of the layer before
TAU = sp.Symbol("tau", real=True)  # threshold
M = sp.Symbol("m", positive=True)  # clip level
SIGMA_W2 = sp.Symbol("sigma_w2", positive=True)  # weight variance times fan-in
SIGMA_B2 = sp.Symbol("sigma_b2", nonnegative=True)  # bias variance
A = sp.Symbol("a", real=True)  # slope left of zero
ALPHA = sp.Symbol("alpha", positive=True)  # weight of a residual branch, up to 1
X, Y = sp.symbols("x y", real=True)  # pre-activations


@dataclass(frozen=True)
class Formula:
    """One quantity as it is defined and as it was derived.

    name        identifier of the quantity, such as "slope".
    notation    LaTeX of the left-hand side, a letter with index, primes and arguments, such as "V'(q)".
    meaning     LaTeX of the definition in the field's notation.
    variables   the symbols it depends on, in the order in which functions take them.
    conditions  expressions in the variables that must be >= 0, besides what the symbols declare.
    definition  SymPy expression with unevaluated integrals, one for each linear piece of the activation.
    expression  closed form, equal to `definition` wherever the conditions hold.
    reference   where the definition comes from.
    at_rho      of a formula in the correlation rho: from -1, 0 or 1 to an elementary form of its value; at -1 and 1,
                where the expression has none, of its limit.
    stably      makes `stable`; None where the expression is stable.
    activations the activations that the quantity is one of, in the order of its definition; `gpsym.verify` computes
                the quantity of that name from their knots and pieces.
    rho         the correlation that was put in place of the variable rho, if one was.
    """

    name: str
    notation: str
    meaning: str
    variables: tuple[sp.Symbol, ...]
    conditions: tuple[sp.Expr, ...]
    definition: sp.Expr
    expression: sp.Expr
    reference: str
    at_rho: Callable[[sp.Expr], sp.Expr] | None = field(default=None, compare=False, repr=False)

    stably: Callable[[], sp.Expr] | None = field(default=None, compare=False, repr=False)
    activations: tuple[Activation, ...] = field(default=(), repr=False)
    rho: sp.Expr | None = field(default=None, repr=False)

    @cached_property
    def stable(self) -> sp.Expr:
        """The same as `expression`, in special functions whose sum keeps its digits in floating-point arithmetic."""
        loses_digits = self.expression.has(sp.Function, 1 - RHO**2)
        return self.stably() if self.stably and loses_digits else self.expression

    def renamed(self, name: str) -> Formula:
        """The same formula under another name."""
        return replace(self, name=name)

    @property
    def variances(self) -> tuple[sp.Symbol, ...]:
        """Those of its variables that are variances; the others are lengths, which scale with sqrt(q)."""
        return tuple(v for v in self.variables if v in (Q, Q1, Q2, SIGMA_W2, SIGMA_B2))


def exact(value: Any, door: str = "number") -> sp.Expr:
    """An exact, real, finite SymPy expression equal to `value`; a float becomes the rational that it is.

    value  int, float, Fraction, a number of numpy or mpmath, a SymPy expression, or text such as "1/10", "0.1" or
           "sqrt(2)", which is read as a number and never executed.  Nothing else is a number, bool included.
    door   the name that error messages begin with.

    Raises ValueError for anything else, NaN, infinities, complex values, symbols that are not declared real, and
    numbers larger than `gpsym.limits` allows.
    """
    expression = _expression(value, door)
    expression = expression.replace(lambda e: e.is_Float, lambda e: sp.Rational(e) if e.is_finite else e)
    if not (expression.is_extended_real and expression.is_finite):
        raise ValueError(
            f"{door}: need finite real numbers or symbols declared real, got {shown(value)}; "
            "pass a number, or write sympy.Symbol(name, real=True) for a symbol."
        )
    require_size(expression, door)
    return expression


def _ratio(value: Any) -> Any:
    """(numerator, denominator) of a float of Python, numpy or mpmath."""
    return to_rational(value._mpf_) if hasattr(value, "_mpf_") else value.as_integer_ratio()


def _expression(value: Any, door: str) -> Any:
    """The value as a SymPy expression, by its type alone."""
    if isinstance(value, sp.Expr):
        return value
    if isinstance(value, str):
        return _number(value, door)
    if isinstance(value, numbers.Rational) and not isinstance(value, bool):
        return sp.Rational(int(value.numerator), int(value.denominator))
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value):
        return sp.Rational(*map(int, _ratio(value)))
    raise ValueError(f"{door}: need finite real numbers, got {shown(value, repr)}; pass an int, a float or text.")


def _number(text: str, door: str) -> Any:
    number = read(text, {}, door)
    if not isinstance(number, sp.Expr) or number.free_symbols:
        raise ValueError(f"{door}: need a number, got the text {shown(text)!r}; write one, or pass a symbol as such.")
    return number


def require(name: str, values: Mapping[sp.Symbol, Any], conditions: tuple[sp.Expr, ...]) -> dict[Any, Any]:
    """The values made exact, once they are seen to meet what the symbols declare and the conditions (>= 0).

    Raises ValueError that begins with `name` and says what must hold and what came.
    """
    found: dict[Any, Any] = {}
    for symbol, value in values.items():
        try:
            found[symbol] = number = exact(value, name)
        except ValueError:
            raise ValueError(f"{name}: need a finite real {symbol}, got {symbol} = {shown(value)}; pass one.") from None
        for declared, broken, bound in (
            (symbol.is_positive, number.is_nonpositive, "> 0"),
            (symbol.is_nonnegative, number.is_negative, ">= 0"),
        ):
            if declared and broken:
                raise ValueError(
                    f"{name}: need {symbol} {bound}, got {symbol} = {shown(value)}; pass {symbol} {bound}."
                )
    for condition in conditions:
        if condition.subs(found).is_negative:
            given = ", ".join(f"{s} = {shown(values[s])}" for s in values if s in condition.free_symbols)
            raise ValueError(f"{name}: need {condition} >= 0, got {given}; pass {condition} >= 0.")
    return found
