"""The spread of variance and gradient of residual layers at finite width, to leading order in 1 / width.

For plain layers the variances of one input form an exact Markov chain; for residual layers they do not: h stays, so
given its variance its entries are no fresh Gaussian sample.  What does close, to leading order, are the fluctuations of
all Hermite means M_k = mean_i he_k(h_i / sqrt(q*)), he_k = He_k / sqrt(k!).  With x = mean(h^2) / q* - 1 = sqrt(2) M_2,

    phi(h)^2 sigma_w2 / q* = ... + sum_k d_k M_k,      sigma_w2 phi'(h)^2 = ... + sum_k e_k M_k       (Hermite series)
    x'   = lambda x + alpha^2 sum_(k != 2) d_k M_k + noise of variance 2 (1 - r_2^2) / n,   lambda = V_alpha'(q*)
    M_k' = r_k M_k + noise of variance (1 - r_k^2) / n, k != 2,                             r_k = (1 - alpha^2)^(k/2)

with uncorrelated noises: h' is sqrt(1 - alpha^2) h plus a fresh Gaussian, and he_k are the eigenfunctions of that.
A squared gradient gains per layer, with g' independent of the weights it meets (as is usual, and not exact),

    log ||g||^2 - log ||g'||^2 = alpha^2 (e_2 x / sqrt(2) + sum_(k != 2) e_k M_k) + noise of variance
                                 (4 alpha^2 (1 - alpha^2) c' + 2 alpha^4 kappa) / n

at the edge of chaos: the first noise is the skip's product with the branch, the second the chi-square of the slopes,
kappa = sigma_w2^2 E phi'^4, which is sigma_w2 for slopes 0 and 1.  c' = sigma_w2 sum_i phi'(h_i)^2 g_i'^2 / ||g'||^2
is 1 for g' that knows nothing of h; but units that were active collect gradient and stay active.  With s_k the Hermite
series of E[g_i^2 | h_i], normalised,

    s_k = (1 - alpha^2) r_k s_k' + alpha^2 e_k,    c' = sum_k e_k r_k s_k',    s_k' = 0 for k > 0 in the last layer.

alpha = 1 gives the plain layer: (3 kappa - 1) / n per layer and what x carries over.  As alpha^2 = t / L -> 0 the
gradient's variance tends to (4 t + c(t) t^2) / n: it is bounded at any depth, with no factor kappa in its first part.
At equal t it is below that of t plain layers for small t only, as residual units that are silent stay so and their
fluctuations add up.  The spread of the variance does not vanish with alpha: only its pace does.  n Var log ||g||^2 for
clipped ReLU at sparsity 0.85 and slope 0.7, 2000 residual layers and t plain ones:

    t          0.1     1       2       5       20
    residual   0.56    13.9    39.7    166     1178
    plain              21.0    44.8    133     680

Conditions: hidden layers start from a Gaussian layer at q*, as after `gpsym.torch.init_`; spreads small against 1, and
against the distance to the end of the basin.  So this is no escape probability; for alpha < 1 none is exact.

Derivation: gpsym.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq

from gpsym.activation import Activation
from gpsym.design import CriticalInit
from gpsym.layers.residual import require_alpha
from gpsym.limits import require_sizes
from gpsym.maps import mean
from gpsym.numeric import evaluate

__all__ = ["Spread", "hermite_coefficients", "largest_mixing", "slope_series", "spread"]

# Terms of the Hermite series; what is left of E phi'^4, whose coefficients fall like k^(-3/4), counts as one term more.
_TERMS = 400


@dataclass(frozen=True)
class Spread:
    """Fluctuations over random networks at one depth.

    variance_sd      standard deviation of mean(h^2) / q_star in the last hidden layer.
    log_gradient_sd  standard deviation of log ||g||^2 in the first hidden layer, for a fixed g in the last.
    """

    variance_sd: float
    log_gradient_sd: float


def spread(design: CriticalInit, *, alpha: float, width: int, depth: int) -> Spread:
    """The spread after `depth` residual layers of a width, at the edge of chaos, to leading order in 1 / width.

    design  continuous piecewise linear.
    alpha   in (0, 1]; 1 is the plain network.
    width, depth  >= 1.

    Raises ValueError for others.

    >>> from gpsym import edge_of_chaos
    >>> design = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
    >>> plain, mixed = (spread(design, alpha=a, width=1000, depth=50) for a in (1, 0.2))
    >>> round(plain.log_gradient_sd, 3), round(mixed.log_gradient_sd, 3)
    (1.343, 0.198)
    """
    require_alpha("spread", alpha)
    require_sizes("spread", width=width, depth=depth)
    variance, gradient = _series(design).after(depth, alpha)
    return Spread(math.sqrt(variance / width), math.sqrt(gradient / width))


def largest_mixing(design: CriticalInit, *, width: int, depth: int, log_gradient_sd: float) -> float:
    """The alpha at which log ||g||^2 has this standard deviation after so many layers; 1 if the plain network has less.

    Raises ValueError for a deviation that is not > 0, and what `spread` raises.
    """
    if not log_gradient_sd > 0:
        raise ValueError(f"largest_mixing: need log_gradient_sd > 0, got {log_gradient_sd}; pass a deviation.")
    series, wanted = _series(design), log_gradient_sd**2 * width
    require_sizes("largest_mixing", width=width, depth=depth)

    def excess(alpha: float) -> float:
        return series.after(depth, alpha)[1] - wanted

    if excess(1.0) <= 0:
        return 1.0
    root: Any = brentq(excess, 0.0, 1.0, xtol=1e-12)
    return root


def slope_series(design: CriticalInit) -> np.ndarray:
    """e_k, the Hermite coefficients of sigma_w2 phi'^2 at q*: e_0 = chi_1, sum_k e_k^2 = kappa, 2 for ReLU.

    The last stands for all beyond, by their sum of squares.
    """
    return _completed(design.phi.derivative().function ** 2, design.sigma_w2, design.q_star)


def _completed(f: Activation, factor: float, q: float) -> np.ndarray:
    """The Hermite coefficients of factor * f, and one more for those beyond."""
    found = factor * hermite_coefficients(f, q, _TERMS)
    square = factor**2 * float(evaluate(mean(f**2), {"q": q}))
    return np.append(found, math.sqrt(max(0.0, square - found @ found)))


def hermite_coefficients(f: Activation, q: float, count: int) -> np.ndarray:
    """E[f(sqrt(q) Z) he_k(Z)] for k < count, f with numbers for its symbols, by parts on each piece.

    int_a^b he_k p = (he_(k-1)(a) p(a) - he_(k-1)(b) p(b)) / sqrt(k), z he_k = sqrt(k+1) he_(k+1) + sqrt(k) he_(k-1).
    """
    total = np.zeros(count)
    for lower, upper, piece in f.intervals:
        if not piece:
            continue
        power = _integrals(float(lower) / math.sqrt(q), float(upper) / math.sqrt(q), count + len(piece) - 1)
        for n, coefficient in enumerate(piece):
            total += float(coefficient) * q ** (n / 2) * power[:count]
            k = np.arange(len(power) - 1)
            power = np.sqrt(k + 1) * power[1:] + np.sqrt(k) * np.concatenate([[0.0], power[:-2]])
    return total


def _integrals(a: float, b: float, count: int) -> np.ndarray:
    """int_a^b he_k p for k < count."""
    heights = _weighted(a, count) - _weighted(b, count)
    tails = [math.erfc(t / math.sqrt(2)) / 2 for t in (a, b)]
    # Beyond 0 both are small: the difference of those on the other side would lose digits.
    inside = tails[0] - tails[1] if a >= 0 else math.erfc(-b / math.sqrt(2)) / 2 - math.erfc(-a / math.sqrt(2)) / 2
    return np.concatenate([[inside], heights[: count - 1] / np.sqrt(np.arange(1, count))])


def _weighted(t: float, count: int) -> np.ndarray:
    """he_k(t) p(t) for k < count; 0 at infinity."""
    values = np.zeros(count + 1)
    if math.isfinite(t):
        values[0] = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        values[1] = t * values[0]
        for k in range(1, count):
            values[k + 1] = (t * values[k] - math.sqrt(k) * values[k - 1]) / math.sqrt(k + 1)
    return values[:count]


@dataclass(frozen=True)
class _Series:
    """What a design is here.

    d, e   the Hermite coefficients of phi^2 sigma_w2 / q* and of sigma_w2 phi'^2, the last standing for all beyond.
    slope  V'(q*).
    """

    d: np.ndarray
    e: np.ndarray
    slope: float

    def after(self, depth: int, alpha: float) -> tuple[float, float]:
        """n times the variances of x and of log ||g||^2 after so many layers."""
        a2, kept = alpha**2, 1 - alpha**2 * (1 - self.slope)
        others = np.arange(len(self.d)) > 2  # k = 0 is a constant, k = 2 is x
        others[1] = True
        d, e, decay = (series[others] for series in (self.d, self.e, self._decay(alpha)))
        x_slope = self.e[2] / math.sqrt(2)
        # Covariances of x and the M_k, and of both with log ||g||^2, in the first hidden layer: he_k are orthonormal.
        xx, xm, gx, gm = 2.0, np.zeros(len(d)), 0.0, np.zeros(len(d))
        kappa = self.e @ self.e
        gg = sum(4 * a2 * (1 - a2) * c + 2 * a2**2 * kappa for c in self._concentrations(alpha, depth))
        for _ in range(depth):
            step_x, step_m = x_slope * xx + e @ xm, x_slope * xm + e
            gg += 2 * a2 * (x_slope * gx + e @ gm) + a2**2 * (x_slope * step_x + e @ step_m)
            gx, gm = gx + a2 * step_x, gm + a2 * step_m
            gx, gm = kept * gx + a2 * d @ gm, decay * gm
            xx = kept**2 * xx + 2 * kept * a2 * d @ xm + a2**2 * d @ d + 2 * a2 * (2 - a2)
            xm = decay * (kept * xm + a2 * d)
        return float(xx), float(gg)

    def _concentrations(self, alpha: float, depth: int) -> Iterator[float]:
        """c' of each layer, from the last to the first."""
        decay, s = self._decay(alpha), np.zeros(len(self.e))
        s[0] = 1.0
        for _ in range(depth):
            yield float((self.e * decay) @ s)
            s = (1 - alpha**2) * decay * s + alpha**2 * self.e

    def _decay(self, alpha: float) -> np.ndarray:
        """r_k."""
        return (1 - alpha**2) ** (np.arange(len(self.e)) / 2)


def _series(design: CriticalInit) -> _Series:
    phi, q = design.phi, design.q_star
    if phi.degree > 1 or phi.jumps():
        raise ValueError(f"spread: need a continuous piecewise-linear activation, got {phi.name}.")
    d = _completed(phi**2, design.sigma_w2 / q, q)
    return _Series(d, slope_series(design), slope=design.slope)
