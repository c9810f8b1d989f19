"""Predictions of `gpsym.finite_width` against random PyTorch networks, forward and backward, nothing shortened.

Each network has n units a layer, a weight matrix of its own in each, and a random readout; autograd gives the
gradients.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.finite_width import FiniteWidth, finite_width
from gpsym.torch import activation_module
from tests.bench.lines import Line

__all__ = ["SETTINGS", "Sample", "Setting", "lines", "simulated"]


class Setting(NamedTuple):
    """A clipped design, and the width and depth of its networks."""

    activation: str
    sparsity: float
    slope: float
    width: int
    depth: int

    @property
    def design(self) -> CriticalInit:
        return edge_of_chaos(self.activation, sparsity=self.sparsity, slope=self.slope)

    def __str__(self) -> str:
        return f"{self.activation} {self.sparsity:g}/{self.slope:g} n {self.width} L {self.depth}"


# Excursion probabilities from 1 % to 99 %; 6e10 weights for 1000 networks of each.
SETTINGS = (
    Setting("crelu", 0.85, 0.7, 64, 200),
    Setting("crelu", 0.85, 0.85, 64, 50),
    Setting("crelu", 0.85, 0.9, 128, 100),
    Setting("crelu", 0.7, 0.9, 128, 200),
    Setting("crelu", 0.5, 0.95, 64, 200),
    Setting("crelu", 0.9, 0.8, 256, 100),
    Setting("crelu", 0.95, 0.9, 512, 20),
    Setting("crelu", 0.85, 0.95, 1024, 10),
    Setting("cst", 0.85, 0.7, 64, 100),
    Setting("cst", 0.5, 0.9, 64, 100),
    Setting("cst", 0.7, 0.9, 128, 200),
    Setting("cst", 0.85, 0.8, 256, 50),
    Setting("cst", 0.85, 0.9, 300, 10),
    Setting("cst", 0.85, 0.9, 300, 100),
    Setting("cst", 0.95, 0.8, 512, 20),
    Setting("cst", 0.85, 0.95, 1024, 10),
)


@dataclass(frozen=True)
class Sample:
    """Of each network: the largest and the last variance, (R,), and log(|g_0|^2 / |g_L|^2).

    -inf for g_0 = 0, NaN for g_L = 0.
    """

    largest: torch.Tensor
    last: torch.Tensor
    log_gradient: torch.Tensor


def simulated(design: CriticalInit, width: int, depth: int, networks: int, seed: int = 0) -> Sample:
    """Random networks of a design, from the first hidden layer, whose pre-activations are N(0, q_star), on."""
    generator = torch.Generator().manual_seed(seed)
    batch = max(1, min(networks, 10**8 // (depth * width**2)))  # weights that fit into 400 MB
    parts = [
        _batch(design, width, depth, min(batch, networks - first), generator) for first in range(0, networks, batch)
    ]
    return Sample(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _batch(
    design: CriticalInit, width: int, depth: int, networks: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def normal(variance: float, *shape: int) -> torch.Tensor:
        return torch.randn(networks, *shape, generator=generator).mul_(math.sqrt(variance))

    phi = activation_module(design)
    first = h = normal(design.q_star, width, 1).requires_grad_()
    variances = []
    for _ in range(depth):
        a = phi(h)
        variances.append(design.sigma_b2 + design.sigma_w2 * a.detach().square().mean(dim=(1, 2)))
        h = normal(design.sigma_w2 / width, width, width) @ a + normal(design.sigma_b2, width, 1)
    loss = (normal(1 / width, width, 1) * phi(h)).sum()
    at_first, at_last = torch.autograd.grad(loss, (first, h))
    squares = [g.double().square().sum(dim=(1, 2)) for g in (at_first, at_last)]
    q = torch.stack(variances)
    return q.amax(dim=0), q[-1], squares[0].log() - squares[1].log()


def lines(options: argparse.Namespace) -> Iterable[Line]:
    """Predicted and simulated risks, dead networks and gradient spreads, each with its distance in standard errors."""
    for k, setting in enumerate(s for s in SETTINGS if options.only in str(s)):
        predicted = finite_width(setting.design, width=setting.width, depth=setting.depth)
        sample = simulated(setting.design, setting.width, setting.depth, options.networks, options.seed + k)
        yield from _compared(str(setting), predicted, sample)


def _compared(name: str, predicted: FiniteWidth, sample: Sample) -> Iterable[Line]:
    count = len(sample.largest)
    dead = sample.log_gradient.isneginf()
    alive = ~sample.log_gradient.isnan()
    risks = [("excursion", predicted.excursion_probability, sample.largest > predicted.excursion_limit)]
    if predicted.limit is not None:
        risks.append(("outside at the end", predicted.outside_probability, sample.last > predicted.limit))
    risks.append(("dead", predicted.dead_probability, dead[alive]))
    for what, p, happened in risks:
        # A probability of 1 / count at least: rarer events have no normal error.
        spread = math.sqrt(max(p * (1 - p), 1 / count) / count)
        yield _line(f"{name}: {what}", p, float(happened.double().mean()), spread)
    stayed = sample.largest <= (math.inf if predicted.limit is None else predicted.limit)
    logs = sample.log_gradient[stayed & sample.log_gradient.isfinite()]
    if len(logs) < 100 or predicted.log_gradient_sd is None:
        return
    deviation = float(logs.std())
    fourth = float(((logs - logs.mean()) / deviation).pow(4).mean())
    error = deviation * math.sqrt((fourth - 1) / len(logs)) / 2
    # Theory has two orders in 1 / n: 5 %, or what the sample cannot tell.
    yield _line(
        f"{name}: gradient sd", predicted.log_gradient_sd, deviation, max(error, 0.05 / 3 * predicted.log_gradient_sd)
    )


def _line(what: str, predicted: float, found: float, error: float) -> Line:
    distance = abs(found - predicted) / error
    return Line(
        what, distance, unit="e", aim=3.0, note=f"{predicted:.4f} predicted, {found:.4f} +- {error:.4f} simulated"
    )
