"""E[phi(u) phi(v)] and E[phi'(u) phi'(v)] for arrays of Gaussian pairs (u, v), phi continuous and piecewise linear.

(u, v) is centred normal with variances q1, q2 and correlation rho = tanh(y), and c_a is the jump of phi' at the knot
t_a.  By Price's theorem the expectations are integrals over the correlation of the joint density at pairs of knots,

    E[phi'(u) phi'(v)] = E phi'(u) E phi'(v) + int_0^rho f(r) dr,        f(r) = sum_ab c_a c_b phi2(h_a, k_b; r),
    E[phi(u) phi(v)]   = E phi(u) E phi(v) + sqrt(q1 q2) (rho E phi'(u) E phi'(v) + int_0^rho (rho - r) f(r) dr),

phi2 the standard bivariate normal density, h_a = t_a / sqrt(q1), k_b = t_b / sqrt(q2).  With r = tanh(x),
A = (h - k)^2, B = (h + k)^2 both integrals have the exponentials

    phi2 dr = exp(-(A (1 + e^(2 x)) + B (1 + e^(-2 x))) / 8) / (2 pi cosh x) dx,

whose modulus at complex x is at most exp(-(A + B) / 8) / (2 pi cos(Im x)) where abs(Im x) <= pi / 4: so one
Gauss-Legendre rule serves all knots and variances, and its order depends on y alone.

Arrays are numpy's or torch's, `xp` is the module that they come from; nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from gpsym.activation import Activation

__all__ = ["Array", "Knots", "Moments", "as_like", "correlations", "gauss"]

Array = Any  # a numpy array or a torch tensor

_LIMIT = 36.0  # y in place of infinity: the integral of 1 / (2 pi cosh x) beyond it is below 1e-16
_ERROR = 1e-13  # of a quadrature, by its bound, for c_a c_b = 1 and h = k = 0
_CHUNK = 4096  # the fewest pairs to work on at once: smaller arrays cost more to call for than to compute


@dataclass(frozen=True)
class Moments:
    """sqrt(q), E phi and E phi' of pre-activations, each (inputs,)."""

    deviation: Array
    mean: Array
    slope: Array

    def __getitem__(self, index: Any) -> Moments:
        return Moments(self.deviation[index], self.mean[index], self.slope[index])

    def like(self, array: Array) -> Moments:
        """The same as arrays of the library, dtype and device of another."""
        return Moments(*(as_like(values, array) for values in (self.deviation, self.mean, self.slope)))


