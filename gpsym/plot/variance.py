"""The variance map of a design."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gpsym.design import CriticalInit
from gpsym.maps import variance_map
from gpsym.numeric import lambdify
from gpsym.plot.canvas import BLACK, BLUE, GREEN, GREY, ORANGE, RED, SKY, figure_of
from gpsym.stability import FixedPoint, basin, fixed_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["variance_map_figure"]

_MARKERS = {"attracting": ("o", GREEN), "marginal": ("D", ORANGE), "repelling": ("X", RED)}


def variance_map_figure(design: CriticalInit) -> Figure:
    """The variance map and the diagonal, with the fixed points, the basin of q_star and a cobweb.

    The cobweb follows the variance from layer to layer, starting at 1.5 q_star.
    """
    figure = figure_of(7.2, 5.2)
    axes = figure.subplots()
    points = fixed_points(design)
    end = max(3 * design.q_star, 1.5 * points[-1].q)
    q = np.linspace(end / 1000, end, 1000)
    values = _map(design, q)
    axes.plot(q, q, color=GREY, linewidth=1, linestyle="--", label="$V = q$")
    axes.plot(q, values, color=BLUE, linewidth=2, label="$V(q)$")
    _shade_basin(axes, basin(design), end)
    _draw_cobweb(axes, design, end)
    for point in points:
        _mark(axes, point)
    axes.set(
        xlim=(0, end),
        ylim=(0, 1.05 * max(values.max(), end)),
        xlabel="variance $q$ of a layer's pre-activations",
        ylabel="variance $V(q)$ one layer on",
        title=_title(design),
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _map(design: CriticalInit, q: Any) -> np.ndarray:
    return lambdify(variance_map(design.phi), "numpy")(q=q, sigma_w2=design.sigma_w2, sigma_b2=design.sigma_b2)


def _title(design: CriticalInit) -> str:
    wishes = rf"sparsity {design.sparsity:.4g}, $q^{{*}} = {design.q_star:.4g}$, $V'(q^{{*}}) = {design.slope:.4g}$"
    return f"{design.activation}: {wishes}"


def _shade_basin(axes: Axes, ends: tuple[float, float | None], limit: float) -> None:
    low, high = ends
    if low == high:
        return
    shown = r"\infty" if high is None else f"{high:.4g}"
    label = rf"basin of $q^{{*}}$: $({low:.4g}, {shown})$"
    axes.axvspan(low, limit if high is None else high, color=SKY, alpha=0.2, linewidth=0, label=label)


def _draw_cobweb(axes: Axes, design: CriticalInit, limit: float, layers: int = 12) -> None:
    """The staircase of `layers` layers between map and diagonal; it stops where it leaves the picture."""
    start = q = 1.5 * design.q_star
    corners = [(q, q)]
    for _ in range(layers):
        after = float(_map(design, q))
        corners += [(q, after), (after, after)]
        q = after
        if q > limit:
            break
    label = f"{layers} layers from $q = {start:.4g}$"
    axes.plot(*zip(*corners, strict=True), color=BLACK, linewidth=0.9, marker=".", markevery=[0], label=label)


def _mark(axes: Axes, point: FixedPoint) -> None:
    marker, colour = _MARKERS[point.kind]
    label = rf"{point.kind} $q = {point.q:.4g}$: $V' = {point.slope:.3g}$, $\chi_1 = {point.chi_1:.3g}$"
    style = {"color": colour, "markersize": 9, "markeredgecolor": "white", "linestyle": "none", "zorder": 5}
    axes.plot([point.q], [point.q], marker=marker, label=label, **style)
