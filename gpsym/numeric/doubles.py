"""Double-double arithmetic (Dekker 1971): a number as the sum of two floats, to about 32 digits.

Elementwise on arrays of numpy or torch.  A `Double` is (high, low), with high the float nearest to the sum.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Double", "accurate_sum", "difference", "product", "quotient", "root", "two_product", "two_sum"]

Double = tuple[Any, Any]

# 2^27 + 1 cuts the 53 bits of a float64 into two halves whose products are exact (Veltkamp).
_SPLITTER = 134217729.0


def two_sum(x: Any, y: Any) -> Double:
    """x + y exactly."""
    total = x + y
    rest = total - x
    return total, (x - (total - rest)) + (y - rest)


def two_product(x: Any, y: Any) -> Double:
    """x y exactly, for abs(x), abs(y) < 1e300 and a product above 1e-290."""
    high = x * y
    (x1, x2), (y1, y2) = _halves(x), _halves(y)
    return high, ((x1 * y1 - high) + x1 * y2 + x2 * y1) + x2 * y2


def _halves(x: Any) -> Double:
    scaled = _SPLITTER * x
    high = scaled - (scaled - x)
    return high, x - high


def accurate_sum(terms: tuple[Any, ...]) -> Double:
    """The sum of floats."""
    high, low = terms[0], 0.0 * terms[0]
    for term in terms[1:]:
        high, rest = two_sum(high, term)
        low = low + rest
    return high, low


def difference(x: Double, y: Double) -> Double:
    """x - y."""
    high, rest = two_sum(x[0], -y[0])
    return two_sum(high, rest + (x[1] - y[1]))


def product(x: Double, y: Double) -> Double:
    """x y."""
    high, rest = two_product(x[0], y[0])
    return two_sum(high, rest + (x[0] * y[1] + x[1] * y[0]))


def quotient(x: Double, y: Double) -> Double:
    """x / y."""
    first = x[0] / y[0]
    high, low = two_product(first, y[0])
    rest = ((x[0] - high) - low + x[1] - first * y[1]) / y[0]
    return two_sum(first, rest)


def root(xp: Any, x: Any) -> Double:
    """sqrt(x) of a float x >= 1e-280."""
    high = xp.sqrt(x)
    square, low = two_product(high, high)
    return high, ((x - square) - low) / (2 * high)