@dataclass(frozen=True)
class Knots:
    """Pairs of knots: the places (t_a, t_b) and the sum of the weights c_a c_b of (t_a, t_b) and (-t_a, -t_b).

    first, second, weights  (pairs of knots, 1).
    """

    first: Array
    second: Array
    weights: Array

    @classmethod
    def of(cls, phi: Activation, like: Array) -> Knots:
        """Those of an activation with numbers for its symbols, as arrays of the library and device of another."""
        columns = _knot_pairs(phi)
        return cls(*(as_like(columns[:, k], like) for k in range(3)))

    def expectations(
        self, xp: Any, rho: Array, rows: Moments, columns: Moments, known: Callable[[Array], Any] | None = None
    ) -> tuple[Array, Array]:
        """(E[phi(u) phi(v)], E[phi'(u) phi'(v)]), each (rows, columns), of correlations rho, (rows, columns).

        known  may give the two integrals for y = atanh(rho), and where they are still wanting; or None.

        Errors are below 1e-13, as a rule about 1e-15, of sqrt(E phi(u)^2 E phi(v)^2) and sqrt(E phi'(u)^2 E phi'(v)^2).
        They grow as h^3 where all knots lie h > 1 deviations out in the tails, and as 1 / d^2 where phi changes on a
        range of d < 1 deviations only.
        """
        with np.errstate(divide="ignore"):
            y = xp.clip(xp.arctanh(rho), -_LIMIT, _LIMIT)
        found = known(y) if known else None
        slopes, moments, wanting = found or (xp.zeros_like(y), xp.zeros_like(y), y != 0)
        row, column = xp.where(wanting)
        if len(row):
            deviations = rows.deviation[row], columns.deviation[column]
            slopes[row, column], moments[row, column] = self._binned(xp, y[row, column], *deviations)
        slopes += rows.slope[:, None] * columns.slope
        values = rho * slopes
        values -= moments
        values *= rows.deviation[:, None] * columns.deviation
        values += rows.mean[:, None] * columns.mean
        return values, slopes

    def _binned(self, xp: Any, y: Array, first: Array, second: Array) -> tuple[Array, Array]:
        """The integrals of f(r) and r f(r) over r from 0 to tanh(y), each argument (pairs,)."""
        slopes, moments, size = xp.zeros_like(y), xp.zeros_like(y), xp.abs(y)
        chunk = max(_CHUNK, len(y) // 4)  # with four pairs of knots a quarter makes arrays as large as y
        for least, most in _bins(float(size.max())):
            inside = xp.where((size > least) & (size <= most))[0]
            for start in range(0, len(inside), chunk):
                at = inside[start : start + chunk]
                slopes[at], moments[at] = self.integrals(xp, y[at], first[at], second[at], most)
        return slopes, moments

    def integrals(self, xp: Any, y: Array, first: Array, second: Array, most: float) -> tuple[Array, Array]:
        """The integrals of f(r) and r f(r) over r from 0 to tanh(y), abs(y) <= most, each argument (pairs,)."""
        h, k = self.first / first, self.second / second  # (pairs of knots, pairs)
        a, b = (h - k) ** 2 / -8, (h + k) ** 2 / -8
        total, moment = xp.zeros_like(y), xp.zeros_like(y)
        for node, weight in _rule(most):
            up = xp.exp(y * node)
            down = 1 / up
            double_cosh = up + down
            density = a * (up * up + 1)
            density += b * (down * down + 1)
            xp.exp(density, out=density)
            density *= self.weights
            density = density.sum(0)
            density *= weight
            density /= double_cosh
            total += density
            density *= up - down
            density /= double_cosh
            moment += density
        scale = y / math.pi
        return total * scale, moment * scale


@cache
def _knot_pairs(phi: Activation) -> Array:
    """(t_a, t_b, weight) in rows, (pairs of knots, 3, 1)."""
    weights: dict[tuple[float, float], float] = {}
    jumps = [(float(t), float(c)) for t, c in phi.jumps(1)]
    for (s, c), (t, d) in product(jumps, jumps):
        # A and B are the same for both signs, hence half the work where phi is odd or even.
        places = max((s, t), (-s, -t))
        weights[places] = weights.get(places, 0.0) + c * d
    return np.array([(*places, weight) for places, weight in weights.items()]).reshape(-1, 3, 1)


def as_like(values: Array, array: Array) -> Array:
    """The numbers as an array of the library, dtype and device of another."""
    return array.new_tensor(values) if hasattr(array, "new_tensor") else np.asarray(values, dtype=array.dtype)


def correlations(xp: Any, covariance: Array, first: Array, second: Array, slack: float) -> Array:
    """covariance / (first second), of deviations; -1 or 1 where it is nearer to that than `slack`, or beyond.

    There E[phi'(u) phi'(v)] has an infinite slope: what rounding takes off the correlation 1 of two equal inputs,
    1e-16, would change it by 1e-8.
    """
    rho = covariance / (first * second)
    return xp.where(xp.abs(rho) >= 1 - slack, xp.sign(rho), rho)


def _bins(largest: float) -> Iterator[tuple[float, float]]:
    """(least, most) from 0 to `largest`; wider ones would waste nodes on the pairs at their lower ends."""
    least, most = 0.0, 0.125
    while least < largest:
        yield least, most
        least, most = most, min(1.4 * most, _LIMIT)


@cache
def _rule(width: float) -> list[tuple[float, float]]:
    """Nodes on (0, 1), and weights that add up to 1, for an error below _ERROR of integrals over (0, width).

    Gauss-Legendre on panels of width 2 at most, for more nodes would be computed less accurately.  On the ellipse with
    the ends of a panel as foci that reaches Im x = pi / 4, of parameter p, the integrand is at most
    M = 1 / (2 pi cos(pi / 4)), and N nodes leave an error of at most (panel / 2) (64 / 15) M p^(2 - 2 N) / (1 - p^-2)
    (Trefethen, Approximation Theory and Approximation Practice, theorem 19.3).
    """
    panels = math.ceil(width / 2)
    ratio = math.pi * panels / (2 * width)
    p = ratio + math.hypot(ratio, 1)
    bound = width / 2 * 64 / 15 / (2 * math.pi * math.cos(math.pi / 4)) / (1 - p**-2)
    order = 1 + math.ceil(math.log(bound / _ERROR) / (2 * math.log(p)))
    nodes, weights = gauss(order)
    places = (np.arange(panels)[:, None] + (1 + nodes) / 2) / panels
    return list(zip(places.ravel().tolist(), np.tile(weights / (2 * panels), panels).tolist(), strict=True))


@cache
def gauss(order: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on (-1, 1)."""
    return np.polynomial.legendre.leggauss(order)
