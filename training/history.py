"""What the epochs of a run came to: a row of metrics each, and the best one with its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from training.measure import Measurement

__all__ = ["LARGEST_LOSS", "History", "Row", "is_row", "row_of"]

Row = dict[str, Any]


# A cross-entropy L gives the right class the probability e^-L, in geometric mean over the examples. Above 149 log 2 =
# 103.3 this is less than 2^-149, the smallest positive float32: the network holds the truth to be impossible. A guess
# among C classes has log C, so 103 is out of reach of chance for any number of classes, and of overfitting.
LARGEST_LOSS = 149 * math.log(2)
_LOSSES = ("train_loss", "validation_loss")

_NAMES = {
    "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy",
    "train_sparsity", "test_sparsity", "layer_variance", "layer_sparsity", "diverged", "seconds",
}  # fmt: skip


@dataclass
class History:
    """The rows so far, that of epoch 0 from before training.

    best          the row with the best validation accuracy.
    best_weights  the network's then, on the CPU.
    """

    rows: list[Row] = field(default_factory=list)
    best: Row = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)

    def add(self, row: Row, weights: Callable[[], dict[str, Tensor]]) -> None:
        """One more row; the weights are asked for if it is the best."""
        self.rows.append(row)
        if not self.best or _rank(row) > _rank(self.best):
            self.best, self.best_weights = row, weights()

    @property
    def diverged(self) -> bool:
        """Whether the last epoch left the network without use: see `row_of`."""
        return bool(self.rows) and self.rows[-1]["diverged"]

    @property
    def broken(self) -> bool:
        """Whether the loss of the last epoch is not finite, behind which no epoch can follow."""
        return self.diverged and not all(math.isfinite(self.rows[-1][name]) for name in _LOSSES)

    @property
    def validation_loss(self) -> float:
        """Of the last epoch, infinite if it diverged."""
        loss = self.rows[-1]["validation_loss"]
        return math.inf if self.diverged or not math.isfinite(loss) else loss

    @property
    def seconds(self) -> float:
        """What training took up to the last row."""
        return self.rows[-1]["seconds"] if self.rows else 0.0

    def summary(self) -> dict[str, Any]:
        """What the run came to: the best epoch, and how the last one ended."""
        names = ("test_accuracy", "validation_accuracy", "test_sparsity", "train_sparsity")
        return {
            **{name: self.best[name] for name in names},
            "diverged": self.diverged,
            "best_epoch": self.best["epoch"],
            "epochs": self.rows[-1]["epoch"],
        }

    def state(self) -> dict[str, Any]:
        """Its parts, for a checkpoint; `History(**state)` has them again."""
        return {"rows": self.rows, "best": self.best, "best_weights": self.best_weights}


def row_of(
    epoch: int, seen: Mapping[str, Measurement], total: float, correct: float, examples: int, seconds: float
) -> Row:
    """The metrics of an epoch, one line of metrics.jsonl.

    seen            measured on the splits train, validation and test after it.
    total, correct  sums of loss and right answers over the examples while it trained; before training, in epoch 0,
                    loss and accuracy are those measured.

    An epoch diverged if a loss is not finite, or if the validation loss exceeds `LARGEST_LOSS`.
    """
    train, validation, test = seen["train"], seen["validation"], seen["test"]
    loss, accuracy = (total / examples, correct / examples) if math.isfinite(total) else (math.nan, math.nan)
    return {
        "epoch": epoch,
        "train_loss": loss if epoch else train.loss,
        "train_accuracy": accuracy if epoch else train.accuracy,
        "validation_loss": validation.loss,
        "validation_accuracy": validation.accuracy,
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
        "train_sparsity": train.sparsity,
        "test_sparsity": test.sparsity,
        "layer_variance": test.layer_variance,
        "layer_sparsity": test.layer_sparsity,
        "diverged": epoch > 0 and not (math.isfinite(loss) and validation.loss <= LARGEST_LOSS),
        "seconds": seconds,
    }


def is_row(row: Any, epoch: int, layers: int) -> bool:
    """Whether that is a row of `row_of` for the epoch of a network with so many hidden layers."""
    if not isinstance(row, dict) or row.keys() - {"layer_gradient_norm"} != _NAMES:
        return False
    by_layer = [value for name, value in row.items() if name.startswith("layer_")]
    numbers = [value for name, value in row.items() if name not in ("epoch", "diverged") and value not in by_layer]
    return (
        (type(row["epoch"]), row["epoch"], type(row["diverged"])) == (int, epoch, bool)
        and all(isinstance(values, tuple) and len(values) == layers for values in by_layer)
        and all(type(number) is float for number in [*numbers, *(v for values in by_layer for v in values)])
    )


def _rank(row: Row) -> tuple[bool, float, float]:
    """Order of epochs on the validation split: finite before diverged, then accuracy, then loss."""
    return (not row["diverged"], row["validation_accuracy"], -row["validation_loss"])
