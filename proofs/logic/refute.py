"""Witnesses against false statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, final

import mpmath
import sympy as sp
from flint import arb, ctx, fmpq

from gpsym.numeric.balls import image
from proofs.logic.statements import Statement

__all__ = ["Refuted", "refute"]

_DIGITS = 50
_SIZES = [sp.Rational(2) ** k for k in range(-4, 5)]
_FRACTIONS = [sp.Rational(k, 8) for k in range(1, 8)]


@final
@dataclass(frozen=True)
class Refuted:
    """The statement is false: at the witness the expression has this value, to 50 digits."""

    witness: Mapping[str, str]
    value: str

    @property
    def method(self) -> str:
        """The witness in one line."""
        return f"{self.value} at {', '.join(f'{name} = {number}' for name, number in self.witness.items())}"


def refute(statement: Statement) -> Refuted | None:
    """A point at which two sides said to be equal are not, or what is said to be > 0 is < 0; None if none is seen.

    The points are rational: in each interval powers of two from a finite end, or eighths of it.  Signs are Arb's;
    then mpmath, at 50 digits, must see the same.
    """
    if statement.claim not in ("equal", "positive"):
        return None
    expression = statement.carried_out
    symbols = [symbol for symbol, _ in statement.domain]
    for numbers in product(*(_points(interval) for _, interval in statement.domain)):
        point = dict(zip(symbols, numbers, strict=True))
        with ctx.workdps(_DIGITS + 20):
            ball = image(expression, {s: arb(fmpq(int(n.p), int(n.q))) for s, n in point.items()})
        if ball < 0 or (statement.claim == "equal" and ball > 0):
            value = confirmed(expression, point)
            if abs(value) > mpmath.mpf(10) ** -_DIGITS and (value < 0) == (ball < 0):
                return Refuted({s.name: str(n) for s, n in point.items()}, str(mpmath.nstr(value, 15)))
    return None


def confirmed(expression: Any, point: dict[Any, Any]) -> Any:
    """The expression at a point, by mpmath at 50 digits."""
    with mpmath.workdps(_DIGITS):
        numbers = [mpmath.mpf(n.p) / n.q for n in point.values()]
        return sp.lambdify(list(point), expression, "mpmath")(*numbers)


def _points(interval: Any) -> Iterator[Any]:
    start, end = interval.start, interval.end
    if start.is_finite and end.is_finite:
        yield from (start + (end - start) * x for x in _FRACTIONS)
    elif start.is_finite:
        yield from (start + x for x in _SIZES)
    elif end.is_finite:
        yield from (end - x for x in _SIZES)
    else:
        yield from (sp.S.Zero, *_SIZES, *(-x for x in _SIZES))
