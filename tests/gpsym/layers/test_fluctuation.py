"""Spreads to leading order against random networks, and against what is known of plain ones."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gpsym import edge_of_chaos, evaluate, maps, member
from gpsym.layers.fluctuation import hermite_coefficients, largest_mixing, spread
from tests.gpsym.layers.networks import Networks

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
CST = edge_of_chaos("cst", sparsity=0.7, slope=0.5)


@pytest.mark.parametrize("design", [CRELU, CST], ids=lambda design: design.activation)
def test_hermite_coefficients_are_those_of_the_closed_forms(design):
    square, q = design.phi**2, 1.7
    expected = [float(evaluate(maps.hermite_coefficient(square, k), {"q": q})) for k in range(8)]
    np.testing.assert_allclose(hermite_coefficients(square, q, 8), expected, rtol=1e-12, atol=1e-14)


def test_the_hermite_series_is_complete():
    """Parseval: the squares add up to E f^2, the tail of a kink's series falling like k^(-3/2)."""
    f, q = CST.phi**2, 0.6
    coefficients = hermite_coefficients(f, q, 2000)
    assert coefficients @ coefficients == pytest.approx(float(evaluate(maps.moment(f, 2), {"q": q})), rel=1e-5)


def test_relu_has_the_known_five_over_width():
    """log ||g||^2 gains 5 / n per plain layer, 3 kappa - 1 with kappa = 2, and nothing through x."""
    found = spread(edge_of_chaos("relu"), alpha=1, width=100, depth=40)
    assert found.log_gradient_sd == pytest.approx(math.sqrt(5 * 40 / 100), rel=1e-3)
    # The chain of the variance: a random walk of steps 5 / n, and 2 / n for the sample of the last layer.
    assert found.variance_sd == pytest.approx(math.sqrt((5 * 40 + 2) / 100), rel=1e-3)


def test_a_plain_chain_has_its_stationary_spread():
    """Var x = Var(q) + 2 / n, Var(q) = sigma_w2^2 Var(phi^2) / (n (1 - V'^2)), of the exact chain to leading order."""
    fourth, second = (float(evaluate(maps.moment(CRELU.phi, k), {"q": 1})) for k in (4, 2))
    chain = CRELU.sigma_w2**2 * (fourth - second**2) / (1 - CRELU.slope**2)
    found = spread(CRELU, alpha=1, width=300, depth=200).variance_sd
    assert found == pytest.approx(math.sqrt((chain + 2) / 300), rel=1e-6)


@pytest.mark.parametrize(("design", "alpha", "depth"), [(CRELU, 0.4, 12), (CST, 0.6, 8)], ids=["crelu", "cst"])
def test_random_networks_have_this_spread(design, alpha, depth):
    """A deviation of N normals has the relative standard error 1 / sqrt(2 N); what is left out is below that."""
    width, networks = 100, 250
    variances, gradients = Networks(design, width=width, networks=networks).after(alpha, depth)
    found = spread(design, alpha=alpha, width=width, depth=depth)
    allowed = 3 / math.sqrt(2 * networks)
    assert variances.std().item() / design.q_star == pytest.approx(found.variance_sd, rel=allowed)
    assert gradients.log().std().item() == pytest.approx(found.log_gradient_sd, rel=allowed)


@pytest.mark.parametrize("design", [CRELU, CST], ids=["crelu", "cst"])
def test_the_variance_spreads_as_said_over_many_networks(design):
    """Its deviation to 1.6 %, three standard errors; what is left out is of order 1 / width."""
    alpha, width, depth, networks = 0.3, 400, 25, 4000
    variances = Networks(design, width=width, networks=networks).variances_after(alpha, depth) / design.q_star
    found = spread(design, alpha=alpha, width=width, depth=depth).variance_sd
    assert variances.std().item() == pytest.approx(found, rel=3 / math.sqrt(2 * networks))


def test_mixing_helps_the_gradient_up_to_a_few_plain_layers_and_not_beyond():
    """The table of the module."""
    residual = {0.1: 0.56, 1: 13.9, 2: 39.7, 5: 166, 20: 1178}
    plain = {1: 21.0, 2: 44.8, 5: 133, 20: 680}
    for t, expected in residual.items():
        found = spread(CRELU, alpha=math.sqrt(t / 2000), width=1, depth=2000).log_gradient_sd ** 2
        assert found == pytest.approx(expected, rel=5e-3)
    for t, expected in plain.items():
        assert spread(CRELU, alpha=1, width=1, depth=t).log_gradient_sd ** 2 == pytest.approx(expected, rel=5e-3)
    assert [residual[t] < plain[t] for t in plain] == [True, True, False, False]


def test_the_first_part_of_the_spread_has_no_factor_of_sparsity():
    little = spread(CRELU, alpha=math.sqrt(1e-3 / 400), width=300, depth=400).log_gradient_sd
    assert little == pytest.approx(math.sqrt(4e-3 / 300), rel=5e-3)


def test_the_scale_of_the_variance_changes_nothing():
    scaled = edge_of_chaos("crelu", sparsity=0.85, slope=0.7, q_star=4.0)
    one, four = (spread(d, alpha=0.3, width=100, depth=20) for d in (CRELU, scaled))
    assert four.variance_sd == pytest.approx(one.variance_sd, rel=1e-10)
    assert four.log_gradient_sd == pytest.approx(one.log_gradient_sd, rel=1e-10)


@pytest.mark.parametrize("wanted", [0.05, 0.5])
def test_the_largest_mixing_has_the_wanted_spread(wanted):
    alpha = largest_mixing(CRELU, width=300, depth=50, log_gradient_sd=wanted)
    assert spread(CRELU, alpha=alpha, width=300, depth=50).log_gradient_sd == pytest.approx(wanted, rel=1e-9)
    below = [spread(CRELU, alpha=a, width=300, depth=50).log_gradient_sd for a in np.linspace(0.05, 1, 6) * alpha]
    assert below == sorted(below)


def test_a_plain_network_with_less_is_left_alone():
    assert largest_mixing(CRELU, width=300, depth=50, log_gradient_sd=3.0) == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 0.0}, r"spread: need alpha in \(0, 1\], got 0"),
        ({"alpha": 1.5}, "got 1.5; 1 is a plain layer"),
        ({"width": 0}, "need a whole width from 1 to 131072, got 0"),
        ({"depth": 0}, "need a whole depth from 1 to 100000, got 0"),
    ],
)
def test_what_spread_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        spread(CRELU, **({"alpha": 0.5, "width": 10, "depth": 5} | change))


def test_other_refusals():
    with pytest.raises(ValueError, match="need a continuous piecewise-linear activation, got squared-relu"):
        spread(replace(CRELU, phi=member("squared-relu")), alpha=0.5, width=10, depth=5)
    with pytest.raises(ValueError, match="need log_gradient_sd > 0, got 0"):
        largest_mixing(CRELU, width=10, depth=5, log_gradient_sd=0.0)
