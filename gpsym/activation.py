"""The family of activations: continuous piecewise-linear functions, exact, and its named members.

    phi(x) = slopes[k] x + intercepts[k]   for knots[k-1] <= x <= knots[k],

with knots[-1] = -oo on the left and +oo on the right.  Every formula of gpsym is derived from this data;
a named member is one line that fills it in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import sympy as sp

from gpsym.formula import TAU, M, exact, require

__all__ = [
    "ALIASES",
    "MEMBERS",
    "Activation",
    "Piece",
    "Term",
    "clipped_relu",
    "clipped_soft_threshold",
    "member",
    "relu",
    "shifted_relu",
    "soft_threshold",
]


class Piece(NamedTuple):
    """phi(x) = slope x + intercept on lower <= x <= upper."""

    lower: sp.Expr
    upper: sp.Expr
    slope: sp.Expr
    intercept: sp.Expr


class Term(NamedTuple):
    """slope * clamp(x - shift, low, high), in floats; the ends may be infinite."""

    slope: float
    shift: float
    low: float
    high: float


@dataclass(frozen=True)
class Activation:
    """A continuous piecewise-linear function: `len(knots) + 1` pieces slopes[k] x + intercepts[k].

    Arguments
      knots       t_1 <= ... <= t_K.  Knots that merge and neighbours that are one line are joined.
      slopes      K + 1 numbers.
      intercepts  K + 1 numbers.
      name        how the activation is called in tables; takes no part in equality.

    Numbers may be int, float (taken as the rational that it is), Fraction, or SymPy expressions in symbols
    declared real.  Where the order of two symbolic knots cannot be decided it becomes a condition on the
    symbols (`conditions`), which every formula derived from the activation carries along.

    Raises ValueError for unequal lengths, knots out of order, a jump, or numbers that are not finite and real.

    >>> Activation(knots=(0,), slopes=(0, 1), intercepts=(0, 0), name="relu") == relu()
    True
    """

    knots: tuple[sp.Expr, ...]
    slopes: tuple[sp.Expr, ...]
    intercepts: tuple[sp.Expr, ...]
    name: str = field(default="piecewise-linear", compare=False)

    def __init__(self, knots: Iterable, slopes: Iterable, intercepts: Iterable, name: str = "piecewise-linear"):
        t, s, i = (tuple(map(exact, numbers)) for numbers in (knots, slopes, intercepts))
        if not len(s) == len(i) == len(t) + 1:
            raise ValueError(
                f"activation: need one slope and one intercept more than knots, got {len(t)} knots, "
                f"{len(s)} slopes and {len(i)} intercepts; K knots cut the line into K + 1 pieces."
            )
        for left, right in pairwise(t):
            if (right - left).is_negative:
                raise ValueError(f"activation: need knots in increasing order, got {left} before {right}; sort them.")
        if not re.fullmatch(r"[\w .-]+", name):
            raise ValueError(f"activation: need a name of letters, digits, spaces, dots and hyphens, got {name!r}.")
        for k, knot in enumerate(t):
            jump = sp.expand((s[k + 1] - s[k]) * knot + i[k + 1] - i[k])
            if jump != 0:
                raise ValueError(
                    f"activation: need a continuous function, got a jump of {jump} at {knot}; "
                    f"change the intercept right of it by {-jump}, or write decimals as strings, such as '0.1'."
                )
        t, s, i = _joined(t, s, i)
        for attribute, numbers in (("knots", t), ("slopes", s), ("intercepts", i), ("name", name)):
            object.__setattr__(self, attribute, numbers)

    def __call__(self, x: Any) -> sp.Expr:
        """phi(x), exact; the knots must be numbers."""
        x = exact(x)
        piece = next(p for p in self.pieces if x <= p.upper)
        return sp.expand(piece.slope * x + piece.intercept)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The pieces from left to right."""
        ends = (-sp.oo, *self.knots, sp.oo)
        return tuple(map(Piece, ends, ends[1:], self.slopes, self.intercepts))

    @property
    def parameters(self) -> tuple[sp.Symbol, ...]:
        """The free symbols: tau and m first, then the others by name."""
        symbols = set().union(*(e.free_symbols for e in (*self.knots, *self.slopes, *self.intercepts)))
        shared = [s for s in (TAU, M) if s in symbols]
        return (*shared, *sorted(symbols.difference(shared), key=str))  # type: ignore[return-value]

    @property
    def conditions(self) -> tuple[sp.Expr, ...]:
        """Expressions that must be >= 0: the gaps between symbolic knots, up to positive factors."""
        gaps = (sp.expand(right - left) for left, right in pairwise(self.knots))
        undecided = (gap.as_coeff_Mul()[1] for gap in gaps if gap.is_nonnegative is None)
        return tuple(dict.fromkeys(undecided))

    def subs(self, values: dict[sp.Symbol, Any]) -> Activation:
        """The member with these values in place of its symbols.

        Raises ValueError naming the condition that a value breaks.
        """
        numbers = require(self.name, values, self.conditions)
        parts = ([e.subs(numbers) for e in part] for part in (self.knots, self.slopes, self.intercepts))
        return Activation(*parts, name=self.name)

    def clamp_terms(self) -> tuple[float, tuple[Term, ...]]:
        """(offset, terms) with phi(x) = offset + sum of slope * clamp(x - shift, low, high).

        Anchored at an end of a zero piece where there is one, so that zeros and saturated values come out
        exact in floating point.  The knots must be numbers.

        >>> clipped_relu(1, 2).clamp_terms()
        (0.0, (Term(slope=1.0, shift=1.0, low=0.0, high=2.0),))
        """
        if not self.knots:
            (slope,), (intercept,) = self.slopes, self.intercepts
            return float(intercept), (Term(float(slope), 0.0, -math.inf, math.inf),) if slope else ()
        flat = [k for k, p in enumerate(self.pieces) if p.slope == 0 == p.intercept]
        anchor = min(flat[0], len(self.knots) - 1) if flat else 0
        terms = []
        for k, piece in enumerate(self.pieces):
            if piece.slope == 0:
                continue
            right = k > anchor
            width = float(piece.upper - piece.lower)
            low, high = (0.0, width) if right else (-width, 0.0)
            terms.append(Term(float(piece.slope), float(piece.lower if right else piece.upper), low, high))
        return float(self(self.knots[anchor])), tuple(terms)


