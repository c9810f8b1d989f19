"""Zeros of Gaussian expectations: all q > 0 at which E[d(sqrt(q) Z)] = 0, isolated for certain.

d is even and piecewise polynomial.  With y = x^2 / 2 and s = 1 / q the expectation is sqrt(s) times a Laplace
transform, of d / sqrt(y) up to a constant, so that it has at most as many zeros, with multiplicity, as d(x)
changes sign on x > 0: if d changes sign at y_1, the derivative of exp(s y_1) times the transform is one of
(y_1 - y) d, which has one change less, and Rolle's theorem adds one zero at most (Descartes' rule for integrals,
Polya and Szego, part V).

The same rule with one change covers the ends: a function that is at most d, positive up to x_1 and negative beyond, has
a positive expectation for all smaller q once it has for one.  Between the ends intervals are halved until Taylor's
formula over balls of Arb decides each of them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import sympy as sp
from flint import arb, ctx
from scipy.optimize import brentq

from gpsym.numeric.balls import image

__all__ = ["Even", "isolated_zeros", "nearest_zero"]

_BITS, _MOST_BITS = 128, 2**12  # signs are computed with the first, and doubled up to the second
_MOST_BOXES = 20_000  # takes half a minute; designs need a few hundred

# Of the density of N(0, q): its q-derivatives divided by it are these polynomials in z = x / sqrt(q), over q^order.
_WEIGHTS: tuple[tuple[float, ...], ...] = ((1.0,), (-0.5, 0.0, 0.5), (0.75, 0.0, -1.5, 0.0, 0.25))


class Cell(NamedTuple):
    """Part of x > 0 on which d has one polynomial and one sign; sign 0 where it vanishes or its sign is open."""

    start: arb
    end: arb
    coefficients: tuple[arb, ...]
    sign: int


@dataclass(frozen=True)
class Even:
    """An even piecewise polynomial d: pieces[k], coefficients of 1, x, x^2, ..., between knots[k-1] and knots[k] > 0.

    Numbers are SymPy's, exact; the coefficient of a power that is missing is the rational 0.
    """

    knots: tuple[sp.Expr, ...]
    pieces: tuple[tuple[sp.Expr, ...], ...]

    @property
    def vanishes(self) -> bool:
        """Whether d = 0 everywhere."""
        return not any(c != 0 for piece in self.pieces for c in piece)

    @cached_property
    def _at_precision(self) -> dict[int, list[Cell]]:
        return {}

    def spans(self) -> list[Cell]:
        """The pieces as cells of unknown sign, at flint's present precision."""
        if ctx.prec not in self._at_precision:
            ends = (arb(0), *(image(knot, {}) for knot in self.knots), arb.pos_inf())
            self._at_precision[ctx.prec] = [
                Cell(start, end, tuple(arb(0) if c == 0 else image(c, {}) for c in piece), 0)
                for start, end, piece in zip(ends, ends[1:], self.pieces, strict=False)
            ]
        return self._at_precision[ctx.prec]


def expectation(cells: Sequence[Cell], q: arb, order: int = 0) -> arb:
    """The derivative of this order, 0, 1 or 2, of E[d(sqrt(q) Z)]; q may be a wide ball."""
    root, weight = q.sqrt(), _WEIGHTS[order]
    parts = (_part(cell, root, weight) for cell in cells if any(c != 0 for c in cell.coefficients))
    return 2 * sum(parts, arb(0)) / q**order  # as much from x < 0


def _part(cell: Cell, root: arb, weight: tuple[float, ...]) -> arb:
    """E[d(root Z) w(Z); cell] for x > 0."""
    size = len(cell.coefficients) + len(weight) - 1
    moments = [x - y for x, y in zip(_tails(cell.start / root, size), _tails(cell.end / root, size), strict=True)]
    total, power = arb(0), arb(1)
    for n, c in enumerate(cell.coefficients):
        total += c * power * sum((w * moments[n + j] for j, w in enumerate(weight) if w), arb(0))
        power *= root
    if root.is_exact() or not cell.end.is_finite():
        return total
    # Where the cell is narrow beside the range of q: its length times the range of the integrand.
    width = cell.end - cell.start
    hull = cell.start.union(cell.end)
    z = hull / root
    around = _range(cell.coefficients, hull) * _horner([arb(w) for w in weight], z) * _density(z) * width / root
    return total.intersection(around)


