"""The mutants that the tests kill, and those that they do not."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

# What the tests import in any case: here once, for all forks.  Nothing of ours.
import flint  # noqa: F401
import hypothesis  # noqa: F401
import mpmath  # noqa: F401
import numpy  # noqa: F401
import scipy.optimize
import scipy.special  # noqa: F401
import sympy  # noqa: F401

from tests.mutants.changes import Mutant, mutants
from tests.mutants.runs import Module, outcome, suite

ROOT = Path(__file__).parents[2]
AIM = 0.9

# The core, and the tests that concern each part of it.  Of the laws those of two activations, one that jumps.
LAWS = "gpsym/test_laws.py -k clipped-relu or jump-relu"
TESTS = {
    "gpsym/gaussian.py": ["gpsym/test_gaussian.py", "gpsym/test_maps.py", LAWS],
    "gpsym/special.py": ["gpsym/test_special.py", "gpsym/test_maps.py"],
    "gpsym/piecewise.py": ["gpsym/test_piecewise.py", "gpsym/test_activation.py", "gpsym/test_maps.py", LAWS],
    "gpsym/maps/*.py": ["gpsym/test_maps.py", "gpsym/test_theorems.py", LAWS],
    "gpsym/laurent.py": ["gpsym/test_laurent.py", "gpsym/test_equality.py"],
    "gpsym/equality.py": ["gpsym/test_equality.py"],
    "gpsym/stable.py": ["gpsym/test_stable.py", LAWS],
    "gpsym/verify/*.py": ["gpsym/verify/test_*.py"],
    "gpsym/design.py": ["gpsym/test_design.py"],
    "proofs/logic/balls.py": ["proofs/test_balls.py"],
    "proofs/logic/certificate.py": ["proofs/test_cli.py"],
    "proofs/logic/refute.py": ["proofs/test_balls.py", "proofs/test_theorems.py"],
    "proofs/logic/rules.py": ["proofs/test_rules.py"],
    "proofs/logic/signs.py": ["proofs/test_signs.py", "proofs/test_rules.py"],
    "proofs/logic/statements.py": ["proofs/test_rules.py", "proofs/test_balls.py", "proofs/test_theorems.py"],
    "proofs/logic/theorem.py": ["proofs/test_theorems.py"],
    "proofs/checker/*.py": ["proofs/test_checker*.py"],
}


def main() -> None:
    """Run the tests on mutants of the modules that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("only", nargs="*", help="modules, as in gpsym/maps/*.py, or lines, as in gpsym/design.py:120")
    parser.add_argument("--sample", type=int, help="mutants of each module; a larger sample contains a smaller one")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    options = parser.parse_args()
    counts = {}
    for module in _modules():
        if chosen := _sample(module, options.only, options.sample, options.seed):
            counts[module.path] = _judge(module, chosen)
    if not counts:
        sys.exit(f"mutants: need modules of the core, got {' '.join(options.only)}; choose from {' '.join(TESTS)}.")
    score = _print_table(counts)
    sys.exit(score < AIM)


def _modules() -> list[Module]:
    return [
        Module(ROOT, path.relative_to(ROOT).as_posix(), tuple(_files(tests)))
        for pattern, tests in TESTS.items()
        for path in sorted(ROOT.glob(pattern))
    ]


def _files(tests: list[str]) -> list[str]:
    files = []
    for pattern, separator, names in (test.partition(" -k ") for test in tests):
        paths = sorted((ROOT / "tests").glob(pattern))
        files += [path.relative_to(ROOT).as_posix() + separator + names for path in paths]
    return files


def _sample(module: Module, only: list[str], size: int | None, seed: int) -> list[Mutant]:
    found = mutants(module.path, (ROOT / module.path).read_bytes())
    if only:
        found = [m for m in found if any(fnmatch(place, o) for place in (m.path, f"{m.path}:{m.line}") for o in only)]
    random.Random(f"{seed} {module.path}").shuffle(found)
    return found[:size]


def _judge(module: Module, chosen: list[Mutant]) -> Counter[str]:
    tests = suite(module)
    count = sum(map(len, tests.seconds.values()))
    print(f"{module.path}: {len(chosen)} mutants, {count} tests of {tests.total:.0f} s", flush=True)
    start, counts = time.monotonic(), Counter()
    try:
        for mutant in chosen:
            end = outcome(tests, mutant.text)
            counts[end] += 1
            if end != "killed":
                print(f"\n{end}: {mutant.path}:{mutant.line}\n{mutant.diff}", flush=True)
    finally:  # of a run that is stopped, what it has found
        print(f"\n{_line(module.path, counts)}, {time.monotonic() - start:.0f} s\n", flush=True)
    return counts


def _print_table(counts: dict[str, Counter[str]]) -> float:
    for path, of_module in counts.items():
        print(_line(path, of_module))
    total = sum(counts.values(), Counter())
    print(_line("in all", total))
    return _score(total)


def _line(name: str, counts: Counter[str]) -> str:
    ends = ", ".join(f"{counts[end]:4d} {end}" for end in ("killed", "survived", "timed out"))
    return f"{name:32s} {counts.total():4d} mutants: {ends}, score {_score(counts):.1%}"


def _score(counts: Counter[str]) -> float:
    """The share of mutants that the tests notice; one that computes without end is noticed."""
    return 1 - counts["survived"] / max(counts.total(), 1)


if __name__ == "__main__":
    main()
