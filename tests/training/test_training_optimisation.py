"""Learning rates of theory and of all steps, and the optimizers by name."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from gpsym.learning_rate import adam_rate, sgd_rate
from training.data import Data, Split
from training.optimisation import make_optimizer, rate_factor, theory_lr


def rates(config, steps: int) -> list[float]:
    return [rate_factor(config, step, steps) for step in range(steps)]


def test_the_rate_rises_over_the_warm_up_and_falls_along_a_cosine(small_config):
    found = rates(small_config(warmup=0.1), 200)
    assert found[:10] == pytest.approx([(k + 1) / 20 for k in range(10)])
    assert found[20:] == pytest.approx([math.cos(math.pi * k / 400) ** 2 for k in range(20, 200)])
    assert max(found) < 1
    assert found[-1] == pytest.approx(0, abs=1e-4)


def test_a_constant_schedule_stays_at_the_peak(small_config):
    assert rates(small_config(schedule="constant", warmup=0.5), 8) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates(small_config(schedule="constant", warmup=0.0), 3) == [1, 1, 1]


@pytest.mark.parametrize("steps", [1, 2, 19])
def test_few_steps_have_positive_rates(small_config, steps):
    assert all(0 < rate <= 1 for rate in rates(small_config(), steps))


@pytest.fixture
def images() -> Data:
    """Sixty images of 3 channels, E|x| = 1/2 and E[x^2] = 1 on the training split alone, and 4 classes."""
    x = torch.zeros(30, 3, 8, 8)
    x[:, :, :, ::4] = 2.0
    train, other = (Split(inputs, torch.zeros(30, dtype=torch.long), 0.0, 1.0) for inputs in (x, 7 * x))
    return Data(train, other, other, classes=4)


@pytest.mark.parametrize("alpha", [None, 0.3])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_the_rate_of_theory_is_that_of_the_network_and_its_inputs(small_config, images, optimizer, alpha):
    config = small_config(width=40, depth=6, alpha=alpha, optimizer=optimizer, momentum=0.5)

    def expected(inputs, **sizes):
        if optimizer == "sgd":
            seen = None if inputs is None else float(inputs)
            return sgd_rate(config.design, classes=4, momentum=0.5, input_square=seen, **sizes)
        return adam_rate(config.design, input_sum=None if inputs is None else inputs / 2, **sizes)

    sizes = {"width": 40, "depth": 6, "alpha": alpha or 1}
    branches = {"width": 160, "depth": 12, "alpha": alpha or 12**-0.5}
    for model, rate in (
        ("mlp", expected(192, **sizes)),
        ("cnn", expected(27, kernel=9, **sizes)),
        ("transformer", expected(None, **branches)),
    ):
        found = theory_lr(replace(config, model=model), config.design, images)
        assert found == pytest.approx(rate, rel=1e-6)  # means of float32


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_scaled_inputs_count_as_those_of_a_hidden_layer(small_config, images, model, optimizer):
    """Of mean square E phi^2; absolute values have half the mean of their root mean square."""
    config = small_config(model=model, width=40, depth=6, optimizer=optimizer, input_scale="hidden")
    design, seen = config.design, 192 if model == "mlp" else 27
    square = (design.q_star - design.sigma_b2) / design.sigma_w2
    sizes = {"width": 40, "depth": 6, "kernel": 1 if model == "mlp" else 9}
    if optimizer == "sgd":
        expected = sgd_rate(design, classes=4, momentum=0.9, input_square=seen * square, **sizes)
    else:
        expected = adam_rate(design, input_sum=seen * math.sqrt(square) / 2, **sizes)
    assert theory_lr(config, design, images) == pytest.approx(expected, rel=1e-6)


def test_one_class_has_a_rate(small_config, images):
    assert theory_lr(small_config(optimizer="sgd"), small_config().design, replace(images, classes=1)) > 0


def after_a_step(config, weight: float, gradient: float, steps: int = 1) -> float:
    parameter = nn.Parameter(torch.tensor(weight))
    optimizer = make_optimizer(config, [parameter], 0.1)
    for _ in range(steps):
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.item()


def test_sgd_has_momentum_and_adds_the_decay_to_the_gradient(small_config):
    config = small_config(optimizer="sgd", momentum=0.5, weight_decay=0.25)
    first = 2 - 0.1 * (3 + 0.25 * 2)
    assert after_a_step(config, 2.0, 3.0) == pytest.approx(first)
    second = first - 0.1 * (0.5 * 3.5 + 3 + 0.25 * first)
    assert after_a_step(config, 2.0, 3.0, steps=2) == pytest.approx(second)


def test_adam_steps_by_the_rate_and_adamw_decays_besides(small_config):
    # The first step is lr times the sign of the gradient; decay in Adam is part of a gradient, whose size is lost.
    assert after_a_step(small_config(optimizer="adam", weight_decay=0.5), 2.0, 3.0) == pytest.approx(1.9)
    decayed = 2 * (1 - 0.1 * 0.5) - 0.1
    assert after_a_step(small_config(optimizer="adamw", weight_decay=0.5), 2.0, 3.0) == pytest.approx(decayed)
