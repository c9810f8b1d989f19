"""Initialization of the weight layers of a PyTorch model at the edge of chaos.

Needs torch and the standard library only: `gpsym export` writes this very code into a file of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

__all__ = ["LayerReport", "Rule", "init_"]


class Design(Protocol):
    """What `init_` needs of a design: sigma_w2 and sigma_b2 put a hidden layer at variance q_star."""

    @property
    def sigma_w2(self) -> float: ...

    @property
    def sigma_b2(self) -> float: ...

    @property
    def q_star(self) -> float: ...


@dataclass(frozen=True)
class Rule:
    """Weights are drawn from N(0, weight / fan_in) and biases from N(0, bias); both finite and >= 0."""

    weight: float
    bias: float

    def __post_init__(self) -> None:
        for name, variance in (("weight", self.weight), ("bias", self.bias)):
            if not (math.isfinite(variance) and variance >= 0):
                raise ValueError(f"Rule: need {name} >= 0 and finite, got {variance}; pass a variance.")


@dataclass(frozen=True)
class LayerReport:
    """What was done to one layer: its fan-in and the standard deviations that it was drawn with."""

    name: str
    role: str
    fan_in: int
    weight_std: float
    bias_std: float | None


@torch.no_grad()
def init_(
    model: nn.Module,
    design: Design,
    *,
    input_mean_square: float = 1.0,
    first: Rule | None = None,
    readout: Rule | None = None,
    generator: torch.Generator | None = None,
) -> list[LayerReport]:
    """Draw all Linear, Conv1d, Conv2d and Conv3d parameters of the model afresh, in place.

    hidden   W ~ N(0, sigma_w2 / fan_in), b ~ N(0, sigma_b2).
    first    W ~ N(0, (q_star - sigma_b2) / (fan_in E[x^2])), b ~ N(0, sigma_b2): its input is data, not an
             activation, so this weight variance brings its output to variance q_star.
    readout  W ~ N(0, 1 / fan_in), b = 0.

    fan_in is in_features, or in_channels / groups times the kernel's size.  The first and the last weight layer
    in the order of registration take the rules of the same name; other modules are left alone.

    Arguments
      model              a module with at least two weight layers, all hidden ones with biases if sigma_b2 > 0.
      design             has sigma_w2, sigma_b2 and q_star, such as a `gpsym.CriticalInit`.
      input_mean_square  E[x^2] of the input per feature, > 0.
      first, readout     rules in place of the two above; Rule(design.sigma_w2, design.sigma_b2) is the hidden one.
      generator          source of the random numbers, torch's global one if None.

    Returns what was done, layer by layer.  Raises ValueError before anything is written.

    Source: Price et al. 2024 for the hidden layers, at the edge of chaos V(q*) = q*, chi_1(q*) = 1.
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    if len(layers) < 2:
        raise ValueError(
            f"init_: need at least two Linear or Conv layers, got {len(layers)}; one is the first, one the readout."
        )
    if not (math.isfinite(input_mean_square) and input_mean_square > 0):
        raise ValueError(f"init_: need input_mean_square > 0, got {input_mean_square}; pass the mean of x**2.")
    first = first or Rule((design.q_star - design.sigma_b2) / input_mean_square, design.sigma_b2)
    hidden = Rule(design.sigma_w2, design.sigma_b2)
    readout = readout or Rule(1.0, 0.0)
    plan = [("first", first), *[("hidden", hidden)] * (len(layers) - 2), ("readout", readout)]
    for (name, layer), (_, rule) in zip(layers, plan, strict=True):
        if nn.parameter.is_lazy(layer.weight):
            raise ValueError(
                f"init_: need the shape of {name!r}, got a lazy layer; run a batch through the model first."
            )
        if nn.utils.parametrize.is_parametrized(layer):
            raise ValueError(f"init_: need plain parameters in {name!r}, got a parametrization; remove it first.")
        if layer.weight.numel() == 0:
            raise ValueError(
                f"init_: need weights in {name!r}, got the shape {tuple(layer.weight.shape)}; drop the layer."
            )
        if layer.bias is None and rule.bias > 0:
            raise ValueError(
                f"init_: need a bias in {name!r} for its variance {rule.bias:.6g}, got bias=False; add one."
            )
    report = []
    for (name, layer), (role, rule) in zip(layers, plan, strict=True):
        fan_in = layer.weight[0].numel()
        weight_std, bias_std = math.sqrt(rule.weight / fan_in), math.sqrt(rule.bias)
        nn.init.normal_(layer.weight, 0.0, weight_std, generator=generator)
        if layer.bias is not None:
            nn.init.normal_(layer.bias, 0.0, bias_std, generator=generator)
        report.append(LayerReport(name, role, fan_in, weight_std, None if layer.bias is None else bias_std))
    return report
