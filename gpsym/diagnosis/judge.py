"""Measured layers beside theory: where bands come from, and when a layer has a fault."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrik, gammaincinv, ndtri

from gpsym import maps
from gpsym.design import CriticalInit
from gpsym.diagnosis.report import QUANTITIES, Diagnosis, Layer, Measured, Reading
from gpsym.finite_width import Start
from gpsym.finite_width.by_layer import log_gradient_moments, mean_square_quantiles
from gpsym.finite_width.correlation import correlation_spread
from gpsym.numeric import lambdify
from gpsym.stability import basin

__all__ = ["judged"]

Array = NDArray[np.float64]

_ROUNDING = 1e-12  # correlations this close to 1 are not told from it


def judged(
    layers: Sequence[Measured], design: CriticalInit, variances: Sequence[float], correlation: float, risk: float
) -> Diagnosis:
    """The diagnosis of measured layers.

    layers       in the order of the forward pass; those that theory covers are one stack.
    variances    of the pre-activations of each input in the first of these, as theory has them, > 0.
    correlation  of two inputs there, in [-1, 1], likewise.
    risk         in (0, 1), shared by all bands.  Raises ValueError for others.
    """
    if not 0 < risk < 1:
        raise ValueError(f"diagnose: need risk in (0, 1), got {risk}; 0.01 is one false alarm in 100 networks.")
    stack = [layer for layer in layers if not layer.uncovered]
    if not stack:
        return Diagnosis(tuple(_layer(x, {}, math.inf) for x in layers), risk)
    tail, plain = risk / (2 * len(QUANTITIES) * len(stack)), all(layer.positions == 1 for layer in stack)
    widths, start = tuple(layer.units for layer in stack), Start.of(variances)
    theory = _theory(design, widths, start, correlation if plain else None, tail)
    bands = {x.name: _bands(x, design, theory, place, tail) for place, x in enumerate(stack) if x.finite}
    return Diagnosis(tuple(_layer(x, bands.get(x.name, {}), theory.limit) for x in layers), risk)


@dataclass(frozen=True)
class _Theory:
    """(theory, low, high) in each layer of a stack, (L, 3) each; None where there is none.

    log_gradient  of log(|g_l| / |g_L|).
    limit         the variance from which networks do not come back; infinite if they always do.
    """

    limit: float
    variance: Array
    gain: Array
    log_gradient: Array | None
    correlation: Array | None


@lru_cache(maxsize=8)
def _theory(
    design: CriticalInit, widths: tuple[int, ...], start: Start, correlation: float | None, tail: float
) -> _Theory:
    """Bands that a number leaves at either end with probability `tail`; kept for those who ask again and again."""
    half, z = np.array(widths)[:, None] / 2, float(-ndtri(tail))
    limit = _limit(design)
    moments = log_gradient_moments(design, widths=widths, start=start, limit=limit)
    return _Theory(
        limit=math.inf if limit is None else limit,
        variance=mean_square_quantiles(design, (0.5, tail, 1 - tail), widths=widths, start=start),
        gain=np.hstack([np.ones_like(half), gammaincinv(half, [tail, 1 - tail]) / half]),
        log_gradient=None if moments is None else (moments[:, :1] + z * moments[:, 1:] * [0, -1, 1]) / 2,
        correlation=None if correlation is None else _correlations(widths, design, correlation, z),
    )


def _bands(layer: Measured, design: CriticalInit, theory: _Theory, place: int, tail: float) -> dict[str, Any]:
    """(theory, low, high) of every quantity of a layer that has them."""
    found: dict[str, Any] = {"variance": theory.variance[place], "gain": theory.gain[place]}
    if layer.activated is not None:
        found["zeros"] = _zeros(layer, design, tail)
    if theory.log_gradient is not None and layer.linked and layer.last > 0 and place < len(theory.variance) - 1:
        found["gradient"] = layer.last * np.exp(theory.log_gradient[place])
    if theory.correlation is not None:
        found["correlation"] = theory.correlation[place]
    return {name: tuple(map(float, band)) for name, band in found.items()}


def _zeros(layer: Measured, design: CriticalInit, tail: float) -> tuple[float, float, float]:
    """s(q) at the measured variances, and how far n units may be from it."""
    n, q = layer.units, layer.variances
    share = float(np.mean(lambdify(maps.sparsity(design.phi))(q=q)))
    if not 0 < share < 1:
        return share, share, share
    low, high = (math.ceil(k) if k >= 0 else 0 for k in bdtrik([tail, 1 - tail], n, share))
    return share, low / n, min(high, n) / n


def _correlations(widths: Sequence[int], design: CriticalInit, start: float, z: float) -> Array:
    """Theory and band of the correlation in each layer, (L, 3).

    The spread of log(1 - rho) is that of networks of the harmonic mean of the widths, and the (1 + rho)^2 / n by which
    n units show another correlation than rho.
    """
    rho, spread = np.full(len(widths), start), np.zeros(len(widths))
    width = max(round(len(widths) / sum(1 / n for n in widths)), 1)
    if len(widths) > 1:
        found = correlation_spread(design, width=width, depth=len(widths) - 1, correlation=start)
        rho[1:] = found.correlation
        spread[1:] = found.sd / np.maximum(1 - found.correlation, _ROUNDING)
    sd = np.sqrt(spread**2 + (1 + rho) ** 2 / np.array(widths))
    # E log(1 - rho) is less than the logarithm of E(1 - rho) by half a variance.
    far, near = np.exp(np.minimum(z * sd, -2 * math.log(_ROUNDING))), np.exp(-z * sd - sd**2 / 2)
    gap = np.maximum(1 - rho, _ROUNDING)
    return np.stack([rho, np.maximum(1 - gap * far, -1.0), 1 - gap * near], axis=1)


def _limit(design: CriticalInit) -> float | None:
    """The variance from which networks do not come back; 2 q_star where all above q_star run away, slowly at first."""
    low, high = basin(design)
    if high is None or low == high:
        return None
    return high if high > design.q_star else 2 * design.q_star


def _layer(x: Measured, bands: dict[str, tuple[float, float, float]], limit: float) -> Layer:
    measured = {
        "variance": float(np.mean(x.variances)),
        "gain": x.gain,
        "zeros": x.zeros,
        "gradient": x.gradient,
        "correlation": x.correlation,
    }
    readings = {name: Reading(number, *bands.get(name, ())) for name, number in measured.items()}
    forward = _forward_faults(x, readings, limit)
    return Layer(x.name, x.units, **readings, faults=forward, backward_faults=_backward(x, readings), note=x.uncovered)


def _forward_faults(x: Measured, readings: dict[str, Reading], limit: float) -> tuple[str, ...]:
    if not x.finite:
        return ("not finite",)
    if x.uncovered:
        return ()
    variance, gain = readings["variance"], readings["gain"]
    # What n units show of a variance at the limit stays below that many times it.
    escaped = gain.high is not None and variance.measured > limit * gain.high
    wrong = {
        "weights too large": gain.side > 0,
        "weights too small": gain.side < 0,
        "other activation": x.activated is False,
        "dead": x.zeros == 1,
        "escaped": escaped,
        **_sides("variance", variance),
        **_sides("zeros", readings["zeros"]),
        **_sides("correlation", readings["correlation"]),
    }
    return tuple(fault for fault, is_so in wrong.items() if is_so)


def _sides(name: str, reading: Reading) -> dict[str, bool]:
    return {f"{name} above the band": reading.side > 0, f"{name} below the band": reading.side < 0}


def _backward(x: Measured, readings: dict[str, Reading]) -> tuple[str, ...]:
    gradient = readings["gradient"]
    if not math.isfinite(x.gradient):
        return ("gradient not finite",)
    if x.uncovered:
        return ()
    if x.gradient == 0:
        return ("no gradient",)
    return {-1: ("gradient too small",), 0: (), 1: ("gradient too large",)}[gradient.side]
