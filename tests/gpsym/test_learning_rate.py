"""Learning rates: closed forms, their laws, and steps, Jacobians and Hessians of random PyTorch networks."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.learning_rate import adam_rate, sgd_rate, tangent
from gpsym.testing.strategies import clipped_designs, unclipped_designs
from gpsym.torch import Residual, activation_module, init_

RELU = edge_of_chaos("relu")
CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
CST = edge_of_chaos("cst", sparsity=0.85, slope=0.7)
DESIGNS = {"relu": RELU, "crelu": CRELU, "cst": CST}
CLASSES, INPUTS = 10, 64

designs = clipped_designs() | unclipped_designs()
sizes = st.fixed_dictionaries({"width": st.integers(1, 2000), "depth": st.integers(1, 200)})


def network(design: CriticalInit, width: int, depth: int, alpha: float = 1.0, seed: int = 0) -> nn.Sequential:
    """Float64, with the weights of the design; the last two modules are the last activation and the readout."""
    layers: list[nn.Module] = [nn.Linear(INPUTS, width)]
    for _ in range(depth - 1):
        branch = nn.Sequential(activation_module(design), nn.Linear(width, width))
        layers.append(branch if alpha == 1 else Residual(branch, alpha))
    model = nn.Sequential(*layers, activation_module(design), nn.Linear(width, CLASSES)).double()
    init_(model, design, generator=torch.Generator().manual_seed(seed))
    return model


def examples(count: int, correlation: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs of mean square 1, (count, INPUTS), with this correlation of any two of them, and labels."""
    generator = torch.Generator().manual_seed(1000 + seed)
    own, shared = (torch.randn(n, INPUTS, generator=generator, dtype=torch.float64) for n in (count, 1))
    x = math.sqrt(1 - correlation) * own + math.sqrt(correlation) * shared
    x /= x.square().mean(1, keepdim=True).sqrt()
    return x, torch.randint(0, CLASSES, (count,), generator=generator)


# Closed forms.


def test_rates_of_relu_by_hand():
    """E|phi| = sqrt(q / (2 pi)), E phi^2 = q / 2, E phi'^2 = 1 / 2."""
    design = edge_of_chaos("relu", q_star=4.0)
    hidden = 50 * math.sqrt(4 / (2 * math.pi)) + 1
    assert adam_rate(design, width=50, depth=7) == pytest.approx(2 / (7 * hidden), rel=1e-14)
    assert adam_rate(design, width=50, depth=7, alpha=0.5, input_sum=30.0) == pytest.approx(2 / (31 + 3 * hidden))
    assert adam_rate(design, width=50, depth=1, kernel=9) == pytest.approx(2 / (9 * (hidden - 1) + 1))
    assert tangent(design, width=50, depth=7) == pytest.approx(101 + 7 * 101 / 2)
    residual = tangent(design, width=50, depth=7, alpha=0.5, kernel=9, input_square=30.0)
    assert residual == pytest.approx(101 + (31 + 6 / 4 * 901) / 2)
    assert sgd_rate(design, width=50, depth=7, classes=3, momentum=0.9) == pytest.approx(2 * 1.9 * 3 / (101 + 353.5))


@pytest.mark.parametrize("design", [CRELU, CST, edge_of_chaos("leaky-relu"), edge_of_chaos("hard-tanh")])
def test_the_absolute_mean_is_an_integral(design):
    """By the trapezoidal rule, to about 1e-7 with steps of 1e-4 at the kinks."""
    z = np.linspace(-10, 10, 200_001)
    phi = activation_module(design)(torch.from_numpy(z * math.sqrt(design.q_star))).abs().numpy()
    mean = np.trapezoid(phi * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), z)
    assert adam_rate(design, width=1000, depth=1) == pytest.approx(
        math.sqrt(design.q_star) / (1000 * mean + 1), rel=1e-6
    )


def test_rates_of_mixed_signs_are_those_of_their_size():
    """CST has E|phi| of two clipped ReLUs of the same tau and m."""
    one_sided = edge_of_chaos("crelu", tau=CST.tau, m=CST.m)
    hidden = 1 / adam_rate(one_sided, width=100, depth=1) - 1
    assert adam_rate(CST, width=100, depth=1) == pytest.approx(1 / (2 * hidden + 1), rel=1e-12)


