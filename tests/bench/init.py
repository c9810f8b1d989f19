"""Initializers side by side: deep networks of the two clipped activations at 85 % zeros by design, slope 0.7.

MLPs of depth 100 and width 300, and CNNs of depth 50 with 32 channels, 3 x 3 kernels and circular padding, each by
torch's default, kaiming_normal_, xavier_normal_, LSUV (Mishkin and Matas 2016), AnyInit in both its modes, and gpsym.
Zeros are fractions behind an activation, the variance is the mean square before it; the gradient ratio is the norm of
the loss's gradient at the pre-activations of the first hidden layer over that at the last, the geometric mean over
networks, "dead" where both are 0.  Inputs are standard normal; the loss is a random combination of the outputs.
"""

from __future__ import annotations

import argparse
import importlib
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from gpsym import CriticalInit, edge_of_chaos
from gpsym.torch import activation_module, init_
from tests.bench.lines import Line

__all__ = ["lines"]

ANYINIT = "anyinit==0.4.0"
OURS, OTHERS = 40, 3  # networks; the others are dead or not in each of a few
SHAPES = {"MLP": (64,), "CNN": (3, 8, 8)}  # of an input
DEPTHS = {"MLP": 100, "CNN": 50}

Initializer = Callable[[nn.Sequential, Tensor], Any]


def lines(_: argparse.Namespace) -> Iterator[Line]:
    """Of every network and activation, then the time."""
    with tempfile.TemporaryDirectory() as folder:
        anyinit = _anyinit(folder)
        for name in ("crelu", "cst"):
            design = edge_of_chaos(name, sparsity=0.85, slope=0.7)
            phi = _activation_class(design)
            if anyinit is not None:
                anyinit.register_activation(phi, name=name)
            for kind in SHAPES:
                yield from _compared(f"{name} {kind}", kind, phi, design, _peers(anyinit))
    yield from _times()


