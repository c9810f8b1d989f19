"""Clipped activations against nn.ReLU: time and peak memory of a forward and a backward pass.

Ratios of medians, of pairs timed one right after the other in alternating order.  Peak memory is that of DEPTH layers
x -> phi(1.0 x) and their gradient, beyond what is there before, as reported by torch's allocators.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from time import perf_counter

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own messages, not measurements

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import gpsym.torch as gt
from tests.bench.lines import Line

__all__ = ["lines"]

AIM = 1.05
DEPTH = 4
SIZES = (10**4, 10**5, 10**6, 10**7, 10**8)
DTYPES = (torch.float32, torch.bfloat16)
# s 0.85, slope 0.7 at q_star 1, rounded.
MODULES = {"CReLU": gt.ClippedReLU(1.036, 1.17), "CST": gt.ClippedSoftThreshold(1.44, 1.002)}
Pass = Callable[[], object]


def lines(options: argparse.Namespace) -> Iterator[Line]:
    """Per device, mode, dtype, size and activation, one line each for time and memory.

    One thread by default: on a machine that others use, each kernel of several waits for the scheduler (12 ms here).
    """
    torch.set_num_threads(options.threads)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    yield Line("GPUs", torch.cuda.device_count(), "n", note=f"{torch.get_num_threads()} CPU threads")
    for device in devices:
        for mode, prepare in (("eager", lambda module: module), ("compiled", _compiled)):
            for dtype in DTYPES:
                for n in (n for n in SIZES if n <= options.most_elements and _fits(n, dtype, device)):
                    yield from _against_relu(f"{device} {mode} {str(dtype)[6:]} {n:.0e}", prepare, n, dtype, device)


def _against_relu(
    what: str, prepare: Callable[[nn.Module], Callable], n: int, dtype: torch.dtype, device: str
) -> Iterator[Line]:
    generator = torch.Generator(device).manual_seed(0)
    x, g = (torch.randn(n, generator=generator, device=device).to(dtype) for _ in range(2))
    x.requires_grad_()
    relu = prepare(nn.ReLU())
    for name, module in MODULES.items():
        phi = prepare(module)
        ours, theirs = _times(partial(_step, phi, x, g), partial(_step, relu, x, g), n, device)
        yield Line(f"{what} {name} time", ours / theirs, "ratio", aim=AIM, note=f"{ours:.2e} s; ReLU {theirs:.2e} s")
        ours, theirs = _peak(partial(_network, phi, x, g), device), _peak(partial(_network, relu, x, g), device)
        yield Line(f"{what} {name} memory", ours / theirs, "ratio", aim=AIM, note=f"{ours:.2e} B; ReLU {theirs:.2e} B")


def _step(phi: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> None:
    torch.autograd.grad(phi(x), x, g)


def _network(phi: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> None:
    y = x
    for _ in range(DEPTH):
        y = phi(1.0 * y)
    torch.autograd.grad(y, x, g)


def _compiled(module: nn.Module) -> Callable[[Tensor], Tensor]:
    torch._dynamo.reset()  # it compiles a function for eight sizes at the most
    return torch.compile(module, fullgraph=True, dynamic=False)


def _times(first: Pass, second: Pass, n: int, device: str) -> tuple[float, float]:
    """Medians of both, over about a second of pairs, at least five."""
    passes, calls = (first, second), max(1, 10**5 // n)
    for one in passes:  # compiles
        _time(one, 1, device)
    measured: dict[Pass, list[float]] = {one: [] for one in passes}
    pairs, start = 0, perf_counter()
    while pairs < 5 or (perf_counter() - start < 1 and pairs < 200):
        for one in passes if pairs % 2 else reversed(passes):
            measured[one].append(_time(one, calls, device))
        pairs += 1
    return median(measured[first]), median(measured[second])


def _time(one: Pass, calls: int, device: str) -> float:
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    start = perf_counter()
    for _ in range(calls):
        one()
    synchronize()
    return (perf_counter() - start) / calls


def _peak(one: Pass, device: str) -> int:
    """The most bytes that are allocated at once while it runs."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        one()
        return torch.cuda.max_memory_allocated() - before
    one()  # compiles
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        one()
    assert found.profiler is not None
    events = found.profiler.kineto_results.events()
    total = peak = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak


def _fits(n: int, dtype: torch.dtype, device: str) -> bool:
    """Whether memory is there for input, gradient, and three tensors a layer."""
    free = (
        torch.cuda.mem_get_info()[0] if device == "cuda" else os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    )
    return n * dtype.itemsize * (2 + 3 * DEPTH) < free