# Laws.


@given(design=designs, size=sizes)
def test_without_skips_the_adam_rate_falls_as_one_over_depth(design, size):
    deep, shallow = adam_rate(design, **size), adam_rate(design, **{**size, "depth": 1})
    assert deep * size["depth"] == pytest.approx(shallow, rel=1e-13)


@given(design=designs, size=sizes, alpha=st.floats(0.01, 1))
def test_inverse_rates_are_lines_in_width_and_depth(design, size, alpha):
    """1 / eta grows linearly, from a positive start: doubled, width and depth never more than halve the rate."""
    for function in (adam_rate, sgd_rate):
        for name in ("width", "depth"):
            at = [1 / function(design, alpha=alpha, **{**size, name: k * size[name]}) for k in (1, 2, 3)]
            assert at[0] + at[2] == pytest.approx(2 * at[1], rel=1e-12)
            assert at[0] <= at[1] <= 2 * at[0] * (1 + 1e-12)


@given(design=designs, size=sizes, c=st.floats(0.01, 100))
def test_scale_acts_as_a_larger_bias(design, size, c):
    """Theorem 9: (tau, m, q) -> (c tau, c m, c^2 q) leaves E|phi| / sqrt(q*) and E phi^2 / q*, so that of width's part
    in 1 / eta nothing changes for Adam, and c^2 comes out for SGD; what is left is that of biases, by 1 / c and 1."""
    scaled = edge_of_chaos(
        design.activation, tau=c * design.tau, m=None if design.m is None else c * design.m, q_star=c**2 * design.q_star
    )
    for function, of_width, of_bias in ((adam_rate, 1.0, 1 / c), (sgd_rate, c**2, 1.0)):
        parts = []
        for each in (design, scaled):
            one, two = (1 / function(each, **{**size, "width": k * size["width"]}) for k in (1, 2))
            parts.append((two - one, 2 * one - two, two))
        (width, bias, whole), (scaled_width, scaled_bias, scaled_whole) = parts
        # Differences of inverse rates lose what the smaller part is below the whole.
        assert scaled_width == pytest.approx(
            of_width * width, rel=1e-9, abs=1e-12 * scaled_whole + 1e-12 * of_width * whole
        )
        assert scaled_bias == pytest.approx(
            of_bias * bias, rel=1e-9, abs=1e-12 * scaled_whole + 1e-12 * of_bias * whole
        )


@given(design=designs, size=sizes, alpha=st.floats(0.01, 1))
def test_skips_allow_larger_rates(design, size, alpha):
    for function in (adam_rate, sgd_rate):
        assert function(design, alpha=alpha, **size) >= function(design, **size) * (1 - 1e-13)


# Adam's first step.


def relative_change(model: nn.Sequential, design: CriticalInit, x: Tensor, y: Tensor, lr: float) -> float:
    """Root mean square over units and examples of what one step changes in the last hidden layer, over sqrt(q*)."""
    body, optimizer = model[:-2], torch.optim.Adam(model.parameters(), lr=lr)
    before = body(x).detach()
    cross_entropy(model(x), y).backward()
    optimizer.step()
    return float((body(x).detach() - before).square().mean().sqrt()) / math.sqrt(design.q_star)


@pytest.mark.parametrize("name", DESIGNS)
def test_the_first_step_on_one_example_moves_each_unit_by_the_sum_of_its_inputs(name):
    """By its own weights, exactly: eta (sum |phi| + 1) where it has a gradient, 0 elsewhere."""
    model, (x, y), eta = network(DESIGNS[name], width=64, depth=4), examples(1), 1e-3
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    inputs: dict[nn.Module, Tensor] = {}
    for layer in layers:
        layer.register_forward_hook(lambda module, args, _: inputs.update({module: args[0].detach()}))
    before = [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in layers]
    optimizer = torch.optim.Adam(model.parameters(), lr=eta, eps=1e-30)  # far below all gradients but 0
    cross_entropy(model(x), y).backward()
    seen = dict(inputs)
    optimizer.step()
    for layer, (weight, bias) in zip(layers, before, strict=True):
        with torch.no_grad():
            moved = seen[layer] @ (layer.weight - weight).T + layer.bias - bias  # (1, units)
        expected = eta * (seen[layer].abs().sum() + 1) * layer.bias.grad.sign().abs()
        torch.testing.assert_close(moved.abs()[0], expected, rtol=1e-9, atol=1e-12)  # weights of size 1 less others


