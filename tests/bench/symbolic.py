"""How long derivations take, against SymPy's integrator on the same integrals; and the import.

The peer's time for slope and curvature is that of the integral of the variance map plus that of differentiating it;
the totals count that integral once for each activation.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

import sympy as sp

from gpsym import Activation, maps, member
from gpsym.formula import TAU, Q, X, Y
from tests.bench.lines import Line

__all__ = ["lines"]

NAMES = ("shifted-relu", "soft-threshold", "clipped-relu", "clipped-soft-threshold")
MAPS = {"variance": maps.variance_map, "slope": maps.slope, "curvature": maps.curvature, "chi_1": maps.chi_1}
ONE_INPUT = (
    *maps.QUANTITIES,
    *("second_moment", "mean", "output_variance", "moment_4", "hermite_3", "derivative_moment_1_1", "correlation_rate"),
)


def lines(options: argparse.Namespace) -> Iterator[Line]:
    """All of them; gpsym's are measured before the peers, which leave SymPy's caches full."""
    ours = {(name, key): _seconds(derive, member(name)) for name in NAMES for key, derive in MAPS.items()}
    correlations = {name: _seconds(maps.correlation_map, member(name)) for name in NAMES}
    knots = list(_many_knots())
    yield from _one_input(ours)
    yield from _correlation(correlations, options)
    yield from knots
    yield _import_time()


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    start = perf_counter()
    function(*arguments)
    return perf_counter() - start


def _one_input(ours: dict[tuple[str, str], float]) -> Iterator[Line]:
    total, peer_total = sum(ours.values()), 0.0
    for name in NAMES:
        peers, once = _peer_times(member(name))
        for key in MAPS:
            yield Line(f"{name}, {key}", ours[name, key], peer=peers[key])
        peer_total += once
    yield Line("the sixteen maps together", total, aim=0.1, peer=peer_total)
    yield Line("ratio to sympy.integrate", peer_total / total, unit="x", aim=50, at_least=True)


def _peer_times(phi: Activation) -> tuple[dict[str, float], float]:
    """SymPy's seconds for each map, and for all of them."""
    tau, q = sp.Symbol("tau", positive=True), Q
    f = _piecewise(phi, X).subs(TAU, tau)
    density = _density(X, q)
    start = perf_counter()
    second = sp.integrate(f**2 * density, (X, -sp.oo, sp.oo))
    integral = perf_counter() - start
    slope, curvature = _seconds(sp.diff, second, q), _seconds(sp.diff, second, q, 2)
    chi_1 = _seconds(lambda: sp.integrate(sp.diff(f, X) ** 2 * density, (X, -sp.oo, sp.oo)))
    each = {"variance": integral, "slope": integral + slope, "curvature": integral + curvature, "chi_1": chi_1}
    return each, integral + slope + curvature + chi_1


def _piecewise(phi: Activation, x: sp.Symbol) -> sp.Expr:
    """The activation as SymPy writes it."""
    cases = [(sum(c * x**n for n, c in enumerate(piece)), x < upper) for _, upper, piece in phi.intervals]
    return sp.Piecewise(*cases[:-1], (cases[-1][0], True))


def _density(x: sp.Symbol, q: sp.Symbol) -> sp.Expr:
    return sp.exp(-(x**2) / (2 * q)) / sp.sqrt(2 * sp.pi * q)


def _correlation(ours: dict[str, float], options: argparse.Namespace) -> Iterator[Line]:
    for name, seconds in ours.items():
        line = Line(f"{name}, correlation", seconds, aim=0.1)
        if options.all_peers or name == NAMES[0]:
            peer, timed_out = _stopped(_peer_correlation, name, options.timeout)
            line = replace(line, peer=peer, timed_out=timed_out)
        yield line


def _stopped(function: Callable[[str], None], name: str, timeout: float) -> tuple[float, bool]:
    """Seconds of function(name) in a process of its own, and whether it was stopped."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=(name,))
    start = perf_counter()
    process.start()
    process.join(timeout)
    seconds, timed_out = perf_counter() - start, process.is_alive()
    process.kill()
    process.join()
    return (timeout if timed_out else seconds), timed_out


def _peer_correlation(name: str) -> None:
    phi, (tau, rho) = member(name), (sp.Symbol("tau", positive=True), sp.Symbol("rho", positive=True))
    given = sp.exp(-((Y - rho * X) ** 2) / (2 * Q * (1 - rho**2))) / sp.sqrt(2 * sp.pi * Q * (1 - rho**2))
    f, g = (_piecewise(phi, x).subs(TAU, tau) for x in (X, Y))
    sp.integrate(f * g * _density(X, Q) * given, (Y, -sp.oo, sp.oo), (X, -sp.oo, sp.oo))


def _many_knots() -> Iterator[Line]:
    phi = _random_activation(20, seed=0)
    together = _seconds(lambda: [maps.derive(phi, quantity) for quantity in ONE_INPUT])
    yield Line(f"20 random knots, {len(ONE_INPUT)} maps of one input", together, aim=1)
    yield Line("20 random knots, correlation", _seconds(maps.correlation_map, phi), aim=5)


def _random_activation(knots: int, seed: int) -> Activation:
    """Continuous and piecewise linear."""
    rng = random.Random(seed)
    places = [sp.Rational(n, 64) for n in sorted(rng.sample(range(-256, 257), knots))]
    slopes = [sp.Rational(rng.randint(-64, 64), 16) for _ in range(knots + 1)]
    intercepts = [sp.Rational(rng.randint(-64, 64), 16)]
    for k, place in enumerate(places):
        intercepts.append(intercepts[-1] + (slopes[k] - slopes[k + 1]) * place)
    return Activation(places, list(zip(intercepts, slopes, strict=True)))


def _import_time() -> Line:
    """How much longer than SymPy, the best of five each, by turns."""
    times: dict[str, list[float]] = {"sympy": [], "gpsym": []}
    for _ in range(5):
        for module, seconds in times.items():
            seconds.append(
                _seconds(lambda m: subprocess.run([sys.executable, "-c", f"import {m}"], check=True), module)
            )
    best = {module: min(seconds) for module, seconds in times.items()}
    return Line("import gpsym, less import sympy", best["gpsym"] - best["sympy"], aim=0.15)
