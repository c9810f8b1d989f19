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
from gpsym.layers.fluctuation import hermite_coefficients
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


def expected_growth(bias, n, fixed):
    """chi_1 and its correction of order 1 / n.

    On the sphere mean f(z) has no he_2 part, and where means are subtracted no he_1 part: `fixed` are the orders.
    Given the mean of phi^2, h is Gaussian: its squared norm is a chi-square of n + 1 - len(fixed) degrees of freedom,
    and the norm's Jacobian leaves as many directions less one.
    """
    at = {"q": CRELU.q_star, "sigma_w2": CRELU.sigma_w2, "sigma_b2": bias}
    formula, phi = normalised.chi_1(CRELU.phi), CRELU.phi
    chi_1 = float(evaluate(formula, {str(v): at[str(v)] for v in formula.variables}))
    squares = phi**2, phi.derivative().function ** 2
    (d, e) = (hermite_coefficients(f, CRELU.q_star, 3) for f in squares)
    moments = [float(evaluate(maps.mean(f), {"q": CRELU.q_star})) for f in (squares[0] ** 2, squares[0] * squares[1])]
    below = d[0] + bias / CRELU.sigma_w2
    parts = [0, *fixed]
    variance = (moments[0] - d[parts] @ d[parts]) / below**2
    covariance = (moments[1] - d[parts] @ e[parts]) / (below * e[0])
    free = n + 1 - len(fixed)
    return chi_1, chi_1 * (1 + (variance - covariance) / n) * (free - 1) / (free - 2)


@pytest.mark.parametrize("bias", [CRELU.sigma_b2, 0.0])
@pytest.mark.parametrize(("norm", "fixed"), [(nn.RMSNorm, [2]), (nn.LayerNorm, [1, 2])], ids=["rms", "layer"])
def test_random_networks_have_these_gradients(bias, norm, fixed):
    """From z to z' one layer on; without bias gradients grow by more than 2."""
    n, networks = 100, 500
    generator = torch.Generator().manual_seed(0)
    phi, normalise = gt.activation_module(CRELU), norm(n)
    nn.init.constant_(normalise.weight, math.sqrt(CRELU.q_star))

    z = normalise(torch.randn(networks, n, generator=generator)).detach().requires_grad_()
    weights = torch.randn(networks, n, n, generator=generator) * math.sqrt(CRELU.sigma_w2 / n)
    h = torch.bmm(weights, phi(z).unsqueeze(2)).squeeze(2)
    h = h + torch.randn(networks, n, generator=generator) * math.sqrt(bias)
    after = normalise(h)
    assert after.detach().square().mean(1).tolist() == pytest.approx([CRELU.q_star] * networks, rel=1e-4)
    g = torch.randn(networks, n, generator=generator)
    (gradient,) = torch.autograd.grad((after * g).sum(), z)
    chi_1, expected = expected_growth(bias, n, fixed)
    assert chi_1 == pytest.approx(1) if bias else chi_1 > 2
    assert_within_standard_errors(gradient.square().sum(1) / g.square().sum(1), expected)
