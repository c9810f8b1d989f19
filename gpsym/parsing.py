"""Text into SymPy expressions, without executing any of it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sympy as sp

__all__ = ["read"]


def read(text: str, symbols: dict[str, sp.Symbol]) -> Any:
    """The SymPy expression or relation that a line of Python's notation describes; nothing in it is executed.

    text     numbers, names, + - * / **, comparisons (which chain), and, or, not, &, | and ~, the functions Piecewise,
             Max, Min, Abs, sign, Heaviside, sqrt, And, Or, Not, max, min and abs, and pi.  A decimal is the fraction
             that it says.
    symbols  by name; every other name is a new real symbol.

    Raises ValueError for anything else, naming it.
    """
    text = text.strip()
    try:
        return _Reader(text, symbols).visit(ast.parse(text, mode="eval").body)
    except SyntaxError as error:
        where = f"an error at column {error.offset or 1} of {text!r}" if text else "an empty text"
        raise ValueError(f"activation: need an expression such as max(0, x - tau), got {where}; correct it.") from None
    except (RecursionError, MemoryError):
        raise ValueError("activation: need an expression of moderate depth, got a deeper one; simplify it.") from None


_NUMBER_CALLS: dict[str, Callable[..., Any]] = {
    "Max": sp.Max,
    "Min": sp.Min,
    "max": sp.Max,
    "min": sp.Min,
    "Abs": sp.Abs,
    "abs": sp.Abs,
    "sign": sp.sign,
    "Heaviside": sp.Heaviside,
    "sqrt": lambda number: sp.sqrt(number),
}
_LOGIC_CALLS: dict[str, Callable[..., Any]] = {"And": sp.And, "Or": sp.Or, "Not": sp.Not}
_CALLS = ("Piecewise", *_NUMBER_CALLS, *_LOGIC_CALLS)
_NUMBER_OPERATORS: dict[Any, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Lt: sp.Lt,
    ast.LtE: sp.Le,
    ast.Gt: sp.Gt,
    ast.GtE: sp.Ge,
    ast.Eq: sp.Eq,
    ast.NotEq: sp.Ne,
}
_LOGIC_OPERATORS: dict[Any, Callable[..., Any]] = {
    ast.And: sp.And,
    ast.Or: sp.Or,
    ast.Not: sp.Not,
    ast.BitAnd: sp.And,
    ast.BitOr: sp.Or,
    ast.Invert: sp.Not,
}


@dataclass(frozen=True)
class _Reader(ast.NodeVisitor):
    """The SymPy expression of a syntax tree."""

    text: str
    symbols: dict[str, sp.Symbol]

    def visit_Constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, (bool, int)):
            return sp.sympify(node.value)
        if isinstance(node.value, float):
            decimal = Decimal(str(ast.get_source_segment(self.text, node)))
            if bool(decimal) == bool(node.value) and abs(node.value) < sp.oo:
                return sp.Rational(*decimal.as_integer_ratio())
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id in _CALLS:
            raise ValueError(f"activation: need arguments, got {node.id} alone; write {node.id}(...).")
        return sp.pi if node.id == "pi" else self.symbols.get(node.id, sp.Symbol(node.id, real=True))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        if isinstance(node.op, ast.BitXor):
            raise ValueError(f"activation: need ** for powers, got ^ in {ast.unparse(node)}; write **.")
        return self._operated(node, node.op, node.left, node.right)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return self._operated(node, node.op, node.operand)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        return self._operated(node, node.op, *node.values)

    def visit_Compare(self, node: ast.Compare) -> Any:
        sides = [node.left, *node.comparators]
        links = zip(node.ops, sides, sides[1:], strict=False)
        return sp.And(*(self._operated(node, op, left, right) for op, left, right in links))

    def visit_Call(self, node: ast.Call) -> Any:
        name = ast.unparse(node.func)
        if name not in _CALLS:
            raise ValueError(f"activation: unknown function {name}; choose from {', '.join(_CALLS)}.")
        if node.keywords or not node.args:
            raise ValueError(f"activation: need arguments without names, got {ast.unparse(node)}; write {name}(...).")
        if name == "Piecewise":
            return sp.Piecewise(*map(self._case, node.args))
        function = _LOGIC_CALLS.get(name) or _NUMBER_CALLS[name]
        return self._applied(node, function, name in _LOGIC_CALLS, node.args)

    def generic_visit(self, node: ast.AST) -> Any:
        raise ValueError(
            f"activation: need numbers, names, operators and calls, got {ast.unparse(node)}; leave it out."
        )

    def _case(self, node: ast.AST) -> tuple[Any, Any]:
        if not isinstance(node, ast.Tuple) or len(node.elts) != 2:
            raise ValueError(
                f"activation: need (value, condition) in Piecewise, got {ast.unparse(node)}; write a pair."
            )
        return self._operand(node, node.elts[0], False), self._operand(node, node.elts[1], True)

    def _operated(self, node: ast.AST, sign: ast.AST, *operands: ast.AST) -> Any:
        function = _LOGIC_OPERATORS.get(type(sign)) or _NUMBER_OPERATORS.get(type(sign)) or self.generic_visit(node)
        return self._applied(node, function, type(sign) in _LOGIC_OPERATORS, operands)

    def _applied(self, node: ast.AST, function: Any, logical: bool, operands: Iterable[ast.AST]) -> Any:
        values = [self._operand(node, operand, logical) for operand in operands]
        try:
            value = function(*values)
        except TypeError:
            raise ValueError(f"activation: need fewer arguments, got {ast.unparse(node)}; leave some out.") from None
        if isinstance(value, sp.Expr) and False in (value.is_finite, value.is_extended_real):
            raise ValueError(f"activation: need finite real numbers, got {ast.unparse(node)}; correct it.")
        return value

    def _operand(self, node: ast.AST, operand: ast.AST, logical: bool) -> Any:
        value = self.visit(operand)
        if logical == isinstance(value, sp.Expr):
            kind, remedy = ("conditions", "compare it, in parentheses") if logical else ("numbers", "write a number")
            raise ValueError(f"activation: need {kind} in {ast.unparse(node)}, got {ast.unparse(operand)}; {remedy}.")
        return value
