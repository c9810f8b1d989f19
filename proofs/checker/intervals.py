"""Interval arithmetic on trees: mpmath's, with an erfc of our own.

A context of mpmath's intervals is made for each precision, so that `mpmath.iv.prec` is neither read nor set.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from math import ceil
from typing import Any

from mpmath.ctx_iv import MPIntervalContext

from proofs.checker.budget import spend
from proofs.checker.trees import Rejected, Tree

__all__ = ["BITS", "bounds", "context", "enclosure", "erf_series", "erfc", "interval"]

BITS = 160  # of intervals: 48 digits, for boxes of roots of up to 20
_MOST_EXPONENT = 2**16  # of exponentials: their ends as fractions have 10^5 bits
_MOST_SHIFT = 2**20  # of ends: of larger or smaller ones the fractions have too many bits
_COSTS = {"power": 50, "exp": 20, "erfc": 200}  # in steps; other operations have 2
_MOST_ARGUMENT = Fraction(2**8)  # of erfc, about exp(-x^2)


@cache
def context(bits: int = BITS) -> Any:
    """mpmath's interval arithmetic of that precision."""
    own = MPIntervalContext()
    own.prec = bits
    return own


def interval(low: Fraction, high: Fraction, bits: int = BITS) -> Any:
    """An interval that contains [low, high]."""
    iv = context(bits)
    return iv.mpf([_quotient(iv, low).a, _quotient(iv, high).b])


def bounds(x: Any) -> tuple[Fraction, Fraction]:
    """The ends of an interval as exact numbers."""
    low, high = x._mpi_
    return _exact(low), _exact(high)


def enclosure(tree: Tree, box: Mapping[str, Any], bits: int = BITS, known: dict[Tree, Any] | None = None) -> Any:
    """An interval that contains the values of the tree for all values of its symbols in their intervals.

    known  values of parts on the same box, which are used and added to.
    Raises Rejected where the tree may be undefined on the box: a base of a negative power may be 0, or one of a
    fractional power < 0.
    """
    known = {} if known is None else known
    if tree not in known:
        known[tree] = _operation(tree, [enclosure(part, box, bits, known) for part in tree.parts], box, context(bits))
    return known[tree]


def erfc(x: Any, bits: int = BITS) -> Any:
    """An interval that contains erfc of all of the interval x: erfc falls, so that its ends do.

    For 0 <= x, x^2 < bits, by the series with positive terms (Abramowitz and Stegun 7.1.6)
    erf(x) = 2/sqrt(pi) exp(-x^2) sum_n t_n,  t_0 = x,  t_{n+1} = t_n 2 x^2 / (2 n + 3):
    once 2 x^2 / (2 n + 3) <= 1/2 the terms after t_n sum to at most t_n, a geometric series.  Sums are of integers
    times 2^-p, rounded down for the lower and up for the upper one; p has x^2 / ln 2 bits more than asked for, which
    1 - erf cancels.

    For x^2 >= bits, by parts n times,
    sqrt(pi) erfc(x) = exp(-x^2)/x sum_{k<n} (-1)^k u_k + (-1)^n r_n,  u_k = (2k - 1)!! / (2 x^2)^k,
    r_n = (2n - 1)!!/2^(n-1) integral_x^oo exp(-t^2) t^(-2n) dt > 0: sums of even and of odd n are on either side.
    Their distance u_n is least near n = x^2, about exp(-x^2) < 2^-bits.

    For x < 0, erfc(x) = 2 - erfc(-x).  Beyond |x| = 256, 0 and 2 and the values there are bounds.
    """
    iv = context(bits)
    (low, high), far = bounds(x), _MOST_ARGUMENT
    upper = _erfc_at(min(max(low, -far), far), bits).b if low >= -far else iv.mpf(2)
    return iv.mpf([_erfc_at(max(high, -far), bits).a if high <= far else 0, upper])


@cache
def _erfc_at(x: Fraction, bits: int) -> Any:
    if x < 0:
        return 2 - _erfc_at(-x, bits)
    return _by_series(x, bits) if x * x < bits else _by_parts(x, bits)


def _by_series(x: Fraction, bits: int) -> Any:
    p = bits + ceil(x * x * Fraction(3, 2)) + 32  # 3/2 > 1/ln 2
    iv = context(p)
    low, high = erf_series(x, p)
    total = iv.mpf([_quotient(iv, Fraction(low, 2**p)).a, _quotient(iv, Fraction(high, 2**p)).b])
    return _rounded(1 - 2 / iv.sqrt(_pi(iv)) * _exp(-_quotient(iv, x * x), iv) * total, bits)


def _rounded(x: Any, bits: int) -> Any:
    return +context(bits).make_mpf(x._mpi_)


