"""The largest slope that networks of a given width and depth can afford.

The higher V'(q_star), the nearer a clipped activation is to the unclipped one, and the farther its variances wander:
the risk, the probability of an excursion (`gpsym.finite_width`), grows with the slope.  Slopes are multiples of 1/1000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from gpsym import maps
from gpsym.activation import Activation
from gpsym.design import edge_of_chaos
from gpsym.finite_width import Start, passing_by_depth, require_size
from gpsym.formula import TAU, Formula, M
from gpsym.numeric import lambdify

__all__ = ["Demand", "largest_slope"]

_STEPS = 1000
_MOST_WIDTH = 2**16

# Clip levels over sqrt(q_star) among which that of a slope is interpolated, to 1e-7 of it.
_CLIPS = np.geomspace(1e-4, 40, 4001)


@dataclass(frozen=True)
class Demand:
    """What a design must bear: `excursion` x q_star exceeded with probability `risk` at most.

    Raises ValueError for a risk outside (0, 1), and for other numbers out of their ranges.
    """

    width: int
    depth: int
    risk: float = 0.01
    excursion: float = 2.0

    def __post_init__(self) -> None:
        require_size(self.width, self.depth, self.excursion)
        if not 0 < self.risk < 1:
            raise ValueError(f"edge_of_chaos: need a risk in (0, 1), got {self.risk}; 0.01 is one in a hundred.")


def largest_slope(family: Activation, tau: float | None, q_star: float, demand: Demand) -> float:
    """The greatest multiple of 1/1000 below 1 whose design bears the demand; its risk is computed to 1e-4.

    family  an activation whose free symbols are m and perhaps tau.

    Raises ValueError if none does, with the least width, the greatest depth and the greatest sparsity that would.
    """
    phi = family if tau is None else family.subs({TAU: tau})
    best = _last(lambda k: _risks(phi, k / _STEPS, q_star, demand)[-1] <= demand.risk, 0, _STEPS - 1)
    if best == 0:
        raise ValueError(_refusal(family, tau, q_star, demand))
    return best / _STEPS


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The greatest k in (low, high] for which it holds, or low; it holds up to some k and not beyond."""
    if high > low and holds(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _risks(phi: Activation, slope: float, q_star: float, demand: Demand) -> np.ndarray:
    """The excursion probability by depth of the design of this slope."""
    m = math.sqrt(q_star) * float(np.exp(np.interp(slope, _slopes(phi, q_star), np.log(_CLIPS))))
    gradient, second = (float(_at(f(phi), q_star, m)) for f in (maps.chi_1, maps.second_moment))
    weights = (1 / gradient, max(q_star - second / gradient, 0.0))
    end = _limit(phi, m, weights, q_star, demand.excursion)
    return passing_by_depth(phi.subs({M: m}), weights, demand.width, demand.depth, Start((q_star,)), end)


@cache
def _slopes(phi: Activation, q_star: float) -> np.ndarray:
    """V'(q_star) at the edge of chaos for all clip levels."""
    clips = math.sqrt(q_star) * _CLIPS
    return _at(maps.slope(phi), q_star, clips) / _at(maps.chi_1(phi), q_star, clips)


def _at(formula: Formula, q: float, m: Any) -> Any:
    values = {"q": q, "m": m, "sigma_w2": 1.0}
    return lambdify(formula)(**{str(v): values[str(v)] for v in formula.variables})


def _limit(phi: Activation, m: float, weights: tuple[float, float], q_star: float, excursion: float) -> float:
    """The lowest fixed point above q_star, or excursion x q_star if that is less."""
    q = q_star * (1 + (excursion - 1) * np.geomspace(1e-6, 1, 2000))
    gap = lambdify(maps.variance_map(phi))(q=q, m=m, sigma_w2=weights[0], sigma_b2=weights[1]) - q
    # Next to q_star rounding of the design counts for more than the slope.
    above = np.flatnonzero((gap > 0) & (q > q_star * (1 + 1e-5)))
    if not above.size:
        return float(q[-1])
    k = int(above[0])
    return float(q[k]) if k == 0 else float(q[k - 1] + (q[k] - q[k - 1]) * gap[k - 1] / (gap[k - 1] - gap[k]))


def _refusal(family: Activation, tau: float | None, q_star: float, demand: Demand) -> str:
    """That no slope bears the demand, and what would, at the least slope."""
    least = 1 / _STEPS
    phi = family if tau is None else family.subs({TAU: tau})

    def safe(phi: Activation, width: int) -> bool:
        return _risks(phi, least, q_star, replace(demand, width=width))[-1] <= demand.risk

    width = 1 + _last(lambda n: not safe(phi, n), demand.width, _MOST_WIDTH)
    depth = int(np.searchsorted(_risks(phi, least, q_star, demand), demand.risk, side="right"))
    ways = [
        f"width {width}" if width <= _MOST_WIDTH else f"no width up to {_MOST_WIDTH}",
        f"depth {depth}" if depth else "no depth",
    ]
    if tau is not None:

        def denser(percent: int) -> Activation:
            design = edge_of_chaos(family, sparsity=percent / 100, slope=least, q_star=q_star)
            return family.subs({TAU: design.tau})

        sparsities = (maps.sparsity(family.subs({TAU: t})) for t in (0.0, tau))
        fewest, most = (100 * float(_at(zeros, q_star, m=1.0)) for zeros in sparsities)
        percent = _last(lambda k: safe(denser(k), demand.width), math.ceil(fewest) - 1, math.floor(most))
        ways.append(f"sparsity {percent / 100:g}" if percent >= fewest else "no lower sparsity")
    return (
        f"edge_of_chaos: need a slope whose excursion probability is at most {demand.risk:g} at width {demand.width} "
        f"and depth {demand.depth}, got none for {family.name}; what would work: {' or '.join(ways)}."
    )
