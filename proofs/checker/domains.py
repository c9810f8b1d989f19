"""Intervals of symbols, and products of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import final

from proofs.checker import parse
from proofs.checker.intervals import bounds, enclosure
from proofs.checker.normal import Signs, is_zero
from proofs.checker.terms import ANY, NOT_NEGATIVE, POSITIVE, negated
from proofs.checker.trees import Rejected, Tree, minus, multiply, number, symbols

__all__ = [
    "Domain",
    "Interval",
    "constant_signs",
    "domain",
    "interior",
    "require_covered",
    "same_end",
    "symbol_signs",
]

_PRECISIONS = (160, 640)  # bits; a constant that 640 do not tell from 0 is open if it is not 0 by form


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
    if low is not None and high is not None and constant_signs(minus(high, low)) != POSITIVE:
        raise Rejected(f"need an interval whose ends rise, got {value}")
    return found


def _end(value: str, infinite: str) -> Tree | None:
    if value.strip() == infinite:
        return None
    tree = parse.expression(value)
    if symbols(tree):
        raise Rejected(f"an end of an interval is a number, got {value}")
    constant_signs(tree)  # which refuses what is undefined
    return tree


def interior(intervals: Domain, name: str) -> Domain:
    """The domain with the interval of one symbol open."""
    return {**intervals, name: replace(intervals[name], low_open=True, high_open=True)}


def same_end(left: Tree | None, right: Tree | None) -> bool:
    """Whether two ends of one side are one number, or both infinite."""
    if left is None or right is None:
        return left is right
    return constant_signs(minus(left, right)) == {0}


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
    distance = constant_signs(multiply(number(side), minus(inner, outer)))
    return distance == POSITIVE or (distance == {0} and (inner_open or not outer_open))


def symbol_signs(intervals: Domain) -> Signs:
    """The signs that the symbols may have."""
    return {name: _interval_signs(interval) for name, interval in intervals.items()}


def _interval_signs(interval: Interval) -> frozenset[int]:
    low = ANY if interval.low is None else _beyond(constant_signs(interval.low), interval.low_open)
    high = ANY if interval.high is None else _beyond(negated(constant_signs(interval.high)), interval.high_open)
    return low & negated(high)


def _beyond(end: frozenset[int], is_open: bool) -> frozenset[int]:
    """The signs above an end of those signs."""
    if end == POSITIVE or (end == {0} and is_open):
        return POSITIVE
    return NOT_NEGATIVE if end == {0} else ANY


def constant_signs(tree: Tree) -> frozenset[int]:
    """The signs that a tree without symbols may have; one, unless it is nearly 0, and not by form."""
    for bits in _PRECISIONS:
        low, high = bounds(enclosure(tree, {}, bits))
        if low > 0 or high < 0:
            return frozenset({1 if low > 0 else -1})
    return frozenset({0}) if is_zero(tree, {}) else ANY
