"""Initializers side by side: deep networks of the two clipped activations at 85 % zeros by design, slope 0.7.

MLPs of depth 100 and width 300, and CNNs of depth 50 with 128 channels, 3 x 3 kernels and circular padding on 8 x 8
images, each by torch's default, kaiming_normal_, xavier_normal_, LSUV (Mishkin and Matas 2016), AnyInit in both its
modes, and gpsym.  One input of normal numbers a network, scaled to mean square 1; the loss is a random combination of
the last activations.  Zeros are fractions behind an activation, the variance is the mean square before it; the gradient
ratio is the norm of the loss's gradient at the pre-activations of the first hidden layer over that at the last, the
geometric mean over the networks where it is not 0, "dead" if there are none.

gpsym's networks are held against `gpsym.finite_width`, in standard errors over networks, of which any two are
independent:
- MLPs: zeros (at width n a little off the design's, as q varies and P(phi = 0) is curved in q), mean and spread of the
  logarithm of the gradient ratio, given that it is not 0, and the fraction of networks where it is.
- CNNs on images that are constant in space, with a loss that is the same at each position.  With circular padding all
  that follows is constant in space too, and the sum of a kernel's weights is a weight of variance sigma_w2 / channels:
  exactly an MLP as wide as there are channels.
- CNNs on other images: positions share weights, so that the variances alone are no Markov chain, and there is no exact
  law.  But what fluctuates in a layer is a mean over channels, which are independent, and positions, which are
  correlated, neither fully nor not at all: as in MLPs as wide as there are channels, at most, and as there are channels
  x positions, at least.  The former is near: at the edge of chaos deep layers make all positions alike.  A band between
  two numbers is all that is claimed.
So a CNN needs as many channels as an MLP needs units: with 32, of which 4.4 are in the linear range, about half of the
networks have a layer without any, and gradient 0.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Iterator
from statistics import median
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from gpsym import CriticalInit, edge_of_chaos, lambdify, maps
from gpsym.finite_width import finite_width, variance_distribution
from gpsym.torch import activation_module, init_
from tests.bench.initializers import Initializer, each, install_anyinit, peers_of_init
from tests.bench.lines import Line

__all__ = ["Setting", "activation_class", "lines", "predicted", "sample"]

OURS, OTHERS, SLOW = 100, 3, 1  # networks; the others are dead or not in each, and AnyInit takes minutes for one
SIDE = 8  # of an image


class Setting(NamedTuple):
    """Networks of `depth` hidden layers: units, or channels of convolutions.

    width    units or channels.
    is_flat  whether images are constant in space, and the loss alike at all positions.
    """

    name: str
    width: int
    depth: int
    is_flat: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an input."""
        return (64,) if self.name == "MLP" else (3, SIDE, SIDE)

    @property
    def widths(self) -> tuple[int, int]:
        """Of the MLPs that fluctuate more, and less; equal where the setting is one."""
        return self.width, self.width if self.name == "MLP" or self.is_flat else self.width * SIDE**2


SETTINGS = (Setting("MLP", 300, 100), Setting("CNN", 128, 50))
ALONE = (Setting("CNN, flat images", 128, 50, True), Setting("CNN of 32, flat images", 32, 50, True))  # without peers


