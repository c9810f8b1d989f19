"""The family of activations: piecewise polynomials, exact, with or without jumps, and its named members.

    phi(x) = sum_n pieces[k][n] x^n   for knots[k-1] < x < knots[k],

with knots[-1] = -oo on the left and +oo on the right.  Every formula of gpsym is derived from this data;
a named member is one line that fills it in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import sympy as sp

from gpsym.formula import TAU, A, M, exact, require
from gpsym.piecewise import Piecewise, ring_of

__all__ = [
    "ALIASES",
    "MEMBERS",
    "Activation",
    "Atom",
    "Distribution",
    "Term",
    "absolute",
    "clipped_relu",
    "clipped_soft_threshold",
    "common",
    "hard_shrink",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "jump_relu",
    "leaky_relu",
    "member",
    "prelu",
    "relu",
    "relu6",
    "shifted_relu",
    "sign",
    "soft_threshold",
    "squared_relu",
]


class Term(NamedTuple):
    """slope * clamp(x - shift, low, high), in floats; the ends may be infinite."""

    slope: float
    shift: float
    low: float
    high: float


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

    Activations add, subtract and multiply with each other and with numbers, have powers, derivatives
    (`derivative`) and affine changes of argument (`affine`); phi(x) is the value at a number.

    Raises ValueError for unequal lengths, knots out of order, or numbers that are not finite and real.

    >>> Activation(knots=(0,), pieces=((0,), (0, 1)), name="relu") == relu()
    True
    >>> relu() - relu().affine(-1) == identity()
    True
    """

    knots: tuple[sp.Expr, ...]
    pieces: tuple[tuple[sp.Expr, ...], ...]
    name: str = field(default="piecewise-polynomial", compare=False)

    def __init__(self, knots: Iterable, pieces: Iterable[Iterable], name: str = "piecewise-polynomial"):
        t, parts = tuple(map(exact, knots)), tuple(tuple(map(exact, piece)) for piece in pieces)
        if len(parts) != len(t) + 1:
            raise ValueError(
                f"activation: need one piece more than knots, got {len(t)} knots and {len(parts)} pieces; "
                "K knots cut the line into K + 1 pieces."
            )
        if not re.fullmatch(r"[\w .-]+", name):
            raise ValueError(f"activation: need a name of letters, digits, spaces, dots and hyphens, got {name!r}.")
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
        x = exact(x)
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

    def affine(self, slope: Any = 1, shift: Any = 0) -> Activation:
        """phi(slope x + shift); the sign of the slope must be known.

        >>> relu().affine(1, -TAU) == shifted_relu()
        True
        """
        slope, shift = exact(slope), exact(shift)
        if slope.is_zero:
            return Activation((), ((self(shift),),))
        if slope.is_positive is None:
            raise ValueError(f"affine: need a slope of known sign, got {slope}; declare its symbols positive.")
        (f,), (a, b, inverse) = common(self, also=(abs(slope), shift, 1 / abs(slope)))
        core = f.composed(a, b, inverse) if slope.is_positive else f.composed(a, b, inverse).mirrored()
        return Activation._of(core)

    def derivative(self, order: int = 1) -> Distribution:
        """The derivative, a function plus atoms at the knots.

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

        >>> clipped_relu(1, 2).clamp_terms()
        (0.0, (Term(slope=1.0, shift=1.0, low=0.0, high=2.0),))
        """
        assert self.is_sum_of_clamps, "no sum of clamps"
        lines = [(*piece, 0, 0)[:2] for piece in self.pieces]
        if not self.knots:
            ((intercept, slope),) = lines
            return float(intercept), (Term(float(slope), 0.0, -math.inf, math.inf),) if slope else ()
        flat = [k for k, piece in enumerate(self.pieces) if not piece]
        anchor = min(flat[0], len(self.knots) - 1) if flat else 0
        terms = []
        for k, (lower, upper, _) in enumerate(self.intervals):
            slope = float(lines[k][1])
            if slope == 0:
                continue
            right = k > anchor
            width = float(upper - lower)
            low, high = (0.0, width) if right else (-width, 0.0)
            terms.append(Term(slope, float(lower if right else upper), low, high))
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


def _value(piece: Sequence[sp.Expr], x: sp.Expr) -> sp.Expr:
    return sp.expand(sum((c * x**n for n, c in enumerate(piece)), start=sp.S.Zero))


def relu() -> Activation:
    """ReLU, max(0, x)."""
    return Activation((0,), ((), (0, 1)), "relu")


def shifted_relu(tau: Any = TAU) -> Activation:
    """Shifted ReLU, ReLU_tau(x) = max(0, x - tau), tau real (Price et al. 2024)."""
    return Activation((tau,), ((), (-exact(tau), 1)), "shifted-relu")


def soft_threshold(tau: Any = TAU) -> Activation:
    """Soft thresholding, ST_tau(x) = sign(x) max(0, abs(x) - tau), tau >= 0 (Price et al. 2024)."""
    tau = exact(tau)
    return Activation((-tau, tau), ((tau, 1), (), (-tau, 1)), "soft-threshold")


