"""The largest slope that networks of a given width and depth can afford, and what would work where they fail.

A network fails if it has an excursion or is dead (`gpsym.finite_width.FiniteWidth`).  The higher V'(q_star), the nearer
a clipped activation is to the unclipped one: its variances wander farther, so that excursions grow with the slope; but
more units are in its linear range, so that fewer networks are dead.  The probability of a failure first falls with the
slope and then rises.  Slopes are multiples of 1/1000.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from gpsym import maps
from gpsym.activation import Activation
from gpsym.depth_scales import greatest_depth, least_width
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.finite_width import dead_by_depth, excursion_probability, failure_by_depth, require_size
from gpsym.formula import TAU, M
from gpsym.limits import WIDTH
from gpsym.numeric import evaluate

__all__ = ["Demand", "largest_slope", "shortfall"]

_STEPS = 1000
# Part of the risk that advice uses: the search of whoever follows it need not meet the same slope.
_KEPT = 0.9
# Near the slope at which networks of moderate size fail least; advice takes it if wider networks fail less there.
_MODERATE, _WIDER = 0.6, 4
_GOLDEN = (math.sqrt(5) - 1) / 2
_NEAR = 10  # steps of the slope, over which failures next to their minimum hardly change
_COARSELY = 0.05  # relative precision of a width in advice


@dataclass(frozen=True)
class Demand:
    """What a design must bear: networks fail with probability `risk` at most.

    width, depth  layers after the first hidden one, of so many units.
    excursion     multiple of q_star that no variance may exceed.

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

    @property
    def _size(self) -> dict[str, Any]:
        return {"width": self.width, "depth": self.depth, "excursion": self.excursion}

    def excursions(self, design: CriticalInit) -> float:
        """P(excursion), to 1e-4."""
        return excursion_probability(design, **self._size)

    def failures(self, design: CriticalInit) -> tuple[float, float]:
        """P(failure) at the depth, to 1e-4, and its mean over all depths, which tells designs that all fail apart."""
        by_depth = failure_by_depth(design, **self._size)
        return float(by_depth[-1]), float(by_depth.mean())

    def is_borne_by(self, design: CriticalInit) -> bool:
        """Whether it is met, the risk computed to 1e-4."""
        return self.failures(design)[0] <= self.risk

    def __str__(self) -> str:
        return f"probability {self.risk:g} at width {self.width} and depth {self.depth}"


def largest_slope(family: Activation, tau: float | None, q_star: float, demand: Demand) -> float:
    """The greatest multiple of 1/1000 below 1 whose design bears the demand.

    family  an activation whose free symbols are m and perhaps tau.

    Raises ValueError if none does, with wishes near this one that would work.
    """
    slope, design = _steepest(family, tau, q_star, demand)
    if not demand.is_borne_by(design):
        moderate = edge_of_chaos(family, tau=tau, slope=_MODERATE, q_star=q_star)
        wider = replace(demand, width=min(_WIDER * demand.width, WIDTH))
        near = min((design, moderate), key=wider.failures)
        raise ValueError(
            f"edge_of_chaos: need a slope at which networks fail with at most {demand}, got none for {family.name}: at "
            f"the best, {slope:g}, {_failure(design, demand)}; {_advice(family, near, demand)}"
        )
    return slope


def shortfall(family: Activation, design: CriticalInit, demand: Demand) -> str | None:
    """A sentence on a design that does not bear the demand, with wishes near it that would; None if it does.

    family  what the design was made from: its symbols are open to other wishes.
    """
    if demand.is_borne_by(design):
        return None
    return (
        f"edge_of_chaos: need networks that fail with at most {demand}, got a design of {family.name} at slope "
        f"{design.slope:.4g}: {_failure(design, demand)}; "
        f"{_advice(family, design, demand, *_lower_slope(family, design, demand))}"
    )


