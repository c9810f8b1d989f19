"""The runs of a table in a few ensembles; the files are those of runs of their own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from training import checkpoint, data, devices, records
from training.config import RunConfig
from training.data import Data
from training.ensemble.epochs import EnsembleEpochs
from training.lock import sole_writer
from training.records import Records
from training.start import Start
from training.table import TrainAll
from training.trainer import require_same, train_or_resume, trials

__all__ = ["in_ensembles"]

Runs = Mapping[Path, RunConfig]

# Fields in which the members of an ensemble may differ, with values that stand for all.
_OWN: Mapping[str, Any] = {
    "activation": "relu", "sparsity": None, "slope": None, "q_star": 1.0, "seed": 0, "lr": None
}  # fmt: skip

# Part of the time that checkpoints may take: those of many networks are large.
_CHECKPOINT_SHARE = 0.1


def in_ensembles(size: int) -> TrainAll:
    """Trains at most `size` runs at once, as one network, on one device.

    Members of an ensemble agree in all but activation, sparsity, slope, q_star, seed and learning rate.  A run comes to
    what it does by itself, up to rounding; its seconds are those of its ensemble.  Cut off, it goes on from the last
    checkpoint, which lies in the folder ensemble beside those of the runs.

    Raises ValueError for a size below 1; when it trains, for runs that need several devices or gradients by layer, or
    an activation that is not continuous and piecewise linear.
    """
    if size < 1:
        raise ValueError(f"ensemble: need a size >= 1, got {size}; 32 networks of 100 layers of 300 take 6 GB.")

    def train_all(runs: Runs) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        _require_one_device(runs)
        for folder, config in runs.items():
            require_same(config, folder)
        home = next(iter(runs)).parent / "ensemble"
        with sole_writer(home, "table", wait=True):
            begun = _begun(home, runs)
            left = {}
            for folder, config in runs.items():
                if folder not in begun and (folder / records.SUMMARY).exists():
                    yield folder, train_or_resume(config, folder)  # at once
                elif folder not in begun:
                    left[folder] = config
            for members in [begun] * bool(begun) + _ensembles(left, size):
                with ExitStack() as locks:
                    for folder in members:
                        locks.enter_context(sole_writer(folder, "table", wait=True))
                    yield from _train(members, home)

    return train_all


def _require_one_device(runs: Runs) -> None:
    for config in runs.values():
        for name, value, needed in (("devices", config.devices, 1), ("telemetry", config.telemetry, 0)):
            if value != needed:
                raise ValueError(f"ensemble: need {name} {needed}, got {value}; train the table one by one.")


def _ensembles(runs: Runs, size: int) -> list[Runs]:
    """The runs in groups whose members can be stacked, none larger than size."""
    alike: dict[RunConfig, list[Path]] = {}
    for folder, config in runs.items():
        alike.setdefault(replace(config, **_OWN), []).append(folder)
    return [
        {folder: runs[folder] for folder in folders[start : start + size]}
        for folders in alike.values()
        for start in range(0, len(folders), size)
    ]


def _begun(home: Path, runs: Runs) -> Runs:
    """The members of the ensemble whose checkpoint is in the folder.

    Raises ValueError if one of them is not among the runs: the checkpoint belongs to another table.
    """
    members = checkpoint.run_of(home) or {}
    found = {home.parent / name: RunConfig.from_dict(values) for name, values in members.items()}
    for folder, config in found.items():
        if runs.get(folder) != config:
            raise ValueError(
                f"table: need a folder without runs of another table, got {home}, whose checkpoint holds "
                f"{folder.name}; pass another --output, or train that table to its end."
            )
    return found


def _train(runs: Runs, home: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Train one ensemble to its end, from its checkpoint if there is one."""
    began = time.perf_counter()
    torch.set_flush_denormal(True)  # as for a run of its own
    shared = next(iter(runs.values()))
    fabric = devices.make_fabric(shared)
    seeds = sorted({config.seed for config in runs.values()})
    by_seed = {seed: data.load(shared.data, data_dir=shared.data_dir, seed=seed) for seed in seeds}
    starts = [Start.of(config, by_seed[config.seed]) for config in runs.values()]
    on_device = {seed: splits.to(fabric.device) for seed, splits in by_seed.items()}

    names = {folder.name: asdict(config) for folder, config in runs.items()}
    home.mkdir(exist_ok=True)
    state, remark = checkpoint.load(home, names, lambda: _like(starts, fabric, on_device), room=_room(starts))
    if remark:
        print(f"checkpoint: {remark}", file=sys.stderr)
    lrs: list[float] = state["lrs"] if state else _learning_rates(starts, fabric, on_device)
    epochs = EnsembleEpochs(starts, fabric, on_device, lrs)
    if state:
        epochs.restore(state)
        began -= state["elapsed"]
    files = [_opened(folder, start, lr) for folder, start, lr in zip(runs, starts, lrs, strict=True)]
    for file, history in zip(files, epochs.histories, strict=True):
        file.begin(history)

    def save() -> None:
        checkpoint.save(home, {**epochs.state(), "lrs": lrs, "elapsed": time.perf_counter() - began}, names)

    _finish(epochs, files, save)
    seconds = time.perf_counter() - began
    for start, lr, file, history in zip(starts, lrs, files, epochs.histories, strict=True):
        run = {"lr": lr, **start.fingerprint(), "device": str(fabric.device), "seconds": seconds}
        file.weights(history.best_weights)
        file.summary(history.summary() | run)
        checkpoint.discard(file.folder)  # of a run of its own that was given up
        yield file.folder, history.summary() | run
    checkpoint.discard(home)
    home.rmdir()


