"""The phase diagram of a clipped activation: sparsity against slope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gpsym.bifurcation import flat_slope, fold
from gpsym.plot.canvas import BLUE, GREY, ORANGE, SKY, figure_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["phase_figure"]

_POINTS = 60  # of each curve
_LAST = 0.995  # the largest sparsity shown


def phase_figure(activation: str) -> Figure:
    """Which designs have one fixed point, and which three: the fold, and where V''(q*) = 0.

    activation  clipped-relu or clipped-soft-threshold; others have no such diagram (ValueError).
    """
    least = 0.5 if fold(activation, 0.5) is None else 0.0
    sparsity = least + (_LAST - least) * np.sin(np.linspace(0, np.pi / 2, _POINTS))
    folds = np.array([1.0 if (found := fold(activation, s)) is None else found.slope for s in sparsity])
    flat = np.array([flat_slope(activation, s) for s in sparsity])

    figure = figure_of(7.2, 5.2)
    axes = figure.subplots()
    axes.fill_between(sparsity, folds, 1, color=ORANGE, alpha=0.25, linewidth=0, label="three fixed points")
    axes.fill_between(sparsity, flat, folds, color=SKY, alpha=0.25, linewidth=0, label="one, $V''(q^*) > 0$")
    axes.fill_between(sparsity, 0, flat, color=GREY, alpha=0.15, linewidth=0, label="one, $V''(q^*) < 0$")
    axes.plot(sparsity, folds, color=ORANGE, linewidth=2, label="fold")
    axes.plot(sparsity, flat, color=BLUE, linewidth=2, linestyle="--", label="$V''(q^*) = 0$")
    axes.set(
        xlim=(least, 1),
        ylim=(0, 1),
        xlabel="sparsity",
        ylabel="slope $V'(q^*)$",
        title=f"{activation}: fixed points of the variance map",
    )
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
