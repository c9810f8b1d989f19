"""Expressions as trees that nothing simplifies: numbers, pi, symbols, sums, products, rational powers, exp and erfc.

A tree of a text may also hold derivatives and values at points, which `written` carries out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, final

from proofs.checker.budget import spend
from proofs.checker.rejection import Rejected

__all__ = [
    "ONE",
    "PI",
    "ZERO",
    "Rejected",
    "Tree",
    "add",
    "call",
    "derivative",
    "minus",
    "multiply",
    "number",
    "parts",
    "power",
    "rebuilt",
    "substitute",
    "symbol",
    "symbols",
    "text",
    "to_derive",
    "to_put_in",
]


@final
@dataclass(frozen=True, eq=False)
class Tree:
    """One operation on trees.

    kind   number, pi, symbol, sum, product, power, exp or erfc; derivative or at, which are to be carried out.
    value  the number, the symbol's name, or the power's exponent; the names of those along which a derivative is
           taken, or for which the parts after the first are put in.
    Equal trees are one object, so that a tree is compared and hashed by its identity.
    """

    kind: str
    value: Any = None
    parts: tuple[Tree, ...] = ()


@cache
def _tree(kind: str, value: Any, parts: tuple[Tree, ...]) -> Tree:
    return Tree(kind, value, parts)


def number(value: Fraction | int) -> Tree:
    """A rational number."""
    return _tree("number", Fraction(value), ())


def symbol(name: str) -> Tree:
    """A real variable."""
    return _tree("symbol", name, ())


def add(*terms: Tree) -> Tree:
    """A sum; of one term that term, of none 0."""
    return terms[0] if len(terms) == 1 else _tree("sum", None, terms) if terms else ZERO


def multiply(*factors: Tree) -> Tree:
    """A product; of one factor that factor, of none 1."""
    return factors[0] if len(factors) == 1 else _tree("product", None, factors) if factors else ONE


def power(base: Tree, exponent: Fraction | int) -> Tree:
    """base^exponent for a rational exponent."""
    return _tree("power", Fraction(exponent), (base,))


def call(function: str, argument: Tree) -> Tree:
    """exp or erfc of the argument."""
    return _tree(function, None, (argument,))


def to_derive(tree: Tree, names: tuple[str, ...]) -> Tree:
    """The derivative along the symbols of these names, one after the other, to be carried out."""
    return _tree("derivative", names, (tree,))


def to_put_in(tree: Tree, names: tuple[str, ...], values: tuple[Tree, ...]) -> Tree:
    """The tree with these values for the symbols of these names, all at once, to be carried out."""
    return _tree("at", names, (tree, *values))


def rebuilt(tree: Tree, inner: tuple[Tree, ...]) -> Tree:
    """The operation of a tree on other parts."""
    return _tree(tree.kind, tree.value, inner)


def minus(left: Tree, right: Tree) -> Tree:
    """left - right."""
    return add(left, multiply(number(-1), right))


PI = _tree("pi", None, ())
ZERO = number(0)
ONE = number(1)


def parts(tree: Tree) -> Iterator[Tree]:
    """The tree and everything in it, each once."""
    seen: set[Tree] = set()
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if part not in seen:
            seen.add(part)
            waiting += part.parts
            yield part


def symbols(tree: Tree) -> frozenset[str]:
    """The names of the symbols in the tree."""
    return frozenset(part.value for part in parts(tree) if part.kind == "symbol")


def substitute(tree: Tree, values: Mapping[str, Tree]) -> Tree:
    """The tree with trees for the symbols of these names, all at once: what is put in is not searched again."""

    def new(part: Tree) -> Tree:
        if part.kind == "symbol":
            return values.get(part.value, part)
        return rebuilt(part, tuple(old(child) for child in part.parts)) if part.parts else part

    old = _remembered(new)
    return old(tree)


def derivative(tree: Tree, name: str) -> Tree:
    """The derivative along the symbol of that name, without the terms that are 0 because the symbol is not in them."""

    def new(part: Tree) -> Tree:
        inner = [(k, d(child)) for k, child in enumerate(part.parts)]
        changing = [(k, slope) for k, slope in inner if slope is not ZERO]
        if part.kind == "symbol":
            return ONE if part.value == name else ZERO
        # Each term of a product has all of the others as factors.
        spend(len(changing) * len(part.parts) / 50)
        return add(*(multiply(*_outer(part, k), slope) for k, slope in changing))

    d = _remembered(new)
    return d(tree)


def _outer(tree: Tree, place: int) -> tuple[Tree, ...]:
    """Factors of the derivative of an operation along one of its parts."""
    if tree.kind == "sum":
        return ()
    if tree.kind == "product":
        return tree.parts[:place] + tree.parts[place + 1 :]
    (inner,) = tree.parts
    if tree.kind == "power":
        return () if tree.value == 1 else (number(tree.value), power(inner, tree.value - 1))
    if tree.kind == "exp":
        return (tree,)
    return number(-2), power(PI, Fraction(-1, 2)), call("exp", multiply(number(-1), power(inner, 2)))


def _remembered(function: Callable[[Tree], Tree]) -> Callable[[Tree], Tree]:
    known: dict[Tree, Tree] = {}

    def remembered(tree: Tree) -> Tree:
        if tree not in known:
            known[tree] = function(tree)
        return known[tree]

    return remembered


def text(tree: Tree) -> str:
    """The tree for messages, cut where it is long."""
    shown = _text(tree, 4)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _text(tree: Tree, depth: int) -> str:
    if not depth:
        return "..."
    inner = [_text(part, depth - 1) for part in tree.parts]
    match tree.kind:
        case "sum":
            return f"({' + '.join(inner)})"
        case "product":
            return "*".join(inner)
        case "power":
            return f"{inner[0]}**({tree.value})"
        case "exp" | "erfc":
            return f"{tree.kind}({inner[0]})"
        case "derivative":
            return f"Derivative({inner[0]}, {', '.join(tree.value)})"
        case "at":
            return f"Subs({inner[0]}, ({', '.join(tree.value)}), ({', '.join(inner[1:])}))"
    return tree.kind if tree.value is None else str(tree.value)
