"""Networks: plain modules whose hidden layers share one activation."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

__all__ = ["mlp"]


def mlp(inputs: int, classes: int, *, width: int, depth: int, activation: Callable[[], nn.Module]) -> nn.Sequential:
    """A fully connected network with `depth` hidden layers of `width` units, hence depth + 1 weight layers.

    inputs      features per example, after flattening.
    activation  makes the activation module of one hidden layer.

    Maps (batch, ...) to (batch, classes) logits.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in in (inputs, *[width] * (depth - 1)):
        layers += [nn.Linear(fan_in, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, classes))
