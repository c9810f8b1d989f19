"""The largest slope that networks of a given width and depth can afford.

The higher V'(q_star), the nearer a clipped activation is to the unclipped one, and the farther its variances wander:
the risk, the probability of an excursion (`gpsym.finite_width`), grows with the slope.  Slopes are multiples of 1/1000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gpsym import maps
from gpsym.activation import Activation
from gpsym.depth_scales import greatest_depth, least_width
from gpsym.design import edge_of_chaos
from gpsym.finite_width import Start, excursion_probability, passing_probability, require_size
from gpsym.formula import TAU, M
from gpsym.numeric import lambdify

__all__ = ["Demand", "largest_slope"]

_STEPS = 1000

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
    """The greatest multiple of 1/1000 below 1 whose design bears the demand; its risk is within 1e-4 of the exact one.

    family  an activation whose free symbols are m and perhaps tau.

    Raises ValueError if none does, with the least width, the greatest depth and the greatest sparsity that would.
    """
    phi = family if tau is None else family.subs({TAU: tau})
    best = _last(lambda k: _risk(phi, k / _STEPS, q_star, demand) <= demand.risk, 0, _STEPS - 1)
    if best == 0:
        raise ValueError(_refusal(family, tau, q_star, demand))
    return best / _STEPS


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The greatest k in (low, high] for which it holds, or low; it holds up to some k and not beyond."""
    if holds(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _risk(phi: Activation, slope: float, q_star: float, demand: Demand) -> float:
    """The excursion probability of the design of this slope, whose numbers are interpolated."""
    slopes, gradients, seconds = _table(phi, q_star)
    ratio = slopes / gradients
    m = math.sqrt(q_star) * float(np.exp(np.interp(slope, ratio, np.log(_CLIPS))))
    place = np.log(m / math.sqrt(q_star))
    gradient, second = (float(np.interp(place, np.log(_CLIPS), values)) for values in (gradients, seconds))
    weights = (1 / gradient, max(q_star - second / gradient, 0.0))
    end = _limit(phi, m, weights, q_star, demand.excursion)
    return float(passing_probability(phi.subs({M: m}), weights, demand.width, demand.depth, Start((q_star,)), end))


@cache
def _table(phi: Activation, q_star: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """V', chi_1 for sigma_w2 = 1, and E phi^2 at q_star, for all clip levels."""
    values = {"q": q_star, "m": math.sqrt(q_star) * _CLIPS, "sigma_w2": 1.0}
    quantities = (maps.slope(phi), maps.chi_1(phi), maps.second_moment(phi))
    slopes, gradients, seconds = (lambdify(f)(**{str(v): values[str(v)] for v in f.variables}) for f in quantities)
    return slopes, gradients, seconds


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
    wishes: dict[str, Any] = {"slope": 1 / _STEPS, "q_star": q_star}
    terms: dict[str, Any] = {"risk": demand.risk, "excursion": demand.excursion}
    design = edge_of_chaos(family, **wishes, tau=tau)
    width = least_width(design, depth=demand.depth, **terms)
    ways = [f"width {width}" if width else "no width"]
    depth = greatest_depth(design, width=demand.width, most=demand.depth, **terms)
    ways.append(f"depth {depth}" if depth else "no depth")
    if tau is not None:

        def safe(percent: int) -> bool:
            sparser = edge_of_chaos(family, sparsity=percent / 100, **wishes)
            found = excursion_probability(sparser, width=demand.width, depth=demand.depth, excursion=demand.excursion)
            return found <= demand.risk

        least = round(100 * edge_of_chaos(family, tau=0, **wishes).sparsity)
        percent = _last(safe, least - 1, math.floor(100 * design.sparsity))
        ways.append(f"sparsity {percent / 100:g}" if percent >= least else "no lower sparsity")
    return (
        f"edge_of_chaos: need a slope whose excursion probability is at most {demand.risk:g} at width {demand.width} "
        f"and depth {demand.depth}, got none for {family.name}; what would work: {' or '.join(ways)}."
    )
