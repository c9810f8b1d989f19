"""Edges of chaos of a continuous piecewise-linear activation, exact in sigma_w2 and sigma_b2; and where to look."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import sympy as sp

from gpsym import maps
from gpsym.activation import Activation
from gpsym.formula import Q
from gpsym.numeric import precise
from gpsym.testing.assertions import Undetermined, seed_of
from gpsym.testing.conditions import outward_slopes

__all__ = [
    "assert_positive",
    "edge_excess",
    "edge_gap",
    "edges",
    "grows_outward",
    "mean_square_slope",
    "scanned",
    "variances",
]

_TIMES = 100  # G / sqrt(q) is near its limit long before


def mean_square_slope(phi: Activation) -> Any:
    """E phi'^2 in q."""
    return maps.derivative_moment(phi, 1, 1).expression


def edge_gap(phi: Activation) -> Any:
    """G in q."""
    return Q * mean_square_slope(phi) - maps.second_moment(phi).expression


def edge_excess(phi: Activation, ratio: Any) -> Any:
    """V(ratio q) - ratio q with the sigma_w2 and sigma_b2 that make q an edge of chaos."""
    second: Any = maps.second_moment(phi).expression
    return (second.subs(Q, Q * ratio) - second) / mean_square_slope(phi) - Q * (ratio - 1)


def assert_positive(what: str, expression: Any, point: dict[Any, Any]) -> None:
    """The value, all of whose digits are right, is > 0.  Raises Undetermined for 0, which tells nothing."""
    value = precise(expression, point, 5)
    where = ", ".join(f"{symbol} = {float(number):.6g}" for symbol, number in point.items())
    if value == 0:
        raise Undetermined(f"{what} at {where}: not told from 0")
    assert value > 0, f"{what} at {where}: must be > 0, got {sp.Float(value, 5)}"


@cache
def variances(phi: Activation) -> tuple[Any, ...]:
    """Two variances, (t r)^2 with the outermost knot t, or 1 without, and r between 1/3 and 3."""
    rng = random.Random(seed_of(phi))
    unit = max((abs(float(t)) for t in phi.knots if t != 0), default=1.0)
    return tuple(sp.Rational((unit * 3 ** rng.uniform(-1, 1)) ** 2) for _ in range(2))


@cache
def edges(phi: Activation) -> tuple[Any, ...]:
    """Those, or four times them as often as it takes for an edge of chaos to exist there."""
    gap = edge_gap(phi)
    found = [next((q for q in (4**k * v for k in range(_TIMES)) if precise(gap, {Q: q}, 5) >= 0), None)
             for v in variances(phi)]  # fmt: skip
    assert None not in found, f"an edge of chaos must exist, got none up to 4^{_TIMES} times {variances(phi)}"
    return tuple(found)


def scanned(phi: Activation) -> list[Any]:
    """16 variances from a 30th of the innermost knot's square to 1000 times the outermost's."""
    sizes = [float(t) ** 2 for t in phi.knots if t != 0] or [1.0]
    low, high = min(sizes) / 30, max(sizes) * 1000
    return [sp.Rational(low * (high / low) ** (k / 15)) for k in range(16)]


def grows_outward(phi: Activation) -> bool:
    """Whether |phi| does not fall with the distance from zero, on either side."""
    ends = [(side * x, side * slope) for side in (-1, 1) for start, end, slope in outward_slopes(phi, side)
            for x in (start, end) if x != sp.oo]  # fmt: skip
    return all(phi(x) * rise >= 0 for x, rise in ends)
