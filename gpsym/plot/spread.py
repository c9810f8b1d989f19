"""The variance of random networks, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpsym.design import CriticalInit
from gpsym.finite_width import FiniteWidth, finite_width, variance_quantiles
from gpsym.finite_width.simulation import simulated_variances
from gpsym.plot.canvas import BLACK, BLUE, ORANGE, RED, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["spread_figure"]

_BANDS = ((0.01, 0.99, 0.15), (0.05, 0.95, 0.2), (0.25, 0.75, 0.3))  # (from, to, opacity)
_SIMULATED = (0.05, 0.5, 0.95)
_MOST_DRAWS = 3e7  # normal numbers, a second or two
_MARKS = 12  # layers at which the simulation is shown


def spread_figure(design: CriticalInit, *, width: int, depth: int, excursion: float = 2.0, seed: int = 0) -> Figure:
    """Quantiles of the variance and the risk by layer, computed, and those of simulated random networks.

    Arguments as of `gpsym.finite_width.finite_width`, whose ValueErrors are raised.  Of 100 to 1000 networks, as many
    as can be simulated in a second or two, bars show two standard errors of the risk.
    """
    risk = finite_width(design, width=width, depth=depth, excursion=excursion)
    networks = int(np.clip(_MOST_DRAWS / (width * depth), 100, 1000))
    found = simulated_variances(design, width=width, depth=depth, networks=networks, seed=seed)
    marks = np.unique(np.geomspace(1, depth, _MARKS).round().astype(int))
    figure = figure_of(7.2, 6.4)
    variances, risks = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_variances(variances, design, risk, found, marks)
    _draw_risks(risks, risk, found, marks)
    variances.set_title(f"{design.activation}, sparsity {design.sparsity:.4g}, slope {design.slope:.4g}: width {width}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize="small")
    return figure


def _draw_variances(axes: Axes, design: CriticalInit, risk: FiniteWidth, found: np.ndarray, marks: np.ndarray) -> None:
    from matplotlib.ticker import LogLocator

    layers = np.arange(1, risk.depth + 1)
    probabilities = sorted({p for low, high, _ in _BANDS for p in (low, high)} | {0.5})
    quantiles = variance_quantiles(design, probabilities, width=risk.width, depth=risk.depth)
    by_probability = dict(zip(probabilities, quantiles.T, strict=True))
    for low, high, opacity in _BANDS:
        label = f"{low:.0%} to {high:.0%} of networks"
        axes.fill_between(
            layers, by_probability[low], by_probability[high], color=BLUE, alpha=opacity, linewidth=0, label=label
        )
    axes.plot(layers, by_probability[0.5], color=BLUE, linewidth=1.5, label="median")
    simulated = np.quantile(found[marks - 1], _SIMULATED, axis=1).T
    label = f"{found.shape[1]} simulated: {', '.join(f'{p:.0%}' for p in _SIMULATED)}"
    axes.plot(
        marks,
        simulated,
        "o",
        color=BLACK,
        markersize=4,
        fillstyle="none",
        label=[label, *["_"] * (len(_SIMULATED) - 1)],
    )
    if risk.limit is not None:
        label = f"end of the basin, {risk.limit:.4g}"
        axes.axhline(risk.limit, color=RED, linewidth=1.2, linestyle="--", label=label)
    if risk.excursion_limit != risk.limit:
        label = f"excursion, {risk.excursion_limit:.4g}"
        axes.axhline(risk.excursion_limit, color=ORANGE, linewidth=1.2, linestyle="-.", label=label)
    shown = [quantiles.min(), quantiles.max(), risk.excursion_limit]
    axes.set(ylabel="variance of pre-activations", yscale="log", ylim=(0.9 * min(shown), 1.1 * max(shown)))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")


def _draw_risks(axes: Axes, risk: FiniteWidth, found: np.ndarray, marks: np.ndarray) -> None:
    layers = np.arange(1, risk.depth + 1)
    risks = [("excursion", risk.excursion_by_depth, risk.excursion_limit, ORANGE, "-.")]
    if risk.limit is not None and risk.limit != risk.excursion_limit:
        risks.append(("escape", risk.escape_by_depth, risk.limit, RED, "--"))
    elif risk.limit is not None:
        risks = [("escape", risk.escape_by_depth, risk.limit, RED, "--")]
    for name, values, limit, colour, line in risks:
        axes.plot(layers, values, color=colour, linestyle=line, linewidth=1.5, label=f"P({name} so far)")
        happened = (np.maximum.accumulate(found, axis=0)[marks - 1] > limit).mean(axis=1)
        error = 2 * np.sqrt(happened * (1 - happened) / found.shape[1])
        axes.errorbar(marks, happened, error, fmt="o", color=BLACK, markersize=4, fillstyle="none", linewidth=1)
    axes.set(xlabel="layer after the first hidden one", ylabel="probability", ylim=(-0.03, 1.03))
