"""Texts of a certificate as trees and intervals, by a grammar of their own; nothing in a text is ever run."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from fractions import Fraction

from proofs.checker.budget import spend
from proofs.checker.trees import (
    ONE,
    PI,
    Rejected,
    Tree,
    add,
    call,
    minus,
    multiply,
    number,
    parts,
    power,
    symbol,
    to_derive,
    to_put_in,
)

__all__ = ["NAMES", "equations", "expression", "fraction", "name", "names", "quoted", "written"]

_MOST_CHARACTERS = 50_000  # of a text; the longest of a proof so far has 5,000
_MOST_NESTING = 40  # of operations in each other; those of proofs have 10
_MOST_BITS = 2048  # of a number; ends of boxes have 200
_CHARACTERS = re.compile(r"[A-Za-z0-9_+\-*/(), ]+")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_CHAINS = (ast.Add | ast.Sub, ast.Mult | ast.Div)
_MOST_EXPONENT = 64  # of a power; above, expansions are hopeless
_MOST_DERIVATIVES = 4  # of one expression; the proofs take two

FUNCTIONS = frozenset({"exp", "erfc", "erf", "sqrt"})
NAMES = FUNCTIONS | {"Derivative", "Subs", "pi", "E", "I", "oo", "zoo", "nan", "value"}  # not to be had as symbols


def expression(text: object) -> Tree:
    """The tree of a text of numbers, names, + - * / **, exp, erfc, erf, sqrt, pi and E.

    erf(x) is read as 1 - erfc(x), and E as exp(1).  Exponents are rational numbers.
    Raises Rejected for anything else.
    """
    tree = written(text)
    if any(part.kind in ("derivative", "at") for part in parts(tree)):
        raise Rejected(f"need an expression without Derivative and Subs, got {quoted(text)}")
    return tree


def written(text: object) -> Tree:
    """The tree of a text in which derivatives and values at points may stand too, to be carried out.

    Derivative(e, x), Derivative(e, (x, 2)) and Derivative(e, x, y) are derivatives of e; Subs(e, x, v) is e with v
    for x, and Subs(e, (x, y), (v, w)) with both at once.
    """
    return _guarded(text, _tree)


def equations(text: object) -> tuple[Tree, ...]:
    """The trees, as of `written`, of a text of a tuple."""

    def trees(node: ast.expr) -> tuple[Tree, ...]:
        return tuple(_tree(element) for element in _elements(node))

    return _guarded(text, trees)


def names(text: object) -> tuple[str, ...]:
    """The symbols' names of a text of a tuple of symbols."""
    return tuple(name(ast.unparse(element)) for element in _guarded(text, _elements))


def name(text: object) -> str:
    """A symbol's name."""
    if not isinstance(text, str) or not _NAME.fullmatch(text) or text in NAMES:
        raise Rejected(f"need a symbol's name, got {quoted(text)}")
    return text


def fraction(text: object) -> Fraction:
    """The rational number of a text."""
    return _rational(expression(text), quoted(text))


def _guarded(text: object, read):
    if not isinstance(text, str) or not _CHARACTERS.fullmatch(text):
        raise Rejected(f"need a text of letters, digits and _+-*/(), and blanks, got {quoted(text)}")
    if len(text) > _MOST_CHARACTERS:
        raise Rejected(f"need a text of at most {_MOST_CHARACTERS} characters, got {len(text)}")
    try:
        spend(len(text) / 10)
        parsed = ast.parse(text.strip(), mode="eval").body
        _require_nesting(parsed)
        return read(parsed)
    except Rejected:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Rejected(f"cannot read {quoted(text)}: {type(error).__name__}") from error


