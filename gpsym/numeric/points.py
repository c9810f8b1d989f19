"""Balls around the value of an expression at one point, of functions that jump too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, cast, final

import sympy as sp
from flint import arb
from sympy.core.evalf import PrecisionExhausted
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, Not, Or

from gpsym.numeric.balls import image

__all__ = ["ball_at"]


def ball_at(expression: Any, point: Mapping[Any, arb], is_zero: Callable[[Any], bool]) -> arb:
    """A ball that contains the expression's value at the point, at flint's precision.

    It is nan where the value is not seen to be real, where a function is not known here, and where an argument is not
    told from a place at which a function jumps; it is told by its ball, or by `is_zero`, which says whether the
    distance to that place is 0 everywhere.
    """
    try:
        return _Balls(dict(point), is_zero).of(expression)
    except PrecisionExhausted:  # by SymPy, where it rounds what is near a whole number
        return arb.nan()


@final
@dataclass(frozen=True)
class _Balls:
    known: dict[Any, arb]
    is_zero: Callable[[Any], bool]

    def of(self, e: Any) -> arb:
        if e not in self.known:
            self.known[e] = self._new(e)
        return self.known[e]

    def _new(self, e: Any) -> arb:
        arguments: Any = e.args
        match e:
            case sp.sign():
                return self._step(e.args[0], arb(0))
            case sp.Heaviside():
                return (self._step(e.args[0], 2 * self.of(e.args[1]) - 1) + 1) / 2
            case sp.floor():
                return self._floor(e.args[0])
            case sp.ceiling():
                return -self._floor(-e.args[0])
            case sp.frac():
                return self.of(e.args[0]) - self._floor(e.args[0])
            case sp.Mod():
                return self.of(arguments[0]) - self.of(arguments[1]) * self._floor(arguments[0] / arguments[1])
            case sp.Piecewise():
                return self._piece(e.args)
        if e.func in _SMOOTH:
            return _SMOOTH[e.func](*map(self.of, e.args))
        return self._image(e)

    def _image(self, e: Any) -> arb:
        """By `image`, with a symbol for each argument that is no number."""
        places: dict[Any, Any] = {argument: argument if argument.is_Number else sp.Dummy() for argument in e.args}
        balls = {place: self.of(argument) for argument, place in places.items() if place.is_Symbol}
        try:
            return image(e.func(*(places[argument] for argument in e.args)) if e.args else e, balls)
        except ValueError:  # a function that is not known here
            return arb.nan()

    def _side(self, e: Any) -> int | None:
        """The sign of e, or None where it is not seen."""
        ball = self.of(e)
        if ball > 0 or ball < 0:
            return 1 if ball > 0 else -1
        return 0 if ball == 0 or (ball.is_finite() and self.is_zero(e)) else None

    def _step(self, e: Any, at_zero: arb) -> arb:
        side = self._side(e)
        return arb.nan() if side is None else arb(side) if side else at_zero

    def _floor(self, e: Any) -> arb:
        ball = self.of(e)
        whole = ball.floor().unique_fmpz()
        if whole is not None or not ball.is_finite():
            return arb.nan() if whole is None else arb(whole)
        near = math.floor(ball.mid() + arb(0.5)) if ball.rad() < 1 else None
        return arb(near) if near is not None and self.is_zero(e - near) else arb.nan()

    def _piece(self, pieces: Any) -> arb:
        for value, condition in pieces:
            holds = self._holds(condition)
            if holds is not False:
                return arb.nan() if holds is None else self.of(value)
        return arb.nan()

    def _holds(self, condition: Any) -> bool | None:
        """Whether a condition holds; None where it is not seen."""
        if isinstance(condition, Relational):
            left, right = cast("tuple[Any, Any]", condition.args)
            side = self._side(left - right)
            return None if side is None else bool(condition.func(side, 0))
        if isinstance(condition, (And, Or, Not)):
            inner = [self._holds(argument) for argument in condition.args]
            if isinstance(condition, Not):
                return None if inner[0] is None else not inner[0]
            decisive = isinstance(condition, Or)
            return decisive if decisive in inner else None if None in inner else not decisive
        return {sp.true: True, sp.false: False}.get(condition)


_SMOOTH: dict[Any, Callable[..., arb]] = {
    sp.Abs: arb.__abs__,
    sp.Min: lambda *terms: reduce(arb.min, terms),
    sp.log: arb.log,
    sp.sin: arb.sin,
    sp.cos: arb.cos,
    sp.tan: arb.tan,
    sp.acos: arb.acos,
    sp.atan: arb.atan,
    sp.sinh: arb.sinh,
    sp.cosh: arb.cosh,
    sp.tanh: arb.tanh,
    sp.gamma: arb.gamma,
}
