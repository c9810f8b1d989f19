"""One training run, and everything that it writes down."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from gpsym import CriticalInit, edge_of_chaos, lambdify, maps
from gpsym.files import write_text
from gpsym.torch import activation_module, init_
from training import data as data_sets
from training.digest import digest
from training.measure import Measurement, measure
from training.models import mlp

__all__ = ["RunConfig", "train"]

# Tried for the first epoch of the run when no learning rate is given; the validation loss decides.
LEARNING_RATES = (3e-5, 1e-4, 3e-4, 1e-3)

# Examples of the training split on which its sparsity is measured after each epoch.
_TRAIN_SAMPLE = 10_000


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run, seeds included.

    lr           peak learning rate of Adam; None tries `LEARNING_RATES` for an epoch each.
    initializer  a file written by `gpsym export`, to take activation and initializer from.
    device       auto (CUDA, else CPU), cpu or cuda.
    """

    data: str
    activation: str
    sparsity: float | None = None
    slope: float | None = None
    q_star: float = 1.0
    width: int = 300
    depth: int = 10
    epochs: int = 10
    batch_size: int = 128
    lr: float | None = None
    seed: int = 0
    device: str = "auto"
    data_dir: str | None = None
    initializer: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 1), ("epochs", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"run: need {name} >= {least}, got {getattr(self, name)}; pass a larger number.")
        if self.lr is not None and not 0 < self.lr <= 1e30:  # far inside float32
            raise ValueError(f"run: need lr in (0, 1e30], got {self.lr}; 1e-4 is a fair start.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"run: need a seed in [0, 2^32), got {self.seed}; pass a smaller one.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"run: need device auto, cpu or cuda, got {self.device}; pass one of them.")

    @property
    def design(self) -> CriticalInit:
        """The initialization at the edge of chaos that the run starts from."""
        return edge_of_chaos(self.activation, sparsity=self.sparsity, slope=self.slope, q_star=self.q_star)


def train(config: RunConfig, output: Path) -> dict[str, Any]:
    """Train, and write config.json, metrics.jsonl (one line an epoch, 0 before training), model.pt and
    summary.json into `output`; returns the summary.

    The weights reported and kept are those of the epoch with the best validation accuracy.  A loss that is not
    finite ends the run, which is then recorded as diverged.

    Raises ValueError for a folder that already holds a run, before anything is written.
    """
    started = time.perf_counter()
    if not output.parent.is_dir():
        raise ValueError(f"run: need an existing folder for the run, got {output}; create {output.parent} first.")
    if output.exists() and not output.is_dir():
        raise ValueError(f"run: need a folder for the run, got the file {output}; pass another --output.")
    if (output / "config.json").exists():
        raise ValueError(f"run: need a folder without a run, got {output}, which holds one; pass another --output.")
    run = _Run(config)
    output.mkdir(exist_ok=True)
    lr = config.lr or (run.best_learning_rate() if config.epochs else LEARNING_RATES[0])
    config = replace(config, lr=lr)
    fields = {
        **asdict(config),
        "inputs": run.data.x_train[0].numel(),
        "classes": run.data.classes,
        "input_mean_square": run.mean_square,
        "design": run.design.to_dict(),
        "theory_variance": run.theory_variance(),
    }
    write_text(output / "config.json", _to_json(fields, indent=2))

    best: dict[str, Any] = {}
    row: dict[str, Any] = {}  # the last one; epoch 0 is always there
    with open(output / "metrics.jsonl", "w", encoding="utf-8") as log:
        for row, state in run.epochs(lr):
            log.write(_to_json(row) + "\n")
            log.flush()
            tqdm.write(_shown(row))
            if not best or _rank(row) > _rank(best):
                best = row
                _save(state, output / "model.pt")
    summary = {
        "test_accuracy": best["test_accuracy"],
        "validation_accuracy": best["validation_accuracy"],
        "test_sparsity": best["test_sparsity"],
        "train_sparsity": best["train_sparsity"],
        "diverged": row["diverged"],
        "best_epoch": best["epoch"],
        "epochs": row["epoch"],
        "lr": lr,
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "initial_weights_sha256": run.initial_digest,
        "device": str(run.fabric.device),
        "seconds": time.perf_counter() - started,
    }
    write_text(output / "summary.json", _to_json(summary, indent=2))
    return summary


