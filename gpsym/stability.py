"""Where the variance map of a design leads: its fixed points, and from where it returns to the target.

Iterates q, V(q), V(V(q)), ... are the pre-activation variances of the layers of a wide network.  A fixed point
attracts them if |V'| < 1 and repels them if |V'| > 1; gradients keep their size there if chi_1 = 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import brentq

from gpsym import maps
from gpsym.design import CriticalInit
from gpsym.formula import Formula, Q
from gpsym.numeric import evaluate, lambdify, precise

__all__ = ["FixedPoint", "basin", "fixed_points"]

Kind = Literal["attracting", "marginal", "repelling"]

_DECADES = 6  # the scan reaches from 10^-6 q* to 10^6 q*
_STEPS = 8000  # neighbours on the grid differ by 0.35 %

# The variances of a design are rounded to float64, which moves V'(q*) by a few units of this size.
_ROUNDING = 1e-14


@dataclass(frozen=True)
class FixedPoint:
    """A variance that the variance map keeps, V(q) = q.

    q      the variance, > 0.
    slope  V'(q).
    chi_1  chi_1(q): above 1 inputs decorrelate and gradients grow from layer to layer.
    kind   "attracting" for |V'(q)| < 1, "marginal" for |V'(q)| = 1, "repelling" for |V'(q)| > 1.
    """

    q: float
    slope: float
    chi_1: float
    kind: Kind


def fixed_points(design: CriticalInit) -> tuple[FixedPoint, ...]:
    """The q > 0 with V(q) = q, in increasing order; q_star is always one of them, exactly and once.

    This is a scan for changes of sign on a logarithmic grid over [1e-6, 1e6] q_star with steps of 0.35 %, not
    a proof that the count is complete: it misses fixed points outside the grid, pairs within one step of each
    other, and double roots other than q_star.  The scan divides the root q_star out, with its multiplicity, so
    a fixed point next to q_star is found even within a step of it.

    If V is the identity (ReLU at the edge of chaos) every q is fixed; q_star alone is returned, as marginal.
    """
    target = _fixed_point(design, design.q_star)
    others = (_fixed_point(design, q) for q in _other_roots(design, target))
    return tuple(sorted((target, *others), key=lambda point: point.q))


def basin(design: CriticalInit) -> tuple[float, float | None]:
    """The interval (low, high) from which iterates of the variance map converge to q_star; high None is infinity.

    It ends at the nearest fixed points on both sides, and at q_star itself on a side from which it repels:
    (0, q_star) for the unclipped activations, and (q_star, q_star) for ReLU, which keeps every variance.  The
    ends do not belong to it unless they are q_star.  Subject to what `fixed_points` may miss.

    Holds where V increases, as it does for every named activation with tau >= 0.
    Raises ValueError if V decreases somewhere between the ends.
    """
    points = fixed_points(design)
    place = next(k for k, point in enumerate(points) if point.q == design.q_star)
    from_left, from_right = _attracts(design, points[place])
    below, above = (0.0, *(p.q for p in points[:place])), (*(p.q for p in points[place + 1 :]), None)
    low = below[-1] if from_left else design.q_star
    high = above[0] if from_right else design.q_star
    _require_increasing(design, low, high)
    return low, high


def _values(design: CriticalInit, q: float) -> dict[str, float]:
    return {"q": q, "sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2}


def _fixed_point(design: CriticalInit, q: float) -> FixedPoint:
    values = _values(design, q)
    slope, chi_1 = (float(evaluate(quantity(design.phi), values)) for quantity in (maps.slope, maps.chi_1))
    distance = abs(slope) - 1
    kind: Kind = "marginal" if abs(distance) <= _ROUNDING else "attracting" if distance < 0 else "repelling"
    return FixedPoint(q, slope, chi_1, kind)


def _other_roots(design: CriticalInit, target: FixedPoint) -> Iterator[float]:
    """The sign changes of V(q) - q other than the one at q_star, each polished to float64."""
    grid = _grid(design)
    gap = _on_arrays(maps.variance_map(design.phi), design, grid) - grid
    # The signs of (V(q) - q) / (q - q_star)^order, which has no root at q_star, and of its limit there.
    marginal = target.kind == "marginal"
    signs = np.sign(gap) if marginal else np.sign(gap) * np.sign(grid - target.q)
    signs[grid == target.q] = math.copysign(1, _curvature(design, target.q) if marginal else target.slope - 1)
    for k in np.flatnonzero(signs[:-1] * signs[1:] < 0):
        root = _root_between(design, float(grid[k]), float(grid[k + 1]))
        if root is not None:
            yield root


def _grid(design: CriticalInit) -> np.ndarray:
    """Variances around q_star, which is the middle one exactly."""
    grid = design.q_star * np.logspace(-_DECADES, _DECADES, _STEPS + 1)
    grid[_STEPS // 2] = design.q_star
    return grid


def _root_between(design: CriticalInit, low: float, high: float) -> float | None:
    """The root of V(q) - q inside (low, high); None where the change of sign on the grid was rounding.

    All digits count here: next to a tangent V(q) - q is far below the rounding of V.
    """
    formula = maps.variance_map(design.phi)

    def gap(q: float) -> Any:
        values = _values(design, q)
        return precise(formula.expression - Q, {v: values[str(v)] for v in formula.variables})

    # sigma_w2 and sigma_b2 are rounded: this much is missing for V(q_star) = q_star.
    offset = gap(design.q_star)

    def above(q: float) -> float:
        return float(gap(q) - offset)

    # An end at q_star is a root itself; other roots nearer to it are not resolved by float64 variances.
    low = low * (1 + 8 * _ROUNDING) if low == design.q_star else low
    high = high * (1 - 8 * _ROUNDING) if high == design.q_star else high
    if above(low) * above(high) >= 0:
        return None
    return brentq(above, low, high, xtol=1e-300, rtol=1e-15)  # type: ignore[arg-type, return-value]


def _on_arrays(formula: Formula, design: CriticalInit, q: np.ndarray) -> np.ndarray:
    """The formula of the design's activation at each of the variances."""
    values = _values(design, 0.0)
    return lambdify(formula, "numpy")(**{str(v): q if v == Q else values[str(v)] for v in formula.variables})


def _curvature(design: CriticalInit, q: float) -> float:
    return float(evaluate(maps.curvature(design.phi), _values(design, q)))


def _attracts(design: CriticalInit, target: FixedPoint) -> tuple[bool, bool]:
    """Whether iterates from just below and from just above come to the fixed point, V' >= 0.

    At a marginal one the sign of V'' decides: V(q) - q = V'' (q - q_star)^2 / 2 + ... on both sides.
    """
    if target.kind != "marginal":
        return target.kind == "attracting", target.kind == "attracting"
    bend = _curvature(design, target.q)
    return bend > 0, bend < 0


def _require_increasing(design: CriticalInit, low: float, high: float | None) -> None:
    grid = _grid(design)
    inside = grid[(low <= grid) & (grid <= (math.inf if high is None else high))]
    slopes = _on_arrays(maps.slope(design.phi), design, inside)
    # The rounding of V' is this fraction of its largest value at most.
    falling = np.flatnonzero(slopes < -1e-12 * max(1.0, design.sigma_w2))
    if falling.size:
        raise ValueError(
            f"basin: need a variance map that increases between its fixed points, got V' = {slopes[falling[0]]:.3g} "
            f"at q = {inside[falling[0]]:.6g} for {design.activation}; iterate the map from the variance in question."
        )
