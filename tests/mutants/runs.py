"""Tests of one module in a forked process, which has SymPy and the like already but nothing of ours.

The child imports the mutant in place of the module, so that no file is touched, and no memo of the parent's holds a
value of the true module.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import traceback
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
    """A module by its path below the root, and the files of the tests that concern it."""

    root: Path
    path: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass(frozen=True)
class Suite:
    """The tests that concern a module, with the seconds that each takes."""

    module: Module
    seconds: dict[str, float]


def suite(module: Module) -> Suite:
    """The tests as they run on the true module.

    Raises ValueError if one fails there, as nothing is learned from it then.
    """
    with tempfile.TemporaryDirectory() as folder:
        timing = Path(folder, "seconds.json")
        output = Path(folder, "output.txt")
        if _forked(module, None, _Order({}, timing), output):
            raise ValueError(f"{module.path}: its tests must pass before it is changed; they end with\n{_end(output)}")
        return Suite(module, json.loads(timing.read_text()))


def outcome(tests: Suite, source: bytes) -> str:
    """What becomes of a mutant with this source: "killed", "timed out" or "survived"."""
    status = _forked(tests.module, source, _Order(tests.seconds), Path(os.devnull))
    return "survived" if status == 0 else "timed out" if status == -signal.SIGPROF else "killed"


@dataclass
class _Order:
    """The pytest plugin: quick tests first, each under a limit of time."""

    seconds: dict[str, float]
    timing: Path | None = None
    measured: dict[str, float] = field(default_factory=dict)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self.seconds.get(item.nodeid, 0))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self.timing is None:
            _limit(SECONDS_BESIDES + TIMES_AS_LONG * self.seconds.get(nodeid, 0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.measured[report.nodeid] = self.measured.get(report.nodeid, 0) + report.duration

    def pytest_sessionfinish(self) -> None:
        if self.timing:
            self.timing.write_text(json.dumps(self.measured))


def _forked(module: Module, source: bytes | None, order: _Order, output: Path) -> int:
    """The exit status of the tests; minus the signal that stopped them."""
    child = os.fork()
    if not child:
        status = 1
        try:
            status = _run(module, source, order, output)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _run(module: Module, source: bytes | None, order: _Order, output: Path) -> int:
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
    return int(pytest.main([*options, *(["-x"] if source is not None else []), *module.tests], plugins=[order]))


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