def lines(_: argparse.Namespace) -> Iterator[Line]:
    """Of every network and activation, then the time; on one thread, as tensors are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        anyinit = install_anyinit(folder)
        for name in ("crelu", "cst"):
            design = edge_of_chaos(name, sparsity=0.85, slope=0.7)
            phi = activation_class(design)
            if anyinit is not None:
                anyinit.register_activation(phi, name=name)
            for setting in (*SETTINGS, *ALONE):
                peers = peers_of_init(anyinit) if setting in SETTINGS else {}
                yield from _compared(f"{name} {setting.name}", design, phi, setting, peers)
    yield from _times()
    torch.set_num_threads(threads)


def activation_class(design: CriticalInit) -> type[nn.Module]:
    """A class without arguments, which is what AnyInit can be taught."""
    function = activation_module(design)

    class Phi(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    return Phi


def _network(setting: Setting, phi: type[nn.Module]) -> nn.Sequential:
    n, depth = setting.width, setting.depth
    if setting.name == "MLP":
        layers: list[nn.Module] = [nn.Linear(inputs, n) for inputs in (64, *[n] * (depth - 1))]
        head = [nn.Linear(n, 10)]
    else:
        kernel: dict[str, Any] = {"kernel_size": 3, "padding": 1, "padding_mode": "circular"}
        layers = [nn.Conv2d(inputs, n, **kernel) for inputs in (3, *[n] * (depth - 1))]
        head = [nn.Flatten(), nn.Linear(n * SIDE**2, 10)]
    return nn.Sequential(*(module for layer in layers for module in (layer, phi())), *head)


class Sample(NamedTuple):
    """Of each network: zeros and mean square by layer, (networks, depth), and log(|g_1| / |g_depth|).

    -inf for g_1 = 0, NaN for g_depth = 0.
    """

    zeros: Tensor
    squares: Tensor
    log_ratio: Tensor

    @property
    def alive(self) -> Tensor:
        """The logarithms of the ratios that are not 0."""
        return self.log_ratio[self.log_ratio.isfinite()]


def sample(setting: Setting, phi: type[nn.Module], initialize: Initializer, networks: int) -> Sample:
    """Random networks of the setting, drawn by the initializer."""
    found = [_measured(setting, phi, initialize, seed) for seed in range(networks)]
    return Sample(*(torch.tensor(column, dtype=torch.float64) for column in zip(*found, strict=True)))


def _measured(
    setting: Setting, phi: type[nn.Module], initialize: Initializer, seed: int
) -> tuple[list[float], list[float], float]:
    torch.manual_seed(seed)
    model = _network(setting, phi)
    initialize(model, torch.randn(64, *setting.shape))
    x = _field(1, *setting.shape, flat=setting.is_flat)
    x = x / x.square().mean().sqrt()
    hidden, zeros = [], []
    for k in range(0, 2 * setting.depth, 2):
        hidden.append(model[k](x))
        x = model[k + 1](hidden[-1])
        zeros.append((x == 0).double().mean().item())
    loss = (x * _field(*x.shape, flat=setting.is_flat)).sum()
    first, last = (g.double().norm().item() for g in torch.autograd.grad(loss, (hidden[0], hidden[-1])))
    log_ratio = math.nan if last == 0 else -math.inf if first == 0 else math.log(first / last)
    return zeros, [h.detach().double().square().mean().item() for h in hidden], log_ratio


def _field(*shape: int, flat: bool) -> Tensor:
    """Normal numbers, the same at all positions if flat."""
    return torch.randn(*shape[:2], *(1 for _ in shape[2:])).expand(shape) if flat else torch.randn(shape)


def _compared(
    name: str, design: CriticalInit, phi: type[nn.Module], setting: Setting, peers: dict[str, Initializer]
) -> Iterator[Line]:
    found = sample(setting, phi, lambda model, _: init_(model, design), OURS)
    others = {
        peer: sample(setting, phi, initialize, SLOW if peer.startswith("AnyInit") else OTHERS)
        for peer, initialize in peers.items()
    }
    for what, read in {
        "zeros, layer 10": lambda sample: sample.zeros[:, 9].mean().item(),
        f"zeros, layer {setting.depth}": lambda sample: sample.zeros[:, -1].mean().item(),
        "variance, layer 10": lambda sample: sample.squares[:, 9].mean().item(),
        f"variance, layer {setting.depth}": lambda sample: sample.squares[:, -1].mean().item(),
        "gradient, first / last": lambda sample: sample.alive.mean().exp().item(),
    }.items():
        note = "  ".join(f"{peer} {_shown(read(sample))}" for peer, sample in others.items())
        if peers:
            yield Line(f"{name} {what}", read(found), unit="number", note=note)
    yield from predicted(name, design, setting, found)


def _shown(value: float) -> str:
    return "dead" if math.isnan(value) else f"{value:.3g}"


def predicted(name: str, design: CriticalInit, setting: Setting, found: Sample) -> Iterator[Line]:
    """Lines of what `finite_width` says of the setting, each with its distance from that."""
    laws = [finite_width(design, width=width, depth=setting.depth - 1) for width in setting.widths]
    dead = found.log_ratio.isneginf().double().mean().item()
    p = [law.dead_probability for law in laws]
    networks = len(found.log_ratio)
    # Rarer events than one in all networks have no normal error.
    error = math.sqrt(max(*(x * (1 - x) for x in p), 1 / networks) / networks)
    yield _distance(f"{name} dead networks", p, dead, error)
    if max(p) > 1 / networks:
        return  # units in the linear range are so few that the second order in 1 / width says little of gradients
    zeros = found.zeros.mean(1)
    expected = [_expected_zeros(design, width, setting.depth - 1) for width in setting.widths]
    yield _distance(f"{name} zeros, mean of layers", expected, zeros.mean().item(), _error(zeros))
    yield _farthest(name, design.sparsity, found.zeros)
    # Those of log |g|^2 halved.
    means = [(law.log_gradient_mean or 0.0) / 2 for law in laws]
    deviations = [(law.log_gradient_sd or 0.0) / 2 for law in laws]
    logs = found.alive
    yield _distance(f"{name} gradient, mean log", means, logs.mean().item(), _error(logs))
    deviation = logs.std().item()
    fourth = ((logs - logs.mean()) / deviation).pow(4).mean().item()
    error = deviation * math.sqrt((fourth - 1) / len(logs)) / 2
    yield _distance(f"{name} gradient, sd of log", deviations, deviation, error)
    outside = (logs < min(means) - 3 * max(deviations)) | (logs > max(means) + 3 * max(deviations))
    # No aim: the logarithms are skew, and how many lie out there is not predicted.
    note = f"of {len(logs)} networks, beyond 3 predicted deviations from the mean; {0.0027 * len(logs):.1f} if normal"
    yield Line(f"{name} gradient, networks outside", outside.sum().item(), unit="n", note=note)


def _error(values: Tensor) -> float:
    return (values.std() / math.sqrt(len(values))).item()


def _distance(what: str, predicted: list[float], found: float, error: float) -> Line:
    """How far the value is from the interval between the predicted ones, in standard errors."""
    low, high = min(predicted), max(predicted)
    between = f"{low:.4f}" if high - low < 5e-5 else f"{low:.4f} to {high:.4f}"
    note = f"{between} predicted, {found:.4f} +- {error:.4f} found"
    return Line(what, max(low - found, found - high, 0.0) / error, unit="e", aim=3.0, note=note)


def _expected_zeros(design: CriticalInit, width: int, depth: int) -> float:
    """E[P(phi = 0; q)] under the law of the variance of an MLP's layer, which is bounded as phi is."""
    assert design.m is not None
    places = np.linspace(design.sigma_b2, design.sigma_b2 + design.sigma_w2 * design.m**2, 4001)
    law = np.diff(variance_distribution(design, places, width=width, depth=depth))
    return float(law @ lambdify(maps.sparsity(design.phi))((places[1:] + places[:-1]) / 2) / law.sum())


