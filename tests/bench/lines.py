"""What every bench prints: one line for each measured value, beside its aim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["HEAD", "Line", "ratio"]

HEAD = f"{'':<52}{'gpsym':>10}  {'aim':<12}{'':<9}{'peer':>18}{'ratio':>9}"

_UNITS: dict[str, Callable[[float], str]] = {
    "s": lambda value: f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s",
    "x": lambda value: f"{value:.0f}x" if value >= 10 else f"{value:.2g}x",
    "ratio": lambda value: f"{value:.3f}",
    "error": lambda value: f"{value:.1e}",
    "n": lambda value: f"{value:.0f}",
    "number": lambda value: f"{value:.3g}",
    "e": lambda value: f"{value:.2f} se",
}


@dataclass(frozen=True)
class Line:
    """A measured value.

    what       what was measured.
    value      in the unit "s" (seconds), "x" (a ratio), "ratio" (one near 1), "error" (a relative one), "n" (a count),
               "number" (without a unit) or "e" (standard errors).
    aim        to stay below, or above if at_least; None where there is none.
    peer       what a peer needs for the same.
    timed_out  whether the peer was stopped at that.
    note       what else there is to say, such as where the value was found.
    """

    what: str
    value: float
    unit: str = "s"
    aim: float | None = None
    at_least: bool = False
    peer: float | None = None
    timed_out: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        if self.aim is None:
            return None
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    def __str__(self) -> str:
        show = _UNITS[self.unit]
        aim = "" if self.aim is None else f"{'>=' if self.at_least else '<='} {show(self.aim)}"
        verdict = {None: "", True: "met", False: "NOT MET"}[self.met]
        sign = "> " if self.timed_out else ""
        peer = "" if self.peer is None else f"{sign}{show(self.peer)}{' (timeout)' if self.timed_out else ''}"
        against = "" if self.peer is None or self.unit == "error" else f"{sign}{ratio(self.peer, self.value)}"
        compared = self.note or f"{peer:>18}{against:>9}"
        return f"{self.what:<52}{show(self.value):>10}  {aim:<12}{verdict:<9}{compared}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """The line as plain JSON types."""
        return {**asdict(self), "met": self.met}


def ratio(peer: float, value: float) -> str:
    """How many times faster than the peer."""
    return _UNITS["x"](peer / value)
