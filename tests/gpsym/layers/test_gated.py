"""Gated maps against products of expectations, theorems of theirs, and random networks of torch."""

import math

import pytest
import sympy as sp
import torch
from torch import nn

import gpsym.torch as gt
from gpsym import edge_of_chaos, equal, evaluate, identity, lambdify, maps, member, relu, verify_formula
from gpsym.equality import Equal
from gpsym.formula import RHO, SIGMA_B2, SIGMA_W2, Q
from gpsym.layers import gated
from gpsym.verify import Verified
from tests.gpsym.layers.networks import assert_within_standard_errors

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7).phi
CST = edge_of_chaos("cst", sparsity=0.3, slope=0.7).phi
PAIRS = [(name, None) for name in ("relu", "soft-threshold", "clipped-relu", "leaky-relu")] + [("relu", "hard-tanh")]


def pair(names):
    phi, psi = names
    return member(phi), psi and member(psi)


@pytest.mark.parametrize("names", PAIRS, ids=str)
def test_derivatives_and_chi_1_are_those_of_the_maps(names):
    phi, psi = pair(names)
    v, slope, curvature = (f(phi, psi).expression for f in (gated.variance_map, gated.slope, gated.curvature))
    assert equal(sp.diff(v, Q), slope) == Equal()
    assert equal(sp.diff(slope, Q), curvature) == Equal()
    correlation, steepness = gated.correlation_map(phi, psi), gated.correlation_slope(phi, psi)
    assert equal(sp.diff(correlation.expression, RHO), steepness.expression) == Equal()
    assert equal(steepness.at_rho(sp.S.One), gated.chi_1(phi, psi).expression) == Equal()
    assert equal(Q * correlation.at_rho(sp.S.One), v) == Equal()


@pytest.mark.parametrize("name", ["relu", "shifted-relu", "soft-threshold"])
def test_marginality_holds_where_phi_vanishes_at_its_knots(name):
    phi = member(name)
    assert equal(gated.slope(phi).expression, gated.chi_1(phi).expression) == Equal()


def test_a_clip_lowers_the_slope_by_what_it_takes_from_the_plain_one_times_q():
    phi = member("clipped-relu")
    taken = maps.slope(phi).expression - maps.chi_1(phi).expression
    assert equal(gated.slope(phi).expression - gated.chi_1(phi).expression, Q * taken) == Equal()


def test_the_gated_linear_unit_of_relu_is_unstable_from_above():
    """V - q = (q - q*)^2 / (2 q*), by hand."""
    found = gated.edge_of_chaos(relu(), q_star=3.0)
    v = gated.variance_map(relu()).expression.subs({SIGMA_W2: sp.Rational(1, 3), SIGMA_B2: sp.Rational(3, 2)})
    assert (found.sigma_w2, found.sigma_b2) == (pytest.approx(1 / 3), 1.5)
    assert equal(v - Q, (Q - 3) ** 2 / 6) == Equal()
    assert (found.slope, found.tail_slope) == (1.0, math.inf)


@pytest.mark.parametrize("quantity", [gated.variance_map, gated.slope, gated.curvature, gated.chi_1, gated.sparsity])
def test_formulas_are_verified_by_quadrature(quantity):
    assert isinstance(verify_formula(quantity(member("clipped-relu")), digits=20, points=2), Verified)
    assert isinstance(verify_formula(quantity(relu(), member("hard-tanh")), digits=20, points=2), Verified)


@pytest.mark.parametrize("psi", [None, CST], ids=["identity", "clipped"])
def test_the_edge_of_chaos_is_one(psi):
    found = gated.edge_of_chaos(CRELU, psi, q_star=0.5)
    at = {"q": 0.5, "sigma_w2": found.sigma_w2, "sigma_b2": found.sigma_b2}
    for quantity, expected in ((gated.variance_map, 0.5), (gated.chi_1, 1.0), (gated.slope, found.slope)):
        formula = quantity(CRELU, psi)
        value = float(evaluate(formula, {str(v): at[str(v)] for v in formula.variables}))
        assert value == pytest.approx(expected, rel=1e-14)
    assert 0 < found.slope < 1


@pytest.mark.parametrize(("phi", "psi"), [(CRELU, None), (CST, None), (CRELU, CST), (relu(), CST), (identity(), CRELU)])
def test_the_tail_slope_is_the_limit_of_the_variance_map(phi, psi):
    found = gated.edge_of_chaos(phi, psi)
    q = 1e10
    limit = float(lambdify(gated.variance_map(phi, psi))(q=q, sigma_w2=found.sigma_w2, sigma_b2=found.sigma_b2)) / q
    assert limit == pytest.approx(found.tail_slope, rel=1e-4, abs=1e-8)
    assert (found.tail_slope == 0) == (phi == CRELU and psi == CST)


