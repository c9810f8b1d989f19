"""The correlation of two inputs at finite width, to leading order in 1 / width.

The pre-activations of two inputs are i.i.d. pairs given their covariance matrix, which so is a Markov chain too, in
three dimensions.  Around the path that the infinitely wide network takes, q = q* and rho' = R(rho), with s the relative
deviation of the mean of both variances, r that of the correlation and K(q, rho) the covariance one layer on,

    s' = V' s + a,    r' = R'(rho) r + (dK/dq - rho' V') s + b - rho' a,    both primes at q*,

    n Var a   = (sigma_w2 / q*)^2 (E phi^4 + E phi(u)^2 phi(v)^2 - 2 (E phi^2)^2) / 2
    n Var b   = (sigma_w2 / q*)^2 (E phi(u)^2 phi(v)^2 - (E phi(u) phi(v))^2)
    n Cov a b = (sigma_w2 / q*)^2 (E phi(u)^3 phi(v) - E phi^2 E phi(u) phi(v)).

The difference of both variances does not move rho to first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpsym import maps
from gpsym.design import CriticalInit
from gpsym.finite_width import require_size
from gpsym.formula import Q
from gpsym.numeric import evaluate, lambdify

__all__ = ["CorrelationSpread", "correlation_spread"]

Array = NDArray[np.float64]

_SAME = (Q, Q)
_STEP = 1e-4  # of q, relatively: a central difference of kernels good to 1e-13 then is to 1e-8


@dataclass(frozen=True)
class CorrelationSpread:
    """Of the correlation in layers 1, 2, ... after the first hidden one, (depth,) each.

    correlation  rho_l of infinitely wide networks.
    sd           its standard deviation over random networks.
    """

    correlation: Array
    sd: Array


def correlation_spread(design: CriticalInit, *, width: int, depth: int, correlation: float) -> CorrelationSpread:
    """How the correlation of two inputs of variance q_star spreads over random networks.

    width        n >= 1; the spread is good where it is small against 1 - rho.
    depth        L >= 1, layers after the first hidden one.
    correlation  of the pre-activations of the first hidden layer, in [-1, 1].

    Raises ValueError for numbers out of range.

    >>> from gpsym import edge_of_chaos
    >>> found = correlation_spread(edge_of_chaos("relu"), width=1000, depth=3, correlation=0.0)
    >>> [round(float(rho), 3) for rho in found.correlation], [round(float(sd), 3) for sd in found.sd]
    ([0.318, 0.494, 0.605], [0.023, 0.029, 0.03])
    """
    require_size(width, depth)
    if not -1 <= correlation <= 1:
        raise ValueError(f"correlation_spread: need a correlation in [-1, 1], got {correlation}; pass that of inputs.")
    phi, q, square = design.phi, design.q_star, maps.second_moment(design.phi)
    weights = {"sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2}
    path = [correlation]
    step = lambdify(maps.correlation_map(phi, variances=_SAME))
    for _ in range(depth):
        path.append(min(float(step(q=q, rho=path[-1], **weights)), 1.0))
    rho, onward = np.array(path[:-1]), np.array(path[1:])

    slope = lambdify(maps.correlation_slope(phi, variances=_SAME))(q=q, rho=rho, sigma_w2=design.sigma_w2)
    covariance = lambdify(maps.nngp(phi, variances=_SAME))
    high, low = (covariance(q=q * (1 + sign * _STEP), rho=rho, **weights) for sign in (1, -1))
    coupling = (high - low) / (2 * _STEP * q) - onward * design.slope

    def mixed(j: int, k: int) -> Array:
        return lambdify(maps.kernel(phi**j, phi**k, variances=_SAME))(q=q, rho=rho)

    second, fourth = (float(evaluate(moment, {"q": q})) for moment in (square, maps.moment(phi, 4)))
    product, squares, cubes = mixed(1, 1), mixed(2, 2), mixed(3, 1)
    scale = (design.sigma_w2 / q) ** 2 / width
    a = scale * (fourth + squares - 2 * second**2) / 2
    ab, bb = scale * (cubes - second * product), scale * (squares - product**2)

    variance = _carried(design.slope, slope, coupling, (a, ab, bb), onward)
    return CorrelationSpread(onward, np.sqrt(np.maximum(variance, 0.0)))  # rounding, where both inputs are one


def _carried(decay: float, slope: Array, coupling: Array, noise: tuple[Array, Array, Array], onward: Array) -> Array:
    """Var r after each layer, from none before the first.

    decay, slope, coupling  V', R' and the factor of s in r'; noise: Var a, Cov a b, Var b of each layer.
    """
    state = np.zeros((2, 2))  # of (s, r)
    found = []
    for rises, couples, a, ab, bb, rho in zip(slope, coupling, *noise, onward, strict=True):
        move = np.array([[decay, 0.0], [couples, rises]])
        enters = np.array([[1.0, 0.0], [-rho, 1.0]])
        state = move @ state @ move.T + enters @ np.array([[a, ab], [ab, bb]]) @ enters.T
        found.append(state[1, 1])
    return np.array(found)
