"""Expressions as they are written: derivatives and values at points carried out, and equations that say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from proofs.checker.domains import Domain
from proofs.checker.polynomials import Polynomial, constant, single, times, total
from proofs.checker.signs import require_smooth
from proofs.checker.trees import Rejected, Tree, derivative, rebuilt, substitute, symbols, text

__all__ = ["carried_out", "require_content"]

_MOST_DERIVATIVES = 4  # within each other; the proofs take two


def carried_out(tree: Tree, domain: Domain) -> Tree:
    """The tree with its derivatives taken and its values put in; without either it is the tree itself.

    What is differentiated must be smooth at the points of the domain, and at those where values are put in: there its
    derivative is that of the tree.  A derivative along a symbol that is not there, or a value for it, is refused.
    """
    found, differentiated = _carried_out(tree, 0)
    for body in differentiated:
        require_smooth(body, domain)
    return found


def _carried_out(tree: Tree, depth: int) -> tuple[Tree, frozenset[Tree]]:
    """(tree, what was differentiated); values are put into both."""
    depth += len(tree.value) if tree.kind == "derivative" else 0
    if depth > _MOST_DERIVATIVES:
        raise Rejected(f"need at most {_MOST_DERIVATIVES} derivatives within each other")
    if not tree.parts:
        return tree, frozenset()
    parts, differentiated = zip(*(_carried_out(part, depth) for part in tree.parts), strict=True)
    if tree.kind not in ("derivative", "at"):
        return rebuilt(tree, parts), frozenset().union(*differentiated)
    body, smooth = parts[0], differentiated[0]
    missing = sorted(set(tree.value) - symbols(body))
    if missing:
        raise Rejected(f"{', '.join(missing)} is not in {text(body)}")
    if tree.kind == "derivative":
        smooth |= {body}
        for name in tree.value:
            body = derivative(body, name)
        return body, smooth
    values = dict(zip(tree.value, parts[1:], strict=True))
    moved = {substitute(inner, values) for inner in smooth}
    return substitute(body, values), frozenset(moved).union(*differentiated[1:])


def require_content(left: Tree, right: Tree) -> None:
    """An equation says something: it has symbols, and its sides differ as they are written.

    Sides are the same as they are written if they are so up to the order of terms and factors, the sum of equal
    terms, the product of powers of equal factors, arithmetic of numbers, and the names of symbols for which values
    are put in.  Nothing is expanded or carried out.
    """
    if not _free(left) | _free(right):
        raise Rejected("an equation of numbers alone says nothing")
    if _plain(left, {}) == _plain(right, {}):
        raise Rejected(f"both sides are the same as they are written: {text(left)}")


def _free(tree: Tree) -> frozenset[str]:
    """The names of the symbols that no value is put in for."""
    if tree.kind == "symbol":
        return frozenset({tree.value})
    inner = [_free(part) for part in tree.parts]
    if tree.kind == "at":
        inner[0] -= set(tree.value)
    return frozenset().union(*inner)


def _plain(tree: Tree, bound: Mapping[str, Any]) -> Polynomial:
    """A sum of terms in which sums, functions, derivatives and values at points stay atoms.

    bound  what symbols are called for which a value is put in.
    """
    match tree.kind:
        case "number":
            return constant(tree.value)
        case "pi":
            return single(("pi",))
        case "symbol":
            return single(("symbol", bound.get(tree.value, tree.value)))
        case "derivative":
            return _plain_derivative(tree, bound)
        case "at":
            return _plain_value(tree, bound)
    inner = [_plain(part, bound) for part in tree.parts]
    if tree.kind == "sum":
        return total(inner)
    if tree.kind == "product":
        return _plain_product(inner)
    if tree.kind == "power":
        return _plain_power(inner[0], tree.value)
    return single((tree.kind, _items(inner[0])))


def _plain_product(factors: list[Polynomial]) -> Polynomial:
    sums = [factor for factor in factors if len(factor) > 1]
    result = constant(Fraction(1))
    for factor in factors:
        if len(factor) <= 1:
            result = times(result, factor)
    if len(sums) == 1 and result.keys() <= constant(Fraction(1)).keys():
        return times(result, sums[0])
    for factor in sums:
        result = times(result, single(("sum", _items(factor))))
    return result


def _plain_power(base: Polynomial, exponent: Any) -> Polynomial:
    if len(base) == 1:
        ((powers, _), coefficient), whole = next(iter(base.items())), exponent.denominator == 1
        if whole:
            raised = frozenset((atom, e * exponent) for atom, e in powers)
            return {(raised, frozenset()): coefficient ** int(exponent)}
        if not powers and coefficient > 0:
            return times(
                constant(Fraction(1)), {(frozenset({(("prime", coefficient), exponent)}), frozenset()): Fraction(1)}
            )
        if coefficient == 1 and len(powers) == 1 and next(iter(powers))[1] == 1:
            return {(frozenset((atom, exponent) for atom, _ in powers), frozenset()): coefficient}
    return {(frozenset({(("sum", _items(base)), exponent)}), frozenset()): Fraction(1)}


def _plain_derivative(tree: Tree, bound: Mapping[str, Any]) -> Polynomial:
    names, body = list(tree.value), tree.parts[0]
    while body.kind == "derivative":
        names, body = [*names, *body.value], body.parts[0]
    along, inner = sorted((bound.get(name, name) for name in names), key=str), _items(_plain(body, bound))
    if not all(_mentions(inner, ("symbol", name)) for name in along):
        return {}
    return single(("derivative", inner, tuple(along)))


def _plain_value(tree: Tree, bound: Mapping[str, Any]) -> Polynomial:
    names = {name: ("put in", len(bound), k) for k, name in enumerate(tree.value)}
    inner = _plain(tree.parts[0], {**bound, **names})
    if not any(_mentions(_items(inner), ("symbol", name)) for name in names.values()):
        return inner
    return single(("at", _items(inner), tuple(_items(_plain(value, bound)) for value in tree.parts[1:])))


def _items(polynomial: Polynomial) -> frozenset[Any]:
    return frozenset(polynomial.items())


def _mentions(found: Any, atom: Any) -> bool:
    return found == atom or (isinstance(found, tuple | frozenset) and any(_mentions(part, atom) for part in found))