@pytest.mark.parametrize("name", DESIGNS)
def test_the_sum_over_units_is_that_of_the_rate(name):
    """Mean over 100 networks of sum_j |phi(h_j)| + 1 in the first hidden layer, within 4 standard errors."""
    design, width = DESIGNS[name], 200
    firsts = (network(design, width, 1, seed=seed)[:2](examples(1, seed=seed)[0]).detach() for seed in range(100))
    sums = [float(first.abs().sum()) + 1 for first in firsts]
    expected = 1 / adam_rate(design, width=width, depth=1)
    error = np.std(sums, ddof=1) / math.sqrt(len(sums))
    assert abs(np.mean(sums) - expected) < 4 * error
    assert error < 0.03 * expected


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize(("width", "depth", "alpha"), [(64, 5, 1.0), (300, 5, 1.0), (300, 20, 1.0), (300, 20, 0.5)])
def test_a_step_at_the_rate_changes_the_last_layer_by_about_as_much_as_it_is(name, width, depth, alpha):
    """For a batch of 64, half the rate and all of it: less than the rate promises, and more than a tenth of it."""
    design, (x, y) = DESIGNS[name], examples(64)
    rate = adam_rate(design, width=width, depth=depth, alpha=alpha, input_sum=float(x.abs().sum(1).mean()))
    for factor in (0.5, 1.0):
        changes = [
            relative_change(network(design, width, depth, alpha, seed), design, x, y, factor * rate)
            for seed in range(3)
        ]
        assert 0.1 * factor < np.mean(changes) < factor


# Theta.


def squared_gradients(design: CriticalInit, count: int, alpha: float) -> Iterator[float]:
    """|df_0 / d weights|^2 of so many networks, 200 wide and 5 deep."""
    for seed in range(count):
        model = network(design, 200, 5, alpha, seed)
        gradients = torch.autograd.grad(model(examples(1, seed=seed)[0])[0, 0], list(model.parameters()))
        yield sum(float(g.square().sum()) for g in gradients)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("name", DESIGNS)
def test_theta_is_the_mean_squared_gradient_of_an_output(name, alpha):
    """Over 100 networks, within 3 standard errors, of 2 to 7 percent."""
    design = DESIGNS[name]
    found = list(squared_gradients(design, 100, alpha))
    expected = tangent(design, width=200, depth=5, alpha=alpha, input_square=INPUTS)
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert abs(np.mean(found) - expected) < 3 * error
    assert error < 0.07 * expected


def test_theta_of_convolutions_is_that_of_constant_images():
    """Over 100 networks of 4 circular convolutions with 64 channels, within 3 standard errors."""
    design, found = edge_of_chaos("crelu", sparsity=0.5, slope=0.7), []
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        for channels in (3, 64, 64, 64):
            layers += [nn.Conv2d(channels, 64, 3, padding=1, padding_mode="circular"), activation_module(design)]
        model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)).double()
        init_(model, design, generator=generator)
        pixel = torch.randn(1, 3, 1, 1, generator=generator, dtype=torch.float64)
        pixel /= pixel.square().mean().sqrt()
        gradients = torch.autograd.grad(model(pixel.expand(1, 3, 4, 4))[0, 0], list(model.parameters()))
        found.append(sum(float(g.square().sum()) for g in gradients))
    expected = tangent(design, width=64, depth=4, kernel=9, input_square=27.0)
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert abs(np.mean(found) - expected) < 3 * error
    assert error < 0.1 * expected


