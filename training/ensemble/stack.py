"""Networks of one shape as one: their weights stacked, and each layer one batched product (torch.func)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpsym import Activation
from training import models
from training.measure import observed
from training.start import Start, hidden_activations

__all__ = ["Stack"]


class Ramps(nn.Module):
    """A continuous piecewise-linear activation with its numbers in a buffer, so that those of many can be stacked.

        phi(x) = offset + sum over k of slope_k min(max(0, side_k x + shift_k), size_k),  side_k = 1 or -1,

    zeros and saturated values exact.  At a knot where phi is flat on one side its derivative is 0.

    count  number of terms, filled up with terms of slope 0.
    """

    numbers: Tensor

    def __init__(self, phi: Activation, count: int):
        super().__init__()
        offset, terms = _ramps(phi)
        rows = terms + [(1.0, 0.0, 0.0, 0.0)] * (count - len(terms))
        self.register_buffer("numbers", torch.tensor([*rows, (offset, 0.0, 0.0, 0.0)]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """phi(x), of the shape of x."""
        *terms, last = self.numbers.unbind()
        y = last[0]
        for side, shift, size, slope in terms:
            y = torch.addcmul(y, torch.addcmul(shift, x, side).relu().minimum(size), slope)
        return y


def _ramps(phi: Activation) -> tuple[float, list[tuple[float, float, float, float]]]:
    """(offset, rows (side, shift, size, slope)) of an activation.

    Raises ValueError for one that is no sum of such.
    """
    if not phi.is_sum_of_clamps:
        raise ValueError(
            f"ensemble: need a continuous piecewise-linear activation, got {phi.name}; train it in a run of its own."
        )
    offset, terms = phi.clamp_terms()
    right = [(1.0, -t.shift, t.high, t.slope) for t in terms if t.high > 0]
    left = [(-1.0, t.shift, -t.low, -t.slope) for t in terms if t.low < 0]
    return offset, right + left


class Stack:
    """M networks, each as its run begins, on one device.

    parameters  by name, (M, ...) each.

    Raises ValueError for activations that are not continuous and piecewise linear.
    """

    def __init__(self, starts: Sequence[Start], device: torch.device, *, compile: bool = False):
        count = max(1, *(len(_ramps(start.design.phi)[1]) for start in starts))
        networks = [_with_ramps(start, count) for start in starts]
        parameters, self.buffers = stack_module_state(list(networks))
        self.parameters: dict[str, Tensor] = {
            name: tensor.detach().to(device).requires_grad_() for name, tensor in parameters.items()
        }
        self.buffers = {name: tensor.to(device) for name, tensor in self.buffers.items()}
        self.network = networks[0].to("meta")
        self.activations = hidden_activations(self.network, Ramps)
        self._logits: Any = vmap(self._of_one)
        self._observed = vmap(self._observed_of_one)
        if compile:
            self._logits = torch.compile(self._logits)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits, (M, batch, classes), of inputs, (M, batch, ...)."""
        return self._logits(self.parameters, self.buffers, inputs)

    def observed(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """`training.measure.observed` of each network: (M, batch, classes) and (M, 2, layers)."""
        return self._observed(self.parameters, self.buffers, inputs)

    def weights_of(self, member: int) -> dict[str, Tensor]:
        """The state_dict of one network, on the CPU."""
        return {name: tensor[member].detach().cpu().clone() for name, tensor in self.parameters.items()}

    def _of_one(self, parameters: Any, buffers: Any, inputs: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.MATH):  # the fused ones have no rule for a stack
            return functional_call(self.network, (parameters, buffers), (inputs,))

    def _observed_of_one(self, parameters: Any, buffers: Any, inputs: Tensor) -> tuple[Tensor, Tensor]:
        return observed(lambda given: self._of_one(parameters, buffers, given), self.activations, inputs)


def _with_ramps(start: Start, count: int) -> nn.Sequential:
    """The network of a run, its activations as `Ramps`."""
    config, data = start.config, start.data
    network = models.build(
        config.model, data.train.shape, data.classes, width=config.width, depth=config.depth,
        activation=lambda: Ramps(start.design.phi, count), alpha=config.alpha, input_factor=start.input_factor,
    )  # fmt: skip
    network.load_state_dict(start.network().state_dict())
    return network
