"""An activation as an `if` chain in floats: what code that evaluates it number by number is written from."""

from __future__ import annotations

import math
from typing import NamedTuple

import sympy as sp

from gpsym.activation import Activation

__all__ = ["Branch", "branches"]


class Branch(NamedTuple):
    """The polynomial with these coefficients of 1, x, x^2, ... from start to end; the ends may be infinite.

    included  whether start belongs to it, that is x >= start and not x > start.
    """

    start: float
    included: bool
    end: float
    coefficients: tuple[float, ...]


def branches(activation: Activation) -> tuple[Branch, ...]:
    """The pieces from left to right; at each x the last one that begins before it counts.

    A knot belongs to the piece whose limit is the value there, and is a piece of its own where that is between the
    limits, as for sign(0) = 0.

    >>> from gpsym.members import squared_relu
    >>> [branch.coefficients for branch in branches(squared_relu())]
    [(), (0.0, 0.0, 1.0)]
    """
    (_, first_end, first), *others = activation.intervals
    result = [Branch(-math.inf, False, float(first_end), _floats(first))]
    for (lower, upper, piece), before in zip(others, activation.pieces, strict=False):
        value, left, right = (phi(lower) for phi in (activation, _polynomial(before), _polynomial(piece)))
        if value not in (left, right):
            result.append(Branch(float(lower), True, float(lower), _floats((value,))))
        result.append(Branch(float(lower), value == right != left, float(upper), _floats(piece)))
    return tuple(result)


def _polynomial(coefficients: tuple[sp.Expr, ...]) -> Activation:
    return Activation((), (coefficients,))


def _floats(coefficients: tuple[sp.Expr, ...]) -> tuple[float, ...]:
    return tuple(map(float, coefficients))
