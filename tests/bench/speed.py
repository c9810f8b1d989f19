"""Numbers by gpsym against others: kernel matrices of a deep CReLU network, and its variance map on many variances.

Peers are neural-tangents (the closed form of ReLU, which does less, and CReLU by its quadrature with 25 nodes), the
formula as one writes it by hand, Gauss-Hermite, and Gauss-Legendre split at the kinks.  Times are medians; errors are
the largest on a sample, relative to the exact value (of an NTK, to its diagonal).
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from scipy.special import erfc

from gpsym import CriticalInit, clipped_relu, edge_of_chaos, evaluate, kernels, lambdify, maps
from tests.bench.lines import Line

__all__ = ["lines"]

INPUTS, FEATURES, DEPTH = 1000, 64, 3
PACKAGES = ("neural-tangents==0.6.5", "jax==0.4.30", "jaxlib==0.4.30", "scipy<1.13", "numpy<2")


def lines(options: argparse.Namespace) -> Iterator[Line]:
    """All of them; those of neural-tangents only if there is an interpreter that has it, or one can be made."""
    python = options.neural_tangents or _own_environment()
    for kind, x in _data().items():
        yield from _matrices(kind, x, python)
    yield from _variance_map()


@cache
def _design() -> CriticalInit:
    """Made when first asked for: derivations are cached, and another bench times them."""
    return edge_of_chaos("crelu", sparsity=0.85, slope=0.7)


def _data() -> dict[str, np.ndarray]:
    """Inputs of mean square 1, each or on the average."""
    x = np.random.default_rng(0).standard_normal((INPUTS, FEATURES))
    return {"equal norms": x / np.sqrt((x * x).mean(1, keepdims=True)), "unequal norms": x}


def _matrices(kind: str, x: np.ndarray, python: str | None) -> Iterator[Line]:
    peer = _neural_tangents(python, x) if python else None
    ours, found = _median(lambda: kernels(x, _design(), depth=DEPTH, input_mean_square=1.0))
    relu = median(peer["relu"]) if peer else None
    yield Line(f"NNGP + NTK, {kind}, numpy; peer ReLU", ours, peer=relu)
    tensor = torch.from_numpy(x)
    seconds, _ = _median(lambda: kernels(tensor, _design(), depth=DEPTH, input_mean_square=1.0), repeats=3)
    yield Line(f"NNGP + NTK, {kind}, torch; peer ReLU", seconds, peer=relu)
    exact = _exact_entries(x)
    error, peer_error = (
        max(abs(ntk[place] - value) for place, value in exact.items()) / found.ntk[0, 0] if ntk is not None else None
        for ntk in (found.ntk, peer and peer["ntk"])
    )
    if peer and relu:
        numerical = median(peer["numerical"])
        yield Line("  time in that of closed-form ReLU", ours / relu, unit="x", aim=3)
        yield Line("  speed in that of numerical CReLU", numerical / ours, unit="x", aim=30, at_least=True)
    yield Line("  error of the NTK; peer numerical CReLU", float(error), unit="error", aim=1e-10, peer=peer_error)


def _median(function: Callable[[], Any], repeats: int = 9) -> tuple[float, Any]:
    """Median seconds after a first run, and the result."""
    times, result = [], function()
    for _ in range(repeats):
        start = perf_counter()
        result = function()
        times.append(perf_counter() - start)
    return median(times), result


def _exact_entries(x: np.ndarray, pairs: int = 3) -> dict[tuple[int, int], float]:
    """NTK of some pairs by the formulas of one pair, in mpmath."""
    found = {}
    for i, j in np.random.default_rng(1).integers(0, len(x), (pairs, 2)).tolist():
        rows = x[[i, j]]
        nngp = ntk = (_design().q_star - _design().sigma_b2) * (rows @ rows.T) / FEATURES + _design().sigma_b2
        for _ in range(DEPTH):
            nngp, slopes = _exact_layer(nngp)
            ntk = nngp + _design().sigma_w2 * slopes * ntk
        found[i, j] = ntk[0, 1]
    return found


def _exact_layer(nngp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, slopes = np.empty((2, 2)), np.empty((2, 2))
    for i, j in ((0, 0), (0, 1), (1, 1)):
        q1, q2 = nngp[i, i], nngp[j, j]
        point = {"q1": q1, "q2": q2, "rho": 1 if i == j else nngp[i, j] / math.sqrt(q1 * q2), "sigma_w2": 1}
        values[i, j] = values[j, i] = evaluate(maps.kernel(_design().phi), point)
        slopes[i, j] = slopes[j, i] = evaluate(maps.correlation_slope(_design().phi), point)
    return _design().sigma_w2 * values + _design().sigma_b2, slopes


def _neural_tangents(python: str, x: np.ndarray) -> dict[str, np.ndarray]:
    design = _design()
    first = design.q_star - design.sigma_b2
    variances = {"sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2, "first_w2": first}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "input.npz"), Path(folder, "output.npz")
        np.savez(source, x=x, tau=_design().tau, m=_design().m, depth=DEPTH, repeats=9, **variances)
        script = Path(__file__).with_name("neural_tangents_peer.py")
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run(
            [python, "-W", "ignore", str(script), str(source), str(target)],
            check=True,
            env=environment,
            capture_output=True,
        )
        return dict(np.load(target))


def _own_environment() -> str | None:
    """The interpreter of an environment in the user's cache, made once; None, and a word on stderr, if that fails."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "gpsym", "neural-tangents")
    python, done = folder / "bin" / "python", folder / "done"
    try:
        if not done.exists():
            venv.create(folder, clear=True, with_pip=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True, capture_output=True)
            done.touch()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"neural-tangents: not measured, for lack of an environment that has it: {error}", file=sys.stderr)
        return None
    return str(python)


