"""A whole table of runs, resumable: one folder a run, and what they come to as Markdown, JSON and a figure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import click

from gpsym.files import write_figure, write_text
from gpsym.finite_width import finite_width
from gpsym.plot.canvas import BLACK, BLUE, GREEN, ORANGE, RED, SKY, figure_of
from training.config import RunConfig
from training.presets import PRESETS
from training.trainer import require_same, train_or_resume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TrainAll", "one_by_one", "run_table", "table_figure"]

Row = dict[str, Any]
# Trains the runs of a table, by folder, and gives folder and summary of each as it ends.
TrainAll = Callable[[Mapping[Path, RunConfig]], Iterator[tuple[Path, Mapping[str, Any]]]]

_COLUMNS = {
    "activation": "activation",
    "sparsity": "sparsity",
    "slope": "slope",
    "q_star": "q*",
    "runs": "runs",
    "diverged": "diverged",
    "escape_probability": "P(escape)",
    "excursion_probability": "P(excursion)",
    "test_accuracy": "test accuracy",
    "train_sparsity": "zeros, train",
    "test_sparsity": "zeros, test",
}


def one_by_one(runs: Mapping[Path, RunConfig]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Train the runs in this process, one after the other."""
    for number, (folder, config) in enumerate(runs.items(), 1):
        click.echo(f"run {number} of {len(runs)}: {folder.name}", err=True)
        yield folder, train_or_resume(config, folder, wait=True)


def run_table(name: str, output: Path, changes: Mapping[str, Any], train_all: TrainAll = one_by_one) -> list[Row]:
    """Train all runs of a preset that are not finished in `output`, and write what there is after each.

    name       one of `PRESETS`.
    output     folder of the table: ROW-seedN/ for each run, table.md, table.json and table.svg.
    changes    fields of `RunConfig` in place of those that all runs of the preset share.
    train_all  how: `one_by_one`, or as `training.cluster.on_cluster` makes them.

    Started again, it goes on where it was cut off; started twice at a time, each waits for the runs of the other.  A
    row has the mean over its seeds and the standard deviation of a run; diverged runs count, with the accuracy of their
    best epoch.  Beside them stand the probabilities, for a fully connected network at initialization, that a variance
    leaves the basin of q_star, or exceeds twice q_star.

    Raises ValueError for an unknown name, for a folder that holds another table's runs, for changes that no run can
    have, and as `train_all` and `train_or_resume`.
    """
    if name not in PRESETS:
        raise ValueError(f"table: need one of {', '.join(PRESETS)}, got {name}; pass one.")
    if not output.parent.is_dir():
        raise ValueError(f"table: need an existing folder for the table, got {output}; create {output.parent} first.")
    rows = [{output / f"{_label(c)}-seed{c.seed}": c for c in configs} for configs in PRESETS[name].runs(changes)]
    runs = {folder: config for row in rows for folder, config in row.items()}
    for folder, config in runs.items():
        require_same(config, folder)
    output.mkdir(exist_ok=True)
    summaries: dict[Path, Mapping[str, Any]] = {}
    table: list[Row] = []
    try:
        for folder, summary in train_all(runs):
            summaries[folder] = summary
            ended = [(row, [summaries[folder] for folder in row if folder in summaries]) for row in rows]
            table = [_row(next(iter(row.values())), found) for row, found in ended if found]
            _write(output, table)
    finally:
        with suppress(OSError):  # unless nothing came to be in it
            output.rmdir()
    return table


def _label(config: RunConfig) -> str:
    parts = [config.activation, *(f"{v:g}" for v in (config.sparsity, config.slope) if v is not None)]
    return "-".join([*parts, *([] if config.q_star == 1 else [f"q{config.q_star:g}"])])


def _row(config: RunConfig, summaries: Sequence[Mapping[str, Any]]) -> Row:
    def spread(name: str) -> dict[str, float | None]:
        values = [summary[name] for summary in summaries]
        return {"mean": fmean(values), "sd": stdev(values) if len(values) > 1 else None}

    return {
        "activation": config.activation,
        "sparsity": config.design.sparsity,
        "slope": config.design.slope,
        "q_star": config.q_star,
        "runs": len(summaries),
        "diverged": sum(summary["diverged"] for summary in summaries),
        **_risks(config),
        **{name: spread(name) for name in ("test_accuracy", "train_sparsity", "test_sparsity")},
    }


@cache
def _risks(config: RunConfig) -> dict[str, float | None]:
    """At initialization; known for fully connected networks without skips."""
    if config.model != "mlp" or config.alpha is not None or config.depth < 2:
        return {"escape_probability": None, "excursion_probability": None}
    found = finite_width(config.design, width=config.width, depth=config.depth - 1)
    return {"escape_probability": found.escape_probability, "excursion_probability": found.excursion_probability}


def _write(output: Path, table: list[Row]) -> None:
    write_text(output / "table.json", json.dumps(table, indent=2) + "\n")
    write_text(output / "table.md", _markdown(table))
    write_figure(output / "table.svg", table_figure(table))


def _markdown(table: list[Row]) -> str:
    lines = [" | ".join(_COLUMNS.values()), " | ".join("---" for _ in _COLUMNS)]
    lines += [" | ".join(_cell(row[name]) for name in _COLUMNS) for row in table]
    return "\n".join(f"| {line} |" for line in lines) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['mean']:.4f}" + ("" if value["sd"] is None else f" ± {value['sd']:.4f}")
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def table_figure(table: list[Row]) -> Figure:
    """Test accuracy by sparsity, a curve for each activation, slope and q_star, with the deviation of a run."""
    figure = figure_of(7.2, 4.6)
    axes = figure.subplots()
    curves: dict[tuple, list[Row]] = {}
    for row in table:
        clipped = row["activation"].startswith("clipped")
        key = (row["activation"], row["slope"] if clipped else None, row["q_star"])
        curves.setdefault(key, []).append(row)
    colours = (BLACK, ORANGE, RED, BLUE, GREEN, SKY)
    for number, ((activation, slope, q_star), rows) in enumerate(curves.items()):
        label = activation + ("" if slope is None else f", slope {slope:.3g}")
        axes.errorbar(
            [_place(row, table) for row in rows],
            [row["test_accuracy"]["mean"] for row in rows],
            [row["test_accuracy"]["sd"] or 0.0 for row in rows],
            label=label + ("" if q_star == 1 else f", $q^*$ {q_star:g}"),
            color=colours[number % len(colours)],
            marker="osDv^<>"[number % 7],
            linestyle=("-", "--", ":")[number // len(colours) % 3],
            capsize=3,
        )
    axes.set(xlabel="designed sparsity (points of one side by side)", ylabel="test accuracy")
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return figure


def _place(row: Row, table: list[Row]) -> float:
    """The sparsity, a little to the side where others have the same, so that points do not hide each other."""
    places = sorted({other["sparsity"] for other in table})
    alike = [other for other in table if other["sparsity"] == row["sparsity"]]
    gap = min((right - left for left, right in pairwise(places)), default=1.0)
    return row["sparsity"] + min(0.01, gap / 2 / len(alike)) * (alike.index(row) - (len(alike) - 1) / 2)
