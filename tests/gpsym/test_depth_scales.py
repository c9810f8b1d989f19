"""Depth scales against the theory note, iteration of the correlation map, and the chain at finite width."""

import math

import pytest

from gpsym import maps
from gpsym.depth_scales import (
    correlation_rate,
    gradient_spread,
    greatest_depth,
    least_width,
    merging_depth,
)
from gpsym.design import edge_of_chaos
from gpsym.finite_width import excursion_probability, finite_width
from gpsym.formula import Q
from gpsym.numeric import evaluate

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
CST = edge_of_chaos("cst", sparsity=0.7, slope=0.8)


def test_correlation_rate_is_that_of_theorem_8():
    """A = sigma_w2 sum c_k^2 p(t_k) / (2 sqrt pi) at q_star = 1; ReLU's 9 pi^2 / 2 is (3 / (2 A))^2."""
    density = [math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi) for t in (CRELU.tau, CRELU.tau + CRELU.m)]
    assert correlation_rate(CRELU) == pytest.approx(CRELU.sigma_w2 * sum(density) / (2 * math.sqrt(math.pi)), rel=1e-12)
    assert (1.5 / correlation_rate(edge_of_chaos("relu"))) ** 2 == pytest.approx(9 * math.pi**2 / 2, rel=1e-12)


def test_merging_depth_counts_layers():
    """Before the asymptotic law sets in it is the number of layers, by the map to all digits."""
    design = CST
    formula = maps.correlation_map(design.phi, variances=(Q, Q))
    rho, layers = 0.2, 8
    for _ in range(layers):
        values = {"q": 1, "rho": rho, "sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2}
        rho = float(evaluate(formula, values))
    assert merging_depth(design, (1 - rho) * 1.0001, 0.2) == layers
    assert merging_depth(design, (1 - rho) * 0.9999, 0.2) == layers + 1


def test_merging_depth_follows_the_asymptotic_law():
    """Theory, theorem 8: (1 - rho_l) l^2 is 6.64 at l = 200, and 7.31 in the limit."""
    assert merging_depth(CRELU, 6.64 / 200**2) == pytest.approx(200, rel=0.01)
    depth = merging_depth(CRELU, 1e-14)
    assert 1e-14 * depth**2 == pytest.approx(7.31, rel=1e-3)


def test_a_linear_activation_keeps_correlations():
    assert merging_depth(edge_of_chaos("identity"), 1e-3) == math.inf


@pytest.mark.parametrize("design", [CRELU, CST])
def test_gradients_spread_as_depth_over_width(design):
    """Var log |g|^2 grows by c / n a layer, in networks so wide that nothing but q_star counts."""
    width = 2**15
    deep, shallow = (finite_width(design, width=width, depth=depth).log_gradient_sd for depth in (600, 300))
    assert deep is not None
    assert shallow is not None
    assert width * (deep**2 - shallow**2) / 300 == pytest.approx(gradient_spread(design), rel=2e-3)


def test_gradient_spread_needs_one_slope_and_a_stable_point():
    with pytest.raises(ValueError, match=r"one slope besides 0, got others for leaky-relu"):
        gradient_spread(edge_of_chaos("leaky-relu"))
    with pytest.raises(ValueError, match=r"need V'\(q_star\) < 1, got 1"):
        gradient_spread(edge_of_chaos("st", sparsity=0.5))


def test_greatest_depth_is_the_last_safe_one():
    depth = greatest_depth(CST, width=64, risk=0.02)
    risks = finite_width(CST, width=64, depth=depth + 1).excursion_by_depth
    assert risks[depth - 1] <= 0.02 < risks[depth]
    assert greatest_depth(CST, width=64, risk=1e-9) == 0
    assert greatest_depth(CRELU, width=2000, risk=0.01, most=50) == 50


def test_least_width_is_the_first_safe_one():
    width = least_width(CST, depth=20, risk=0.02)
    assert width is not None
    assert excursion_probability(CST, width=width, depth=20) <= 0.02
    assert excursion_probability(CST, width=width - 1, depth=20) > 0.02
    assert least_width(edge_of_chaos("st", sparsity=0.85), depth=1000, risk=1e-6) is None


@pytest.mark.parametrize(("precision", "correlation"), [(0.0, 0.0), (1.0, 0.0), (0.1, 1.0), (0.1, -1.5)])
def test_merging_depth_out_of_range(precision, correlation):
    with pytest.raises(ValueError, match=r"merging_depth: need "):
        merging_depth(CRELU, precision, correlation)