def _require_nesting(node: ast.expr) -> None:
    """Operations stand in each other no deeper than `_MOST_NESTING`; sums and products of many count once."""
    waiting: list[tuple[ast.AST, int]] = [(node, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > _MOST_NESTING:
            raise Rejected(f"need at most {_MOST_NESTING} operations in each other")
        waiting += [(child, depth + (not _continues(part, child))) for child in ast.iter_child_nodes(part)]


def _continues(node: ast.AST, child: ast.AST) -> bool:
    """Whether the child is the beginning of the sum or product that the node is the end of."""
    if not (isinstance(node, ast.BinOp) and isinstance(child, ast.BinOp) and child is node.left):
        return False
    return any(isinstance(node.op, kinds) and isinstance(child.op, kinds) for kinds in _CHAINS)


def _elements(node: ast.expr) -> list[ast.expr]:
    if not isinstance(node, ast.Tuple) or not node.elts:
        raise Rejected(f"need a tuple, got {quoted(ast.unparse(node))}")
    return node.elts


def _tree(node: ast.expr) -> Tree:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return number(_small(Fraction(value)))
        case ast.Name(id="pi"):
            return PI
        case ast.Name(id="E"):
            return call("exp", ONE)
        case ast.Name(id=text):
            return symbol(name(text))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _folded(multiply(number(-1), _tree(inner)))
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            return _folded(add(*_chain(node, ast.Add, ast.Sub, lambda tree: multiply(number(-1), tree))))
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            return _folded(multiply(*_chain(node, ast.Mult, ast.Div, lambda tree: power(tree, -1))))
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return _folded(power(_tree(base), _exponent(exponent)))
        case ast.Call(func=ast.Name(id="Derivative"), args=[body, _, *_] as arguments, keywords=[]):
            along = tuple(sorted(name for argument in arguments[1:] for name in _along(argument)))
            return to_derive(_tree(body), along)
        case ast.Call(func=ast.Name(id="Subs"), args=[body, places, values], keywords=[]):
            return _put_in(_tree(body), _one_or_more(places), _one_or_more(values))
        case ast.Call(func=ast.Name(id=function), args=[argument], keywords=[]) if function in FUNCTIONS:
            return _call(function, _tree(argument))
    raise Rejected(f"need numbers, names, + - * / **, exp, erfc, erf, sqrt and pi, got {quoted(ast.unparse(node))}")


def _along(node: ast.expr) -> tuple[str, ...]:
    """The name of x for x, and n times for (x, n)."""
    match node:
        case ast.Tuple(elts=[place, ast.Constant(value=int() as order)]) if 1 <= order <= _MOST_DERIVATIVES:
            return (name(ast.unparse(place)),) * order
        case ast.Tuple():
            raise Rejected(f"need (x, n), n from 1 to {_MOST_DERIVATIVES}, got {quoted(ast.unparse(node))}")
    return (name(ast.unparse(node)),)


def _put_in(body: Tree, places: list[ast.expr], values: list[ast.expr]) -> Tree:
    found = tuple(name(ast.unparse(place)) for place in places)
    if len(set(found)) != len(found) or len(found) != len(values):
        raise Rejected(f"need one value for each of {', '.join(found)}, got {len(values)}")
    return to_put_in(body, found, tuple(map(_tree, values)))


def _one_or_more(node: ast.expr) -> list[ast.expr]:
    return _elements(node) if isinstance(node, ast.Tuple) else [node]


def _chain(node: ast.expr, first: type, second: type, inverse) -> list[Tree]:
    """The parts of a sum or product, which leans to the left as deep as it is long."""
    found: list[Tree] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, first | second):
        tree = _tree(node.right)
        found.append(tree if isinstance(node.op, first) else _folded(inverse(tree)))
        node = node.left
    return [_tree(node), *reversed(found)]


def _exponent(node: ast.expr) -> Fraction:
    exponent = _rational(_tree(node), ast.unparse(node))
    if abs(exponent.numerator) > _MOST_EXPONENT or exponent.denominator > _MOST_EXPONENT:
        raise Rejected(f"need exponents of at most {_MOST_EXPONENT}, got {exponent}")
    return exponent


def _call(function: str, argument: Tree) -> Tree:
    if function == "sqrt":
        return power(argument, Fraction(1, 2))
    if function == "erf":
        return minus(ONE, call("erfc", argument))
    return call(function, argument)


def _rational(tree: Tree, text: str) -> Fraction:
    if tree.kind != "number":
        raise Rejected(f"need a rational number, got {text}")
    return tree.value


def _folded(tree: Tree) -> Tree:
    """An operation on rational numbers as a number; a division by 0 stays, and is refused where it is used."""
    values = [part.value for part in tree.parts]
    if any(part.kind != "number" for part in tree.parts):
        return tree
    if tree.kind == "sum":
        return number(_small(sum(values, Fraction(0))))
    if tree.kind == "product":
        return number(_small(_product(values)))
    if tree.value.denominator != 1 or (values[0] == 0 and tree.value < 0):
        return tree
    return number(_small(values[0] ** int(tree.value)))


def _product(values: list[Fraction]) -> Fraction:
    result = Fraction(1)
    for value in values:
        result = _small(result * value)
    return result


def _small(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _MOST_BITS:
        raise Rejected(f"need numbers of at most {_MOST_BITS} bits, got one of {value.numerator.bit_length()}")
    return value


def quoted(text: object) -> str:
    """The beginning of what came."""
    shown = repr(text) if not isinstance(text, Mapping) else f"{type(text).__name__} of {sorted(map(str, text))}"
    return shown if len(shown) <= 80 else shown[:77] + "..."
