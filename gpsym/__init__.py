"""gpsym: closed-form Gaussian-process maps of sparse activations, and the initializers that come of them.

activation  the family of activations, piecewise polynomials, and its named members
expression  activations read from expressions
maps        variance map, slope, curvature, chi_1, sparsity, moments; kernels and correlation maps; as formulas
numeric     formulas as functions for numpy, torch, jax, mpmath, and as code
equality    whether two closed forms are the same
verify      formulas against their definitions
verdicts    what a check can answer
design      the edge of chaos at a wanted sparsity
stability   what iterating the variance map does: all fixed points, the basin
finite_width  how variances and gradients of random networks spread, and the risks
depth_scales  how deep a design may be
layers      residual, gated and normalised layers, convolutions near the border
learning_rate  rates for Adam and SGD
kernel      NNGP and NTK matrices of deep networks
sklearn     those as a kernel of scikit-learn (imports scikit-learn)
torch       activation modules, `init_`, and the kernels for GPyTorch (imports torch)
export      a design as a file that needs no gpsym
testing     laws that any activation must meet, theorems among them; strategies (which import hypothesis)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpsym import maps
from gpsym.activation import Activation
from gpsym.formula import Formula
from gpsym.members import (
    absolute,
    clipped_relu,
    clipped_soft_threshold,
    hard_shrink,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    identity,
    jump_relu,
    leaky_relu,
    member,
    prelu,
    relu,
    relu6,
    shifted_relu,
    sign,
    soft_threshold,
    squared_relu,
)

if TYPE_CHECKING:
    from gpsym.design import CriticalInit, DesignWarning, Stability, edge_of_chaos
    from gpsym.equality import equal
    from gpsym.expression import from_sympy
    from gpsym.formats import format_formula
    from gpsym.kernel import kernels
    from gpsym.numeric import evaluate, lambdify
    from gpsym.verdicts import Different, Equal, Refuted, Undecided, Verified
    from gpsym.verify import verify_formula

__all__ = [
    "Activation",
    "CriticalInit",
    "DesignWarning",
    "Different",
    "Equal",
    "Formula",
    "Refuted",
    "Stability",
    "Undecided",
    "Verified",
    "absolute",
    "clipped_relu",
    "clipped_soft_threshold",
    "edge_of_chaos",
    "equal",
    "evaluate",
    "format_formula",
    "from_sympy",
    "hard_shrink",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "jump_relu",
    "kernels",
    "lambdify",
    "leaky_relu",
    "maps",
    "member",
    "prelu",
    "relu",
    "relu6",
    "shifted_relu",
    "sign",
    "soft_threshold",
    "squared_relu",
    "verify_formula",
]

__version__ = "0.1.0"

# Imported on first use: with printers, quadrature and parsers they cost as much as the rest.
_ROOMS = {
    "CriticalInit": "design",
    "DesignWarning": "design",
    "Different": "verdicts",
    "Equal": "verdicts",
    "Refuted": "verdicts",
    "Stability": "design",
    "Undecided": "verdicts",
    "Verified": "verdicts",
    "edge_of_chaos": "design",
    "equal": "equality",
    "evaluate": "numeric",
    "format_formula": "formats",
    "from_sympy": "expression",
    "kernels": "kernel",
    "lambdify": "numeric",
    "verify_formula": "verify",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'gpsym' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"gpsym.{_ROOMS[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
