"""The formulas against theory: what is known of named activations in closed form, and limits."""

import mpmath
import pytest
import sympy as sp

from gpsym import evaluate, maps, member
from gpsym.activation import MEMBERS
from gpsym.formula import SIGMA_W2, TAU, M, Q

POINT = {"q": 2, "tau": sp.Rational(3, 2), "m": sp.Rational(1, 2), "sigma_w2": 3, "sigma_b2": sp.Rational(1, 10)}


def assert_close(got, expected, what):
    """Equal to 28 of the 30 digits asked for."""
    with mpmath.workdps(40):
        expected = sp.sympify(expected).evalf(40)._to_mpmath(140)
        assert abs(got - expected) <= abs(expected) * mpmath.mpf("1e-28"), what


def tail(t):
    """(Q(t), p(t)) of the standard normal."""
    return sp.erfc(t / sp.sqrt(2)) / 2, sp.exp(-(t**2) / 2) / sp.sqrt(2 * sp.pi)


def by_hand(sides, clipped):
    """Second moment, E phi'^2, V' / sigma_w2 and V'' / sigma_w2, as theory has them, at POINT."""
    q, tau, m = (POINT[n] for n in ("q", "tau", "m"))
    a, b, mu = tau / sp.sqrt(q), (tau + m) / sp.sqrt(q), m / sp.sqrt(q)
    (qa, pa), (qb, pb) = tail(a), tail(b)

    def h1(t, tail_, p):
        return p - t * tail_

    def h2(t, tail_, p):
        return (1 + t**2) * tail_ - t * p

    if not clipped:
        return sides * q * h2(a, qa, pa), sides * qa, sides * qa, sides * a * pa / (2 * q)
    moment = h2(a, qa, pa) - h2(b, qb, pb) - 2 * mu * h1(b, qb, pb)
    curvature = (a * pa - pb * (a + mu * b**2)) / (2 * q)
    return sides * q * moment, sides * (qa - qb), sides * (qa - qb - mu * pb), sides * curvature


@pytest.mark.parametrize(
    ("name", "sides", "clipped"),
    [
        ("shifted-relu", 1, False),
        ("soft-threshold", 2, False),
        ("clipped-relu", 1, True),
        ("clipped-soft-threshold", 2, True),
    ],
)
def test_derived_formulas_are_those_of_theory(name, sides, clipped):
    moment, gradient, slope, curvature = by_hand(sides, clipped)
    phi = member(name)
    expected = {
        "variance": 3 * moment + POINT["sigma_b2"],
        "chi_1": 3 * gradient,
        "slope": 3 * slope,
        "curvature": 3 * curvature,
        "sparsity": 1 - sides * tail(POINT["tau"] / sp.sqrt(POINT["q"]))[0],
    }
    for quantity, value in expected.items():
        got = evaluate(maps.derive(phi, quantity), POINT, digits=30)
        assert_close(got, value, quantity)


def test_relu_is_half_the_identity():
    assert maps.variance_map(member("relu")).expression == SIGMA_W2 * Q / 2 + sp.Symbol("sigma_b2", nonnegative=True)
    assert maps.curvature(member("relu")).expression == 0


def test_no_quadrature_is_left_in_any_expression():
    for name in MEMBERS:
        for quantity in maps.QUANTITIES:
            assert not maps.derive(member(name), quantity).expression.has(sp.Integral, sp.Derivative, sp.Piecewise)


def test_tails_are_complementary_error_functions():
    for name in ("shifted-relu", "soft-threshold", "clipped-relu", "clipped-soft-threshold"):
        assert not maps.variance_map(member(name)).expression.has(sp.erf)


@pytest.mark.parametrize(("clipped", "unclipped"), [("crelu", "relu-tau"), ("cst", "st")])
def test_a_far_clip_changes_nothing(clipped, unclipped):
    point = {**POINT, "m": 100}
    for quantity in maps.QUANTITIES:
        far, none = (evaluate(maps.derive(member(n), quantity), point, digits=30) for n in (clipped, unclipped))
        assert_close(far, none, quantity)


def test_scale_leaves_slopes_unchanged():
    """Theorem 9: (tau, m, q, sigma_b2) -> (c tau, c m, c^2 q, c^2 sigma_b2)."""
    c = sp.Rational(7, 3)
    scaled = {
        **POINT,
        "q": c**2 * 2,
        "tau": c * POINT["tau"],
        "m": c * POINT["m"],
        "sigma_b2": c**2 * POINT["sigma_b2"],
    }
    phi = member("cst")
    for quantity, power in {"variance": 2, "slope": 0, "curvature": -2, "chi_1": 0, "sparsity": 0}.items():
        formula = maps.derive(phi, quantity)
        before, after = evaluate(formula, POINT, digits=30), evaluate(formula, scaled, digits=30)
        with mpmath.workdps(40):
            assert_close(after, before * (mpmath.mpf(7) / 3) ** power, quantity)


def test_variables_come_in_one_order():
    assert [str(v) for v in maps.variance_map(member("cst")).variables] == ["q", "tau", "m", "sigma_w2", "sigma_b2"]
    assert maps.sparsity(member("crelu")).variables == (Q, TAU, M)


def test_unknown_quantity():
    with pytest.raises(ValueError, match="unknown quantity 'kurtosis'; choose from variance"):
        maps.derive(member("relu"), "kurtosis")
