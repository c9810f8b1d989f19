"""Variances of random networks, drawn unit by unit: what `gpsym.finite_width` computes without drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpsym.activation import Activation
from gpsym.branches import branches
from gpsym.design import CriticalInit

__all__ = ["simulated_variances"]

Array = NDArray[np.float64]


def simulated_variances(design: CriticalInit, *, width: int, depth: int, networks: int, seed: int = 0) -> Array:
    """q_1, ..., q_depth of random networks that start from q_star, (depth, networks).

    Given q_l the pre-activations of a Gaussian layer are i.i.d. N(0, q_l): weights need not be drawn.
    """
    random = np.random.default_rng(seed)
    q = np.full(networks, design.q_star)
    layers = []
    for _ in range(depth):
        units = np.sqrt(q)[:, None] * random.standard_normal((networks, width))
        q = design.sigma_w2 * np.square(_applied(design.phi, units)).mean(axis=1) + design.sigma_b2
        layers.append(q)
    return np.stack(layers)


def _applied(phi: Activation, x: Array) -> Array:
    """phi(x); at a knot one of its limits."""
    parts = branches(phi)
    polynomials = [np.polynomial.Polynomial(part.coefficients or (0.0,)) for part in parts]
    return np.piecewise(x, [(x > part.start) & (x <= part.end) for part in parts], polynomials)
