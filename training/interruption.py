"""An end by SIGINT or SIGTERM: at once, with a sentence that says how to go on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupted", "ending_by_signals", "going_on", "keeping_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# The signals that came while `ending_by_signals` listened.
_received: list[int] = []


class Interrupted(BaseException):
    """A signal that ends the program. No `except Exception` catches it.

    advice  how to go on, if there is anything to go on from.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.number, self.advice = number, "start the command again"


@contextmanager
def ending_by_signals(program: str) -> Iterator[None]:
    """End the program by SIGINT with status 130 and by SIGTERM with 143, after one line on stderr.

    A second signal ends it without another word.
    """
    before = {number: signal.signal(number, _raise) for number in _SIGNALS}
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as caught:
        end = caught if isinstance(caught, Interrupted) else Interrupted(_received[-1])
        name = signal.Signals(end.number).name
        print(f"{program}: need to come to the end, got {name}; {end.advice}.", file=sys.stderr)
        sys.exit(128 + end.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def going_on(advice: Callable[[], str | None]) -> Iterator[None]:
    """Say in an interruption of the block how to go on; None leaves what is said already.

    Below this block an interruption is a KeyboardInterrupt, the only one that Ray lets through.
    """
    try:
        yield
    except (Interrupted, KeyboardInterrupt) as caught:
        if not _received:  # nobody who would print the advice
            raise
        end = caught if isinstance(caught, Interrupted) else Interrupted(_received[-1])
        end.advice = advice() or end.advice
        raise end from None


@contextmanager
def keeping_signals() -> Iterator[None]:
    """Put back the handlers of signals that the block replaces, as the start of Ray does."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _frame: Any) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    _received.append(number)
    raise KeyboardInterrupt
