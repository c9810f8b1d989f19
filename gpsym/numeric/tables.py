"""The expectations of `gpsym.numeric.pairs` read from polynomials, many times faster than integrated.

Table      all inputs have one variance: both are functions of rho alone
Surrogate  others: the integrals are smooth in rho and in the two deviations
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial.chebyshev import chebpts1, chebvander

from gpsym.numeric.pairs import Array, Knots, as_like, gauss

__all__ = ["Surrogate", "Table", "table"]

_DEGREE = 7  # of a table's pieces; higher ones need fewer pieces and more time for each pair
_TABLE_ERROR = 1e-13
_FARTHEST = 2.0  # abs(y) in a surrogate: nearer to rho = -1 and 1 polynomials take as long as the integrals
_STEP = 0.25  # of y to which its ends are rounded: tiles with alike correlations share one, and results are repeatable
_MOST_ORDERS, _MOST_NODES = 48, 16  # in y and in 1 / sqrt(q): more take as long as the integrals
_CUT = 1e-14  # coefficients that do not count, in the largest one


@dataclass(frozen=True)
class Table:
    """Both expectations for pairs of one variance, as piecewise polynomials in theta = acos(rho).

    values, slopes  row n, column k: the coefficient of (theta / width - k - 1/2)^(_DEGREE - n) in piece k.
    """

    values: Array
    slopes: Array

    def like(self, array: Array) -> Table:
        """The same as arrays of the library, dtype and device of another."""
        return Table(as_like(self.values, array), as_like(self.slopes, array))

    def expectations(self, xp: Any, rho: Array) -> tuple[Array, Array]:
        """(E[phi(u) phi(v)], E[phi'(u) phi'(v)]) for correlations in [-1, 1], of any shape."""
        pieces = self.values.shape[1]
        place = xp.arccos(rho)
        place *= pieces / math.pi
        piece = xp.clip(xp.asarray(place, dtype=xp.int64), 0, pieces - 1)
        place -= piece
        place -= 0.5
        return _polynomials(xp, self.values, piece, place), _polynomials(xp, self.slopes, piece, place)


def table(knots: Knots, q: float, second_moments: tuple[float, float]) -> Table | None:
    """The table for inputs of one variance q > 0, in numpy; None if 4096 pieces are not enough.

    second_moments  E phi^2 and E phi'^2, the expectations at rho = 1.

    Pieces are halved until the polynomials through 8 points of each piece meet the 7 between to 1e-13.
    """
    places = np.cos(np.pi * np.arange(2 * _DEGREE, -1, -1) / (2 * _DEGREE)) / 2
    to_coefficients = np.linalg.inv(np.vander(places[::2]))
    between = np.vander(places[1::2], _DEGREE + 1)
    for pieces in (2**k for k in range(5, 13)):
        curves = _curves(knots, q, second_moments, (np.arange(pieces) + places[:, None] + 0.5) * (np.pi / pieces))
        coefficients = [to_coefficients @ curve[::2] for curve in curves]
        errors = [np.abs(between @ c - curve[1::2]).max() for c, curve in zip(coefficients, curves, strict=True)]
        if all(error <= _TABLE_ERROR * scale for error, scale in zip(errors, second_moments, strict=True)):
            return Table(*coefficients)
    return None


class Surrogate:
    """Both integrals as Chebyshev sums in y = atanh(rho), 1 / sqrt(q1) and 1 / sqrt(q2).

    They are entire functions of the latter two, and analytic in y where abs(Im y) < pi / 2.

    knots           in numpy.
    first, second   sqrt(q1) of the rows, sqrt(q2) of the columns, in numpy.
    like            an array of the library and device to compute in.
    """

    def __init__(self, knots: Knots, first: Array, second: Array, like: Array):
        self._knots, self._like = knots, like
        self._found: dict[tuple[float, float], list[Array] | None] = {}
        both = np.concatenate([first, second])
        low, high = 1 / both.max(), 1 / both.min()
        self._middle, self._radius = (low + high) / 2, (high - low) / 2
        self._rows, self._columns = (
            as_like(chebvander((1 / s - self._middle) / self._radius, _MOST_NODES - 1), like) for s in (first, second)
        )

    def integrals(self, xp: Any, y: Array, rows: slice, columns: slice) -> tuple[Array, Array, Array] | None:
        """The integrals of f(r) and r f(r) from 0 to tanh(y), and where they are wanting; None if everywhere."""
        far = xp.abs(y) > _FARTHEST
        near = y[~far]
        if len(near) == 0:
            return None
        low = math.floor(float(near.min()) / _STEP) * _STEP
        high = max(math.ceil(float(near.max()) / _STEP) * _STEP, low + _STEP)
        if (low, high) not in self._found:
            self._found[low, high] = self._coefficients(low, high)
        coefficients = self._found[low, high]
        if coefficients is None:
            return None
        place = (xp.clip(y, low, high) - (low + high) / 2) * (2 / (high - low))
        slopes, moments = (_chebyshev_sum(place, self._rows[rows], self._columns[columns], c) for c in coefficients)
        return slopes, moments, far

    def _coefficients(self, low: float, high: float) -> list[Array] | None:
        """Of both integrals, (orders in y, in 1 / sqrt(q1), in 1 / sqrt(q2)); None where too many would be needed.

        A coarse fit tells how many: coefficients shrink at least geometrically, and in 1 / sqrt(q) faster.
        """
        coarse = self._fitted(low, high, 16, 8)
        tails = [max(_tail(c, axis) for c in coarse) for axis in (0, 1)]
        orders, nodes = (
            n if tail <= _CUT else math.ceil(n * math.log(_CUT) / math.log(min(tail, 0.5)))
            for n, tail in zip((16, 8), tails, strict=True)
        )
        if orders > _MOST_ORDERS or nodes > 1.5 * _MOST_NODES:
            return None
        nodes = min(nodes, _MOST_NODES)
        fine = coarse if (orders, nodes) == (16, 8) else self._fitted(low, high, orders, nodes)
        if any(_tail(c, axis) > _CUT for c in fine for axis in (0, 1, 2)):
            return None
        return [as_like(_without_tails(c), self._like) for c in fine]

    def _fitted(self, low: float, high: float, orders: int, nodes: int) -> list[Array]:
        """Coefficients of the polynomials through so many Chebyshev points in every variable."""
        y = (low + high) / 2 + (high - low) / 2 * chebpts1(orders)
        s = 1 / (self._middle + self._radius * chebpts1(nodes))
        grid = [axis.ravel() for axis in np.meshgrid(y, s, s, indexing="ij")]
        fitted = []
        for values in self._knots.integrals(np, grid[0], grid[1], grid[2], max(abs(low), abs(high))):
            coefficients = values.reshape(orders, nodes, nodes)
            for axis, n in enumerate(coefficients.shape):
                inverse = np.linalg.inv(chebvander(chebpts1(n), n - 1))
                coefficients = np.moveaxis(np.tensordot(inverse, coefficients, (1, axis)), 0, axis)
            fitted.append(coefficients)
        return fitted


def _tail(coefficients: Array, axis: int) -> float:
    """The last two coefficients along an axis, in the largest of all; 0 if all are."""
    sizes = np.abs(coefficients)
    return float(np.moveaxis(sizes, axis, 0)[-2:].max() / max(sizes.max(), 1e-300))


def _without_tails(coefficients: Array) -> Array:
    """The least box of coefficients outside of which none counts."""
    large = np.nonzero(np.abs(coefficients) > _CUT * np.abs(coefficients).max())
    kept = [1 + max(places, default=0) for places in large]
    return coefficients[: kept[0], : kept[1], : kept[2]]


def _chebyshev_sum(place: Array, left: Array, right: Array, coefficients: Array) -> Array:
    """sum_k T_k(place) (left coefficients_k right^T), (rows, columns), by Clenshaw's recursion."""
    left, right = left[:, : coefficients.shape[1]], right[:, : coefficients.shape[2]].T
    total, before, twice = 0 * place, 0 * place, 2 * place
    for k in range(len(coefficients) - 1, 0, -1):
        term = twice * total
        term -= before
        term += (left @ coefficients[k]) @ right
        total, before = term, total
    total = place * total
    total -= before
    total += (left @ coefficients[0]) @ right
    return total


