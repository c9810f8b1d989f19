"""Integrals against the normal density by Gauss-Legendre quadrature in Arb, whose balls carry all rounding errors.

The line, in standard deviations, is cut at the knots and into panels on which the density changes gently.  On each
panel a rule and one of half the nodes are compared, and the panel is halved where they differ by too much.  Twice the
nodes at least square the relative error on an entire function, so that the squared relative distance of both rules,
with a wide margin, bounds the error of the finer one; that bound widens the ball.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from flint import arb, ctx, fmpq

from gpsym.verify.values import Value

__all__ = ["WIDTH", "Rule", "Total", "add_panels", "applied", "density", "mesh", "panel_ends"]

# The widest panel, in standard deviations, and the greatest change on it of the exponent that falls linearly.
WIDTH, _FALL = 4.0, 16.0
# Panels end where the density has fallen by the precision and so many bits, for the powers that it meets.
_MARGIN = 32
_DEPTH = 60  # halvings of a panel


@dataclass
class Total:
    """Integrals over panels, added up."""

    value: arb = field(default_factory=lambda: arb(0))
    error: arb = field(default_factory=lambda: arb(0))
    mass: arb = field(default_factory=lambda: arb(0))

    def add(self, coarse: tuple[arb, arb], fine: tuple[arb, arb]) -> None:
        """Add a panel by its two rules, each a sum and that of the sizes of its terms."""
        self.value += fine[0]
        self.mass += fine[1]
        self.error += _error(coarse, fine)

    def result(self) -> Value:
        """The sum as a ball."""
        return Value(self.value + arb(0, self.error.abs_upper()), self.mass)


def _error(coarse: tuple[arb, arb], fine: tuple[arb, arb]) -> arb:
    difference, mass = (coarse[0] - fine[0]).mid(), fine[1].mid()
    return arb(0) if mass == 0 else 1000 * difference**2 / mass


Rule = list[tuple[arb, arb, arb]]  # U, Z, and the weight with the density


@lru_cache(maxsize=8)  # all quantities of one point share the panels
def mesh(knots: tuple[fmpq, ...], q: fmpq, precision: int) -> list[tuple[list[tuple[Rule, Rule]], Rule]]:
    """For each piece its panels, each with a coarse and a fine rule, and a rule that bounds what lies beyond them."""
    sigma = arb(q).sqrt()
    ends = [None, *(arb(t) / sigma for t in knots), None]
    cuts = [panel_ends(lower, upper) for lower, upper in pairwise(ends)]
    return [
        ([_rules_on(a, b, sigma) for a, b in pairwise(map(arb, places))], _beyond(places, sigma)) for places in cuts
    ]


def _beyond(cuts: Sequence[Any], sigma: arb) -> Rule:
    """Bounds the integrals outward from ends at which the density is small: there it falls by e on 1 / end."""
    ends = [end for end in (*cuts[:1], *cuts[-1:]) if isinstance(end, float)]
    return [(sigma * arb(z), arb(z), 2 * density(arb(z)) / max(1.0, abs(z))) for z in ends]


def _rules_on(a: arb, b: arb, sigma: arb) -> tuple[Rule, Rule]:
    middle, radius = (a + b) / 2, (b - a) / 2
    coarse, fine = (
        [(sigma * z, z, radius * weight * density(z)) for z, weight in ((middle + radius * x, w) for x, w in rule)]
        for rule in _rules(ctx.prec)
    )
    return coarse, fine


def density(z: arb) -> arb:
    return (-z * z / 2).exp() / (2 * arb.pi()).sqrt()


def add_panels(total: Total, function: Callable[[arb], arb], cuts: Sequence[Any], least: Any = 0) -> None:
    """Add the integral of function times density; panels are halved until all errors are small next to the whole.

    least  a size below which the whole is as good as 0.
    """
    panels = [(arb(a), arb(b)) for a, b in pairwise(cuts)]
    found = [_by_both_rules(function, a, b) for a, b in panels]
    whole = sum((fine[1] for _, fine in found), total.mass + least)
    for panel, sums in zip(panels, found, strict=True):
        _add_panel(total, function, panel, sums, (arb(2) ** (_GUARD - ctx.prec) * whole, _DEPTH))
    total.error += applied(_beyond(cuts, arb(1)), lambda _, z: function(z))[1]


def _by_both_rules(function: Callable[[arb], arb], a: arb, b: arb) -> Any:
    coarse, fine = (applied(rule, lambda _, z: function(z)) for rule in _rules_on(a, b, arb(1)))
    return coarse, fine


def _add_panel(total: Total, function: Callable[[arb], arb], panel: Any, sums: Any, limits: tuple[arb, int]) -> None:
    """limits: the error that is allowed, and how often the panel may be halved."""
    (a, b), (coarse, fine), (allowed, depth) = panel, sums, limits
    difference = coarse[0] - fine[0]
    noise = abs(difference.mid()) <= difference.rad()
    if noise or not depth or not _error(coarse, fine) > allowed:
        total.add(coarse, fine)
        return
    middle = (a + b) / 2
    for half in ((a, middle), (middle, b)):
        _add_panel(total, function, half, _by_both_rules(function, *half), (allowed, depth - 1))


def applied(rule: Rule, function: Callable[[arb, arb], arb]) -> tuple[arb, arb]:
    """The sum of a rule for a function of U and Z, and that of the sizes of its terms."""
    value, mass = arb(0), arb(0)
    for u, z, weight in rule:
        term = function(u, z)
        if term == 0:
            continue
        term = term * weight
        value += term
        mass += abs(term)
    return value, mass


_GUARD = 24  # bits of the precision that are left to rounding


@cache
def _rules(precision: int) -> tuple[Any, Any]:
    """Gauss-Legendre nodes and weights on (-1, 1): a coarse rule, and one of twice as many nodes.

    On a panel of radius 2 the error of n nodes for exp(-z^2 / 2) is about 2^-n / n!; the square of the coarse rule's
    is what bounds the finer one's.
    """
    n = next(2 * k for k in range(2, 10**4) if 2 * (k + math.lgamma(k + 1) / math.log(2)) > precision)
    with ctx.workprec(precision + 20):
        coarse, fine = ([arb.legendre_p_root(k, i, weight=True) for i in range(k)] for k in (n // 2, n))
    return coarse, fine


def panel_ends(
    lower: arb | None, upper: arb | None, reach: float = 0.0, steps: Sequence[float] = ()
) -> list[arb | float]:
    """The ends of panels from lower to upper; an end that is a float stands where the density is too small.

    reach  deviations from 0 up to which the other factor may grow faster than the density falls.
    steps  further places at which to cut.
    """
    low, high = (-math.inf if lower is None else float(lower)), (math.inf if upper is None else float(upper))
    start = min(max(0.0, low), high)
    if abs(start) > _FARTHEST:
        return []
    if low == high:
        return [lower, upper] if lower is not None and upper is not None and lower < upper else []
    places = {start, *_outward(start, high, reach), *(-z for z in _outward(-start, -low, reach))}
    places |= {z for z in steps if min(places) < z < max(places)}
    exact: dict[float, Any] = {low: lower, high: upper}
    return [exact.get(z, z) for z in sorted(places)]


# Deviations beyond which the density, below 1e-(10^11), counts as 0.
_FARTHEST = 1e6


def _outward(start: float, end: float, reach: float) -> list[float]:
    """Places from start on to the right, until the end or until the density has fallen far enough."""
    places = []
    z, first = start, max(abs(start), reach)
    while z < end and (z < first or (z * z - first * first) / 2 < (ctx.prec + _MARGIN) * math.log(2)):
        z = min(end, z + min(WIDTH, _FALL / max(1.0, abs(z))))
        places.append(z)
    return places