class _Run:
    """Data, network and design of one run; `epochs` trains from the seeded start every time it is called."""

    def __init__(self, config: RunConfig):
        self.config = config
        self.design = config.design
        cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
        if cuda and not torch.cuda.is_available():
            raise ValueError("run: need a CUDA device for --device cuda, got none; use --device cpu.")
        torch.set_flush_denormal(True)  # vanishing gradients would crawl
        self.fabric = Fabric(accelerator="cuda" if cuda else "cpu", devices=1)
        data = data_sets.load(config.data, data_dir=config.data_dir, seed=config.seed)
        self.mean_square = data.x_train.square().mean().item()
        self.data = data.to(self.fabric.device)
        self.exported = _exported(Path(config.initializer), self.design) if config.initializer else None
        self.model = self._fresh_model()
        self.initial_digest = digest(self.model)

    def _fresh_model(self) -> nn.Sequential:
        """The network as the seed initializes it, on the CPU."""
        config = self.config
        exported = self.exported
        model = mlp(
            self.data.x_train[0].numel(),
            self.data.classes,
            width=config.width,
            depth=config.depth,
            activation=exported.Activation if exported else lambda: activation_module(self.design),
        )
        generator = torch.Generator().manual_seed(config.seed)
        if exported:
            exported.init_(model, input_mean_square=self.mean_square, generator=generator)
        else:
            init_(model, self.design, input_mean_square=self.mean_square, generator=generator)
        return model

    def theory_variance(self) -> list[float]:
        """Mean variance of each hidden layer at infinite width: V iterated from the first layer, whose variance
        is sigma_b2 + (q_star - sigma_b2) |x|^2 / (inputs E[x^2]) for the input x; over 1,000 test inputs."""
        design = self.design
        squares = self.data.x_test[:1000].flatten(1).double().square().mean(1).cpu().numpy()
        q = design.sigma_b2 + (design.q_star - design.sigma_b2) * squares / self.mean_square
        variance = lambdify(maps.variance_map(design.phi))
        means = []
        for _ in range(self.config.depth):
            means.append(float(np.mean(q)))
            q = variance(q=q, sigma_w2=design.sigma_w2, sigma_b2=design.sigma_b2)
        return means

    def best_learning_rate(self) -> float:
        """The one of `LEARNING_RATES` with the lowest validation loss after the first epoch of the whole run's
        schedule, so that a rate which only a fast decay would save is not taken."""
        losses = {}
        for lr in LEARNING_RATES:
            *_, (row, _) = itertools.islice(self.epochs(lr, label=f"trying lr {lr:g}"), 2)
            loss = row["validation_loss"]
            losses[lr] = math.inf if row["diverged"] or not math.isfinite(loss) else loss
            tqdm.write(f"lr {lr:g}: validation loss {loss:.4f} after one epoch")
        return min(losses, key=lambda lr: losses[lr])

    def epochs(self, lr: float, *, label: str = "training") -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
        """(metrics, weights) before training and after each epoch, until the last or until the loss diverges."""
        config, data, count = self.config, self.data, self.config.epochs
        network = self._fresh_model()
        watched = [m for m in network if not isinstance(m, nn.Flatten | nn.Linear)]
        optimizer = torch.optim.Adam(network.parameters(), lr=lr)
        steps = math.ceil(len(data.x_train) / config.batch_size)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_and_cosine(steps * count))
        model, optimizer = self.fabric.setup(network, optimizer)
        order = torch.Generator().manual_seed(config.seed)
        seconds, diverged, loss, accuracy = 0.0, False, math.nan, math.nan
        with tqdm(total=steps * count, desc=label, unit="step", disable=None, leave=False) as bar:
            for epoch in range(count + 1):
                started = time.perf_counter()
                if epoch:
                    loss, accuracy, diverged = self._one_epoch(model, optimizer, schedule, order, bar)
                seconds += time.perf_counter() - started
                seen = self._measurements(network, watched)
                diverged = diverged or (epoch > 0 and not math.isfinite(seen["validation"].loss))
                row = _row(epoch, seen, loss, accuracy, diverged, seconds)
                yield row, network.state_dict()
                if diverged:
                    return

    def _one_epoch(self, model, optimizer, schedule, order: torch.Generator, bar: tqdm) -> tuple[float, float, bool]:
        """Mean loss and accuracy on the training split while training on it, and whether the loss diverged."""
        data, size = self.data, self.config.batch_size
        total, correct, seen = 0.0, 0, 0
        for batch in torch.randperm(len(data.x_train), generator=order).split(size):
            batch = batch.to(self.fabric.device)
            logits, labels = model(data.x_train[batch]), data.y_train[batch]
            loss = nn.functional.cross_entropy(logits, labels)
            if not math.isfinite(loss.item()):
                return math.nan, math.nan, True
            optimizer.zero_grad()
            self.fabric.backward(loss)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
            correct += int((logits.argmax(1) == labels).sum())
            seen += len(batch)
            bar.update()
            bar.set_postfix(loss=f"{total / seen:.3f}", refresh=False)
        return total / seen, correct / seen, False

    def _measurements(self, network: nn.Module, watched: list[nn.Module]) -> dict[str, Measurement]:
        data, sample = self.data, slice(_TRAIN_SAMPLE)
        splits = {
            "train": (data.x_train[sample], data.y_train[sample]),
            "validation": (data.x_validation, data.y_validation),
            "test": (data.x_test, data.y_test),
        }
        return {split: measure(network, watched, x, y) for split, (x, y) in splits.items()}


