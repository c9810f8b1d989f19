"""How many steps a certificate may take: any file is accepted or rejected after a bounded time.

A step takes about ten microseconds, and the certificates here take at most 220,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from proofs.checker.rejection import Rejected

__all__ = ["STEPS", "allowance", "spend"]

STEPS = 400_000
_left: ContextVar[list[float]] = ContextVar("steps left")


@contextmanager
def allowance() -> Iterator[None]:
    """What is done inside takes at most `STEPS` steps, or raises Rejected."""
    token = _left.set([STEPS])
    try:
        yield
    finally:
        _left.reset(token)


def spend(steps: float) -> None:
    """Count steps; outside of any allowance nothing is counted."""
    left = _left.get(None)
    if left is not None:
        left[0] -= steps
        if left[0] < 0:
            raise Rejected(f"need at most {STEPS} steps; a proof in smaller expressions takes less")
