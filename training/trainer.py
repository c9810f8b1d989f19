"""One training run from its configuration, or from where it was interrupted, and everything that it writes down."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from training import checkpoint, devices, records
from training.config import RunConfig
from training.data import Data
from training.epochs import Epochs, is_state, state_like
from training.lock import sole_writer
from training.records import Records
from training.start import Start

__all__ = ["RunConfig", "require_same", "resume", "train", "train_or_resume", "trials"]

# Fields that say where to run, and change nothing else.
_PLACE = ("device", "devices", "strategy", "data_dir")

# What may differ between a checkpoint and the run that goes on from it.
_UNBOUND = (*_PLACE, "initializer", "tensorboard", "checkpoint_every")

# Bytes of a row in a checkpoint for each layer: two numbers of nine bytes, each in three copies at most.
_BYTES_OF_ROW = 200

# Times the theory's rate: tried for an epoch each when none is given; the validation loss decides.
RATE_FACTORS = (1 / 4, 1 / 2, 1, 2)
# The same for SGD: fractions of the edge of stability, which is that of the start and lower along the way.
SGD_RATE_FACTORS = (1 / 256, 1 / 64, 1 / 16, 1 / 4)


def train(config: RunConfig, output: Path) -> dict[str, Any]:
    """Train, and write config.json, metrics.jsonl (one line an epoch, 0 before training), model.pt and
    summary.json into `output`; returns the summary.

    The weights reported and kept are those of the epoch with the best validation accuracy.  A loss that is not
    finite ends the run, which is then recorded as diverged; so is one whose last validation loss exceeds 103.  Until
    it ends, the folder holds checkpoints as well, from which `resume` goes on.

    Raises ValueError for a folder that already holds a run or files of others or that another process writes, before
    anything is written, and if writing fails.
    """
    _require_parent(output)
    with _alone(output, "run"):
        return _begun(config, output)


def resume(output: Path, **changes: Any) -> dict[str, Any]:
    """Go on with the run in the folder from its last checkpoint; returns the summary, at once if it is finished.

    changes  fields of the configuration that say where to run: device, devices, strategy, data_dir; and initializer,
             whose file is executed and so has to be named again.

    On the CPU with one process the files are those of a run without interruption, but for seconds.  A learning rate
    that was still being chosen is chosen again.

    Raises ValueError for a folder without a run, if no checkpoint is whole, if the checkpoint belongs to another
    configuration, if another process writes the folder, and as `train`.
    """
    records.read_config(output)  # a folder without a run gets no lock
    with _alone(output, "resume"):
        return _resumed(output, changes)


def train_or_resume(config: RunConfig, output: Path, *, wait: bool = False) -> dict[str, Any]:
    """`resume` if the folder holds a run of this configuration, else `train`: one command however often it is cut off.

    wait  whether to wait for another process that writes the folder, in place of refusing.

    Raises ValueError for a folder that holds another run, and as both.
    """
    _require_parent(output)
    with _alone(output, "table" if wait else "run", wait=wait):
        if not (output / records.CONFIG).exists():
            return _begun(config, output)
        require_same(config, output)
        return _resumed(output, {name: getattr(config, name) for name in (*_PLACE, "initializer")})


def require_same(config: RunConfig, output: Path) -> None:
    """Raises ValueError if the folder holds a run of another configuration."""
    if not (output / records.CONFIG).exists():
        return
    there = records.read_config(output).run
    if config.lr is None:
        there = replace(there, lr=None)  # it was chosen
    for field in fields(RunConfig):
        name, old, new = field.name, getattr(there, field.name), getattr(config, field.name)
        if old != new and name not in _PLACE:
            raise ValueError(
                f"run: need the {name} of the run in {output}, {old}, got {new}; leave out --resume and pass another "
                "--output for another run."
            )


def _alone(output: Path, door: str, *, wait: bool = False) -> AbstractContextManager[None]:
    """The lock of the folder; one process takes it for all processes of a run."""
    return sole_writer(output, door, wait=wait) if devices.is_first_process() else nullcontext()


def _require_parent(output: Path) -> None:
    if not output.parent.is_dir():
        raise ValueError(f"run: need an existing folder for the run, got {output}; create {output.parent} first.")
    if output.exists() and not output.is_dir():
        raise ValueError(f"run: need a folder for the run, got the file {output}; pass another --output.")


def _begun(config: RunConfig, output: Path) -> dict[str, Any]:
    if devices.is_first_process():
        if (output / records.CONFIG).exists():
            raise ValueError(
                f"run: need a folder without a run, got {output}, which holds one; pass another --output, or --resume."
            )
        records.require_own(output)
    return _run(config, output)


def _resumed(output: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    there = records.read_config(output).run
    if (output / records.SUMMARY).exists():
        summary = records.read_summary(output)
        checkpoint.discard(output)
        return summary
    if there.initializer and changes.get("initializer") != there.initializer:
        raise ValueError(
            f"resume: need the initializer named again, as its code is executed, got {there.initializer} from "
            f"{records.CONFIG} alone; pass --initializer {there.initializer} if you trust it."
        )
    return _run(replace(there, **changes), output)


def _run(config: RunConfig, output: Path) -> dict[str, Any]:
    """The run from the folder's checkpoint, or from the start if there is none."""
    torch.set_flush_denormal(True)  # vanishing gradients would crawl
    try:
        return _of_its_own(config, output)
    finally:
        torch.set_flush_denormal(False)  # other code of the process expects denormal numbers