def _range(coefficients: Sequence[arb], hull: arb) -> arb:
    """A polynomial over a ball, by the mean value theorem."""
    middle = hull.mid()
    slope = _horner([n * c for n, c in enumerate(coefficients)][1:], hull)
    return _horner(coefficients, middle) + slope * (hull - middle)


def _density(z: arb) -> arb:
    return (-z * z / 2).exp() / (2 * arb.pi()).sqrt()


def _tails(a: arb, size: int) -> list[arb]:
    """E[Z^n; Z > a] for n < size."""
    if a == arb.pos_inf():
        return [arb(0)] * size
    moments, power = [(a / arb(2).sqrt()).erfc() / 2, _density(a)], arb(1)
    density = moments[1]
    for n in range(2, size):
        power *= a
        moments.append(power * density + (n - 1) * moments[n - 2])
    return moments[:size]


def sign_of(value: Callable[[], arb]) -> int:
    """The sign of a number that is computed at flint's precision; 0 where 2^12 bits do not tell it."""
    bits = _BITS
    while bits <= _MOST_BITS:
        with ctx.workprec(bits):
            number = value()
            if not number.contains(0):
                return 1 if number > 0 else -1
        bits *= 2
    return 0


def sign_at(d: Even, q: float) -> int:
    """The sign of E[d(sqrt(q) Z)]."""
    return sign_of(lambda: expectation(d.spans(), arb(q)))


class Isolated(NamedTuple):
    """An interval with one zero, at which the expectation changes sign unless it is double."""

    low: float
    high: float
    double: bool = False


def isolated_zeros(d: Even, double: float | None = None, *, above: float | None = None) -> list[Isolated]:
    """Intervals with one zero of E[d(sqrt(q) Z)] each, in increasing order, that together hold all zeros q > 0.

    double  a place that is known to be a double zero.
    above   a place that is no zero: those above it alone.
    Raises ValueError where zeros are too close to tell how many they are, and where d = 0.
    """
    assert not d.vanishes, "every q is a zero"
    with ctx.workprec(_BITS):
        cells = _cells(d)
        most = _sign_changes(cells)
        if most == 0:
            return []
        low, high = _low_end(cells) if above is None else above, _high_end(cells)
    if low >= high:
        return []
    found = _sampled(d, low, high, double)
    if sum(2 if zero.double else 1 for zero in found) == most:
        return found
    return sorted(set(_searched(d, low, high, double)))


# The sign pattern of d.


def _cells(d: Even) -> list[Cell]:
    """Cells of certain sign, except where d = 0 and in tiny ones around its zeros."""
    return [part for cell in d.spans() for part in _split(cell)]


def _split(cell: Cell) -> Iterator[Cell]:
    coefficients = list(cell.coefficients)
    while coefficients and coefficients[-1] == 0:
        coefficients.pop()
    if not coefficients:
        yield cell._replace(coefficients=())
        return
    # A zero at x = 0 is divided out; beyond Cauchy's bound the leading coefficient has the sign.
    order = next(n for n, c in enumerate(coefficients) if c != 0)
    core = coefficients[order:]
    if any(c.contains(0) for c in (core[0], core[-1])):
        raise ValueError("fixed_points: need coefficients that 128 bits tell from 0; choose other numbers.")
    start, end = cell.start, cell.end
    if not end.is_finite():
        bound = 1 + max(float((abs(c) / abs(core[-1])).upper()) for c in core)
        end = arb(max(2 * bound, 2 * float(start.upper())))
    parts = list(_bisected(core, start, end, 0))
    if not cell.end.is_finite():
        parts.append((end, cell.end, 1 if core[-1] > 0 else -1))
    for sign, group in groupby(parts, key=lambda part: part[2]):
        run = list(group)
        yield Cell(run[0][0], run[-1][1], tuple(coefficients), sign)


def _bisected(core: Sequence[arb], start: arb, end: arb, depth: int) -> Iterator[tuple[arb, arb, int]]:
    sign = _sign_between(core, start, end)
    if sign or depth == 40:
        yield start, end, sign
        return
    middle = ((start + end) / 2).mid()
    yield from _bisected(core, start, middle, depth + 1)
    yield from _bisected(core, middle, end, depth + 1)


def _sign_between(core: Sequence[arb], start: arb, end: arb) -> int:
    """The sign of a polynomial on an interval; 0 if it stays open."""
    value = _range(core, start.union(end))
    return 0 if value.contains(0) else 1 if value > 0 else -1


