"""How deep a design may be: the depths at which inputs merge, gradients spread and variances escape.

At the edge of chaos nothing decays at an exponential rate in a wide network; what limits depth is algebraic.  1 - rho
shrinks as (3 / (2 A))^2 / l^2, and log |gradient|^2 spreads with a variance that grows as c L / n.  How many directions
of it are left is in `gpsym.directions`.
"""

from __future__ import annotations

import math

import numpy as np

from gpsym import maps
from gpsym.design import CriticalInit
from gpsym.finite_width import failure_by_depth
from gpsym.finite_width.law import moments, units
from gpsym.formula import Q
from gpsym.limits import WIDTH
from gpsym.numeric import evaluate, lambdify

__all__ = [
    "correlation_rate",
    "gradient_spread",
    "greatest_depth",
    "least_width",
    "merging_depth",
]

# From here on 1 - rho follows its asymptotic law, whose next term is smaller by sqrt(1 - rho).
_ASYMPTOTIC = 1e-4


def correlation_rate(design: CriticalInit) -> float:
    """A, of 1 - R(1 - eps) = eps - (4/3) A eps^(3/2) + ...: the price that sparsity asks of depth.

    0 for a linear activation, which keeps correlations.
    """
    return float(evaluate(maps.correlation_rate(design.phi), {"q": design.q_star, "sigma_w2": design.sigma_w2}))


def merging_depth(design: CriticalInit, precision: float, correlation: float = 0.0) -> float:
    """The depth from which on two inputs of variance q_star have correlation 1 - precision or more.

    precision    in (0, 1): 1 - rho that can no longer be told from 0, such as 2^-23 in float32.
    correlation  of the first hidden layer's pre-activations, in [-1, 1).

    The correlation map is iterated to 1 - rho = 1e-4, and from there on the depth is that of the asymptotic law
    d(1 - rho)^(-1/2) / dl = (2/3) A, good to 1 %.  Infinite for a linear activation.
    Raises ValueError for numbers out of range.
    """
    if not 0 < precision < 1:
        raise ValueError(f"merging_depth: need 0 < precision < 1, got {precision}; 2^-23 is float32's.")
    if not -1 <= correlation < 1:
        raise ValueError(f"merging_depth: need -1 <= correlation < 1, got {correlation}; pass that of two inputs.")
    rate = correlation_rate(design)
    if rate == 0:
        return math.inf
    gaps = np.geomspace(_ASYMPTOTIC, 2, 400)
    step = lambdify(maps.correlation_map(design.phi, variances=(Q, Q)))
    values = {"q": design.q_star, "sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2}
    left = (1 - step(rho=1 - gaps, **values)) / gaps  # smooth: its interpolation is off by 1e-5
    gap, depth = 1 - correlation, 0
    while gap > max(precision, _ASYMPTOTIC):
        gap, depth = gap * float(np.interp(math.log(gap), np.log(gaps), left)), depth + 1
    return depth + max(0.0, (precision**-0.5 - gap**-0.5) * 1.5 / rate)


def gradient_spread(design: CriticalInit) -> float:
    """c, of Var log |g|^2 = c L / n for many layers L of many units n, around q_star.

    c = 3/P - 1 + 2 u C / P + u^2 D,   P = P(A),   A: phi'(U) != 0,   u = (P'(q) / P) / (1 - V'(q)),

    C = sigma_w2 Cov(1_A, phi(U)^2) and D = sigma_w2^2 Var phi(U)^2 being what a layer's N and next variance spread by;
    3/P - 1 is what a fixed variance leaves, 5 for ReLU.  A variance that can be borne allows the depth n variance / c.
    Raises ValueError for slopes other than one and 0, and where V'(q_star) = 1, so that variances never settle.
    """
    one_slope = units(design.phi)
    if one_slope.slope is None:
        raise ValueError(f"gradient_spread: need one slope besides 0, got others for {design.activation}; simulate.")
    if not design.slope < 1:
        raise ValueError(f"gradient_spread: need V'(q_star) < 1, got {design.slope}; choose a clipped activation.")
    one = moments(one_slope, np.array([design.q_star]))
    p, square = one.active[0], design.sigma_w2 * one.mean[0]
    step = design.q_star * np.array([1 - 1e-4, 1 + 1e-4])
    growth = np.diff(moments(one_slope, step).active)[0] / np.diff(step)[0] / p / (1 - design.slope)
    covariance = design.sigma_w2 * one.active_mean[0] - p * square
    return float(3 / p - 1 + 2 * growth * covariance / p + growth**2 * design.sigma_w2**2 * one.variance[0])


def greatest_depth(design: CriticalInit, *, width: int, risk: float, excursion: float = 2.0, most: int = 10_000) -> int:
    """The largest depth, up to `most`, at which networks fail with at most this risk; 0 if it is none.

    A network fails that has an excursion or whose gradient is exactly 0, as in `gpsym.finite_width.FiniteWidth`.
    """
    by_depth = failure_by_depth(design, width=width, depth=most, excursion=excursion)
    return int(np.searchsorted(by_depth, risk, side="right"))


def least_width(
    design: CriticalInit,
    *,
    depth: int,
    risk: float,
    excursion: float = 2.0,
    least: int = 1,
    precision: float = 0.0,
) -> int | None:
    """The least width from `least` to `WIDTH` at which networks fail with at most this risk; None if none is.

    precision  how much more the answer may be, as a part of it; any answer keeps the risk.

    It is found by doubling and halving: the risk falls with the width.
    """

    def safe(width: int) -> bool:
        return bool(failure_by_depth(design, width=width, depth=depth, excursion=excursion)[-1] <= risk)

    low, high = least - 1, min(least, WIDTH)
    while not safe(high):
        if high == WIDTH:
            return None
        low, high = high, min(2 * high, WIDTH)
    while high - low > max(1, precision * high):
        middle = (low + high) // 2
        low, high = (low, middle) if safe(middle) else (middle, high)
    return high
