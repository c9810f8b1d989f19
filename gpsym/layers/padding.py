"""Convolutions near the border: the variance and the squared gradient at each position, for wide channels.

A convolution of kernel size k, stride 1 and output of the same size, W ~ N(0, sigma_w2 / fan_in), fan_in = channels
times k^d.  Different taps have independent weights, so the variances at the positions p are closed among themselves:

    q_(l+1)(p) = sigma_w2 sum_p' T(p, p') E phi(sqrt(q_l(p')) Z)^2 + sigma_b2,
    g_l(p')    = sigma_w2 E phi'(sqrt(q_l(p')) Z)^2 sum_p T(p, p') g_(l+1)(p),

where T(p, p') is the fraction of the taps of p that read p', a product over the dimensions.  Padding decides T:

    circular, reflect, replicate   rows sum to 1, so the variance is that of the plain chain, V(q), at every position
    zeros                          a row sums to the fraction of taps inside, 1/2 + 1/(2k) at an edge: variance and
                                   gradient are lost there in every layer
    zeros, rescaled                rows divided by their sum: outputs at the border, without bias, times the root of
                                   its inverse.  Variance is V(q) again; `gpsym.torch.BorderScaled` does it

Where all rows sum to 1 the gradient summed over positions grows by chi_1, so at the edge of chaos it is kept; where
columns do too, with circular padding, and replicate for k = 3, it is kept at each position.  Two inputs, and two
positions of one input, have correlations that padding changes in all cases but circular.

How far the border reaches: small losses x = 1 - q / q* obey x' = V'(q*) T x inside, so in the limit of many layers
they fall like exp(-kappa d) with the distance d to an edge, V'(q*) mean_j cosh(kappa j) = 1 over the taps j
(`border_decay`).  A design with slope 0.7 and k = 3 has kappa = 1.08: a pixel or two.  With slope 1, unclipped, there
is no such length: the loss falls like (k^2 - 1) / (2 q* V'' d^2), and for ReLU, where V'' = 0, zeros diffuse inwards,
sqrt(l (k^2 - 1) / 12) pixels in l layers, for ever.  The gradient, with chi_1 = 1, always leaks in this way.

Zeros and k = 3, variance at an edge, in the limit of many layers, as a fraction of q* (2d: at a corner), and the
gradient of the first of 50 layers, averaged over 32 (32 x 32) positions, as a fraction of that of the last:

    clipped ReLU,  sparsity 0.85, slope 0.7   0.81 (0.71)    0.70 (0.49)
    clipped ReLU,  sparsity 0.85, slope 0.9   0.74 (0.65)    0.61 (0.38)
    shifted ReLU,  sparsity 0.85              0.71 (0.62)    0.49 (0.24)

Sources: Xiao et al. 2018 (mean-field theory of circular convolutions); Liu et al. 2018 (partial convolution: the same
fraction, undivided by a root, for trained weights).  Recursion with borders: gpsym.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from scipy.optimize import brentq

from gpsym import maps
from gpsym.design import CriticalInit
from gpsym.numeric import lambdify

__all__ = ["Padding", "border_decay", "gradient_profile", "taps", "variance_profile"]

Padding = Literal["zeros", "zeros-rescaled", "circular", "reflect", "replicate"]


def taps(size: int, kernel: int, padding: Padding = "zeros") -> np.ndarray:
    """T in one dimension, (size, size): the fraction of the kernel at a position (row) that reads one (column).

    size     number of positions, > kernel // 2 except with zeros, as padding needs something to copy.
    kernel   odd, as outputs are to have the size of inputs.
    padding  PyTorch's `padding_mode`, or "zeros-rescaled".

    Raises ValueError for others.

    >>> taps(4, 3) * 3
    array([[1., 1., 0., 0.],
           [1., 1., 1., 0.],
           [0., 1., 1., 1.],
           [0., 0., 1., 1.]])
    """
    if padding not in get_args(Padding):
        raise ValueError(f"taps: need padding among {', '.join(get_args(Padding))}, got {padding!r}; choose of these.")
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"taps: need an odd kernel, got {kernel}; an even one does not keep the size.")
    half, zeros = kernel // 2, padding.startswith("zeros")
    if size < 1 or (size <= half and not zeros):
        raise ValueError(f"taps: need more than {half} positions for {padding}, got {size}; take a smaller kernel.")
    found = np.zeros((size, size))
    for j in range(-half, half + 1):
        read = np.arange(size) + j
        inside = (read >= 0) & (read < size)
        rows = np.flatnonzero(inside) if zeros else np.arange(size)
        np.add.at(found, (rows, _source(read, size, padding)[rows]), 1 / kernel)
    return found / found.sum(1, keepdims=True) if padding == "zeros-rescaled" else found


def variance_profile(
    design: CriticalInit, shape: Sequence[int], *, kernel: int, depth: int, padding: Padding = "zeros"
) -> np.ndarray:
    """q_l(p) for l = 1, ..., depth, (depth, *shape), from an input of the same mean square at every position.

    The first layer is that of `gpsym.torch.init_`, which gives q_star where no tap is outside.

    shape  size in each dimension, such as (28, 28).
    depth  number of convolutions, >= 1.

    Raises ValueError for what `taps` refuses.
    """
    second = lambdify(maps.second_moment(design.phi))
    sides = [taps(size, kernel, padding) for size in _checked(shape, depth)]
    q = _along(sides, np.full(tuple(shape), design.q_star - design.sigma_b2)) + design.sigma_b2
    layers = np.empty((depth, *q.shape))
    for k in range(depth):
        layers[k] = q
        q = design.sigma_w2 * _along(sides, second(q)) + design.sigma_b2
    return layers


def gradient_profile(
    design: CriticalInit, variances: np.ndarray, *, kernel: int, padding: Padding = "zeros"
) -> np.ndarray:
    """g_l(p), the mean square of the gradient at each position and layer, from 1 everywhere in the last one.

    variances  q_l(p), as of `variance_profile`, (depth, *shape), like the result.

    Gradients count as independent of the weights they meet, as is usual.
    """
    gradient = lambdify(maps.chi_1(design.phi))
    sides = [taps(size, kernel, padding).T for size in _checked(variances.shape[1:], len(variances))]
    layers = np.ones(variances.shape)
    for k in range(len(layers) - 2, -1, -1):
        layers[k] = gradient(variances[k], design.sigma_w2) * _along(sides, layers[k + 1])
    return layers


def border_decay(design: CriticalInit, kernel: int) -> float:
    """kappa >= 0 with V'(q*) mean_j cosh(kappa j) = 1 over the taps j: the border's loss falls like exp(-kappa d).

    0 where V'(q*) >= 1.  Raises ValueError for a kernel that is not odd, and for a slope that is not > 0 or a kernel
    of 1, without which nothing spreads.
    """
    j = np.arange(1, kernel // 2 + 1)
    if kernel % 2 == 0 or kernel < 3 or not design.slope > 0:
        raise ValueError(
            f"border_decay: need an odd kernel >= 3 and a slope > 0, got {kernel} and {design.slope}; "
            "without them a border does not reach further than one layer's taps."
        )
    if design.slope >= 1:
        return 0.0

    def excess(kappa: float) -> float:
        return design.slope * (1 + 2 * float(np.cosh(kappa * j).sum())) / kernel - 1

    # At this kappa the outermost taps alone suffice: cosh(x) >= exp(x) / 2.
    most = math.log(kernel / design.slope) / j[-1]
    root: Any = brentq(excess, 0.0, most, xtol=1e-14)
    return root


def _source(read: np.ndarray, size: int, padding: Padding) -> np.ndarray:
    """The position that is read, where it may lie outside."""
    if padding == "circular":
        return read % size
    if padding == "reflect":
        return (size - 1) - abs((size - 1) - abs(read))
    return read.clip(0, size - 1)


def _along(sides: Sequence[np.ndarray], values: np.ndarray) -> Any:
    """T, one matrix for each dimension, applied to values at all positions."""
    for axis, side in enumerate(sides):
        values = np.moveaxis(np.tensordot(side, values, (1, axis)), 0, axis)
    return values


def _checked(shape: Sequence[int], depth: int) -> Sequence[int]:
    if depth < 1 or not shape:
        raise ValueError(f"padding: need a depth >= 1 and a shape, got {depth} and {tuple(shape)}; pass both.")
    return shape
