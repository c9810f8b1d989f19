"""A formula as a function of arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from gpsym.formula import Formula
from gpsym.numeric.printing import source

__all__ = ["lambdify"]


@cache
def lambdify(formula: Formula, backend: str = "numpy") -> Callable[..., Any]:
    """A function of arrays that takes `formula.variables` by position or name and broadcasts them.

    backend  "numpy": float64, or float32 where all arguments are; results have the broadcast shape.
             "torch": dtype and device of the tensors given, differentiable by autograd; plain numbers
             become 0-d tensors on that device (float64 if no argument is a tensor).

    The closed form is evaluated as it stands, and its conditions are not checked: relative accuracy is lost where
    its terms cancel (m much smaller than sqrt(q), abs(tau) much larger), and a bivariate tail, for -1 < rho < 1, has an
    absolute error of about 1e-15.  `evaluate` is exact to the last digit.
    """
    namespace: dict[str, Any] = {}
    text = source(formula, backend)
    exec(compile(text, f"<gpsym {formula.name} {backend}>", "exec"), namespace)
    function = namespace[formula.name]
    names = [str(v) for v in formula.variables]
    prepare = {"numpy": _numpy_arguments, "torch": _torch_arguments}.get(backend, lambda values: values)

    def call(*args: Any, **kwargs: Any) -> Any:
        values = dict(zip(names, args, strict=False)) | kwargs
        if len(args) + len(kwargs) != len(names) or values.keys() != set(names):
            raise TypeError(
                f"{formula.name}: takes {', '.join(names)}, got {len(args)} by position "
                f"and {', '.join(kwargs) or 'none'} by name; pass each once."
            )
        arguments = prepare([values[n] for n in names])
        result = function(*arguments)
        # A constant formula (ReLU's slope) still has the shape of its arguments.
        return result if len(formula.expression.free_symbols) == len(names) else result + 0 * sum(arguments)

    call.__name__, call.__doc__ = formula.name, text
    return call


def _numpy_arguments(values: list[Any]) -> list[Any]:
    import numpy as np

    arrays = [np.asarray(v) for v in values]
    dtype = np.float32 if all(a.dtype == np.float32 for a in arrays) else np.float64
    return [a.astype(dtype) for a in arrays]


def _torch_arguments(values: list[Any]) -> list[Any]:
    import torch

    tensors = [v for v in values if isinstance(v, torch.Tensor)]
    like = tensors[0] if tensors else torch.zeros((), dtype=torch.float64)
    return [v if isinstance(v, torch.Tensor) else like.new_tensor(v) for v in values]
