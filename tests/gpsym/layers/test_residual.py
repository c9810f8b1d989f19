"""Residual maps against the plain ones, quadrature of their definitions, and random networks."""

import math

import pytest
import sympy as sp
import torch
from torch import nn

import gpsym.torch as gt
from gpsym import edge_of_chaos, equal, evaluate, lambdify, maps, member, verify_formula
from gpsym.equality import Equal
from gpsym.formula import ALPHA, RHO, SIGMA_B2, SIGMA_W2, Q
from gpsym.layers import residual
from gpsym.members import MEMBERS
from gpsym.stability import fixed_points
from gpsym.verify import Verified
from tests.gpsym.layers.networks import Networks, assert_within_standard_errors

CONTINUOUS = [name for name, make in MEMBERS.items() if not make().jumps()]
FORMULAS = {
    "variance_map": residual.variance_map,
    "slope": residual.slope,
    "curvature": residual.curvature,
    "chi_1": residual.chi_1,
}
CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7, q_star=2.0)


def values(design, alpha, **more):
    return {"q": design.q_star, "sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2, "alpha": alpha, **more}


def number(formula, **given):
    return float(evaluate(formula, {str(v): given[str(v)] for v in formula.variables}))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_fixed_points_slope_and_gradient(name):
    """V_alpha - q = alpha^2 (V - q), its derivatives, and chi_1: each an identity in q and all parameters."""
    phi = member(name)
    plain, slope, curvature = (f(phi).expression for f in (maps.variance_map, maps.slope, maps.curvature))
    v = residual.variance_map(phi).expression
    assert equal(v - Q, ALPHA**2 * (plain - Q)) == Equal()
    assert equal(sp.diff(v, Q), residual.slope(phi).expression) == Equal()
    assert equal(residual.slope(phi).expression, 1 - ALPHA**2 * (1 - slope)) == Equal()
    assert equal(residual.curvature(phi).expression, ALPHA**2 * curvature) == Equal()
    steepest = residual.correlation_slope(phi).at_rho(sp.S.One)
    assert equal(steepest, residual.chi_1(phi).expression) == Equal()
    assert equal(Q * residual.correlation_map(phi).at_rho(sp.S.One), v) == Equal()


def test_fixed_points_stay_where_they_are():
    design = edge_of_chaos("cst", sparsity=0.85, slope=0.9)
    plain, mixed = fixed_points(design), residual.fixed_points(design, 0.5)
    assert [(p.q, p.kind) for p in mixed] == [(p.q, p.kind) for p in plain]
    for point in mixed:
        at = values(design, 0.5) | {"q": point.q}
        assert point.slope == pytest.approx(number(residual.slope(design.phi), **at), rel=1e-12)
        assert point.chi_1 == pytest.approx(number(residual.chi_1(design.phi), **at), rel=1e-12)
    assert residual.fixed_points(design, 1.0) == plain


def test_fixed_points_refuse_an_alpha_of_zero():
    with pytest.raises(ValueError, match=r"fixed_points: need alpha in \(0, 1\], got 0"):
        residual.fixed_points(CRELU, 0.0)


@pytest.mark.parametrize("name", residual.QUANTITIES)
def test_every_quantity_is_under_its_name(name):
    assert residual.QUANTITIES[name](member("crelu")).name == f"residual_{name}"


@pytest.mark.parametrize("name", ["relu", "clipped-relu"])
def test_derivatives_of_the_correlation_map(name):
    phi = member(name)
    along, steepness, bend = (
        f(phi).expression
        for f in (residual.correlation_map, residual.correlation_slope, residual.correlation_curvature)
    )
    assert equal(sp.diff(along, RHO), steepness) == Equal()
    assert equal(sp.diff(steepness, RHO), bend) == Equal()


def test_a_branch_alone_is_the_plain_layer():
    for name in ("relu", "clipped-relu"):
        for map_of, plain in (("variance_map", maps.variance_map), ("chi_1", maps.chi_1)):
            assert equal(FORMULAS[map_of](member(name)).expression.subs(ALPHA, 1), plain(member(name)).expression) == (
                Equal()
            )


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_verified_by_quadrature(name):
    verdict = verify_formula(FORMULAS[name](member("clipped-relu")), digits=20, points=2)
    assert isinstance(verdict, Verified)


def test_correlations_are_slower_by_the_fourth_power():
    """(1 - rho_l) l^2 -> (3 / (2 alpha^2 A))^2; at l = 20,000 it is still below, by a part of order log(l) / l."""
    alpha, layers = 0.5, 20_000
    relu = residual.correlation_map(member("relu")).expression.subs({Q: 1, SIGMA_W2: 2, SIGMA_B2: 0, ALPHA: 1 / 2})
    step, rho = sp.lambdify(RHO, relu, "math"), 0.0
    for _ in range(layers):
        rho = step(rho)
    rate = number(residual.correlation_rate(member("relu")), q=1, sigma_w2=2, alpha=alpha)
    limit = (3 / (2 * rate)) ** 2
    assert limit == pytest.approx(9 * math.pi**2 / 2 / alpha**4, rel=1e-14)
    assert (1 - rho) * layers**2 == pytest.approx(limit, rel=2e-2)
    assert (1 - rho) * layers**2 < limit


def test_the_rate_is_the_limit_of_its_definition():
    rate = residual.correlation_rate(member("relu")).expression
    assert equal(rate, ALPHA**2 * maps.correlation_rate(member("relu")).expression) == Equal()
    bend = residual.correlation_curvature(member("relu")).expression
    assert equal(sp.limit(bend * sp.sqrt(1 - RHO), RHO, 1, "-").subs(SIGMA_W2, 2), rate.subs(SIGMA_W2, 2)) == Equal()


def test_random_networks_have_these_variances_and_correlations():
    """One layer, exact in mean at any width, from a variance that is no fixed point."""
    alpha, off = 0.6, 1.5
    networks = Networks(CRELU, width=50, networks=2000)
    u, v = (off * h for h in networks.first(correlation=0.3))
    u_next, v_next = networks.mixed(alpha, u, v)
    at = values(CRELU, alpha) | {"q": off**2 * CRELU.q_star}
    assert_within_standard_errors(u_next.square().mean(1), number(residual.variance_map(CRELU.phi), **at))
    # The covariance of two inputs; q is no fixed point, and q R is the covariance all the same.
    covariance = at["q"] * number(residual.correlation_map(CRELU.phi), **at, rho=0.3)
    assert_within_standard_errors((u_next * v_next).mean(1), covariance)


def test_random_networks_have_these_gradients():
    """E ||J^T g||^2 = chi_1 for one layer, ||g|| = 1, off the edge of chaos."""
    alpha, off = 0.6, 1.5
    networks = Networks(CRELU, width=50, networks=2000)
    h = (off * networks.first()).requires_grad_()
    (after,) = networks.mixed(alpha, h)
    g = networks.normal(50)
    (gradient,) = torch.autograd.grad((after * g / g.norm(dim=1, keepdim=True)).sum(), h)
    at = values(CRELU, alpha) | {"q": off**2 * CRELU.q_star}
    expected = number(residual.chi_1(CRELU.phi), **at)
    assert expected == pytest.approx(1.1, abs=0.01)
    assert_within_standard_errors(gradient.square().sum(1), expected)


def perturbed(alpha, layers):
    """What remains of a small relative perturbation of q_star."""
    step = lambdify(residual.variance_map(CRELU.phi))
    q = CRELU.q_star * (1 + 1e-6)
    for _ in range(layers):
        q = float(step(**{**values(CRELU, alpha), "q": q}))
    return (q / CRELU.q_star - 1) / 1e-6


def test_depth_enters_through_alpha_squared_times_depth():
    """(1 - alpha^2 (1 - V'))^L -> exp(-(1 - V') t); its error is of order t / L."""
    plain_layers = 4.0
    limit = math.exp(-(1 - CRELU.slope) * plain_layers)
    for depth in (50, 200):
        assert perturbed(residual.mixing(depth, plain_layers), depth) == pytest.approx(limit, rel=4 / depth)
    assert perturbed(1.0, 4) == pytest.approx(CRELU.slope**4, rel=1e-4)
    assert CRELU.slope**4 < limit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0), r"need a depth 1, 2, 3, \.\.\., got 0"),
        ((10, 0.0), r"plain_layers in \(0, 10\], got 0"),
        ((10, 11.0), "act as fewer plain ones"),
        ((10, math.nan), "got nan"),
    ],
)
def test_mixing_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        residual.mixing(*arguments)


