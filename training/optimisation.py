"""Optimizers, the learning rate of theory, and that of each step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from gpsym import CriticalInit
from gpsym.learning_rate import adam_rate, sgd_rate
from training import models
from training.config import RunConfig
from training.data import Data

__all__ = ["input_factor", "make_optimizer", "rate_factor", "theory_lr"]


def make_optimizer(config: RunConfig, parameters: Iterable[Tensor], lr: float) -> Optimizer:
    """The optimizer of a run: SGD with momentum, Adam, or AdamW, whose weight decay is decoupled."""
    parameters = list(parameters)
    if config.optimizer == "sgd":
        return SGD(parameters, lr=lr, momentum=config.momentum, weight_decay=config.weight_decay)
    kind = AdamW if config.optimizer == "adamw" else Adam
    return kind(parameters, lr=lr, weight_decay=config.weight_decay)


def theory_lr(config: RunConfig, design: CriticalInit, data: Data) -> float:
    """The rate of `gpsym.learning_rate` for the run's optimizer: the scale of Adam's, or the edge of SGD's.

    mlp          as it is there.
    cnn          with kernels of 3 x 3; the second convolution counts as residual where others are.
    transformer  has no theory; it takes the rate of 2 depth residual layers of 4 width units, the hidden layers of its
                 feed-forward branches, whose inputs are like a hidden layer's.
    """
    sizes, inputs = _sizes(config, data.train.shape)
    factor = input_factor(config.input_scale, design, data.input_mean_square)
    if config.optimizer == "sgd":
        square = None if inputs is None else inputs * factor**2 * data.input_mean_square
        classes = max(2, data.classes)  # one class has no gradient at any rate
        return sgd_rate(design, **sizes, classes=classes, momentum=config.momentum, input_square=square)
    return adam_rate(design, **sizes, input_sum=None if inputs is None else inputs * factor * data.input_mean_absolute)


def input_factor(input_scale: str, design: CriticalInit, mean_square: float) -> float:
    """The factor that takes inputs of a mean square to E phi^2 at q*, that of a hidden layer's; for `unit` 1.

    A step changes a pre-activation in proportion to the squares of its inputs, by SGD.  Activations that are mostly
    zeros are small: those of a clipped ReLU at sparsity 0.85 have a mean square of 0.06, beside which inputs of mean
    square 1 make each weight of the first layer count 16 times as much, and its variance leaves q* in a few steps.
    With the factor the network at initialization is the same, as the first weights are larger by its inverse.
    """
    if input_scale == "unit":
        return 1.0
    return math.sqrt((design.q_star - design.sigma_b2) / design.sigma_w2 / mean_square)


def _sizes(config: RunConfig, shape: Sequence[int]) -> tuple[dict[str, Any], int | None]:
    """What `gpsym.learning_rate` asks of a network, and how many inputs a unit of its first layer sees."""
    sizes = {"width": config.width, "depth": config.depth, "alpha": config.alpha or 1.0}
    if config.model == "mlp":
        return sizes, math.prod(shape)
    if config.model == "cnn":
        return sizes | {"kernel": models.KERNEL**2}, models.image_shape(shape)[0] * models.KERNEL**2
    alpha = config.alpha or models.transformer_alpha(config.depth)
    return {"width": models.WIDENING * config.width, "depth": 2 * config.depth, "alpha": alpha}, None


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
