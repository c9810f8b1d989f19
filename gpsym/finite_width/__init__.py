"""Stability at finite width: how the variances and gradients of a random network of width n and depth L spread.

Given the pre-activation variance q_l of a fully connected Gaussian layer its pre-activations are exactly i.i.d.
N(0, q_l), so that q_0, q_1, ... is a Markov chain on the line, for one input and every width.  Its transition law is
computed (`law`), put on a grid (`grid`) and iterated (`chain`); gradients go along with it (`backward`).  Nothing is
sampled.

It is not exact for residual layers, convolutions and normalisation, whose pre-activations are not i.i.d. given q_l.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gpsym.design import CriticalInit
from gpsym.finite_width.backward import gradient_moments
from gpsym.finite_width.chain import (
    Chain,
    carried,
    chain,
    mean_exit,
    quasi_stationary,
    series,
)
from gpsym.finite_width.law import moments, units
from gpsym.limits import require_sizes
from gpsym.stability import basin

__all__ = [
    "QUANTILES",
    "FiniteWidth",
    "Start",
    "above_by_depth",
    "dead_by_depth",
    "excursion_by_depth",
    "excursion_probability",
    "failure_by_depth",
    "finite_width",
    "require_size",
    "variance_distribution",
    "variance_quantiles",
]

Array = NDArray[np.float64]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

# Of steps and lattices; the coarser one tells the error.
_FINE, _COARSE = 0.6, 0.4

# Probabilities below it are not told from 0.
_NEGLIGIBLE = 1e-10

# Variances whose squares and inverses are far from the ends of float64.
_LEAST, _MOST = 1e-150, 1e150

# Sums of about 1e5 float64 numbers are good to this much a layer.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Start:
    """The law of the first hidden layer's variance, q_0: `weights`, which sum to 1, at `variances`.

    The variances are from 1e-150 to 1e150.

    Raises ValueError for other numbers.
    """

    variances: tuple[float, ...]
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if len(self.variances) != len(self.weights) or not self.variances:
            raise ValueError(
                f"Start: need as many weights as variances, got {len(self.weights)} and {len(self.variances)}."
            )
        for q in self.variances:
            if not _LEAST <= q <= _MOST:
                raise ValueError(
                    f"Start: need variances from {_LEAST} to {_MOST}, got {q}; leave such inputs out, or rescale."
                )
        if min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-9:
            raise ValueError(f"Start: need weights >= 0 that sum to 1, got {sum(self.weights)}; divide by their sum.")

    @classmethod
    def of(cls, variances: Sequence[float]) -> Start:
        """One law for variances that are equally likely, such as those measured for the inputs of a data set."""
        return cls(tuple(map(float, variances)), (1 / len(variances),) * len(variances))


@dataclass(frozen=True)
class FiniteWidth:
    """What a random network of `width` units a layer does over `depth` layers after the first hidden one.

    q_l is the variance of the pre-activations of layer l given layer l - 1, and q_0 that of the first hidden layer.
    An escape is q_l > limit for some 1 <= l <= depth; limit is the upper end of the basin of q_star, None if there is
    none: then nothing escapes.  An excursion is q_l > excursion_limit, which is excursion x q_star or, if less, the
    fixed point above q_star that ends its basin.  A network is dead if its gradient is exactly 0.  It fails if it has
    an excursion or is dead; an escape is an excursion, too, unless the basin ends at q_star itself.

    escape_by_depth      P(q_k > limit for some k <= l), l = 1, ..., depth.
    excursion_by_depth   the same for excursion_limit.
    outside_probability  P(q_depth > limit); some networks come back.
    mean_exit_depth      expected number of the layer that escapes first; None without limit, or beyond 1e10.
    quantiles            q_depth at `QUANTILES`, cut off at 1000 times the start.
    settled_mean, settled_deviation
                         of the variance of a deep layer in networks that have not escaped.
    log_gradient_mean, log_gradient_sd
                         of log(|g_0|^2 / |g_depth|^2), g_l the gradient by the pre-activations of layer l, given that
                         it is not 0 and that nothing escaped: to second order in 1 / width, else exact.  None where
                         units in the linear range have several slopes, or there is less than one of them on average.
    dead_probability     P(some layer l < depth has no unit in the linear range): then g_0 = 0.
    failure_probability  P(an excursion in some layer 1 <= l <= depth, or dead).
    error                of the probabilities: how much they change from a grid and lattices coarser by a factor of 1.5,
                         of which as a rule a small part is left, plus a bound of what windows and rounding leave out.
    log_gradient_error   the change of log_gradient_sd; it does not count what is left out beyond second order: 2 % of
                         the spread as a rule; 3 to 7 % too much was seen at width 64 (crelu, sparsity 0.5, slope 0.95,
                         depths 50 to 400).
    """

    width: int
    depth: int
    limit: float | None
    excursion_limit: float
    escape_by_depth: tuple[float, ...]
    excursion_by_depth: tuple[float, ...]
    outside_probability: float
    mean_exit_depth: float | None
    quantiles: tuple[float, ...]
    settled_mean: float
    settled_deviation: float
    log_gradient_mean: float | None
    log_gradient_sd: float | None
    dead_probability: float
    failure_probability: float
    error: float
    log_gradient_error: float | None

    @property
    def escape_probability(self) -> float:
        """P(q_l > limit for some 1 <= l <= depth)."""
        return self.escape_by_depth[-1]

    @property
    def excursion_probability(self) -> float:
        """P(q_l > excursion_limit for some 1 <= l <= depth)."""
        return self.excursion_by_depth[-1]


def finite_width(
    design: CriticalInit, *, width: int, depth: int, excursion: float = 2.0, start: Start | None = None
) -> FiniteWidth:
    """The spread of variances and gradients of a design in networks of this width and depth.

    width      n >= 1, units in every layer.
    depth      L >= 1, layers after the first hidden one.
    excursion  multiple of q_star, > 1, that counts as an excursion.
    start      law of q_0; q_star if left out.

    Raises ValueError for numbers out of range, and where `basin` does.

    >>> from gpsym import edge_of_chaos
    >>> design = edge_of_chaos("cst", sparsity=0.85, slope=0.9)
    >>> round(finite_width(design, width=300, depth=100).outside_probability, 3)
    0.763
    """
    require_size(width, depth, excursion)
    law = start or Start((design.q_star,))
    limit, excursion_limit = _limits(design, excursion)
    fine, coarse = (
        _at(_chain(design, width, law, refinement), law, limit, excursion_limit, depth)
        for refinement in (_FINE, _COARSE)
    )
    return fine.reported(coarse, width, limit, excursion_limit)


def excursion_probability(
    design: CriticalInit, *, width: int, depth: int, excursion: float = 2.0, start: Start | None = None
) -> float:
    """P(q_l > min(fixed point above q_star, excursion q_star) for some 1 <= l <= depth) alone, sooner and to 1e-4."""
    return float(excursion_by_depth(design, width=width, depth=depth, excursion=excursion, start=start)[-1])


def excursion_by_depth(
    design: CriticalInit, *, width: int, depth: int, excursion: float = 2.0, start: Start | None = None
) -> Array:
    """`excursion_probability` for the depths 1, ..., depth."""
    require_size(width, depth, excursion)
    law = start or Start((design.q_star,))
    return above_by_depth(design, _excursion_limit(design, excursion), width=width, depth=depth, start=law)


def failure_by_depth(
    design: CriticalInit, *, width: int, depth: int, excursion: float = 2.0, start: Start | None = None
) -> Array:
    """P(an excursion or a gradient of 0 within l layers), l = 1, ..., depth, to 1e-4; arguments of `finite_width`."""
    require_size(width, depth, excursion)
    law = start or Start((design.q_star,))
    return _failed(_forward_chain(design, width, law), law, _excursion_limit(design, excursion), depth)


def dead_by_depth(design: CriticalInit, *, width: int, depth: int, start: Start | None = None) -> Array:
    """P(the gradient is 0 within l layers), l = 1, ..., depth, to 1e-4; arguments as of `finite_width`."""
    require_size(width, depth)
    law = start or Start((design.q_star,))
    return _failed(_forward_chain(design, width, law), law, math.inf, depth)


def above_by_depth(design: CriticalInit, end: float, *, width: int, depth: int, start: Start | None = None) -> Array:
    """P(q_k > end for some k <= l), l = 1, ..., depth, to 1e-4; arguments as of `finite_width`."""
    require_size(width, depth)
    law = start or Start((design.q_star,))
    return _passed(_forward_chain(design, width, law), law, end, depth)


def variance_distribution(
    design: CriticalInit, places: Sequence[float], *, width: int, depth: int, start: Start | None = None
) -> Array:
    """P(q_depth <= place) at increasing places; arguments as of `finite_width`."""
    require_size(width, depth)
    law = start or Start((design.q_star,))
    found = _chain(design, width, law, _FINE)
    before = carried(found.step(), _measure(found, law), depth - 1)
    return before @ found.distributions(np.asarray(places, dtype=float))


def variance_quantiles(
    design: CriticalInit, probabilities: Sequence[float], *, width: int, depth: int, start: Start | None = None
) -> Array:
    """Quantiles of q_1, ..., q_depth, (depth, probabilities); cut off at 1000 times the start.

    probabilities  each in (0, 1); other arguments as of `finite_width`.
    """
    require_size(width, depth)
    if not all(0 < p < 1 for p in probabilities):
        raise ValueError(f"variance_quantiles: need probabilities in (0, 1), got {[*probabilities]}; pass such.")
    law = start or Start((design.q_star,))
    found = _chain(design, width, law, _FINE)
    return _quantiles(found, _measures(found.step(), _measure(found, law), depth), probabilities)


def require_size(width: int, depth: int, excursion: float = 2.0) -> None:
    """Raise ValueError for a width, a depth or an excursion out of range."""
    require_sizes("finite_width", width=width, depth=depth)
    if not (math.isfinite(excursion) and excursion > 1):
        raise ValueError(f"finite_width: need excursion > 1, got {excursion}; 2 means twice q_star.")


def _limits(design: CriticalInit, excursion: float) -> tuple[float | None, float]:
    high = basin(design)[1]
    ends = [excursion * design.q_star, *([high] if high is not None and high > design.q_star else [])]
    return high, min(ends)


@lru_cache(maxsize=8)
def _excursion_limit(design: CriticalInit, excursion: float) -> float:
    """The second of `_limits`, in floats: sooner than `basin`, which is certain, and good for probabilities to 1e-4."""
    most = excursion * design.q_star
    if not design.slope < 1:
        return most
    q = design.q_star + (most - design.q_star) * np.geomspace(1e-6, 1, 400)
    rise = design.sigma_w2 * moments(units(design.phi), q).mean + design.sigma_b2 - q  # V(q) - q
    above = np.flatnonzero(rise > 0)
    if not above.size:
        return most
    last = max(int(above[0]), 1)
    return float(np.interp(0.0, rise[last - 1 : last + 1], q[last - 1 : last + 1]))


@lru_cache(maxsize=8)
def _chain(design: CriticalInit, width: int, law: Start, refinement: float) -> Chain:
    ends = (min(*law.variances, design.q_star), max(*law.variances, design.q_star))
    return chain(units(design.phi), (design.sigma_w2, design.sigma_b2), width, ends, refinement=refinement)


@lru_cache(maxsize=2)
def _forward_chain(design: CriticalInit, width: int, law: Start) -> Chain:
    """The coarse chain without gradients, for one probability soon."""
    ends, weights = (min(law.variances), max(law.variances)), (design.sigma_w2, design.sigma_b2)
    return chain(units(design.phi), weights, width, ends, refinement=_COARSE, gradients=False)


def _measure(found: Chain, law: Start) -> Array:
    return found.start(np.array(law.variances), np.array(law.weights))


def _passed(found: Chain, law: Start, end: float, depth: int) -> Array:
    """P(q_k > end for some k <= l), l = 1, ..., depth."""
    if end >= found.grid.high:
        return np.zeros(depth)
    part = found.below(max(end, *law.variances))
    return _lost(part.step(end), _measure(part, law), depth)


def _failed(found: Chain, law: Start, end: float, depth: int) -> Array:
    """P(q_k > end for some 1 <= k <= l, or a layer k < l has no unit in the linear range), l = 1, ..., depth."""
    part = found.below(max(end, *law.variances))
    return _lost(part.step(end, living=True), _measure(part, law), depth)


def _lost(step: Array, start: Array, depth: int) -> Array:
    """The probability that `step` has let out by layer 1, ..., depth."""
    return np.maximum.accumulate(np.clip(1 - series(step, start, depth), 0.0, 1.0))


@dataclass(frozen=True)
class _Numbers:
    """Those of one chain."""

    escape: Array
    excursion: Array
    outside: float
    exit: float | None
    quantiles: Array
    settled: tuple[float, float]
    gradient: tuple[float, float] | None
    dead: float
    failure: float

    def reported(self, coarse: _Numbers, width: int, limit: float | None, excursion_limit: float) -> FiniteWidth:
        depth = len(self.escape)
        changes = [
            float(np.max(np.abs(a - b)))
            for a, b in (
                (self.escape, coarse.escape),
                (self.excursion, coarse.excursion),
                (self.outside, coarse.outside),
                (self.dead, coarse.dead),
                (self.failure, coarse.failure),
            )
        ]
        mean, deviation = self.gradient or (None, None)
        return FiniteWidth(
            width=width,
            depth=depth,
            limit=limit,
            excursion_limit=excursion_limit,
            escape_by_depth=tuple(self.escape.tolist()),
            excursion_by_depth=tuple(self.excursion.tolist()),
            outside_probability=self.outside,
            mean_exit_depth=self.exit,
            quantiles=tuple(self.quantiles.tolist()),
            settled_mean=self.settled[0],
            settled_deviation=self.settled[1],
            log_gradient_mean=mean,
            log_gradient_sd=deviation,
            dead_probability=self.dead,
            failure_probability=self.failure,
            error=max(changes) + _NEGLIGIBLE + depth * (2 * math.exp(-30) + _ROUNDING),
            log_gradient_error=abs(self.gradient[1] - coarse.gradient[1])
            if self.gradient and coarse.gradient
            else None,
        )


def _at(found: Chain, law: Start, limit: float | None, excursion_limit: float, depth: int) -> _Numbers:
    inside = found.below(None if limit is None else max(limit, *law.variances))
    kept, inner_start = inside.step(limit), _measure(inside, law)
    escape = np.zeros(depth) if limit is None else _passed(found, law, limit, depth)
    # What never escapes needs no grid beyond the limit.
    whole = found if escape[-1] > _NEGLIGIBLE else inside
    step, start = whole.step(), _measure(whole, law)
    before = carried(step, start, depth - 1)
    share, settled = quasi_stationary(kept)
    q = inside.grid.nodes
    mean = float(settled @ q)
    dead = 0.0
    if depth * whole.dead_share() > _NEGLIGIBLE:
        dead = float(np.clip(1 - carried(whole.step(living=True), start, depth).sum(), 0, 1))
        dead = dead if dead > _NEGLIGIBLE else 0.0
    gradient = None
    if inside.gradient and np.interp(law.variances[0], q, inside.gradient.number) >= 1:
        gradient = gradient_moments(inside.gradient, inside.log_steps(limit), inner_start, depth)
    return _Numbers(
        escape=escape,
        excursion=_passed(found, law, excursion_limit, depth),
        outside=0.0 if limit is None else float(np.clip(1 - before @ whole.step(limit).sum(axis=1), 0, 1)),
        exit=mean_exit(kept, inner_start) if limit is not None and 1 - share > _NEGLIGIBLE else None,
        quantiles=_quantiles(whole, before[None, :], QUANTILES)[0],
        settled=(mean, math.sqrt(max(float(settled @ (q - mean) ** 2), 0.0))),
        gradient=gradient,
        dead=dead,
        failure=float(_failed(found, law, excursion_limit, depth)[-1]),
    )


def _measures(step: Array, start: Array, depth: int) -> Array:
    """start . step^l for l = 0, ..., depth - 1, (depth, size)."""
    rows = [start]
    while len(rows) < depth:
        rows.append(rows[-1] @ step)
    return np.stack(rows)


def _quantiles(found: Chain, before: Array, probabilities: Sequence[float]) -> Array:
    """Those one layer after each of the measures, (measures, size)."""
    places = np.geomspace(found.grid.low, found.grid.high, 2001)
    onward = found.distributions(places)
    risen = (np.maximum.accumulate(measure @ onward) for measure in before)
    return np.stack([np.interp(probabilities, row, places) for row in risen])
