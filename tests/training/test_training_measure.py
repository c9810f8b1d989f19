"""Measurements against numbers worked out by hand on a network of two units."""

import math
from dataclasses import astuple
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.measure import Measurement, Shares, gradient_norms, measure

# Three inputs of two features and their labels.
X = torch.tensor([[0.25, -2.0], [3.0, 4.0], [-1.0, 0.0]])
Y = torch.tensor([0, 1, 1])


def hand_network() -> nn.Sequential:
    """relu(x), then relu(h - 2), then the logits as they are."""
    first, second, readout = (nn.Linear(2, 2) for _ in range(3))
    for layer, bias in ((first, 0.0), (second, -2.0), (readout, 0.0)):
        nn.init.eye_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), readout)


def measured(model: nn.Sequential, x: Tensor = X, y: Tensor = Y, **options: Any) -> Measurement:
    return measure(model, activations(model), x, y, **options)


def activations(model: nn.Sequential) -> list[nn.Module]:
    return [layer for layer in model if isinstance(layer, nn.ReLU)]


def numbers(measurement: Measurement) -> list[float]:
    loss, accuracy, zeros, variance = astuple(measurement)
    return [loss, accuracy, *zeros, *variance]


def test_measurements_of_a_small_network_are_those_worked_out_by_hand():
    # Into the activations: (.25, -2), (3, 4), (-1, 0), then (-1.75, -2), (1, 2), (-2, -2).
    # Logits: (0, 0), (1, 2), (0, 0).
    found = measured(hand_network())
    assert found.layer_sparsity == pytest.approx((3 / 6, 4 / 6))
    assert found.layer_variance == pytest.approx(
        ((0.25**2 + 4 + 9 + 16 + 1 + 0) / 6, (1.75**2 + 4 + 1 + 4 + 4 + 4) / 6)
    )
    assert found.loss == pytest.approx((2 * math.log(2) + math.log(1 + math.exp(-1))) / 3)
    assert found.accuracy == pytest.approx(2 / 3)  # the third has equal logits, of which argmax takes the first
    assert found.sparsity == pytest.approx((3 / 6 + 4 / 6) / 2)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 6, 7])
def test_batches_of_unequal_size_give_what_one_batch_gives(batch_size):
    generator = torch.Generator().manual_seed(0)
    x, y = 3 * torch.randn(7, 2, generator=generator), torch.randint(2, (7,), generator=generator)
    whole, in_batches = (measured(hand_network(), x, y, batch_size=size) for size in (7, batch_size))
    # Loss is summed in float32.
    assert numbers(in_batches) == pytest.approx(numbers(whole), rel=1e-6)


def test_only_the_modules_to_watch_are_watched_in_their_order():
    model = hand_network()
    both, second = measured(model), measure(model, [model[3]], X, Y)
    assert second.layer_variance == both.layer_variance[1:]
    assert second.layer_sparsity == both.layer_sparsity[1:]


def assert_no_hooks(model: nn.Module) -> None:
    assert not any(module._forward_hooks for module in model.modules())


def test_hooks_are_gone_afterwards():
    model = hand_network()
    measured(model)
    assert_no_hooks(model)


@pytest.mark.parametrize("training", [True, False])
def test_training_mode_is_what_it_was(training):
    model = hand_network().train(training)
    measured(model)
    assert {module.training for module in model.modules()} == {training}


def test_hooks_are_gone_and_mode_is_restored_after_an_error():
    model = hand_network().train()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measured(model, torch.zeros(3, 5))
    assert_no_hooks(model)
    assert model.training


def test_measuring_happens_in_evaluation_mode_and_without_gradients():
    class Witness(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return x

    seen: list[tuple[bool, bool]] = []
    measured(nn.Sequential(Witness(), *hand_network()))
    assert seen == [(False, False)]
    assert torch.is_grad_enabled()


# The gradient


def test_gradient_norms_of_a_small_network_are_those_worked_out_by_hand():
    """Of the three inputs the second alone is active behind both layers: logits (1, 2), label 1, so that dL/dlogits is
    (p, -p), p = 1 / (1 + e), and the same in front of both activations, where the slope is 1."""
    p = 1 / (1 + math.e)
    model = hand_network()
    assert gradient_norms(model, activations(model), X, Y) == pytest.approx([math.sqrt(2 * p * p / 3)] * 2)


def test_gradient_norms_are_those_of_finite_differences():
    """A network of three layers with smooth activations, in double precision."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    x, y, step = torch.randn(6, 3).double(), torch.tensor([0, 1, 1, 0, 1, 0]), 1e-6
    tanh = [model[1], model[3]]
    for layer, found in zip((1, 3), gradient_norms(model, tanh, x, y), strict=True):
        h, total = model[:layer](x).detach(), 0.0
        for unit in range(h.shape[1]):
            ahead, behind = h.clone(), h.clone()
            ahead[:, unit] += step
            behind[:, unit] -= step
            losses = [nn.functional.cross_entropy(model[layer:](z), y, reduction="none") for z in (ahead, behind)]
            total += (((losses[0] - losses[1]) / (2 * step)) ** 2).sum().item()
        assert found == pytest.approx(math.sqrt(total / 6), rel=1e-7)


def test_gradient_norms_leave_no_hooks_and_no_gradients_of_weights():
    model = hand_network()
    gradient_norms(model, activations(model), X, Y)
    assert_no_hooks(model)
    assert all(parameter.grad is None for parameter in model.parameters())


# Shares


@pytest.mark.parametrize("count", [2, 3, 5])
def test_processes_with_a_share_each_find_together_what_one_finds(count):
    """Shares of unequal size, some of them empty; their sums are added as processes would."""
    generator = torch.Generator().manual_seed(0)
    x, y = 3 * torch.randn(7, 2, generator=generator), torch.randint(2, (7,), generator=generator)
    model = hand_network()
    parts: dict[str, list[Tensor]] = {"measure": [], "gradients": []}

    def kept(name: str):
        return lambda sums: parts[name].append(sums.clone()) or sums

    for rank in range(count):
        measured(model, x, y, batch_size=4, shares=Shares(rank, count, kept("measure")))
        gradient_norms(model, activations(model), x, y, shares=Shares(rank, count, kept("gradients")))
    assert [len(sums) for sums in parts.values()] == [count, count]
    total = {name: sum(sums) for name, sums in parts.items()}
    together = measured(model, x, y, shares=Shares(add=lambda _: total["measure"]))
    assert numbers(together) == pytest.approx(numbers(measured(model, x, y)), rel=1e-6)  # the loss is of float32
    norms = gradient_norms(model, activations(model), x, y, shares=Shares(add=lambda _: total["gradients"]))
    assert norms == pytest.approx(gradient_norms(model, activations(model), x, y), rel=1e-6)


def test_inputs_are_prepared_batch_by_batch():
    sizes = []
    model = hand_network()
    found = measured(model, X.double() * 2, batch_size=2, prepare=lambda x: sizes.append(len(x)) or (x / 2).float())
    assert sizes == [2, 1]
    assert numbers(found) == pytest.approx(numbers(measured(model)))
    norms = gradient_norms(model, activations(model), X.double() * 2, Y, prepare=lambda x: (x / 2).float())
    assert norms == gradient_norms(model, activations(model), X, Y)
