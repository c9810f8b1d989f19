"""Inference that skips zeros: of a weight matrix only the columns of active inputs are read.

    y = sum_(j: x_j != 0) x_j W[:, j] + b

The weights are stored transposed, (in, out), so that each column lies together in memory; torch's embedding_bag adds
up the ones that are needed.  A matrix too large for the cache costs what it takes to read: at a batch of one the gain
tends to 1 / (1 - sparsity).  Each row of a batch reads its own columns, while a dense product reads the matrix once
for all: from some batch size on dense wins.  `skip_zeros_` measures which does, layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["SkippedLayer", "SkippingLinear", "SkippingReport", "seconds_of", "skip_zeros_"]

_REPEATS = 9  # timings of a layer; their median counts

# Weights to read from which on threads share them: half a million take some 200 us to read, a thread 15 us to wake.
_SHARED = 2**19


class SkippingLinear(nn.Module):
    """A linear layer that reads the weights of its non-zero inputs alone; for inference, without gradients.

    weight  (in_features, out_features): the transpose of that of nn.Linear.
    bias    (out_features,), or None.

    Shape: (*, in_features) -> (*, out_features).
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Buffer(linear.weight.detach().t().contiguous())
        self.bias = None if linear.bias is None else nn.Buffer(linear.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """x W^T + b."""
        rows = x.reshape(-1, self.in_features)  # (batch, in)
        row, column = rows.nonzero(as_tuple=True)
        if len(rows) == 1:
            first = self._shares(column)
        else:
            first = torch.searchsorted(row, torch.arange(len(rows), device=x.device))
        y = F.embedding_bag(column, self.weight, first, mode="sum", per_sample_weights=rows[row, column])
        if len(first) > len(rows):
            y = y.sum(0, keepdim=True)
        if self.bias is not None:
            y += self.bias
        return y.reshape(*x.shape[:-1], self.out_features)

    def _shares(self, column: Tensor) -> Tensor:
        """Where each thread's share of one row's active columns begins: embedding_bag gives a bag to one thread."""
        count = len(column)
        parts = torch.get_num_threads() if count * self.out_features >= _SHARED and not column.is_cuda else 1
        return torch.arange(0, max(count, 1), max(1, -(-count // parts)), device=column.device)

    def extra_repr(self) -> str:
        """As nn.Linear has it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


@dataclass(frozen=True)
class SkippedLayer:
    """A linear layer with zeros in its input.

    zeros              their fraction in the batch.
    dense, skipping    seconds for the batch.
    replaced           whether it was replaced.
    """

    name: str
    zeros: float
    dense: float
    skipping: float
    replaced: bool


@dataclass(frozen=True)
class SkippingReport(Sequence[SkippedLayer]):
    """What `skip_zeros_` found; prints as a table."""

    layers: tuple[SkippedLayer, ...]

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return self.layers[index]

    def __str__(self) -> str:
        name = max([5, *(len(layer.name) for layer in self.layers)])
        rows = [f"{'layer':<{name}}  zeros  dense / skipping"]
        rows += [
            f"{layer.name:<{name}}  {layer.zeros:.3f}  {layer.dense / layer.skipping:16.2f}"
            + ("" if layer.replaced else "  left dense")
            for layer in self.layers
        ]
        return "\n".join(rows)


@torch.no_grad()
def skip_zeros_(model: nn.Module, batch: Any, *, always: bool = False) -> SkippingReport:
    """Replace the linear layers of a trained model that are faster when they skip the zeros of their inputs, in place.

    model   in the precision and on the device of its use; put into evaluation mode.
    batch   a tensor or a tuple of arguments, of the size of its use: zeros and times are measured on it.
    always  replaces every nn.Linear that has a zero in its input, faster or not.

    Returns what was measured, layer by layer.  The model's state_dict changes, and it gives no gradients any more.
    Raises ValueError if no linear layer gets a zero.
    """
    layers = {module: name for name, module in model.named_modules() if type(module) is nn.Linear}
    inputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs[module] = given[0].detach()

    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        model.eval()(*(batch if isinstance(batch, tuple) else (batch,)))
    finally:
        for handle in handles:
            handle.remove()
    found = [
        _measured(name, layer, inputs[layer], always)
        for layer, name in layers.items()
        if layer in inputs and bool((inputs[layer] == 0).any())
    ]
    if not found:
        raise ValueError(f"skip_zeros_: need a linear layer with zeros in its input, got none of {len(layers)}.")
    for layer, skipping in found:
        if layer.replaced:
            model.set_submodule(layer.name, skipping)
    return SkippingReport(tuple(layer for layer, _ in found))


def _measured(name: str, dense: nn.Linear, x: Tensor, always: bool) -> tuple[SkippedLayer, SkippingLinear]:
    skipping = SkippingLinear(dense)
    times = [(seconds_of(dense, x), seconds_of(skipping, x)) for _ in range(_REPEATS)]
    one, other = (median(column) for column in zip(*times, strict=True))
    zeros = float((x == 0).double().mean())
    return SkippedLayer(name, zeros, one, other, always or other < one), skipping


def seconds_of(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """What one call takes, until its device is done."""
    wait = torch.cuda.synchronize if x.is_cuda else lambda: None
    wait()
    start = perf_counter()
    layer(x)
    wait()
    return perf_counter() - start
