"""Intervals of symbols, and the signs that a tree may have on a product of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any, final

from proofs.checker import parse
from proofs.checker.intervals import bounds, enclosure
from proofs.checker.normal import Normal, Polynomial, Signs, Term, is_zero, minus_polynomial
from proofs.checker.trees import Rejected, Tree, add, minus, multiply, number, parts, substitute, symbol, symbols, text

__all__ = [
    "NOT_NEGATIVE",
    "POSITIVE",
    "Domain",
    "Interval",
    "domain",
    "interior",
    "require_covered",
    "require_defined",
    "require_smooth",
    "same_end",
    "signs",
    "symbol_signs",
]

_ANY = frozenset({-1, 0, 1})
_PRECISIONS = (160, 640)  # bits; a constant that 640 do not tell from 0 is open if it is not 0 by form
POSITIVE = frozenset({1})
NOT_NEGATIVE = frozenset({0, 1})


@final
@dataclass(frozen=True)
class Interval:
    """The numbers between two ends, which are trees without symbols, or None where there is none."""

    low: Tree | None
    high: Tree | None
    low_open: bool = True
    high_open: bool = True


Domain = Mapping[str, Interval]


def domain(texts: object) -> Domain:
    """The intervals of a mapping of symbols' names to texts as "(0, oo)" and "[sqrt(3), 2]"."""
    if not isinstance(texts, Mapping):
        raise Rejected(f"need a mapping of symbols to intervals, got {parse.quoted(texts)}")
    return {parse.name(name): _interval(value) for name, value in texts.items()}


def _interval(value: object) -> Interval:
    ends = value[1:-1].split(",") if isinstance(value, str) else []
    if not isinstance(value, str) or len(ends) != 2 or value[0] not in "([" or value[-1] not in ")]":
        raise Rejected(f'need an interval as "(0, oo)", got {parse.quoted(value)}')
    low, high = _end(ends[0], "-oo"), _end(ends[1], "oo")
    found = Interval(low, high, value[0] == "(", value[-1] == ")")
    if (low is None and not found.low_open) or (high is None and not found.high_open):
        raise Rejected(f"an interval is open at oo, got {value}")
    if low is not None and high is not None and _constant_signs(minus(high, low)) != POSITIVE:
        raise Rejected(f"need an interval whose ends rise, got {value}")
    return found


def _end(value: str, infinite: str) -> Tree | None:
    if value.strip() == infinite:
        return None
    tree = parse.expression(value)
    if symbols(tree):
        raise Rejected(f"an end of an interval is a number, got {value}")
    require_defined(tree, {})
    return tree


def interior(intervals: Domain, name: str) -> Domain:
    """The domain with the interval of one symbol open."""
    return {**intervals, name: replace(intervals[name], low_open=True, high_open=True)}


def same_end(left: Tree | None, right: Tree | None) -> bool:
    """Whether two ends of one side are one number, or both infinite."""
    if left is None or right is None:
        return left is right
    return _constant_signs(minus(left, right)) == {0}


def require_covered(inner: Domain, outer: Domain, names: Iterable[str]) -> None:
    """Each of the names has an interval in both domains, and the inner is a part of the outer one.

    So have the symbols that are in both without being named: what is said of all values of a symbol that is only in
    the outer domain, and not named, holds as its interval is not empty.
    """
    for name in sorted({*names} | (inner.keys() & outer.keys())):
        if name not in inner or name not in outer:
            raise Rejected(f"{name} has no interval")
        if not _contains(outer[name], inner[name]):
            raise Rejected(f"the interval of {name} is not covered by the premise's")


def _contains(outer: Interval, inner: Interval) -> bool:
    return _reaches(inner.low, inner.low_open, outer.low, outer.low_open, 1) and _reaches(
        inner.high, inner.high_open, outer.high, outer.high_open, -1
    )


def _reaches(inner: Tree | None, inner_open: bool, outer: Tree | None, outer_open: bool, side: int) -> bool:
    if outer is None or inner is None:
        return outer is None
    distance = _constant_signs(multiply(number(side), minus(inner, outer)))
    return distance == POSITIVE or (distance == {0} and (inner_open or not outer_open))


def symbol_signs(intervals: Domain) -> Signs:
    """The signs that the symbols may have."""
    return {name: _interval_signs(interval) for name, interval in intervals.items()}


def _interval_signs(interval: Interval) -> frozenset[int]:
    low = _ANY if interval.low is None else _beyond(_constant_signs(interval.low), interval.low_open)
    high = _ANY if interval.high is None else _beyond(_negated(_constant_signs(interval.high)), interval.high_open)
    return low & _negated(high)


def _beyond(end: frozenset[int], is_open: bool) -> frozenset[int]:
    """The signs above an end of those signs."""
    if end == POSITIVE or (end == {0} and is_open):
        return POSITIVE
    return NOT_NEGATIVE if end == {0} else _ANY


def _negated(values: frozenset[int]) -> frozenset[int]:
    return frozenset(-s for s in values)


def require_defined(tree: Tree, intervals: Domain) -> None:
    """The tree is defined, and continuous, on the domain: under negative powers is not 0, under roots nothing < 0."""
    _require_bases(tree, intervals, lambda e: _ANY - {0} if e.denominator == 1 else POSITIVE if e < 0 else NOT_NEGATIVE)


def require_smooth(tree: Tree, intervals: Domain) -> None:
    """The tree has derivatives on the domain: besides, under roots is not 0."""
    _require_bases(tree, intervals, lambda e: _ANY - {0} if e.denominator == 1 else POSITIVE)