def _horner(coefficients: Sequence[arb], x: arb) -> arb:
    total = arb(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def _sign_changes(cells: Sequence[Cell]) -> int:
    """An upper bound of the sign changes of d on x > 0."""
    changes, last, free = 0, 0, 0
    for cell in cells:
        if not cell.coefficients:
            continue
        if cell.sign == 0:
            free += _turns(cell) + 1  # and one at a knot
            continue
        if last:
            # Between two certain signs only a number of the right parity fits.
            parity = cell.sign != last
            changes += parity + 2 * (max(free - parity, 0) // 2)
        last, free = cell.sign, 0
    return changes


def _turns(cell: Cell) -> int:
    """The least n whose n-th derivative has one sign on the cell: so often does the polynomial change sign at most."""
    coefficients, hull = list(cell.coefficients), cell.start.union(cell.end)
    for n in range(len(coefficients)):
        if not _horner(coefficients, hull).contains(0):
            return n
        coefficients = [k * c for k, c in enumerate(coefficients)][1:]
    return len(cell.coefficients) - 1


def _at_most(cells: Sequence[Cell], sign: int) -> Iterator[Cell]:
    """A function of the other sign that is at most sign * d: its part of that sign, and bounds where it is open."""
    for cell in cells:
        if cell.sign == -sign:
            yield cell._replace(coefficients=tuple(sign * c for c in cell.coefficients))
        elif cell.sign == 0 and cell.coefficients:
            size = abs(_horner(cell.coefficients, cell.start.union(cell.end))).upper()
            yield cell._replace(coefficients=(-size,))


def _low_end(cells: Sequence[Cell]) -> float:
    """A q up to which the expectation has the sign that d has next to 0."""
    sign = next(cell.sign for cell in cells if cell.coefficients)
    count = next((k for k, cell in enumerate(cells) if cell.coefficients and cell.sign != sign), len(cells))
    return _end(cells[:count], cells[count:], sign, cells[count - 1].end, 0.5)


def _high_end(cells: Sequence[Cell]) -> float:
    """A q from which on the expectation has the sign that d has far out, or that its integral has if d ends."""
    if cells[-1].coefficients:
        sign = cells[-1].sign
        count = next((k for k, cell in enumerate(cells[::-1]) if cell.coefficients and cell.sign != sign), len(cells))
        return _end(cells[-count:], cells[:-count], sign, cells[-count].start, 2.0)
    support = [cell for cell in cells if cell.coefficients]
    edge = support[-1].end
    whole = sum((_integral(cell) for cell in support), arb(0))
    size = sum(((cell.end - cell.start) * _largest(cell) for cell in support), arb(0))
    # int d exp(-x^2 / 2q) dx differs from int d dx by at most edge^2 / 2q times int |d| dx.
    if whole.contains(0):
        raise ValueError("fixed_points: need int (V's integrand - x^2) dx other than 0; choose other variances.")
    return float((edge * edge * size / abs(whole)).upper())


def _integral(cell: Cell) -> arb:
    return sum(
        (c * (cell.end ** (n + 1) - cell.start ** (n + 1)) / (n + 1) for n, c in enumerate(cell.coefficients)), arb(0)
    )


def _largest(cell: Cell) -> arb:
    return abs(_horner(cell.coefficients, cell.start.union(cell.end))).upper()


def _end(leading: Sequence[Cell], rest: Sequence[Cell], sign: int, edge: arb, factor: float) -> float:
    """Where, stepping by the factor and faster, the leading cells of one sign outweigh all others for good."""
    least = [cell._replace(coefficients=tuple(sign * c for c in cell.coefficients)) for cell in leading]
    least += _at_most(rest, sign)
    q = max(float((edge * edge).mid()), 1e-300)
    while not expectation(least, arb(q)) > 0:
        q, factor = q * factor, factor * (0.9 if factor < 1 else 1.1)
        if not 1e-300 < q < 1e300:
            raise ValueError("fixed_points: need fixed points within float64, got some beyond; rescale the activation.")
    return q


# Between the ends.


def _sampled(d: Even, low: float, high: float, double: float | None) -> list[Isolated]:
    """The zeros that 64 samples see: sign changes between neighbours, and the one known to be double."""
    ratio = math.log(high / low) / 63
    places = [low * math.exp(k * ratio) for k in range(64)]
    if double is not None:
        places = [q for q in places if abs(q / double - 1) > 1e-9]
    signs = [(q, sign_at(d, q)) for q in places]
    signs = [(q, sign) for q, sign in signs if sign]
    found = [Isolated(p, q) for (p, s), (q, t) in pairwise(signs) if s != t]
    return sorted([*found, *([] if double is None else [Isolated(double, double, True)])])


class _Box(NamedTuple):
    """The ranges of the expectation g and of its first two derivatives over an interval."""

    value: arb
    slope: arb
    bend: arb


def _box(d: Even, low: float, high: float) -> _Box:
    with ctx.workprec(_BITS):
        hull = arb(low).union(arb(high))
        middle, cells = hull.mid(), d.spans()
        step = hull - middle
        bend = expectation(cells, hull, 2)
        slope = expectation(cells, middle, 1)
        value = expectation(cells, middle) + slope * step + bend * step * step / 2
        return _Box(value, slope + bend * step, bend)


def _searched(d: Even, low: float, high: float, double: float | None) -> Iterator[Isolated]:
    stack, boxes = [(low, high)], 0
    while stack:
        left, right = stack.pop()
        boxes += 1
        box = _box(d, left, right)
        if not box.value.contains(0):
            continue
        if not box.slope.contains(0):
            if sign_at(d, left) != sign_at(d, right):
                yield Isolated(left, right)
            continue
        if not box.bend.contains(0):
            yield from _bent(d, left, right, 1 if box.bend > 0 else -1, double)
            continue
        middle = _between(left, right)
        if boxes > _MOST_BOXES or not left < middle < right:
            raise ValueError(
                "fixed_points: need fixed points that can be told apart, got an unclear number near "
                f"q = {middle:.17g}; choose slightly other variances."
            )
        stack += [(middle, right), (left, middle)]


def _between(left: float, right: float) -> float:
    """About the geometric mean; off it, so that round numbers, which may be zeros, are not met."""
    return left * (right / left) ** 0.5003 if right > 1.001 * left else left + 0.5003 * (right - left)


def _bent(d: Even, left: float, right: float, bend: int, double: float | None) -> Iterator[Isolated]:
    """The zeros where the expectation is convex (bend 1) or concave (bend -1): 2 at most."""
    if double is not None and left < double < right:
        yield Isolated(double, double, True)
        return
    ends = (sign_at(d, left), sign_at(d, right))
    if ends[0] != ends[1]:
        yield Isolated(left, right)
    elif ends[0] == bend:
        turn = _turn(d, left, right, bend)
        if sign_at(d, turn) == -bend:
            yield from (Isolated(left, turn), Isolated(turn, right))
        elif not _beyond_tangent(d, left, turn, right, bend):
            raise ValueError(
                f"fixed_points: need fixed points that can be told apart, got one or two or none near q = {turn:.17g}; "
                "choose slightly other variances."
            )


def _turn(d: Even, left: float, right: float, bend: int) -> float:
    """About where the slope vanishes, or an end."""
    while (middle := left + (right - left) / 2) not in (left, right):
        with ctx.workprec(_BITS):
            rises = bend * expectation(d.spans(), arb(middle), 1).mid() > 0
        left, right = (left, middle) if rises else (middle, right)
    return left


def _beyond_tangent(d: Even, left: float, turn: float, right: float, bend: int) -> bool:
    """Whether the tangent at the turn keeps the sign: a convex function lies above it."""

    def least() -> arb:
        cells, place = d.spans(), arb(turn)
        value, slope = expectation(cells, place), expectation(cells, place, 1)
        return (bend * (value + slope * (left - place))).min(bend * (value + slope * (right - place)))

    return sign_of(least) > 0


def nearest_zero(d: Even, zero: Isolated) -> float:
    """A float64 next to the zero: the expectation changes sign between its neighbours, for certain."""
    if zero.double:
        return zero.low

    def value(q: float) -> float:
        with ctx.workprec(2 * _BITS):
            return float((expectation(d.spans(), arb(q)) / q).mid())

    steps: dict[str, Any] = {"xtol": sys.float_info.min, "rtol": 1e-15, "maxiter": 1000}
    root: Any = brentq(value, zero.low, zero.high, **steps)
    sign = sign_at(d, zero.low)
    while sign_at(d, math.nextafter(root, 0)) == -sign:
        root = math.nextafter(root, 0)
    while sign_at(d, math.nextafter(root, math.inf)) == sign:
        root = math.nextafter(root, math.inf)
    return root
