"""A computed number, with its error and the size of its parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flint import arb

__all__ = ["INFINITE", "Excluded", "Unknown", "Value", "power"]


class Unknown(Exception):
    """A quantity that has no value by the rules of `gpsym.verify`; the message says why."""


class Excluded(Exception):
    """A point at which the activation is of another kind than elsewhere; the message names what it has fewer of."""


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


def power(base: Any, n: int) -> Any:
    """base^n, n = 0, 1, 2, ...; flint's own is NaN where a ball holds 0."""
    return math.prod(n * [base], start=1)
