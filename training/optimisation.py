"""Optimizers, and the learning rate of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from training.config import RunConfig

__all__ = ["make_optimizer", "rate_factor"]


def make_optimizer(config: RunConfig, parameters: Iterable[Tensor], lr: float) -> Optimizer:
    """The optimizer of a run: SGD with momentum, Adam, or AdamW, whose weight decay is decoupled."""
    parameters = list(parameters)
    if config.optimizer == "sgd":
        return SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = AdamW if config.optimizer == "adamw" else Adam
    return kind(parameters, lr=lr, weight_decay=config.weight_decay)


def rate_factor(config: RunConfig, step: int, steps: int) -> float:
    """Factor of the peak learning rate in a step: a linear rise, then a half cosine to zero or 1.

    step   number of steps before it, from 0 to steps - 1.
    steps  of the whole run.

    A function of the step alone, so that there is no state to keep.
    """
    rise = (step + 1) / max(1, math.floor(config.warmup * steps))
    if config.schedule == "constant":
        return min(rise, 1.0)
    return min(rise, 0.5 * (1 + math.cos(math.pi * step / max(1, steps))))
