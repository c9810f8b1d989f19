"""The Markov chain of a layer's variance at width n, as matrices on a grid.

Row i of a matrix is the measure that the law of the next variance given nodes[i] puts on the nodes: so it takes the values
of a function f to those of E[f(q')], and with a cut to E[f(q'); q' <= end].  Both are smooth in q, across the cut too, so
that the grid needs to know nothing of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gpsym.finite_width.grid import Grid, cut_weights
from gpsym.finite_width.law import Laws, Units, laws, moments

__all__ = ["Chain", "carried", "chain", "gradient_moments", "mean_exit", "quasi_stationary", "series"]

Array = NDArray[np.float64]

_REACH = 8.5  # deviations; a normal variable is farther with probability 2e-17
_DECADES = 3  # variances beyond 1000 times the start, or below 1/1000 of it, count as these
_MOST_NODES = 700


@dataclass(frozen=True)
class Gradient:
    """How the backward pass shares the weights of the forward pass, at variances q, each (size,).

    In h = W a + b the activations a and h fix what W^T does to the gradient g of h along a: y = sqrt(n) (W a . g) / (|W a| |g|)
    is no fresh normal variable, and units in the linear range (A, N of them) see the share alpha of its direction.  So

        |W^T g; A|^2 = (sigma_w2 / n) |g|^2 M,   M = X + S,   X = chi^2_(N-1),   S = (sqrt(1 - alpha) z + sqrt(alpha) y)^2.

    The layer below has y'^2 = (N / M) (sqrt(theta S) + sqrt(rho - theta) z')^2, z'^2 being part of X, with w = h - b,
    v = q - sigma_b2 and

        alpha = E[phi^2; A] / E phi^2,   rho = E[w^2 | A] / v,   theta = E[w phi(h); A]^2 / (v P(A) E[phi^2; A]).

    log_scale  log(slope^2 sigma_w2 / n), a number.
    number     E N.
    """

    log_scale: float
    number: Array
    alpha: Array
    rho: Array
    theta: Array

    @cached_property
    def settled(self) -> Array:
        """r = E y^2 that stays: r (N + alpha (r - 1)) = N (rho - kappa + kappa r), kappa = alpha theta."""
        n, kappa = self.number, self.alpha * self.theta
        half = (n * (1 - kappa) - self.alpha) / 2
        return (np.sqrt(half**2 + self.alpha * n * (self.rho - kappa)) - half) / self.alpha

    @cached_property
    def memory(self) -> Array:
        """How much of a deviation of y^2 from r is left one layer below."""
        n, alpha = self.number, self.alpha
        return (alpha * self.theta * n - alpha * self.settled) / (n + alpha * (self.settled - 1))

    @cached_property
    def source(self) -> Array:
        """E[y'^2] - 1 for y^2 = 1, to first order around r."""
        return (self.settled - 1) * (1 - self.memory)

    def excess(self, step: Array) -> Array:
        """E[y^2 | q] - 1 of the layer below one of variance q, in deep networks whose variances go on by `step`."""
        total = step.sum(axis=1, keepdims=True)
        onward = step / np.where(total > 1e-9, total, math.inf)  # beyond the end of `step` nothing goes on
        return onward @ np.linalg.solve(np.eye(len(step)) - self.memory[:, None] * onward, self.source)

    def corrections(self, excess: Array) -> tuple[Array, Array, Array, Array]:
        """(e, gain, own, shared): how log M differs from log chi^2_N, given E y^2 - 1.

        Its mean grows by e with y^2, and is greater by e (y^2 - 1) + gain; its variance is greater by own, and its
        covariance with y'^2 is shared; all from the variances of X and S over (E M)^2.
        """
        n, theta = self.number, self.theta
        t = 1 + self.alpha * excess  # E S
        whole = n + t - 1  # E M
        spread = (n - 1 + t * t) / whole**2  # Var M / 2 over its square
        gain = np.log(whole / n) - (t - 1) / whole - spread + 1 / n
        shared = 2 * n / whole**2 * (theta * t * t + self.rho - theta - (theta * t + self.rho - theta) * spread * whole)
        return self.alpha / whole, gain, 2 * spread - 2 / n, shared


def _gradient(units: Units, weights: tuple[float, float], width: int, q: Array) -> Gradient:
    sigma_w2, sigma_b2 = weights
    one = moments(units, q)
    share = np.clip((q - sigma_b2) / q, 0.0, 1.0)  # of v in q; w given h is normal with mean share h
    slope = units.slope
    assert slope is not None
    return Gradient(
        log_scale=math.log(slope * slope * sigma_w2 / width),
        number=width * one.active,
        alpha=one.active_mean / one.mean,
        rho=share * one.input_square / (q * one.active) + 1 - share,
        theta=share * one.input_product**2 / (q * one.active * one.active_mean),
    )


@dataclass(frozen=True)
class Chain:
    """The chain of the variance on a grid.

    grid       the variances that it reaches.
    laws       those of the next variance at the nodes.
    width      n.
    gradient   how the backward pass goes at the nodes; None where units in the linear range have several slopes.
    """

    grid: Grid
    laws: Laws
    width: int
    gradient: Gradient | None

    def below(self, end: float | None) -> Chain:
        """The chain on the nodes up to this variance, and a few more for what interpolates next to it."""
        if end is None or end >= self.grid.high:
            return self
        size = min(int(np.searchsorted(self.grid.nodes, end)) + 8, self.grid.size)
        grid = replace(self.grid, high=float(self.grid.nodes[size - 1]), size=size)
        laws = Laws(*(None if part is None else part[:size] for part in vars(self.laws).values()))
        gradient = self.gradient and Gradient(
            self.gradient.log_scale, *(getattr(self.gradient, f.name)[:size] for f in fields(Gradient)[1:])
        )
        return replace(self, grid=grid, laws=laws, gradient=gradient)

    def step(self, end: float | None = None, *, living: bool = False) -> Array:
        """E[f(q')], where asked only of q' <= end and of layers with an active unit, (size, size)."""
        return self._measure(self.laws.living if living else self.laws.every, end)

    def log_steps(self, end: float | None = None) -> tuple[Array, Array, Array]:
        """E[l^k f(q'); q' <= end, active units], k = 0, 1, 2, l the logarithm of slope^2 sigma_w2 chi^2_N / n."""
        assert self.gradient is not None
        assert self.laws.log_1 is not None
        assert self.laws.log_2 is not None
        one, first, second = (
            self._measure(masses, end) for masses in (self.laws.living, self.laws.log_1, self.laws.log_2)
        )
        c = self.gradient.log_scale
        return one, first + c * one, second + 2 * c * first + c * c * one

    def _measure(self, masses: Array, end: float | None) -> Array:
        factors = 1.0 if end is None or end >= self.grid.high else cut_weights(self.laws.places, end)
        return self.grid.measure(self.laws.places, masses * factors)

    def dead_share(self) -> float:
        """The largest P(no unit in the linear range) of a layer, over the nodes."""
        return float(np.max((self.laws.every - self.laws.living).sum(axis=1)))

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
    asked = gradients and slope is not None
    return Chain(grid, found, width, _gradient(units, weights, width, grid.nodes) if asked else None)


def _grid(
    units: Units, weights: tuple[float, float], width: int, start: tuple[float, float], refinement: float
) -> tuple[Grid, int]:
    """The grid, and the number of lattice places for its laws."""
    sigma_w2, sigma_b2 = weights
    most = sigma_b2 + sigma_w2 * units.largest_square
    # A little below the least variance, that of a layer of zeros: what the lattice smears around it lies on either side.
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
    places, largest_step = (1024, 0.1) if number < 12 else (512, 0.2) if number < 40 else (96, 0.2)
    unit = float(np.min(np.minimum(deviation, largest_step * q) / (q + shift)))
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


def gradient_moments(chain: Chain, end: float | None, start: Array, depth: int) -> tuple[float, float, float]:
    """(P, mean, deviation) of log(|g_0|^2 / |g_depth|^2), given q <= end and active units in all layers; P of that.

    a = sum of l_k + s_k source is that logarithm and s_k = e + memory s_(k-1), both along the chain: the measures
    E[s^i a^j; q_k], i + j <= 2, follow from those of the layer below.  Twice `shared` times s is the covariance of a layer's
    factor with those below.
    """
    gradient = chain.gradient
    assert gradient is not None
    steps = np.hstack(chain.log_steps(end))
    size = chain.grid.size
    g, kappa = gradient.source, gradient.memory
    e, gain, own, shared = gradient.corrections(gradient.excess(steps[:, :size]))
    one, s, a, ss, sa, aa = start, *(0 * start for _ in range(5))
    log_p, mean, variance, growth = 0.0, 0.0, 0.0, (math.inf, math.inf, math.inf)
    for layer in range(1, depth + 1):
        aa = aa + 2 * gain * a + (own + gain * gain) * one + 2 * shared * s
        a, sa = a + gain * one, sa + gain * s
        s, ss, sa = e * one + kappa * s, e * e * one + 2 * e * kappa * s + kappa * kappa * ss, e * a + kappa * sa
        product = np.stack([one, s, a, ss, sa, aa]) @ steps
        plain, first, second = product[:, :size], product[:, size : 2 * size], product[0, 2 * size :]
        one, s, ss = plain[0], plain[1], plain[3]
        a, sa, aa = plain[2] + first[0], plain[4] + first[1], plain[5] + 2 * first[2] + second
        a, sa, aa = a + g * s, sa + g * ss, aa + 2 * g * sa + g * g * ss
        total = one.sum()
        if not total > 1e-300:
            return 0.0, math.nan, math.nan
        one, s, a, ss, sa, aa = (x / total for x in (one, s, a, ss, sa, aa))
        shift = a.sum()  # moments about the mean so far keep their digits
        a, sa, aa = a - shift * one, sa - shift * s, aa - 2 * shift * a + shift * shift * one
        before, growth = growth, (math.log(total), shift, aa.sum() - variance)
        log_p, mean, variance = log_p + growth[0], mean + shift, aa.sum()
        if max(abs(x - y) for x, y in zip(growth, before, strict=True)) <= 1e-13:
            # The measure is the quasi-stationary one: all three go on growing evenly.
            left = depth - layer
            log_p, mean, variance = log_p + left * growth[0], mean + left * shift, variance + left * growth[2]
            break
    return math.exp(log_p), mean, math.sqrt(max(variance, 0.0))


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