def clipped_relu(tau: Any = TAU, m: Any = M) -> Activation:
    """Clipped shifted ReLU, CReLU_{tau,m}(x) = min(max(0, x - tau), m), m > 0 (Price et al. 2024).

    Not the concatenated ReLU, which goes by the same abbreviation.
    """
    tau, m = exact(tau), exact(m)
    return Activation((tau, tau + m), ((), (-tau, 1), (m,)), "clipped-relu")


def clipped_soft_threshold(tau: Any = TAU, m: Any = M) -> Activation:
    """Clipped soft thresholding, CST_{tau,m}(x) = sign(x) min(max(0, abs(x) - tau), m), tau >= 0, m > 0."""
    tau, m = exact(tau), exact(m)
    knots = (-tau - m, -tau, tau, tau + m)
    return Activation(knots, ((-m,), (tau, 1), (), (-tau, 1), (m,)), "clipped-soft-threshold")


def identity() -> Activation:
    """x."""
    return Activation((), ((0, 1),), "identity")


def absolute() -> Activation:
    """abs(x)."""
    return Activation((0,), ((0, -1), (0, 1)), "abs")


def sign() -> Activation:
    """sign(x): -1, 0 or 1."""
    return Activation((0,), ((-1,), (1,)), "sign")


def leaky_relu(a: Any = "1/100") -> Activation:
    """Leaky ReLU, x for x > 0 and a x for x < 0."""
    return Activation((0,), ((0, a), (0, 1)), "leaky-relu")


def prelu(a: Any = A) -> Activation:
    """Parametric ReLU: leaky ReLU with any slope a (He et al. 2015)."""
    return leaky_relu(a).named("prelu")


def hard_tanh() -> Activation:
    """Hard tanh, min(max(x, -1), 1)."""
    return Activation((-1, 1), ((-1,), (0, 1), (1,)), "hard-tanh")


def relu6() -> Activation:
    """ReLU6, min(max(0, x), 6)."""
    return Activation((0, 6), ((), (0, 1), (6,)), "relu6")


def hard_sigmoid() -> Activation:
    """Hard sigmoid, min(max(0, x / 6 + 1 / 2), 1)."""
    return Activation((-3, 3), ((), ("1/2", "1/6"), (1,)), "hard-sigmoid")


def hard_swish() -> Activation:
    """Hard swish, x hard_sigmoid(x) (Howard et al. 2019)."""
    return (identity() * hard_sigmoid()).named("hard-swish")


def squared_relu() -> Activation:
    """Squared ReLU, max(0, x)^2 (So et al. 2021)."""
    return Activation((0,), ((), (0, 0, 1)), "squared-relu")


def hard_shrink(tau: Any = TAU) -> Activation:
    """Hard shrinkage, x for abs(x) > tau and 0 between, tau >= 0."""
    tau = exact(tau)
    return Activation((-tau, tau), ((0, 1), (), (0, 1)), "hard-shrink")


def jump_relu(tau: Any = TAU) -> Activation:
    """JumpReLU (FATReLU), x for x > tau and 0 elsewhere (Erichson et al. 2019; Kurtz et al. 2020)."""
    return Activation((tau,), ((), (0, 1)), "jump-relu")


MEMBERS: dict[str, Callable[..., Activation]] = {
    "relu": relu,
    "shifted-relu": shifted_relu,
    "soft-threshold": soft_threshold,
    "clipped-relu": clipped_relu,
    "clipped-soft-threshold": clipped_soft_threshold,
    "identity": identity,
    "abs": absolute,
    "sign": sign,
    "leaky-relu": leaky_relu,
    "prelu": prelu,
    "hard-tanh": hard_tanh,
    "relu6": relu6,
    "hard-sigmoid": hard_sigmoid,
    "hard-swish": hard_swish,
    "squared-relu": squared_relu,
    "hard-shrink": hard_shrink,
    "jump-relu": jump_relu,
}
ALIASES = {"relu-tau": "shifted-relu", "st": "soft-threshold", "crelu": "clipped-relu", "cst": "clipped-soft-threshold"}


def member(name: str, **parameters: Any) -> Activation:
    """The named activation; parameters left out or None stay symbolic.

    Raises ValueError for an unknown name, a parameter that the activation does not have, or a bad value.

    >>> member("crelu", tau=1, m=2) == clipped_relu(1, 2)
    True
    """
    spelled = name.replace("_", "-").lower()
    canonical = ALIASES.get(spelled, spelled)
    if canonical not in MEMBERS:
        raise ValueError(f"activation: unknown name {name!r}; choose from {', '.join([*MEMBERS, *ALIASES])}.")
    family = MEMBERS[canonical]()
    accepted = {str(symbol): symbol for symbol in family.parameters}
    given = {key: value for key, value in parameters.items() if value is not None}
    for key, value in given.items():
        if key not in accepted:
            takes = " and ".join(accepted) or "no parameters"
            raise ValueError(f"{canonical}: takes {takes}, got {key} = {value}; leave {key} out.")
    return family.subs({accepted[key]: value for key, value in given.items()})
