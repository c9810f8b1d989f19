"""An activation at one point of its parameters: exact numbers for knots and pieces, and what follows from them alone.

Nothing here comes from `gpsym.piecewise`: derivatives are those of the polynomials, and an atom at each knot at which
the one-sided values differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from math import perm, prod
from typing import Any, NamedTuple

import sympy as sp
from flint import fmpq

from gpsym.activation import Activation

__all__ = ["Atom", "Point", "Shape", "fraction", "horner", "lost", "shape_at"]

Point = Mapping[sp.Symbol, sp.Rational]

# Knots and coefficients that are irrational, such as sqrt(2), are rounded to so many digits; a jump that is smaller
# than the half of them, next to the values on both sides, is rounding.
_DIGITS = 400


class Atom(NamedTuple):
    """weight * delta^(order)(x - place)."""

    place: fmpq
    order: int
    weight: fmpq


@dataclass(frozen=True)
class Shape:
    """Polynomial pieces[k], coefficients of 1, x, x^2, ..., from knots[k-1] to knots[k], plus atoms."""

    knots: tuple[fmpq, ...]
    pieces: tuple[tuple[fmpq, ...], ...]
    atoms: tuple[Atom, ...] = ()

    def derivative(self, order: int = 1) -> Shape:
        """The derivative of this order; each jump gives an atom."""
        if order == 0:
            return self
        pieces = tuple(tuple(n * c for n, c in enumerate(piece))[1:] for piece in self.pieces)
        jumps = ((t, _jump(*sides, t)) for t, sides in zip(self.knots, pairwise(self.pieces), strict=True))
        atoms = [Atom(t, n + 1, weight) for t, n, weight in self.atoms]
        atoms += [Atom(t, 0, jump) for t, jump in jumps if jump]
        return Shape(self.knots, pieces, tuple(atoms)).derivative(order - 1)

    def sides(self, x: Any) -> tuple[tuple[fmpq, ...], tuple[fmpq, ...]]:
        """The pieces left and right of a number, which are the same off the knots."""
        return self.pieces[sum(t < x for t in self.knots)], self.pieces[sum(t <= x for t in self.knots)]

    @property
    def degree(self) -> int:
        """The highest power of x."""
        return max(0, *(len(piece) - 1 for piece in self.pieces))


def shape_at(activation: Activation, point: Point) -> Shape:
    """The activation with these numbers for its parameters; pieces between knots that coincide are left out."""
    knots, pieces = _numbers(activation, point)
    kept = [k for k in range(len(knots)) if k + 1 == len(knots) or knots[k] != knots[k + 1]]
    return Shape(tuple(knots[k] for k in kept), (pieces[0], *(pieces[k + 1] for k in kept)))


def lost(activation: Activation, point: Point) -> frozenset[str]:
    """Which of "knots", "jumps" and "pieces" other than 0 are fewer at this point than for nearly all parameters."""
    elsewhere: dict[Any, Any] = {s: sp.Rational(1009 + 97 * k, 101) for k, s in enumerate(activation.parameters)}
    here, there = (_counts(*_numbers(activation, place)) for place in (point, elsewhere))
    return frozenset(name for name in here if here[name] < there[name])


def _numbers(activation: Activation, point: Point) -> tuple[tuple[fmpq, ...], tuple[tuple[fmpq, ...], ...]]:
    pieces = tuple(tuple(fraction(c, point) for c in piece) for piece in activation.pieces)
    return tuple(fraction(t, point) for t in activation.knots), pieces


def _counts(knots: tuple[fmpq, ...], pieces: tuple[tuple[fmpq, ...], ...]) -> dict[str, int]:
    jumps = Shape(knots, pieces).derivative().atoms
    return {"knots": len(set(knots)), "jumps": len(jumps), "pieces": sum(map(any, pieces))}


def fraction(expression: Any, point: Point) -> fmpq:
    """The number that an expression is at a point, as a fraction."""
    if expression.is_Symbol:
        expression = point[expression]
    if expression.is_Rational:
        return fmpq(int(expression.p), int(expression.q))
    if expression.is_Add:
        return sum((fraction(term, point) for term in expression.args), fmpq(0))
    if expression.is_Mul:
        return prod((fraction(factor, point) for factor in expression.args), start=fmpq(1))
    if expression.is_Pow and expression.exp.is_Integer:
        return fraction(expression.base, point) ** int(expression.exp)
    number: Any = sp.Rational(expression.subs(dict(point)).evalf(_DIGITS))
    return fmpq(int(number.p), int(number.q))


def horner(piece: Sequence[Any], x: Any, order: int = 0) -> Any:
    """The derivative of this order of a polynomial, at x."""
    coefficients = [perm(n, order) * piece[n] for n in range(order, len(piece))] if order else piece
    value: Any = 0
    for c in reversed(coefficients):
        value = value * x + c
    return value


def _jump(left: Sequence[fmpq], right: Sequence[fmpq], x: fmpq) -> fmpq:
    jump = horner([b - a for a, b in zip_longest(left, right, fillvalue=fmpq(0))], x)
    size = horner([abs(c) for c in left], abs(x)) + horner([abs(c) for c in right], abs(x))
    return jump if abs(jump) * 10 ** (_DIGITS // 2) > size else fmpq(0)
