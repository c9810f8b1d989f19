"""The activations as functions of a tensor; any shape, floating dtype and device, differentiable any number of times.

At a knot the gradient is the number nearest to zero between the slopes on its sides, such as 0 for ReLU at 0: the
subgradient of least size.  In low precision m and the two-sided tau are rounded first, so that what equals them is
saturated or zero, and so is its gradient.

Needs torch and the standard library only: `gpsym export` writes parts of this very code into a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "clipped_relu",
    "clipped_soft_threshold",
    "piecewise_linear",
    "piecewise_polynomial",
    "shifted_relu",
    "soft_threshold",
]

# Elements from which on fresh memory costs more than Python code, about 0.1 ms, that spares it.
LARGE = 2**18


def shifted_relu(x: Tensor, tau: float) -> Tensor:
    """ReLU_tau(x) = max(0, x - tau)."""
    return F.relu_(x - tau)


def soft_threshold(x: Tensor, tau: float) -> Tensor:
    """ST_tau(x) = sign(x) max(0, abs(x) - tau), tau >= 0."""
    _require("soft_threshold", tau, math.inf)
    tau = _rounded(tau, x.dtype)
    if _spare_memory(x):
        return _FromOutput.apply(x, tau, math.inf, -math.inf)
    return _one_mask(x, F.softshrink(x.detach(), tau), tau, math.inf) if _trains_compiled(x) else F.softshrink(x, tau)


def clipped_relu(x: Tensor, tau: float, m: float) -> Tensor:
    """CReLU_{tau,m}(x) = min(max(0, x - tau), m), m > 0."""
    _require("clipped_relu", 0.0, m)
    top = _rounded(m, x.dtype)
    return _FromOutput.apply(x, tau, top, 0.0) if _spare_memory(x) else F.hardtanh(x - tau, 0.0, top)


def clipped_soft_threshold(x: Tensor, tau: float, m: float) -> Tensor:
    """CST_{tau,m}(x) = sign(x) min(max(0, abs(x) - tau), m), tau >= 0, m > 0."""
    _require("clipped_soft_threshold", tau, m)
    tau, top = _rounded(tau, x.dtype), _rounded(m, x.dtype)
    if _spare_memory(x):
        return _FromOutput.apply(x, tau, top, -top)
    y = F.hardtanh(F.softshrink(x.detach() if (compiled := _trains_compiled(x)) else x, tau), -top, top)
    return _one_mask(x, y, tau, top) if compiled else y


def piecewise_linear(x: Tensor, offset: float, terms: Iterable[tuple]) -> Tensor:
    """offset + sum of slope * clamp(x - shift, low, high); the numbers are those of `Activation.clamp_terms`.

    x  any shape.  The result has its shape and dtype; zeros and saturated values are exact.
    """
    parts = [_term(x, *term) for term in terms]
    total = sum(parts[1:], start=parts[0]) if parts else torch.zeros_like(x)
    return total + offset if offset else total


def piecewise_polynomial(x: Tensor, branches: Sequence[tuple]) -> Tensor:
    """The polynomial of the last branch that begins before x; the numbers are those of `gpsym.branches.branches`.

    x  any shape.  The result has its shape and dtype; its gradient is that of the polynomial, 0 for constants.
    """
    result = _horner(x, branches[0])
    for branch in branches[1:]:
        start, included, *_ = branch
        result = torch.where(x >= start if included else x > start, _horner(x, branch), result)
    return torch.where(x.isnan(), x, result)


def _horner(x: Tensor, branch: tuple) -> Tensor:
    """The polynomial where the branch counts.

    Elsewhere it is that of the nearer end: an overflow there would turn the gradient 0 of what `where` leaves out
    into NaN.
    """
    start, _, end, coefficients = branch
    if not coefficients:
        return torch.zeros_like(x)
    *lower, leading = coefficients
    inside = torch.clamp(x, start, end)
    total = torch.full_like(x, leading)
    for coefficient in reversed(lower):
        total = total * inside + coefficient
    return total


def _term(
    x: Tensor, slope: float, shift: float, low: float, high: float, closed_low: bool, closed_high: bool
) -> Tensor:
    """slope * clamp(x - shift, low, high), whose gradient at an end is the slope if closed, else 0."""
    shifted = x - shift if shift else x
    low, high = _rounded(low, x.dtype), _rounded(high, x.dtype)
    open_low, open_high = (-math.inf if closed_low else low), (math.inf if closed_high else high)
    clamped = F.hardtanh(shifted, open_low, open_high) if open_low > -math.inf or open_high < math.inf else shifted
    clamped = torch.clamp(clamped, low, high) if closed_low or closed_high else clamped
    return clamped if slope == 1 else slope * clamped


def _require(name: str, tau: float, m: float) -> None:
    if not tau >= 0:
        raise ValueError(f"{name}: need tau >= 0, got tau = {tau}; pass a threshold that is not negative.")
    if not m > 0:
        raise ValueError(f"{name}: need m > 0, got m = {m}; pass a clip level above zero.")


def _rounded(number: float, dtype: torch.dtype) -> float:
    """The number of the dtype nearest to it; float32 and wider are left to torch's kernels, which round the same."""
    if dtype not in (torch.bfloat16, torch.float16) or not math.isfinite(number):
        return number
    limits = torch.finfo(dtype)
    _, exponent = math.frexp(number)
    spacing = max(limits.eps * 2.0 ** (exponent - 1), limits.eps * limits.tiny)
    rounded = round(number / spacing) * spacing
    return math.copysign(math.inf, number) if abs(rounded) > limits.max else rounded


