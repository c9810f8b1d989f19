"""A door for data from outside, and the rule that every input at every door must meet.

The rule: a command ends with a right answer (status 0, or 1 for "not verified"), or with status 2 and one sentence.
It never shows a traceback, runs code from its input, leaves half-written files, takes more than `SECONDS` of processor
time or `PATIENCE` in all, or allocates more than `BYTES`.
"""

from __future__ import annotations

import contextlib
import io
import resource
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from hypothesis.strategies import SearchStrategy

from gpsym.cli import run

__all__ = ["BYTES", "CANARY", "PATIENCE", "SECONDS", "Door", "Outcome", "assert_rule"]

SECONDS, PATIENCE = 10.0, 90.0  # other programs may take most of the processors' time
BYTES = 4 * 2**30
MIDDLE_OF_THE_WAY = (".partial", ".tmp")

# A folder that does not exist. Payloads in the inputs make it; so it tells whether one of them was executed.
CANARY = Path(tempfile.gettempdir(), f"gpsym-canary-{time.time_ns()}")


@dataclass(frozen=True)
class Outcome:
    """The end of a command: its status and what it printed."""

    status: int
    out: str
    err: str


@dataclass(frozen=True)
class Door:
    """A way in for data from outside.

    name     the word by which `python -m tests.fuzz` takes it.
    program  the name that begins the command's messages, such as "gpsym".
    command  its click command.
    inputs   strategy of inputs, most of them hostile.
    knock    writes an input into a folder, which is empty, and returns the arguments of the command that reads it.
    answer   checks a successful outcome: input, folder, outcome. Raises AssertionError where the answer is wrong.
    """

    name: str
    program: str
    command: click.Command
    inputs: SearchStrategy[Any]
    knock: Callable[[Any, Path], Sequence[str]]
    answer: Callable[[Any, Path, Outcome], None] = lambda _input, _folder, _outcome: None


def assert_rule(door: Door, value: Any) -> None:
    """Knock at the door with one input, and check the rule."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arguments = door.knock(value, folder)
        before = _contents(folder)
        with _limits():
            outcome = _outcome(door, arguments)
        assert not CANARY.exists(), f"code of the input was executed by {arguments}"
        assert outcome.status in (0, 1, 2), f"status {outcome.status}: {outcome.err}"
        assert "Traceback" not in outcome.err, outcome.err
        if outcome.status == 2:
            _assert_refused(door, outcome)
            assert _contents(folder) == before, f"files were changed by a refusal: {outcome.err}"
        else:
            left = [path for path in _contents(folder) if path.endswith(MIDDLE_OF_THE_WAY)]
            assert not left, f"half-written files: {left}"
            door.answer(value, folder, outcome)


def _assert_refused(door: Door, outcome: Outcome) -> None:
    lines = outcome.err.splitlines()
    assert outcome.out == "", f"printed before it refused: {outcome.out[:200]}"
    assert lines, "refused without a word"
    assert lines[-1].startswith(f"{door.program}: "), f"need a sentence by {door.program}, got {lines[-1]}"
    assert len(lines[-1]) < 1500, f"need one sentence, got {len(lines[-1])} characters"


def _contents(folder: Path) -> dict[str, bytes]:
    """The regular files below the folder, by name; others have no content."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in paths}


def _outcome(door: Door, arguments: Sequence[str]) -> Outcome:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run(door.command, door.program, arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
    return Outcome(status, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]


class TooSlow(BaseException):
    """A command that did not end in time. No `except Exception` catches it."""


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """Time and address space of a command."""

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, PATIENCE)}

    def stop(number: int, _: Any) -> None:
        raise TooSlow(f"need an end within {timers[number][1]:g} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + BYTES, hard))
    handlers = {number: signal.signal(number, stop) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