def _farthest(name: str, sparsity: float, zeros: Tensor) -> Line:
    """The layer whose zeros are farthest from the design's, in standard errors.

    Some layer of a hundred is beyond 3 by chance in one run of four; the number that is to be expected stands beside
    the number found.
    """
    networks, depth = zeros.shape
    errors = (zeros.mean(0) - sparsity).abs() / (zeros.std(0) / math.sqrt(networks))
    worst = int(errors.argmax())
    beyond, expected = int((errors > 3).sum()), depth * 2 * stats.t.sf(3, networks - 1)
    note = f"{zeros.mean(0)[worst]:.4f} at layer {worst + 1}; beyond 3: {beyond} of {depth}, {expected:.1f} by chance"
    return Line(f"{name} zeros, farthest from {sparsity:g}", errors.max().item(), unit="e", aim=3.0, note=note)


def _times(repeats: int = 31) -> Iterator[Line]:
    """init_ on 100 layers of width 300 against kaiming_normal_ on their weights and zeros for biases; in turns.

    Times of the processor, which other programs do not lengthen much, on one thread.
    """
    design = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
    model = nn.Sequential(*(nn.Linear(300, 300) for _ in range(100)))
    pairs = [
        (_seconds(lambda: init_(model, design)), _seconds(lambda: each(model, nn.init.kaiming_normal_)))
        for _ in range(repeats)
    ]
    ours, loop = (median(times) for times in zip(*pairs, strict=True))
    yield Line("init_, 100 layers of width 300; peer kaiming_normal_", ours, peer=loop)
    yield Line("  time in that of the loop", median(a / b for a, b in pairs), unit="number", aim=1.1)


def _seconds(function: Callable[[], Any]) -> float:
    start = process_time()
    function()
    return process_time() - start
