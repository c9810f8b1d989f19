"""Signs on boxes: do they cover the domain, and does each enclosure hold there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod
from typing import Any

from mpmath import MPContext

from proofs.checker import parse
from proofs.checker.budget import spend
from proofs.checker.domains import Domain
from proofs.checker.intervals import bounds, enclosure, interval
from proofs.checker.trees import Rejected, Tree, text

__all__ = ["rational_ends", "require_positive_on_boxes"]

Box = tuple[tuple[Fraction, Fraction], ...]

# Radii of balls have 30 bits, and grow by at most 2^-28 in each of a few hundred operations.
_SLACK = 2.0**-16
_LAST_DIGIT = 1e-14  # relative, of the 15 digits to which ends are rounded outwards
_MOST_EXPONENT = 2**16
_CENTRED = MPContext()
_CENTRED.prec = 64


def require_positive_on_boxes(tree: Tree, domain: Domain, rows: object) -> None:
    """The tree is > 0 on the domain, closed and bounded: on each box of a list that covers it.

    rows  for each box the interval of each symbol, and "value", an enclosure of the tree's values there.
    Boxes must lie in the domain and cover it once.  An enclosure must be > 0, and lie between two of our own: the one
    by interval arithmetic, which is the narrowest that operation by operation can be found, and the one of midpoints
    and radii, where the radius of a function is that of its argument times the greatest slope.  Ball arithmetic,
    which uses such a radius or a narrower one, lies between; a shifted or widened enclosure does not.
    """
    if not isinstance(rows, list):
        raise Rejected(f"need a list of boxes, got {parse.quoted(rows)}")
    whole = tuple(rational_ends(domain, name) for name in domain)
    boxes = [_box(row, domain) for row in rows]
    _require_cover(whole, boxes)
    for row, box in zip(rows, boxes, strict=True):
        _require_enclosed(tree, dict(zip(domain, box, strict=True)), _ends(row["value"]))


def rational_ends(domain: Domain, name: str) -> tuple[Fraction, Fraction]:
    """The ends of a symbol's interval, which is closed and bounded, with rational ends."""
    i = domain[name]
    if i.low_open or i.high_open or i.low is None or i.high is None:
        raise Rejected(f"need a closed interval of {name}")
    if i.low.kind != "number" or i.high.kind != "number":
        raise Rejected(f"need rational ends of the interval of {name}")
    return i.low.value, i.high.value


def _box(row: object, domain: Domain) -> Box:
    if not isinstance(row, Mapping) or row.keys() != {*domain, "value"}:
        raise Rejected(f"need a box of {', '.join(domain)} and value, got {parse.quoted(row)}")
    sides = tuple(_ends(row[name]) for name in domain)
    if any(low == high for low, high in sides):
        raise Rejected(f"need sides of boxes whose ends rise, got {_shown(sides)}")
    return sides


def _ends(pair: object) -> tuple[Fraction, Fraction]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise Rejected(f"need two ends, got {parse.quoted(pair)}")
    low, high = parse.fraction(pair[0]), parse.fraction(pair[1])
    if low > high:
        raise Rejected(f"need ends in order, got {low} and {high}")
    return low, high


def _require_cover(whole: Box, boxes: Sequence[Box]) -> None:
    """The boxes are the whole, each point once but for faces.

    A region that no box contains is cut: in the middle of a side if no box is cut with it, else at a face.  If all
    regions lie in boxes, these cover the whole; if they are inside it and have its volume, they do not overlap.
    """
    if any(not _inside(box, whole) for box in boxes):
        raise Rejected("a box leaves the domain")
    waiting, steps = [(whole, boxes)], 0
    while waiting:
        region, near = waiting.pop()
        spend(2 * len(near))
        near = [box for box in near if _meets(box, region)]
        if any(_inside(region, box) for box in near):
            continue
        steps += 1
        if not near or steps > 100 * len(boxes):
            raise Rejected("boxes do not cover the domain near " + _shown(region))
        axis, place = _cut(region, near)
        (low, high), before, after = region[axis], region[:axis], region[axis + 1 :]
        waiting += [((*before, side, *after), near) for side in ((low, place), (place, high))]
    if sum(map(_volume, boxes)) != _volume(whole):
        raise Rejected("boxes overlap")


