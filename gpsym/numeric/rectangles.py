"""Truncated moments of a Gaussian pair on arrays, with relative accuracy in every corner.

    M_ij = E[(U - t1)^i (V - t2)^j; t1 < U < t1 + w1, t2 < V < t2 + w2]

In standard deviations, with a, b the ends of the first interval, c, d those of the second, s = sqrt(1 - rho^2) and I_j
the moments of one variable (`gpsym.numeric.moments`),

    M_ij = q1^(i/2) q2^(j/2) int_a^b p(z) (z - a)^i s^j I_j((c - rho z) / s, (d - c) / s) dz.

The integrand is positive and log-concave.  Its logarithm is -psi(z) up to slowly varying terms, psi convex and made of
three parabolas: of curvature 1 / s^2 left of L = c / rho and right of R = d / rho, where V is off its interval, and 1
between.  Gauss-Legendre panels cover what lies within _DEPTH of the greatest value; they are cut at L and R, near which
the integrand changes on the scale of s.  Where s is small, L and R are the origins from which z is counted:
differences such as c - rho a are formed in double-double.

Starts below 0 are treated by cutting the interval at 0, as in one variable.

Written once for numpy and torch; `xp` is the module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import comb, inf, pi, sqrt
from typing import Any, NamedTuple

import numpy as np

from gpsym.numeric.doubles import Double, difference, product, quotient
from gpsym.numeric.moments import (
    UNDERFLOW,
    broadcast,
    by_cases,
    density,
    gauss_legendre,
    scaled_moments,
    standard_moments,
    standardized,
    through_zero,
)

__all__ = ["joint_density", "rectangle_moments"]

# The integrand is neglected where it is below exp(-_DEPTH) of its greatest value.
_DEPTH = 38.0

# Panels are at most this long, in units of the scale on which the integrand changes, and at least three of them
# share what lies within _DEPTH: so its logarithm changes by less than 13 on each.
_LENGTH, _LEAST = 3.0, 3

# c - rho z is small against c only if s is: L and R become origins where they lie further than this from a, in s.
_FAR = 50.0

# The integrand changes on the scale of s within this distance of L and R, in s / rho: beyond, tails are below 1e-15.
_MARGIN = 8.0

Orders = Sequence[tuple[int, int]]


class _Pair(NamedTuple):
    """Standardized: ends a, b and c, d of the intervals in double-double, their widths, correlation and s.

    logarithms  whether those of the moments are wanted.
    """

    a: Double
    b: Double
    width: Any
    c: Double
    d: Double
    height: Any
    rho: Any
    s: Any
    logarithms: bool = False

    def at(self, places: Any) -> _Pair:
        """The pairs at these places."""
        arrays = (tuple(x[places] for x in v) if isinstance(v, tuple) else v[places] for v in self[:-1])
        return _Pair(*arrays, logarithms=self.logarithms)

    def turned(self) -> _Pair:
        """With the roles of U and V exchanged."""
        return self._replace(a=self.c, b=self.d, width=self.height, c=self.a, d=self.b, height=self.width)


class _Origin(NamedTuple):
    """From where z is counted: base = z0 - a, lower = c - rho z0, upper = d - rho z0 and last = b - z0."""

    z0: Any
    base: Any
    lower: Any
    upper: Any
    last: Any

    def at(self, places: Any) -> _Origin:
        """The origins at these places."""
        return self._make(v[places] for v in self)


class _Segment(NamedTuple):
    """Where to integrate: from start to end, counted from the origin, and on which scale the integrand changes."""

    start: Any
    end: Any
    scale: Any
    origin: _Origin


def rectangle_moments(
    xp: Any, orders: Orders, first: tuple[Double, Any, Any], second: tuple[Double, Any, Any], rho: Any
) -> list[Any]:
    """M_ij for each pair of orders (i, j).

    first, second  start of the interval in double-double, width and variance, for U and for V.
    rho            their correlation, -1 <= rho <= 1.  All are float64 arrays that broadcast.
    """
    (t1, w1, q1), (t2, w2, q2) = first, second
    shape, (t1, t1_low, w1, q1, t2, t2_low, w2, q2, rho) = _flat(xp, *t1, w1, q1, *t2, w2, q2, rho)
    a, b, width, d1 = standardized(xp, (t1, t1_low), w1, q1)
    c, d, height, d2 = standardized(xp, (t2, t2_low), w2, q2)
    results = _standard(xp, orders, _Pair(a, b, width, c, d, height, rho, xp.sqrt((1 - rho) * (1 + rho))))
    return [(result * d1**i * d2**j).reshape(shape) for (i, j), result in zip(orders, results, strict=True)]


def log_bivariate_tail(h: Any, k: Any, rho: Any, orders: tuple[int, int] = (0, 0)) -> Any:
    """log E[(X - h)_+^i (Y - k)_+^j] of arrays of numpy, or tensors, of h, k and rho, in float64; (i, j) = orders.

    That is log L for (0, 0) and log K for (1, 1), to a few rounding errors of the logarithm, also far below underflow.

    Raises ValueError where abs(rho) > 1.

    >>> round(float(log_bivariate_tail(60.0, 50.0, 0.5)), 9)
    -2075.489091281
    """
    xp: Any = next((sys.modules["torch"] for v in (h, k, rho) if type(v).__module__ == "torch"), np)
    shape, (h, k, rho) = _flat(xp, *(xp.asarray(v, dtype=xp.float64) for v in (h, k, rho)))
    if (abs(rho) > 1).any():
        raise ValueError(f"log_bivariate_tail: need -1 <= rho <= 1, got {float(abs(rho).max())}; pass correlations.")
    zero, one, s = 0 * h, 0 * h + 1, xp.sqrt((1 - rho) * (1 + rho))
    (a, b, width, _), (c, d, height, _) = (standardized(xp, (t, zero), inf * one, one) for t in (h, k))
    pair = _Pair(a, b, width, c, d, height, rho, s)

    def plain(at: Any) -> list[Any]:
        return [xp.log(value) for value in _standard(xp, [orders], pair.at(at))]

    def scaled(at: Any) -> list[Any]:
        return _standard(xp, [orders], pair.at(at)._replace(logarithms=True))

    with np.errstate(all="ignore"):
        return by_cases(xp, 1, [((h < 0) | (k < 0) | (s == 0), plain), (s > 0, scaled)])[0].reshape(shape)


def _flat(xp: Any, *arrays: Any) -> tuple[Any, list[Any]]:
    """The common shape, and the arrays in it as vectors."""
    arrays = broadcast(xp, *arrays)
    return arrays[0].shape, [x.reshape(-1) for x in arrays]


def joint_density(xp: Any, x: Double, y: Double, q1: Any, q2: Any, rho: Any) -> Any:
    """The density of (U, V) at (x, y), both in double-double; at rho = -1 and 1 infinite where V is y, 0 elsewhere.

    Its exponent is that of U = x, and that of V = y given that: (y / sqrt(q2) - rho x / sqrt(q1))^2 / (2 (1 - rho^2)).
    """
    x, x_low, y, y_low, q1, q2, rho = broadcast(xp, *x, *y, q1, q2, rho)
    (a, _, _, d1), (c, _, _, d2) = standardized(xp, (x, x_low), 0 * q1, q1), standardized(xp, (y, y_low), 0 * q2, q2)
    s = xp.sqrt((1 - rho) * (1 + rho))
    off = difference(c, product((rho, 0 * rho), a))
    conditional = density(xp, quotient(off, (xp.where(s > 0, s, 1 + s), 0 * s))) / s
    return density(xp, a) * xp.where(s > 0, conditional, xp.where(off[0] == 0, 1 / s, 0 * s)) / (d1 * d2)


def _standard(xp: Any, orders: Orders, pair: _Pair) -> list[Any]:
    """M_ij in standard deviations."""
    cases = [
        (pair.a[0] < 0, _cut),
        (pair.c[0] < 0, _cut_other),
        (pair.s == 0, _at_the_ends),
        (pair.rho < 0, _against),
        (pair.rho >= 0, _along),
    ]
    return by_cases(
        xp,
        len(orders),
        [(mask, lambda at, function=function: function(xp, orders, pair.at(at))) for mask, function in cases],
    )


def _cut(xp: Any, orders: Orders, pair: _Pair) -> list[Any]:
    """For a < 0: (z - a)^i in powers of the distance from 0, or from b where b < 0, on both sides of it."""
    zero = xp.zeros_like(pair.rho)
    outside, length = pair.b[0] < 0, xp.minimum(-pair.a[0], pair.width)
    from_zero, to_zero = (tuple(xp.where(mask, x, zero) for x in pair.b) for mask in (~outside, outside))
    every = sorted({(k, j) for i, j in orders for k in range(i + 1)})
    left = _standard(xp, every, pair._replace(a=_negative(to_zero), b=_negative(pair.a), width=length, rho=-pair.rho))
    right = _standard(xp, every, pair._replace(a=(zero, zero), b=from_zero, width=from_zero[0]))
    sides = dict(zip(every, zip(left, right, strict=True), strict=True))
    return [
        sum(
            comb(i, k) * ((-1) ** k * length ** (i - k) * sides[k, j][0] + (-pair.a[0]) ** (i - k) * sides[k, j][1])
            for k in range(i + 1)
        )
        for i, j in orders
    ]


def _negative(x: Double) -> Double:
    return -x[0], -x[1]


def _cut_other(xp: Any, orders: Orders, pair: _Pair) -> list[Any]:
    """For c < 0, a >= 0."""
    return _cut(xp, [(j, i) for i, j in orders], pair.turned())


def _at_the_ends(xp: Any, orders: Orders, pair: _Pair) -> list[Any]:
    """For rho = 1, where V = U: the integral of (z - a)^i (z - c)^j over what both intervals share; 0 for rho = -1."""
    (a, _), (b, _), _, (c, _), (d, _), _, rho, _, _ = pair
    start = xp.maximum(a, c)
    shared = xp.clip(xp.minimum(b, d) - start, 0.0, None)
    top = max(i + j for i, j in orders)
    moments = standard_moments(xp, range(top + 1), (start, 0 * start), (start, 0 * start), shared)
    return [
        xp.where(rho > 0, 1.0, 0.0)
        * sum(
            comb(i, k) * comb(j, n) * (start - a) ** (i - k) * (start - c) ** (j - n) * moments[k + n]
            for k in range(i + 1)
            for n in range(j + 1)
        )
        for i, j in orders
    ]


def _against(xp: Any, orders: Orders, pair: _Pair) -> list[Any]:
    """For rho < 0: psi grows all the way from a, as g x + x^2 / (2 s^2)."""
    (a, _), _, width, (c, _), _, height, rho, s, _ = pair
    lower, zero = c - rho * a, xp.zeros_like(a)
    growth = a - rho * lower / s**2
    reach = 2 * _DEPTH / (growth + xp.sqrt(growth**2 + 2 * _DEPTH / s**2))
    origin = _Origin(a, zero, lower, lower + height, width)
    least = a**2 / 2 + (lower / s) ** 2 / 2
    return _integrals(xp, orders, pair, least, [_segment(xp, origin, zero, reach, s)])


def _along(xp: Any, orders: Orders, pair: _Pair) -> list[Any]:
    """For rho >= 0: left of L, next to L, between, next to R, right of R."""
    (a, _), _, width, (c, _), (d, _), height, rho, s, _ = pair
    rho = xp.clip(rho, 1e-300, None)
    ca, cb, da, db = (
        difference(level, product((rho, 0 * rho), end))[0] for level in (pair.c, pair.d) for end in (pair.a, pair.b)
    )  # c - rho a, and so on
    least = _least(xp, pair, ca, cb, da)
    depth = least + _DEPTH  # psi of where to stop
    to_l, to_r, zero = ca / rho, da / rho, xp.zeros_like(a)  # L - a, R - a
    step = xp.minimum(_MARGIN * s, height / 2) / rho
    middle = xp.sqrt(2 * depth)  # where psi = z^2 / 2 reaches it

    from_a = _Origin(a, zero, ca, da, width)
    at_l = _either(xp, ca <= _FAR * s, from_a, _Origin(c / rho, to_l, zero, height, -cb / rho))
    at_r = _either(xp, da <= _FAR * s, from_a, _Origin(d / rho, to_r, -height, zero, -db / rho))
    left, right = to_l - at_l.base, to_r - at_r.base  # L and R counted from there
    (low, high), (_, highest) = (_parabola(xp, pair, level, origin, depth) for level, origin in ((c, at_l), (d, at_r)))
    segments = [
        _segment(xp, at_l, low, xp.minimum(left, high), s),
        _segment(xp, at_l, left, xp.minimum(left + step, middle - at_l.z0), s),
        _segment(xp, from_a, to_l + step, xp.minimum(to_r - step, middle - a), zero + 1),
        _segment(xp, at_r, right - step, xp.minimum(right, middle - at_r.z0), s),
        _segment(xp, at_r, right, highest, s),
    ]
    return _integrals(xp, orders, pair, least, segments)


def _either(xp: Any, near: Any, origin: _Origin, other: _Origin) -> _Origin:
    return origin._make(xp.where(near, x, y) for x, y in zip(origin, other, strict=True))


def _segment(xp: Any, origin: _Origin, start: Any, end: Any, scale: Any) -> _Segment:
    """What of it lies between a and b."""
    return _Segment(xp.maximum(start, -origin.base), xp.minimum(end, origin.last), scale, origin)


def _parabola(xp: Any, pair: _Pair, level: Any, origin: _Origin, depth: Any) -> Double:
    """Where the parabola of psi beyond level / rho, which has its vertex at rho level, reaches the depth."""
    rho, s = xp.clip(pair.rho, 1e-300, None), pair.s
    vertex = xp.where(origin.base == 0, rho * level - pair.a[0], -s * s * level / rho)
    reach = s * xp.sqrt(2 * xp.clip(depth - level**2 / 2, 0.0, None))
    return vertex - reach, vertex + reach


def _least(xp: Any, pair: _Pair, ca: Any, cb: Any, da: Any) -> Any:
    """The least value of psi on (a, b): at rho c, or at the end next to it."""
    (a, _), _, width, (c, _), _, _, rho, s, _ = pair
    way = rho * c - a
    off = xp.where(way <= 0, xp.clip(ca, 0.0, None) + xp.clip(-da, 0.0, None), xp.where(way < width, c * s * s, cb))
    return (a + xp.minimum(xp.clip(way, 0.0, None), width)) ** 2 / 2 + (off / s) ** 2 / 2


def _integrals(xp: Any, orders: Orders, pair: _Pair, least: Any, segments: list[_Segment]) -> list[Any]:
    """The sums over the segments; 0 where exp(-least), which bounds the integrand, underflows.

    For logarithms the integrand is multiplied by exp(least), which is taken off at the end.
    """
    zero = xp.zeros_like(least)
    shift = least if pair.logarithms else zero
    results = [xp.where(least >= 0, zero, least) for _ in orders]  # NaN stays
    for segment in segments:
        length = xp.where(least - shift < UNDERFLOW, segment.end - segment.start, zero)
        counts = xp.where(length > 0, xp.clip(xp.ceil(length / (_LENGTH * segment.scale)), _LEAST, None), zero)
        for k in range(int(counts.max()) if len(length) else 0):
            places = counts > k
            size = (length / counts)[places]
            start = segment.start[places] + k * size
            values = _panel(xp, orders, pair.at(places), segment.origin.at(places), start, size, shift[places])
            for result, value in zip(results, values, strict=True):
                result[places] += value
    return [xp.log(result) - least for result in results] if pair.logarithms else results


def _panel(xp: Any, orders: Orders, pair: _Pair, origin: _Origin, start: Any, size: Any, shift: Any) -> list[Any]:
    """The integrals from start, counted from the origin, over this size, times exp(shift)."""
    rows = [v[:, None] for v in (pair.height, pair.rho, pair.s, start, size, shift, *origin)]  # (points, 1)
    height, rho, s, start, size, shift, z0, base, lower, upper, _ = rows
    nodes, weights = (xp.asarray(v, dtype=xp.float64, device=start.device) for v in zip(*gauss_legendre(), strict=True))
    x = start + size * nodes  # (points, nodes)
    _, (begin, end, span) = _flat(xp, (lower - rho * x) / s, (upper - rho * x) / s, height / s)
    degrees = sorted({j for _, j in orders})

    def outward(at: Any) -> list[Any]:
        return scaled_moments(xp, degrees, begin[at], span[at])

    def inward(at: Any) -> list[Any]:
        return through_zero(xp, degrees, (begin[at], None), (end[at], None), span[at])

    inner = by_cases(xp, len(degrees), [(begin >= 0, outward), (begin < 0, inward)])
    given = {j: moment.reshape(x.shape) * s**j for j, moment in zip(degrees, inner, strict=True)}
    beyond = begin.reshape(x.shape)  # where it is >= 0, I_j = p(beyond) J_j: exponents are added up first
    exponent = shift - (z0 + x) ** 2 / 2 - xp.where(beyond >= 0, beyond, 0 * beyond) ** 2 / 2
    measure = xp.exp(exponent) * (weights * size / sqrt(2 * pi))
    measure = xp.where(beyond >= 0, measure / sqrt(2 * pi), measure)
    return [((base + x) ** i * measure * given[j]).sum(-1) for i, j in orders]
