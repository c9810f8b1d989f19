"""How many directions come through a deep narrow network: the spectrum of the Jacobian of all its layers.

At the edge of chaos a gradient keeps its mean square, but not its freedom.  The i-th singular value of a product of L
Jacobians, n units wide, falls behind the first by exp(-(i - 1) g L): g is the gap between neighbours among the Lyapunov
exponents.  So about 1 + 1 / (g L) directions come through, of gradients and of differences between inputs alike.  A
gradient with fewer than there are classes, less one, cannot tell all classes apart.

The Jacobians are J = a 1 + alpha W D, D = diag(phi'(h)), a^2 = 1 - alpha^2; alpha = 1 is the plain layer.  Of an
orthonormal n x r frame U, as QR keeps it, E log det(U^T J^T J U) / 2 = lambda_1 + ... + lambda_r.  With
S = sigma_w2 U^T D^2 U - 1,

    U^T J^T J U = 1 + alpha^2 S + a alpha (U^T W D U + its transpose) + alpha^2 (U^T D W^T W D U - 1 - S).

To second order E log det(1 + M) = E tr M - E tr M^2 / 2.  The last two terms are noise of W, with E tr(noise^2) =
(2 a^2 alpha^2 + alpha^4) r (r + 1) / n.  S is a mean over units: with e_k the Hermite coefficients of sigma_w2 phi'^2,
chi_1 = e_0 = 1,

    E tr S^2 = K(1) r^2 / n + O(r / n),    K(rho) = sum_(k >= 1) e_k^2 rho^k,    K(1) = kappa - 1,

kappa = sigma_w2^2 E phi'^4 >= 1 / P(phi' != 0).  In a plain network E tr S = 0.  In a residual one S remembers: the
units of m layers ago have correlation a^m with those of now, U still holds a part a^m of what it was, and all that U
gained from S_m has been normalised away since, so that

    E tr S = -alpha^2 sum_(m >= 1) E tr(S S_m),    E tr(S S_m) = a^(2 m) K(a^m) r^2 / n + O(r / n).

What grows as r^2 parts directions, lambda_i - lambda_(i+1) = g:

    n g = alpha^2 - alpha^4 / 2 + alpha^4 (K(1) / 2 + sum_(m >= 1) a^(2 m) K(a^m))
        = alpha^2 - alpha^4 / 2 + alpha^4 / 2 sum_(k >= 1) e_k^2 (1 + x_k) / (1 - x_k),    x_k = a^(k + 2),
        = kappa / 2                                                                        for plain layers,
        -> alpha^2 (1 + 2 int_0^1 rho K(rho) d rho)                                        as alpha -> 0.

So L residual layers of small alpha lose directions as 1.5 alpha^2 L plain ones for ReLU, K(rho) = (2 / pi) asin(rho),
and as 0.99 alpha^2 L for a clipped ReLU at sparsity 0.85.  To leading order in i kappa / n, and for h at q*: ten of 300
units with kappa = 7 part by 15 % more in plain networks, and by less in residual ones.

Sources: Newman 1986 (exponents of products of Gaussian matrices).  Slopes, skips and their memory: gpsym.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.optimize import brentq

from gpsym.design import CriticalInit
from gpsym.layers.fluctuation import slope_series
from gpsym.layers.residual import require_alpha
from gpsym.limits import require_sizes, shown

__all__ = ["depth_of_directions", "gradient_directions", "lyapunov_gap", "mixing_of_directions"]

_DEEPEST = 1e300  # layers; nothing is computed layer by layer, and products of a deeper one overflow


def lyapunov_gap(design: CriticalInit, *, width: int, alpha: float = 1.0) -> float:
    """g: how much further each direction falls behind, per layer, in log length; kappa / (2 n) for plain layers.

    width  n >= 1.
    alpha  in (0, 1], of residual layers; 1 is the plain network.

    Raises ValueError for others.

    >>> from gpsym import edge_of_chaos
    >>> relu, sparse = edge_of_chaos("relu"), edge_of_chaos("crelu", sparsity=0.85, slope=0.8)
    >>> [round(300 * lyapunov_gap(design, width=300), 3) for design in (relu, sparse)]
    [1.0, 3.505]
    """
    require_alpha("lyapunov_gap", alpha)
    require_sizes("lyapunov_gap", width=width)
    return _gap(slope_series(design)[1:] ** 2, alpha) / width


def gradient_directions(design: CriticalInit, *, width: int, depth: float, alpha: float = 1.0) -> float:
    """1 + 1 / (g L): how many directions come through L layers no more than a factor e shorter than the longest.

    With 300 units and 100 plain layers it is 4 for ReLU and 1.9 for a clipped ReLU at sparsity 0.85.  At most n.

    depth         L > 0.
    width, alpha  as in `lyapunov_gap`.

    Raises ValueError for others.
    """
    _require_layers("gradient_directions", depth)
    return min(float(width), 1 + 1 / (lyapunov_gap(design, width=width, alpha=alpha) * depth))


def depth_of_directions(design: CriticalInit, *, width: int, directions: float, alpha: float = 1.0) -> float:
    """L = 1 / (g (directions - 1)): the depth through which so many come, as in `gradient_directions`.

    directions    >= 1, such as the number of classes less one.
    width, alpha  as in `lyapunov_gap`.

    Infinite for one direction.  Raises ValueError for others.
    """
    others, gap = _others("depth_of_directions", directions), lyapunov_gap(design, width=width, alpha=alpha)
    return 1 / (gap * others) if others else math.inf


def mixing_of_directions(design: CriticalInit, *, width: int, depth: float, directions: float) -> float:
    """The alpha of residual layers through which so many directions come; 1 if they come through plain ones.

    depth       L > 0.
    directions  >= 1, such as the number of classes less one.

    Raises ValueError for others.

    >>> from gpsym import edge_of_chaos
    >>> sparse = edge_of_chaos("crelu", sparsity=0.85, slope=0.8)
    >>> round(mixing_of_directions(sparse, width=300, depth=100, directions=9), 3)
    0.336
    """
    require_sizes("mixing_of_directions", width=width)
    _require_layers("mixing_of_directions", depth)
    squares, lost = slope_series(design)[1:] ** 2, depth * _others("mixing_of_directions", directions)

    def excess(alpha: float) -> float:
        return _gap(squares, alpha) * lost / width - 1

    if excess(1.0) <= 0:
        return 1.0
    # n g <= kappa alpha^2, as (1 - y) coth(p log(1 / y) / 2) <= 4 / 3 for p >= 3 / 2, x_k = y^p.
    root: Any = brentq(excess, math.sqrt(width / lost / (1 + squares.sum())), 1.0, xtol=1e-12)
    return root


def _gap(squares: np.ndarray, alpha: float) -> float:
    """n g, of e_k^2 for k >= 1."""
    forgotten = math.inf if alpha == 1 else -math.log1p(-(alpha**2)) / 2  # -log a
    memory = 1 / np.tanh(forgotten * np.arange(3, len(squares) + 3) / 2)  # (1 + x_k) / (1 - x_k)
    return float(alpha**2 + alpha**4 / 2 * (squares @ memory - 1))


def _require_layers(door: str, depth: float) -> None:
    """Raise ValueError for a number of layers, which need not be whole, that is not positive or near overflow."""
    if not 0 < depth <= _DEEPEST:
        raise ValueError(f"{door}: need depth in (0, {_DEEPEST}], got {shown(depth)}; pass a number of layers.")


def _others(name: str, directions: float) -> float:
    """How many there are beside the longest."""
    if not directions >= 1:
        raise ValueError(f"{name}: need directions >= 1, got {directions}; pass how many shall come through.")
    return directions - 1
