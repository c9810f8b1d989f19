"""The family of activations: piecewise polynomials, exact, with or without jumps.

    phi(x) = sum_n pieces[k][n] x^n   for knots[k-1] < x < knots[k],

with knots[-1] = -oo on the left and +oo on the right.  Every formula of gpsym is derived from this data;
the named ones are in gpsym.members.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import sympy as sp

from gpsym.formula import TAU, M, X, exact, require
from gpsym.limits import shown
from gpsym.piecewise import Piecewise, ring_of

__all__ = ["Activation", "Atom", "Distribution", "Term", "common"]

_DIGITS = 50  # of zeros that are neither rational nor square roots


class Term(NamedTuple):
    """slope * clamp(x - shift, low, high), in floats; the ends may be infinite.

    An end is closed if the slope counts there too: where the neighbour beyond it is steeper the same way.  So at every
    knot the slopes that count add up to the number nearest to 0 between those on its sides.
    """

    slope: float
    shift: float
    low: float
    high: float
    closed_low: bool = False
    closed_high: bool = False


@dataclass(frozen=True)
class Activation:
    """A piecewise polynomial: `len(knots) + 1` pieces, each the coefficients of 1, x, x^2, ...

    Arguments
      knots   t_1 <= ... <= t_K.  Knots that merge and neighbours that are one polynomial are joined.
      pieces  K + 1 sequences of coefficients; an empty one is the zero function.
      name    how the activation is called in tables; takes no part in equality.

    Numbers may be int, float (taken as the rational that it is), Fraction, str (as "1/10"), or SymPy expressions
    in symbols declared real.  Where the order of two symbolic knots cannot be decided it becomes a condition on
    the symbols (`conditions`), which every formula derived from the activation carries along.

    Activations add, subtract and multiply with each other and with numbers, have powers, an absolute value (`abs`),
    derivatives (`derivative`) and affine changes of argument (`affine`); phi(x) is the value at a number.

    Raises ValueError for unequal lengths, knots out of order, or numbers that are not finite and real.

    >>> from gpsym import identity, relu
    >>> Activation(knots=(0,), pieces=((0,), (0, 1)), name="relu") == relu()
    True
    >>> relu() - relu().affine(-1) == identity()
    True
    """

    knots: tuple[sp.Expr, ...]
    pieces: tuple[tuple[sp.Expr, ...], ...]
    name: str = field(default="piecewise-polynomial", compare=False)

    def __init__(self, knots: Iterable, pieces: Iterable[Iterable], name: str = "piecewise-polynomial"):
        t, *parts = ([exact(c, "activation") for c in _entries(part)] for part in (knots, *_entries(pieces)))
        if len(parts) != len(t) + 1:
            raise ValueError(
                f"activation: need one piece more than knots, got {len(t)} knots and {len(parts)} pieces; "
                "K knots cut the line into K + 1 pieces."
            )
        if not (isinstance(name, str) and re.fullmatch(r"[\w .-]{1,100}", name)):
            raise ValueError(
                "activation: need a name of up to 100 letters, digits, spaces, dots and hyphens, got "
                f"{shown(name, repr)}; choose another."
            )
        for left, right in pairwise(t):
            if (right - left).is_negative:
                raise ValueError(f"activation: need knots in increasing order, got {left} before {right}; sort them.")
        ring, numbers = ring_of([*t, *(c for piece in parts for c in piece)])
        rest = iter(numbers[len(t) :])
        core = Piecewise.function(ring, numbers[: len(t)], [[next(rest) for _ in piece] for piece in parts])
        self._fill(core.joined(), name)

    def _fill(self, core: Piecewise, name: str) -> None:
        for attribute, value in (
            ("knots", tuple(t.as_expr() for t in core.knots)),
            ("pieces", tuple(tuple(c.as_expr() for c in piece) for piece in core.pieces)),
            ("name", name),
        ):
            object.__setattr__(self, attribute, value)

    @classmethod
    def _of(cls, core: Piecewise, name: str = "piecewise-polynomial") -> Activation:
        activation = cls.__new__(cls)
        activation._fill(core.joined(), name)
        return activation

    def named(self, name: str) -> Activation:
        """The same function under another name."""
        return Activation(self.knots, self.pieces, name)

    def __call__(self, x: Any) -> sp.Expr:
        """phi(x), exact; the knots must be numbers.

        At a jump it is the number nearest to 0 between the one-sided limits, such as 0 for sign(0).
        """
        x = exact(x, self.name)
        place = sum(bool(t < x) for t in self.knots)
        left = _value(self.pieces[place], x)
        if place == len(self.knots) or self.knots[place] != x:
            return left
        right = _value(self.pieces[place + 1], x)
        return sp.S.Zero if (left * right).is_nonpositive else min(left, right, key=abs)

    @property
    def intervals(self) -> tuple[tuple[sp.Expr, sp.Expr, tuple[sp.Expr, ...]], ...]:
        """(lower, upper, coefficients) of the pieces from left to right."""
        ends = (-sp.oo, *self.knots, sp.oo)
        return tuple(zip(ends, ends[1:], self.pieces, strict=False))

    @property
    def degree(self) -> int:
        """The highest power of x in any piece."""
        return max(0, *(len(piece) - 1 for piece in self.pieces))

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The free symbols: tau and m first, then the others by name."""
        symbols = set().union(*(e.free_symbols for e in (*self.knots, *(c for p in self.pieces for c in p))))
        shared = [s for s in (TAU, M) if s in symbols]
        return (*shared, *sorted(symbols.difference(shared), key=str))  # type: ignore[return-value]

    @property
    def conditions(self) -> tuple[sp.Expr, ...]:
        """Expressions that must be >= 0: the gaps between symbolic knots, up to positive factors."""
        gaps = (sp.expand(right - left) for left, right in pairwise(self.knots))
        undecided = (gap.as_coeff_Mul()[1] for gap in gaps if gap.is_nonnegative is None)
        return tuple(dict.fromkeys(undecided))

    def jumps(self, order: int = 0) -> tuple[tuple[sp.Expr, sp.Expr], ...]:
        """(knot, jump there, right minus left) of phi, or of its derivative of this order, where it jumps.

        >>> from gpsym import clipped_relu
        >>> clipped_relu().jumps(1)
        ((tau, 1), (m + tau, -1))
        """
        (core,) = common(self)
        derivatives = ((knot, core.jump(k)) for k, knot in enumerate(self.knots))
        return tuple((knot, d[order].as_expr()) for knot, d in derivatives if len(d) > order and d[order])

    def subs(self, values: dict[sp.Symbol, Any]) -> Activation:
        """The member with these values in place of its symbols.

        Raises ValueError naming the condition that a value breaks.
        """
        numbers = require(self.name, values, self.conditions)
        knots = [t.subs(numbers) for t in self.knots]
        return Activation(knots, [[c.subs(numbers) for c in piece] for piece in self.pieces], name=self.name)

    def __add__(self, other: Any) -> Activation:
        f, g = common(self, _operand(other))
        return Activation._of(f + g)

    def __mul__(self, other: Any) -> Activation:
        f, g = common(self, _operand(other))
        return Activation._of(f * g)

    def __sub__(self, other: Any) -> Activation:
        return self + -1 * _operand(other)

    def __rsub__(self, other: Any) -> Activation:
        return -1 * self + other

    def __neg__(self) -> Activation:
        return -1 * self

    def __pow__(self, exponent: int) -> Activation:
        (f,) = common(self)
        return Activation._of(f**exponent)

    __radd__ = __add__
    __rmul__ = __mul__

    def __abs__(self) -> Activation:
        """|phi|, each piece cut at its zeros and turned over where it is negative.

        Exact where zeros are rational or square roots.  Others, and those of pieces of degree 2 and more with
        irrational coefficients, are rounded to 50 digits, so that the sign is wrong between the two.
        Raises ValueError where symbols leave a sign open.

        >>> from gpsym import identity, soft_threshold
        >>> abs(identity()) == Activation((0,), ((0, -1), (0, 1)))
        True
        >>> abs(soft_threshold()).pieces
        ((-tau, -1), (), (-tau, 1))
        """
        parts = [part for interval in self.intervals for part in _absolute_parts(*interval)]
        return Activation([upper for upper, _ in parts[:-1]], [piece for _, piece in parts])

    def affine(self, slope: Any = 1, shift: Any = 0) -> Activation:
        """phi(slope x + shift); the sign of the slope must be known.

        >>> from gpsym import relu, shifted_relu
        >>> relu().affine(1, -TAU) == shifted_relu()
        True
        """
        slope, shift = exact(slope, "affine"), exact(shift, "affine")
        if slope.is_zero:
            return Activation((), ((self(shift),),))
        if slope.is_positive is None:
            raise ValueError(f"affine: need a slope of known sign, got {slope}; declare its symbols positive.")
        (f,), (a, b, inverse) = common(self, also=(abs(slope), shift, 1 / abs(slope)))
        core = f.composed(a, b, inverse) if slope.is_positive else f.composed(a, b, inverse).mirrored()
        return Activation._of(core)

    def derivative(self, order: int = 1) -> Distribution:
        """The derivative, a function plus atoms at the knots.

        >>> from gpsym import relu
        >>> str(relu().derivative(2).atoms)
        '(Atom(knot=0, order=0, weight=1),)'
        """
        (f,) = common(self)
        core = f.derivative(order)
        atoms = (
            Atom(knot.as_expr(), n, weight.as_expr())
            for knot, weights in zip(core.knots, core.atoms, strict=True)
            for n, weight in enumerate(weights)
            if weight
        )
        return Distribution(Activation._of(Piecewise.function(core.ring, core.knots, core.pieces)), tuple(atoms))

    @property
    def is_sum_of_clamps(self) -> bool:
        """Whether it is continuous and piecewise linear."""
        return self.degree <= 1 and not self.jumps()

    def clamp_terms(self) -> tuple[float, tuple[Term, ...]]:
        """(offset, terms) with phi(x) = offset + sum of slope * clamp(x - shift, low, high).

        Anchored at an end of a zero piece where there is one, so that zeros and saturated values come out
        exact in floating point.  phi must be continuous and piecewise linear, with numbers for its knots.

        >>> from gpsym import clipped_relu
        >>> clipped_relu(1, 2).clamp_terms()
        (0.0, (Term(slope=1.0, shift=1.0, low=0.0, high=2.0, closed_low=False, closed_high=False),))
        """
        assert self.is_sum_of_clamps, "no sum of clamps"
        beside = [0, *((*piece, 0, 0)[1] for piece in self.pieces), 0]
        if not self.knots:
            (intercept, slope) = (*self.pieces[0], 0, 0)[:2]
            return float(intercept), (Term(float(slope), 0.0, -math.inf, math.inf),) if slope else ()
        flat = [k for k, piece in enumerate(self.pieces) if not piece]
        anchor = min(flat[0], len(self.knots) - 1) if flat else 0
        terms = []
        for k, (lower, upper, _) in enumerate(self.intervals):
            before, slope, after = beside[k : k + 3]
            if slope == 0:
                continue
            closed = (abs(slope) < abs(other) and slope * other > 0 for other in (before, after))
            right = k > anchor
            width = float(upper - lower)
            low, high = (0.0, width) if right else (-width, 0.0)
            terms.append(Term(float(slope), float(lower if right else upper), low, high, *map(bool, closed)))
        return float(self(self.knots[anchor])), tuple(terms)


