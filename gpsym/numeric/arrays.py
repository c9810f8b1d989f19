"""A formula as a function of arrays, through its stable form."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from typing import Any

import numpy as np
import sympy as sp

from gpsym.formula import Q1, Q2, RHO, Formula, Q
from gpsym.numeric.compiled import array_function
from gpsym.numeric.printing import source
from gpsym.stable import RectangleMoment

__all__ = ["lambdify", "require_domain", "with_limits"]

# Elements that are worked on at once: few enough to stay in the processor's caches, so many that threads do not wait
# for each other's turn at the interpreter.  From so many blocks on, threads share them.
_BLOCK, _BLOCK_OF_PAIRS, _BLOCKS_OF_THREADS = 131072, 2048, 4

# Where q is 0 or infinite the limit is that of a power of q, told from two values this far out.
_FAR_OUT = (1e-60, 1e-80)

# Correlations may exceed 1 by so many rounding errors of the dot products that they come from.
_ROUNDING = 1e-12


@cache
def lambdify(formula: Formula, backend: str = "numpy") -> Callable[..., Any]:
    """A function of arrays that takes `formula.variables` by position or name and broadcasts them.

    backend  "numpy": float64, or float32 where all arguments are; results have the broadcast shape.
             "torch": dtype and device of the tensors given, differentiable by autograd; plain numbers become
             0-d tensors on that device (float64 if no argument is a tensor).
             Others evaluate the closed form as it stands, on numbers.

    With numpy and torch, `formula.stable` is evaluated in float64 and rounded once.  Where all its terms are positive
    the relative error is a few 1e-15 for one input, and below 1e-12 for two with knots up to 12 standard deviations,
    wherever the knots and the correlation are; NaN goes to NaN.  At q = 0 and q = oo the limit is taken, if lengths
    such as tau and m lie between 1e-25 and 1e25.

    Raises ValueError where q < 0, abs(rho) > 1 or a condition of the formula is broken, and TypeError where an
    argument is missing.
    """
    if backend not in ("numpy", "torch"):
        return _checked(formula, _as_it_stands(formula, backend))
    if backend == "numpy":
        return _checked(formula, partial(_on_numpy, formula, array_function(formula, "numpy")))
    from gpsym.torch.special import on_tensors

    return _checked(formula, partial(on_tensors, formula, array_function(formula, "torch")))


def _checked(formula: Formula, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function of values in order, as one that takes them by position or name."""
    names = [str(v) for v in formula.variables]

    def call(*args: Any, **kwargs: Any) -> Any:
        values = dict(zip(names, args, strict=False)) | kwargs
        if len(args) + len(kwargs) != len(names) or values.keys() != set(names):
            raise TypeError(
                f"{formula.name}: takes {', '.join(names)}, got {len(args)} by position "
                f"and {', '.join(kwargs) or 'none'} by name; pass each once."
            )
        return function(*(values[name] for name in names))

    call.__name__ = formula.name
    return call


