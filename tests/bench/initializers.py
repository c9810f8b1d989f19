"""Initializers that `init_` is compared with."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Initializer", "each", "install_anyinit", "peers_of_init"]

ANYINIT = "anyinit==0.4.0"

Initializer = Callable[[nn.Sequential, Tensor], Any]  # of a model, by a batch of inputs if it likes


def peers_of_init(anyinit: Any) -> dict[str, Initializer]:
    """By name; without AnyInit if its package is None."""
    peers: dict[str, Initializer] = {
        "default": lambda model, x: None,
        "kaiming": lambda model, x: each(model, nn.init.kaiming_normal_),
        "xavier": lambda model, x: each(model, nn.init.xavier_normal_),
        "LSUV": _lsuv,
    }
    if anyinit is not None:
        peers["AnyInit"] = lambda model, x: anyinit.initialize(model, "analytic", tuple(x.shape))
        peers["AnyInit, data"] = lambda model, x: anyinit.initialize(model, "empirical", x)
    return peers


def _weighted(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


def each(model: nn.Module, weights: Callable[[Tensor], Any]) -> None:
    """Draw the weights of all layers by the function, in place, and set their biases to 0."""
    for layer in _weighted(model):
        weights(layer.weight)
        nn.init.zeros_(layer.bias)


@torch.no_grad()
def _lsuv(model: nn.Sequential, x: Tensor) -> None:
    """Orthogonal weights, then layer by layer scaled until outputs have variance 1 within .1, ten times at most."""
    each(model, nn.init.orthogonal_)
    for module in model:
        if module in _weighted(module):
            for _ in range(10):
                variance = module(x).var()
                if abs(variance - 1) < 0.1 or variance == 0:
                    break
                module.weight /= variance.sqrt()
        x = module(x)


def install_anyinit(folder: str) -> Any:
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
