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

    @staticmethod
    def of(averages: Sequence[Sequence[float]]) -> Measurement:
        """From the rows (*sparsities, loss) and (*variances, accuracy)."""
        (*zeros, loss), (*squares, accuracy) = averages
        return Measurement(loss, accuracy, tuple(zeros), tuple(squares))


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
    was_training = model.training
    model.eval()
    try:
        for inputs, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            inputs, labels = shares.of(inputs), shares.of(labels)
            logits, seen = observed(model, activations, prepare(inputs))
            sums[:, :-1] += seen
            sums[:, -1] += torch.stack(loss_and_correct(logits, labels))
    finally:
        model.train(was_training)
    return Measurement.of((shares.add(sums) / len(x)).tolist())


def observed(
    model: Callable[[Tensor], Tensor], activations: Sequence[nn.Module], inputs: Tensor
) -> tuple[Tensor, Tensor]:
    """(logits, seen): seen, (2, activations), has for each layer zeros and mean squares, summed over the examples."""
    zeros: dict[int, Tensor] = {}
    squares: dict[int, Tensor] = {}

    def watch(layer: int, given: Tensor, output: Tensor) -> None:
        # Of an example the mean over its units.
        zeros[layer] = (output == 0).sum() / _units(output)
        squares[layer] = _squared_length(given) / _units(given)

    with _watching(activations, watch):
        logits = model(inputs)
    layers = range(len(activations))
    return logits, torch.stack([torch.stack([kind[layer].double() for layer in layers]) for kind in (zeros, squares)])


def loss_and_correct(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the examples: of the cross-entropy, and of the right answers."""
    return nn.functional.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()


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
