"""Text into SymPy expressions, without executing any of it."""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sympy as sp
from sympy.logic.boolalg import Boolean

from gpsym.limits import BITS, CHARACTERS, DEGREE, TERMS, shown

__all__ = ["INERT", "as_number", "is_condition", "read", "require_size"]

_NESTING = 50  # of operations, which are worked on by recursion
_RADICALS = (
    16  # the product of the indices of all roots in a number: SymPy decides its sign by a polynomial of that degree
)
_BELOW = 12  # terms of a denominator, which SymPy cancels


class _Inert(sp.Function):
    """A function that SymPy keeps as it was written, since its own simplification takes unbounded time."""

    def _sympystr(self, printer: Any) -> str:
        return f"{type(self).__name__}({', '.join(map(printer.doprint, self.args))})"


class _Condition(_Inert):
    """A relation, or a combination of conditions."""


# By the name of the SymPy function of the same meaning; Piecewise takes values and conditions in turn.
INERT: dict[str, Any] = {
    **{n: type(n, (_Inert,), {}) for n in ("Piecewise", "Max", "Min", "Abs", "sign", "Heaviside")},
    **{n: type(n, (_Condition,), {}) for n in ("And", "Or", "Not", "Lt", "Le", "Gt", "Ge", "Eq", "Ne")},
}


def is_condition(value: Any) -> bool:
    """Whether the value is a truth value, a relation or a combination of such."""
    return isinstance(value, _Condition) or (isinstance(value, Boolean) and not isinstance(value, sp.Expr))


def as_number(value: Any) -> Any:
    """1 or 0 for a condition that holds or does not, and other values as they are."""
    return _chosen(value, sp.S.One, sp.S.Zero) if is_condition(value) else value


def read(text: str, symbols: dict[str, sp.Symbol], door: str = "activation") -> Any:
    """The SymPy expression or relation that a line of Python's notation describes; nothing in it is executed.

    text     numbers, names, + - * / **, comparisons (which chain), and, or, not, &, | and ~, `a if c else b`, the
             functions of `_CALLS`, and pi.  A decimal is the fraction that it says, and a comparison where a number is
             due is 1 or 0.  What depends on symbols stands in `INERT` functions.
    symbols  by name; every other name is a new real symbol.
    door     the name that error messages begin with.

    Raises ValueError for anything else, naming it, and for text that is longer or deeper, or numbers and powers that
    are larger than `gpsym.limits` allows.
    """
    text = text.strip()
    if len(text) > CHARACTERS:
        raise ValueError(f"{door}: need at most {CHARACTERS} characters, got {len(text)}; shorten it.")
    tree = _tree(text, door)
    depth = _depth(tree)
    if depth > _NESTING:
        raise ValueError(f"{door}: need an expression of moderate depth, got {depth} nested operations; simplify it.")
    return _Reader(text, symbols, door).visit(tree)