def _joined(knots: tuple, slopes: tuple, intercepts: tuple) -> tuple[tuple, tuple, tuple]:
    """The same function without empty pieces and without knots at which nothing changes."""
    ends = (*knots, sp.oo)
    # An empty piece is dropped in favour of the one right of it, at the same knot.
    kept = [k for k in range(len(slopes)) if not 0 < k < len(knots) or ends[k] != ends[k - 1]]
    lines = [(slopes[k], intercepts[k]) for k in kept]
    starts = [ends[k - 1] for k in kept]
    new = [k for k in range(len(kept)) if k == 0 or lines[k] != lines[k - 1]]
    return tuple(starts[k] for k in new[1:]), tuple(lines[k][0] for k in new), tuple(lines[k][1] for k in new)


def relu() -> Activation:
    """ReLU, max(0, x)."""
    return Activation((0,), (0, 1), (0, 0), "relu")


def shifted_relu(tau: Any = TAU) -> Activation:
    """Shifted ReLU, ReLU_tau(x) = max(0, x - tau), tau real (Price et al. 2024)."""
    return Activation((tau,), (0, 1), (0, -tau), "shifted-relu")


def soft_threshold(tau: Any = TAU) -> Activation:
    """Soft thresholding, ST_tau(x) = sign(x) max(0, abs(x) - tau), tau >= 0 (Price et al. 2024)."""
    return Activation((-tau, tau), (1, 0, 1), (tau, 0, -tau), "soft-threshold")


def clipped_relu(tau: Any = TAU, m: Any = M) -> Activation:
    """Clipped shifted ReLU, CReLU_{tau,m}(x) = min(max(0, x - tau), m), m > 0 (Price et al. 2024).

    Not the concatenated ReLU, which goes by the same abbreviation.
    """
    tau, m = exact(tau), exact(m)
    return Activation((tau, tau + m), (0, 1, 0), (0, -tau, m), "clipped-relu")


def clipped_soft_threshold(tau: Any = TAU, m: Any = M) -> Activation:
    """Clipped soft thresholding, CST_{tau,m}(x) = sign(x) min(max(0, abs(x) - tau), m), tau >= 0, m > 0."""
    tau, m = exact(tau), exact(m)
    return Activation((-tau - m, -tau, tau, tau + m), (0, 1, 0, 1, 0), (-m, tau, 0, -tau, m), "clipped-soft-threshold")


MEMBERS: dict[str, Callable[..., Activation]] = {
    "relu": relu,
    "shifted-relu": shifted_relu,
    "soft-threshold": soft_threshold,
    "clipped-relu": clipped_relu,
    "clipped-soft-threshold": clipped_soft_threshold,
}
ALIASES = {"relu-tau": "shifted-relu", "st": "soft-threshold", "crelu": "clipped-relu", "cst": "clipped-soft-threshold"}


def member(name: str, **parameters: Any) -> Activation:
    """The named activation; parameters left out or None stay symbolic.

    Raises ValueError for an unknown name, a parameter that the activation does not have, or a bad value.

    >>> member("crelu", tau=1, m=2) == clipped_relu(1, 2)
    True
    """
    canonical = ALIASES.get(name, name)
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