def _spare_memory(x: Tensor) -> bool:
    """Whether to keep the output alone for the gradient, by Python code that has its price.

    A compiler decides by itself what to keep, and cannot look into that code.
    """
    return not torch.compiler.is_compiling() and torch.is_grad_enabled() and x.requires_grad and x.numel() >= LARGE


def _trains_compiled(x: Tensor) -> bool:
    """Whether a compiler, which is no exporter, follows x for its gradient."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting() and x.requires_grad


def _one_mask(x: Tensor, y: Tensor, tau: float, m: float) -> Tensor:
    """y, the clipped soft threshold of x; written such that compilers keep one mask for the gradient, not two."""
    size = y.abs()
    return torch.where((size > 0) & (size < m), x - tau * x.detach().sign(), y)


class _FromOutput(torch.autograd.Function):
    """y = clamp(x - tau, 0, m), or clamp(softshrink(x, tau), -m, m) for bottom = -m; keeps y alone.

    Where 0 < abs(y) < m the slope is 1, elsewhere 0.
    """

    @staticmethod
    def forward(x: Tensor, tau: float, m: float, bottom: float) -> Tensor:
        y = F.softshrink(x, tau) if bottom else x - tau
        return y if bottom == -math.inf else y.clamp_(bottom, m)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)
        ctx.ends = inputs[2:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        where_linear = _WhereLinear.apply if torch.is_grad_enabled() else _WhereLinear.forward
        return where_linear(gradient, *ctx.saved_tensors, *ctx.ends), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _WhereLinear.apply(tangent, *ctx.saved_tensors, *ctx.ends)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, x: Tensor, *numbers: float) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _FromOutput.apply(x, *numbers), in_dims[0]


class _WhereLinear(torch.autograd.Function):
    """g where 0 < abs(y) < m, else 0; linear in g, and constant in y wherever it has a derivative."""

    @staticmethod
    def forward(g: Tensor, y: Tensor, m: float, bottom: float) -> Tensor:
        if not bottom:
            return torch.ops.aten.hardtanh_backward(g, y, 0.0, m)
        size = y.abs()
        try:  # into the memory of size: fresh memory costs more than a pass over it
            return torch.ops.aten.hardtanh_backward.grad_input(g, size, 0.0, m, grad_input=size)
        except RuntimeError:  # torch.autograd.grad(is_grads_batched=True) knows no given memory
            return torch.ops.aten.hardtanh_backward(g, size, 0.0, m)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])
        ctx.ends = inputs[2:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _WhereLinear.apply(gradient, *ctx.saved_tensors, *ctx.ends), None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _WhereLinear.apply(tangent, *ctx.saved_tensors, *ctx.ends)

    @staticmethod
    def vmap(info: Any, in_dims: tuple, g: Tensor, y: Tensor, *ends: float) -> tuple:  # pyright: ignore[reportIncompatibleMethodOverride]
        g, y = (
            t.expand(info.batch_size, *t.shape) if dim is None else t.movedim(dim, 0)
            for t, dim in zip((g, y), in_dims, strict=False)
        )
        return _WhereLinear.apply(g, y, *ends), 0