class Atom(NamedTuple):
    """weight * delta^(order)(x - knot), the order-th derivative of Dirac's delta."""

    knot: sp.Expr
    order: int
    weight: sp.Expr


@dataclass(frozen=True)
class Distribution:
    """A piecewise polynomial plus atoms at its knots: what the derivatives of an activation are.

    function  the part that is a function.
    atoms     the rest, from left to right.
    """

    function: Activation
    atoms: tuple[Atom, ...]


@lru_cache(maxsize=1024)
def _common(activations: tuple[Activation, ...], also: tuple[sp.Expr, ...]) -> tuple:
    expressions = [e for phi in activations for e in (*phi.knots, *(c for piece in phi.pieces for c in piece))]
    ring, elements = ring_of([*expressions, *also])
    rest = iter(elements)
    cores = []
    for phi in activations:
        knots = [next(rest) for _ in phi.knots]
        cores.append(Piecewise.function(ring, knots, [[next(rest) for _ in piece] for piece in phi.pieces]))
    return tuple(cores), tuple(rest)


def common(*activations: Activation, also: Sequence[sp.Expr] = ()) -> Any:
    """The activations over one ring, as `Piecewise`s; with `also`, (those, these expressions as ring elements)."""
    cores, others = _common(activations, tuple(also))
    return (cores, others) if also else cores


