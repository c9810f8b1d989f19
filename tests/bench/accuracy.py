"""How accurate and how fast the functions of arrays are, against balls of Arb.

A line is one function on one range of thresholds: its worst error among a sample of the points, where that is, and the
throughput of all.  The sample holds all corners, --sample more points and as many of those whose result is 0.  Errors
are relative to the exact value; that of V'' is relative to the integral of absolute values
sigma_w2 E[abs(f'(X)) (abs(X)^3 + 3 q abs(X))] / (4 q^3), f = phi^2, X ~ N(0, q), because V'' has zeros.  Where what an
error is relative to is less than 1e-290, or 1e-30 in float32, it is left out.  All points are counted that give NaN or
an infinity, and those that give the wrong sign.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np
from flint import arb

from gpsym import lambdify, maps, member
from gpsym.formula import Formula
from gpsym.numeric.balls import enclose
from tests.bench.lines import Line

__all__ = ["lines"]

Points = dict[str, np.ndarray]

NAMES = ("clipped-relu", "clipped-soft-threshold", "shifted-relu", "soft-threshold")
ONE_INPUT = {"V": "variance", "V'": "slope", "V''": "curvature", "chi_1": "chi_1", "E phi^4": "moment_4"}
TWO_INPUTS = {"kernel": "kernel", "slope kernel": "correlation_slope"}
# Ranges of tau / sqrt(q) and aims.  The last range has no float32: exp(-a^2 / 2) underflows beyond a = 13.
ONE_AIMS = {"float64": {(1e-8, 10.0): 1e-14, (10.0, 37.0): 2e-13}, "float32": {(1e-8, 10.0): 2e-6}}
TWO_AIMS = {"float64": {(1e-8, 12.0): 1e-12}, "float32": {(1e-8, 12.0): 2e-6}}
LEAST = {"float64": 1e-290, "float32": 1e-30}


@dataclass(frozen=True)
class Case:
    """A function on a range of tau / sqrt(q)."""

    activation: str
    quantity: str
    reach: tuple[float, float]
    dtype: str
    aim: float

    def __str__(self) -> str:
        return f"{self.activation} {self.quantity} to {self.reach[1]:g} {self.dtype}"

    @property
    def formula(self) -> Formula:
        return maps.derive(member(self.activation), (ONE_INPUT | TWO_INPUTS)[self.quantity])

    @property
    def two_inputs(self) -> bool:
        return self.quantity in TWO_INPUTS

    @property
    def two_sided(self) -> bool:
        return "soft" in self.activation

    def points(self, count: int, seed: int) -> tuple[Points, int]:
        """This many points, those in the corners first; and how many those are."""
        rng = np.random.default_rng([seed, zlib.crc32(str(self).encode())])
        columns, corners = (_two_inputs if self.two_inputs else _one_input)(rng, count, self.reach)
        points = {name: column.astype(self.dtype) for name, column in columns.items()}
        if self.two_inputs:
            most = np.nextafter(np.array(1, self.dtype), np.array(0, self.dtype))
            points["rho"] = np.clip(points["rho"], -most, most)
        return points, corners


def lines(options: argparse.Namespace) -> Iterator[Line]:
    """Those whose name contains `options.only`, by dtype."""
    for dtype in LEAST:
        infinite, wrong = 0, 0
        for case in _cases(dtype):
            if options.only in str(case):
                line, values, signs = _measured(case, options)
                yield line
                infinite += int(np.sum(~np.isfinite(values)))
                wrong += int(np.sum(values * signs < 0))
        yield Line(f"all, points not finite, {dtype}", infinite, unit="n", aim=0)
        yield Line(f"all, points of wrong sign, {dtype}", wrong, unit="n", aim=0)


def _cases(dtype: str) -> Iterator[Case]:
    for quantities, aims in ((ONE_INPUT, ONE_AIMS), (TWO_INPUTS, TWO_AIMS)):
        for name, quantity, (reach, aim) in product(NAMES, quantities, aims[dtype].items()):
            yield Case(name, quantity, reach, dtype, aim)


def _measured(case: Case, options: argparse.Namespace) -> tuple[Line, np.ndarray, Any]:
    """The line; the values at all points, and the signs that they must not oppose."""
    formula, count = case.formula, options.points
    points, corners = case.points(count, options.seed)
    arguments = [points[str(v)] for v in formula.variables]
    values, seconds = _timed(lambdify(formula, "numpy"), arguments)
    zeros = np.flatnonzero(values == 0)[: options.sample]
    sample = np.unique(np.concatenate([np.arange(min(corners + options.sample, count)), zeros]))
    errors = _errors(case, {name: column[sample] for name, column in points.items()}, values[sample])
    worst = int(np.argmax(errors))
    place = ", ".join(f"{v}={points[str(v)][sample[worst]]}" for v in formula.variables)
    note = f"{count / seconds / 1e6:.3g} M points/s, {np.sum(errors >= 0)} of {len(sample)} compared; at {place}"
    return Line(str(case), float(errors[worst]), unit="error", aim=case.aim, note=note), values, _signs(case, points)


def _timed(function: Callable[..., np.ndarray], arguments: list[np.ndarray]) -> tuple[np.ndarray, float]:
    with np.errstate(all="ignore"):
        function(*(a[:1] for a in arguments))  # so that what the first call prepares is not counted
        start = perf_counter()
        values = function(*arguments)
        return values, perf_counter() - start


def _signs(case: Case, points: Points) -> Any:
    """That of rho for two-sided kernels, none for V'', plus for the others."""
    if case.quantity == "kernel" and case.two_sided:
        return np.sign(points["rho"])
    return 0 if case.quantity == "V''" else 1


def _errors(case: Case, points: Points, values: np.ndarray) -> np.ndarray:
    """Those of the values, infinite for NaN; -1 for points that are left out."""
    formula, scales = case.formula, _curvature_scales(case, points) if case.quantity == "V''" else None
    errors, negligible = np.full(len(values), -1.0), 1e-20 * LEAST[case.dtype]
    for i, value in enumerate(values):
        exact = enclose(formula, {str(v): float(points[str(v)][i]) for v in formula.variables}, least=negligible)
        scale = float(abs(exact)) if scales is None else scales[i]
        if scale >= LEAST[case.dtype]:
            errors[i] = float(abs(arb(float(value)) - exact)) / scale if np.isfinite(value) else np.inf
    return errors


def _curvature_scales(case: Case, points: Points) -> np.ndarray:
    """What errors of V'' are relative to, by Gauss-Legendre quadrature.

    In units of sqrt(q) f' is 2 (z - a) from a to b, a = tau / sqrt(q), b = (tau + m) / sqrt(q), so that it is
    k sigma_w2 / (2 q) times the integral of (z - a) (z^3 + 3 z) p(z), k = 2 if phi is two-sided and 1 if not.
    """
    q, tau = points["q"].astype(float), points["tau"].astype(float)
    a = tau / np.sqrt(q)
    width = np.minimum(12.0, 50 / a)  # beyond, less than e^-50 of the density at a is left
    if case.activation.startswith("clipped"):
        width = np.minimum(width, points["m"] / np.sqrt(q))
    nodes, weights = np.polynomial.legendre.leggauss(100)
    t = width[:, None] * (1 + nodes) / 2
    z = a[:, None] + t
    integral = width / 2 * np.sum(weights * t * (z**3 + 3 * z) * np.exp(-(z**2) / 2), axis=1) / np.sqrt(2 * np.pi)
    return (2 if case.two_sided else 1) * points["sigma_w2"] * integral / (2 * q)


def _log_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    return 10 ** rng.uniform(np.log10(low), np.log10(high), count)


def _corners_first(columns: list[np.ndarray], corners: list[tuple[float, ...]]) -> list[np.ndarray]:
    return [
        np.concatenate([column, rest])[: len(rest)] for column, rest in zip(np.array(corners).T, columns, strict=True)
    ]


def _one_input(rng: np.random.Generator, count: int, reach: tuple[float, float]) -> tuple[Points, int]:
    """q, tau / sqrt(q) and m / sqrt(q) log-uniform; corners where a m / sqrt(q) is about 1, and at all ends."""
    corners = [
        (q, a, mu)
        for q, a in product((1e-3, 1.0, 1e3), sorted({*reach, *np.clip((1e-4, 0.5, 1.0, 20.0), *reach)}))
        for mu in (1e-8, 1e-4, 1.0, 1e8, *np.clip((0.01 / a, 0.99 / a, 1 / a, 1.01 / a, 3 / a), 1e-8, 1e8))
    ]
    drawn = [_log_uniform(rng, *ends, count) for ends in ((1e-3, 1e3), reach, (1e-8, 1e8))]
    q, a, mu = _corners_first(drawn, corners)
    return {"q": q, "tau": a * np.sqrt(q), "m": mu * np.sqrt(q), **_weights(rng, count)}, len(corners)


def _weights(rng: np.random.Generator, count: int) -> Points:
    bias = _log_uniform(rng, 1e-6, 1e-1, count)
    return {"sigma_w2": rng.uniform(0.5, 2, count), "sigma_b2": np.where(rng.random(count) < 0.7, 0, bias)}


def _two_inputs(rng: np.random.Generator, count: int, reach: tuple[float, float]) -> tuple[Points, int]:
    """As for one input, with half of the q2 = q1, and a rho uniform, next to -1 or 1, or next to 0."""
    corners = [
        (1.0, ratio, a, mu, rho)
        for ratio, a, mu, rho in product(
            (1.0, 1 + 2**-23, 10.0),
            (reach[0], 1.0, reach[1]),
            (1e-8, 1.0, 1e8),
            (*(s * r for s in (-1, 1) for r in (1.0, 1 - 1e-8, 0.5, 1e-16)), 0.0),
        )
    ]
    gap = 10 ** -rng.uniform(0, 16, count)
    rho = np.choose(rng.integers(3, size=count), [rng.uniform(-1, 1, count), 1 - gap, gap])
    drawn = [
        _log_uniform(rng, 1e-3, 1e3, count),
        np.where(rng.random(count) < 0.5, 1, _log_uniform(rng, 0.1, 10, count)),
        _log_uniform(rng, *reach, count),
        _log_uniform(rng, 1e-8, 1e8, count),
        rho * rng.choice([-1, 1], count),
    ]
    q1, ratio, a, mu, rho = _corners_first(drawn, corners)
    root = np.sqrt(q1 * np.minimum(ratio, 1))
    points = {"q1": q1, "q2": q1 * ratio, "rho": rho, "tau": a * root, "m": mu * root, **_weights(rng, count)}
    return points, len(corners)
