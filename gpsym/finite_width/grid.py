"""Functions of the variance on a grid, equidistant in log(q + shift), and how measures act on them.

A function is known by its values at the nodes and interpolated between them by polynomials of degree 5.  A measure is
known by the weights that it gives to the nodes: its integral of any function is their sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grid", "cut_weights"]

Array = NDArray[np.float64]

_POINTS = 6  # of an interpolation
_CORRECTED = 3  # places on either side of a cut whose weights it changes


@dataclass(frozen=True)
class Grid:
    """`size` nodes from low to high.

    shift  makes the steps proportional to q + shift, as the deviation of a layer's variance about is.
    """

    low: float
    high: float
    size: int
    shift: float

    @cached_property
    def nodes(self) -> Array:
        """The variances, (size,)."""
        first, last = math.log(self.low + self.shift), math.log(self.high + self.shift)
        return np.exp(np.linspace(first, last, self.size)) - self.shift

    def placed(self, places: Array) -> Placed:
        """What `measure` needs of places, (rows, places), once for all masses; those outside are moved to the ends."""
        first, last = math.log(self.low + self.shift), math.log(self.high + self.shift)
        place = np.log(np.clip(places, self.low, self.high) + self.shift)
        position = (place - first) / (last - first) * (self.size - 1)
        start = np.clip(np.floor(position).astype(np.int64) - (_POINTS // 2 - 1), 0, self.size - _POINTS)
        rows = np.arange(len(places))[:, None] * self.size
        return Placed((rows + start).ravel(), _lagrange((position - start).ravel()))

    def measure(self, placed: Placed, masses: Array) -> Array:
        """The measures with these masses at these places, (rows, places), as weights of the nodes, (rows, size)."""
        total, flat = np.zeros(len(masses) * self.size), masses.ravel()
        for j, weight in enumerate(placed.weights):
            total += np.bincount(placed.start + j, flat * weight, len(total))
        return total.reshape(len(masses), self.size)


class Placed(NamedTuple):
    """Places between nodes: the first of the six nodes around each, in an array of all rows, and their weights."""

    start: NDArray[np.int64]  # (rows * places,)
    weights: Array  # (6, rows * places)


def _lagrange(x: Array) -> Array:
    """The Lagrange polynomials of the nodes 0, ..., 5 at x, in a new first axis."""
    others = ([i for i in range(_POINTS) if i != j] for j in range(_POINTS))
    return np.stack([math.prod((x - i) / (j - i) for i in rest) for j, rest in enumerate(others)])


def cut_weights(places: Array, end: float) -> Array:
    """Factors of masses at equidistant places, (rows, C), with which their sum is the integral up to the end.

    Masses are densities times the step.  The sum over places up to the end is off by half a step and more; Gregory's
    correction, exact for polynomials of degree 5, makes up for it: of relative size step^6.
    """
    step = places[:, 1] - places[:, 0]
    last = np.floor((end - places[:, 0]) / step).astype(np.int64)  # may lie outside
    column = np.arange(places.shape[1])
    factors = (column <= last[:, None]).astype(float)
    offset = (end - places[:, 0]) / step - last  # from 0 to 1
    corrections = _corrections(offset)
    for j, correction in zip(range(1 - _CORRECTED, _CORRECTED + 1), corrections.T, strict=True):
        index = last + j
        rows = np.flatnonzero((index >= 0) & (index < places.shape[1]))
        factors[rows, index[rows]] += correction[rows]
    return factors


def _corrections(offset: Array) -> Array:
    """c with int_(-oo)^offset f = sum_(m <= 0) f(m) + sum_j c_j f(j), j = -2, ..., 3, up to degree 5; (rows, 6).

    They solve sum_j c_j j^k = int_0^offset x^k dx - _SUMS[k] for k = 0, ..., 5.
    """
    powers = np.arange(2 * _CORRECTED)
    nodes = np.arange(1 - _CORRECTED, _CORRECTED + 1)
    system = nodes[None, :] ** powers[:, None]
    moments = offset[:, None] ** (powers + 1) / (powers + 1) - _SUMS
    return np.linalg.solve(system.astype(np.float64), moments.T).T.astype(np.float64)


# What sum_(m <= 0) f(m) exceeds int_(-oo)^0 f by, for f = x^k next to 0: by Euler and Maclaurin f(0) / 2 + f'(0) / 12
# less the third derivative over 720, plus the fifth over 30240.
_SUMS = np.array([1 / 2, 1 / 12, 0.0, -1 / 120, 0.0, 1 / 252])
