"""The benches by name."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable

from tests.bench import (
    accuracy,
    activation,
    ensemble,
    finite_width,
    inference,
    init,
    queries,
    sparsify,
    speed,
    symbolic,
)
from tests.bench.lines import HEAD, Line

BENCHES: dict[str, Callable[[argparse.Namespace], Iterable[Line]]] = {
    "accuracy": accuracy.lines,
    "activation": activation.lines,
    "ensemble": ensemble.lines,
    "finite-width": finite_width.lines,
    "inference": inference.lines,
    "init": init.lines,
    "queries": queries.lines,
    "sparsify": sparsify.lines,
    "speed": speed.lines,
    "symbolic": symbolic.lines,
}


def main() -> None:
    """Run the benches that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("bench", nargs="+", help=", ".join(BENCHES))
    parser.add_argument("--json", action="store_true", help="one JSON list of lines, at the end")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for a peer that may not finish")
    parser.add_argument("--all-peers", action="store_true", help="also those that are known to take too long")
    parser.add_argument("--most-elements", type=int, default=10**8, help="of an activation's input")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of an activation's kernels")
    parser.add_argument("--points", type=int, default=10**6, help="of each function whose accuracy is measured")
    parser.add_argument("--sample", type=int, default=300, help="points compared with Arb, besides corners")
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    parser.add_argument("--only", default="", help="functions, settings, sizes or models whose name contains this")
    parser.add_argument("--networks", type=int, default=1000, help="of each setting of finite-width")
    parser.add_argument(
        "--neural-tangents",
        metavar="PYTHON",
        default=os.environ.get("GPSYM_NEURAL_TANGENTS"),
        help="interpreter that has neural-tangents; made in the user's cache if left out",
    )
    options = parser.parse_args()
    if unknown := [name for name in options.bench if name not in BENCHES]:
        sys.exit(f"bench: unknown name {', '.join(unknown)}; choose from {', '.join(BENCHES)}.")
    measured = []
    for name in options.bench:
        if not options.json:
            print(f"{name}\n{HEAD}")
        for line in BENCHES[name](options):
            measured.append({"bench": name, **line.to_dict()})
            if not options.json:
                print(line, flush=True)
    if options.json:
        print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
