"""Seconds for what `gpsym stability` answers, once everything is imported: the slowest design at each width and depth.

Aim: 1 s on one core.  Run with OMP_NUM_THREADS=1 to hold matrix products to one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from time import perf_counter

from gpsym.depth_scales import correlation_rate
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.finite_width import finite_width
from gpsym.stability import basin, fixed_points
from tests.bench.lines import Line

__all__ = ["lines"]

WIDTHS, DEPTHS = (16, 64, 300, 4096, 65_536), (10, 1000, 10_000)
DESIGNS = (
    ("crelu", 0.5, 0.95), ("crelu", 0.85, 0.7), ("crelu", 0.99, 0.5), ("cst", 0.85, 0.9), ("cst", 0.95, 0.9),
    ("st", 0.85, None), ("relu-tau", 0.7, None),
)  # fmt: skip


def lines(_: argparse.Namespace) -> Iterator[Line]:
    """A line for each width and depth."""
    designs = [edge_of_chaos(name, sparsity=s, slope=x) for name, s, x in DESIGNS]
    _seconds(designs[0], 100, 10)  # imports, and tables made at first use
    for width in WIDTHS:
        for depth in DEPTHS:
            times = {_seconds(design, width, depth): design for design in designs}
            slowest = max(times)
            note = f"{times[slowest].activation} {times[slowest].sparsity:g}/{times[slowest].slope:g}"
            yield Line(f"stability, width {width}, depth {depth}", slowest, aim=1.0, note=note)


def _seconds(design: CriticalInit, width: int, depth: int) -> float:
    start = perf_counter()
    fixed_points(design)
    basin(design)
    correlation_rate(design)
    finite_width(design, width=width, depth=depth)
    return perf_counter() - start
