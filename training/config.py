"""Everything that determines a training run, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from gpsym import CriticalInit, edge_of_chaos

__all__ = ["RunConfig"]


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines a run, seeds included.

    data, data_dir    as in `training.data.load`.
    activation, sparsity, slope, q_star
                      the design, as in `gpsym.edge_of_chaos`.
    model, width, depth, alpha
                      the network, as in `training.models.build`.
    input_scale       unit, of mean square 1, or hidden, of that of a hidden layer's inputs, E phi^2 at q*, so that the
                      first layer learns at the pace of the others: `training.optimisation.input_factor`.
    initializer       a file written by `gpsym export`, to take activation and initializer from.
    epochs            passes over the training split.
    batch_size        examples in one forward and backward pass, over all devices.
    accumulate        batches whose gradients one step takes together: a batch of accumulate * batch_size.
    lr                peak learning rate; None tries fractions and multiples of theory's for an epoch each.
    optimizer         sgd, adam or adamw; momentum is that of sgd; weight_decay is decoupled for adamw alone.
    schedule          cosine to zero, or constant; warmup is the fraction of all steps over which the rate first rises.
    clip_norm         largest norm of the gradient of all weights together; None leaves it.
    augment           none, shift or shift-flip, as in `training.augment`.
    precision         32, or bf16 for autocast.
    compile           whether to train with torch.compile.
    device            auto (CUDA, else CPU), cpu or cuda.
    devices           number of processes, one for each device; torchrun's number goes before it.
    strategy          auto (ddp where there are several), ddp or fsdp.
    telemetry         norms of gradients by layer are measured every so many epochs; 0 never.
    tensorboard       whether to write event files as well.
    checkpoint_every  checkpoints are written after each epoch, and within it every so many steps; 0 for no more.
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
    model: str = "mlp"
    alpha: float | None = None
    input_scale: str = "unit"
    optimizer: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    warmup: float = 0.05
    accumulate: int = 1
    clip_norm: float | None = None
    augment: str = "none"
    precision: str = "32"
    compile: bool = False
    devices: int = 1
    strategy: str = "auto"
    telemetry: int = 0
    tensorboard: bool = False
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        for name, (domain, holds, advice) in _DOMAINS.items():
            value = getattr(self, name)
            if not holds(value):
                raise ValueError(f"run: need {name} {domain}, got {value}; {advice}.")

    @property
    def design(self) -> CriticalInit:
        """The initialization at the edge of chaos that the run starts from."""
        return edge_of_chaos(self.activation, sparsity=self.sparsity, slope=self.slope, q_star=self.q_star)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> RunConfig:
        """The configuration among the values, such as those of config.json; what they lack takes its default."""
        return RunConfig(**{f.name: values[f.name] for f in fields(RunConfig) if f.name in values})


# What a field must be in words, whether a value is, and what would work.
_Domain = tuple[str, Callable[[Any], bool], str]


def _text() -> _Domain:
    return "a text", lambda value: isinstance(value, str), "pass a name or a path"


def _one_of(*names: str) -> _Domain:
    listed = f"{', '.join(names[:-1])} or {names[-1]}"
    return listed, lambda value: value in names, "pass one of them"


def _whole(least: int) -> _Domain:
    def holds(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    return f">= {least}", holds, "pass a larger whole number"


def _real(interval: str, holds: Callable[[float], bool], advice: str) -> _Domain:
    def checked(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and holds(value)

    return f"in {interval}", checked, advice


def _optional(domain: _Domain) -> _Domain:
    words, holds, advice = domain
    return words, lambda value: value is None or holds(value), advice


def _flag() -> _Domain:
    return "True or False", lambda value: isinstance(value, bool), "pass one of them"


_number = _real("(-oo, oo)", math.isfinite, "pass a number")  # `edge_of_chaos` knows which ones it takes

_DOMAINS: dict[str, _Domain] = {
    "data": _text(),
    "activation": _text(),
    "sparsity": _optional(_number),
    "slope": _optional(_number),
    "q_star": _number,
    "width": _whole(1),
    "depth": _whole(1),
    "epochs": _whole(0),
    "batch_size": _whole(1),
    "lr": _optional(_real("(0, 1e30]", lambda lr: 0 < lr <= 1e30, "1e-4 is a fair start")),  # far inside float32
    "seed": _real("[0, 2^32)", lambda seed: isinstance(seed, int) and 0 <= seed < 2**32, "pass a smaller whole number"),
    "device": _one_of("auto", "cpu", "cuda"),
    "data_dir": _optional(_text()),
    "initializer": _optional(_text()),
    "model": _one_of("mlp", "cnn", "transformer"),
    "alpha": _optional(_real("(0, 1]", lambda alpha: 0 < alpha <= 1, "1 is a network without skips")),
    "input_scale": _one_of("unit", "hidden"),
    "optimizer": _one_of("sgd", "adam", "adamw"),
    "momentum": _real("[0, 1)", lambda momentum: 0 <= momentum < 1, "0.9 is usual"),
    "weight_decay": _real("[0, oo)", lambda decay: 0 <= decay < math.inf, "0 is none"),
    "schedule": _one_of("cosine", "constant"),
    "warmup": _real("[0, 1]", lambda warmup: 0 <= warmup <= 1, "it is a fraction of all steps"),
    "accumulate": _whole(1),
    "clip_norm": _optional(_real("(0, oo)", lambda norm: 0 < norm < math.inf, "leave it out for no clipping")),
    "augment": _one_of("none", "shift", "shift-flip"),
    "precision": _one_of("32", "bf16"),
    "compile": _flag(),
    "devices": _whole(1),
    "strategy": _one_of("auto", "ddp", "fsdp"),
    "telemetry": _whole(0),
    "tensorboard": _flag(),
    "checkpoint_every": _whole(0),
}
