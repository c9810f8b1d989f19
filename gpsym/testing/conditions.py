"""The knots of a continuous piecewise-linear activation, and what the theorems ask of them.

Where phi' jumps by c at a knot t,

    V'  = chi_1 + sigma_w2 sum of clip N(t; q)                                   clip = c phi(t)
    V'' = sigma_w2 / (2 q) sum of (growth + clip (t^2 / q - 1)) N(t; q)          growth = t times the jump of phi'^2
    G'  = sum of (growth / 2 - clip) N(t; q),   G = q E phi'^2 - E phi^2

with N(t; q) the density of N(0, q).  N does not tell t from -t: so knots at one distance from zero count as one `Bend`,
with the sums of theirs.  Sums with weights N that decrease with the distance have the sign that all partial sums from
the nearest bend on share (Abel's summation): that is how conditions for every q are read off.

A condition is a function that returns None where it holds and else why it does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import sympy as sp

from gpsym.activation import Activation
from gpsym.equality import Equal, equal

__all__ = [
    "Bend",
    "Condition",
    "bends",
    "clipped",
    "dead_zone",
    "has_edge_of_chaos",
    "is_dead_zone",
    "marginal",
    "not_affine",
    "not_constant",
    "not_homogeneous",
    "outward_slopes",
    "partial_sums",
    "piecewise_linear",
    "sign_changes",
]

Condition = Callable[[Activation], str | None]


class Bend(NamedTuple):
    """The knots t and -t together.

    knot    one of them; the one that is not negative, where that is known.
    clip    sum of c phi(t).
    growth  sum of t times the jump of phi'^2 at t.
    """

    knot: sp.Expr
    clip: sp.Expr
    growth: sp.Expr

    @property
    def gap(self) -> sp.Expr:
        """Twice the weight of N in G'; it is the jump of the squared intercept of phi's lines, divided by t."""
        return self.growth - 2 * self.clip


@cache
def bends(phi: Activation) -> tuple[Bend, ...]:
    """The bends of a continuous piecewise-linear activation, from the nearest to zero on if its knots are numbers."""
    found: dict[Any, Bend] = {}
    for t, left, right in zip(phi.knots, phi.pieces, phi.pieces[1:], strict=False):
        c = _slope(right) - _slope(left)
        value = sum((a * t**n for n, a in enumerate(left)), start=sp.S.Zero)
        clip, growth = c * value, c * (_slope(right) + _slope(left)) * t
        _, before, grown = found.get(sp.expand(t**2), (None, 0, 0))
        knot = -t if t.is_negative else t
        found[sp.expand(t**2)] = Bend(knot, sp.expand(before + clip), sp.expand(grown + growth))
    return tuple(found.values() if phi.parameters else sorted(found.values(), key=lambda bend: bend.knot))


def _slope(piece: Sequence[Any]) -> Any:
    return piece[1] if len(piece) > 1 else sp.S.Zero


def partial_sums(weights: Iterable[Any]) -> tuple[Any, ...]:
    """Of the weights of N in the order of the bends."""
    return tuple(accumulate(weights))


def sign_changes(numbers: Iterable[Any]) -> int:
    """How often the sign changes from one number that is not zero to the next."""
    signs = [n > 0 for n in numbers if n != 0]
    return sum(bool(a != b) for a, b in pairwise(signs))


def outward_slopes(phi: Activation, side: int) -> tuple[tuple[Any, Any, Any], ...]:
    """(start, end, slope in x) of the pieces on one side of zero, by distance from it; the side is 1 or -1."""
    parts = [
        (sp.Max(lower * side, 0), upper * side, _slope(piece))
        for low, high, piece in phi.intervals
        for lower, upper in ((low, high) if side > 0 else (high, low),)
        if upper * side > 0
    ]
    return tuple(sorted(parts, key=lambda part: part[0]))


# Conditions.  All but the first two presuppose the first, and all but the first three numbers for the knots.


def piecewise_linear(phi: Activation) -> str | None:
    """phi is continuous and piecewise linear."""
    if jumps := phi.jumps():
        return f"phi must be continuous, but jumps by {jumps[0][1]} at {jumps[0][0]}"
    return f"phi must be piecewise linear, but has degree {phi.degree}" if phi.degree > 1 else None


def not_constant(phi: Activation) -> str | None:
    """phi is not constant."""
    return None if any(_slope(piece) != 0 for piece in phi.pieces) else "phi must not be constant"


def marginal(phi: Activation) -> str | None:
    """The jumps of phi' times phi add up to zero at each distance from zero; so they do where phi is zero at each knot.

    Necessary for V' = chi_1 at all q, since the densities N(t; q) of different distances are linearly independent
    functions of q.
    """
    bad = next((bend for bend in bends(phi) if equal(bend.clip) != Equal()), None)
    return bad and f"phi times the jump of phi' must add up to 0 at |x| = {bad.knot}, but adds up to {bad.clip}"


def not_affine(phi: Activation) -> str | None:
    """phi' jumps somewhere."""
    return None if phi.knots else "phi must not be affine"


def not_homogeneous(phi: Activation) -> str | None:
    """phi is not c x for x > 0 and d x for x < 0, for which V is linear and every q is as good as any other."""
    if all(t == 0 for t in phi.knots) and phi(0) == 0:
        return "phi must not be c x for x > 0 and d x for x < 0, for which V is linear"
    return None


def clipped(phi: Activation) -> str | None:
    """sum of clip over |t| <= s is never positive, and negative for some s: so V' < chi_1 at every q."""
    sums = partial_sums(bend.clip for bend in bends(phi))
    rises = [bend.knot for bend, total in zip(bends(phi), sums, strict=True) if total > 0]
    if rises:
        return f"phi times the jump of phi', summed over knots |t| <= {rises[0]}, must not be positive"
    return None if any(total < 0 for total in sums) else "phi times the jump of phi' must be negative at some knot"


def has_edge_of_chaos(phi: Activation) -> str | None:
    """G > 0 at large q; so it is where phi(0) = 0 and phi' has two slopes on one side of zero.

    G / sqrt(q) increases (`theorems.existence`) to the sum of gap / sqrt(2 pi).
    """
    total = sum((bend.gap for bend in bends(phi)), start=sp.S.Zero)
    if total > 0:
        return None
    return f"no edge of chaos exists at any q*: the gaps of the knots add up to {total}, which must be > 0"


class DeadZone(NamedTuple):
    """0 for |x| < tau, then of slopes left and right, which may be 0, until |x| = end, which may be infinite."""

    tau: sp.Expr
    end: sp.Expr
    left: sp.Expr
    right: sp.Expr


def dead_zone(phi: Activation) -> DeadZone | None:
    """phi as one, if it is."""
    sides = {side: [part for part in outward_slopes(phi, side) if part[2] != 0] for side in (-1, 1)}
    bounds = {(start, end) for parts in sides.values() for start, end, _ in parts}
    if phi(0) != 0 or len(bounds) != 1:
        return None
    ((tau, end),) = bounds
    left, right = (sum((slope for _, _, slope in sides[side]), start=sp.S.Zero) for side in (-1, 1))
    return DeadZone(tau, end, left, right)


def is_dead_zone(phi: Activation) -> str | None:
    """phi is 0 up to a threshold, the same on both sides, then linear, and constant from a clip level on, if any."""
    if dead_zone(phi):
        return None
    return "phi must be 0 for |x| < tau, then linear on each side, and perhaps constant beyond one |x|"
