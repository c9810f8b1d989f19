"""What a random network shows in each of its hidden layers: laws of what can be measured there, from the first on.

Layers may differ in width.  The variance of layer l + 1 depends on the n_l units of layer l, so each width has a chain
of its own, and the laws are handed from grid to grid: exact for fully connected layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv

from gpsym.design import CriticalInit
from gpsym.finite_width import Start, require_size
from gpsym.finite_width.backward import gradient_moments
from gpsym.finite_width.chain import Chain, carried, chain
from gpsym.finite_width.law import units

__all__ = ["log_gradient_moments", "mean_square_quantiles"]

Array = NDArray[np.float64]

_LEAST_PLACES, _MOST_PLACES = 2**10, 2**13
_AT_THE_END = 1.05  # what lies within this factor of the end of a grid counts as cut off there
_LEFT_OUT = 1e-3  # of the tail beyond the extreme quantiles
_GROWTH = 1.5  # from one depth at which gradients are computed to the next


def mean_square_quantiles(
    design: CriticalInit, probabilities: Sequence[float], *, widths: Sequence[int], start: Start | None = None
) -> Array:
    """Quantiles of the mean square of the pre-activations of hidden layers 1, ..., L, (L, probabilities).

    Given its variance q_l a layer has the mean square q_l chi^2_n / n, n its width, for one input.

    probabilities  each in (0, 1).
    widths         n_1, ..., n_L.
    start          law of q_1, from the inputs of the network; q_star if left out.

    A quantile beyond 1000 times the start is infinite, one below 1 / 1000 of it is 0: no chain goes there.
    Raises ValueError for widths out of range.
    """
    _require_widths(widths)
    law = start or Start((design.q_star,))
    chains = {n: _chain(design, n, law) for n in {*widths}}
    x = _logarithms(chains, max(widths))
    onward = {n: (found.distributions(np.exp(x)), found.step()) for n, found in chains.items()}
    measure = chains[widths[0]].start(np.array(law.variances), np.array(law.weights))
    masses = [_placed(np.log(law.variances), np.array(law.weights), x)]
    for n, after in pairwise(widths):
        distribution, step = onward[n]
        risen = np.maximum.accumulate(measure @ distribution)
        # Half of what lies between two places goes to either; what lies beyond the last, to it.
        middles = np.concatenate([[0.0], (risen[1:] + risen[:-1]) / 2, [1.0]])
        masses.append(np.diff(middles))
        measure = measure @ step
        if after != n:
            measure = chains[after].start(chains[n].grid.nodes, measure)
    return np.stack([_quantiles(m, x, n, probabilities) for m, n in zip(masses, widths, strict=True)])


def _require_widths(widths: Sequence[int]) -> None:
    if not widths:
        raise ValueError("by_layer: need the width of at least one hidden layer, got none; pass widths.")
    for n in widths:
        require_size(n, 1)


def _chain(design: CriticalInit, width: int, law: Start, *, gradients: bool = False) -> Chain:
    ends = (min(*law.variances, design.q_star), max(*law.variances, design.q_star))
    return chain(
        units(design.phi), (design.sigma_w2, design.sigma_b2), width, ends, refinement=0.6, gradients=gradients
    )


def _logarithms(chains: dict[int, Chain], most: int) -> Array:
    """Equidistant logarithms of all variances of the chains; an eighth of the deviation of log chi^2_most apart."""
    low = math.log(min(found.grid.low for found in chains.values()))
    high = math.log(max(found.grid.high for found in chains.values()))
    return np.linspace(low, high, int(min(max((high - low) * 8 * math.sqrt(most / 2), _LEAST_PLACES), _MOST_PLACES)))


def _placed(logarithms: Array, weights: Array, x: Array) -> Array:
    """The measure with these weights, each shared by the two places next to it."""
    position = (logarithms - x[0]) / (x[1] - x[0])
    left = np.clip(np.floor(position).astype(int), 0, len(x) - 2)
    part = np.clip(position - left, 0.0, 1.0)
    places, shares = np.concatenate([left, left + 1]), np.concatenate([weights * (1 - part), weights * part])
    return np.bincount(places, shares, len(x)).astype(np.float64)


def _quantiles(masses: Array, x: Array, width: int, probabilities: Sequence[float]) -> Array:
    """Quantiles of q chi^2_n / n, log q having these masses at the places x."""
    p, h, half = np.asarray(probabilities), x[1] - x[0], width / 2
    reach = np.log(gammaincinv(half, [_LEFT_OUT * p.min(), 1 - _LEFT_OUT * (1 - p.max())]) / half)
    steps = np.arange(math.floor(reach[0] / h) - 1, math.ceil(reach[1] / h) + 2)
    # Beyond the reach the distribution function counts as 0 and 1.
    kernel = np.concatenate([gammainc(half, half * np.exp(steps * h)), np.ones(len(x))])
    size = len(x) + len(kernel)
    convolution = np.fft.irfft(np.fft.rfft(masses, size) * np.fft.rfft(kernel, size), size)
    risen = np.maximum.accumulate(convolution[: len(kernel)])
    found = np.interp(p, risen, np.exp(x[0] + h * (steps[0] + np.arange(len(risen)))))
    total, near = np.cumsum(masses), math.log(_AT_THE_END)
    lost_below, lost_above = np.interp(x[0] + near, x, total), 1 - np.interp(x[-1] - near, x, total)
    return np.where(p <= lost_below, 0.0, np.where(1 - p <= lost_above, math.inf, found))


def log_gradient_moments(
    design: CriticalInit, *, widths: Sequence[int], start: Start | None = None, limit: float | None = None
) -> Array | None:
    """Mean and deviation of log(|g_l|^2 / |g_L|^2) in the hidden layers l = 1, ..., L, (L, 2), as in `FiniteWidth`.

    g_l is the gradient by the pre-activations of layer l of a loss behind layer L, such as a random combination of
    outputs; for one input, given that it is not 0 and that no variance was above the limit, if there is one.

    Mean and variance, about linear in the number of layers, are computed at numbers 1, 2, 3, 4, 6, ... of layers and
    interpolated between.  For different widths, to leading order in 1 / n, a layer counts as n / n_l ones, n the
    harmonic mean.

    None where `FiniteWidth.log_gradient_sd` is.  Raises ValueError for widths out of range.
    """
    _require_widths(widths)
    depth, law = len(widths) - 1, start or Start((design.q_star,))
    if not depth:
        return np.zeros((1, 2))
    width = max(round(depth / sum(1 / n for n in widths[:-1])), 1)
    found = _chain(design, width, law, gradients=True).below(None if limit is None else max(limit, *law.variances))
    if found.gradient is None or np.interp(law.variances[0], found.grid.nodes, found.gradient.number) < 1:
        return None
    layers = np.cumsum([width / n for n in widths[-2::-1]])[::-1]  # from layer l to the last
    step, steps = found.step(limit), found.log_steps(limit)
    first = found.start(np.array(law.variances), np.array(law.weights))
    knots = _depths(math.ceil(layers[0]))
    moments = [
        gradient_moments(found.gradient, steps, carried(step, first, max(depth - knot, 0)), knot) for knot in knots
    ]
    mean, deviation = np.array([(0.0, 0.0), *moments]).T
    at = np.append(layers, 0.0)
    return np.stack([np.interp(at, [0, *knots], mean), np.sqrt(np.interp(at, [0, *knots], deviation**2))], axis=1)


def _depths(last: int) -> list[int]:
    found = [1]
    while found[-1] < last:
        found.append(min(max(found[-1] + 1, int(found[-1] * _GROWTH)), last))
    return found