def _cut(region: Box, near: Sequence[Box]) -> tuple[int, Fraction]:
    for axis, (low, high) in enumerate(region):
        middle = (low + high) / 2
        if all(not box[axis][0] < middle < box[axis][1] for box in near):
            return axis, middle
    faces = ((axis, end) for box in near for axis in range(len(region)) for end in box[axis])
    return next((axis, end) for axis, end in faces if region[axis][0] < end < region[axis][1])


def _inside(inner: Box, outer: Box) -> bool:
    return all(o[0] <= i[0] and i[1] <= o[1] for i, o in zip(inner, outer, strict=True))


def _meets(box: Box, region: Box) -> bool:
    return all(b[0] < r[1] and r[0] < b[1] for b, r in zip(box, region, strict=True))


def _volume(box: Box) -> Fraction:
    return prod((high - low for low, high in box), start=Fraction(1))


def _shown(box: Box) -> str:
    return " x ".join(f"[{low}, {high}]" for low, high in box)


def _require_enclosed(tree: Tree, box: Mapping[str, tuple[Fraction, Fraction]], stated: tuple[Fraction, Fraction]):
    where = " on " + _shown(tuple(box.values()))
    low, high = stated
    if low <= 0:
        raise Rejected(f"an enclosure begins at {low}, not above 0{where}")
    own = bounds(enclosure(tree, {name: interval(*ends) for name, ends in box.items()}))
    if not (low <= own[0] and own[1] <= high):
        raise Rejected(f"an enclosure misses values of {text(tree)}{where}")
    middle, radius = _centred(tree, box, {})
    most = radius * (1 + _SLACK) + _LAST_DIGIT * (abs(middle) + radius)
    if _float(low) < middle - most or middle + most < _float(high):
        raise Rejected(f"an enclosure is wider than its arithmetic gives{where}")


def _centred(tree: Tree, box: Mapping[str, tuple[Fraction, Fraction]], known: dict[Tree, Any]) -> tuple[Any, Any]:
    """The middle and the radius of the tree's values by midpoint arithmetic, radii by greatest slopes.

    It bounds how wide a stated enclosure may be, and no proof rests on it: rounding, to 64 bits, is to nearest.
    The radius is oo where a function of such a wide argument has no bounded slope.
    """
    if tree not in known:
        known[tree] = _centred_operation(tree, [_centred(part, box, known) for part in tree.parts], box)
    return known[tree]


def _centred_operation(tree: Tree, inner: list[tuple[Any, Any]], box: Mapping[str, Any]) -> tuple[Any, Any]:
    spend(20)
    mp = _CENTRED
    match tree.kind:
        case "number":
            return _float(tree.value), mp.mpf(0)
        case "pi":
            return +mp.pi, mp.mpf(0)
        case "symbol":
            low, high = box[tree.value]
            return _float((low + high) / 2), _float((high - low) / 2)
        case "sum":
            return mp.fsum(m for m, _ in inner), mp.fsum(r for _, r in inner)
        case "product":
            size = prod((abs(m) for m, _ in inner), start=mp.mpf(1))
            return prod((m for m, _ in inner), start=mp.mpf(1)), prod((abs(m) + r for m, r in inner)) - size
    ((m, r),) = inner
    if tree.kind == "exp":
        return mp.exp(m), r * mp.exp(m + r) if m + r < _MOST_EXPONENT else mp.inf
    if tree.kind == "erfc":
        return mp.erfc(m), 2 / mp.sqrt(mp.pi) * r * mp.exp(-(max(abs(m) - r, mp.mpf(0)) ** 2))
    return _centred_power(m, r, tree.value)


def _centred_power(m: Any, r: Any, exponent: Fraction) -> tuple[Any, Any]:
    """By a root, then a whole power, then an inverse."""
    mp, q, n = _CENTRED, exponent.denominator, abs(exponent.numerator)
    if q > 1:
        if m - r <= 0:
            return m, mp.inf
        m, r = mp.root(m, q), r * (m - r) ** (mp.mpf(1) / q - 1) / q
    m, r = m**n, (abs(m) + r) ** n - abs(m) ** n
    if exponent > 0:
        return m, r
    return (1 / m, r / (abs(m) * (abs(m) - r))) if abs(m) > r else (m, mp.inf)


def _float(x: Fraction) -> Any:
    return _CENTRED.mpf(x.numerator) / x.denominator
