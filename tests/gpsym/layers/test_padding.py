"""Variance and gradient near the border against wide random convolutions of torch."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

import gpsym.torch as gt
from gpsym import edge_of_chaos
from gpsym.layers.padding import Padding, border_decay, gradient_profile, taps, variance_profile
from tests.gpsym.layers.networks import assert_within_standard_errors

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
RELU_TAU = edge_of_chaos("relu-tau", sparsity=0.85)
SAFE = [padding for padding in get_args(Padding) if padding != "zeros"]


@pytest.mark.parametrize("padding", get_args(Padding))
@pytest.mark.parametrize(("size", "kernel"), [(7, 3), (6, 5), (4, 7)])
def test_taps_are_those_of_torch(padding, size, kernel):
    """A convolution of each unit vector with ones counts the taps that read it."""
    mode = "zeros" if padding.startswith("zeros") else padding
    conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, padding_mode=mode, bias=False, dtype=torch.float64)
    nn.init.constant_(conv.weight, 1 / kernel)
    with torch.no_grad():
        counted = conv(torch.eye(size, dtype=torch.float64)[:, None])[:, 0].T.numpy()
    if padding == "zeros-rescaled":
        counted /= counted.sum(1, keepdims=True)
    np.testing.assert_allclose(taps(size, kernel, padding), counted, rtol=1e-14)


@pytest.mark.parametrize("padding", SAFE)
def test_a_border_safe_padding_keeps_the_variance_everywhere_and_the_gradient_in_all(padding):
    variances = variance_profile(CRELU, (6, 5), kernel=3, depth=20, padding=padding)
    np.testing.assert_allclose(variances, CRELU.q_star, rtol=1e-13)
    gradients = gradient_profile(CRELU, variances, kernel=3, padding=padding)
    np.testing.assert_allclose(gradients.mean((1, 2)), 1, rtol=1e-12)
    flat = np.ptp(gradients[0]) < 1e-12
    assert flat == (padding in ("circular", "replicate"))


def networks(padding, shape, channels, depth, count):
    """(variances, gradients) by network, layer and position: mean squares over channels."""
    mode = "zeros" if padding.startswith("zeros") else padding
    kind = (nn.Conv1d, nn.Conv2d)[len(shape) - 1]
    generator = torch.Generator().manual_seed(0)

    def conv(inputs, outputs):
        found = kind(inputs, outputs, 3, padding=1, padding_mode=mode)
        return gt.BorderScaled(found) if padding == "zeros-rescaled" else found

    layers = [conv(20, channels)]
    for _ in range(depth - 1):
        layers += [gt.activation_module(CRELU), conv(channels, channels)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * math.prod(shape), 1))
    x = torch.ones(1, 20, *shape)
    found = []
    for _ in range(count):
        gt.init_(model, CRELU, generator=generator)
        kept, h = [], x
        for module in layers:
            h = module(h)
            if not isinstance(module, gt.ClippedReLU):
                h.retain_grad()
                kept.append(h)
        h.backward(torch.randn(h.shape, generator=generator))
        squares = [(h.detach().square().mean(1)[0], h.grad.square().mean(1)[0]) for h in kept]
        found.append(torch.stack([torch.stack(pair) for pair in squares]))
    every = torch.stack(found)  # (networks, layers, 2, *shape)
    return every[:, :, 0], every[:, :, 1]


@pytest.mark.parametrize(
    ("padding", "shape", "channels", "count"),
    [
        ("zeros", (5,), 64, 30),
        ("zeros", (4, 4), 64, 30),
        ("zeros-rescaled", (3, 4), 64, 30),
        ("reflect", (4,), 64, 30),
    ],
)
def test_random_convolutions_have_these_variances_and_gradients(padding, shape, channels, count):
    """The bias of finite channels is of order 1 / channels: V'' times half the variance of q, here below 1e-2."""
    depth = 4
    expected = variance_profile(CRELU, shape, kernel=3, depth=depth, padding=padding)
    gradients = gradient_profile(CRELU, expected, kernel=3, padding=padding)
    measured, slopes = networks(padding, shape, channels, depth, count)
    assert_within_standard_errors(measured, expected, bias=1e-2)
    assert_within_standard_errors(slopes, gradients, bias=2e-2)


def test_zeros_cost_what_the_border_is_said_to():
    """The table of the module."""
    for design, edge, corner, kept, kept_2d in (
        (CRELU, 0.81, 0.71, 0.70, 0.49),
        (edge_of_chaos("crelu", sparsity=0.85, slope=0.9), 0.74, 0.65, 0.61, 0.38),
        (RELU_TAU, 0.71, 0.62, 0.49, 0.24),
    ):
        line = variance_profile(design, (32,), kernel=3, depth=50)
        square = variance_profile(design, (32, 32), kernel=3, depth=50)
        assert (line[-1, 0], square[-1, 0, 0]) == pytest.approx((edge, corner), abs=0.005)
        means = (gradient_profile(design, variances, kernel=3)[0].mean() for variances in (line, square))
        assert tuple(means) == pytest.approx((kept, kept_2d), abs=0.005)


@pytest.mark.parametrize("kernel", [3, 5])
def test_the_loss_falls_exponentially_inwards_where_the_slope_is_below_1(kernel):
    loss = 1 - variance_profile(CRELU, (60,), kernel=kernel, depth=200)[-1]
    inside = np.log(loss[8] / loss[12]) / 4
    assert inside == pytest.approx(border_decay(CRELU, kernel), rel=0.01)


def test_the_loss_falls_like_a_square_where_the_slope_is_1():
    """(k^2 - 1) / (2 q* V'' d^2), so 1 / sqrt(loss) grows by sqrt(2 V'' / (k^2 - 1)) per position."""
    loss = 1 - variance_profile(RELU_TAU, (160,), kernel=3, depth=3000)[-1]
    step = (loss[30] ** -0.5 - loss[15] ** -0.5) / 15
    assert step == pytest.approx(math.sqrt(2 * RELU_TAU.curvature / 8), rel=0.05)
    assert border_decay(RELU_TAU, 3) == 0


def test_zeros_diffuse_into_relu_for_ever():
    """q(d) = q* erf(d / sqrt(4 D l)), D = (k^2 - 1) / 24, from a row of zeros one position outside."""
    layers, relu = 400, edge_of_chaos("relu")
    line = variance_profile(relu, (200,), kernel=3, depth=layers)[-1]
    expected = [math.erf((d + 1) / math.sqrt(4 / 3 * layers)) for d in range(40)]
    np.testing.assert_allclose(line[:40], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 2), "need an odd kernel, got 2"),
        ((4, 3, "same"), "need padding among zeros, zeros-rescaled, circular"),
        ((1, 3, "reflect"), "need more than 1 positions for reflect, got 1"),
        ((0, 3), "need more than 1 positions for zeros, got 0"),
    ],
)
def test_what_taps_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        taps(*arguments)


def test_other_refusals():
    with pytest.raises(ValueError, match="need a depth >= 1 and a shape, got 0"):
        variance_profile(CRELU, (4,), kernel=3, depth=0)
    with pytest.raises(ValueError, match="need an odd kernel >= 3 and a slope > 0, got 1"):
        border_decay(CRELU, 1)
    with pytest.raises(ValueError, match="BorderScaled: need a convolution that pads a number of zeros"):
        gt.BorderScaled(nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"))


def test_the_scaled_convolution_keeps_its_bias_and_its_stride():
    conv = nn.Conv2d(3, 4, 3, padding=1, stride=2, dtype=torch.float64)
    x = torch.randn(2, 3, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = gt.BorderScaled(conv)(x)
    bias = conv.bias[:, None, None]
    ratio = (y - bias) / (conv(x) - bias)
    side = torch.tensor([2 / 3, 1, 1, 2 / 3], dtype=torch.float64).rsqrt()
    torch.testing.assert_close(ratio, (side[:, None] * side).expand_as(ratio))
