"""sparsify_ on models of torch and transformers, with their default configs where none is given; 85 % zeros by design.

Zeros are fractions of the outputs of swapped activations, the mean over them and over networks, for random inputs. The
note says how many were swapped, the least and the greatest fraction among them, and what was left or refused.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from gpsym import CriticalInit, edge_of_chaos
from gpsym.layers.residual import mixing
from gpsym.torch import SparsifyReport, sparsify_
from tests.bench.lines import Line

__all__ = ["lines"]

NETWORKS = 3
Case = tuple[Callable[[], nn.Module], Callable[[], Any], dict[str, Any]]  # model, batch, options


def lines(options: argparse.Namespace) -> Iterator[Line]:
    """Of every model and activation."""
    cases = {**_torch(), **_transformers()}
    for activation in ("crelu", "cst"):
        design = edge_of_chaos(activation, sparsity=0.85, slope=0.7)
        for name, case in cases.items():
            if options.only in name:
                yield _line(f"{name}, {activation}", design, case)


def _line(name: str, design: CriticalInit, case: Case) -> Line:
    build, batch, options = case
    reports = []
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        try:
            reports.append(sparsify_(build(), design, batch=batch(), **options))
        except ValueError as error:
            return Line(name, math.nan, unit="number", note=f"refused: {str(error).partition(': ')[2][:110]}...")
    return Line(name, fmean(report.zeros for report in reports), unit="number", note=_note(reports))


def _note(reports: list[SparsifyReport]) -> str:
    zeros = [swapped.zeros for report in reports for swapped in report.swapped if swapped.zeros is not None]
    kinds = Counter(swapped.old for swapped in reports[0].swapped)
    swapped = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    left = "; ".join(f"{skipped.name} left: {skipped.why}" for skipped in reports[0].left)
    return f"{swapped}, {min(zeros):.3f} to {max(zeros):.3f}{f'; {left}' if left else ''}"


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first, self.act, self.second = nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.act(self.first(x)))


def _mlp() -> nn.Module:
    pairs = ((nn.GELU(), nn.Linear(300, 300)) for _ in range(30))
    return nn.Sequential(nn.Linear(300, 300), *(module for pair in pairs for module in pair))


def _cnn() -> nn.Module:
    def conv() -> nn.Module:
        return nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular")

    head = [nn.ReLU(), nn.Flatten(), nn.Linear(64**2, 10)]
    pairs = ((nn.ReLU(), conv()) for _ in range(10))
    return nn.Sequential(nn.Conv2d(3, 64, 1), *(module for pair in pairs for module in pair), *head)


def _torch() -> dict[str, Case]:
    def blocks() -> nn.Module:
        return nn.Sequential(nn.Linear(300, 300), *(_Block(300) for _ in range(20)), nn.Linear(300, 10))

    def encoder() -> nn.Module:
        layer = nn.TransformerEncoderLayer(512, 8, batch_first=True)
        return nn.TransformerEncoder(layer, 6)

    return {
        "MLP, 30 x 300": (_mlp, lambda: torch.randn(32, 300), {}),
        "CNN, 10 x 64 channels": (_cnn, lambda: torch.randn(8, 3, 8, 8), {}),
        "20 residual blocks": (blocks, lambda: torch.randn(32, 300), {}),
        "20 residual blocks, mixed": (blocks, lambda: torch.randn(32, 300), {"alpha": mixing(20, 4)}),
        "nn.TransformerEncoder": (encoder, lambda: torch.randn(4, 32, 512), {}),
    }


def _transformers() -> dict[str, Case]:
    logging.disable(logging.WARNING)  # for want of torchvision, which nothing here needs
    import transformers as tf

    def images() -> Tensor:
        return torch.randn(16, 3, 64, 64)

    def tokens() -> dict[str, Tensor]:
        return {"input_ids": torch.randint(1000, (4, 32))}

    resnet18 = tf.ResNetConfig(hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic")
    llama = tf.LlamaConfig(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4)
    return {
        "ResNet-18": (lambda: tf.ResNetForImageClassification(resnet18), images, {}),
        "ConvNeXt": (lambda: tf.ConvNextForImageClassification(tf.ConvNextConfig()), images, {}),
        "ViT": (lambda: tf.ViTForImageClassification(tf.ViTConfig(image_size=64)), lambda: images()[:4], {}),
        "GPT-2": (lambda: tf.GPT2LMHeadModel(tf.GPT2Config()), tokens, {}),
        "BERT": (lambda: tf.BertForSequenceClassification(tf.BertConfig()), tokens, {}),
        "LLaMA": (lambda: tf.LlamaForCausalLM(llama), tokens, {}),
    }
