"""From a formula to numbers: the one path, for every backend, and the only table of functions.

`source` writes a formula as Python code with common subexpressions named, `lambdify` runs that very code on
arrays, and `evaluate` runs it in mpmath at whatever precision the asked digits need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar

import mpmath
import sympy as sp
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.pycode import MpmathPrinter, PythonCodePrinter

from gpsym.formula import Formula, exact, require

__all__ = ["BACKENDS", "Mpf", "at_precision", "context", "evaluate", "lambdify", "precise", "source", "to_mpf"]


Mpf = Any  # a number of some mpmath context, each of which has a type of its own


class _TorchPrinter(PythonCodePrinter):
    """Tensor code.  SymPy's own torch printer calls torch.sqrt on numbers, lacks erfc and imports torch."""

    _kf: ClassVar = {"exp": "torch.exp", "erf": "torch.special.erf", "erfc": "torch.special.erfc"}

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        return self._hprint_Pow(expr, rational=rational, sqrt="torch.sqrt")


def _fold_constants(expression: Any) -> sp.Expr:
    """The same expression with every numeric factor or summand one float; exponents stay exact.

    Python floats, unlike numpy.sqrt(2), leave the dtype (and device) of arrays and tensors alone.
    """
    if expression.is_number:
        return expression if expression.is_Integer else sp.sympify(expression.evalf(30))
    if expression.is_Atom:
        return expression
    if isinstance(expression, sp.Pow):
        return _fold_constants(expression.base) ** expression.exp
    return expression.func(*map(_fold_constants, expression.args))


@dataclass(frozen=True)
class _Backend:
    printer: Callable[[], PythonCodePrinter]
    imports: tuple[str, ...]
    prepare: Callable[[sp.Expr], sp.Expr] = lambda expression: expression


# The settings make the printers qualify every name with its module, as in scipy.special.erfc.
_QUALIFIED = {"fully_qualified_modules": True}
BACKENDS = {
    "python": _Backend(lambda: PythonCodePrinter(_QUALIFIED), ("math",)),
    "numpy": _Backend(lambda: SciPyPrinter(_QUALIFIED), ("numpy", "scipy.special"), _fold_constants),
    "mpmath": _Backend(lambda: MpmathPrinter(_QUALIFIED), ("mpmath",)),
    "torch": _Backend(lambda: _TorchPrinter(_QUALIFIED), ("torch",), _fold_constants),
}


def _backend(name: str) -> _Backend:
    if name not in BACKENDS:
        raise ValueError(f"numeric: unknown backend {name!r}; choose from {', '.join(BACKENDS)}.")
    return BACKENDS[name]


@cache
def source(formula: Formula, backend: str = "numpy") -> str:
    """Python source of a function of `formula.variables`, named like the formula, with its imports.

    backend  "python" (math, scalars), "numpy" (with scipy.special), "mpmath" or "torch".

    Raises ValueError for an unknown backend.
    """
    imports = "\n".join(f"import {module}" for module in _backend(backend).imports)
    return f"{imports}\n\n\n{_function(formula.name, formula.variables, formula.expression, backend)}"


@cache
def _function(name: str, variables: tuple[sp.Symbol, ...], expression: sp.Expr, backend: str) -> str:
    printer = BACKENDS[backend].printer()
    names = sp.numbered_symbols("t", exclude=[sp.Symbol(str(v)) for v in variables])
    steps, (result,) = sp.cse(BACKENDS[backend].prepare(expression), symbols=names, order="none")
    body = [f"{symbol} = {printer.doprint(value)}" for symbol, value in steps]
    lines = [f"def {name}({', '.join(map(str, variables))}):", *body, f"return {printer.doprint(result)}"]
    return "\n    ".join(lines) + "\n"


