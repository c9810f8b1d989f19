"""How deep a design may be: the depths at which inputs merge, gradients spread and variances escape.

At the edge of chaos nothing decays at an exponential rate in a wide network; what limits depth is algebraic.  1 - rho
shrinks as (3 / (2 A))^2 / l^2, and log |gradient|^2 spreads with a variance that grows as c L / n.  At finite width
directions are lost at a rate of kappa / (2 n) each: through a deep narrow network only a few differences come to the
other end, of inputs and of gradients alike.
"""

from __future__ import annotations

import math

import numpy as np

from gpsym import maps
from gpsym.design import CriticalInit
from gpsym.finite_width import MOST_WIDTH, excursion_by_depth, excursion_probability
from gpsym.finite_width.law import moments, units
from gpsym.formula import Q
from gpsym.layers.fluctuation import slope_kurtosis
from gpsym.numeric import evaluate, lambdify

__all__ = [
    "correlation_rate",
    "depth_of_directions",
    "gradient_directions",
    "gradient_spread",
    "greatest_depth",
    "jacobian_exponents",
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


def jacobian_exponents(design: CriticalInit, *, width: int, count: int) -> np.ndarray:
    """lambda_i = (log chi_1 - i kappa / n) / 2 for i = 1 .. count: the pace at which a deep network's Jacobian grows.

    The product of L layers W diag(phi'), n units wide, stretches the volume of i random directions by
    exp(L (lambda_1 + ... + lambda_i)), kappa = E phi'^4 / (E phi'^2)^2 >= 1 / P(phi' != 0): 2 for ReLU.

    To leading order in i kappa / n.  For one layer and n x i orthonormal U, independent of it,

        E log det(U^T D W^T W D U) = E log det Wishart_i(n) + E log det(U^T D^2 U),    D = diag(phi')
        E log det(Wishart_i(n) / n) = -i (i + 1) / (2 n),
        E log det(U^T D^2 U / E phi'^2) = -i (i + 1) / (2 n) (kappa - 1):

    U^T D^2 U has entries of variance Var(phi'^2) / n off its diagonal and twice that on it.  The sum has the
    increments log chi_1 - i kappa / n.  For the slopes 0 and 1 alone both are chi-squares, and 2 lambda_i tends to
    log(2 sigma_w2 / n) + psi((n / kappa - i + 1) / 2), psi the digamma function: i = 1 to 10 of 300 units of a clipped
    ReLU at sparsity 0.85 part by 15 % more.  Residual layers part their directions about as alpha^2 L plain ones
    do (measured, not derived: units that are silent stay so).

    width, count  n >= 1, and from 1 to n.

    Raises ValueError for others.  Derivation: gpsym; exponents of products of Gaussian matrices: Newman 1986.
    """
    if not 1 <= count <= width:
        raise ValueError(f"jacobian_exponents: need 1 <= count <= width, got {count} and {width}; pass fewer.")
    return (math.log(design.chi_1) - np.arange(1, count + 1) * slope_kurtosis(design) / width) / 2


def gradient_directions(design: CriticalInit, *, width: int, depth: float) -> float:
    """1 + 2 n / (kappa L): how many directions come through L layers no more than a factor e shorter than the longest.

    A gradient that knows fewer directions than there are classes, less one, cannot tell them apart: with 300 units and
    100 layers it is 4 for ReLU and 1.9 for a clipped ReLU at sparsity 0.85.  At most n.

    width, depth  >= 1 and > 0; for residual layers pass alpha^2 L, see `jacobian_exponents`.

    Raises ValueError for others.
    """
    if not (width >= 1 and depth > 0):
        raise ValueError(f"gradient_directions: need width >= 1 and depth > 0, got {width} and {depth}; pass such.")
    return min(float(width), 1 + 2 * width / (slope_kurtosis(design) * depth))


def depth_of_directions(design: CriticalInit, *, width: int, directions: float) -> float:
    """L = 2 n / (kappa (directions - 1)): the depth through which so many come, as in `gradient_directions`.

    Of a deeper network, residual layers make as many: `gpsym.layers.residual.mixing(depth, L)` is their alpha.

    directions  > 1, such as the number of classes less one.

    Raises ValueError for others.
    """
    if not (width >= 1 and directions > 1):
        raise ValueError(f"depth_of_directions: need width >= 1, directions > 1, got {width}, {directions}; pass such.")
    return 2 * width / (slope_kurtosis(design) * (directions - 1))


def greatest_depth(design: CriticalInit, *, width: int, risk: float, excursion: float = 2.0, most: int = 10_000) -> int:
    """The largest depth, up to `most`, whose excursion probability is at most the risk; 0 if it is none."""
    by_depth = excursion_by_depth(design, width=width, depth=most, excursion=excursion)
    return int(np.searchsorted(by_depth, risk, side="right"))


def least_width(design: CriticalInit, *, depth: int, risk: float, excursion: float = 2.0) -> int | None:
    """The least width, up to `MOST_WIDTH`, whose excursion probability is at most the risk; None if none is.

    Found by halving: the risk falls with the width.
    """

    def safe(width: int) -> bool:
        return excursion_probability(design, width=width, depth=depth, excursion=excursion) <= risk

    if not safe(MOST_WIDTH):
        return None
    low, high = 0, MOST_WIDTH
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if safe(middle) else (middle, high)
    return high
