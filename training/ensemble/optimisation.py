"""One optimizer for a stack of networks, each at a rate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.config import RunConfig
from training.optimisation import make_optimizer

__all__ = ["StackedOptimizer"]


class StackedOptimizer:
    """The optimizer of a run for parameters (M, ...), whose first axis are the members of an ensemble.

    Steps of SGD, Adam and AdamW are proportional to the learning rate, weight decay included.  So torch's own
    optimizer takes one at rate 1, which is then shortened to each member's rate; that costs a copy of the parameters.
    """

    def __init__(self, config: RunConfig, parameters: Sequence[Tensor], lrs: Tensor):
        self.config, self.parameters, self.lrs = config, list(parameters), lrs
        self.optimizer: Any = make_optimizer(config, self.parameters, 1.0)

    @torch.no_grad()
    def step(self, factor: float, alive: Tensor) -> None:
        """A step at factor times each member's rate; those that are not alive, (M,), stay where they are."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        for gradient in gradients:
            gradient.masked_fill_(_along(~alive, gradient), 0.0)  # theirs may be NaN, which moments would keep
        if self.config.clip_norm is not None:
            _clip(gradients, self.config.clip_norm)
        before = [parameter.clone() for parameter in self.parameters]
        self.optimizer.step()
        self.optimizer.zero_grad()
        rates = torch.where(alive, factor * self.lrs, 0.0)
        for parameter, old in zip(self.parameters, before, strict=True):
            step = (parameter - old).mul_(_along(rates, old))
            parameter.copy_(torch.where(_along(alive, old), old + step, old))

    def state(self) -> dict[str, Any]:
        """Moments, for a checkpoint."""
        return self.optimizer.state_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self.optimizer.load_state_dict(state)


def _along(of_members: Tensor, like: Tensor) -> Tensor:
    """(M,) as (M, 1, 1, ...)."""
    return of_members.reshape(-1, *[1] * (like.ndim - 1))


def _clip(gradients: Sequence[Tensor], norm: float) -> None:
    """What torch.nn.utils.clip_grad_norm_ does, for each member."""
    squares = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)
    factors = (norm / (squares.sqrt() + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(_along(factors, gradient))
