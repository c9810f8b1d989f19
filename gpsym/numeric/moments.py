"""Truncated Gaussian moments on arrays, to nearly the last digit of float64.

    M_n(t, w; q) = E[(X - t)^n; t < X < t + w],   X ~ N(0, q),   n = 0, 1, 2, ...,   w possibly infinite.

For a = t / sqrt(q) >= 0 and W = w / sqrt(q), with p the standard normal density,

    M_n = q^(n/2) p(a) J_n(a, W),   J_n(a, W) = int_0^W s^n exp(-a s - s^2 / 2) ds,

so that what is tiny or huge stands in factors.  J_n is a Gauss-Legendre sum where the exponent stays small, and
h_n(a) - exp(-W (a + W / 2)) sum_j C(n, j) W^(n-j) h_j(a + W) elsewhere, h_n = J_n(., oo); both are sums of
positive terms but for that one difference, which loses less than a digit there.  Where t < 0 the interval is cut at 0,
where the density is greatest, and each part is expanded about its end next to 0.

The exponent a^2 / 2 is formed in double-double: rounding a alone costs a^2 rounding errors.

Written once for numpy and torch; `xp` is the module.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import cache
from math import comb
from typing import Any

import mpmath
import numpy as np

from gpsym.numeric.doubles import Double, accurate_sum, quotient, root, two_product

__all__ = [
    "UNDERFLOW",
    "broadcast",
    "by_cases",
    "density",
    "gauss_legendre",
    "interval_moments",
    "log_tail_moment",
    "scaled_moments",
    "standard_moments",
    "standardized",
    "through_zero",
]

# exp(-x) is 0 in float64 from 745.2 on.  exp(-W (a + W / 2)) is then for W >= 40, whatever a >= 0.
UNDERFLOW, _WIDEST = 746.0, 40.0

_PLAIN = 4.0  # up to here rounding of a^2 / 2 costs less than 1.5e-15, and plain arithmetic does

_HUGE = 1e150  # in place of what is greater, so that squares stay finite

# Nodes of Gauss-Legendre sums.  For exp(-X u) on (0, 1) 16 have the error X^32 (16!)^4 / (33 (32!)^3), 1e-19 for
# X = 13, a third of what `gpsym.numeric.rectangles` covers.  12 would leave 1e-13 of the fourth moment at X = 5.
_NODES = 16


def interval_moments(xp: Any, orders: Sequence[int], t: Double, w: Any, q: Any) -> list[Any]:
    """M_n(t, w; q) for each order n.

    t  start of the interval in double-double, as `accurate_sum` gives it.
    w  its width, >= 0 or infinite;  q  the variance, in [1e-280, 1e280].  All are float64 arrays that broadcast.
    """
    high, low, w, q = broadcast(xp, *t, w, q)
    deviation = xp.sqrt(q)
    a = high / deviation

    def plainly(at: Any) -> list[Any]:
        width = w[at] / deviation[at]
        return standard_moments(xp, orders, (a[at], None), (a[at] + width, None), width)

    def exactly(at: Any) -> list[Any]:
        return standard_moments(xp, orders, *standardized(xp, (high[at], low[at]), w[at], q[at])[:3])

    plain = abs(a) < _PLAIN
    moments = by_cases(xp, len(orders), [(plain, plainly), (~plain, exactly)])
    return [moment * deviation**n for n, moment in zip(orders, moments, strict=True)]


def standardized(xp: Any, t: Double, w: Any, q: Any) -> tuple[Double, Double, Any, Any]:
    """Start, end and width of an interval in standard deviations, and the standard deviation."""
    deviation = root(xp, q)
    w = xp.minimum(w, _HUGE * deviation[0])
    end = accurate_sum((t[0], w, t[1]))
    return quotient(t, deviation), quotient(end, deviation), w / deviation[0], deviation[0]


def broadcast(xp: Any, *arrays: Any) -> Any:
    """The arrays in their common shape."""
    return xp.broadcast_arrays(*arrays) if xp is np else xp.broadcast_tensors(*arrays)


def standard_moments(xp: Any, orders: Sequence[int], start: Double, end: Double, width: Any) -> list[Any]:
    """M_n for q = 1, in arrays of one shape; the start counts where it is positive, the end where it is negative."""

    def outward(at: Any) -> list[Any]:
        return _outward(xp, orders, _at(start, at), width[at])

    def inward(at: Any) -> list[Any]:
        return through_zero(xp, orders, _at(start, at), _at(end, at), width[at])

    return by_cases(xp, len(orders), [(start[0] >= 0, outward), (start[0] < 0, inward)])


def _at(x: Double, places: Any) -> Double:
    return x[0][places], None if x[1] is None else x[1][places]


def by_cases(xp: Any, count: int, cases: Sequence[tuple[Any, Callable[[Any], list[Any]]]]) -> list[Any]:
    """`count` arrays, at each place from the first case whose mask holds there; NaN where none does.

    cases  pairs of a mask and a function that takes an index (a mask, or ... for everything) to the arrays there.
    """
    results: list[Any] = []
    left = cases[0][0] | True
    for mask, function in cases if left.any() else ():  # which is empty if none is left at first
        places = mask & left
        if places.all():
            return function(...)
        if places.any():
            results = results or [xp.full_like(left, xp.nan, dtype=xp.float64) for _ in range(count)]
            for result, part in zip(results, function(places), strict=True):
                result[places] = part
            left = left & ~places
    return results or [xp.full_like(left, xp.nan, dtype=xp.float64) for _ in range(count)]


def through_zero(xp: Any, orders: Sequence[int], start: Double, end: Double, width: Any) -> list[Any]:
    """For a start below 0.  Left of 0, or of an end below 0, s^n = (l - r)^n, r counted from there, l its length."""
    every, zero = range(max(orders) + 1), xp.zeros_like(width)
    length, outside = xp.minimum(-start[0], width), end[0] < 0
    begin = xp.where(outside, -end[0], zero), None if end[1] is None else xp.where(outside, -end[1], zero)
    left = _outward(xp, every, begin, length)
    right = _outward(xp, every, (zero, None), xp.clip(end[0], 0.0, None))
    return [
        sum(
            comb(n, j) * ((-1) ** j * length ** (n - j) * left[j] + (-start[0]) ** (n - j) * right[j])
            for j in range(n + 1)
        )
        for n in orders
    ]


def _outward(xp: Any, orders: Sequence[int], start: Double, width: Any) -> list[Any]:
    """For a start of 0 or above."""
    at_start = density(xp, start)
    return [moment * at_start for moment in scaled_moments(xp, orders, xp.clip(start[0], 0.0, _HUGE), width)]


def density(xp: Any, x: Double) -> Any:
    """p(x), the exponent in double-double; or plainly, where x has no low part."""
    if x[1] is None:
        return xp.exp(-x[0] * x[0] / 2) / math.sqrt(2 * math.pi)
    a = xp.clip(x[0], -_HUGE, _HUGE)
    square, low = two_product(a, a)
    value = xp.exp(-square / 2) * ((1 - low / 2 - a * x[1]) / math.sqrt(2 * math.pi))
    return xp.where(square < 2 * UNDERFLOW, value, 0 * square)


def scaled_moments(xp: Any, orders: Sequence[int], a: Any, width: Any) -> list[Any]:
    """J_n(a, W) for each order n, a >= 0 and W >= 0."""
    width = xp.clip(width, 0.0, _WIDEST)
    exponent = width * (a + width / 2)
    near = exponent < _exponent(max(orders))
    cases = [
        (near, lambda at: _narrow(xp, orders, a[at], width[at])),
        (~near, lambda at: _wide(xp, orders, a[at], width[at], exponent[at])),
    ]
    return by_cases(xp, len(orders), cases)


def _exponent(order: int) -> float:
    """Up to here quadrature, beyond it the difference.

    J_n is at least the share P(n + 1, X) of the incomplete gamma function, more than half at X = n + 1, of h_n.
    """
    return order + 1.0


def log_tail_moment(n: int, h: Any) -> Any:
    """log E[(Z - h)_+^n] for an array of numpy or a tensor h, in float64; also where the moment itself underflows.

    log h_n(h) - h^2 / 2 - log sqrt(2 pi) for h >= 0, h_n as in the module's docstring; good to a few 1e-16 of h^2 / 2.
    Raises ValueError for an order that is not 0, 1, 2, ...

    >>> float(log_tail_moment(0, 100.0))
    -5005.524208694205
    """
    if not isinstance(n, int) or n < 0:
        raise ValueError(f"log_tail_moment: need an order n = 0, 1, 2, ..., got {n}; pass one.")
    xp: Any = sys.modules["torch"] if type(h).__module__ == "torch" else np
    h = xp.asarray(h, dtype=xp.float64)
    inside = xp.clip(h, 0.0, None)
    far = xp.log(_half_line(xp, (n,), inside)[n]) - inside * inside / 2 - math.log(2 * math.pi) / 2
    (near,) = interval_moments(xp, (n,), (h, 0 * h), 0 * h + math.inf, 0 * h + 1)
    with np.errstate(divide="ignore"):
        return xp.where(h >= 0, far, xp.log(near))


def _narrow(xp: Any, orders: Sequence[int], a: Any, width: Any) -> list[Any]:
    """By Gauss-Legendre quadrature over (0, W)."""
    sums = [0.0] * len(orders)
    for node, weight in gauss_legendre():
        s = node * width
        value = weight * xp.exp(-s * (a + s / 2))
        sums = [total + node**n * value for total, n in zip(sums, orders, strict=True)]
    return [total * width ** (n + 1) for total, n in zip(sums, orders, strict=True)]


def _wide(xp: Any, orders: Sequence[int], a: Any, width: Any, exponent: Any) -> list[Any]:
    """h_n(a) less what lies beyond W."""
    start = _half_line(xp, orders, a)
    if not (exponent < UNDERFLOW).any():
        return [start[n] for n in orders]
    beyond, decay = _half_line(xp, range(max(orders) + 1), a + width), xp.exp(-exponent)
    return [start[n] - decay * sum(comb(n, j) * width ** (n - j) * beyond[j] for j in range(n + 1)) for n in orders]


def _half_line(xp: Any, orders: Sequence[int], a: Any) -> dict[int, Any]:
    """h_n(a) = int_0^oo s^n exp(-a s - s^2 / 2) ds: the two highest by interpolation, down from there by

    h_(n-2) = (h_n + a h_(n-1)) / (n - 1), a sum of positive terms.
    """
    top, least = max(orders), min(orders)
    v = 1 / (a + _CENTRE)
    u = 1 - 2 * _CENTRE * v
    result = {n: _horner(u, _coefficients(n)) * v ** (n + 1) for n in range(max(top - 1, least), top + 1)}
    for n in range(top, least + 1, -1):
        result[n - 2] = (result[n] + a * result[n - 1]) / (n - 1)
    return result


def _horner(u: Any, coefficients: Sequence[float]) -> Any:
    total = coefficients[-1] * u
    for coefficient in coefficients[-2:0:-1]:
        total += coefficient
        total *= u
    return total + coefficients[0]


# Of the map u = (a - 3) / (a + 3) from (0, oo) to (-1, 1): smaller ones need more terms, greater ones have
# coefficients that are greater than the value at u = 1 and so lose digits there.
_CENTRE = 3.0


@cache
def _coefficients(n: int) -> tuple[float, ...]:
    """(a + 3)^(n+1) h_n(a) as a polynomial in u, from its Chebyshev interpolant.

    Its coefficients shrink by more than the factor 1 + sqrt(2) by which the powers' may grow, so that nothing is lost.
    """
    ctx = mpmath.MPContext()
    ctx.dps = 40
    size, centre = 64, ctx.mpf(_CENTRE)
    angles = [ctx.pi * (k + ctx.mpf(0.5)) / size for k in range(size)]
    places = [centre * (1 + ctx.cos(angle)) / (1 - ctx.cos(angle)) for angle in angles]
    # h_n(a) = n! exp(a^2 / 4) D_(-n-1)(a), D the parabolic cylinder function (DLMF 12.5.1).
    values = [(a + centre) ** (n + 1) * ctx.factorial(n) * ctx.exp(a * a / 4) * ctx.pcfd(-n - 1, a) for a in places]
    terms = [
        (2 - (j == 0))
        * ctx.fsum(value * ctx.cos(j * angle) for value, angle in zip(values, angles, strict=True))
        / size
        for j in range(size)
    ]
    largest = max(map(abs, terms))
    degree = max(j for j, term in enumerate(terms) if abs(term) > largest * ctx.mpf(2) ** -58)
    return tuple(float(c) for c in _powers(ctx, terms[: degree + 1]))


def _powers(ctx: Any, terms: Sequence[Any]) -> list[Any]:
    """Coefficients of 1, u, u^2, ... of the sum of terms[j] T_j(u), by T_(j+1) = 2 u T_j - T_(j-1)."""
    before, now = [ctx.mpf(1)], [ctx.mpf(0), ctx.mpf(1)]
    total = [terms[0], *(ctx.mpf(0) for _ in terms[1:])]
    for term in terms[1:]:
        for k, c in enumerate(now):
            total[k] += term * c
        following = [ctx.mpf(0), *(2 * c for c in now)]
        for k, c in enumerate(before):
            following[k] -= c
        before, now = now, following
    return total


@cache
def gauss_legendre(size: int = _NODES) -> tuple[tuple[float, float], ...]:
    """Nodes and weights on (0, 1), from the first node to the last."""
    from flint import arb, ctx

    with ctx.workprec(64):
        pairs = [arb.legendre_p_root(size, k, weight=True) for k in reversed(range(size))]
        return tuple((float((1 + node) / 2), float(weight / 2)) for node, weight in pairs)