def _as_it_stands(formula: Formula, backend: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec(compile(source(formula, backend), f"<gpsym {formula.name} {backend}>", "exec"), namespace)
    return namespace[formula.name]


# Arrays of numpy.


def _on_numpy(formula: Formula, function: Callable[..., Any], *values: Any) -> Any:
    arrays = [_numbers(formula, symbol, value) for symbol, value in zip(formula.variables, values, strict=True)]
    single = all(np.asarray(v).dtype == np.float32 for v in values)
    with np.errstate(all="ignore"):
        require_domain(np, formula, arrays)
        result = with_limits(np, formula, partial(_in_blocks, formula, function), arrays)
        return result.astype(np.float32) if single else result


def _numbers(formula: Formula, symbol: sp.Symbol, value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind in "biufO":
        with suppress(TypeError, ValueError):
            return array.astype(np.float64)
    raise ValueError(f"{formula.name}: need real numbers for {symbol}, got {array.dtype}; pass an array of floats.")


def _in_blocks(formula: Formula, function: Callable[..., Any], *arrays: Any) -> Any:
    shape = _common_shape(formula, arrays)
    result = np.empty(math.prod(shape))
    flat = [a if a.ndim == 0 else np.broadcast_to(a, shape).reshape(-1) for a in arrays]
    size = _BLOCK_OF_PAIRS if formula.stable.has(RectangleMoment) else _BLOCK

    def fill(start: int) -> None:
        part = slice(start, start + size)
        with np.errstate(all="ignore"):
            result[part] = function(*(a if a.ndim == 0 else a[part] for a in flat))

    starts = range(0, result.size, size)
    if len(starts) < _BLOCKS_OF_THREADS:
        for start in starts:
            fill(start)
    else:  # numpy releases the interpreter's lock
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(fill, starts))
    return result.reshape(shape)


def _common_shape(formula: Formula, arrays: Sequence[Any]) -> tuple[int, ...]:
    shapes = [a.shape for a in arrays]
    with suppress(ValueError):
        return np.broadcast_shapes(*shapes)
    shown = ", ".join(f"{symbol} {shape}" for symbol, shape in zip(formula.variables, shapes, strict=True) if shape)
    raise ValueError(f"{formula.name}: need arrays that broadcast, got {shown}; pass shapes that agree, or 1.")


def require_domain(xp: Any, formula: Formula, arrays: list[Any]) -> None:
    """Raise ValueError unless all variances are >= 0, correlations in [-1, 1] and the formula's conditions hold.

    Correlations that exceed 1 by rounding are set to it, in place of their array in the list.
    """
    for k, (symbol, array) in enumerate(zip(formula.variables, arrays, strict=True)):
        if (symbol.is_nonnegative or symbol.is_positive) and (array < 0).any():
            least = float(array[array < 0].min())
            raise ValueError(f"{formula.name}: need {symbol} >= 0, got {least}; pass {symbol} >= 0.")
        if symbol == RHO:
            if (abs(array) > 1 + _ROUNDING).any():
                largest = float(array[abs(array) > 1 + _ROUNDING].reshape(-1)[0])
                raise ValueError(f"{formula.name}: need -1 <= rho <= 1, got {largest}; pass a correlation.")
            arrays[k] = xp.clip(array, -1.0, 1.0)
    for condition in formula.conditions:
        if condition == 1 - RHO**2:
            continue
        value = _plain(formula.variables, condition)(*arrays)
        if (value < 0).any():
            raise ValueError(f"{formula.name}: need {condition} >= 0, got {float(value.min())}; pass such.")


@cache
def _plain(variables: tuple[sp.Symbol, ...], expression: sp.Expr) -> Callable[..., Any]:
    """A polynomial expression as a function of arrays of any kind."""
    return sp.lambdify(variables, expression, [{}])


def with_limits(xp: Any, formula: Formula, function: Callable[..., Any], arrays: list[Any]) -> Any:
    """The function, and its limits where a variance is 0 or infinite: there it tends to a multiple of a power."""
    places = [k for k, symbol in enumerate(formula.variables) if symbol in (Q, Q1, Q2)]
    ends = {k: (arrays[k] == 0) | (arrays[k] == math.inf) for k in places}
    if not any(mask.any() for mask in ends.values()):
        return function(*arrays)

    def moved(distance: float) -> Any:
        return [
            xp.where(arrays[k] == 0, distance, xp.where(arrays[k] == math.inf, 1 / distance, a)) if k in ends else a
            for k, a in enumerate(arrays)
        ]

    near, nearer = (function(*moved(distance)) for distance in _FAR_OUT)
    growth = xp.log(abs(nearer / near)) / math.log(_FAR_OUT[0] / _FAR_OUT[1])
    limit = xp.where(growth > 0.1, xp.sign(nearer) * math.inf, xp.where(growth < -0.1, 0 * near, nearer))
    limit = xp.where(nearer == 0, nearer, limit)
    return xp.where(sum(ends.values()) > 0, limit, nearer)
