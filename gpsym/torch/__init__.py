"""PyTorch side of gpsym: activation modules, their functional forms, the initializer, and its diagnosis.

The only place in gpsym that imports torch.
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("torch") is None:
    raise ImportError("gpsym.torch: need PyTorch, got no module torch; pip install 'gpsym[torch]'.")

from gpsym.torch import functional
from gpsym.torch.diagnose import diagnose
from gpsym.torch.inference import SkippingLinear, SkippingReport, skip_zeros_
from gpsym.torch.init import InitReport, LayerReport, Rule, Skipped, init_
from gpsym.torch.layers import BorderScaled, Gated, Mixture, Residual
from gpsym.torch.modules import (
    ClippedReLU,
    ClippedSoftThreshold,
    PiecewisePolynomial,
    ShiftedReLU,
    SoftThreshold,
    activation_module,
)
from gpsym.torch.sparsify import SparsifyReport, Swapped, sparsify_

__all__ = [
    "BorderScaled",
    "ClippedReLU",
    "ClippedSoftThreshold",
    "Gated",
    "InitReport",
    "LayerReport",
    "Mixture",
    "PiecewisePolynomial",
    "Residual",
    "Rule",
    "ShiftedReLU",
    "Skipped",
    "SkippingLinear",
    "SkippingReport",
    "SoftThreshold",
    "SparsifyReport",
    "Swapped",
    "activation_module",
    "diagnose",
    "functional",
    "init_",
    "skip_zeros_",
    "sparsify_",
]
