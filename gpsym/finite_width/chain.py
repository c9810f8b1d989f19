"""The Markov chain of a layer's variance at width n, as matrices on a grid.

Row i of a matrix is the measure that the law of the next variance given nodes[i] puts on the nodes: so it takes the
values of a function f to those of E[f(q')], and with a cut to E[f(q'); q' <= end].  Both are smooth in q, across the
cut too, so that the grid needs to know nothing of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpsym.finite_width.backward import Backward, Steps, backward
from gpsym.finite_width.grid import Grid, Placed, cut_weights
from gpsym.finite_width.law import Laws, Units, laws, moments

__all__ = ["Chain", "carried", "chain", "mean_exit", "quasi_stationary", "series"]

Array = NDArray[np.float64]

_REACH = 8.5  # deviations; a normal variable is farther with probability 2e-17
_DECADES = 3  # variances beyond 1000 times the start, or below 1/1000 of it, count as these
_MOST_NODES = 700


@dataclass(frozen=True)
class Chain:
    """The chain of the variance on a grid.

    grid       the variances that it reaches.
    laws       those of the next variance at the nodes.
    least      sigma_b2, the variance after a layer of zeros.
    gradient   the backward pass at the nodes; None where units in the linear range have several slopes.
    """

    grid: Grid
    laws: Laws
    least: float
    gradient: Backward | None

    def below(self, end: float | None) -> Chain:
        """The chain on the nodes up to this variance, and a few more for what interpolates next to it."""
        if end is None or end >= self.grid.high:
            return self
        size = min(int(np.searchsorted(self.grid.nodes, end)) + 8, self.grid.size)
        grid = replace(self.grid, high=float(self.grid.nodes[size - 1]), size=size)
        laws = self.laws.first(size)
        gradient = self.gradient and self.gradient.first(size)
        return replace(self, grid=grid, laws=laws, gradient=gradient)

    def step(self, end: float | None = None, *, living: bool = False) -> Array:
        """E[f(q')], where asked only of q' <= end and of layers with an active unit, (size, size)."""
        if living:
            return self._measure(self.laws.living, end)
        total = self._measure(self.laws.every, end)
        if end is None or end >= self.least:
            total += self.laws.zeros[:, None] * self.start(np.array([self.least]), np.ones(1))
        return total

    def log_steps(self, end: float | None = None) -> Steps:
        """E[l^k f(q'); q' <= end, active units], k = 0, 1, 2, l the logarithm of slope^2 sigma_w2 chi^2_N / n."""
        assert self.gradient is not None
        assert self.laws.log_1 is not None
        assert self.laws.log_2 is not None
        one, first, second = (
            self._measure(masses, end) for masses in (self.laws.living, self.laws.log_1, self.laws.log_2)
        )
        c = self.gradient.log_scale
        return Steps(one, first + c * one, second + 2 * c * first + c * c * one)

    def _measure(self, masses: Array, end: float | None) -> Array:
        factors = 1.0 if end is None or end >= self.grid.high else cut_weights(self.laws.places, end)
        return self.grid.measure(self._placed, masses * factors)

    @cached_property
    def _placed(self) -> Placed:
        return self.grid.placed(self.laws.places)

    def dead_share(self) -> float:
        """The largest P(no unit in the linear range) of a layer, over the nodes."""
        return float(np.max(self.laws.zeros + (self.laws.every - self.laws.living).sum(axis=1)))

    def start(self, places: Array, weights: Array) -> Array:
        """The measure with these weights at these variances, (size,)."""
        return self.grid.measure(self.grid.placed(places[None, :]), weights[None, :])[0]

    def distributions(self, places: Array) -> Array:
        """P(q' <= place) given q at the nodes, at increasing places, (size, places)."""
        total = self.laws.zeros[:, None] * (places >= self.least)
        for row, at, mass in zip(total, self.laws.places, self.laws.every, strict=True):
            # Half of a place's mass lies on either side of it.
            row += np.interp(places, at, np.cumsum(mass) - mass / 2, left=0.0, right=mass.sum())
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
    asked = gradients and slope is not None
    return Chain(grid, found, weights[1], backward(units, weights, width, grid.nodes) if asked else None)


def _grid(
    units: Units, weights: tuple[float, float], width: int, start: tuple[float, float], refinement: float
) -> tuple[Grid, int]:
    """The grid, and the number of lattice places for its laws."""
    sigma_w2, sigma_b2 = weights
    most = sigma_b2 + sigma_w2 * units.largest_square
    # A little below the least variance: what lattices smear around it lies on either side.
    low = max(0.8 * sigma_b2, start[0] * 10.0**-_DECADES)
    high = min(most, start[1] * 10.0**_DECADES)
    q = np.geomspace(low, max(high, start[1] * 1.01), 1024)
    one = moments(units, q)
    mean, deviation = sigma_b2 + sigma_w2 * one.mean, sigma_w2 * np.sqrt(one.variance / width)
    # No layer comes back over an end that the next variance stays _REACH deviations away from.
    kept_above = np.flatnonzero((mean + _REACH * deviation <= q) & (q > start[1]))
    kept_below = np.flatnonzero((mean - _REACH * deviation >= q) & (q < start[0]))
    last = kept_above[0] if kept_above.size else len(q) - 1
    first = kept_below[-1] if kept_below.size else 0
    q, deviation = q[first : last + 1], deviation[first : last + 1]
    ratio = max(deviation[-1] / max(deviation[0], 1e-12 * q[0]), 1.02)
    shift = float((q[-1] - ratio * q[0]) / (ratio - 1))
    # Few active units leave atoms of T and edges next to them, and laws that change with q faster than they are wide.
    number = width * float(one.active.min())
    places = 1024 if number < 12 else 512 if number < 40 else 96
    unit = float(np.min(np.minimum(deviation, (0.1 if number < 3 else 0.2) * q) / (q + shift)))
    size = math.log((q[-1] + shift) / (q[0] + shift)) / unit * 3 * refinement
    cells = 2 * math.ceil(places * refinement)
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


def carried(step: Array, start: Array, depth: int) -> Array:
    """start . step^depth: by repeated squaring if that is less work."""
    if depth <= 3 * len(step):
        for _ in range(depth):
            start = start @ step
        return start
    while depth:
        start = start @ step if depth % 2 else start
        depth //= 2
        step = step @ step if depth else step
    return start


def mean_exit(step: Array, start: Array) -> float:
    """E[T], T the first layer that is not in `step`: the sum of start . step^l . 1 over l >= 0."""
    return float(start @ np.linalg.solve(np.eye(len(step)) - step, np.ones(len(step))))


def quasi_stationary(step: Array) -> tuple[float, Array]:
    """(lambda, v) with v . step = lambda v, v . 1 = 1 and the largest lambda: by inverse iteration.

    Of networks that stay, the variance of a deep layer has the law v; a layer more loses the share 1 - lambda of them.
    """
    size = len(step)
    v, value = np.full(size, 1 / size), 1.0
    for _ in range(200):
        v = v @ step
        v, value = v / v.sum(), v.sum()
    for _ in range(4):
        # Next to the eigenvalue and not on it, where the system would be singular.
        v = np.linalg.solve(step.T - (value * (1 + 1e-9) + 1e-13) * np.eye(size), v)
        v = v / v.sum()
        value = float((v @ step).sum())
    return value, v