def _operand(other: Any) -> Activation:
    return other if isinstance(other, Activation) else Activation((), ((other,),))


def _entries(values: Any) -> tuple[Any, ...]:
    """The entries of a sequence of numbers or of pieces."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping):
        return tuple(values)
    raise ValueError(f"activation: need lists of numbers, got {shown(values, repr)}; write one.")


def _value(piece: Sequence[sp.Expr], x: sp.Expr) -> sp.Expr:
    return sp.expand(sum((c * x**n for n, c in enumerate(piece)), start=sp.S.Zero))


def _absolute_parts(lower: sp.Expr, upper: sp.Expr, piece: tuple[sp.Expr, ...]) -> list[tuple[sp.Expr, list]]:
    """(upper end, coefficients) of |polynomial| on an interval, a part for each sign."""
    ends = [lower, upper]
    if not sp.Tuple(*ends, *piece).free_symbols:
        ends = [lower, *(zero for zero in _zeros(piece) if lower < zero < upper), upper]
        signs = [1 if _value(piece, _between(*part)) > 0 else -1 for part in pairwise(ends)]
    else:
        signs = [_sign_on(lower, upper, piece)]
    return [(end, [sign * c for c in piece]) for end, sign in zip(ends[1:], signs, strict=True)]


def _between(lower: sp.Expr, upper: sp.Expr) -> Any:
    """A number inside an interval."""
    if lower == -sp.oo:
        return sp.S.Zero if upper == sp.oo else upper - 1
    return lower + 1 if upper == sp.oo else (lower + upper) / 2


def _zeros(piece: Sequence[sp.Expr]) -> list[sp.Expr]:
    """The real zeros of a polynomial, from left to right."""
    if len(piece) <= 2:
        return [-piece[0] / piece[1]] if len(piece) == 2 else []
    rational = all(c.is_Rational for c in piece)  # SymPy orders the roots of no others
    numbers = piece if rational else [sp.Rational(c.evalf(_DIGITS)) for c in piece]
    zeros: Any = dict.fromkeys(sp.real_roots(sp.Poly(numbers[::-1], X)))
    return [z if rational and not z.has(sp.CRootOf) else sp.Rational(z.evalf(_DIGITS)) for z in zeros]


def _sign_on(lower: sp.Expr, upper: sp.Expr, piece: Sequence[sp.Expr]) -> int:
    """The sign of a polynomial on an interval, where its coefficients in the distance from an end all have it."""
    polynomial = sp.Add(*(c * X**n for n, c in enumerate(piece)))
    for distance in (lower + X, upper - X):
        if len(piece) == 1 or not distance.is_infinite:
            coefficients = sp.Poly(polynomial.subs(X, distance), X).coeffs() if len(piece) > 1 else piece
            for sign in (1, -1):
                if all((sign * c).is_nonnegative for c in coefficients):
                    return sign
    raise ValueError(
        f"abs: need pieces whose signs show, got {polynomial} between {lower} and {upper}; put numbers for symbols."
    )
