"""A formula as text: for people, for papers, for other programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial

import sympy as sp

from gpsym.formula import Formula
from gpsym.limits import shown, spend
from gpsym.numeric import source
from gpsym.special import BivariateTail
from gpsym.typeset import latex, left_side, mathml

__all__ = ["FORMATS", "format_formula"]

_PRINTED = 4  # steps that a node of an expression costs


def format_formula(formula: Formula, style: str) -> str:
    """The formula in one of `FORMATS`.

    text    name = expression, laid out with Unicode.
    latex   notation = expression, without delimiters.
    sympy   the expression alone, as sympy.sympify reads it back; a bivariate tail as its one-dimensional Integral.
    mathml  presentation MathML of notation = expression in a <math> element.
    python  a function on floats that needs the math module only.
    torch   a function on tensors that needs torch only.
    jax     a function on arrays that needs jax only; its accuracy is that of the arrays' dtype.
    c       a C99 function on doubles that needs the math library only.
    json    name, variables, definition, expression (as sympy and as latex) and reference.

    Raises ValueError for an unknown format.
    """
    if style not in FORMATS:
        raise ValueError(f"derive: unknown format {shown(style, repr)}; choose from {', '.join(FORMATS)}.")
    spend(_PRINTED * sum(1 for _ in sp.preorder_traversal(formula.expression)))
    return FORMATS[style](formula)


def _text(formula: Formula) -> str:
    name = re.sub(r"_(?!\d)", " ", formula.name)  # else all behind the first _ becomes a subscript
    equation = sp.Eq(sp.Symbol(name), formula.expression, evaluate=False)
    return sp.pretty(equation, use_unicode=True, wrap_line=False)


def _latex(formula: Formula) -> str:
    return f"{formula.notation} = {latex(formula.expression)}"


def _mathml(formula: Formula) -> str:
    equation = f"{left_side(formula)}<mo>=</mo>{mathml(formula.expression)}"
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="block">{equation}</math>'


def _sympy(formula: Formula) -> str:
    return str(formula.expression.rewrite(BivariateTail, sp.Integral))


def _json(formula: Formula) -> str:
    fields = {
        "name": formula.name,
        "variables": [str(v) for v in formula.variables],
        "conditions": [f"{c} >= 0" for c in formula.conditions],
        "definition": str(formula.definition),
        "expression": _sympy(formula),
        "latex": _latex(formula),
        "reference": formula.reference,
    }
    return json.dumps(fields, indent=2)


def _code(language: str, formula: Formula) -> str:
    return source(formula, language).rstrip()


FORMATS: dict[str, Callable[[Formula], str]] = {
    "text": _text,
    "latex": _latex,
    "sympy": _sympy,
    "mathml": _mathml,
    **{language: partial(_code, language) for language in ("python", "torch", "jax", "c")},
    "json": _json,
}