def _row(
    epoch: int, seen: dict[str, Measurement], loss: float, accuracy: float, diverged: bool, seconds: float
) -> dict[str, Any]:
    """One line of metrics.jsonl; before training, the train loss and accuracy are measured like the others."""
    train, validation, test = seen["train"], seen["validation"], seen["test"]
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
        "diverged": diverged,
        "seconds": seconds,
    }


def _rank(row: dict[str, Any]) -> tuple[bool, float, float]:
    """Order of epochs on the validation split: finite before diverged, then accuracy, then loss."""
    return (not row["diverged"], row["validation_accuracy"], -row["validation_loss"])


def _warm_up_and_cosine(steps: int) -> Callable[[int], float]:
    """Factor of the learning rate: linear over the first twentieth of the steps, then a half cosine to zero."""
    warm_up = max(1, steps // 20)

    def factor(step: int) -> float:
        return min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))

    return factor


def _exported(path: Path, design: CriticalInit) -> ModuleType:
    """The module in a file of `gpsym export --framework torch`, seen to be that of the design."""
    module = ModuleType("exported_initializer")
    sys.modules[module.__name__] = module  # where dataclasses looks it up
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), vars(module))
        theirs = {name: getattr(module.DESIGN, name) for name in ("sigma_w2", "sigma_b2", "q_star")}
    except Exception as error:  # whatever a file of somebody's does
        raise ValueError(
            f"run: need a file written by gpsym export --framework torch, got {path} ({error}); export one first."
        ) from error
    for name, value in theirs.items():
        if value != getattr(design, name):
            raise ValueError(
                f"run: need an initializer for the run's own design, got {name} = {value} in {path} "
                f"and {getattr(design, name)} from the options; export it with the same options."
            )
    x = torch.linspace(-10, 10, 4001) * math.sqrt(design.q_star)
    if not torch.equal(module.Activation()(x), activation_module(design)(x)):
        raise ValueError(
            f"run: need an initializer for {design.activation}, got another activation in {path}; "
            "export it with the same options."
        )
    return module


def _save(state: dict[str, Tensor], path: Path) -> None:
    """The weights, written whole or not at all."""
    temporary = path.with_suffix(".partial")
    torch.save(state, temporary)
    os.replace(temporary, path)


def _to_json(fields: dict[str, Any], indent: int | None = None) -> str:
    """JSON with null for numbers that are not finite."""

    def finite(value: Any) -> Any:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if isinstance(value, dict):
            return {k: finite(v) for k, v in value.items()}
        return [finite(v) for v in value] if isinstance(value, list | tuple) else value

    return json.dumps(finite(fields), indent=indent, allow_nan=False)


def _shown(row: dict[str, Any]) -> str:
    return (
        f"epoch {row['epoch']:3d}  loss {row['train_loss']:.4f}  accuracy: train {row['train_accuracy']:.4f} "
        f"validation {row['validation_accuracy']:.4f} test {row['test_accuracy']:.4f}  "
        f"zeros: train {row['train_sparsity']:.3f} test {row['test_sparsity']:.3f}  {row['seconds']:.0f} s"
        + ("  diverged" if row["diverged"] else "")
    )
