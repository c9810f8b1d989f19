"""How large data from outside may be, how it is shown in messages, and a budget of steps for the work on it.

Sizes are checked where something large would begin to exist.  Some work cannot be told from sizes, such as that of a
sum of a hundred symbolic cases: so the slow operations pay steps from a budget, if one is open.  Steps are counted and
not timed: an input is answered or refused alike on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Integral
from typing import Any

__all__ = [
    "BITS",
    "CHARACTERS",
    "DEGREE",
    "DEPTH",
    "KNOTS",
    "NAME",
    "ORDER",
    "TERMS",
    "WIDTH",
    "budget",
    "length",
    "require_sizes",
    "shown",
    "spend",
]

CHARACTERS = 2000  # of a text
BITS = 4096  # of a numerator or denominator; those of float64's numbers have at most 1075
DEGREE = 32  # of a polynomial piece
KNOTS = 64
TERMS = 128  # of a coefficient that is a polynomial in parameters
ORDER = 64  # of moments, derivatives and Hermite coefficients that are asked for by name
NAME = 100  # characters of an activation's name
WIDTH = 2**17  # units of a layer
DEPTH = 10**5  # layers

_SHOWN = 80  # characters of a value in a message


def shown(value: Any, write: Callable[[Any], str] = str) -> str:
    """The value as a message shows it, by str or repr: its beginning, if it is long."""
    try:
        text = write(value)
    except ValueError:  # Python writes no integers of thousands of digits
        text = f"{type(value).__name__} of thousands of digits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def length(coefficient: Any) -> int:
    """The number of terms of an element of a polynomial ring; 1 for other numbers."""
    return max(len(coefficient), 1) if hasattr(coefficient, "monoms") else 1


def require_sizes(door: str, *, width: int = 1, depth: int = 1) -> None:
    """Raise ValueError for a width or a depth that is not whole, below 1, or above `WIDTH` or `DEPTH`."""
    for name, value, most in (("width", width, WIDTH), ("depth", depth, DEPTH)):
        if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= value <= most:
            raise ValueError(f"{door}: need a whole {name} from 1 to {most}, got {shown(value)}; pass one.")


@dataclass
class _Budget:
    door: str
    steps: int
    left: int
    advice: str


_open: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budget(door: str, steps: int, advice: str) -> Iterator[None]:
    """Let the work inside spend at most so many steps; a budget within another one is a limit of its own.

    door    the function or command that the message begins with.
    advice  what to do where the steps do not suffice.
    """
    token = _open.set(_Budget(door, steps, steps, advice))
    try:
        yield
    finally:
        _open.reset(token)


def spend(steps: int) -> None:
    """Pay for an operation, before it is done; free where no budget is open.

    Raises ValueError where less is left.
    """
    purse = _open.get()
    if purse is None:
        return
    purse.left -= steps
    if purse.left < 0:
        raise ValueError(f"{purse.door}: need work of at most {purse.steps:,} steps, got more; {purse.advice}.")
