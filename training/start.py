"""What a run starts from: its data, its design, and the network as the seed initialises it."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpsym import CriticalInit, lambdify, maps
from gpsym.torch import activation_module, init_
from training import data as data_sets
from training import models
from training.config import RunConfig
from training.data import Data
from training.digest import digest
from training.optimisation import input_factor, theory_lr

__all__ = ["Start", "hidden_activations", "layer_variances"]

# Test inputs over which the variances of theory are averaged: convolutions have hundreds of positions in each.
_INPUTS = {"mlp": 1000, "cnn": 50, "transformer": 1}


def hidden_activations(network: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    """The modules of that class, from the first hidden layer to the last."""
    return [module for module in network.modules() if type(module) is kind]


@dataclass(frozen=True)
class Start:
    """Data and network of a configuration, on the CPU.

    Raises ValueError, when it is made, for data, designs and files that do not serve.
    """

    config: RunConfig
    data: Data

    @staticmethod
    def of(config: RunConfig, data: Data | None = None) -> Start:
        """With the data where they are loaded, else loaded."""
        design = config.design
        start = Start(config, data or data_sets.load(config.data, data_dir=config.data_dir, seed=config.seed))
        if config.initializer:
            _require_same(start.exported, Path(config.initializer), design)
        if config.augment != "none" and len(start.data.train.shape) != 3:
            raise ValueError(
                f"run: need images (channels, height, width) for augment {config.augment}, got inputs of shape "
                f"{start.data.train.shape} in {config.data}; use none."
            )
        return start

    @cached_property
    def design(self) -> CriticalInit:
        return self.config.design

    @cached_property
    def exported(self) -> Any:
        """The module in the initializer's file."""
        return _executed(Path(self.config.initializer)) if self.config.initializer else None

    @cached_property
    def mean_square(self) -> float:
        return self.data.input_mean_square

    @property
    def input_factor(self) -> float:
        return input_factor(self.config.input_scale, self.design, self.mean_square)

    @property
    def activation(self) -> type[nn.Module]:
        """The class of the activation modules."""
        return type(self._activation())

    def _activation(self) -> nn.Module:
        return self.exported.Activation() if self.exported else activation_module(self.design)

    def network(self) -> nn.Sequential:
        """The network as the seed initialises it."""
        config, train = self.config, self.data.train
        network = models.build(
            config.model, train.shape, self.data.classes, width=config.width, depth=config.depth,
            activation=self._activation, alpha=config.alpha, input_factor=self.input_factor,
        )  # fmt: skip
        options: dict[str, Any] = {
            "input_mean_square": self.mean_square * self.input_factor**2,
            "generator": torch.Generator().manual_seed(config.seed),
        }
        if config.model == "transformer":  # its normalisations give some layers other roles
            options["batch"] = train.first(2).x
        if self.exported:
            self.exported.init_(network, **options)
        else:
            init_(network, self.design, **options)
        return network

    def fingerprint(self) -> dict[str, Any]:
        """How many parameters the network has, and a digest of those it starts from."""
        network = self.network()
        return {
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "initial_weights_sha256": digest(network),
        }

    def description(self) -> dict[str, Any]:
        """What config.json holds beside the configuration: the data's shape and scale, the design, the theory."""
        train = self.data.train
        return {
            "inputs": math.prod(train.shape),
            "classes": self.data.classes,
            "input_shape": train.shape,
            "input_mean": train.mean,
            "input_std": train.std,
            "input_mean_square": self.mean_square,
            "design": self.design.to_dict(),
            "theory_variance": self.theory_variance(),
            "theory_lr": self.theory_lr(),
        }

    def theory_variance(self) -> list[float]:
        """Mean variance of each hidden layer at infinite width, over inputs of the test split."""
        return layer_variances(self.config, self.design, self.data.test.first(_INPUTS[self.config.model]).x,
                               self.mean_square)  # fmt: skip

    def theory_lr(self) -> float:
        """The learning rate of theory, as in `training.optimisation`."""
        return theory_lr(self.config, self.design, self.data)


def layer_variances(config: RunConfig, design: CriticalInit, x: Tensor, mean_square: float) -> list[float]:
    """Mean variance of what goes into each activation at infinite width, over the inputs x, (examples, ...).

    mlp          the first layer has sigma_b2 + (q_star - sigma_b2) |x|^2 / (inputs E[x^2]), then V is iterated.
    cnn          the same at each position, |x|^2 over what the kernel sees there; V is averaged over the kernel.
    residual     (1 - alpha^2) q + alpha^2 V, where there is a skip.
    transformer  q_star throughout: a normalisation is in front of each activation.

    mean_square  E[x^2] over the training split.
    """
    if config.model == "transformer":
        return [design.q_star] * config.depth
    if config.model == "cnn":
        images = x.reshape(len(x), *models.image_shape(x.shape[1:]))
        squares, average = images.double().square().mean(1).numpy(), _kernel_means  # (examples, height, width)
    else:
        squares, average = x.flatten(1).double().square().mean(1).numpy(), _alone  # (examples,)
    variance_map = lambdify(maps.variance_map(design.phi))
    first, *others = [*models.STRIDES, *[1] * config.depth][: config.depth]
    q = design.sigma_b2 + (design.q_star - design.sigma_b2) * average(squares, first) / mean_square
    means = [float(np.mean(q))]
    for layer, stride in enumerate(others, 1):
        v = average(variance_map(q=q, sigma_w2=design.sigma_w2, sigma_b2=design.sigma_b2), stride)
        has_skip = config.model == "mlp" or layer >= len(models.STRIDES)
        q = (1 - config.alpha**2) * q + config.alpha**2 * v if has_skip and config.alpha else v
        means.append(float(np.mean(q)))
    return means


def _alone(variances: np.ndarray, stride: int) -> np.ndarray:
    return variances


def _kernel_means(positions: np.ndarray, stride: int) -> np.ndarray:
    """Means over 3 x 3 positions of (examples, height, width), padded circularly, as the convolutions see them."""
    for axis in (1, 2):
        positions = (np.roll(positions, -1, axis) + positions + np.roll(positions, 1, axis)) / 3
    return positions[:, ::stride, ::stride]


def _executed(path: Path) -> ModuleType:
    """The module in a file of `gpsym export --framework torch`."""
    module = ModuleType("exported_initializer")
    sys.modules[module.__name__] = module  # where dataclasses looks it up
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), vars(module))
        _ = module.DESIGN, module.Activation, module.init_
    except Exception as error:  # whatever a file of somebody's does
        raise ValueError(
            f"run: need a file written by gpsym export --framework torch, got {path} ({error}); export one first."
        ) from error
    return module


def _require_same(module: Any, path: Path, design: CriticalInit) -> None:
    """Raises ValueError unless the module of that file is for the design."""
    for name in ("sigma_w2", "sigma_b2", "q_star"):
        if (value := getattr(module.DESIGN, name)) != getattr(design, name):
            raise ValueError(
                f"run: need an initializer for the run's own design, got {name} = {value} in {path} "
                f"and {getattr(design, name)} from the options; export it with the same options."
            )
    x = torch.linspace(-10, 10, 4001) * math.sqrt(design.q_star)
    if not torch.equal(module.Activation()(x), activation_module(design)(x)):
        raise ValueError(
            f"run: need an initializer for {design.activation}, got another activation in {path}; "
            "export it with the same options."
        )
