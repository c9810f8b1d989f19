"""The plane of sparsity and slope: which designs have one fixed point, and which three.

For the clipped activations at the edge of chaos (theorems fold and curvature, proofs/README.md), tau >= 0 fixed by the
sparsity: with growing clip level m, and so with growing slope V'(q*),

    V''(q*) < 0, then > 0        at `flat_slope`: below it V is concave above q*, beyond q* no fixed point
    one fixed point, then three  at `fold_slope`: the two above q* are born together, in a fold

The fold lies above the other curve, and both fall from 1 as the sparsity grows.  Neither depends on q*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from gpsym import maps
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.formula import TAU, M
from gpsym.members import member
from gpsym.numeric import lambdify

__all__ = ["Fold", "barrier", "flat_slope", "fold"]

# Beyond this clip level, in units of sqrt(q*), no float64 tells the slope from 1.
_MOST_CLIP = 40.0
# Of 1 - V', the distance from q* at which V - q is told from rounding, and no fixed point is as near.
_NEAR = 1e-3
# V'' > 0 for every m from here on (theorem curvature).
_STEEP = math.sqrt(3)


@final
@dataclass(frozen=True)
class Fold:
    """Where two fixed points above q* meet.

    slope  V'(q*) of the design.
    m      its clip level, in units of sqrt(q*).
    q      the double fixed point, in units of q*; V'(q) = 1 there.
    """

    slope: float
    m: float
    q: float


@cache
def fold(activation: str, sparsity: float) -> Fold | None:
    """The fold of a clipped activation at a sparsity: designs of smaller slope have one fixed point, of larger three.

    None at tau = 0, where V is concave, and next to it, where no float64 tells the slope from 1.
    Raises ValueError for other activations, and for a sparsity out of its range.

    >>> round(fold("clipped-relu", 0.85).slope, 10)
    0.9205192531
    """
    tau = _threshold(activation, sparsity)
    if tau == 0:
        return None
    second, gradient = (_function(quantity, activation) for quantity in (maps.second_moment, maps.chi_1))

    def excess(log_q: Any, m: float) -> Any:
        """V(q) - q at q* = 1."""
        q = np.exp(log_q)
        unit = gradient(q=1.0, tau=tau, m=m, sigma_w2=1.0)
        return (second(q=q, tau=tau, m=m) - second(q=1.0, tau=tau, m=m)) / unit - (q - 1)

    def highest(m: float) -> tuple[float, float]:
        """(log q, V(q) - q) where that is greatest, relative to q - 1; it has one maximum beyond the dip at q*."""
        grid = np.geomspace(1e-3, math.log(1e6), 300)
        k = int(np.argmax(excess(grid, m) / np.expm1(grid)))
        low, high = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
        found = minimize_scalar(
            lambda x: -excess(x, m) / math.expm1(x), bounds=(low, high), method="bounded", options={"xatol": 1e-10}
        )
        return float(found.x), float(-found.fun)

    if not highest(_MOST_CLIP)[1] > 0:
        return None
    m: Any = brentq(lambda m: highest(m)[1], 1e-6, _MOST_CLIP, xtol=1e-15)
    slope = _slope(activation, tau, m)
    return Fold(slope, m, math.exp(highest(m)[0])) if slope < 1 else None


@cache
def flat_slope(activation: str, sparsity: float) -> float:
    """The slope V'(q*) at which V''(q*) = 0 at a sparsity; 1 at tau = 0, 0 from tau = sqrt(3 q*) on.

    Raises ValueError as `fold` does.
    """
    tau = _threshold(activation, sparsity)
    if tau == 0:
        return 1.0
    if tau >= _STEEP:
        return 0.0
    curvature = _function(maps.curvature, activation)
    m: Any = brentq(lambda m: curvature(q=1.0, tau=tau, m=m, sigma_w2=1.0), 1e-9, _MOST_CLIP, xtol=1e-15)
    return _slope(activation, tau, m)


def barrier(design: CriticalInit, sparsity: float) -> float | None:
    """The repelling fixed point above q* of a clipped design of this sparsity; None below the fold.

    In floats, and so faster than `gpsym.stability.basin`, which is certain.
    """
    born = fold(design.activation, sparsity)
    if born is None or design.slope <= born.slope:
        return None
    second = _function(maps.second_moment, design.activation)

    def excess(q: float) -> float:
        return float(design.sigma_w2 * second(q=q, tau=design.tau, m=design.m) + design.sigma_b2 - q)

    # It moves from the fold's double point towards q* as the slope grows.
    root: Any = brentq(excess, design.q_star * (1 + _NEAR * (1 - design.slope)), design.q_star * born.q)
    return root


def _threshold(activation: str, sparsity: float) -> float:
    """tau / sqrt(q*) at a sparsity."""
    phi = member(activation)
    if phi.parameters != (TAU, M):
        raise ValueError(
            f"fold: need clipped-relu or clipped-soft-threshold, got {phi.name}; others have no such diagram."
        )
    return float(edge_of_chaos(phi, sparsity=sparsity, m=1.0).tau or 0.0)


def _slope(activation: str, tau: float, m: float) -> float:
    """V'(q*) / chi_1(q*) at q* = 1."""
    rise, gradient = (_function(quantity, activation) for quantity in (maps.slope, maps.chi_1))
    at = {"q": 1.0, "tau": tau, "m": m, "sigma_w2": 1.0}
    return float(rise(**at) / gradient(**at))


@cache
def _function(quantity: Any, activation: str) -> Any:
    return lambdify(quantity(member(activation)), "numpy")