def _of_its_own(config: RunConfig, output: Path) -> dict[str, Any]:
    started = time.perf_counter()
    records.require_tensorboard(config)
    start = Start.of(config)
    fabric = devices.make_fabric(config)
    fingerprint = start.fingerprint()
    state, remark = _saved(start, output) if devices.is_first_process() else (None, "")
    if remark:
        print(f"checkpoint: {remark}", file=sys.stderr)
    fabric.launch()
    try:
        return _launched(start, fabric, output, fabric.broadcast(state), fingerprint, started)
    finally:
        devices.close()


def _saved(start: Start, output: Path) -> tuple[dict[str, Any] | None, str]:
    """The state of the folder's checkpoint, checked, and what was wrong."""
    room = 2**20 + (start.config.epochs + 2) * (start.config.depth + 10) * _BYTES_OF_ROW
    return checkpoint.load(
        output, determining(start), lambda: state_like(start), lambda state, like: is_state(state, start, like), room
    )


def determining(start: Start) -> dict[str, Any]:
    """What determines the run, by which a checkpoint knows it: all but the place, and the shape of the data."""
    kept = {k: v for k, v in asdict(start.config).items() if k not in _UNBOUND}
    train = start.data.train
    return kept | {"examples": len(train), "input_shape": list(train.shape), "classes": start.data.classes}


def _launched(
    start: Start,
    fabric: Fabric,
    output: Path,
    state: dict[str, Any] | None,
    fingerprint: dict[str, Any],
    started: float,
) -> dict[str, Any]:
    """The run in each of its processes."""
    first = fabric.is_global_zero
    if first:
        output.mkdir(exist_ok=True)
    files = Records(output, silent=not first, tensorboard=start.config.tensorboard)
    described = start.description()
    files.config(asdict(start.config) | described)  # first of all, so that there is a run to resume
    data = start.data.to(fabric.device)
    lr = start.config.lr or _best_learning_rate(start, fabric, data)
    files.config(asdict(replace(start.config, lr=lr)) | described)

    epochs = Epochs(start, fabric, data, lr)
    if state is not None:
        epochs.restore(state)
        started -= state["elapsed"]
    files.begin(epochs.history)
    _finish(epochs, files, started, determining(replace(start, config=replace(start.config, lr=lr))))
    summary = {
        **epochs.history.summary(),
        "lr": lr,
        **fingerprint,
        "device": str(fabric.device),
        "seconds": time.perf_counter() - started,
    }
    files.summary(summary)
    if first:
        checkpoint.discard(output)
    return summary


def _finish(epochs: Epochs, files: Records, started: float, run: dict[str, Any]) -> None:
    """The epochs that are left, with a checkpoint after each, and its row and weights behind that."""

    def save() -> None:
        state = epochs.state() | {"elapsed": time.perf_counter() - started}
        if not files.silent:
            checkpoint.save(files.folder, state, run)

    def after_step() -> None:
        every = epochs.config.checkpoint_every
        if every and epochs.steps_done % every == 0:
            save()

    with _bar(epochs, "training") as bar:
        while not epochs.done:
            row = epochs.next(bar, after_step)
            if not epochs.history.broken:
                save()
            files.row(row)
            if not files.silent:
                tqdm.write(records.shown(row))
            if epochs.history.best is row:
                files.weights(epochs.history.best_weights)
    files.end(epochs.history)


def trials(start: Start) -> tuple[Start, list[float]]:
    """A run of one epoch, half of it at its peak rate, and rates around theory's that it is to choose from.

    Whether a deep network bears a rate shows at the peak alone: an epoch of the whole run's schedule would end within
    the rise, and one with a fall would save rates that are too high.
    """
    factors = SGD_RATE_FACTORS if start.config.optimizer == "sgd" else RATE_FACTORS
    theory = start.theory_lr()
    epoch = replace(start.config, epochs=1, warmup=0.5, schedule="constant")
    return replace(start, config=epoch), [factor * theory for factor in factors]


def _best_learning_rate(start: Start, fabric: Fabric, data: Data) -> float:
    """The one of the rates to try with the lowest validation loss."""
    trial, rates = trials(start)
    if not start.config.epochs:
        return rates[0]
    losses = {}
    for lr in rates:
        epochs = Epochs(trial, fabric, data, lr)
        with _bar(epochs, f"trying lr {lr:g}") as bar:
            epochs.next(bar)
            epochs.next(bar)
        losses[lr] = epochs.history.validation_loss
        if fabric.is_global_zero:
            tqdm.write(f"lr {lr:g}: validation loss {losses[lr]:.4f} after one epoch")
    return min(losses, key=lambda lr: losses[lr])


def _bar(epochs: Epochs, label: str) -> tqdm:
    """A bar with the time that is left, where someone watches."""
    hidden = None if epochs.fabric.is_global_zero else True  # None hides it unless stderr is a terminal
    total = epochs.steps * epochs.config.epochs
    return tqdm(total=total, initial=epochs.steps_done, desc=label, unit="step", disable=hidden, leave=False)
