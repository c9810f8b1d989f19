"""What a network does on data: loss, accuracy, and per hidden layer the zeros and the variance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

__all__ = ["Measurement", "measure"]


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
    model: nn.Module, activations: Iterable[nn.Module], x: Tensor, y: Tensor, *, batch_size: int = 2000
) -> Measurement:
    """Loss, accuracy, sparsity and variance of the model on the inputs x, (examples, ...), with labels y.

    activations  the modules to watch, from the first layer to the last.
    """
    activations = list(activations)
    zeros = torch.zeros(len(activations), dtype=torch.float64)
    squares = torch.zeros(len(activations), dtype=torch.float64)

    def watch(layer: int):
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # Means of means, weighted by the size of the batch.
            zeros[layer] += len(output) * (output == 0).double().mean().cpu()
            squares[layer] += len(output) * inputs[0].double().square().mean().cpu()

        return hook

    handles = [module.register_forward_hook(watch(layer)) for layer, module in enumerate(activations)]
    loss, correct = 0.0, 0
    was_training = model.training
    model.eval()
    try:
        for inputs, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
            logits = model(inputs)
            loss += nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            correct += int((logits.argmax(1) == labels).sum())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    n = len(x)
    return Measurement(loss / n, correct / n, tuple((zeros / n).tolist()), tuple((squares / n).tolist()))
