"""The moments of `gpsym.stable` on tensors, differentiable any number of times, and formulas made of them.

Derivatives are the closed forms that SymPy's `fdiff` gives, in moments again.  The computation itself is one custom
operator, so that torch.compile keeps it as a node and torch.func transforms it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import sympy as sp
import torch
from torch import Tensor

from gpsym.formula import Formula
from gpsym.numeric import moments, rectangles
from gpsym.numeric.arrays import require_domain, with_limits
from gpsym.numeric.compiled import stable_function
from gpsym.numeric.doubles import Double
from gpsym.stable import IntervalMoment, JointDensity, RectangleMoment

__all__ = ["interval_moments", "joint_density", "on_tensors", "rectangle_moments"]


def on_tensors(formula: Formula, function: Callable[..., Any], *values: Any) -> Tensor:
    """A formula of tensors and numbers, in the dtype and on the device of the first tensor, computed in float64.

    function  what `gpsym.numeric.compiled.array_function` makes of it.
    """
    tensors = [v for v in values if isinstance(v, Tensor)]
    like = tensors[0] if tensors else torch.zeros((), dtype=torch.float64)
    arguments = [torch.as_tensor(v, dtype=torch.float64, device=like.device) for v in values]
    if torch.compiler.is_compiling() or any(map(_is_wrapped, arguments)):
        result = function(*arguments)  # which sees no numbers to check
    else:
        require_domain(torch, formula, arguments)
        result = with_limits(torch, formula, function, arguments)
    shape = torch.broadcast_shapes(*(a.shape for a in arguments))
    result = torch.as_tensor(result, dtype=torch.float64, device=like.device)
    return result.to(like.dtype if like.is_floating_point() else torch.float64).broadcast_to(shape)


def _is_wrapped(value: Tensor) -> bool:
    """Whether torch.func works on it: such tensors may hold a batch and then answer no questions."""
    return torch._C._functorch.is_functorch_wrapped_tensor(value)  # pyright: ignore[reportAttributeAccessIssue]


def interval_moments(orders: Sequence[int], t: Double, w: Any, q: Any) -> tuple[Tensor, ...]:
    """`gpsym.numeric.moments.interval_moments` on tensors."""
    return _apply(_Kind("interval", tuple(orders), (w is math.inf,)), *t, w, q)


def rectangle_moments(
    orders: Sequence[tuple[int, int]], first: tuple[Double, Any, Any], second: tuple[Double, Any, Any], rho: Any
) -> tuple[Tensor, ...]:
    """`gpsym.numeric.rectangles.rectangle_moments` on tensors."""
    (t1, w1, q1), (t2, w2, q2) = first, second
    flat = tuple(n for pair in orders for n in pair)
    return _apply(_Kind("rectangle", flat, (w1 is math.inf, w2 is math.inf)), *t1, w1, q1, *t2, w2, q2, rho)


def joint_density(x: Double, y: Double, q1: Any, q2: Any, rho: Any) -> Tensor:
    """`gpsym.numeric.rectangles.joint_density` on tensors."""
    return _apply(_Kind("density", (), ()), *x, *y, q1, q2, rho)[0]


class _Kind(NamedTuple):
    """Which function, of which orders, and which of its widths are infinite throughout."""

    name: str
    orders: tuple[int, ...]
    infinite: tuple[bool, ...]


def _apply(kind: _Kind, *values: Any) -> tuple[Tensor, ...]:
    tensors = [v for v in values if isinstance(v, Tensor)]
    device = tensors[0].device if tensors else None
    arguments = [torch.as_tensor(v, dtype=torch.float64, device=device) for v in values]
    if torch.compiler.is_compiling():
        return tuple(_special(kind.name, list(kind.orders), list(kind.infinite), arguments))
    return _Special.apply(kind, *arguments)


def _pairs(orders: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(orders[::2], orders[1::2], strict=True))


@torch.library.custom_op("gpsym::special", mutates_args=())
def _special(name: str, orders: Sequence[int], infinite: Sequence[bool], values: Sequence[Tensor]) -> list[Tensor]:
    if name == "interval":
        t, t_low, w, q = values
        return moments.interval_moments(torch, orders, (t, t_low), w, q)
    if name == "rectangle":
        t1, t1_low, w1, q1, t2, t2_low, w2, q2, rho = values
        first, second = ((t1, t1_low), w1, q1), ((t2, t2_low), w2, q2)
        return rectangles.rectangle_moments(torch, _pairs(orders), first, second, rho)
    x, x_low, y, y_low, q1, q2, rho = values
    return [rectangles.joint_density(torch, (x, x_low), (y, y_low), q1, q2, rho)]


@_special.register_fake
def _shapes(name: str, orders: Sequence[int], infinite: Sequence[bool], values: Sequence[Tensor]) -> list[Tensor]:
    shape = torch.broadcast_shapes(*(v.shape for v in values))
    count = {"interval": len(orders), "rectangle": len(orders) // 2, "density": 1}[name]
    return [values[0].new_empty(shape) for _ in range(count)]


def _gradients(ctx: Any, gradients: Sequence[Tensor], needed: Sequence[bool]) -> list[Tensor | None]:
    """The sum of gradients times derivatives, for each argument that needs it."""
    values, derivatives = ctx.saved_tensors, _derivatives(ctx.kind)
    return [
        derivatives[k](*values, *gradients) if needed[k] and k in derivatives else None
        for k, value in enumerate(values)
    ]


# torch.compile wants derivatives of the operator, torch.func those of an autograd.Function around it.


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    name, orders, infinite, values = inputs
    ctx.kind = _Kind(name, tuple(orders), tuple(infinite))
    ctx.save_for_backward(*values)


def _backward(ctx: Any, gradients: Sequence[Tensor]) -> Any:
    return None, None, None, _gradients(ctx, gradients, ctx.needs_input_grad[3])


_special.register_autograd(_backward, setup_context=_setup_context)


class _Special(torch.autograd.Function):
    @staticmethod
    def forward(kind: _Kind, *values: Tensor) -> tuple[Tensor, ...]:
        return tuple(_special(kind.name, list(kind.orders), list(kind.infinite), list(values)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.kind, *values = inputs
        ctx.save_for_backward(*values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, *_gradients(ctx, gradients, ctx.needs_input_grad[1:])

    @staticmethod
    def vmap(info: Any, in_dims: Any, *arguments: Any) -> Any:
        (kind, *values), dims = arguments, in_dims[1:]
        rank = max(v.dim() - (d is not None) for v, d in zip(values, dims, strict=True))
        aligned = (v if d is None else _batch_first(v, d, rank) for v, d in zip(values, dims, strict=True))
        results = _Special.apply(kind, *aligned)
        return results, (0,) * len(results)


def _batch_first(value: Tensor, dim: int, rank: int) -> Tensor:
    moved = value.movedim(dim, 0)
    return moved.reshape(moved.shape[0], *(1,) * (rank - moved.dim() + 1), *moved.shape[1:])


@cache
def _derivatives(kind: _Kind) -> dict[int, Callable[..., Tensor]]:
    """By place of an argument: the sum of gradients times derivatives in it, of all arguments and the gradients."""
    functions, places, variables = _symbols(kind)
    gradients = sp.symbols(f"g:{len(functions)}", real=True)
    found = {}
    for k, argument in places.items():
        total = sp.Add(*(g * f.fdiff(argument) for g, f in zip(gradients, functions, strict=True)))
        exact = total.subs(
            {v: v + variables[n + 1] for n, v in enumerate(variables) if v.name in ("t", "t1", "t2", "x", "y")}
        )
        found[k] = stable_function("derivative", (*variables, *gradients), exact, "torch")
    return found


def _symbols(kind: _Kind) -> tuple[list[Any], dict[int, int], tuple[sp.Symbol, ...]]:
    """The functions as SymPy has them, which argument of them each argument here is, and the symbols of these."""
    real = partial(sp.Symbol, real=True)
    positive = partial(sp.Symbol, positive=True)
    if kind.name == "density":
        x, y, q1, q2, rho = real("x"), real("y"), positive("q1"), positive("q2"), real("rho")
        variables = (x, real("x_low"), y, real("y_low"), q1, q2, rho)
        return [JointDensity(x, y, q1, q2, rho)], {0: 1, 2: 2, 4: 3, 5: 4, 6: 5}, variables
    if kind.name == "interval":
        t, w, q = real("t"), positive("w"), positive("q")
        width = sp.oo if kind.infinite[0] else w
        places = {0: 2, 2: 3, 3: 4}
        functions = [IntervalMoment(n, t, width, q, evaluate=False) for n in kind.orders]
        return functions, _finite(places, {2: kind.infinite[0]}), (t, real("t_low"), w, q)
    t1, w1, q1, t2, w2, q2, rho = (
        real("t1"),
        positive("w1"),
        positive("q1"),
        real("t2"),
        positive("w2"),
        positive("q2"),
        real("rho"),
    )
    widths = [sp.oo if infinite else w for infinite, w in zip(kind.infinite, (w1, w2), strict=True)]
    places = {0: 2, 2: 3, 3: 7, 4: 5, 6: 6, 7: 8, 8: 9}
    functions = [
        RectangleMoment(i, t1, widths[0], j, t2, widths[1], q1, q2, rho, evaluate=False) for i, j in _pairs(kind.orders)
    ]
    variables = (t1, real("t1_low"), w1, q1, t2, real("t2_low"), w2, q2, rho)
    return functions, _finite(places, {2: kind.infinite[0], 6: kind.infinite[1]}), variables


def _finite(places: dict[int, int], infinite: dict[int, bool]) -> dict[int, int]:
    """Without the widths that are infinite: nothing depends on them."""
    return {k: argument for k, argument in places.items() if not infinite.get(k, False)}
