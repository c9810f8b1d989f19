"""The activations as modules without parameters or buffers."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from gpsym.activation import Activation
from gpsym.branches import branches
from gpsym.design import CriticalInit
from gpsym.members import member
from gpsym.torch.functional import piecewise_linear, piecewise_polynomial

__all__ = [
    "ClippedReLU",
    "ClippedSoftThreshold",
    "PiecewisePolynomial",
    "ShiftedReLU",
    "SoftThreshold",
    "activation_module",
]


class PiecewisePolynomial(nn.Module):
    """Any `Activation` with numbers for its symbols, elementwise on tensors of any shape and floating dtype.

    Continuous piecewise-linear ones are sums of clamps, whose zeros and saturated values are exact; others choose
    among their polynomials, and take at a jump the value that `Activation` has there.

    shown  parameters to name in the repr in place of knots and pieces.

    Nothing is stored in the state_dict: the numbers belong to the architecture.

    Raises ValueError for an activation with free symbols.
    """

    def __init__(self, activation: Activation, **shown: float):
        super().__init__()
        if activation.parameters:
            names = ", ".join(map(str, activation.parameters))
            raise ValueError(f"PiecewisePolynomial: need numbers for {names}, got symbols; use subs first.")
        if activation.is_sum_of_clamps:
            offset, terms = activation.clamp_terms()
            self._phi = partial(piecewise_linear, offset=offset, terms=terms)
        else:
            self._phi = partial(piecewise_polynomial, branches=branches(activation))
        self._shown = shown or {
            "knots": list(map(float, activation.knots)),
            "pieces": [list(map(float, piece)) for piece in activation.pieces],
        }

    def forward(self, x: Tensor) -> Tensor:
        """phi(x), of the shape and dtype of x."""
        return self._phi(x)

    def extra_repr(self) -> str:
        """The parameters."""
        return ", ".join(f"{name}={value}" for name, value in self._shown.items())


class ShiftedReLU(PiecewisePolynomial):
    """ReLU_tau(x) = max(0, x - tau)."""

    def __init__(self, tau: float):
        super().__init__(member("shifted-relu", tau=tau), tau=tau)


class SoftThreshold(PiecewisePolynomial):
    """ST_tau(x) = sign(x) max(0, abs(x) - tau), tau >= 0."""

    def __init__(self, tau: float):
        super().__init__(member("soft-threshold", tau=tau), tau=tau)


class ClippedReLU(PiecewisePolynomial):
    """CReLU_{tau,m}(x) = min(max(0, x - tau), m), m > 0."""

    def __init__(self, tau: float, m: float):
        super().__init__(member("clipped-relu", tau=tau, m=m), tau=tau, m=m)


class ClippedSoftThreshold(PiecewisePolynomial):
    """CST_{tau,m}(x) = sign(x) min(max(0, abs(x) - tau), m), tau >= 0, m > 0."""

    def __init__(self, tau: float, m: float):
        super().__init__(member("clipped-soft-threshold", tau=tau, m=m), tau=tau, m=m)


# The activations with a module of their own.
_MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "shifted-relu": ShiftedReLU,
    "soft-threshold": SoftThreshold,
    "clipped-relu": ClippedReLU,
    "clipped-soft-threshold": ClippedSoftThreshold,
}


def activation_module(design: CriticalInit) -> nn.Module:
    """A new module of the design's activation."""
    if not (design.is_member and design.activation in _MODULES):
        return PiecewisePolynomial(design.phi)
    parameters = {name: value for name, value in (("tau", design.tau), ("m", design.m)) if value is not None}
    return _MODULES[design.activation](**parameters)
