"""The files of a run: config.json, metrics.jsonl, model.pt, summary.json, and TensorBoard's if wanted."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field
from torch import Tensor
from tqdm import tqdm

from gpsym.run_files import read_object
from training.checkpoint import serialized, write_durably
from training.config import ConfigSchema, RunConfig
from training.history import LARGEST_LOSS, History
from training.schema import MOST, STRICT, Domain, checked

__all__ = ["CONFIG", "METRICS", "SUMMARY", "WEIGHTS", "Described", "Records", "read_config", "read_summary",
           "require_own", "require_tensorboard", "shown"]  # fmt: skip

CONFIG, METRICS, SUMMARY, WEIGHTS = "config.json", "metrics.jsonl", "summary.json", "model.pt"


@dataclass(frozen=True)
class Described:
    """A configuration, and what config.json holds beside it: `training.start.Start.description`."""

    run: RunConfig
    description: Mapping[str, Any]


_Positive = Annotated[float, Field(gt=0, le=1e30), Domain("in (0, 1e30]", "restore the file")]
_Share = Annotated[float, Field(ge=0, le=1), Domain("in [0, 1]", "restore the file")]
_Whole = Annotated[int, Field(ge=0), Domain(">= 0", "restore the file")]


class _Config(ConfigSchema):
    inputs: Annotated[int, Field(ge=1)]
    classes: Annotated[int, Field(ge=1, le=MOST)]
    input_shape: Annotated[list[Annotated[int, Field(ge=1, le=MOST)]], Field(min_length=1, max_length=3)]
    input_mean: Annotated[float, Field(ge=-1e30, le=1e30)]
    input_std: _Positive
    input_mean_square: _Positive
    design: dict[str, Any]
    theory_variance: list[float]
    theory_lr: float


class _Summary(BaseModel):
    model_config = STRICT

    test_accuracy: _Share
    validation_accuracy: _Share
    test_sparsity: _Share
    train_sparsity: _Share
    diverged: bool
    best_epoch: _Whole
    epochs: _Whole
    lr: _Positive
    parameters: _Whole
    initial_weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    device: Annotated[str, Field(max_length=100)]
    seconds: Annotated[float, Field(ge=0), Domain(">= 0", "restore the file")]


class Records:
    """The folder of a run, written by one process; the others hold one that is silent.

    Raises ValueError if writing fails; what is there stays.
    """

    def __init__(self, folder: Path, *, silent: bool, tensorboard: bool):
        self.folder, self.silent = folder, silent
        self.tensorboard = tensorboard and not silent
        self._events: Any = None

    def config(self, fields: dict[str, Any]) -> None:
        """Write config.json."""
        self._write(CONFIG, _to_json(fields, indent=2))

    def begin(self, history: History) -> None:
        """Bring metrics.jsonl and model.pt to where a run begins or goes on."""
        if self.silent:
            return
        self._write(METRICS, "".join(_to_json(row) + "\n" for row in history.rows))
        if history.rows:
            self.weights(history.best_weights)
        if self.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self.folder), purge_step=len(history.rows))

    def row(self, row: dict[str, Any]) -> None:
        """Append one epoch to metrics.jsonl."""
        if self.silent:
            return
        try:
            with (self.folder / METRICS).open("a", encoding="utf-8") as log:
                log.write(_to_json(row) + "\n")
        except OSError as error:
            raise ValueError(
                f"run: need room for {self.folder / METRICS}, got {error.strerror or error}; make some, then "
                f"python -m training resume {self.folder}."
            ) from error
        if self._events is not None:
            for name, value in _scalars(row):
                self._events.add_scalar(name, value, row["epoch"])
            self._events.flush()

    def weights(self, weights: dict[str, Tensor]) -> None:
        """Write model.pt."""
        if not self.silent:
            write_durably(self.folder / WEIGHTS, serialized(weights))

    def end(self, history: History) -> None:
        """Say what there is to say of how the epochs ended."""
        if not history.diverged or self.silent:
            return
        row, kept = history.rows[-1], f"the weights of epoch {history.best['epoch']} are kept"
        need, got = (
            ("a finite loss", "one that is not")
            if history.broken
            else (f"a validation loss <= {LARGEST_LOSS:.0f}", f"{row['validation_loss']:.3g}")
        )
        tqdm.write(
            f"run: need {need}, got {got} in epoch {row['epoch']}, where training ended; {kept}; try a lower --lr or "
            "--clip-norm 1.",
            file=sys.stderr,
        )

    def summary(self, fields: dict[str, Any]) -> None:
        """Write summary.json, which ends the run."""
        self._write(SUMMARY, _to_json(fields, indent=2))
        if self._events is not None:
            self._events.close()

    def _write(self, name: str, text: str) -> None:
        if not self.silent:
            write_durably(self.folder / name, text.encode())


def read_config(folder: Path) -> Described:
    """What config.json of a run holds.

    Raises ValueError for a folder without one, and for a field that is missing, unknown or outside of its domain.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"run: need the folder of a run, got {folder}, which has no {CONFIG}; pass another.")
    values = read_object(path)
    for name in ConfigSchema.model_fields:
        if name not in values:
            raise ValueError(f"run: need the field {name} in {path}, got none; add it.")
    checked(_Config, values, "run", path)
    run = RunConfig.from_dict(values)
    if math.prod(values["input_shape"]) != values["inputs"]:
        raise ValueError(f"run: need as many inputs as input_shape has in {path}, got {values['inputs']}; restore it.")
    return Described(run, {name: value for name, value in values.items() if not hasattr(run, name) or name == "design"})