@cache
def lambdify(formula: Formula, backend: str = "numpy") -> Callable[..., Any]:
    """A function of arrays that takes `formula.variables` by position or name and broadcasts them.

    backend  "numpy": float64, or float32 where all arguments are; results have the broadcast shape.
             "torch": dtype and device of the tensors given, differentiable by autograd; plain numbers
             become 0-d tensors on that device (float64 if no argument is a tensor).

    The closed form is evaluated as it stands, and its conditions are not checked: relative accuracy is lost where
    its terms cancel (m much smaller than sqrt(q), abs(tau) much larger).  `evaluate` is exact to the last digit.
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


def evaluate(formula: Formula, values: Mapping[str, Any], digits: int = 17) -> Mpf:
    """The formula at one point, to `digits` correct significant digits.

    values  number per variable name; floats count as the exact rationals that they are.  Names that the
            formula does not use are ignored.
    Raises ValueError where a variable is missing, or a value is not finite and real or outside the domain.

    >>> from gpsym import clipped_relu, maps
    >>> value = evaluate(maps.chi_1(clipped_relu()), {"q": 1, "tau": 1, "m": 1e-12, "sigma_w2": 1}, digits=20)
    >>> mpmath.nstr(value, 20)
    '2.4197072451902235957e-13'
    """
    if digits < 1:
        raise ValueError(f"{formula.name}: need digits >= 1, got {digits}; 17 make a float64.")
    missing = [str(v) for v in formula.variables if str(v) not in values]
    if missing:
        raise ValueError(f"{formula.name}: need a value for {', '.join(missing)}; pass one.")
    numbers = require(formula.name, {v: values[str(v)] for v in formula.variables}, formula.conditions)
    return precise(formula.expression, numbers, digits)


def precise(expression: sp.Expr, values: Mapping[sp.Symbol, Any], digits: int = 17) -> Mpf:
    """A closed form at one point, to `digits` correct significant digits.

    The precision starts where no number is absorbed by another, not even in their fourth powers, and is doubled
    until two evaluations agree, so cancellation costs time and not digits.  Zero is returned where the expression
    vanishes with the values that are 0, and where 2^16 bits more show nothing else, as far below float64's range.
    """
    numbers: dict[Any, Any] = {symbol: exact(value) for symbol, value in values.items()}
    sizes = [n.p.bit_length() - n.q.bit_length() for n in (*numbers.values(), sp.S.One) if n != 0]
    bits = math.ceil(digits * math.log2(10)) + 16 + 4 * (max(sizes) - min(sizes))
    first = precision = 128 * math.ceil(bits / 128)  # few precisions, for the caches
    zeros = {symbol: number for symbol, number in numbers.items() if number == 0}
    previous = None
    while precision <= first + 2**16:
        function = at_precision(tuple(numbers), expression, precision)
        value = context(precision).mpf(function(*(to_mpf(n, precision) for n in numbers.values())))
        if value == 0 and expression.subs(zeros) == 0:
            break
        tolerance = abs(value) / mpmath.mpf(10) ** (digits + 1)
        if value != 0 and previous is not None and abs(value - previous) <= tolerance:
            return value
        precision, previous = 2 * precision, value
    return context(precision).zero


@lru_cache(maxsize=256)
def context(precision: int) -> mpmath.MPContext:
    """A private mpmath context with this many bits; mpmath's global precision is never touched."""
    ctx = mpmath.MPContext()
    ctx.prec = precision
    return ctx


class _Functions:
    """The functions of a context under the names that `MpmathPrinter` writes, with tails that underflow to zero.

    mpmath's numbers have no smallest one, but their exponents must be computed: exp(-10^16) and erfc(10^8) are
    counted as 0.
    """

    def __init__(self, ctx: mpmath.MPContext):
        self.mpf, self.sqrt, self.erf, self.pi, self._ctx = ctx.mpf, ctx.sqrt, ctx.erf, ctx.pi, ctx
        self.inf, self.ninf = ctx.inf, ctx.ninf

    def exp(self, x: Mpf) -> Mpf:
        return self._ctx.zero if x < -1e16 else self._ctx.exp(x)

    def erfc(self, x: Mpf) -> Mpf:
        if abs(x) > 1e8:
            return self._ctx.mpf(0 if x > 0 else 2)
        return self._ctx.erfc(x)


@lru_cache(maxsize=4096)
def at_precision(variables: tuple[sp.Symbol, ...], expression: sp.Expr, precision: int) -> Callable[..., Mpf]:
    """The expression as a function of numbers of `context(precision)`."""
    namespace: dict[str, Any] = {"mpmath": _Functions(context(precision))}
    exec(_function("function", variables, expression, "mpmath"), namespace)
    return namespace["function"]


def to_mpf(number: Any, precision: int) -> Mpf:
    """The rational as a number of `context(precision)`."""
    return context(precision).mpf(number.p) / number.q
