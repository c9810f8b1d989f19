"""What is left of the theory where activations are normalised, against random networks of torch."""

import math

import pytest
import sympy as sp
import torch
from torch import nn

import gpsym.torch as gt
from gpsym import edge_of_chaos, equal, evaluate, maps, member, verify_formula
from gpsym.equality import Equal
from gpsym.formula import SIGMA_B2, SIGMA_W2, Q
from gpsym.layers import normalised
from gpsym.verify import Verified
from tests.gpsym.layers.networks import assert_within_standard_errors

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7, q_star=2.0)


@pytest.mark.parametrize("name", ["relu", "clipped-relu", "soft-threshold"])
def test_the_edge_of_chaos_is_a_ratio_of_variances(name):
    """chi_1 = 1 for sigma_b2 = sigma_w2 G, G = q E phi'^2 - E phi^2, whatever sigma_w2 is."""
    phi = member(name)
    gradient = maps.chi_1(phi).expression / SIGMA_W2
    ratio = Q * gradient - maps.second_moment(phi).expression
    assert equal(normalised.chi_1(phi).expression.subs(SIGMA_B2, SIGMA_W2 * ratio), 1) == Equal()
    assert equal(normalised.correlation_map(phi).at_rho(sp.S.One), 1) == Equal()


def test_a_common_factor_of_both_variances_changes_nothing():
    c = sp.Symbol("c", positive=True)
    scaled = {SIGMA_W2: c * SIGMA_W2, SIGMA_B2: c * SIGMA_B2}
    for quantity in (normalised.chi_1, normalised.correlation_map):
        expression = quantity(member("clipped-relu")).expression
        assert equal(expression.subs(scaled, simultaneous=True), expression) == Equal()


def test_it_is_verified_by_quadrature():
    assert isinstance(verify_formula(normalised.chi_1(member("clipped-relu")), digits=20, points=2), Verified)


@pytest.mark.parametrize("bias", [CRELU.sigma_b2, 0.0])
@pytest.mark.parametrize("norm", ["rms", "layer"])
def test_random_networks_have_these_gradients(bias, norm):
    """From z to z' one layer on; without bias gradients grow by more than 2.  Width 200: a bias of order 1 / n."""
    n, networks = 200, 400
    generator = torch.Generator().manual_seed(0)
    phi = gt.activation_module(CRELU)
    normalise = nn.RMSNorm(n) if norm == "rms" else nn.LayerNorm(n)
    nn.init.constant_(normalise.weight, math.sqrt(CRELU.q_star))

    z = normalise(torch.randn(networks, n, generator=generator)).detach().requires_grad_()
    weights = torch.randn(networks, n, n, generator=generator) * math.sqrt(CRELU.sigma_w2 / n)
    h = torch.bmm(weights, phi(z).unsqueeze(2)).squeeze(2)
    h = h + torch.randn(networks, n, generator=generator) * math.sqrt(bias)
    after = normalise(h)
    assert after.detach().square().mean(1) == pytest.approx(torch.full((networks,), CRELU.q_star), rel=1e-4)
    g = torch.randn(networks, n, generator=generator)
    (gradient,) = torch.autograd.grad((after * g).sum(), z)
    at = {"q": CRELU.q_star, "sigma_w2": CRELU.sigma_w2, "sigma_b2": bias}
    formula = normalised.chi_1(CRELU.phi)
    expected = float(evaluate(formula, {str(v): at[str(v)] for v in formula.variables}))
    assert expected == pytest.approx(1) if bias else expected > 2
    growth = gradient.square().sum(1) / g.square().sum(1)
    # 1 / V over networks has the mean (1 + Var(q) / q^2) / V, and the norm takes one direction, or two.
    assert_within_standard_errors(growth, expected, bias=expected * (CRELU.sigma_w2**2 * 0.5 + 2) / n)
