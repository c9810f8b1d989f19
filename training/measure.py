"""What a network does on data: loss, accuracy, and per hidden layer the zeros, the variance and the gradient.

Sums over examples alone, so that processes with a share of the examples each can add theirs up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

__all__ = ["Measurement", "Shares", "gradient_norms", "measure"]


@dataclass(frozen=True)
class Shares:
    """How processes share examples: each takes every `count`-th from `rank` on, and `add` adds up over all."""

    rank: int = 0
    count: int = 1
    add: Callable[[Tensor], Tensor] = lambda sums: sums

    def of(self, examples: Tensor) -> Tensor:
        """The share of this process in the examples of a batch."""
        return examples[self.rank :: self.count]


def _as_they_are(inputs: Tensor) -> Tensor:
    return inputs


@dataclass(frozen=True)
class Measurement:
    """Averages over a data set.

    layer_sparsity  fraction of exact zeros behind each activation, first layer first.
    layer_variance  mean square of what goes into each activation.
    """

    loss: float
    accuracy: float
    layer_sparsity: tuple[float, ...]
    layer_variance: tuple[float, ...]

    @property
    def sparsity(self) -> float:
        """Fraction of zeros among all hidden activations."""
        return fmean(self.layer_sparsity)


@torch.no_grad()
def measure(
    model: nn.Module,
    activations: Iterable[nn.Module],
    x: Tensor,
    y: Tensor,
    *,
    batch_size: int = 2000,
    prepare: Callable[[Tensor], Tensor] = _as_they_are,
    shares: Shares = Shares(),
) -> Measurement:
    """Loss, accuracy, sparsity and variance of the model on the inputs x, (examples, ...), with labels y.

    activations  the modules to watch, from the first layer to the last.
    prepare      makes what the model takes of a batch of inputs.
    """
    activations = list(activations)
    sums = torch.zeros(2, len(activations) + 1, dtype=torch.float64, device=x.device)

    def watch(layer: int, inputs: Tensor, output: Tensor) -> None:
        # Of an example the mean over its units; of batches the sum.
        sums[0, layer] += (output == 0).sum() / _units(output)
        sums[1, layer] += _squared_length(inputs) / _units(inputs)

    was_training = model.training
    model.eval()
    try:
        with _watching(activations, watch):
            for inputs, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
                inputs, labels = shares.of(inputs), shares.of(labels)
                logits = model(prepare(inputs))
                sums[0, -1] += nn.functional.cross_entropy(logits, labels, reduction="sum")
                sums[1, -1] += (logits.argmax(1) == labels).sum()
    finally:
        model.train(was_training)
    zeros, squares = (shares.add(sums) / len(x)).tolist()
    return Measurement(zeros[-1], squares[-1], tuple(zeros[:-1]), tuple(squares[:-1]))


def gradient_norms(
    model: nn.Module,
    activations: Iterable[nn.Module],
    x: Tensor,
    y: Tensor,
    *,
    prepare: Callable[[Tensor], Tensor] = _as_they_are,
    shares: Shares = Shares(),
) -> tuple[float, ...]:
    """sqrt(E |dL/dh|^2) for each hidden layer: h what goes into its activation, L the loss of an example.

    The expectation is over the inputs x, which the model takes in one batch.  Gradients of the weights are not touched.
    """
    watched: dict[int, Tensor] = {}
    activations = list(activations)
    with _watching(activations, lambda layer, inputs, _: watched.__setitem__(layer, inputs)), torch.enable_grad():
        logits = model(prepare(shares.of(x)))
        loss = nn.functional.cross_entropy(logits, shares.of(y), reduction="sum")
        gradients = torch.autograd.grad(loss, [watched[layer] for layer in range(len(activations))])
    squares = torch.stack([_squared_length(gradient) for gradient in gradients])
    return tuple((shares.add(squares) / len(x)).sqrt().tolist())


def _squared_length(x: Tensor) -> Tensor:
    """The sum of squares in double precision, without a copy of x."""
    return torch.linalg.vector_norm(x, dtype=torch.float64).square()


def _units(hidden: Tensor) -> int:
    return math.prod(hidden.shape[1:])


@contextmanager
def _watching(activations: Sequence[nn.Module], seen: Callable[[int, Tensor, Tensor], None]) -> Iterator[None]:
    """Calls seen(layer, input, output) for each of the activations that runs."""

    def hook(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, inputs, output: seen(layer, inputs[0], output)

    handles = [module.register_forward_hook(hook(layer)) for layer, module in enumerate(activations)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
