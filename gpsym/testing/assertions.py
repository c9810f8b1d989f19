"""How a law answers: silence where it holds, AssertionError where it does not, and why where it cannot say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Any
from zlib import crc32

import sympy as sp

from gpsym import equality
from gpsym.activation import Activation
from gpsym.formula import Formula
from gpsym.verdicts import Equal, Undecided, Verified
from gpsym.verify.compare import verify

__all__ = [
    "Inapplicable",
    "Undetermined",
    "assert_equal",
    "assert_verified",
    "numbers",
    "seed_of",
    "specimen",
    "specimens",
]


class Inapplicable(Exception):
    """The law says nothing about this activation; the message names the condition that fails, with what came."""


class Undetermined(AssertionError):
    """The law was neither seen to hold nor to fail."""


def assert_equal(what: str, left: sp.Expr, right: sp.Expr) -> None:
    """Two closed forms are one function, decided.  Raises Undetermined where `gpsym.equal` cannot tell."""
    verdict = equality.equal(left, right)
    if isinstance(verdict, Undecided):
        raise Undetermined(f"{what}: {verdict.why}")
    assert isinstance(verdict, Equal), f"{what}: {verdict}"


def assert_verified(phi: Activation, *formulas: Formula, digits: int = 30, points: int = 2) -> None:
    """All forms of the formulas are what they mean, by quadrature.  Raises Undetermined where that cannot be told."""
    verdicts = verify(formulas, digits, points, seed_of(phi), more_for_each=2)
    for formula, verdict in zip(formulas, verdicts, strict=True):
        if isinstance(verdict, Undecided):
            raise Undetermined(f"{formula.name} against its definition: {verdict.why}")
        assert isinstance(verdict, Verified), f"{formula.name} against its definition: {verdict}"


def seed_of(phi: Activation) -> int:
    """A number that differs from one activation to another and stays from run to run."""
    return crc32(repr((phi.knots, phi.pieces)).encode())


_ATTEMPTS = 2000  # every 40 of them with numbers twice as large, up to 2^50


def numbers(phi: Activation, sign: int = -1) -> dict[Any, Any]:
    """Random values of its symbols that meet its conditions, of this sign where that is possible for all at once.

    Raises ValueError for conditions that no random numbers were seen to meet.
    """
    rng = random.Random(0)

    def value(symbol: sp.Symbol, signs: tuple[int, ...], size: int) -> Any:
        return sp.Rational(size * rng.randint(1, 20), 8) * (1 if symbol.is_nonnegative else rng.choice(signs))

    def point(attempt: int) -> dict[Any, Any]:
        signs = (-1, 1) if attempt else (sign,)
        return {s: value(s, signs, 2 ** (attempt // 40)) for s in phi.parameters}

    points: Iterator[dict[Any, Any]] = (point(attempt) for attempt in count())
    for _, candidate in zip(range(_ATTEMPTS), points, strict=False):
        if not any(c.subs(candidate).is_negative for c in phi.conditions):
            return candidate
    raise ValueError(
        f"laws: need conditions that random numbers meet, got {', '.join(f'{c} >= 0' for c in phi.conditions)}; "
        "put numbers in place of some of the symbols."
    )


def specimen(phi: Activation) -> Activation:
    """The member at these numbers."""
    return phi.subs(numbers(phi))


def specimens(phi: Activation) -> tuple[tuple[Activation, str], ...]:
    """That one, and one at positive numbers if it is none, each with its numbers as ", at tau = 5/8".

    An activation of numbers is its own, with nothing to say.
    """
    first = numbers(phi)
    points = [first] if all(number > 0 for number in first.values()) else [first, numbers(phi, sign=1)]
    shown = [", ".join(f"{symbol} = {number}" for symbol, number in point.items()) for point in points]
    return tuple((phi.subs(point), text and f", at {text}") for point, text in zip(points, shown, strict=True))