def _activation_class(design: CriticalInit) -> type[nn.Module]:
    """A class without arguments, which is what AnyInit can be taught."""
    function = activation_module(design)

    class Phi(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return function(x)

    return Phi


def _peers(anyinit: Any) -> dict[str, Initializer]:
    peers: dict[str, Initializer] = {
        "default": lambda model, x: None,
        "kaiming": lambda model, x: _each(model, nn.init.kaiming_normal_),
        "xavier": lambda model, x: _each(model, nn.init.xavier_normal_),
        "LSUV": _lsuv,
    }
    if anyinit is not None:
        peers["AnyInit"] = lambda model, x: anyinit.initialize(model, "analytic", tuple(x.shape))
        peers["AnyInit, data"] = lambda model, x: anyinit.initialize(model, "empirical", x)
    return peers


def _weighted(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def _each(model: nn.Module, weights: Callable[[Tensor], Tensor]) -> None:
    for layer in _weighted(model):
        weights(layer.weight)
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def _lsuv(model: nn.Sequential, x: Tensor) -> None:
    """Orthogonal weights, then layer by layer scaled until outputs have variance 1 within .1, ten times at most."""
    _each(model, nn.init.orthogonal_)
    for module in model:
        if module in _weighted(module):
            for _ in range(10):
                variance = module(x).var()
                if abs(variance - 1) < 0.1 or variance == 0:
                    break
                module.weight /= variance.sqrt()
        x = module(x)


def _anyinit(folder: str) -> Any:
    """The package, installed into the folder without its dependencies; None, and a word on stderr, if that fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, ANYINIT]
    try:
        subprocess.run(command, check=True, capture_output=True)
        sys.path.append(folder)
        return importlib.import_module("anyinit")
    except (OSError, subprocess.CalledProcessError, ImportError) as error:
        print(f"anyinit: not measured, for lack of the package: {error}", file=sys.stderr)
        return None
    finally:
        sys.path[:] = [path for path in sys.path if path != folder]


def _network(kind: str, phi: type[nn.Module]) -> nn.Sequential:
    if kind == "MLP":
        layers = [nn.Linear(64, 300), *(nn.Linear(300, 300) for _ in range(DEPTHS[kind] - 1))]
        head: list[nn.Module] = [nn.Linear(300, 10)]
    else:
        channels = [3, *[32] * DEPTHS[kind]]
        layers = [nn.Conv2d(n, 32, 3, padding=1, padding_mode="circular") for n in channels[:-1]]
        head = [nn.Flatten(), nn.Linear(32 * 64, 10)]
    return nn.Sequential(*(module for layer in layers for module in (layer, phi())), *head)


def _measured(kind: str, phi: type[nn.Module], initialize: Initializer, seed: int) -> Tensor:
    """(3, depth): zeros, mean square and gradient norm of each hidden layer of one network."""
    torch.manual_seed(seed)
    model = _network(kind, phi)
    initialize(model, torch.randn(64, *SHAPES[kind]))
    x = torch.randn(4, *SHAPES[kind])
    hidden, zeros = [], []
    for module in model:
        x = module(x)
        if isinstance(module, phi):
            zeros.append((x == 0).double().mean().item())
        elif len(hidden) < DEPTHS[kind]:
            hidden.append(x)
    gradients = torch.autograd.grad((x * torch.randn_like(x)).sum(), hidden)
    squares = [h.detach().double().square().mean().item() for h in hidden]
    return torch.tensor([zeros, squares, [g.double().norm().item() for g in gradients]], dtype=torch.float64)


def _compared(
    name: str, kind: str, phi: type[nn.Module], design: CriticalInit, peers: dict[str, Initializer]
) -> Iterator[Line]:
    def ours(model: nn.Sequential, _: Tensor) -> Any:
        return init_(model, design)

    found = torch.stack([_measured(kind, phi, ours, seed) for seed in range(OURS)])  # (networks, 3, depth)
    others = {
        peer: torch.stack([_measured(kind, phi, initialize, seed) for seed in range(OTHERS)])
        for peer, initialize in peers.items()
    }
    depth = DEPTHS[kind]
    for what, read in {
        "zeros, layer 10": lambda t: t[:, 0, 9].mean().item(),
        f"zeros, layer {depth}": lambda t: t[:, 0, -1].mean().item(),
        "variance, layer 10": lambda t: t[:, 1, 9].mean().item(),
        f"variance, layer {depth}": lambda t: t[:, 1, -1].mean().item(),
        "gradient, first / last": _gradient_ratio,
    }.items():
        note = "  ".join(f"{peer} {_shown(read(values))}" for peer, values in others.items())
        yield Line(f"{name} {what}", read(found), unit="number", note=note)
    zeros = found[:, 0]
    errors = (zeros.mean(0) - design.sparsity).abs() / (zeros.std(0) / math.sqrt(OURS))
    worst = int(errors.argmax())
    note = f"in standard errors over {OURS} networks; at layer {worst + 1}, {zeros.mean(0)[worst]:.4f}"
    yield Line(f"{name} zeros, farthest from {design.sparsity:g}", errors.max().item(), unit="number", aim=3, note=note)


def _gradient_ratio(values: Tensor) -> float:
    first, last = values[:, 2, 0], values[:, 2, -1]
    alive = (first > 0) | (last > 0)
    return (first[alive] / last[alive]).log().mean().exp().item() if alive.any() else math.nan


def _shown(value: float) -> str:
    return "dead" if math.isnan(value) else f"{value:.3g}"


def _times(repeats: int = 15) -> Iterator[Line]:
    """init_ on 100 layers of width 300 against kaiming_normal_ on their weights and zeros for biases; in turns."""
    design = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
    model = nn.Sequential(*(nn.Linear(300, 300) for _ in range(100)))
    pairs = [
        (_seconds(lambda: init_(model, design)), _seconds(lambda: _each(model, nn.init.kaiming_normal_)))
        for _ in range(repeats)
    ]
    ours, loop = (median(times) for times in zip(*pairs, strict=True))
    yield Line("init_, 100 layers of width 300; peer kaiming_normal_", ours, peer=loop)
    yield Line("  time in that of the loop", median(a / b for a, b in pairs), unit="number", aim=1.1)


def _seconds(function: Callable[[], Any]) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start