def _steepest(family: Activation, tau: float | None, q_star: float, demand: Demand) -> tuple[float, CriticalInit]:
    """The largest slope that bears the demand, or else the one with the fewest failures, and its design."""

    @cache
    def design(step: int) -> CriticalInit:
        return edge_of_chaos(family, tau=tau, slope=step / _STEPS, q_star=q_star)

    @cache
    def failures(step: int) -> tuple[float, float]:
        at_depth, mean = demand.failures(design(step))
        return round(at_depth, 6), mean

    def borne(step: int) -> bool:
        return demand.is_borne_by(design(step))

    last = _last(lambda step: demand.excursions(design(step)) <= demand.risk, 0, _STEPS - 1)
    if last and borne(last):
        return last / _STEPS, design(last)
    best = _lowest(failures, 1, last or _STEPS - 1)
    best = _last(borne, best, last) if borne(best) else best
    return best / _STEPS, design(best)


def _last(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The greatest k in (low, high] for which it holds, or low; it holds up to some k and not beyond."""
    if high > low and holds(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _lowest(f: Callable[[int], tuple[float, float]], low: float, high: float) -> int:
    """The k in [low, high], up to a few, with the least f, which falls and then rises: by golden sections."""
    while high - low > _NEAR:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        low, high = (low, right) if f(round(left)) < f(round(right)) else (left, high)
    return round((low + high) / 2)


def _dead(design: CriticalInit, demand: Demand) -> float:
    """P(a gradient of exactly 0), to 1e-4."""
    return float(dead_by_depth(design, width=demand.width, depth=demand.depth)[-1])


def _failure(design: CriticalInit, demand: Demand) -> str:
    """How often networks of the design fail, and by what."""
    return (
        f"they fail with probability {demand.failures(design)[0]:.2g} (a gradient of exactly 0: "
        f"{_dead(design, demand):.2g}, a variance beyond {demand.excursion:g} q* or the basin: "
        f"{demand.excursions(design):.2g})"
    )


def _lower_slope(family: Activation, design: CriticalInit, demand: Demand) -> Iterator[str]:
    """The largest slope that bears the demand, where there is one; a lower one only kills more networks."""
    if M in family.parameters and _dead(design, demand) <= demand.risk:
        slope, gentler = _steepest(family, design.tau if TAU in family.parameters else None, design.q_star, demand)
        if demand.is_borne_by(gentler):
            yield f"slope {slope:g}"


def _advice(family: Activation, design: CriticalInit, demand: Demand, *others: str) -> str:
    """The wishes near this design that bear the demand, each computed."""
    ways = [*others, *_sizes(design, demand), *_sparsities(family, design, demand)]
    return f"what would work: {' or '.join(ways)}." if ways else "no width, depth or lower sparsity would work."


def _sizes(design: CriticalInit, demand: Demand) -> Iterator[str]:
    """The least width, up to a few percent, and the greatest depth."""
    terms = {"risk": _KEPT * demand.risk, "excursion": demand.excursion}
    width = least_width(design, depth=demand.depth, least=demand.width + 1, precision=_COARSELY, **terms)
    if width is not None:
        yield f"width {width}"
    depth = greatest_depth(design, width=demand.width, most=demand.depth, **terms)
    if depth:
        yield f"depth {depth}"


def _sparsities(family: Activation, design: CriticalInit, demand: Demand) -> Iterator[str]:
    """The greatest lower sparsity, in percent, at the same slope."""
    if TAU not in family.parameters:
        return
    slope = design.slope if M in family.parameters else None

    def borne(percent: int) -> bool:
        sparser = edge_of_chaos(family, sparsity=percent / 100, slope=slope, q_star=design.q_star)
        return demand.failures(sparser)[0] <= _KEPT * demand.risk

    fewest = 100 * float(evaluate(maps.sparsity(family.subs({TAU: 0})), {"q": design.q_star, "m": 1}))
    percent = _last(borne, math.ceil(fewest) - 1, math.ceil(100 * design.sparsity) - 1)
    if percent >= fewest:
        yield f"sparsity {percent / 100:g}" + ("" if slope is None else f" at slope {slope:.4g}")