def test_a_clipped_gate_is_stable_at_q_star_and_runs_away_from_far_above():
    found = gated.edge_of_chaos(CRELU)
    assert found.slope < 1 < found.tail_slope
    step = lambdify(gated.variance_map(CRELU))
    ends = []
    for q in (1.1, 3.0):
        for _ in range(60):
            q = min(float(step(q=q, sigma_w2=found.sigma_w2, sigma_b2=found.sigma_b2)), 1e9)
        ends.append(q)
    assert ends == [pytest.approx(1, abs=1e-4), 1e9]


def test_the_rate_of_correlations_is_that_of_its_definition():
    """sqrt(1 - rho) R'' at rho = 1 - 2^-33, by R' = 1 - 2 A sqrt(eps) + ..., for both factors bent."""
    for psi in (None, CST):
        found = gated.edge_of_chaos(CRELU, psi)
        formula, rate = gated.correlation_slope(CRELU, psi), gated.correlation_rate(CRELU, psi)
        epsilon = 2.0**-33  # so that 1 - epsilon is exact
        steep = float(lambdify(formula)(q=1.0, rho=1 - epsilon, sigma_w2=found.sigma_w2))
        expected = float(lambdify(rate)(q=1.0, sigma_w2=found.sigma_w2))
        assert (1 - steep) / (2 * math.sqrt(epsilon)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("psi", [None, CST], ids=["identity", "clipped"])
def test_random_networks_have_these_variances_gradients_and_zeros(psi):
    """One layer from pre-activations of variance off q_star; exact in mean at any width."""
    found, n, networks, q = gated.edge_of_chaos(CRELU, psi), 60, 1500, 1.6
    generator = torch.Generator().manual_seed(0)
    modules = [gt.PiecewisePolynomial(phi) if phi else None for phi in (CRELU, psi)]
    gate = gt.Gated(*modules)
    h = (torch.randn(networks, 2 * n, generator=generator) * math.sqrt(q)).requires_grad_()
    x = gate(h)
    weights = torch.randn(networks, 2 * n, n, generator=generator) * math.sqrt(found.sigma_w2 / n)
    bias = torch.randn(networks, 2 * n, generator=generator) * math.sqrt(found.sigma_b2)
    after = torch.bmm(weights, x.unsqueeze(2)).squeeze(2) + bias
    g = torch.randn(networks, 2 * n, generator=generator)
    (gradient,) = torch.autograd.grad((after * g).sum(), h)
    at = {"q": q, "sigma_w2": found.sigma_w2, "sigma_b2": found.sigma_b2}
    variance, chi_1, zeros = (
        float(evaluate(f, {str(v): at[str(v)] for v in f.variables}))
        for f in (quantity(CRELU, psi) for quantity in (gated.variance_map, gated.chi_1, gated.sparsity))
    )
    assert_within_standard_errors(after.detach().square().mean(1), variance)
    assert_within_standard_errors(gradient.square().sum(1) / g.square().sum(1), chi_1)
    assert_within_standard_errors((x == 0).double().mean(1), zeros)


def test_init_initialises_gated_networks():
    """One layer of twice the size makes both factors; the variance moves by its chain's steps, below these bounds."""
    found, n = gated.edge_of_chaos(CRELU), 1000
    gate = gt.PiecewisePolynomial(CRELU)
    layers = [nn.Linear(50, 2 * n)]
    for _ in range(3):
        layers += [gt.Gated(gate), nn.Linear(n, 2 * n)]
    model = nn.Sequential(*layers, gt.Gated(gate), nn.Linear(n, 1))
    gt.init_(model, found, generator=torch.Generator().manual_seed(0))
    h = torch.ones(1, 50)
    for module in model[:-1]:
        h = module(h)
        if isinstance(module, nn.Linear):
            assert h.square().mean().item() == pytest.approx(1, abs=0.4)
        else:
            assert h.eq(0).double().mean().item() == pytest.approx(0.85, abs=0.06)


def test_refusals():
    with pytest.raises(ValueError, match="need a continuous activation with numbers for its symbols, got clipped-relu"):
        gated.edge_of_chaos(member("clipped-relu"))
    with pytest.raises(ValueError, match="got sign"):
        gated.edge_of_chaos(relu(), member("sign"))
    with pytest.raises(ValueError, match="q_star"):
        gated.edge_of_chaos(relu(), q_star=-1.0)
    with pytest.raises(ValueError, match=r"Gated: need an even size in dimension -1, got \(2, 3\)"):
        gt.Gated(nn.ReLU())(torch.zeros(2, 3))
