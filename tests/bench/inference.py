"""A linear layer that skips zeros against torch's dense one, on inputs that change from call to call.

The matrix of a large layer does not stay in the cache: both read it from memory, one of them whole.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import cycle
from statistics import median

import torch
from torch import Tensor, nn

from gpsym.torch.inference import SkippingLinear, seconds_of
from tests.bench.lines import Line

__all__ = ["lines"]

WIDTHS = (300, 1024, 4096, 8192)
BATCHES = (1, 4, 16, 64)
SPARSITIES = (0.5, 0.7, 0.85, 0.95)
DTYPES = (torch.float32, torch.bfloat16)
_INPUTS = 24  # different ones: at 95 % zeros they touch 70 % of the weights
_AIM = {(4096, 1, 0.85, torch.float32): 4.0}


def lines(options: argparse.Namespace) -> Iterator[Line]:
    """The dense time over the skipping one, for each precision, width, batch and sparsity."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for dtype in DTYPES:
        for width in WIDTHS:
            dense = nn.Linear(width, width, dtype=dtype, device=device)
            skipping = SkippingLinear(dense)
            for batch in BATCHES:
                for sparsity in SPARSITIES:
                    name = f"{str(dtype).removeprefix('torch.')} width {width} batch {batch} zeros {sparsity:g}"
                    if options.only not in name:
                        continue
                    ours, peer = _seconds(dense, skipping, batch, sparsity)
                    yield Line(
                        f"{name} ({device})",
                        peer / ours,
                        unit="x",
                        aim=_AIM.get((width, batch, sparsity, dtype)),
                        at_least=True,
                        note=f"{ours * 1e6:.0f} us, dense {peer * 1e6:.0f} us; limit {1 / (1 - sparsity):.1f}x",
                    )


@torch.inference_mode()
def _seconds(dense: nn.Linear, skipping: SkippingLinear, batch: int, sparsity: float) -> tuple[float, float]:
    """(skipping, dense): medians over calls in turns."""
    generator = torch.Generator().manual_seed(0)
    inputs = [_sparse(dense, batch, sparsity, generator) for _ in range(_INPUTS)]
    times = []
    for x, _ in zip(cycle(inputs), range(2 * _INPUTS), strict=False):
        times.append([seconds_of(layer, x) for layer in (skipping, dense)])
    ours, peer = (median(column) for column in zip(*times, strict=True))
    return ours, peer


def _sparse(dense: nn.Linear, batch: int, sparsity: float, generator: torch.Generator) -> Tensor:
    shape = (batch, dense.in_features)
    x = torch.randn(shape, generator=generator) * (torch.rand(shape, generator=generator) >= sparsity)
    return x.to(dense.weight)