def test_formulas_refuse_an_alpha_above_one():
    with pytest.raises(ValueError, match="need 1 - alpha >= 0"):
        evaluate(residual.slope(member("relu")), {"q": 1, "sigma_w2": 2, "alpha": 1.5})


# The module.


def test_a_deep_residual_network_keeps_variance_and_sparsity():
    """100 layers; the variance moves by `spread` around q_star, of which this is one sample, to 4 deviations."""
    from gpsym.layers.fluctuation import spread

    width, depth = 400, 100
    alpha = residual.mixing(depth, 5)
    blocks = [
        gt.Residual(nn.Sequential(gt.activation_module(CRELU), nn.Linear(width, width)), alpha) for _ in range(depth)
    ]
    model = nn.Sequential(nn.Linear(30, width), *blocks, gt.activation_module(CRELU), nn.Linear(width, 1))
    report = gt.init_(model, CRELU, generator=torch.Generator().manual_seed(0))
    assert [layer.role for layer in report] == ["first", *["hidden"] * depth, "readout"]
    x = torch.randn(1, 30, generator=torch.Generator().manual_seed(1))
    h = model[:-2](x * math.sqrt(30) / x.norm())
    allowed = 4 * spread(CRELU, alpha=alpha, width=width, depth=depth).variance_sd
    assert h.square().mean().item() / CRELU.q_star == pytest.approx(1, abs=allowed)
    zeros = model[-2](h).eq(0).double().mean().item()
    # A Binomial's deviation, and what the variance moves.
    assert zeros == pytest.approx(CRELU.sparsity, abs=4 * math.sqrt(0.85 * 0.15 / width) + allowed / 4)
    # Not so without the skip's factor: each layer adds alpha^2 q.
    assert (1 + alpha**2) ** depth > 100


def test_the_module_mixes_and_refuses():
    double = nn.Linear(2, 2, bias=False)
    nn.init.eye_(double.weight)
    block = gt.Residual(double, 0.6)
    assert block(torch.tensor([[1.0, -2.0]])).flatten().tolist() == pytest.approx([1.4, -2.8])
    assert repr(block).startswith("Residual(\n  alpha=0.6")
    with pytest.raises(ValueError, match=r"Residual: need alpha in \(0, 1\], got 0"):
        gt.Residual(double, 0.0)
    with pytest.raises(ValueError, match=r"need a branch from \(1, 3\) to the same, got \(1, 2\)"):
        gt.Residual(nn.Linear(3, 2), 0.5)(torch.zeros(1, 3))
