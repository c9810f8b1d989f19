"""Tests of one module in a forked process, which has SymPy and the like already but nothing of ours.

The child imports the mutant in place of the module, so that no file is touched, and no memo of the parent's holds a
value of the true module.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType

import pytest

__all__ = ["Module", "Suite", "outcome", "suite"]

# A mutant that computes without end is stopped: by processor time, so that a busy machine stops no other.
SECONDS_BESIDES = 10  # to collect the tests, and for a test that is quick
TIMES_AS_LONG = 5
MEMORY = 8 << 30


@dataclass(frozen=True)
class Module:
    """A module by its path below the root, and the files of the tests that concern it; " -k " names those of a file."""

    root: Path
    path: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True)
class Suite:
    """The tests that concern a module: the seconds that each takes, by file, the quickest file first.

    killers counts the mutants that each test has killed.
    """

    module: Module
    seconds: dict[str, dict[str, float]]
    killers: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> float:
        return sum(sum(tests.values()) for tests in self.seconds.values())


def suite(module: Module) -> Suite:
    """The tests as they run on the true module.

    Raises ValueError if one fails there, as nothing is learned from it then.
    """
    seconds = {file: _timed(module, file) for file in module.tests}
    return Suite(module, dict(sorted(seconds.items(), key=lambda item: sum(item[1].values()))))


def outcome(tests: Suite, source: bytes) -> str:
    """What becomes of a mutant with this source: "killed", "timed out" or "survived"."""
    with tempfile.TemporaryDirectory() as folder:
        running = Path(folder, "running")
        for file, seconds in tests.seconds.items():
            status = _forked(tests.module, file, source, _Hunt(seconds, tests.killers, running), Path(os.devnull))
            if status:
                tests.killers.update([running.read_text()] if running.exists() else [])
                return "timed out" if status == -signal.SIGPROF else "killed"
    return "survived"


def _timed(module: Module, file: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        timing = _Timing(Path(folder, "seconds.json"))
        output = Path(folder, "output.txt")
        if _forked(module, file, None, timing, output):
            raise ValueError(f"{module.path}: its tests must pass before it is changed; they end with\n{_end(output)}")
        return json.loads(timing.file.read_text())


@dataclass
class _Timing:
    """The pytest plugin that writes the seconds of each test."""

    file: Path
    seconds: Counter[str] = field(default_factory=Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        self.file.write_text(json.dumps(self.seconds))


@dataclass
class _Hunt:
    """The pytest plugin that begins with tests that have killed before and, rather, with quick ones.

    It limits the time of each, and writes which one is running.
    """

    seconds: dict[str, float]
    killers: Counter[str]
    running: Path

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # By chance, as tests of one function tend to take the same time.
        rank = {item.nodeid: random.random() * self.seconds.get(item.nodeid, 0) for item in items}
        items.sort(key=lambda item: (-self.killers[item.nodeid], rank[item.nodeid]))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running.write_text(nodeid)
        _limit(SECONDS_BESIDES + TIMES_AS_LONG * self.seconds.get(nodeid, 0))


def _forked(module: Module, tests: str, source: bytes | None, plugin: _Hunt | _Timing, output: Path) -> int:
    """The exit status of the tests in a file; minus the signal that stopped them."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = _run(module, tests, source, plugin, output)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run(module: Module, tests: str, source: bytes | None, plugin: _Hunt | _Timing, output: Path) -> int:
    sys.stdout = sys.stderr = file = output.open("w")
    for stream in (1, 2):
        os.dup2(file.fileno(), stream)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.chdir(module.root)
    sys.path.insert(0, str(module.root))
    if source is not None:
        sys.meta_path.insert(0, _Finder(module, source))
        _limit(SECONDS_BESIDES)
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(module.root), "-W", "ignore:Module already imported"]
    file, *names = tests.split(" -k ")
    options += [file, *(["-k", *names] if names else []), *(["-x"] if source is not None else [])]
    return int(pytest.main(options, plugins=[plugin]))


def _limit(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)


@dataclass
class _Finder:
    """Finds the mutant under the name of the module."""

    module: Module
    source: bytes

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        if name != self.module.name:
            return None
        file = str(self.module.root / self.module.path)
        return spec_from_file_location(name, file, loader=_Loader(name, file, self.source))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: bytes):
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec")


def _end(output: Path) -> str:
    return "\n".join(output.read_text().splitlines()[-20:])
