"""The exact law of one layer's variance given the last one's, at width n.

Given a pre-activation variance q the pre-activations are i.i.d. N(0, q), so that the next variance is

    q' = sigma_b2 + (sigma_w2 / n) T,   T = sum of n independent Y = phi(sqrt(q) Z)^2.

T has the characteristic function E[exp(i w Y)]^n, which is summed at equidistant w into probabilities on a lattice
of T; a layer of zeros, T = 0, is kept apart.  The errors are what lies outside the window of the lattice, less than
exp(-30) on either side by Chernoff's bound, and the frequencies left out beyond it, where the function is as good as 0
unless so few units are active that T has atoms and edges.

The gradient gains per layer about the factor slope^2 (sigma_w2 / n) chi^2_N, N the number of units in the linear range,
which depends on T.  E[f(N) exp(i w T)] is a sum over Krawtchouk polynomials K_k, orthogonal for the binomial law of N,
because E[K_k(N) exp(i w T)] = C(n, k) E[exp(i w Y)]^(n - k) E[K_1 exp(i w Y)]^k.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, ndtr, polygamma, xlog1py, xlogy

from gpsym.activation import Activation
from gpsym.numeric.moments import gauss_legendre

__all__ = ["Laws", "Moments", "Units", "laws", "moments", "units"]

Array = NDArray[np.float64]

_TAIL = 30.0  # exp(-30) = 1e-13 is left out on either side of a window
_FARTHEST = 8.0  # |Z| exceeds it with probability 1e-15
_FAR = 6.0  # beyond it, with probability 2e-9, quadrature need not follow every oscillation
_ORDERS = 16  # Krawtchouk polynomials; their coefficients fall as N^(-k/2)


@dataclass(frozen=True)
class Piece:
    """A polynomial of phi on lower < x < upper, mirrored to x > 0 where it lay left of 0; `count` of them alike."""

    lower: float
    upper: float
    coefficients: tuple[float, ...]
    count: int

    @property
    def is_flat(self) -> bool:
        """Whether phi' = 0, so that the unit passes no gradient."""
        return len(self.coefficients) <= 1


@dataclass(frozen=True)
class Units:
    """What the units of a layer do, as numbers.

    pieces  the pieces of phi on x > 0 and those on x < 0, mirrored.
    """

    pieces: tuple[Piece, ...]

    @property
    def slope(self) -> float | None:
        """The one abs(phi') of all units that pass a gradient; None if there is no such number."""
        slopes = {abs(p.coefficients[1]) if len(p.coefficients) == 2 else None for p in self.pieces if not p.is_flat}
        return slopes.pop() if len(slopes) == 1 else None

    @property
    def growth(self) -> float:
        """The largest slope squared: phi(x)^2 grows about as this times x^2, if at all."""
        return max(sum(abs(c) for c in p.coefficients[1:]) ** 2 for p in self.pieces)

    @property
    def largest_square(self) -> float:
        """sup phi^2, possibly infinite."""
        if any(math.isinf(p.upper) and not p.is_flat for p in self.pieces):
            return math.inf
        return max(_largest_square(p) for p in self.pieces)


def _largest_square(piece: Piece) -> float:
    phi = np.polynomial.Polynomial(piece.coefficients or (0.0,))
    turns = [x.real for x in phi.deriv().roots() if abs(x.imag) < 1e-9 and piece.lower < x.real < piece.upper]
    return max(float(phi(x)) ** 2 for x in (piece.lower, *turns, *([piece.upper] if piece.upper < math.inf else [])))


def units(phi: Activation) -> Units:
    """The pieces of an activation whose symbols are numbers."""
    counts: dict[tuple[float, float, tuple[float, ...]], int] = {}
    for mirrored in (phi, phi.affine(-1)):
        for lower, upper, coefficients in mirrored.intervals:
            low, high = max(0.0, float(lower)), float(upper)
            if low < high:
                numbers = tuple(map(float, coefficients))
                # phi^2 alone matters, and abs(phi').
                key = (low, high, max(numbers, tuple(-c for c in numbers)))
                counts[key] = counts.get(key, 0) + 1
    return Units(tuple(Piece(*key, count) for key, count in counts.items()))