def erf_series(x: Fraction, p: int) -> tuple[int, int]:
    """Integers around 2^p sum_n t_n, the sum in `erfc`."""
    twice = 2 * x * x
    low, high = _floor(x, p), -_floor(-x, p)
    ratio_low, ratio_high = _floor(twice, p), -_floor(-twice, p)
    sum_low, sum_high, n = low, high, 0
    while high > 1 or 2 * twice > 2 * n + 3:
        low = (low * ratio_low >> p) // (2 * n + 3)
        high = -((-(high * ratio_high) >> p) // (2 * n + 3))
        sum_low, sum_high, n = sum_low + low, sum_high + high, n + 1
    return sum_low, sum_high + high


def _by_parts(x: Fraction, bits: int) -> Any:
    iv = context(bits + 32)
    argument, square = _quotient(iv, x), _quotient(iv, x * x)
    term, total, n = iv.mpf(1), iv.mpf(0), 0
    while term.b > iv.mpf(2) ** (-bits - 16) and 2 * n + 1 < 2 * x * x:
        total += (-1) ** n * term
        n += 1
        term = term * (2 * n - 1) / (2 * square)
    total += (-1) ** n * term * iv.mpf([0, 1])
    return _rounded(_exp(-square, iv) / (argument * iv.sqrt(_pi(iv))) * total, bits)


def _operation(tree: Tree, values: list[Any], box: Mapping[str, Any], iv: Any) -> Any:
    spend(_COSTS.get(tree.kind, 2) + 2 * len(values))
    match tree.kind:
        case "number":
            return _quotient(iv, tree.value)
        case "pi":
            return _pi(iv)
        case "symbol":
            if tree.value not in box:
                raise Rejected(f"{tree.value} has no interval")
            return box[tree.value]
        case "sum":
            return sum(values[1:], values[0])
        case "product":
            product = values[0]
            for value in values[1:]:
                product = product * value
            return product
        case "power":
            return _power(values[0], tree.value, iv)
        case "exp":
            return _exp(values[0], iv)
        case "erfc":
            return erfc(values[0], iv.prec)
    raise AssertionError(tree.kind)


def _exp(x: Any, iv: Any) -> Any:
    if not x.b <= _MOST_EXPONENT:
        raise Rejected(f"need exponents of at most {_MOST_EXPONENT}")
    # Below, the lower end is 0, lest an end have too many bits.
    if x.a >= -_MOST_EXPONENT:
        return _wider(iv.exp(x), iv)
    return iv.mpf([0, _wider(iv.exp(iv.mpf(max(x.b, -_MOST_EXPONENT))), iv).b])


def _pi(iv: Any) -> Any:
    return _wider(+iv.pi, iv)


def _wider(x: Any, iv: Any) -> Any:
    """The interval with 16 units in the last place more, as mpmath rounds approximations of exp and pi, not these."""
    return x * (1 + iv.mpf([-1, 1]) * iv.mpf(2) ** (4 - iv.prec))


def _power(base: Any, exponent: Fraction, iv: Any) -> Any:
    low, high = bounds(base)
    if exponent < 0 and low <= 0 <= high:
        raise Rejected(f"need a base without 0 of the power {exponent}, got one in [{float(low)}, {float(high)}]")
    if exponent.denominator != 1:
        if low < 0:
            raise Rejected(f"need a base >= 0 of the power {exponent}, got one in [{float(low)}, {float(high)}]")
        base = iv.sqrt(base) if exponent.denominator == 2 else _root(iv, low, high, exponent.denominator)
    whole = base ** abs(exponent.numerator)
    return 1 / whole if exponent < 0 else whole


def _root(iv: Any, low: Fraction, high: Fraction, n: int) -> Any:
    """An interval around [low, high]^(1/n), by integer n-th roots."""
    spend(20 * n)
    places = iv.prec
    return iv.mpf([_quotient(iv, _floor_root(low, n, places)).a, _quotient(iv, _ceil_root(high, n, places)).b])


def _floor_root(x: Fraction, n: int, places: int) -> Fraction:
    """The greatest multiple of 2^-places with n-th power at most x."""
    target = x * 2 ** (places * n)
    low, high = 0, 1 << (target.numerator.bit_length() // n + 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**n <= target else (low, middle)
    return Fraction(low, 2**places)


def _ceil_root(x: Fraction, n: int, places: int) -> Fraction:
    root = _floor_root(x, n, places)
    return root if root**n == x else root + Fraction(1, 2**places)


def _quotient(iv: Any, x: Fraction) -> Any:
    return iv.mpf(x.numerator) / iv.mpf(x.denominator)


def _exact(end: Any) -> Fraction:
    sign, mantissa, exponent, _ = end
    if mantissa == 0 and exponent != 0:
        raise Rejected("need finite intervals, got one without end")
    if abs(exponent) > _MOST_SHIFT:
        raise Rejected(f"need ends of intervals between 2^-{_MOST_SHIFT} and 2^{_MOST_SHIFT}")
    mantissa = -mantissa if sign else mantissa
    return Fraction(mantissa * 2**exponent) if exponent >= 0 else Fraction(mantissa, 2**-exponent)


def _floor(x: Fraction, p: int) -> int:
    return x.numerator * 2**p // x.denominator