def _like(starts: Sequence[Start], fabric: Fabric, on_device: dict[int, Data]) -> dict[str, Any]:
    """The tensors of a checkpoint of these members, for their names, shapes and types."""
    state = EnsembleEpochs(starts, fabric, on_device, [1.0] * len(starts)).state()
    return {name: state[name] for name in ("parameters", "orders", "draws", "alive")}


def _room(starts: Sequence[Start]) -> int:
    """Bytes of a checkpoint beside those: moments and the best weights, and rows of each member."""
    config = starts[0].config
    weights = sum(parameter.numel() * 4 + 1024 for parameter in starts[0].network().parameters())
    return 2**20 + len(starts) * (3 * weights + (config.epochs + 2) * (config.depth + 10) * 200)


def _opened(folder: Path, start: Start, lr: float) -> Records:
    """The files of a member, with its configuration."""
    folder.mkdir(exist_ok=True)
    files = Records(folder, silent=False, tensorboard=start.config.tensorboard)
    files.config(asdict(replace(start.config, lr=lr)) | start.description())
    return files


def _finish(epochs: EnsembleEpochs, files: Sequence[Records], save: Callable[[], None]) -> None:
    """The epochs that are left, with a checkpoint whenever the last ones have taken a small part of the time."""
    saving, saved = 0.0, time.perf_counter()
    with tqdm(total=epochs.steps * epochs.config.epochs, initial=max(0, epochs.epoch - 1) * epochs.steps,
              desc=f"{len(files)} runs", unit="step", disable=None, leave=False) as bar:  # fmt: skip
        while not epochs.done:
            active = epochs.next(bar)
            begun = time.perf_counter()
            if begun - saved >= saving / _CHECKPOINT_SHARE:
                save()
                saved = time.perf_counter()
                saving = saved - begun
            for m in active:
                files[m].row(epochs.histories[m].rows[-1])
            tqdm.write(_shown(epochs))
    for file, history in zip(files, epochs.histories, strict=True):
        file.end(history)


def _learning_rates(starts: Sequence[Start], fabric: Fabric, on_device: dict[int, Data]) -> list[float]:
    """Of each member its own, or that of those to try with the lowest validation loss."""
    alone, tried = zip(*map(trials, starts), strict=True)
    tried = [[start.config.lr] if start.config.lr else rates for start, rates in zip(starts, tried, strict=True)]
    if all(len(rates) == 1 for rates in tried) or not starts[0].config.epochs:
        return [rates[0] for rates in tried]
    losses: list[dict[float, float]] = [{} for _ in starts]
    for k in range(max(map(len, tried))):
        lrs = [rates[min(k, len(rates) - 1)] for rates in tried]
        epochs = EnsembleEpochs(alone, fabric, on_device, lrs)
        with tqdm(total=epochs.steps, desc=f"trying rate {k + 1}", unit="step", disable=None, leave=False) as bar:
            epochs.next(bar)
            epochs.next(bar)
        for m, (lr, history) in enumerate(zip(lrs, epochs.histories, strict=True)):
            losses[m][lr] = history.validation_loss
    return [min(found, key=lambda lr, found=found: found[lr]) for found in losses]


def _shown(epochs: EnsembleEpochs) -> str:
    rows = [history.rows[-1] for history in epochs.histories]
    accuracies = [row["validation_accuracy"] for row in rows if not row["diverged"]]
    spread = f"validation accuracy {min(accuracies):.4f} to {max(accuracies):.4f}" if accuracies else "no run left"
    return f"epoch {epochs.epoch - 1:3d}  {spread}  diverged: {len(rows) - len(accuracies)}  {epochs.seconds:.0f} s"
