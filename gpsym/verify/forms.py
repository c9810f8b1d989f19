"""The forms of a formula, each as a function of a point: the expression, the stable form, limits in the correlation.

The functions that stable forms are made of are computed here from what they stand for, by quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import sympy as sp
from flint import arb, fmpq

from gpsym.formula import Formula
from gpsym.numeric import Mpf, precise
from gpsym.numeric.balls import image
from gpsym.stable import IntervalMoment, JointDensity, RectangleMoment
from gpsym.verify.pairs import joint_expectation
from gpsym.verify.quadrature import expectation
from gpsym.verify.shapes import Point, Shape, fraction, horner
from gpsym.verify.values import power

__all__ = ["Form", "forms_of"]


@dataclass(frozen=True)
class Form:
    """A form of a formula, to be compared at a point; rho is the correlation that it is for, if the point has none."""

    name: str
    value: Callable[[Point, int, Mpf], Any]  # at a point, to so many digits of what is not smaller than a size
    rho: sp.Expr | None = None


def forms_of(formula: Formula) -> Iterator[Form]:
    """The forms of a formula, its expression first."""
    yield Form("expression", partial(_closed, formula.expression))
    # Next to rho = 0 another branch is chosen there, which arrays alone show.
    stable: Any = formula.stable.replace(sp.Piecewise, lambda *branches: branches[-1][0])
    if stable != formula.expression:
        yield Form("stable", partial(_stable, stable))
    for rho in (sp.S.NegativeOne, sp.S.Zero, sp.S.One) if formula.at_rho else ():
        try:
            limit = formula.at_rho(rho)  # type: ignore[misc]
        except ValueError:  # This formula has no form there.
            continue
        yield Form(f"at_rho({rho})", partial(_closed, limit), rho)


def _closed(expression: sp.Expr, point: Point, digits: int, least: Mpf) -> Mpf:
    if expression.has(sp.oo, sp.zoo):
        return sp.Float(expression.subs(dict(point)))._to_mpmath(53)  # type: ignore[arg-type]
    return precise(expression, point, digits, least)


def _stable(expression: Any, point: Point, digits: int, least: Mpf) -> Any:
    """The stable form at the point: a ball, or a number where it has functions that balls do not know."""
    names = {function: sp.Dummy() for function in expression.atoms(*_FUNCTIONS)}
    values = {name: _FUNCTIONS[f.func](*_numbers(f, point)) for f, name in names.items()}
    named = expression.xreplace(names)
    with suppress(ValueError):
        ball = image(named, {symbol: arb(fraction(symbol, point)) for symbol in point} | values)
        if not ball.is_nan():
            return ball
    return precise(named, {**point, **{name: _rational(ball) for name, ball in values.items()}}, digits, least)


def _rational(ball: arb) -> sp.Expr:
    """The middle of a ball."""
    mantissa, exponent = ball.mid().man_exp()
    return sp.Integer(int(mantissa)) * sp.Integer(2) ** int(exponent)


def _numbers(function: Any, point: Point) -> list[fmpq | None]:
    """The arguments; None for an infinite width."""
    return [None if argument == sp.oo else fraction(argument, point) for argument in function.args]


def _interval_moment(n: Any, t: Any, width: Any, q: Any) -> arb:
    """E[(U - t)^n; t < U < t + w]."""
    return expectation(_power(n, t, width), q, lambda p, x, z: horner(p, x)).ball


def _rectangle_moment(i: Any, t: Any, w: Any, j: Any, s: Any, v: Any, q1: Any, q2: Any, rho: Any) -> arb:
    """E[(U - t)^i (V - s)^j; t < U < t + w, s < V < s + v]."""
    return joint_expectation(_power(i, t, w), _power(j, s, v), q1, q2, rho).ball


def _joint_density(x: Any, y: Any, q1: Any, q2: Any, rho: Any) -> arb:
    """The density of (U, V) at (x, y)."""
    a, b, gap = arb(x) / arb(q1).sqrt(), arb(y) / arb(q2).sqrt(), arb(1 - rho**2)
    exponent = (power(a - b, 2) + 2 * arb(1 - rho) * a * b) / (2 * gap)
    return (-exponent).exp() / (2 * arb.pi() * (gap * arb(q1) * arb(q2)).sqrt())


def _power(n: Any, t: fmpq, width: fmpq | None) -> Shape:
    """(x - t)^n from t to t + width, 0 elsewhere."""
    coefficients = tuple(math.comb(int(n), k) * (-t) ** (int(n) - k) for k in range(int(n) + 1))
    return Shape((t,), ((), coefficients)) if width is None else Shape((t, t + width), ((), coefficients, ()))


_FUNCTIONS: dict[Any, Callable[..., arb]] = {
    IntervalMoment: _interval_moment,
    RectangleMoment: _rectangle_moment,
    JointDensity: _joint_density,
}
