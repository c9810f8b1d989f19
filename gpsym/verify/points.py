"""Where formulas are checked: the corners at which they break, and points spread evenly over the whole domain.

    q, q1, q2          1e-8 to 1e8, with q2 = q1 or q2 / q1 from 1e-4 to 1e4; in units of 1, and of t^2 for each
                       knot t that is a number
    lengths / sqrt(q)  of a positive symbol such as m: 1e-8 to 1e8; of another such as tau: 0, and up to -40 and 40
    rho                0, and up to 1e-9 from -1 and 1
    sigma_w2           1e-8 to 1e8
    sigma_b2, theta    0, and sizes from 1e-8 to 1e8
    alpha              1e-8 to 1

All parameters of an activation count as lengths.  Half of the points lie where nothing is extreme.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, count, cycle, islice, zip_longest
from typing import Any

import sympy as sp

from gpsym.formula import ALPHA, Q1, Q2, RHO, SIGMA_B2, SIGMA_W2, THETA, Q
from gpsym.verify.shapes import Point, fraction

__all__ = ["domain", "points"]

Strata = tuple[tuple[float, Callable[[float], float]], ...]  # (share, map from [0, 1) to values)
_LOW, _HIGH = -8.0, 8.0  # decades
_FAR = 40.0  # deviations
_ATTEMPTS = 50  # for each point, to meet the conditions


def _powers(low: float, high: float) -> Callable[[float], float]:
    return lambda u: 10 ** (low + (high - low) * u)


def _line(low: float, high: float) -> Callable[[float], float]:
    return lambda u: low + (high - low) * u


def _both(size: Callable[[float], float]) -> Callable[[float], float]:
    """The sizes with both signs."""
    return lambda u: size(2 * u) if u < 0.5 else -size(2 * u - 1)


def _constant(value: float) -> Callable[[float], float]:
    return lambda u: value


_WIDE: Strata = ((0.5, _powers(-1, 1)), (0.5, _powers(_LOW, _HIGH)))
_REAL: Strata = (
    (0.06, _constant(0)),
    (0.5, _line(-4, 4)),
    (0.24, _both(_line(4, _FAR))),
    (0.2, _both(_powers(_LOW, 0))),
)
_RATIO: Strata = ((0.3, _constant(1)), (0.7, _powers(-4, 4)))  # of two variances
_CORRELATION: Strata = (
    (0.05, _constant(0)),
    (0.45, _line(-0.97, 0.97)),
    (0.5, _both(lambda u: 1 - 10 ** -(1 + 8 * u))),
)
_NONNEGATIVE: Strata = ((0.1, _constant(0)), (0.9, _powers(_LOW, _HIGH)))
_SIGNED: Strata = ((0.1, _constant(0)), (0.9, _both(_powers(_LOW, _HIGH))))
_SHARE: Strata = ((0.1, _constant(1)), (0.9, _powers(_LOW, 0)))

_STRATA = {Q: _WIDE, Q1: _WIDE, Q2: _RATIO, RHO: _CORRELATION, SIGMA_W2: _WIDE, SIGMA_B2: _NONNEGATIVE, THETA: _SIGNED,
           ALPHA: _SHARE}  # fmt: skip

# Of each symbol, where nothing is extreme and then where formulas break.
_NEAR_1 = 1 - 1e-9
_CORNERS = {
    Q: (1.0, 1e-8, 1e8, 12.0**-2, _FAR**-2),
    Q1: (1.0, 1e-8, 1e8, 12.0**-2, _FAR**-2),
    Q2: (1.0, 2.0, 1e-4, 1e4),
    RHO: (0.375, 0.0, _NEAR_1, -_NEAR_1),
    SIGMA_W2: (1.5, 1e-8, 1e8),
    SIGMA_B2: (0.25, 0.0, 1e-8, 1e8),
    THETA: (0.5, 0.0, -1e8, 1e8),
    ALPHA: (0.5, 1.0, 1e-8),
}
_CORNERS_OF_LENGTHS = (0.75, 0.0, _FAR, -_FAR, 12.0, -12.0, 1e-8, -1e-8)
_CORNERS_OF_SIZES = (1.0, 1e-8, 1e8, 1e-4, 1e4)


def points(
    symbols: Sequence[sp.Symbol],
    conditions: Sequence[sp.Expr],
    fixed: Sequence[float],
    number: int,
    seed: int,
    corners: bool = True,
) -> list[Point]:
    """So many points of the domain: by turns a spread one, one with a single extreme, and one with several.

    conditions  what must be >= 0; fewer points come back, or none, if it seldom is.
    fixed       lengths that are numbers, such as the knot 3: variances are in units of 1 and of their squares by turns.
    """
    kinds = [islice(_spread(symbols, seed), _ATTEMPTS * number)]
    if corners:
        kinds += [_corners(symbols), islice(_mixed_corners(symbols, seed), number)]
    rows = zip(zip_longest(*kinds), cycle((1.0, *fixed)), strict=False)
    by_turns = (_enlarged(point, unit) for row, unit in rows for point in row if point is not None)
    met = (found for point in by_turns if (found := _met(point, conditions)) is not None)
    return list(islice(met, number))


def _enlarged(point: dict[Any, float], unit: float) -> dict[Any, float]:
    """The point with all lengths times a unit, and so all variances of pre-activations times its square."""
    factors = {Q: unit**2, Q1: unit**2, Q2: unit**2}
    return {s: value * (factors.get(s, 1.0) if s in _STRATA else unit) for s, value in point.items()}


def domain(symbols: Sequence[sp.Symbol], fixed: Sequence[float]) -> str:
    """The ranges of the symbols in words."""
    units = f" times 1{''.join(f', {t:g}^2' for t in fixed)}" if fixed else ""
    return ", ".join(_range(symbol, "q1" if Q1 in symbols else "q", units) for symbol in symbols)


def _range(symbol: sp.Symbol, variance: str, units: str) -> str:
    if symbol == Q2:
        return "q2/q1 1e-4 to 1e4"
    if symbol == RHO:
        return "rho -1 + 1e-9 to 1 - 1e-9"
    if symbol == ALPHA:
        return "alpha 1e-8 to 1"
    if symbol in (SIGMA_B2, THETA):
        return f"{symbol} 0 and {'+-' if symbol == THETA else ''}1e-8 to 1e8"
    if symbol in _STRATA:
        return f"{symbol} 1e-8 to 1e8{units if symbol in (Q, Q1) else ''}"
    if symbol.is_positive:
        return f"{symbol}/sqrt({variance}) 1e-8 to 1e8"
    return f"{symbol}/sqrt({variance}) 0 and {'' if symbol.is_nonnegative else '+-'}1e-8 to {_FAR:g}"


def _met(point: dict[Any, float], conditions: Sequence[sp.Expr]) -> Point | None:
    """The point, or the one with sizes in place of lengths, as exact numbers, if it meets the conditions."""
    sizes = {s: value if s in _STRATA else abs(value) for s, value in point.items()}
    for candidate in (point, sizes):
        exact: dict[Any, Any] = {s: sp.Rational(value) for s, value in candidate.items()}
        if all(fraction(condition, exact) >= 0 for condition in conditions):
            return exact
    return None


def _spread(symbols: Sequence[sp.Symbol], seed: int) -> Iterator[dict[Any, float]]:
    """Points all over the domain; at a tenth of them two lengths coincide."""
    pairs = list(combinations([s for s in symbols if s not in _STRATA], 2))
    for *places, last in _low_discrepancy(len(symbols) + 1, seed):
        ratios = {s: _stratified(_strata(s), u) for s, u in zip(symbols, places, strict=True)}
        if pairs and last < 0.1:
            first, second = pairs[int(10 * last * len(pairs))]
            ratios[second] = abs(ratios[first]) or ratios[second]
        yield _scaled(ratios)


def _low_discrepancy(dimensions: int, seed: int) -> Iterator[list[float]]:
    """k times the powers of 1 / phi modulo 1, phi^(d + 1) = phi + 1, for k = 1, 2, ..., far on for other seeds."""
    phi = 2.0
    for _ in range(64):
        phi = (1 + phi) ** (1 / (dimensions + 1))
    for k in count(1 + 7919 * seed):
        yield [(0.5 + k * phi ** -(j + 1)) % 1 for j in range(dimensions)]


def _strata(symbol: sp.Symbol) -> Strata:
    return _STRATA.get(symbol) or (_WIDE if symbol.is_positive else _REAL)


def _stratified(strata: Strata, u: float) -> float:
    for share, value in strata:
        if u < share:
            return value(u / share)
        u -= share
    return strata[-1][1](0.5)


def _scaled(ratios: dict[Any, float]) -> dict[Any, float]:
    """The point, from lengths in units of sqrt(q) and q2 in units of q1."""
    unit = math.sqrt(ratios.get(Q, ratios.get(Q1, 1.0)))
    point = {s: value if s in _STRATA else _allowed(s, value) * unit for s, value in ratios.items()}
    if Q2 in point:
        point[Q2] *= point[Q1]
    return point


def _allowed(symbol: sp.Symbol, value: float) -> float:
    return abs(value) if symbol.is_nonnegative else value


def _corner_values(symbols: Sequence[sp.Symbol]) -> dict[sp.Symbol, tuple[float, ...]]:
    return {s: _CORNERS.get(s) or (_CORNERS_OF_SIZES if s.is_positive else _CORNERS_OF_LENGTHS) for s in symbols}


def _corners(symbols: Sequence[sp.Symbol]) -> Iterator[dict[Any, float]]:
    """One symbol at a time at its extremes, and each two lengths equal; the others where nothing is extreme."""
    values = _corner_values(symbols)
    middle = {s: corner[0] for s, corner in values.items()}
    for rank in range(1, max(map(len, values.values()), default=1)):
        yield from (_scaled({**middle, s: corner[rank]}) for s, corner in values.items() if rank < len(corner))
    for first, second in combinations([s for s in symbols if s not in _STRATA], 2):
        yield _scaled({**middle, first: 1.25, second: 1.25})


def _mixed_corners(symbols: Sequence[sp.Symbol], seed: int) -> Iterator[dict[Any, float]]:
    """Each symbol at one of its extremes, or where nothing is."""
    values = _corner_values(symbols)
    for places in _low_discrepancy(len(symbols), seed):
        yield _scaled({s: c[int(u * len(c))] for (s, c), u in zip(values.items(), places, strict=True)})
