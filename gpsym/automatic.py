"""The largest slope that networks of a given width and depth can afford.

The higher V'(q_star), the nearer a clipped activation is to the unclipped one, and the farther its variances wander:
the risk, the probability of an excursion (`gpsym.finite_width`), grows with the slope.  Slopes are multiples of 1/1000.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gpsym import maps
from gpsym.activation import Activation
from gpsym.depth_scales import greatest_depth, least_width
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.finite_width import excursion_probability, require_size
from gpsym.formula import TAU
from gpsym.numeric import evaluate

__all__ = ["Demand", "largest_slope"]

_STEPS = 1000


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

    def is_borne_by(self, design: CriticalInit) -> bool:
        """Whether it is met, the risk computed to 1e-4."""
        risk = excursion_probability(design, width=self.width, depth=self.depth, excursion=self.excursion)
        return risk <= self.risk


def largest_slope(family: Activation, tau: float | None, q_star: float, demand: Demand) -> float:
    """The greatest multiple of 1/1000 below 1 whose design bears the demand.

    family  an activation whose free symbols are m and perhaps tau.

    Raises ValueError if none does, with the least width, the greatest depth and the greatest sparsity that would.
    """

    def borne(step: int) -> bool:
        return demand.is_borne_by(edge_of_chaos(family, tau=tau, slope=step / _STEPS, q_star=q_star))

    best = _last(borne, 0, _STEPS - 1)
    if best == 0:
        raise ValueError(_refusal(edge_of_chaos(family, tau=tau, slope=1 / _STEPS, q_star=q_star), family, demand))
    return best / _STEPS


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The greatest k in (low, high] for which it holds, or low; it holds up to some k and not beyond."""
    if high > low and holds(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _refusal(least: CriticalInit, family: Activation, demand: Demand) -> str:
    """That no slope bears the demand, and what would, at the least slope, that of this design of the family."""
    terms = {"risk": demand.risk, "excursion": demand.excursion}
    width = least_width(least, depth=demand.depth, **terms)
    depth = greatest_depth(least, width=demand.width, most=demand.depth, **terms)
    ways = ["no width" if width is None else f"width {width}", f"depth {depth}" if depth else "no depth"]
    if TAU in family.parameters:

        def borne(percent: int) -> bool:
            sparser = edge_of_chaos(family, sparsity=percent / 100, slope=1 / _STEPS, q_star=least.q_star)
            return demand.is_borne_by(sparser)

        fewest = 100 * float(evaluate(maps.sparsity(family.subs({TAU: 0})), {"q": least.q_star, "m": 1}))
        percent = _last(borne, math.ceil(fewest) - 1, math.floor(100 * least.sparsity))
        ways.append(f"sparsity {percent / 100:g}" if percent >= fewest else "no lower sparsity")
    return (
        f"edge_of_chaos: need a slope whose excursion probability is at most {demand.risk:g} at width {demand.width} "
        f"and depth {demand.depth}, got none for {family.name}; what would work: {' or '.join(ways)}."
    )