def _tree(text: str, door: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that of 1or 2
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        words = [word for word in re.findall(r"\w+", text) if word in keyword.kwlist and word not in _WORDS]
        if words:
            raise ValueError(
                f"{door}: need names that are no words of Python, got {words[0]}; write {words[0]}_ for it."
            ) from None
        where = f"an error at column {error.offset or 1} of {shown(text)!r}" if text else "an empty text"
        raise ValueError(f"{door}: need an expression such as max(0, x - tau), got {where}; correct it.") from None
    except (RecursionError, MemoryError):
        raise ValueError(f"{door}: need an expression of moderate depth, got a deeper one; simplify it.") from None
    except ValueError:
        raise ValueError(f"{door}: need text of letters, digits and operators, got others; correct it.") from None


_WORDS = ("and", "or", "not", "if", "else", "True", "False")


def _depth(tree: ast.AST) -> int:
    """The number of nested operations; a chain of one kind, such as a + b - c, is one."""
    deepest, waiting = 0, [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        for child in ast.iter_child_nodes(node):
            chained = isinstance(node, ast.BinOp) and child is node.left and _kind(child) == _kind(node)
            waiting.append((child, depth if chained else depth + 1))
    return deepest


def _kind(node: ast.AST) -> str | None:
    operation = node.op if isinstance(node, ast.BinOp) else None
    return "sum" if isinstance(operation, ast.Add | ast.Sub) else "product" if operation else None


def require_size(expression: Any, door: str) -> int:
    """The number of terms that the expression has at most when it is expanded.

    Raises ValueError, beginning with `door`, for numbers, powers, roots and sums larger than SymPy copes with.
    """
    rationals = [expression] if expression.is_Rational else expression.atoms(sp.Rational)
    if any(_bits(number) > BITS for number in rationals):
        raise ValueError(f"{door}: need numbers of at most {BITS} bits, got a longer one; round it.")
    if expression.is_Rational or expression.is_Symbol:
        return 1
    exponents = [power.exp for power in expression.atoms(sp.Pow) if power.exp.is_Rational]
    if any(abs(e.p) > 4 * DEGREE for e in exponents):
        raise ValueError(f"{door}: need exponents up to {4 * DEGREE}, got {shown(expression)}; choose a smaller one.")
    numbers = [power for power in expression.atoms(sp.Pow) if power.is_number and power.exp.is_Rational]
    if math.prod(power.exp.q for power in numbers) > _RADICALS:
        raise ValueError(
            f"{door}: need roots whose indices multiply to at most {_RADICALS}, got {shown(expression)}; round it."
        )
    below = [power for power in expression.atoms(sp.Pow) if power.exp.is_negative and _terms(power) > _BELOW]
    if below:
        raise ValueError(
            f"{door}: need denominators of at most {_BELOW} terms, got {shown(1 / below[0])}; give numbers for symbols."
        )
    terms = _terms(expression)
    if terms > 4 * TERMS:
        raise ValueError(
            f"{door}: need at most {4 * TERMS} terms, got {shown(expression)}, which has more when it is expanded; "
            "give numbers for symbols."
        )
    return terms


def _terms(expression: Any) -> int:
    parts = [_terms(argument) for argument in expression.args]
    if expression.is_Add:
        return sum(parts)
    if expression.is_Mul:
        return math.prod(parts)
    if expression.is_Pow and expression.exp.is_Integer:
        power = abs(int(expression.exp))
        return min(math.comb(power + parts[0] - 1, power), 5 * TERMS)
    return max(parts, default=1)


def _bits(number: Any) -> int:
    return max(abs(number.p).bit_length(), number.q.bit_length())


def _called(name: str, *values: Any) -> Any:
    """SymPy's function of numbers, and the inert one of everything else."""
    if all(isinstance(value, sp.Expr) and value.is_number for value in values):
        return getattr(sp, name)(*values)
    return INERT[name](*values)


def _clip(number: Any, low: Any, high: Any) -> Any:
    return _called("Min", _called("Max", number, low), high)


def _chosen(condition: Any, value: Any, other: Any) -> Any:
    return INERT["Piecewise"](value, condition, other, sp.true)


def _power(base: Any, exponent: Any) -> Any:
    """base^exponent, refused by _Large before it exists where it would be larger than `gpsym.limits` allows."""
    if not exponent.is_Rational or exponent.q > _RADICALS:
        raise _Large(f"exponents that are whole numbers or simple fractions, got {shown(exponent)}")
    if base.is_Rational and _bits(base) * abs(exponent.p) > BITS:
        raise _Large(f"powers of at most {BITS} bits, got {shown(base)}**{shown(exponent)}")
    if not base.is_Rational and abs(exponent.p) > DEGREE:
        raise _Large(f"exponents up to {DEGREE}, got {shown(exponent)}")
    return base**exponent


class _Large(Exception):
    """What must hold and what came, of a size that is refused."""


_Function = Callable[..., Any]
_NUMBERS, _CONDITIONS = "numbers", "conditions"
_MANY = CHARACTERS


@dataclass(frozen=True)
class _Call:
    """A function, what its arguments are, and how many of them it takes."""

    function: _Function
    least: int
    most: int
    kind: str = _NUMBERS


def _named(name: str, least: int, most: int, kind: str = _NUMBERS) -> _Call:
    return _Call(lambda *values: _called(name, *values), least, most, kind)


_CALLS: dict[str, _Call] = {
    "Max": _named("Max", 1, _MANY),
    "Min": _named("Min", 1, _MANY),
    "max": _named("Max", 1, _MANY),
    "min": _named("Min", 1, _MANY),
    "Abs": _named("Abs", 1, 1),
    "abs": _named("Abs", 1, 1),
    "sign": _named("sign", 1, 1),
    "Heaviside": _Call(lambda x, at_zero=sp.S.Half: _called("Heaviside", x, at_zero), 1, 2),
    "sqrt": _Call(lambda x: _power(x, sp.S.Half), 1, 1),
    "relu": _Call(lambda x: _called("Max", sp.S.Zero, x), 1, 1),
    "clip": _Call(_clip, 3, 3),
    "And": _named("And", 1, _MANY, _CONDITIONS),
    "Or": _named("Or", 1, _MANY, _CONDITIONS),
    "Not": _named("Not", 1, 1, _CONDITIONS),
}
_CASES = ("Piecewise", "where")
_FUNCTIONS = (*_CASES, *_CALLS)

_OPERATORS: dict[Any, tuple[_Function, str]] = {
    ast.Add: (operator.add, _NUMBERS),
    ast.Sub: (operator.sub, _NUMBERS),
    ast.Mult: (operator.mul, _NUMBERS),
    ast.Div: (operator.truediv, _NUMBERS),
    ast.Pow: (_power, _NUMBERS),
    ast.UAdd: (operator.pos, _NUMBERS),
    ast.USub: (operator.neg, _NUMBERS),
    **{
        getattr(ast, kind): (lambda left, right, name=name: _called(name, left, right), _NUMBERS)
        for kind, name in (("Lt", "Lt"), ("LtE", "Le"), ("Gt", "Gt"), ("GtE", "Ge"), ("Eq", "Eq"), ("NotEq", "Ne"))
    },
    ast.And: (INERT["And"], _CONDITIONS),
    ast.Or: (INERT["Or"], _CONDITIONS),
    ast.Not: (INERT["Not"], _CONDITIONS),
    ast.BitAnd: (INERT["And"], _CONDITIONS),
    ast.BitOr: (INERT["Or"], _CONDITIONS),
    ast.Invert: (INERT["Not"], _CONDITIONS),
}


@dataclass(frozen=True)
class _Reader(ast.NodeVisitor):
    """The SymPy expression of a syntax tree."""

    text: str
    symbols: dict[str, sp.Symbol]
    door: str

    def visit_Constant(self, node: ast.Constant) -> Any:
        if isinstance(node.value, bool):
            return sp.true if node.value else sp.false
        if isinstance(node.value, int):
            return self._sized(node, sp.Integer(node.value))
        if isinstance(node.value, float):
            decimal = Decimal(str(ast.get_source_segment(self.text, node)))
            if bool(decimal) == bool(node.value) and math.isfinite(node.value):
                return self._sized(node, sp.Rational(*decimal.as_integer_ratio()))
            raise self._refusal("decimals between 1e-308 and 1e308", node, "write another")
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id in _FUNCTIONS:
            raise self._refusal("arguments", f"{node.id} alone", f"write {node.id}(...)")
        return sp.pi if node.id == "pi" else self.symbols.get(node.id, sp.Symbol(node.id, real=True))

    def visit_BinOp(self, node: ast.BinOp) -> Any:
        chain: list[ast.BinOp] = []
        left: ast.expr = node
        while isinstance(left, ast.BinOp):
            chain.append(left)
            left = left.left
        value = self.visit(left)
        for link in reversed(chain):
            if isinstance(link.op, ast.BitXor):
                raise self._refusal("** for powers", f"^ in {self._shown(link)}", "write **")
            function, kind = self._operator(link, link.op)
            operands = self._as(kind, value, link.left, link), self._operand(kind, link.right, link)
            value = self._applied(link, function, operands)
        return value

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        function, kind = self._operator(node, node.op)
        return self._applied(node, function, [self._operand(kind, node.operand, node)])

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        function, kind = self._operator(node, node.op)
        return self._applied(node, function, [self._operand(kind, value, node) for value in node.values])

    def visit_Compare(self, node: ast.Compare) -> Any:
        sides = [self._operand(_NUMBERS, side, node) for side in (node.left, *node.comparators)]
        functions = [self._operator(node, sign)[0] for sign in node.ops]
        pairs = zip(functions, sides, sides[1:], strict=False)
        links = [self._applied(node, function, pair) for function, *pair in pairs]
        return INERT["And"](*links) if len(links) > 1 else links[0]

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        return self._where(node, node.test, node.body, node.orelse)

    def visit_Call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else self._shown(node.func)
        if name not in _FUNCTIONS:
            known = ", ".join(_FUNCTIONS)
            raise ValueError(f"{self.door}: need a known one, got the unknown function {name}; choose from {known}.")
        if node.keywords or not node.args:
            raise self._refusal("arguments without names", node, f"write {name}(...)")
        if name == "Piecewise":
            return INERT["Piecewise"](*(part for case in node.args for part in self._case(case)))
        least, most = (3, 3) if name == "where" else (_CALLS[name].least, _CALLS[name].most)
        if not least <= len(node.args) <= most:
            kind = "fewer" if len(node.args) > most else "more"
            raise self._refusal(f"{kind} arguments", node, f"write {least}" if least == most else "correct it")
        if name == "where":
            return self._where(node, *node.args)
        call = _CALLS[name]
        return self._applied(node, call.function, [self._operand(call.kind, part, node) for part in node.args])

    def generic_visit(self, node: ast.AST) -> Any:
        raise self._refusal("numbers, names, operators and calls", node, "leave it out")

    def _where(self, node: ast.AST, condition: ast.expr, value: ast.expr, other: ast.expr) -> Any:
        return _chosen(
            self._operand(_CONDITIONS, condition, node),
            self._operand(_NUMBERS, value, node),
            self._operand(_NUMBERS, other, node),
        )

    def _case(self, node: ast.AST) -> tuple[Any, Any]:
        if not isinstance(node, ast.Tuple) or len(node.elts) != 2:
            raise self._refusal("(value, condition) in Piecewise", node, "write a pair")
        value, condition = node.elts
        return self._operand(_NUMBERS, value, node), self._operand(_CONDITIONS, condition, node)

    def _operator(self, node: ast.AST, sign: ast.AST) -> tuple[_Function, str]:
        return _OPERATORS.get(type(sign)) or self.generic_visit(node)

    def _operand(self, kind: str, operand: ast.expr, node: ast.AST) -> Any:
        return self._as(kind, self.visit(operand), operand, node)

    def _as(self, kind: str, value: Any, operand: ast.AST, node: ast.AST) -> Any:
        """The value of an operand of a node, as the kind that is due there."""
        if is_condition(value) == (kind == _CONDITIONS):
            return value
        if kind == _CONDITIONS:
            place = f"conditions in {self._shown(node)}"
            raise self._refusal(place, operand, "compare it, in parentheses")
        return as_number(value)

    def _applied(self, node: ast.AST, function: _Function, values: Sequence[Any]) -> Any:
        try:
            return self._sized(node, function(*values))
        except _Large as large:
            raise ValueError(f"{self.door}: need {large} in {self._shown(node)}; choose a smaller one.") from None

    def _sized(self, node: ast.AST, value: Any) -> Any:
        """The value of a node, once it is seen to be finite, real and of moderate size."""
        if is_condition(value) or not value.is_number:
            return value
        require_size(value, self.door)
        if False in (value.is_finite, value.is_extended_real):
            raise self._refusal("finite real numbers", node, "correct it")
        return value

    def _refusal(self, wanted: str, came: ast.AST | str, remedy: str) -> ValueError:
        shown_ = came if isinstance(came, str) else self._shown(came)
        return ValueError(f"{self.door}: need {wanted}, got {shown_}; {remedy}.")

    def _shown(self, node: ast.AST) -> str:
        return shown(ast.get_source_segment(self.text, node))
