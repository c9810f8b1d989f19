"""Kernel matrices of deep fully connected networks of infinite width: NNGP and NTK.

    K_0 = sigma_w2 x x^T / features + sigma_b2             T_0 = K_0
    K_l = sigma_w2 E[phi(u) phi(v)] + sigma_b2             T_l = K_l + sigma_w2 E[phi'(u) phi'(v)] T_(l-1)

for l = 1, ..., depth, (u, v) centred normal with the covariances in K_(l-1).  So K_0 belongs to the first
pre-activations, and each of `depth` activations is followed by a weight layer.

Sources: Lee et al. 2018, eq. 4 (NNGP); Jacot et al. 2018, theorem 1 (NTK).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gpsym import maps
from gpsym.activation import Activation
from gpsym.design import CriticalInit
from gpsym.formula import SIGMA_B2, SIGMA_W2, require
from gpsym.numeric import lambdify
from gpsym.numeric.pairs import Array, Knots, Moments, as_like, correlations
from gpsym.numeric.tables import Surrogate, Table, table

__all__ = ["Kernels", "diagonals", "kernels"]

_EPSILON = sys.float_info.epsilon
_SAME = 16 * _EPSILON  # relative differences of variances that count as rounding
_TABLE_FROM = 4_000  # pairs, whose integrals take as long as making a table


class Kernels(NamedTuple):
    """NNGP and NTK of the same inputs."""

    nngp: Array
    ntk: Array

    def kind(self, name: str) -> Array:
        """The one of this name.  Raises ValueError for a name that neither has."""
        if name not in self._fields:
            raise ValueError(f"kernels: unknown kind {name!r}; choose from {', '.join(self._fields)}.")
        return getattr(self, name)


def kernels(
    x: Array,
    network: Activation | CriticalInit,
    *,
    depth: int,
    sigma_w2: float | None = None,
    sigma_b2: float | None = None,
    input_mean_square: float | None = None,
    other: Array | None = None,
    block: int | None = None,
) -> Kernels:
    """NNGP and NTK between the rows of x and those of `other`, in float64; between the rows of x if it is left out.

    x, other   (n, features) and (n', features), numbers, numpy arrays, or torch tensors of one device.
    network    a continuous piecewise-linear `Activation` with numbers for its symbols, with sigma_w2 (weight
               variance times fan-in) and sigma_b2 (bias variance, 0 if left out); or a design, which has all three.
    depth      number of activations, >= 0.
    input_mean_square
               with a design: E[x^2] per feature.  Then the weights of the first layer have the variance that brings
               its outputs to q_star, as in `gpsym.torch.init_`; otherwise that of all layers.
    block      side of the tiles in which the matrices are filled; memory beyond them is a few tiles.

    The results, (n, n'), are arrays or tensors like x; without `other` they are exactly symmetric.  No gradient flows.
    Errors are about 1e-13 of the geometric mean of the two diagonal entries (see `gpsym.numeric.pairs`).  Inputs of
    correlation 1 - g, where g is not 0 but below 1e-6, have theirs in the NTK of about 1e-16 / sqrt(g): it
    depends on g, of which float64 has what is left of 1 - g.

    Where all inputs have one variance (normalised data) the expectations are read from a table, which is fastest; where
    their deviations differ by a quarter at most, from other polynomials; elsewhere they are integrated.

    Raises ValueError for x or other not finite, without features or not of two dimensions, for a tensor that requires a
    gradient, for an activation that has symbols, jumps or pieces of degree 2 or more, and for arrays whose matrices
    exceed the memory.

    >>> from gpsym import relu
    >>> kernels([[1.0, 0.0], [0.0, 1.0]], relu(), depth=1, sigma_w2=2.0).nngp.round(4)
    array([[1.    , 0.3183],
           [0.3183, 1.    ]])
    """
    if block is not None and block < 1:
        raise ValueError(f"kernels: need a block of 1 row or more, got {block}; leave it out.")
    layers = _Network.of(network, depth, sigma_w2, sigma_b2, input_mean_square)
    rows = _Inputs.of(x, layers)
    columns = rows if other is None else _Inputs.of(other, layers)
    rows.assert_beside(columns)
    return _Tiles(rows, columns, block or (128 if _on_processor(rows.x) else 2048)).filled()


def diagonals(
    x: Array,
    network: Activation | CriticalInit,
    *,
    depth: int,
    sigma_w2: float | None = None,
    sigma_b2: float | None = None,
    input_mean_square: float | None = None,
) -> Kernels:
    """The diagonals of `kernels`, each (n,), in time proportional to n.

    >>> from gpsym import relu
    >>> diagonals([[1.0, 0.0], [2.0, 0.0]], relu(), depth=1, sigma_w2=2.0).ntk
    array([2., 8.])
    """
    inputs = _Inputs.of(x, _Network.of(network, depth, sigma_w2, sigma_b2, input_mean_square))
    return Kernels(*(as_like(diagonal, inputs.x) for diagonal in inputs.diagonals))


@dataclass(frozen=True)
class _Network:
    """The layers: variances of the first weights, of the others, and of biases; and one-input moments of phi."""

    phi: Activation
    depth: int
    first_w2: float
    sigma_w2: float
    sigma_b2: float

    @classmethod
    def of(
        cls,
        network: Activation | CriticalInit,
        depth: int,
        sigma_w2: float | None,
        sigma_b2: float | None,
        input_mean_square: float | None,
    ) -> _Network:
        """The network asked for.  Raises ValueError for what none can be made of."""
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 0:
            raise ValueError(f"kernels: need a depth 0, 1, 2, ..., got {depth}; pass the number of activations.")
        if isinstance(network, CriticalInit):
            if sigma_w2 is not None or sigma_b2 is not None:
                raise ValueError("kernels: need no sigma_w2 and sigma_b2 with a design, which has its own; got one.")
            w2, b2 = network.sigma_w2, network.sigma_b2
            if input_mean_square is not None and not 0 < input_mean_square < np.inf:
                raise ValueError(
                    f"kernels: need input_mean_square > 0, got {input_mean_square}; pass the mean of x**2."
                )
            first = w2 if input_mean_square is None else (network.q_star - b2) / input_mean_square
            return cls(_piecewise_linear(network.phi), depth, first, w2, b2)
        if not isinstance(network, Activation):
            raise ValueError(f"kernels: need an Activation or a design, got {network!r}; see gpsym.member.")
        if input_mean_square is not None:
            raise ValueError("kernels: need a design for input_mean_square, got an activation, which has no q_star.")
        if sigma_w2 is None:
            raise ValueError(f"kernels: need sigma_w2 with {network.name}, got none; pass it, or a design.")
        given = require("kernels", {SIGMA_W2: sigma_w2, SIGMA_B2: sigma_b2 or 0}, ())
        w2, b2 = (float(given[symbol]) for symbol in (SIGMA_W2, SIGMA_B2))
        return cls(_piecewise_linear(network), depth, w2, w2, b2)

    def layer(self, q: Array) -> _Layer:
        """What the next layer makes of pre-activations of variances q >= 0, (inputs,)."""
        silent = q < 1e-200  # smaller ones count as 0, for their squares in float64
        safe = np.where(silent, 1.0, q)
        at_zero = float(self.phi(0))
        mean, second = (
            np.where(silent, at_zero**power, lambdify(quantity(self.phi))(safe))
            for power, quantity in ((1, maps.mean), (2, maps.second_moment))
        )
        derivative = self.phi.derivative().function
        # Where q = 0 any slope does: it meets a neural tangent kernel that is 0.
        slope, second_slope = (lambdify(quantity(derivative))(safe) for quantity in (maps.mean, maps.second_moment))
        return _Layer(q, Moments(np.sqrt(safe), mean, slope), second, second_slope)


class _Layer(NamedTuple):
    """Variances before an activation, and E phi, E phi', E phi^2, E phi'^2 there, each (inputs,)."""

    q: Array
    moments: Moments
    second: Array
    second_slope: Array


@dataclass(frozen=True)
class _Inputs:
    """Inputs x, (n, features), as a network sees them.

    layers     one for each activation.
    diagonals  NNGP and NTK of each input with itself, (n,), in numpy.
    """

    x: Array
    network: _Network
    layers: list[_Layer]
    diagonals: tuple[Array, Array]

    @classmethod
    def of(cls, data: Any, network: _Network) -> _Inputs:
        """The inputs, which may be numbers or an array of any kind.  Raises ValueError for bad ones."""
        x = _matrix(data)
        with np.errstate(over="ignore"):
            squares = (x * x).sum(1) * (network.first_w2 / x.shape[1]) + network.sigma_b2
        q = theta = np.asarray(squares.tolist(), dtype=float)
        if not np.isfinite(q).all():
            raise ValueError("kernels: need squares of x within float64, got larger ones; scale x down.")
        layers = []
        for _ in range(network.depth):
            layers.append(network.layer(q))
            q = network.sigma_w2 * layers[-1].second + network.sigma_b2
            theta = q + network.sigma_w2 * layers[-1].second_slope * theta
        return cls(x, network, layers, (q, theta))

    def assert_beside(self, other: _Inputs) -> None:
        """Raises ValueError unless the others are of the same library, device and number of features."""
        ours, theirs = (
            f"{_library(i.x).__name__} {getattr(i.x, 'device', '')} with {i.x.shape[1]} features" for i in (self, other)
        )
        if ours != theirs:
            raise ValueError(f"kernels: need x and other alike, got {ours} and {theirs}; convert one of them.")


class _Tiles:
    """The matrices between rows and columns, filled tile by tile; below the diagonal alone where those are the same."""

    def __init__(self, rows: _Inputs, columns: _Inputs, side: int):
        self.rows, self.columns, self.side = rows, columns, side
        self.xp, self.network, self.symmetric = _library(rows.x), rows.network, rows is columns
        try:
            self.nngp = rows.x @ columns.x.T
            self.ntk = self.xp.empty_like(self.nngp)
        except MemoryError as error:
            raise ValueError(
                f"kernels: need memory for two matrices of {len(rows.x)} by {len(columns.x)} numbers, got too little; "
                "pass parts of the rows as x and other."
            ) from error
        self.knots = Knots.of(rows.network.phi, rows.x)
        self.slack = 2 * _SAME + _EPSILON * rows.x.shape[1] ** 0.5  # rounding of variances and of scalar products
        self.steps = [self._step(*layers) for layers in zip(rows.layers, columns.layers, strict=True)]

    def _step(self, row: _Layer, column: _Layer) -> tuple[Moments, Moments, Table | Surrogate | None]:
        """A layer's moments in the library of the inputs, and what it may be read from."""
        moments = row.moments.like(self.rows.x), column.moments.like(self.rows.x)
        if len(row.q) * len(column.q) < _TABLE_FROM:
            return *moments, None
        q, knots = np.concatenate([row.q, column.q]), Knots.of(self.network.phi, row.q)
        if 1e-200 < q.max() <= q.min() * (1 + _SAME):
            found = table(knots, row.q[0], (row.second[0], row.second_slope[0]))
            return *moments, found and found.like(self.rows.x)
        return *moments, Surrogate(knots, row.moments.deviation, column.moments.deviation, self.rows.x)

    def filled(self) -> Kernels:
        """The matrices.  Arrays are computed with the interpreter's lock released, so threads share the tiles."""
        with ThreadPoolExecutor(os.cpu_count() if _on_processor(self.nngp) else 1) as pool:
            list(pool.map(self._fill, self._places()))
        return Kernels(self.nngp, self.ntk)

    def _places(self) -> Iterator[tuple[slice, slice]]:
        n, m = self.nngp.shape
        for top in range(0, n, self.side):
            for left in range(0, top + 1 if self.symmetric else m, self.side):
                yield slice(top, min(top + self.side, n)), slice(left, min(left + self.side, m))

    def _fill(self, place: tuple[slice, slice]) -> None:
        on_diagonal = self.symmetric and place[0] == place[1]
        tile = self._computed(place, on_diagonal)
        for matrix, values, diagonal in zip((self.nngp, self.ntk), tile, self.rows.diagonals, strict=True):
            if on_diagonal:
                values = self.xp.tril(values, -1)
                values = values + values.T
                _set_diagonal(values, as_like(diagonal[place[0]], values))
            matrix[place] = values
            if self.symmetric and not on_diagonal:
                matrix[place[::-1]] = values.T

    def _computed(self, place: tuple[slice, slice], on_diagonal: bool) -> tuple[Array, Array]:
        """NNGP and NTK of a tile; its diagonal is left for later where inputs meet themselves."""
        network = self.network
        nngp = self.nngp[place] * (network.first_w2 / self.rows.x.shape[1]) + network.sigma_b2
        if on_diagonal:
            index = list(range(len(nngp)))
            nngp[index, index] = nngp[index, index[1:] + index[:1]]  # a correlation of 1 would cost the most nodes
        ntk = nngp
        for rows, columns, source in self.steps:
            u, v = rows[place[0]], columns[place[1]]
            rho = correlations(self.xp, nngp, u.deviation[:, None], v.deviation, self.slack)
            if isinstance(source, Table):
                values, slopes = source.expectations(self.xp, rho)
            else:
                known = source and partial(source.integrals, self.xp, rows=place[0], columns=place[1])
                values, slopes = self.knots.expectations(self.xp, rho, u, v, known)
            nngp = values * network.sigma_w2 + network.sigma_b2
            slopes *= network.sigma_w2
            slopes *= ntk
            slopes += nngp
            ntk = slopes
        return nngp, ntk


def _set_diagonal(tile: Array, values: Any) -> None:
    index = list(range(len(tile)))
    tile[index, index] = values


def _library(x: Array) -> Any:
    """numpy, or torch for a tensor, which has then been imported by whoever made it."""
    return sys.modules["torch"] if type(x).__module__.split(".")[0] == "torch" else np


def _matrix(data: Any) -> Array:
    """The data as a float64 array or tensor of two dimensions."""
    if getattr(data, "requires_grad", False):
        raise ValueError("kernels: need a tensor that requires no gradient, got one that does; pass x.detach().")
    xp = _library(data)
    x = xp.asarray(data, dtype=xp.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"kernels: need x of shape (n, features), got {tuple(x.shape)}; reshape it.")
    if not xp.isfinite(x).all():
        raise ValueError("kernels: need finite x, got NaN or infinity; drop or replace those rows.")
    return x


def _piecewise_linear(phi: Activation) -> Activation:
    """The activation.  Raises ValueError if the recursion does not hold for it."""
    if phi.parameters:
        names = ", ".join(map(str, phi.parameters))
        raise ValueError(f"kernels: need numbers for {names} of {phi.name}, got symbols; use subs first.")
    if jumps := phi.jumps():
        knot, jump = jumps[0]
        raise ValueError(
            f"kernels: need a continuous activation, got {phi.name}, which jumps by {jump} at {knot}: so its NTK is "
            "infinite; choose a continuous one, such as soft-threshold."
        )
    if phi.degree > 1:
        raise ValueError(
            f"kernels: need a piecewise-linear activation, got {phi.name}, of degree {phi.degree}; "
            "gpsym.maps has the kernels of one pair for any degree."
        )
    return phi


def _on_processor(x: Array) -> bool:
    return _library(x) is np or x.device.type == "cpu"
