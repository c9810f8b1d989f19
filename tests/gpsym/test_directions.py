"""How many directions come through, against the singular values of networks by QR and sums in closed form."""

import math
from functools import cache

import numpy as np
import pytest

from gpsym.activation import Activation
from gpsym.design import edge_of_chaos
from gpsym.directions import depth_of_directions, gradient_directions, lyapunov_gap, mixing_of_directions

RELU = edge_of_chaos("relu")
CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.8)
CST = edge_of_chaos("cst", sparsity=0.7, slope=0.8)
# Of ramps that begin and end smoothly: slopes of every size up to 1.
SMOOTH = edge_of_chaos(Activation([1, 2, 3], [[], ["1/2", -1, "1/2"], ["-7/2", 3, "-1/2"], [1]], name="smooth-ramp"))


@cache
def measured_gap(design, width, alpha, depth, count, networks=10):
    """Mean and standard error of g, from so many directions of as many networks, by QR (Benettin et al. 1980)."""
    rng, slopes = np.random.default_rng(0), design.phi.derivative().function
    knots = [float(t) for t in slopes.knots]
    pieces = [np.polynomial.Polynomial([float(c) for c in piece] or [0.0]) for piece in slopes.pieces]
    values = [np.polynomial.Polynomial([float(c) for c in piece] or [0.0]) for piece in design.phi.pieces]
    kept, begun = math.sqrt(1 - alpha**2), min(depth // 5, round(3 / alpha**2))  # until the frame is that of its layers
    places = np.arange(count) - (count - 1) / 2
    found = []
    for _ in range(networks):
        h = rng.standard_normal(width) * math.sqrt(design.q_star)
        frame, total = np.linalg.qr(rng.standard_normal((width, count)))[0], np.zeros(count)
        for layer in range(depth):
            place = np.searchsorted(knots, h)
            slope, value = (np.choose(place, [f(h) for f in pair]) for pair in (pieces, values))
            weights = rng.standard_normal((width, width), np.float32) * np.float32(math.sqrt(design.sigma_w2 / width))
            h = kept * h + alpha * (weights @ value + rng.standard_normal(width) * math.sqrt(design.sigma_b2))
            frame, triangle = np.linalg.qr(kept * frame + alpha * (weights @ (slope[:, None] * frame)))
            if layer >= begun:
                total += np.log(np.abs(np.diag(triangle)))
        found.append(-(total @ places) / (places @ places) / (depth - begun))
    return np.mean(found), np.std(found, ddof=1) / math.sqrt(networks)


@pytest.mark.parametrize(
    ("design", "alpha", "width", "depth", "count"),
    [
        (RELU, 1.0, 400, 40, 12),
        (CRELU, 1.0, 400, 40, 12),
        (SMOOTH, 1.0, 400, 40, 12),
        (RELU, 0.6, 300, 120, 16),
        (CRELU, 0.6, 300, 120, 12),
    ],
    ids=lambda value: getattr(value, "activation", str(value)),
)
def test_directions_part_as_the_jacobians_of_networks_do(design, alpha, width, depth, count):
    found, error = measured_gap(design, width, alpha, depth, count)
    gap = lyapunov_gap(design, width=width, alpha=alpha)
    plain = lyapunov_gap(design, width=width)
    assert gap > 8 * error  # or nothing would be seen
    # Beyond leading order lie terms of relative size i kappa / n.
    assert abs(found - gap) < 3 * error + 2 * plain * count * gap


def test_residual_layers_lose_directions_at_a_pace_of_their_own():
    """Neither that of alpha^2 plain layers, which a clipped ReLU has, nor that of units which forget at once."""
    found, error = measured_gap(RELU, 300, 0.6, 120, 16)
    gap, plain = lyapunov_gap(RELU, width=300, alpha=0.6), lyapunov_gap(RELU, width=300)
    assert abs(found - gap) < 3 * error
    assert found - 0.6**2 * plain > 3 * error
    forgetful = (0.6**2 - 0.6**4 / 2 + 0.6**4 / 2) / 300  # e_k^2 in sum 1
    assert found - forgetful > 3 * error


@pytest.mark.parametrize("alpha", [0.9, 0.3, 0.05])
def test_the_gap_is_a_sum_over_layers(alpha):
    """K(rho) of ReLU is 4 P(both active) - 1 = (2 / pi) asin(rho), summed over the layers that a unit remembers."""
    kept = 1 - alpha**2
    layers = np.arange(1, math.ceil(-50 / math.log(kept)))
    memory = float(kept**layers @ (2 / math.pi * np.arcsin(kept ** (layers / 2))))
    expected = alpha**2 - alpha**4 / 2 + alpha**4 * (1 / 2 + memory)
    assert 100 * lyapunov_gap(RELU, width=100, alpha=alpha) == pytest.approx(expected, rel=1e-3)


def test_the_gap_of_thin_branches_is_an_integral():
    """As alpha -> 0: alpha^2 / n for the identity, 1.5 times that for ReLU: 2 int rho (2 / pi) asin(rho) = 1 / 2."""
    assert lyapunov_gap(RELU, width=1, alpha=1e-6) * 1e12 == pytest.approx(1.5, rel=1e-4)
    assert lyapunov_gap(edge_of_chaos("identity"), width=1, alpha=1e-6) * 1e12 == pytest.approx(1, rel=1e-9)


@pytest.mark.parametrize("design", [RELU, CRELU, CST])
@pytest.mark.parametrize("alpha", [1.0, 0.4, 0.01])
def test_a_direction_more_or_less(design, alpha):
    """At the depth of d directions d come through; the d-th is shorter by a factor e."""
    depth = depth_of_directions(design, width=300, directions=9, alpha=alpha)
    assert gradient_directions(design, width=300, depth=depth, alpha=alpha) == pytest.approx(9, rel=1e-12)
    assert 8 * depth * lyapunov_gap(design, width=300, alpha=alpha) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("design", [RELU, CRELU, CST])
@pytest.mark.parametrize("depth", [30, 100, 10_000])
def test_as_many_directions_come_through_as_the_mixing_was_made_for(design, depth):
    alpha = mixing_of_directions(design, width=300, depth=depth, directions=9)
    came = gradient_directions(design, width=300, depth=depth, alpha=alpha)
    assert came == pytest.approx(9, rel=1e-9) if alpha < 1 else came >= 9
    assert (alpha == 1) == (depth <= depth_of_directions(design, width=300, directions=9))


def test_one_direction_comes_through_any_depth():
    assert depth_of_directions(CRELU, width=10, directions=1) == math.inf
    assert mixing_of_directions(CRELU, width=10, depth=1e6, directions=1) == 1


def test_directions_are_at_most_the_width():
    assert gradient_directions(edge_of_chaos("identity"), width=10, depth=1) == 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lyapunov_gap(CRELU, width=0), "lyapunov_gap: need a whole width from 1 to 131072"),
        (lambda: lyapunov_gap(CRELU, width=5, alpha=0), r"lyapunov_gap: need alpha in \(0, 1\], got 0"),
        (
            lambda: gradient_directions(CRELU, width=5, depth=0),
            r"need depth in \(0, 1e\+300\], got 0",
        ),
        (lambda: depth_of_directions(CRELU, width=9, directions=0.5), "depth_of_directions: need directions >= 1"),
        (
            lambda: mixing_of_directions(CRELU, width=0, depth=1, directions=2),
            "need a whole width",
        ),
        (lambda: mixing_of_directions(CRELU, width=9, depth=1, directions=0), "mixing_of_directions: need directions"),
    ],
)
def test_directions_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()
