"""A training run: what it left behind, and a figure of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpsym.design import CriticalInit
from gpsym.plot.canvas import BLACK, BLUE, GREEN, ORANGE, RED, figure_of
from gpsym.run_files import read_object, read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Run", "read_run", "training_figure"]

# No run writes a larger number: the square of the largest float32 is 1.2e77.
_LARGEST = 1e78


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
    config, summary = (read_object(folder / name) for name in ("config.json", "summary.json"))
    metrics = read_rows(folder / "metrics.jsonl")
    if not isinstance(config.get("design"), dict):
        raise ValueError(f'run: need the design under "design" in {folder / "config.json"}, got none; add it.')
    if "test_accuracy" not in summary:
        raise ValueError(f"run: need test_accuracy in {folder / 'summary.json'}, got none; train again.")
    _require_plain(summary, folder / "summary.json")
    for number, row in enumerate(metrics):
        _require_row(row, number, folder / "metrics.jsonl")
    run = Run(config, metrics, summary)
    _ = run.design  # refused here, if it is none
    return run


def _require_plain(values: Mapping[str, Any], path: Path) -> None:
    for name, value in values.items():
        if isinstance(value, dict | list) or (_is_number(value) and abs(value) > _LARGEST):
            raise ValueError(f"run: need a number or a text for {name[:40]} in {path}, got another value; train again.")


def _require_row(row: Mapping[str, Any], number: int, path: Path) -> None:
    """Numbers, or lists of numbers by layer; null where there is none."""
    if isinstance(row.get("epoch"), bool) or row.get("epoch") != number:
        raise ValueError(f"run: need epoch {number} in line {number + 1} of {path}, got another; train again.")
    for name, value in row.items():
        entries = value if isinstance(value, list) else [value]
        wanted_list = name.startswith("layer_") and value is not None
        if wanted_list != isinstance(value, list) or not all(_is_entry(entry) for entry in entries):
            raise ValueError(
                f"run: need numbers of size <= {_LARGEST:g} or null for {name[:40]} in line {number + 1} of {path}, "
                "got another value; train again."
            )


def _is_entry(value: Any) -> bool:
    return value is None or isinstance(value, bool) or (_is_number(value) and abs(value) <= _LARGEST)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _floats(values: Any) -> np.ndarray:
    numbers = [float(v) if isinstance(v, int | float) else math.nan for v in values]
    return np.array([v if math.isfinite(v) else math.nan for v in numbers])


def training_figure(run: Run) -> Figure:
    """Loss, accuracy and sparsity per epoch, and the variance per hidden layer before and after training.

    Epoch 0 is the network as initialized.  Metrics that are None (after divergence) leave gaps.
    """
    figure = figure_of(7.2, 6.4)
    (loss, accuracy), (sparsity, variance) = figure.subplots(2, 2)
    parts = {"train": (BLUE, "-"), "validation": (ORANGE, "--"), "test": (GREEN, "-.")}
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        _draw_series(axes, {part: run.series(f"{part}_{name}") for part in parts}, parts)
        axes.set(xlabel="epoch", ylabel=name)
    _log_where_positive(loss, [run.series(f"{part}_loss") for part in parts])

    _draw_series(sparsity, {part: run.series(f"{part}_sparsity") for part in ("train", "test")}, parts)
    sparsity.axhline(run.design.sparsity, color=BLACK, linewidth=1, linestyle=":", label="design")
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
    rows = {"measured, initial": (0, BLUE, "o"), "measured, final": (-1, RED, "s")}
    measured = {label: run.layers("layer_variance", row) for label, (row, _, _) in rows.items()}
    for label, (_, colour, marker) in rows.items():
        values = measured[label]
        axes.plot(range(1, len(values) + 1), values, color=colour, marker=marker, markersize=4, label=label)
    axes.axhline(run.design.q_star, color=BLACK, linewidth=1, linestyle=":", label=r"theory, initial: $q^{*}$")
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
