"""The Markov chain of a layer's variance at width n, as matrices on a grid.

Row i of a matrix is the measure that the law of the next variance given nodes[i] puts on the nodes: so it takes the values
of a function f to those of E[f(q')], and with a cut to E[f(q'); q' <= end].  Both are smooth in q, across the cut too, so
that the grid needs to know nothing of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpsym.finite_width.grid import Grid, cut_weights
from gpsym.finite_width.law import Laws, Units, laws, moments

__all__ = ["Chain", "chain", "gradient_moments", "series"]

Array = NDArray[np.float64]

_REACH = 8.5  # deviations; a normal variable is farther with probability 2e-17
_DECADES = 4  # variances beyond 1e4 times the start, or below 1e-4 of it, count as these
_MOST_NODES = 700


@dataclass(frozen=True)
class Chain:
    """The chain of the variance on a grid.

    grid       the variances that it reaches.
    laws       those of the next variance at the nodes.
    width      n.
    log_scale  log(slope^2 sigma_w2 / n), of the factor by which the gradient's square changes besides chi^2_N; None where
               units in the linear range have several slopes.
    """

    grid: Grid
    laws: Laws
    width: int
    log_scale: float | None

    def step(self, end: float | None = None, *, living: bool = False) -> Array:
        """E[f(q')], where asked only of q' <= end and of layers with an active unit, (size, size)."""
        return self._measure(self.laws.living if living else self.laws.every, end)

    def log_steps(self, end: float | None = None) -> tuple[Array, Array, Array]:
        """E[l^k f(q'); q' <= end, active units], k = 0, 1, 2, l the logarithm of the gradient's factor."""
        assert self.log_scale is not None
        assert self.laws.log_1 is not None
        assert self.laws.log_2 is not None
        one, first, second = (
            self._measure(masses, end) for masses in (self.laws.living, self.laws.log_1, self.laws.log_2)
        )
        c = self.log_scale
        return one, first + c * one, second + 2 * c * first + c * c * one

    def _measure(self, masses: Array, end: float | None) -> Array:
        factors = 1.0 if end is None or end >= self.grid.high else cut_weights(self.laws.places, end)
        return self.grid.measure(self.laws.places, masses * factors)

    def start(self, places: Array, weights: Array) -> Array:
        """The measure with these weights at these variances, (size,)."""
        return self.grid.measure(places[None, :], weights[None, :])[0]

    def distribution(self, measure: Array, places: Array) -> Array:
        """P(q' <= place) one layer after the measure, at increasing places."""
        total = np.zeros(len(places))
        for weight, at, mass in zip(measure, self.laws.places, self.laws.every, strict=True):
            # Half of a place's mass lies on either side of it.
            total += weight * np.interp(places, at, np.cumsum(mass) - mass / 2, left=0.0, right=1.0)
        return total


def chain(
    units: Units,
    weights: tuple[float, float],
    width: int,
    start: tuple[float, float],
    *,
    refinement: float = 1.0,
    gradients: bool = True,
) -> Chain:
    """The chain from variances between the two of `start`; steps and lattices shrink with the refinement."""
    grid, cells = _grid(units, weights, width, start, refinement)
    slope = units.slope
    found = laws(units, weights, width, grid.nodes, cells, gradients=gradients and slope is not None)
    scale = math.log(slope * slope * weights[0] / width) if slope is not None else None
    return Chain(grid, found, width, scale)


def _grid(
    units: Units, weights: tuple[float, float], width: int, start: tuple[float, float], refinement: float
) -> tuple[Grid, int]:
    """The grid, and the number of lattice places for its laws."""
    sigma_w2, sigma_b2 = weights
    most = sigma_b2 + sigma_w2 * units.largest_square
    low = max(sigma_b2, start[0] * 10.0**-_DECADES)
    high = min(most, start[1] * 10.0**_DECADES)
    q = np.geomspace(low, max(high, start[1] * 1.01), 1024)
    mean, variance, active = moments(units, q)
    mean, deviation = sigma_b2 + sigma_w2 * mean, sigma_w2 * np.sqrt(variance / width)
    # No layer comes back over an end that the next variance stays _REACH deviations away from.
    kept_above = np.flatnonzero((mean + _REACH * deviation <= q) & (q > start[1]))
    kept_below = np.flatnonzero((mean - _REACH * deviation >= q) & (q < start[0]))
    last = kept_above[0] if kept_above.size else len(q) - 1
    first = kept_below[-1] if kept_below.size else 0
    q, deviation = q[first : last + 1], deviation[first : last + 1]
    ratio = max(deviation[-1] / max(deviation[0], 1e-12 * q[0]), 1.02)
    shift = float((q[-1] - ratio * q[0]) / (ratio - 1))
    unit = float(np.min(np.minimum(deviation, 0.2 * q) / (q + shift)))
    size = math.log((q[-1] + shift) / (q[0] + shift)) / unit * 3 * refinement
    few = width * float(active.min()) < 40  # then T has atoms, and edges next to them
    cells = 2 * math.ceil((512 if few else 96) * refinement)
    return Grid(float(q[0]), float(q[-1]), int(min(max(size, 24), _MOST_NODES)), shift), cells


def series(step: Array, start: Array, depth: int) -> Array:
    """start . step^l . 1 for l = 1, ..., depth, by about sqrt(depth) products on either side."""
    stride = math.isqrt(depth) + 1
    rows = [start @ step]
    while len(rows) < stride:
        rows.append(rows[-1] @ step)
    columns, leap = [np.ones(len(step))], np.linalg.matrix_power(step, stride)
    while len(columns) * stride < depth:
        columns.append(leap @ columns[-1])
    return (np.stack(columns) @ np.stack(rows).T).ravel()[:depth]


def gradient_moments(steps: tuple[Array, Array, Array], start: Array, depth: int) -> tuple[float, float, float]:
    """(P, mean, deviation) of the sum of l over depth layers, given that no step is left out; P is that probability.

    Once mean and variance grow evenly they go on so: the measure is then the quasi-stationary one.
    """
    one, first, second = steps
    v, v1, v2, log_total = start, 0 * start, 0 * start, 0.0
    mean = variance = growth_mean = growth_variance = decay = 0.0
    for layer in range(1, depth + 1):
        # Moments about the mean so far keep their digits.
        v, v1, v2 = v @ one, v1 @ one + v @ first, v2 @ one + 2 * (v1 @ first) + v @ second
        mass = v.sum()
        if not mass > 1e-300:
            return 0.0, math.nan, math.nan
        v, v1, v2 = v / mass, v1 / mass, v2 / mass
        log_total += math.log(mass)
        shift = v1.sum()
        v1, v2 = v1 - shift * v, v2 - 2 * shift * v1 + shift * shift * v
        spread = v2.sum()
        new = (shift, spread - variance, math.log(mass))
        old = (growth_mean, growth_variance, decay)
        mean, variance = mean + shift, spread
        growth_mean, growth_variance, decay = new
        if all(abs(a - b) <= 1e-13 for a, b in zip(new, old, strict=True)):
            left = depth - layer
            mean, variance, log_total = mean + left * shift, variance + left * new[1], log_total + left * decay
            break
    return math.exp(log_total), mean, math.sqrt(max(variance, 0.0))
