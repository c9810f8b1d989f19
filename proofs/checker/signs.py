"""The signs that a tree may have on a domain, by form, and where it is defined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import final

from proofs.checker.budget import spend
from proofs.checker.domains import Domain, Interval, constant_signs, symbol_signs
from proofs.checker.normal import Signs
from proofs.checker.terms import ANY, NOT_NEGATIVE, POSITIVE, Terms, added, multiplied, raised
from proofs.checker.trees import (
    ONE,
    Rejected,
    Tree,
    add,
    multiply,
    number,
    parts,
    power,
    substitute,
    symbol,
    symbols,
    text,
)

__all__ = ["require_defined", "require_smooth", "signs"]


def require_defined(tree: Tree, intervals: Domain) -> None:
    """The tree is defined, and continuous, on the domain: under negative powers is not 0, under roots nothing < 0."""
    _require_bases(tree, intervals, lambda e: ANY - {0} if e.denominator == 1 else POSITIVE if e < 0 else NOT_NEGATIVE)


def require_smooth(tree: Tree, intervals: Domain) -> None:
    """The tree has derivatives on the domain: besides, under roots is not 0."""
    _require_bases(tree, intervals, lambda e: ANY - {0} if e.denominator == 1 else POSITIVE)


def _require_bases(tree: Tree, intervals: Domain, allowed: Callable[[Fraction], frozenset[int]]) -> None:
    missing = sorted(symbols(tree) - intervals.keys())
    if missing:
        raise Rejected(f"{', '.join(missing)} has no interval")
    for part in parts(tree):
        if part.kind == "power" and (part.value < 0 or part.value.denominator != 1):
            (base,) = part.parts
            if not signs(base, intervals) <= allowed(part.value):
                raise Rejected(f"{text(base)} under the power {part.value} may leave where that is defined or smooth")


def signs(tree: Tree, intervals: Domain) -> frozenset[int]:
    """Signs that contain those of the tree's values on the domain, where it is defined.

    Of operations on parts by the signs of these; where that leaves both, of the normal form's terms, with symbols as
    they are, or counted from the lower ends of their intervals, or from the upper ones, or from both.
    """
    found = _Form(intervals).of(tree)
    if not found:
        raise Rejected(f"{text(tree)} is nowhere defined")
    return found


@final
@dataclass(frozen=True)
class _View:
    """Symbols as functions of others: their trees, the signs of these, and whose closed ends are missed."""

    values: Mapping[str, Tree]
    places: Signs
    missed: frozenset[str] = frozenset()


def _views(intervals: Domain) -> list[_View]:
    own = symbol_signs(intervals)
    found = [_View({}, own)]
    if any(i.low is not None or i.high is not None for i in intervals.values()):
        found += [_shifted(intervals, own, from_above) for from_above in (False, True)]
    return [*found, _between(intervals, found[1])] if any(map(_bounded, intervals.values())) else found


def _shifted(intervals: Domain, own: Signs, from_above: bool) -> _View:
    """Each symbol as lo + x or hi - x, by one end if the other is infinite."""
    values: dict[str, Tree] = {}
    places = dict(own)
    for name, i in intervals.items():
        step, end, is_open = symbol(name), i.low, i.low_open
        if end is None or (from_above and i.high is not None):
            step, end, is_open = multiply(number(-1), step), i.high, i.high_open
        if end is not None:
            values[name] = add(end, step)
            places[name] = POSITIVE if is_open else NOT_NEGATIVE
    return _View(values, places)


def _between(intervals: Domain, shifted: _View) -> _View:
    """Each symbol between two ends as (lo + hi x)/(1 + x), x > 0, which reaches the lower end for x = 0."""
    values, places = dict(shifted.values), dict(shifted.places)
    for name, i in intervals.items():
        if i.low is not None and i.high is not None:
            x = symbol(name)
            values[name] = multiply(add(i.low, multiply(i.high, x)), power(add(ONE, x), -1))
            places[name] = POSITIVE if i.low_open else NOT_NEGATIVE
    return _View(values, places, frozenset(name for name, i in intervals.items() if _bounded(i) and not i.high_open))


def _bounded(interval: Interval) -> bool:
    return interval.low is not None and interval.high is not None


@final
class _Form:
    """Signs of trees on a domain."""

    def __init__(self, intervals: Domain) -> None:
        self._places = symbol_signs(intervals)
        self._views = [(view, Terms(view.places)) for view in _views(intervals)]
        self._known: dict[Tree, frozenset[int]] = {}

    def of(self, tree: Tree) -> frozenset[int]:
        """The signs of an operation on signs; if that leaves both, those of terms."""
        if tree not in self._known:
            found = self._operation(tree)
            for view, terms in self._views:
                if {-1, 1} <= found and tree.kind != "symbol":
                    seen = terms.of_tree(substitute(tree, view.values))
                    # Where all values near an end are of one sign, that at the end is of the same, or 0.
                    found &= seen | {0} if view.missed & symbols(tree) else seen
            self._known[tree] = found
        return self._known[tree]

    def _operation(self, tree: Tree) -> frozenset[int]:
        spend(10)
        if tree.kind == "symbol":
            return self._places.get(tree.value, ANY)
        if not symbols(tree):
            return constant_signs(tree)
        inner = [self.of(part) for part in tree.parts] if tree.kind not in ("exp", "erfc") else []
        if tree.kind == "sum":
            return added(inner)
        if tree.kind == "product":
            return multiplied(inner)
        return raised(inner[0], tree.value) if tree.kind == "power" else POSITIVE
