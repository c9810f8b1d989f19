"""The activations as modules without parameters or buffers."""

from __future__ import annotations

from torch import Tensor, nn

from gpsym.activation import Activation, member
from gpsym.design import CriticalInit
from gpsym.torch.functional import piecewise_linear

__all__ = [
    "ClippedReLU",
    "ClippedSoftThreshold",
    "PiecewiseLinear",
    "ShiftedReLU",
    "SoftThreshold",
    "activation_module",
]


class PiecewiseLinear(nn.Module):
    """Any `Activation` with numbers for its knots, elementwise on tensors of any shape and floating dtype.

    shown  parameters to name in the repr in place of knots and slopes.

    Nothing is stored in the state_dict: the numbers belong to the architecture.

    Raises ValueError for an activation with free symbols.
    """

    def __init__(self, activation: Activation, **shown: float):
        super().__init__()
        if activation.parameters:
            names = ", ".join(map(str, activation.parameters))
            raise ValueError(f"PiecewiseLinear: need numbers for {names}, got symbols; use subs first.")
        self.offset, self.terms = activation.clamp_terms()
        self._shown = shown or {
            part: [float(number) for number in getattr(activation, part)] for part in ("knots", "slopes")
        }

    def forward(self, x: Tensor) -> Tensor:
        """phi(x), of the shape and dtype of x."""
        return piecewise_linear(x, self.offset, self.terms)

    def extra_repr(self) -> str:
        """The parameters."""
        return ", ".join(f"{name}={value}" for name, value in self._shown.items())


class ShiftedReLU(PiecewiseLinear):
    """ReLU_tau(x) = max(0, x - tau)."""

    def __init__(self, tau: float):
        super().__init__(member("shifted-relu", tau=tau), tau=tau)


class SoftThreshold(PiecewiseLinear):
    """ST_tau(x) = sign(x) max(0, abs(x) - tau), tau >= 0."""

    def __init__(self, tau: float):
        super().__init__(member("soft-threshold", tau=tau), tau=tau)


class ClippedReLU(PiecewiseLinear):
    """CReLU_{tau,m}(x) = min(max(0, x - tau), m), m > 0."""

    def __init__(self, tau: float, m: float):
        super().__init__(member("clipped-relu", tau=tau, m=m), tau=tau, m=m)


class ClippedSoftThreshold(PiecewiseLinear):
    """CST_{tau,m}(x) = sign(x) min(max(0, abs(x) - tau), m), tau >= 0, m > 0."""

    def __init__(self, tau: float, m: float):
        super().__init__(member("clipped-soft-threshold", tau=tau, m=m), tau=tau, m=m)


_MODULES: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "shifted-relu": ShiftedReLU,
    "soft-threshold": SoftThreshold,
    "clipped-relu": ClippedReLU,
    "clipped-soft-threshold": ClippedSoftThreshold,
}


def activation_module(design: CriticalInit) -> nn.Module:
    """A new module of the design's activation."""
    if not design.is_member:
        return PiecewiseLinear(design.phi)
    parameters = {name: value for name, value in (("tau", design.tau), ("m", design.m)) if value is not None}
    return _MODULES[design.activation](**parameters)