# The edge of stability of SGD.


def largest_curvature(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The largest eigenvalue of the Hessian of the mean cross-entropy, by 20 power iterations."""
    weights = list(model.parameters())
    gradient = torch.autograd.grad(cross_entropy(model(x), y), weights, create_graph=True)
    generator, curvature = torch.Generator().manual_seed(0), 0.0
    direction = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in weights]
    for _ in range(20):
        norm = math.sqrt(sum(float(v.square().sum()) for v in direction))
        direction = [v / norm for v in direction]
        along = sum(((g * v).sum() for g, v in zip(gradient, direction, strict=True)), torch.zeros(()))
        image = torch.autograd.grad(along, weights, retain_graph=True)
        curvature = sum(float((h * v).sum()) for h, v in zip(image, direction, strict=True))
        direction = list(image)
    return curvature


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("depth", [5, 20])
def test_the_edge_is_that_of_the_largest_curvature(name, depth):
    """Inputs of correlation 0.8, geometric mean of 4 networks, which spread as Theta does: within a factor of 2 at
    depth 5 and of 3 at depth 20, where it is smaller, as outputs of different classes depend on each other."""
    design = DESIGNS[name]
    curvatures = [largest_curvature(network(design, 200, depth, seed=k), *examples(64, 0.8, k)) for k in range(4)]
    edge = 2 / math.exp(np.mean(np.log(curvatures)))
    ratio = edge / sgd_rate(design, width=200, depth=depth, input_square=INPUTS)
    assert 1 / (2 if depth == 5 else 3) < ratio < 2


def rises(design: CriticalInit, lr: float, seed: int) -> bool:
    """Whether the loss on a fixed batch exceeds the first by a fifth, or is not finite, within 40 steps."""
    model, (x, y) = network(design, 200, 5, seed=seed), examples(64, 0.8, seed)
    optimizer, first = torch.optim.SGD(model.parameters(), lr=lr), cross_entropy(model(x), y).item()
    for _ in range(40):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        if not loss.item() < 1.2 * first:
            return True
        loss.backward()
        optimizer.step()
    return False


@pytest.mark.parametrize("name", DESIGNS)
def test_gradient_descent_is_stable_below_the_edge_and_not_far_above(name):
    """At half of it none of four networks sees its loss rise, at 8 times it all do; the mean is at 1.4 to 3 times."""
    rate = sgd_rate(DESIGNS[name], width=200, depth=5, input_square=INPUTS)
    assert not any(rises(DESIGNS[name], rate / 2, seed) for seed in range(4))
    assert all(rises(DESIGNS[name], 8 * rate, seed) for seed in range(4))


# Refusals.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "need a whole width from 1 to 131072, got 0"),
        ({"depth": 0}, "need a whole depth from 1 to 100000, got 0"),
        ({"kernel": 0}, "need kernel >= 1, got 0"),
        ({"alpha": 0.0}, r"need alpha in \(0, 1\], got 0.0"),
        ({"alpha": math.nan}, r"need alpha in \(0, 1\], got nan"),
    ],
)
@pytest.mark.parametrize("function", [adam_rate, tangent, sgd_rate])
def test_sizes_out_of_range_are_refused(function, changes, message):
    with pytest.raises(ValueError, match=rf"^\w+: {message}"):
        function(RELU, **{"width": 10, "depth": 3, **changes})


def test_inputs_classes_and_momentum_out_of_range_are_refused():
    for size in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"adam_rate: need a size of inputs in \[0, oo\), got"):
            adam_rate(RELU, width=10, depth=3, input_sum=size)
        with pytest.raises(ValueError, match=r"tangent: need a size of inputs in \[0, oo\), got"):
            sgd_rate(RELU, width=10, depth=3, input_square=size)
    with pytest.raises(ValueError, match=r"sgd_rate: need classes >= 2, got 1"):
        sgd_rate(RELU, width=10, depth=3, classes=1)
    with pytest.raises(ValueError, match=r"sgd_rate: need momentum in \[0, 1\), got 1"):
        sgd_rate(RELU, width=10, depth=3, momentum=1)