def _variance_map() -> Iterator[Line]:
    """On 10^6 variances from 0.1 to 10, with the design's tau and m."""
    q = 10 ** np.random.default_rng(0).uniform(-1, 1, 1_000_000)
    closed = lambdify(maps.variance_map(clipped_relu()))
    tau, m, w2, b2 = _design().tau, _design().m, _design().sigma_w2, _design().sigma_b2
    ours, found = _median(lambda: closed(q, tau, m, w2, b2))
    sample = slice(0, 200)
    formula = maps.variance_map(_design().phi)
    exact = [float(evaluate(formula, {"q": v, "sigma_w2": w2, "sigma_b2": b2})) for v in q[sample]]
    error = np.abs(found[sample] / exact - 1).max()
    for name, second_moment, repeats, aim in (
        ("by hand with erfc", _by_hand, 9, 2),
        ("Gauss-Hermite, 100 nodes", _gauss_hermite, 3, None),
        ("Gauss-Legendre between the kinks", _between_kinks, 3, None),
    ):
        peer, values = _median(lambda moment=second_moment: w2 * moment(q, tau, m) + b2, repeats)
        peer_error = float(np.abs(values[sample] / exact - 1).max())
        yield Line(f"V on 10^6 q; peer {name}", ours, aim=aim and aim * peer, peer=peer)
        yield Line("  relative error", float(error), unit="error", peer=peer_error)


def _by_hand(q: np.ndarray, tau: float, m: float) -> np.ndarray:
    """E phi^2 = q (H_2(a) - H_2(b) - 2 (b - a) H_1(b)), a = tau / sqrt(q), b = (tau + m) / sqrt(q)."""
    s = np.sqrt(q)
    a, b = tau / s, (tau + m) / s
    (tail_a, density_a), (tail_b, density_b) = (
        (erfc(t / math.sqrt(2)) / 2, np.exp(-t * t / 2) / math.sqrt(2 * math.pi)) for t in (a, b)
    )
    at_a, at_b = (1 + a * a) * tail_a - a * density_a, (1 + b * b) * tail_b - b * density_b
    return q * (at_a - at_b - 2 * (b - a) * (density_b - b * tail_b))


def _gauss_hermite(q: np.ndarray, tau: float, m: float) -> np.ndarray:
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    s, total = np.sqrt(q), np.zeros_like(q)
    for node, weight in zip(nodes, weights / math.sqrt(2 * math.pi), strict=True):
        total += weight * np.clip(s * node - tau, 0, m) ** 2
    return total


def _between_kinks(q: np.ndarray, tau: float, m: float) -> np.ndarray:
    """Two panels of 12 nodes on the ramp, up to 9 deviations, and m^2 P(sqrt(q) Z > tau + m)."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    s = np.sqrt(q)
    a, b = tau / s, (tau + m) / s
    panel = (np.minimum(b, np.maximum(a, 9)) - a) / 2
    total = np.zeros_like(q)
    for start in (0, 1):
        for node, weight in zip((1 + nodes) / 2, weights / 2, strict=True):
            step = (start + node) * panel
            total += weight * step * step * np.exp(-((a + step) ** 2) / 2)
    return q * panel * total / math.sqrt(2 * math.pi) + m * m * erfc(b / math.sqrt(2)) / 2
