"""A diagnosis: what was measured in each hidden layer, on the band of theory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpsym.diagnosis import Diagnosis, Reading
from gpsym.plot.canvas import BLACK, BLUE, GREY, RED, SKY, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["diagnosis_figure"]

# What stands beside the axis of a quantity.
_LABELS = {
    "variance": "pre-activation variance",
    "gain": "gain of the weights",
    "zeros": "share of zeros",
    "gradient": "gradient norm",
    "correlation": "1 - correlation of two inputs",
}
_MOST_DECADES = 12  # on a logarithmic axis, counted from its upper end


def diagnosis_figure(diagnosis: Diagnosis) -> Figure:
    """A panel for each quantity: measured per hidden layer, theory, its band, and what lies outside of it.

    A line marks the layer where the network goes wrong.  Numbers that are not finite leave gaps.
    """
    figure = figure_of(7.2, 8.0)
    panels = figure.subplots(3, 2, sharex=True).ravel()
    bad = diagnosis.first_bad
    for axes, (name, label) in zip(panels, _LABELS.items(), strict=False):
        _draw(axes, [getattr(layer, name) for layer in diagnosis.layers], mirrored=name == "correlation")
        axes.set(ylabel=label)
        if bad is not None:
            place = diagnosis.layers.index(bad) + 1
            axes.axvline(place, color=RED, linestyle=":", linewidth=1.5, label="goes wrong here")
    for axes in panels[-3:-1]:
        axes.set(xlabel="hidden layer")
        axes.tick_params(labelbottom=True)
    panels[-1].set_axis_off()
    legends = (axes.get_legend_handles_labels() for axes in panels)
    entries = {label: handle for handles, labels in legends for handle, label in zip(handles, labels, strict=True)}
    panels[-1].legend(entries.values(), entries.keys(), loc="center", frameon=False)
    figure.suptitle(diagnosis.conclusion, fontsize="medium")
    return figure


def _draw(axes: Axes, readings: list[Reading], *, mirrored: bool) -> None:
    """mirrored  whether 1 - x is shown in place of x."""
    from matplotlib.ticker import MaxNLocator

    x = np.arange(1, len(readings) + 1)
    measured, theory, low, high = (
        np.array([np.nan if (value := getattr(r, name)) is None else value for r in readings], dtype=float)
        for name in ("measured", "theory", "low", "high")
    )
    if mirrored:
        measured, theory, low, high = 1 - measured, 1 - theory, 1 - high, 1 - low
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(0.5, len(x) + 0.5)
    scale, ends = _scale(measured, np.concatenate([theory, low, high]))
    if ends is None:
        text = "0 in all layers" if (measured == 0).all() else "nothing to show"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY)
        return
    # What lies beyond the picture, such as 0 and infinity, is drawn at its edge.
    low, high, shown = (np.clip(numbers, *ends) for numbers in (low, high, measured))
    outside = np.array([r.side != 0 for r in readings])
    axes.set(yscale=scale, ylim=ends)
    axes.fill_between(x, low, high, color=SKY, alpha=0.35, linewidth=0, label="band of theory")
    if len(x) == 1:
        axes.vlines(x, low, high, color=SKY, linewidth=6, alpha=0.35)
    lone = {"marker": "_", "markersize": 10} if len(x) == 1 else {}
    axes.plot(x, theory, color=BLACK, linewidth=1, linestyle="--", label="theory", **lone)
    axes.plot(x, shown, color=BLUE, marker="o", markersize=3.5, linewidth=1, label="measured")
    if outside.any():
        style = {"color": RED, "marker": "X", "markersize": 8, "linestyle": "none", "clip_on": False, "zorder": 3}
        axes.plot(x[outside], shown[outside], label="outside", **style)


def _scale(measured: np.ndarray, others: np.ndarray) -> tuple[str, tuple[float, float] | None]:
    """The scale of an axis, logarithmic where positive numbers span a decade, and its ends; None without numbers."""
    numbers = np.concatenate([measured, others])
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.any():
        return "linear", None
    positive = numbers[numbers > 0]
    if numbers.min() < 0 or positive.max() < 10 * positive.min():
        pad = max(0.05 * (numbers.max() - numbers.min()), 0.025)
        return "linear", (float(numbers.min() - pad), float(numbers.max() + pad))
    low, high = max(positive.min(), positive.max() / 10**_MOST_DECADES), positive.max()
    # Zeros stand out a decade below.
    return "log", (float(low / (10 if (measured == 0).any() else 1.3)), float(high * 1.3))
