"""The phase diagram of a clipped activation: sparsity against slope."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from gpsym.bifurcation import barrier, flat_slope, fold
from gpsym.design import edge_of_chaos
from gpsym.finite_width import above_by_depth, require_size
from gpsym.plot.canvas import BLACK, BLUE, GREY, ORANGE, SKY, figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["phase_figure"]

_POINTS = 29  # of each curve; contours have half as many
_LAST = 0.995  # the largest sparsity and slope of a curve
_RISKS = {0.01: ":", 0.1: "-.", 0.5: "--", 0.9: "-"}  # levels of the contours, and their lines
_LEAST_LEVEL, _LEVELS = 0.05, 16  # clip levels of designs that contours are interpolated between, in shares of the last
_BESIDE = 1e-6  # of the clip level of a fold, on either side of it
_LEAST_RISK = 1e-5  # below it, and above 1 minus it, a risk tells nothing about the contours


def phase_figure(
    activation: str, *, width: int | None = None, depth: int | None = None, excursion: float = 2.0
) -> Figure:
    """Which designs have one fixed point, and which three: the fold, and where V''(q*) = 0.

    activation  clipped-relu or clipped-soft-threshold; others have no such diagram (ValueError).
    width, depth, excursion
                for contours of the excursion probability in such networks (`gpsym.finite_width`); left out, none.
    """
    if (width is None) != (depth is None):
        raise ValueError(f"phase_figure: need width and depth together, got {width} and {depth}; pass both.")
    least = 0.5 if fold(activation, 0.5) is None else 0.0
    sparsity = _crowded(least, _LAST, _POINTS)
    folds = np.array([1.0 if (found := fold(activation, s)) is None else found.slope for s in sparsity])
    flat = np.array([flat_slope(activation, s) for s in sparsity])

    figure = figure_of(7.2, 5.6)
    axes = figure.subplots()
    axes.fill_between(sparsity, folds, 1, color=ORANGE, alpha=0.25, linewidth=0, label="three fixed points")
    axes.fill_between(sparsity, flat, folds, color=SKY, alpha=0.25, linewidth=0, label="one, $V''(q^*) > 0$")
    axes.fill_between(sparsity, 0, flat, color=GREY, alpha=0.15, linewidth=0, label="one, $V''(q^*) < 0$")
    axes.plot(sparsity, folds, color=ORANGE, linewidth=2, label="fold")
    axes.plot(sparsity, flat, color=BLUE, linewidth=2, linestyle="--", label="$V''(q^*) = 0$")
    title = f"{activation}: fixed points of the variance map"
    if width is not None and depth is not None:
        require_size(width, depth, excursion)
        contours = np.array([_contours(activation, s, width, depth, excursion) for s in sparsity[::2]])
        for (risk, line), slopes in zip(_RISKS.items(), contours.T, strict=True):
            axes.plot(sparsity[::2], slopes, color=BLACK, linewidth=1, linestyle=line, label=f"risk {risk:.0%}")
        title += f",\nand the risk of an excursion at width {width}, depth {depth}"
    axes.set(xlim=(least, 1), ylim=(0, 1), xlabel="sparsity", ylabel="slope $V'(q^*)$", title=title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _contours(activation: str, sparsity: float, width: int, depth: int, excursion: float) -> np.ndarray:
    """The slopes at which the excursion probability has the levels of `_RISKS`; NaN beyond the last one.

    Interpolated between designs, apart on both sides of the fold, where the fixed point that ends the basin comes in:
    the normal quantile of the probability is smooth in log(1 - slope).
    """
    steepest = edge_of_chaos(activation, sparsity=sparsity, slope=_LAST)
    levels = np.geomspace(1, _LEAST_LEVEL, _LEVELS) * (steepest.m or 0.0)
    born = fold(activation, sparsity)
    beside = [born.m * (1 - _BESIDE), born.m * (1 + _BESIDE)] if born else []
    below, above = [], []  # (-log(1 - slope), quantile of the risk)
    for m in sorted([*levels, *beside], reverse=True):
        design = edge_of_chaos(activation, tau=steepest.tau, m=m)
        end = min(excursion, barrier(design, sparsity) or excursion)
        risk = above_by_depth(design, end, width=width, depth=depth)[-1]
        place = -math.log(1 - design.slope), ndtri(np.clip(risk, _LEAST_RISK, 1 - _LEAST_RISK))
        (above if born and m > born.m else below).insert(0, place)
        if risk < _LEAST_RISK:
            break  # it grows with the clip level
    known = [_smooth(*zip(*side, strict=True)) for side in (below, above) if len(side) > 1]
    places, quantiles = np.concatenate(known, axis=1)
    return 1 - np.exp(-np.interp(ndtri([*_RISKS]), quantiles, places, right=np.nan))


def _smooth(x: tuple[float, ...], y: tuple[float, ...]) -> np.ndarray:
    """Many points on a monotone curve through these."""
    from scipy.interpolate import PchipInterpolator

    fine = np.linspace(x[0], x[-1], 500)
    return np.stack([fine, PchipInterpolator(x, y)(fine)])


def _crowded(low: float, high: float, count: int) -> np.ndarray:
    """Numbers from low to high that lie closer towards high."""
    return low + (high - low) * np.sin(np.linspace(0, np.pi / 2, count))
