"""A formula as code with common subexpressions named, and the only table of functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any, ClassVar

import sympy as sp
from sympy.printing.c import C99CodePrinter
from sympy.printing.codeprinter import CodePrinter
from sympy.printing.numpy import SciPyPrinter
from sympy.printing.pycode import AbstractPythonCodePrinter, MpmathPrinter, PythonCodePrinter

from gpsym.formula import Formula
from gpsym.special import BivariateTail, TailMoment

__all__ = ["BACKENDS", "call_source", "function_source", "source"]


def _bivariate_tail_call(printer: CodePrinter, expr: BivariateTail) -> str:
    return f"bivariate_tail({', '.join(_printed(printer, expr.args))})"


def _printed(printer: CodePrinter, expressions: Iterable[Any]) -> list[str]:
    return [str(printer.doprint(expression)) for expression in expressions]


class _PythonPrinter(PythonCodePrinter):
    _print_BivariateTail = _bivariate_tail_call


class _NumpyPrinter(SciPyPrinter):
    _print_BivariateTail = _bivariate_tail_call

    def _print_Max(self, expr: sp.Max) -> str:
        return _nested_maximum("numpy.maximum", self, expr)


class _MpmathPrinter(MpmathPrinter):
    def _print_BivariateTail(self, expr: BivariateTail) -> str:
        return f"mpmath.{_bivariate_tail_call(self, expr)}"


class _CPrinter(C99CodePrinter):
    _print_BivariateTail = _bivariate_tail_call


class _ArrayPrinter(PythonCodePrinter):
    """Code for an array library whose functions take no Python numbers, hence roots of numbers are folded first."""

    library: ClassVar[str]
    _print_BivariateTail = _bivariate_tail_call

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        return self._hprint_Pow(expr, rational=rational, sqrt=f"{self.library}.sqrt")

    def _print_Max(self, expr: sp.Max) -> str:
        return _nested_maximum(f"{self.library}.maximum", self, expr)

    _print_Infinity = AbstractPythonCodePrinter._print_Infinity


class _TorchPrinter(_ArrayPrinter):
    """Tensor code.  SymPy's own torch printer calls torch.sqrt on numbers, lacks erfc and imports torch."""

    library = "torch"
    _kf: ClassVar = {
        "exp": "torch.exp",
        "erf": "torch.special.erf",
        "erfc": "torch.special.erfc",
        "asin": "torch.asin",
    }


class _JaxPrinter(_ArrayPrinter):
    library = "jax.numpy"
    _kf: ClassVar = {
        "exp": "jax.numpy.exp",
        "erf": "jax.scipy.special.erf",
        "erfc": "jax.scipy.special.erfc",
        "asin": "jax.numpy.arcsin",
    }


def _nested_maximum(function: str, printer: CodePrinter, expr: sp.Max) -> str:
    return reduce(lambda a, b: f"{function}({a}, {b})", _printed(printer, expr.args))


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
    """A language: its printer, the modules it imports, whether constants are folded, and names for `_TAIL`."""

    printer: Callable[[], CodePrinter]
    imports: tuple[str, ...]
    fold: bool = False
    names: tuple[str, ...] = ()  # of atanh, exp, erfc


# The settings make the printers qualify every name with its module, as in scipy.special.erfc.
_QUALIFIED = {"fully_qualified_modules": True}
BACKENDS = {
    "python": _Backend(lambda: _PythonPrinter(_QUALIFIED), ("math",), names=("math.atanh", "math.exp", "math.erfc")),
    "numpy": _Backend(
        lambda: _NumpyPrinter(_QUALIFIED),
        ("numpy", "scipy.special"),
        fold=True,
        names=("numpy.arctanh", "numpy.exp", "scipy.special.erfc"),
    ),
    "mpmath": _Backend(lambda: _MpmathPrinter(_QUALIFIED), ("mpmath",)),
    "torch": _Backend(
        lambda: _TorchPrinter(_QUALIFIED),
        ("torch",),
        fold=True,
        names=("torch.atanh", "torch.exp", "torch.special.erfc"),
    ),
    "jax": _Backend(
        lambda: _JaxPrinter(_QUALIFIED),
        ("jax", "jax.scipy.special"),
        fold=True,
        names=("jax.numpy.arctanh", "jax.numpy.exp", "jax.scipy.special.erfc"),
    ),
    "c": _Backend(_CPrinter, ("math.h",), fold=True),
}

# Gauss-Legendre nodes and weights of order 16 on (-1, 1), the positive half; numpy.polynomial.legendre.leggauss(16).
_NODES = (
    (0.09501250983763744, 0.1894506104550685),
    (0.2816035507792589, 0.18260341504492358),
    (0.45801677765722737, 0.16915651939500254),
    (0.6178762444026438, 0.14959598881657674),
    (0.755404408355003, 0.12462897125553387),
    (0.8656312023878318, 0.09515851168249279),
    (0.9445750230732326, 0.062253523938647894),
    (0.9894009349916499, 0.027152459411754096),
)