def _curves(knots: Knots, q: float, second_moments: tuple[float, float], theta: Array) -> tuple[Array, Array]:
    """Both expectations at increasing angles in each piece, (places, pieces), by their integrals from theta = 0 on.

    With r = cos(t): f(r) dr = -g(t) dt, g(t) = sum_ab c_a c_b exp(-A / (4 (1 - r)) - B / (4 (1 + r))) / (2 pi).
    """
    steps = np.diff(theta, axis=0)
    nodes, weights = gauss(5)  # a step is a tenth of a piece that 8 points resolve
    t = theta[:-1] + steps * ((1 + nodes) / 2)[:, None, None]  # (5, places - 1, pieces)
    h, k = (t_.reshape(-1, 1, 1, 1) / math.sqrt(q) for t_ in (knots.first, knots.second))
    half = np.sin(t / 2) ** 2, np.cos(t / 2) ** 2  # (1 - r) / 2, (1 + r) / 2
    g = (knots.weights[..., None, None] * np.exp(-((h - k) ** 2 / half[0] + (h + k) ** 2 / half[1]) / 8)).sum(0)
    weighted = g * weights[:, None, None] * steps / (4 * math.pi)
    slopes, moments = (_running(integrals.sum(0)) for integrals in (weighted, weighted * np.cos(t)))
    rho = np.cos(theta)
    value, slope = second_moments
    return value - q * (2 * np.sin(theta / 2) ** 2 * slope - moments + rho * slopes), slope - slopes


def _running(integrals: Array) -> Array:
    """Integrals up to each place, (places, pieces), from those between neighbours, (places - 1, pieces)."""
    within = np.vstack([np.zeros(integrals.shape[1]), np.cumsum(integrals, axis=0)])
    before = np.concatenate([[0.0], np.cumsum(within[-1])[:-1]])
    return before + within


def _polynomials(xp: Any, rows: Array, piece: Array, place: Array) -> Array:
    """The polynomial of each entry's piece at its place."""
    total = xp.take(rows[0], piece)
    for row in rows[1:]:
        total *= place
        total += xp.take(row, piece)
    return total
