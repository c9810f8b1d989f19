"""Tables of runs by name: the experiments of Price et al. 2024, their follow-up's, and small ones for a laptop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from training.config import RunConfig

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """A table: networks that differ in their rows, each with several seeds.

    common  fields of `RunConfig` that all runs share.
    rows    those that a row has of its own.
    seeds   number of runs of a row.
    """

    common: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    seeds: int

    def runs(self, changes: Mapping[str, Any]) -> Iterator[list[RunConfig]]:
        """The configurations of each row, with the changes in place of their own fields."""
        for row in self.rows:
            yield [RunConfig(**{**self.common, **row, **changes, "seed": seed}) for seed in range(self.seeds)]


def _grid(sparsities: Sequence[float], slopes: Sequence[float]) -> tuple[Mapping[str, Any], ...]:
    """ReLU; both unclipped activations at each sparsity; both clipped ones at each sparsity and slope."""
    unclipped = [{"activation": a, "sparsity": s} for a in ("shifted-relu", "soft-threshold") for s in sparsities]
    clipped = [
        {"activation": a, "sparsity": s, "slope": x}
        for a in ("clipped-relu", "clipped-soft-threshold")
        for s in sparsities
        for x in slopes
    ]
    return ({"activation": "relu"}, *unclipped, *clipped)


# Sparsities, slopes, depths, widths and numbers of seeds are those of Price et al. 2024.  Learning rates are found on
# the validation split; optimizer, batch sizes and epochs are ours.
_PAPER = _grid((0.6, 0.7, 0.8, 0.85), (0.5, 0.7, 0.9))
_DNN = {"data": "mnist", "model": "mlp", "width": 300, "depth": 100, "batch_size": 256, "epochs": 50, "lr": None}
_CNN = {"data": "cifar10", "model": "cnn", "width": 300, "depth": 50, "batch_size": 128, "epochs": 100, "lr": None,
        "augment": "shift-flip"}  # fmt: skip
_MINI_DNN = {"data": "mnist", "model": "mlp", "width": 300, "depth": 30, "batch_size": 256, "epochs": 10,
             "clip_norm": 1.0}  # fmt: skip
# Residual layers through which nine directions of a gradient come, as ten classes differ in, for every clipped row:
# alpha is just below `gpsym.directions.mixing_of_directions`.
_MIXED_DNN = {"data": "mnist", "model": "mlp", "width": 300, "depth": 30, "alpha": 0.63, "input_scale": "hidden",
              "batch_size": 256, "epochs": 15, "optimizer": "sgd"}  # fmt: skip
_MIXED_ROWS = ({"activation": "relu", "lr": 1.6e-2},
               {"activation": "shifted-relu", "sparsity": 0.85, "lr": 8e-3},
               {"activation": "soft-threshold", "sparsity": 0.85, "lr": 1e-2},
               {"activation": "clipped-relu", "sparsity": 0.85, "slope": 0.8, "lr": 0.12},
               {"activation": "clipped-soft-threshold", "sparsity": 0.85, "slope": 0.6, "lr": 0.06})  # fmt: skip
# Rates found by trial; training/LOG.md has what was tried, and what came of it.
_MINI_RATES = {"relu": 8e-4, "shifted-relu": 5e-4, "soft-threshold": 5e-4, "clipped-relu": 1e-3,
               "clipped-soft-threshold": 2e-4}  # fmt: skip
_MINI_CNN = {"data": "cifar10", "model": "cnn", "width": 32, "depth": 10, "batch_size": 128, "epochs": 5, "lr": 1e-3,
             "augment": "shift-flip"}  # fmt: skip

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "paper-dnn": Preset(_DNN, _PAPER, 5),
        "paper-cnn": Preset(_CNN, _PAPER, 5),
        # The follow-up's lever, a larger q*, at 90 % zeros.
        "followup": Preset(
            _DNN,
            tuple(
                {"activation": a, "sparsity": 0.9, "slope": x, "q_star": q}
                for a in ("clipped-relu", "clipped-soft-threshold")
                for x in (0.5, 0.7)
                for q in (1.0, 2.0, 4.0)
            ),
            5,
        ),
        "mini-dnn": Preset(
            _MINI_DNN, tuple({**row, "lr": _MINI_RATES[row["activation"]]} for row in _grid((0.85,), (0.8,))), 3
        ),
        "mixed-dnn": Preset(_MIXED_DNN, _MIXED_ROWS, 3),
        "mixed-dnn-100": Preset({**_MIXED_DNN, "depth": 100, "alpha": 0.335, "epochs": 10}, _MIXED_ROWS, 3),
        "mini-cnn": Preset(_MINI_CNN, _grid((0.7,), (0.7,)), 1),
    }
)