def read_summary(folder: Path) -> dict[str, Any]:
    """What summary.json of a finished run holds. Raises ValueError for a field that is missing or no such value."""
    values = read_object(folder / SUMMARY)
    checked(_Summary, values, "run", folder / SUMMARY)
    return values


def require_own(folder: Path) -> None:
    """Raises ValueError for a folder with files, none of which says that a run wrote them."""
    partial = f".{CONFIG}.partial"  # death at the first write leaves this file alone
    foreign = [path.name for path in folder.iterdir() if path.name != partial] if folder.exists() else []
    if foreign:
        raise ValueError(
            f"run: need a new or an empty folder, got {folder}, which holds {min(foreign)}; pass another --output."
        )


def require_tensorboard(config: RunConfig) -> None:
    """Raises ValueError if event files are wanted and the package that writes them is not there."""
    if config.tensorboard and find_spec("tensorboard") is None:
        raise ValueError("run: need the package tensorboard for --tensorboard, got none; pip install tensorboard.")


def _scalars(row: dict[str, Any]) -> list[tuple[str, float]]:
    """The numbers of a row by name, those of layers by layer."""
    found: list[tuple[str, float]] = []
    for name, value in row.items():
        if isinstance(value, tuple):
            found += [(f"{name}/{layer}", v) for layer, v in enumerate(value, 1)]
        elif name != "epoch":
            found.append((name, float(value)))
    return found


def _to_json(fields: dict[str, Any], indent: int | None = None) -> str:
    """JSON with null for numbers that are not finite."""

    def finite(value: Any) -> Any:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, dict):
            return {k: finite(v) for k, v in value.items()}
        return [finite(v) for v in value] if isinstance(value, list | tuple) else value

    return json.dumps(finite(fields), indent=indent, allow_nan=False)


def shown(row: dict[str, Any]) -> str:
    """An epoch in one line."""
    return (
        f"epoch {row['epoch']:3d}  loss {row['train_loss']:.4f}  accuracy: train {row['train_accuracy']:.4f} "
        f"validation {row['validation_accuracy']:.4f} test {row['test_accuracy']:.4f}  "
        f"zeros: train {row['train_sparsity']:.3f} test {row['test_sparsity']:.3f}  {row['seconds']:.0f} s"
        + ("  diverged" if row["diverged"] else "")
    )