@dataclass(frozen=True)
class Laws:
    """The law of the next variance for each of G present ones: probabilities on lattices of C places, (G, C).

    places  the variances q'.
    zeros   P(all phi = 0), (G,): then q' = sigma_b2.
    every   P(q', not all phi = 0).
    living  P(q', some unit is in the linear range).
    log_1   E[log chi^2_N; q', N > 0] and
    log_2   E[(log chi^2_N)^2; q', N > 0], N the number of such units; None where none were asked for.
    """

    places: Array
    zeros: Array
    every: Array
    living: Array
    log_1: Array | None = None
    log_2: Array | None = None

    def first(self, size: int) -> Laws:
        """Those of the first of the variances."""
        parts: list[Any] = [None if part is None else part[:size] for part in vars(self).values()]
        return Laws(*parts)


def laws(
    units: Units, weights: tuple[float, float], width: int, q: Array, cells: int, *, gradients: bool = False
) -> Laws:
    """The laws at the variances q, (G,).

    weights  (sigma_w2, sigma_b2).
    width    n, number of units.
    cells    C, even.
    """
    start, step = _window(_nodes(units, q, 64), width, cells)
    frequency = 2 * math.pi / (cells * step)  # (G,)
    phase = frequency * cells / 2 * np.minimum(units.largest_square, _FAR**2 * q * units.growth)
    nodes = _nodes(units, q, _node_count(float(phase.max())))
    one = _characteristic(nodes, frequency, cells // 2 + 1)
    shift = np.exp(-1j * frequency[:, None] * start[:, None] * np.arange(cells // 2 + 1)) * _filter(cells)

    def on_lattice(spectrum: NDArray[np.complex128]) -> Array:
        return np.fft.irfft(np.conj(spectrum * shift), cells, axis=1)

    with np.errstate(under="ignore", divide="ignore", invalid="ignore"):
        whole = _power(one.every, width)
        zeros = nodes.zeros**width
        every, living = on_lattice(whole - zeros[:, None]), on_lattice(whole - _power(one.idle, width))
        places = weights[1] + weights[0] / width * (start[:, None] + step[:, None] * np.arange(cells))
        if not gradients:
            return Laws(places, zeros, every, living)
        moments = (on_lattice(s) for s in _log_spectra(one, nodes.active_share, width))
        return Laws(places, zeros, every, living, *moments)


@dataclass(frozen=True)
class _Nodes:
    """Y = phi(sqrt(q) Z)^2 as a discrete variable: Gauss-Legendre nodes for active units, atoms for the others."""

    input: Array  # (G, K), the pre-activation
    output: Array  # (G, K), phi of it, to a sign that all inputs share
    weight: Array  # (G, K)
    atom: Array  # (A,)
    atom_weight: Array  # (G, A)

    @cached_property
    def square(self) -> Array:
        """Y, (G, K)."""
        return self.output**2

    @property
    def zeros(self) -> Array:
        """P(Y = 0), (G,)."""
        return self.atom_weight[:, self.atom == 0].sum(axis=1)

    @cached_property
    def active_share(self) -> Array:
        """P(phi'(sqrt(q) Z) != 0), (G,)."""
        return self.weight.sum(axis=1)


def _nodes(units: Units, q: Array, size: int) -> _Nodes:
    root = np.sqrt(q)[:, None]
    node, share = np.array(gauss_legendre(size)).T
    inputs, outputs, weights, atom_weights = ([np.empty((len(q), 0))] for _ in range(4))
    atoms = []
    for piece in units.pieces:
        low = np.minimum(piece.lower / root, _FARTHEST)
        high = np.minimum(piece.upper / root, _FARTHEST)
        if piece.is_flat:
            atoms.append(piece.coefficients[0] ** 2 if piece.coefficients else 0.0)
            atom_weights.append(piece.count * (ndtr(-piece.lower / root) - ndtr(-piece.upper / root)))
        else:
            z = low + (high - low) * node
            inputs.append(root * z)
            outputs.append(np.polynomial.polynomial.polyval(root * z, piece.coefficients))
            weights.append(piece.count * (high - low) * share * np.exp(-z * z / 2) / math.sqrt(2 * math.pi))
    return _Nodes(np.hstack(inputs), np.hstack(outputs), np.hstack(weights), np.array(atoms), np.hstack(atom_weights))


def _node_count(phase: float) -> int:
    """Nodes that integrate exp(i w y) over a range of y whose phase runs so far."""
    return int(min(max(24 + 8 * math.ceil(phase / 16), 32), 768))


def _window(nodes: _Nodes, width: int, cells: int) -> tuple[Array, Array]:
    """Start and step of lattices outside of which T lies with probability exp(-30) at most, on either side.

    P(T > x) <= exp(n log E exp(h Y) - h x) for every h > 0: the best of 48.
    """
    square = np.hstack([nodes.square, np.broadcast_to(nodes.atom, nodes.atom_weight.shape)])
    weight = np.hstack([nodes.weight, nodes.atom_weight])
    mean = (weight * square).sum(axis=1)
    deviation = np.sqrt(np.maximum((weight * (square - mean[:, None]) ** 2).sum(axis=1), 1e-300))
    log_weight = np.log(np.maximum(weight, 1e-300))
    ends = []
    for side in (-1, 1):
        best = np.full(len(mean), math.inf)
        for tilt in np.geomspace(0.02, 40, 48) / math.sqrt(width):
            h = (tilt / deviation)[:, None]
            exponent = side * h * (square - mean[:, None]) + log_weight
            top = exponent.max(axis=1, keepdims=True)
            log_mean = np.log(np.exp(exponent - top).sum(axis=1)) + top[:, 0]
            best = np.minimum(best, (width * log_mean + _TAIL) / h[:, 0])
        ends.append(width * mean + side * best)
    low, high = np.maximum(ends[0], 0.0), np.minimum(ends[1], width * square.max(axis=1))
    # Room for what rings around atoms at the ends, which comes round to the other end beyond it.
    room = cells // 48
    step = np.maximum(high - low, 1e-12 * width * mean + 1e-300) / (cells - 2 * room)
    return low - room * step, step


@dataclass(frozen=True)
class _Characteristic:
    """E[exp(i w Y)] at w = 0, 1, ... times a frequency, (G, W), and the part of it from idle units, phi' = 0."""

    every: NDArray[np.complex128]
    idle: NDArray[np.complex128]

    @property
    def active(self) -> NDArray[np.complex128]:
        return self.every - self.idle


def _characteristic(nodes: _Nodes, frequency: Array, count: int) -> _Characteristic:
    active = _fourier(np.exp(1j * frequency[:, None] * nodes.square), nodes.weight, count)
    idle = _fourier(np.exp(1j * frequency[:, None] * nodes.atom), nodes.atom_weight, count)
    total = (active + idle)[:, :1]  # 1 but for rounding, which n layers of n units would add up
    return _Characteristic((active + idle) / total, idle / total)


def _fourier(turn: NDArray[np.complex128], weight: Array, count: int) -> NDArray[np.complex128]:
    """sum_k weight_k turn_k^j for j < count."""
    sums = np.empty((len(turn), count), complex)
    term = weight.astype(complex)
    for j in range(count):
        sums[:, j] = term.sum(axis=1)
        term *= turn
    return sums


def _power(base: NDArray[np.complex128], exponent: int) -> NDArray[np.complex128]:
    return np.exp(exponent * np.log(base))


def _filter(cells: int) -> Array:
    """Leaves low frequencies and takes out the highest, which only atoms have: else they ring over the lattice."""
    return np.exp(-36 * np.linspace(0, 1, cells // 2 + 1) ** 12)


def _log_spectra(
    one: _Characteristic, share: Array, width: int
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """E[f(N) exp(i w T); N > 0] for f = E log chi^2_N and E (log chi^2_N)^2."""
    orders = min(_ORDERS, width)
    first, second = _krawtchouk_coefficients(share, width, orders)
    # By powers of the ratio, K_1's part over the whole, from the top: both may vanish, their products do not overflow.
    tilt = (1 - share[:, None]) * one.active - share[:, None] * one.idle
    idle = _power(one.idle, width)
    results = []
    for coefficients, at_zero in (first, second):
        total, power = np.zeros_like(one.every), np.ones_like(one.every)
        for k in range(orders, -1, -1):
            total = total * tilt + coefficients[:, k, None] * power
            power = power * one.every
        results.append(total * _power(one.every, width - orders) - at_zero * idle)
    return results[0], results[1]


def _krawtchouk_coefficients(share: Array, width: int, orders: int) -> tuple[tuple[Array, float], tuple[Array, float]]:
    """For both f: C(n, k) E[f K_k] / E[K_k^2], (G, orders + 1), and the number that takes the place of f(0).

    f(0) is infinite; a quadratic through f(1), f(2) and f(3) keeps the series short, and is taken off again.
    """
    number, probability = _binomial(share, width)
    spread = (share * (1 - share))[:, None]
    before, now = np.zeros_like(number), np.ones_like(number)
    sums: tuple[list[Array], list[Array]] = ([], [])
    functions = [f(number) for f in _LOG_CHI_SQUARE]
    for k in range(orders + 1):
        for sum_, f in zip(sums, functions, strict=True):
            sum_.append((probability * f * now).sum(axis=1) / spread[:, 0] ** k)
        centred = number - width * share[:, None] - k * (1 - 2 * share[:, None])
        before, now = now, (centred * now - spread * (width - k + 1) * before) / (k + 1)
    one, two = (np.stack(s, axis=1) for s in sums)
    return (one, float(_LOG_CHI_SQUARE[0](np.zeros(1))[0])), (two, float(_LOG_CHI_SQUARE[1](np.zeros(1))[0]))


def _binomial(share: Array, width: int) -> tuple[Array, Array]:
    """Numbers of active units and their probabilities, (G, M); with gaps of an eighth of a deviation where many are."""
    mean, deviation = width * share, np.sqrt(width * share * (1 - share))
    gap = np.maximum(np.floor(deviation / 8), 1)
    low = np.maximum(np.floor(mean - 9.5 * deviation), 0)
    number = low[:, None] + gap[:, None] * np.arange(320)
    inside = number <= width
    n = np.where(inside, number, 0)
    log_probability = gammaln(width + 1) - gammaln(n + 1) - gammaln(width - n + 1)
    log_probability += xlogy(n, share[:, None]) + xlog1py(width - n, -share[:, None])
    return n, np.where(inside, gap[:, None] * np.exp(log_probability), 0.0)


def _mean_log(n: Array) -> Array:
    """E log chi^2_n."""
    return digamma(n / 2) + math.log(2)


def _extended(f: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """f, and at 0 the quadratic through f(1), f(2) and f(3)."""
    one, two, three = f(np.array([1.0, 2.0, 3.0]))
    return lambda n: np.where(n > 0, f(np.maximum(n, 1.0)), 3 * one - 3 * two + three)


_LOG_CHI_SQUARE = (_extended(_mean_log), _extended(lambda n: _mean_log(n) ** 2 + polygamma(1, n / 2)))


@dataclass(frozen=True)
class Moments:
    """Moments of one unit at pre-activation variances q, (G,): Y = phi(U)^2, U = sqrt(q) Z; A: phi'(U) != 0.

    mean, variance  of Y.
    active          P(A).
    active_mean     E[Y; A].
    input_square    E[U^2; A].
    input_product   E[U phi(U); A].
    """

    mean: Array
    variance: Array
    active: Array
    active_mean: Array
    input_square: Array
    input_product: Array


def moments(units: Units, q: Array) -> Moments:
    """The moments of one unit."""
    nodes = _nodes(units, q, 96)
    active = (nodes.weight * nodes.square).sum(axis=1)
    mean = active + nodes.atom_weight @ nodes.atom
    second = (nodes.weight * nodes.square**2).sum(axis=1) + nodes.atom_weight @ nodes.atom**2
    return Moments(
        mean,
        np.maximum(second - mean * mean, 0.0),
        nodes.active_share,
        active,
        (nodes.weight * nodes.input**2).sum(axis=1),
        (nodes.weight * nodes.input * nodes.output).sum(axis=1),
    )