# P(X > h, Y > k) = Q(h) Q(k) + int_0^rho joint density dr, and with r = tanh(y), c = cosh(y) the integral is that of
# exp(-c ((h - k)^2 e^y + (h + k)^2 e^-y) / 4) / (2 pi c), which changes on the scale of 1 in y whatever h, k and rho.
_TAIL = """def bivariate_tail(h, k, rho):
    # P(X > h, Y > k) for standard normal X, Y of correlation rho in (-1, 1); absolute error about 1e-15.
    nodes = (
        {nodes},
    )
    end, total = {atanh}(rho), 0.0
    for panel in range(8):
        for node, weight in nodes:
            for place in (1.0 - node, 1.0 + node):
                up = {exp}(end * (panel + place / 2) / 8)
                cosh = (up + 1 / up) / 2
                total = total + weight / cosh * {exp}(-cosh / 4 * ((h - k) * (h - k) * up + (h + k) * (h + k) / up))
    return {erfc}(h * {half_root}) * {erfc}(k * {half_root}) / 4 + end * total / {scale}
"""

_TAIL_C = """static double bivariate_tail(double h, double k, double rho) {{
    /* P(X > h, Y > k) for standard normal X, Y of correlation rho in (-1, 1); absolute error about 1e-15. */
    static const double nodes[8][2] = {{
        {nodes}
    }};
    const double end = atanh(rho);
    double total = 0.0;
    for (int panel = 0; panel < 8; panel++)
        for (int i = 0; i < 8; i++)
            for (int side = -1; side <= 1; side += 2) {{
                const double up = exp(end * (panel + (1 + side * nodes[i][0]) / 2) / 8);
                const double c = (up + 1 / up) / 2;
                total += nodes[i][1] / c * exp(-c / 4 * ((h - k) * (h - k) * up + (h + k) * (h + k) / up));
            }}
    return erfc(h * {half_root}) * erfc(k * {half_root}) / 4 + end * total / {scale};
}}
"""


def _backend(name: str) -> _Backend:
    if name not in BACKENDS:
        raise ValueError(f"numeric: unknown backend {name!r}; choose from {', '.join(BACKENDS)}.")
    return BACKENDS[name]


@cache
def source(formula: Formula, backend: str = "numpy") -> str:
    """Source of a function of `formula.variables`, named like the formula, with its imports.

    backend  "python" (math, scalars), "numpy" (with scipy.special), "mpmath", "torch", "jax", or "c" (C99, double).

    Raises ValueError for an unknown backend, and for mpmath where there is a bivariate tail, which mpmath lacks.
    """
    language = _backend(backend)
    parts = [function_source(formula.name, formula.variables, formula.expression, backend)]
    if formula.expression.has(BivariateTail):
        if backend == "mpmath":
            raise ValueError("numeric: need a formula without bivariate tail for mpmath code, got one; use evaluate.")
        parts.insert(0, _tail_source(language))
    if backend == "c":
        return "\n\n".join(["#include <math.h>", *parts])
    return "\n\n\n".join(["\n".join(f"import {module}" for module in language.imports), *parts])


def _tail_source(language: _Backend) -> str:
    numbers = {"half_root": repr(math.sqrt(0.5)), "scale": repr(32 * math.pi)}
    if not language.names:
        return _TAIL_C.format(nodes=",\n        ".join(f"{{{x!r}, {w!r}}}" for x, w in _NODES), **numbers)
    names = dict(zip(("atanh", "exp", "erfc"), language.names, strict=True))
    return _TAIL.format(nodes=",\n        ".join(map(repr, _NODES)), **names, **numbers)


@cache
def function_source(
    name: str, variables: tuple[sp.Symbol, ...], expression: sp.Expr, backend: str, prelude: tuple[str, ...] = ()
) -> str:
    """Source of a function of the variables, without imports and without the bivariate tail.

    prelude  lines that come first and may define other symbols of the expression.
    """
    language = BACKENDS[backend]
    printer = language.printer()
    moments: Any = expression.atoms(TailMoment)
    elementary: Any = expression.xreplace({moment: moment.rewrite(sp.erfc) for moment in moments})
    names = sp.numbered_symbols("t", exclude=[sp.Symbol(str(v)) for v in variables])
    folded = _fold_constants(elementary) if language.fold else elementary
    steps, (result,) = sp.cse(folded, symbols=names, order="none")
    arguments = _printed(printer, variables)
    if backend == "c":
        body = [f"const double {symbol} = {printer.doprint(value)};" for symbol, value in steps]
        head = f"double {name}({', '.join(f'double {v}' for v in arguments)}) {{"
        return "\n    ".join([head, *body, f"return {printer.doprint(result)};"]) + "\n}\n"
    body = [f"{symbol} = {printer.doprint(value)}" for symbol, value in steps]
    lines = [f"def {name}({', '.join(arguments)}):", *prelude, *body, f"return {printer.doprint(result)}"]
    return "\n    ".join(lines) + "\n"


def call_source(argument: Any, backend: str) -> str:
    """Source of one argument of a function call."""
    language = BACKENDS[backend]
    if argument is sp.oo:
        return "inf"
    folded = _fold_constants(argument) if language.fold else argument
    return str(language.printer().doprint(folded))
