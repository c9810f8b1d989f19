"""gpsym: closed-form Gaussian-process maps of sparse activations, and the initializers that come of them.

activation  the family of activations and its named members
maps        variance map, slope, curvature, chi_1, sparsity as formulas
numeric     formulas as functions for numpy, torch, mpmath
verify      formulas against their definitions
design      the edge of chaos at a wanted sparsity
torch       activation modules and `init_` (imports torch)
export      a design as a file that needs no gpsym
"""

from __future__ import annotations

from gpsym import maps
from gpsym.activation import (
    Activation,
    clipped_relu,
    clipped_soft_threshold,
    member,
    relu,
    shifted_relu,
    soft_threshold,
)
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.formats import format_formula
from gpsym.formula import Formula
from gpsym.numeric import evaluate, lambdify
from gpsym.verify import Refuted, Undecided, Verified, verify_formula

__all__ = [
    "Activation",
    "CriticalInit",
    "Formula",
    "Refuted",
    "Undecided",
    "Verified",
    "clipped_relu",
    "clipped_soft_threshold",
    "edge_of_chaos",
    "evaluate",
    "format_formula",
    "lambdify",
    "maps",
    "member",
    "relu",
    "shifted_relu",
    "soft_threshold",
    "verify_formula",
]

__version__ = "0.1.0"
