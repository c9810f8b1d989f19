"""The activations as modules; without parameters or buffers, unless tau and m are to be learned."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gpsym.activation import Activation
from gpsym.branches import branches
from gpsym.design import CriticalInit
from gpsym.members import member
from gpsym.torch.functional import (
    clipped_relu,
    clipped_soft_threshold,
    piecewise_linear,
    piecewise_polynomial,
    shifted_relu,
    soft_threshold,
)

__all__ = [
    "ClippedReLU",
    "ClippedSoftThreshold",
    "PiecewisePolynomial",
    "ShiftedReLU",
    "SoftThreshold",
    "activation_module",
]

# What learned numbers stay above, as softplus underflows to 0: the smallest positive number of float16.
_LEAST = 2.0**-24

# Calls that torch.fx records whole, as it cannot follow their choice by size.
for _name in ("clipped_relu", "clipped_soft_threshold", "soft_threshold"):
    torch.fx.wrap(_name)


class PiecewisePolynomial(nn.Module):
    """Any `Activation` with numbers for its symbols, elementwise on tensors of any shape and floating dtype.

    Continuous piecewise-linear ones are sums of clamps, whose zeros and saturated values are exact; others choose
    among their polynomials, and take at a jump the value that `Activation` has there.

    Nothing is stored in the state_dict: the numbers belong to the architecture.

    Raises ValueError for an activation with free symbols.
    """

    def __init__(self, activation: Activation):
        super().__init__()
        if activation.parameters:
            names = ", ".join(map(str, activation.parameters))
            raise ValueError(f"PiecewisePolynomial: need numbers for {names}, got symbols; use subs first.")
        if activation.is_sum_of_clamps:
            offset, terms = activation.clamp_terms()
            self._phi = partial(piecewise_linear, offset=offset, terms=terms)
        else:
            self._phi = partial(piecewise_polynomial, branches=branches(activation))
        self._shown = (
            f"knots={list(map(float, activation.knots))}, "
            f"pieces={[list(map(float, piece)) for piece in activation.pieces]}"
        )

    def forward(self, x: Tensor) -> Tensor:
        """phi(x), of the shape and dtype of x."""
        return self._phi(x)

    def extra_repr(self) -> str:
        """Knots and pieces."""
        return self._shown


class _Thresholded(nn.Module):
    """A named activation with threshold tau and clip level m, None for one without.

    learnable  whether to learn tau and m, by parameters that leave them positive: tau = softplus(raw_tau) + 2^-24,
               m = softplus(raw_m) + 2^-24.  The gradient of tau is minus the sum of that of x, the gradient of
               m the sum over saturated units (with their sign).  It costs a few passes over memory more.

    `tau` and `m` are floats, or if learnable tensors of shape ().
    """

    NAME: str

    def __init__(self, tau: float, m: float | None = None, *, learnable: bool = False):
        super().__init__()
        member(self.NAME, tau=tau, m=m)  # raises for numbers outside their domain
        self._numbers = {name: float(value) for name, value in (("tau", tau), ("m", m)) if value is not None}
        self.learnable = learnable
        for name, value in self._numbers.items() if learnable else ():
            if value <= _LEAST:
                raise ValueError(
                    f"{type(self).__name__}: need {name} > {_LEAST:.1g} to learn it, got {name} = {value}; "
                    "start above that."
                )
            self.register_parameter(f"raw_{name}", nn.Parameter(_inverse_softplus(torch.tensor(value - _LEAST))))

    def _number(self, name: str) -> Tensor | float | None:
        if not self.learnable or name not in self._numbers:
            return self._numbers.get(name)
        return F.softplus(getattr(self, f"raw_{name}")) + _LEAST

    @property
    def tau(self) -> Tensor | float:
        """The threshold."""
        return self._number("tau")  # pyright: ignore[reportReturnType]

    @property
    def m(self) -> Tensor | float | None:
        """The clip level."""
        return self._number("m")

    def extra_repr(self) -> str:
        """The numbers as they are now."""
        with torch.no_grad():
            shown = [f"{name}={float(getattr(self, name))}" for name in self._numbers]
        return ", ".join([*shown, *(["learnable=True"] if self.learnable else [])])


class ShiftedReLU(_Thresholded):
    """ReLU_tau(x) = max(0, x - tau)."""

    NAME = "shifted-relu"

    def __init__(self, tau: float, *, learnable: bool = False):
        super().__init__(tau, learnable=learnable)

    def forward(self, x: Tensor) -> Tensor:
        """phi(x), of the shape and dtype of x."""
        return _one_sided(x, self.tau, None) if self.learnable else shifted_relu(x, self._numbers["tau"])


class SoftThreshold(_Thresholded):
    """ST_tau(x) = sign(x) max(0, abs(x) - tau), tau >= 0."""

    NAME = "soft-threshold"

    def __init__(self, tau: float, *, learnable: bool = False):
        super().__init__(tau, learnable=learnable)

    def forward(self, x: Tensor) -> Tensor:
        """phi(x), of the shape and dtype of x."""
        return _two_sided(x, self.tau, None) if self.learnable else soft_threshold(x, self._numbers["tau"])


class ClippedReLU(_Thresholded):
    """CReLU_{tau,m}(x) = min(max(0, x - tau), m), m > 0."""

    NAME = "clipped-relu"

    def __init__(self, tau: float, m: float, *, learnable: bool = False):
        super().__init__(tau, m, learnable=learnable)

    def forward(self, x: Tensor) -> Tensor:
        """phi(x), of the shape and dtype of x."""
        return _one_sided(x, self.tau, self.m) if self.learnable else clipped_relu(x, **self._numbers)


class ClippedSoftThreshold(_Thresholded):
    """CST_{tau,m}(x) = sign(x) min(max(0, abs(x) - tau), m), tau >= 0, m > 0."""

    NAME = "clipped-soft-threshold"

    def __init__(self, tau: float, m: float, *, learnable: bool = False):
        super().__init__(tau, m, learnable=learnable)

    def forward(self, x: Tensor) -> Tensor:
        """phi(x), of the shape and dtype of x."""
        return _two_sided(x, self.tau, self.m) if self.learnable else clipped_soft_threshold(x, **self._numbers)


def _one_sided(x: Tensor, tau: Tensor | float, m: Tensor | float | None) -> Tensor:
    """max(0, x - tau), clipped at m unless that is None, of tensors tau and m; gradients of both."""
    unclipped = F.relu(x - tau)
    return unclipped if m is None else torch.where(unclipped >= m, m, unclipped)


def _two_sided(x: Tensor, tau: Tensor | float, m: Tensor | float | None) -> Tensor:
    return x.sign() * _one_sided(x.abs(), tau, m)


def _inverse_softplus(value: Tensor) -> Tensor:
    """x with log(1 + e^x) = value > 0, without cancellation."""
    return value + torch.log(-torch.expm1(-value))


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
