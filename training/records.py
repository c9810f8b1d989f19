"""The files of a run: config.json, metrics.jsonl, model.pt, summary.json, and TensorBoard's if wanted."""

from __future__ import annotations

import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from training.checkpoint import serialized, write_durably
from training.config import RunConfig
from training.history import History

__all__ = ["CONFIG", "METRICS", "SUMMARY", "WEIGHTS", "Records", "read_config", "read_summary",
           "require_tensorboard", "shown"]  # fmt: skip

CONFIG, METRICS, SUMMARY, WEIGHTS = "config.json", "metrics.jsonl", "summary.json", "model.pt"


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
        if history.diverged and not self.silent:
            tqdm.write(
                f"run: need a finite loss, got one that is not in epoch {history.rows[-1]['epoch']}, where training "
                f"ended; the weights of epoch {history.best['epoch']} are kept; try a lower --lr or --clip-norm 1.",
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


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json of a run holds.

    Raises ValueError for a folder without one, and for a file that is no JSON object.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ValueError(f"run: need the folder of a run, got {folder}, which has no {CONFIG}; pass another.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        _ = values["data"], values["activation"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"run: need what a run wrote in {path}, got something else ({error}); restore it.") from None
    return values


def read_summary(folder: Path) -> dict[str, Any]:
    """What summary.json of a finished run holds."""
    return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))


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
