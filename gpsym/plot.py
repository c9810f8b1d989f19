"""Figures of a design and of a training run, as Matplotlib `Figure`s that no global state knows of.

Save one with `figure.savefig("name.svg")`.  Matplotlib is imported when a figure is asked for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpsym.design import CriticalInit
from gpsym.maps import variance_map
from gpsym.numeric import lambdify
from gpsym.stability import FixedPoint, basin, fixed_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Run", "read_run", "training_figure", "variance_map_figure"]

# Okabe and Ito's palette, told apart with every common kind of colour blindness.
_BLACK, _ORANGE, _SKY, _GREEN, _BLUE, _RED, _GREY = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#767676",
)  # fmt: skip
_MARKERS = {"attracting": ("o", _GREEN), "marginal": ("D", _ORANGE), "repelling": ("X", _RED)}


@dataclass(frozen=True)
class Run:
    """What a training run left behind.

    config   its settings, with the design under "design".
    metrics  one mapping per epoch, that of epoch 0 from before training; numbers may be None.
    summary  its last figures.
    """

    config: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]

    @property
    def design(self) -> CriticalInit:
        """The initialization that the run started from."""
        return CriticalInit.from_dict(self.config["design"])

    def series(self, name: str) -> np.ndarray:
        """A metric per epoch as floats; NaN where it is None, missing or no number."""
        return _floats(row.get(name) for row in self.metrics)

    def layers(self, name: str, row: int) -> np.ndarray:
        """A metric per layer in one row of `metrics` (0 before training, -1 at the end), as `series`."""
        return _floats(self.metrics[row].get(name) or ())


def read_run(folder: Path) -> Run:
    """The run in a folder with config.json, metrics.jsonl (an epoch a line) and summary.json.

    Raises ValueError naming a file that is missing, is no JSON, or lacks what the figures need.
    """
    config = _json_object(folder / "config.json")
    summary = _json_object(folder / "summary.json")
    metrics = tuple(_parsed(line, folder / "metrics.jsonl") for line in _text(folder / "metrics.jsonl").splitlines())
    if not metrics:
        raise ValueError(f"run: need at least one epoch in {folder / 'metrics.jsonl'}, got none; train again.")
    if not isinstance(config.get("design"), dict):
        raise ValueError(f'run: need the design under "design" in {folder / "config.json"}, got none; add it.')
    return Run(config, metrics, summary)


def _text(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"run: need {path.name} in {path.parent}, got none; pass the folder of a training run.")
    return path.read_text(encoding="utf-8")


def _json_object(path: Path) -> dict[str, Any]:
    return _parsed(_text(path), path)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"run: need JSON in {path}, got {text[:40]!r} ({error}); train again.") from None
    if not isinstance(value, dict):
        raise ValueError(f"run: need a JSON object in {path}, got {text[:40]!r}; train again.")
    return value


def _floats(values: Any) -> np.ndarray:
    numbers = [float(v) if isinstance(v, int | float) else math.nan for v in values]
    return np.array([v if math.isfinite(v) else math.nan for v in numbers])


def _figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; its axes and legends make room for each other."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib; pip install gpsym[plot]") from None
    return Figure(figsize=(width, height), layout="constrained")


def variance_map_figure(design: CriticalInit) -> Figure:
    """The variance map and the diagonal, with the fixed points, the basin of q_star and a cobweb.

    The cobweb follows the variance from layer to layer, starting at 1.5 q_star.
    """
    figure = _figure(7.2, 5.2)
    axes = figure.subplots()
    points = fixed_points(design)
    end = max(3 * design.q_star, 1.5 * points[-1].q)
    q = np.linspace(end / 1000, end, 1000)
    values = _map(design, q)
    axes.plot(q, q, color=_GREY, linewidth=1, linestyle="--", label="$V = q$")
    axes.plot(q, values, color=_BLUE, linewidth=2, label="$V(q)$")
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
    axes.axvspan(low, limit if high is None else high, color=_SKY, alpha=0.2, linewidth=0, label=label)


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
    axes.plot(*zip(*corners, strict=True), color=_BLACK, linewidth=0.9, marker=".", markevery=[0], label=label)


def _mark(axes: Axes, point: FixedPoint) -> None:
    marker, colour = _MARKERS[point.kind]
    label = rf"{point.kind} $q = {point.q:.4g}$: $V' = {point.slope:.3g}$, $\chi_1 = {point.chi_1:.3g}$"
    style = {"color": colour, "markersize": 9, "markeredgecolor": "white", "linestyle": "none", "zorder": 5}
    axes.plot([point.q], [point.q], marker=marker, label=label, **style)


def training_figure(run: Run) -> Figure:
    """Loss, accuracy and sparsity per epoch, and the variance per hidden layer before and after training.

    Epoch 0 is the network as initialized.  Metrics that are None (after divergence) leave gaps.
    """
    figure = _figure(7.2, 6.4)
    (loss, accuracy), (sparsity, variance) = figure.subplots(2, 2)
    parts = {"train": (_BLUE, "-"), "validation": (_ORANGE, "--"), "test": (_GREEN, "-.")}
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        _draw_series(axes, {part: run.series(f"{part}_{name}") for part in parts}, parts)
        axes.set(xlabel="epoch", ylabel=name)
    _log_where_positive(loss, [run.series(f"{part}_loss") for part in parts])

    _draw_series(sparsity, {part: run.series(f"{part}_sparsity") for part in ("train", "test")}, parts)
    sparsity.axhline(run.design.sparsity, color=_BLACK, linewidth=1, linestyle=":", label="design")
    sparsity.set(xlabel="epoch", ylabel="fraction of zeros")
    _widen(sparsity, 0.1)
    _draw_variances(variance, run)
    for axes in (loss, accuracy, sparsity, variance):
        axes.legend(fontsize="small", framealpha=0.8)
    for axes in (loss, accuracy, sparsity, variance):
        _count_whole(axes)
    return figure


def _draw_series(axes: Axes, series: Mapping[str, np.ndarray], styles: Mapping[str, tuple[str, str]]) -> None:
    for part, values in series.items():
        colour, line = styles[part]
        # A marker each, so that a lone epoch between gaps still shows.
        axes.plot(range(len(values)), values, color=colour, linestyle=line, marker=".", label=part)


def _widen(axes: Axes, least: float) -> None:
    """At least this much range on the y axis, so that noise does not look like a trend."""
    low, high = axes.get_ylim()
    pad = max(0.0, least - (high - low)) / 2
    axes.set_ylim(low - pad, high + pad)


def _draw_variances(axes: Axes, run: Run) -> None:
    """Measured variance per hidden layer, beside the q_star that the design promises to all of them."""
    rows = {"measured, initial": (0, _BLUE, "o"), "measured, final": (-1, _RED, "s")}
    measured = {label: run.layers("layer_variance", row) for label, (row, _, _) in rows.items()}
    for label, (_, colour, marker) in rows.items():
        values = measured[label]
        axes.plot(range(1, len(values) + 1), values, color=colour, marker=marker, markersize=4, label=label)
    axes.axhline(run.design.q_star, color=_BLACK, linewidth=1, linestyle=":", label=r"theory, initial: $q^{*}$")
    axes.set(xlabel="hidden layer", ylabel="pre-activation variance")
    _log_where_positive(axes, list(measured.values()))


def _count_whole(axes: Axes) -> None:
    """Ticks at whole numbers: there is no epoch 2.5."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _log_where_positive(axes: Axes, values: Sequence[np.ndarray]) -> None:
    """A logarithmic y axis where the values span a decade and more; zero has no place on one."""
    numbers = np.concatenate(values)
    numbers = numbers[np.isfinite(numbers)]
    if numbers.size and numbers.min() > 0 and numbers.max() > 10 * numbers.min():
        axes.set_yscale("log")
