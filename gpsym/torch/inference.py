"""Inference that skips zeros: of a weight matrix only the columns of active inputs are read.

    y = sum_(j: x_j != 0) x_j W[:, j] + b

The weights keep the shape (out, in) of nn.Linear, but lie in memory column by column; torch's embedding_bag adds up the
columns that are needed.  There is one copy of the weights, so nothing can fall out of step with it.  A matrix too large
for the cache costs what it takes to read: at a batch of one the gain tends to 1 / (1 - sparsity).  Each row of a batch
reads its own columns, while a dense product reads the matrix once for all: from some batch size on dense wins.
`skip_zeros_` measures which does, layer by layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpsym.torch.keeping import unmoved
from gpsym.torch.sites import require_layers
from gpsym.torch.tracing import call

__all__ = ["SkippedLayer", "SkippingLinear", "SkippingReport", "seconds_of", "skip_zeros_"]

_REPEATS = 9  # timings of a layer; their median counts

# Weights to read from which on threads share them: half a million take some 200 us to read, a thread 15 us to wake.
_SHARED = 2**19


class SkippingLinear(nn.Linear):
    """An nn.Linear that reads the weights of its non-zero inputs alone, a copy of the layer that is given.

    weight  (out_features, in_features), finite, and by columns in memory: `weight.t()` is contiguous.
    bias    (out_features,), or None.

    Keys, shapes and values of the state_dict are those of nn.Linear: each loads what the other saved.

    It is the dense product where zeros cannot be skipped: where gradients are recorded, because the gradient of a zero
    input is not zero; under autocast; and where the weights were replaced by some that lie by rows.

    Shape: (*, in_features) -> (*, out_features).
    """

    def __init__(self, linear: nn.Linear):
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        for name, parameter in linear.named_parameters():
            copied = nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
            self.register_parameter(name, copied)
        _lay_by_columns_(self)

    def forward(self, input: Tensor) -> Tensor:
        """x W^T + b of the input x."""
        return self._skipping(input) if self._can_skip(input) else super().forward(input)

    def _can_skip(self, x: Tensor) -> bool:
        # The zeros of x have gradients, too.
        recorded = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))
        alike = x.dtype == self.weight.dtype and x.is_floating_point() and not torch.is_autocast_enabled(x.device.type)
        return alike and self.weight.t().is_contiguous() and not recorded

    def _skipping(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)  # (batch, in)
        row, column = rows.nonzero(as_tuple=True)
        if len(rows) == 1:
            first = self._shares(column)
        else:
            first = torch.searchsorted(row, torch.arange(len(rows), device=x.device))
        y = F.embedding_bag(column, self.weight.t(), first, mode="sum", per_sample_weights=rows[row, column])
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

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        _lay_by_columns_(self)  # with assign=True the weights are the given ones, which lie by rows


def _lay_by_columns_(layer: nn.Linear) -> None:
    """Move the weights, which keep their identity and values, into memory that is ordered by columns."""
    with torch.inference_mode(False):
        layer.weight.data = layer.weight.detach().t().contiguous().t()


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
    batch   a tensor, a tuple of arguments or a mapping of keyword arguments, of the size of its use: zeros and times
            are measured on it.
    always  replaces every nn.Linear that has a zero in its input, faster or not.

    Returns what was measured, layer by layer.  Parameters stay the same objects, with the same keys and values in the
    state_dict; only their memory is ordered anew, by columns.  Call the model under `torch.no_grad()` or
    `torch.inference_mode()`: where gradients are recorded the layers are dense.

    Raises ValueError, with the model as it was, if no linear layer gets a zero, and for a model that has no weights to
    read, such as one of torch.jit or a quantized one.
    """
    require_layers("skip_zeros_", model)
    layers = {module: name for name, module in model.named_modules() if _has_columns(module)}
    inputs: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        inputs[module] = given[0].detach()

    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        with unmoved(model):
            call(model.eval(), batch)
    finally:
        for handle in handles:
            handle.remove()
    zeros = {layer: float((x == 0).double().mean()) for layer, x in inputs.items()}
    sparse = [layer for layer in layers if zeros.get(layer, 0.0) > 0]
    found = [_measured(layers[layer], layer, inputs[layer], zeros[layer], always) for layer in sparse]
    if not found:
        raise ValueError(f"skip_zeros_: need a linear layer with zeros in its input, got none of {len(layers)}.")
    replaced = {layer.name for layer in found if layer.replaced}
    for module, name in layers.items():
        if name in replaced:
            _lay_by_columns_(module)
            module.__class__ = SkippingLinear
    model.eval()
    return SkippingReport(tuple(found))


def _has_columns(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether it is a plain nn.Linear, whose weights nothing computes before each call."""
    return type(module) is nn.Linear and isinstance(module.weight, nn.Parameter) and module.weight.is_floating_point()


def _measured(name: str, dense: nn.Linear, x: Tensor, zeros: float, always: bool) -> SkippedLayer:
    skipping = SkippingLinear(dense)
    times = [(seconds_of(dense, x), seconds_of(skipping, x)) for _ in range(_REPEATS)]
    one, other = (median(column) for column in zip(*times, strict=True))
    return SkippedLayer(name, zeros, one, other, always or other < one)


def seconds_of(layer: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """What one call takes, until its device is done."""
    wait = torch.cuda.synchronize if x.is_cuda else lambda: None
    wait()
    start = perf_counter()
    layer(x)
    wait()
    return perf_counter() - start