def _require_bases(tree: Tree, intervals: Domain, allowed: Any) -> None:
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

    By form, and while that leaves several, by form again with symbols counted from the lower, then from the upper ends
    of their intervals, or from the other where that is infinite.
    """
    found = _Form(symbol_signs(intervals)).of(tree)
    for from_above in (False, True):
        if len(found) > 1:
            shifts, places = _shifts(intervals, from_above)
            found &= _Form({**symbol_signs(intervals), **places}).of(substitute(tree, shifts))
    if not found:
        raise Rejected(f"{text(tree)} is nowhere defined")
    return found


def _shifts(intervals: Domain, from_above: bool) -> tuple[dict[str, Tree], Signs]:
    """Each symbol as lo + x or hi - x, and the signs of x."""
    shifts: dict[str, Tree] = {}
    places: dict[str, frozenset[int]] = {}
    for name, i in intervals.items():
        step, end, is_open = symbol(name), i.low, i.low_open
        if end is None or (from_above and i.high is not None):
            step, end, is_open = multiply(number(-1), step), i.high, i.high_open
        if end is not None:
            shifts[name] = add(end, step)
            places[name] = POSITIVE if is_open else NOT_NEGATIVE
    return shifts, places


def _constant_signs(tree: Tree) -> frozenset[int]:
    for bits in _PRECISIONS:
        low, high = bounds(enclosure(tree, {}, bits))
        if low > 0 or high < 0:
            return frozenset({1 if low > 0 else -1})
    return frozenset({0}) if is_zero(tree, {}) else _ANY


@final
class _Form:
    """Signs by form, for symbols of given signs."""

    def __init__(self, places: Signs) -> None:
        self._places = places
        self._normal = Normal(places)
        self._known: dict[Tree, frozenset[int]] = {}

    def of(self, tree: Tree) -> frozenset[int]:
        """The signs of operations on signs; a sum that shows none is brought to normal form."""
        if tree not in self._known:
            found = self._operation(tree)
            if {-1, 1} <= found and tree.kind != "symbol":
                found &= self._terms(self._normal.form(tree))
            self._known[tree] = found
        return self._known[tree]

    def _operation(self, tree: Tree) -> frozenset[int]:
        if tree.kind == "symbol":
            return self._places.get(tree.value, _ANY)
        if not symbols(tree):
            return _constant_signs(tree)
        inner = [self.of(part) for part in tree.parts] if tree.kind not in ("exp", "erfc") else []
        if tree.kind == "sum":
            return _added(inner)
        if tree.kind == "product":
            return _multiplied(inner)
        return _raised(inner[0], tree.value) if tree.kind == "power" else POSITIVE

    def _terms(self, polynomial: Polynomial) -> frozenset[int]:
        found = _added([self._term(term, c) for term, c in polynomial.items()])
        return found & self._pair(polynomial) if len(polynomial) == 2 else found

    def _term(self, term: Term, coefficient: Fraction) -> frozenset[int]:
        own = frozenset({1 if coefficient > 0 else -1})
        return _multiplied([own, *(_raised(self._atom(atom), exponent) for atom, exponent in term[0])])

    def _atom(self, atom: Any) -> frozenset[int]:
        if atom[0] == "symbol":
            return self._places.get(atom[1], _ANY)
        return self._terms(dict(atom[1])) if atom[0] == "sum" else POSITIVE

    def _pair(self, polynomial: Polynomial) -> frozenset[int]:
        """c a (exp(u) - exp(v)) has the sign of c a (u - v), and c a (erfc(u) - erfc(v)) that of c a (v - u)."""
        (left, c), (right, d) = polynomial.items()
        if c != -d:
            return _ANY
        if left[0] == right[0]:
            rise = self._terms(minus_polynomial(dict(left[1]), dict(right[1])))
            return _multiplied([self._term((left[0], frozenset()), c), rise])
        own, other = left[0] - right[0], right[0] - left[0]
        if left[1] == right[1] and _tails(own) and _tails(other) and len(own) + len(other) in (1, 2):
            fall = self._terms(minus_polynomial(_argument(other), _argument(own)))
            return _multiplied([self._term((left[0] & right[0], frozenset()), c), fall])
        return _ANY


def _tails(powers: Iterable[Any]) -> bool:
    """Whether the factors are none, or one erfc: none is erfc(0)."""
    return len(list(powers)) <= 1 and all(atom[0] == "erfc" and exponent == 1 for atom, exponent in powers)


def _argument(powers: Iterable[Any]) -> Polynomial:
    for atom, _ in powers:
        return dict(atom[1])
    return {}


def _added(values: Iterable[frozenset[int]]) -> frozenset[int]:
    total = frozenset({0})
    for value in values:
        pairs = product(total, value)
        total = frozenset().union(*({a or b} if a * b != -1 else _ANY for a, b in pairs))
    return total


def _multiplied(values: Iterable[frozenset[int]]) -> frozenset[int]:
    total = POSITIVE
    for value in values:
        total = frozenset(a * b for a, b in product(total, value))
    return total


def _raised(base: frozenset[int], exponent: Fraction) -> frozenset[int]:
    """The signs of a power, where it is defined."""
    allowed = base - {0} if exponent < 0 else base
    if exponent.denominator != 1:
        return allowed - {-1}
    return frozenset(s ** abs(int(exponent)) for s in allowed)
