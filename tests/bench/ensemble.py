"""Runs of a table as one network against plain PyTorch loops, one after the other: runs in the same time.

Steps on random inputs: a loop is nn.Sequential, Adam and nothing else; an ensemble takes the steps that
`python -m training table --together` takes, whose rates, freezing and sums of losses are included.  Steps alternate,
a few of each; medians.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from statistics import median
from time import perf_counter

import torch
from lightning_fabric import Fabric
from torch import nn

from tests.bench.lines import Line
from training.config import RunConfig
from training.data import Data, Split
from training.ensemble.epochs import EnsembleEpochs
from training.start import Start

__all__ = ["lines"]

_DESIGNS = (
    {"activation": "relu"},
    {"activation": "clipped-relu", "sparsity": 0.85, "slope": 0.7},
    {"activation": "clipped-soft-threshold", "sparsity": 0.85, "slope": 0.7},
)
_STEPS = 12
# (features, width, hidden layers, batch, members); the last is the table paper-dnn, for a GPU.
_SMALL = ((64, 32, 10, 32, 8), (64, 32, 10, 32, 32), (784, 300, 30, 256, 8))
_PAPER = (784, 300, 100, 256, 165)
_AIM = 50.0  # on a GPU


def lines(options: argparse.Namespace) -> Iterator[Line]:
    """Per size the plain time of all members over that of the ensemble."""
    cuda = torch.cuda.is_available()
    for features, width, depth, batch, members in (*_SMALL, *([_PAPER] if cuda else [])):
        name = f"{members} runs, width {width}, depth {depth}, batch {batch}"
        if options.only not in name:
            continue
        configs = [
            RunConfig(data="random", width=width, depth=depth, batch_size=batch, lr=1e-4, **design)
            for design in islice(cycle(_DESIGNS), members)
        ]
        data = _random(features, batch)
        together = _ensemble(configs, data)
        alone = _loop(Start(configs[1], data))
        times = [(_seconds(together), _seconds(alone)) for _ in range(_STEPS)]
        ours, one = (median(column) for column in zip(*times[2:], strict=True))
        yield Line(
            f"{name} ({'cuda' if cuda else 'cpu'})",
            members * one / ours,
            "x",
            aim=_AIM if cuda and members == _PAPER[-1] else None,
            at_least=True,
            note=f"{ours * 1e3:.1f} ms a step of all, {one * 1e3:.2f} ms one of one",
        )


def _random(features: int, batch: int) -> Data:
    generator = torch.Generator().manual_seed(0)

    def split() -> Split:
        return Split(torch.randn(batch, features, generator=generator),
                     torch.randint(10, (batch,), generator=generator), 0.0, 1.0)  # fmt: skip

    return Data(split(), split(), split(), 10)


def _ensemble(configs: list[RunConfig], data: Data) -> Callable[[], None]:
    """One step of all."""
    fabric = Fabric(accelerator="auto", devices=1)
    starts = [Start(config, data) for config in configs]
    epochs = EnsembleEpochs(starts, fabric, {0: data.to(fabric.device)}, [1e-4] * len(starts))
    sums = torch.zeros(len(starts), 2, dtype=torch.float64, device=fabric.device)
    order = [torch.arange(len(data.train), device=fabric.device)]
    return lambda: epochs._one_step(order, sums, 1.0)


def _loop(start: Start) -> Callable[[], None]:
    """One step of one network."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, train = start.network().to(device), start.data.train.to(torch.device(device))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(train.x), train.y).backward()
        optimizer.step()

    return step


def _seconds(step: Callable[[], None]) -> float:
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    wait()
    began = perf_counter()
    step()
    wait()
    return perf_counter() - began
