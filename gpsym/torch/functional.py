"""The activations as functions of a tensor; any shape, floating dtype and device, differentiable."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

from gpsym.activation import Term
from gpsym.branches import Branch
from gpsym.members import member

__all__ = [
    "clipped_relu",
    "clipped_soft_threshold",
    "piecewise_linear",
    "piecewise_polynomial",
    "shifted_relu",
    "soft_threshold",
]


def piecewise_linear(x: Tensor, offset: float, terms: Iterable[Term]) -> Tensor:
    """offset + sum of slope * clamp(x - shift, low, high); the numbers are those of `Activation.clamp_terms`.

    x  any shape.  The result has its shape and dtype; zeros and saturated values are exact.
    """
    parts = [_scaled(torch.clamp(x - shift, low, high), slope) for slope, shift, low, high in terms]
    total = sum(parts[1:], start=parts[0]) if parts else torch.zeros_like(x)
    return total + offset if offset else total


def piecewise_polynomial(x: Tensor, branches: Iterable[Branch]) -> Tensor:
    """The polynomial of the last branch that begins before x; the numbers are those of `gpsym.branches.branches`.

    x  any shape.  The result has its shape and dtype; its gradient is that of the polynomial, 0 for constants.
    """
    first, *others = branches
    result = _horner(x, first)
    for branch in others:
        reached = x >= branch.start if branch.included else x > branch.start
        result = torch.where(reached, _horner(x, branch), result)
    return torch.where(x.isnan(), x, result)


def _horner(x: Tensor, branch: Branch) -> Tensor:
    """The polynomial where the branch counts.

    Elsewhere it is that of the nearer end: an overflow there would turn the gradient 0 of what `where` leaves out
    into NaN.
    """
    if not branch.coefficients:
        return torch.zeros_like(x)
    *lower, leading = branch.coefficients
    inside = torch.clamp(x, branch.start, branch.end)
    total = torch.full_like(x, leading)
    for coefficient in reversed(lower):
        total = total * inside + coefficient
    return total


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else factor * x


@lru_cache(maxsize=64)
def _numbers(name: str, tau: float, m: float | None = None) -> tuple[float, tuple[Term, ...]]:
    return member(name, tau=tau, m=m).clamp_terms()


def shifted_relu(x: Tensor, tau: float) -> Tensor:
    """ReLU_tau(x) = max(0, x - tau)."""
    return piecewise_linear(x, *_numbers("shifted-relu", tau))


def soft_threshold(x: Tensor, tau: float) -> Tensor:
    """ST_tau(x) = sign(x) max(0, abs(x) - tau), tau >= 0."""
    return piecewise_linear(x, *_numbers("soft-threshold", tau))


def clipped_relu(x: Tensor, tau: float, m: float) -> Tensor:
    """CReLU_{tau,m}(x) = min(max(0, x - tau), m), m > 0."""
    return piecewise_linear(x, *_numbers("clipped-relu", tau, m))


def clipped_soft_threshold(x: Tensor, tau: float, m: float) -> Tensor:
    """CST_{tau,m}(x) = sign(x) min(max(0, abs(x) - tau), m), tau >= 0, m > 0."""
    return piecewise_linear(x, *_numbers("clipped-soft-threshold", tau, m))
