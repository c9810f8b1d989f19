"""The formulas against theory: what is known of named activations in closed form, and limits."""

import mpmath
import pytest
import sympy as sp

from gpsym import evaluate, maps, member
from gpsym.equality import Equal, equal
from gpsym.formula import SIGMA_W2, TAU, A, M, Q
from gpsym.members import MEMBERS

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


# Members beyond the paper, by hand.


@pytest.mark.parametrize(
    ("name", "quantity", "expected"),
    [
        ("identity", "second_moment", Q),
        ("abs", "second_moment", Q),
        ("abs", "mean", sp.sqrt(2 * Q / sp.pi)),
        ("abs", "output_variance", Q * (1 - 2 / sp.pi)),
        ("sign", "second_moment", 1),
        ("sign", "chi_1", sp.oo),
        ("jump-relu", "chi_1", sp.oo),
        ("hard-shrink", "chi_1", sp.oo),
        ("relu", "mean", sp.sqrt(Q / (2 * sp.pi))),
        ("prelu", "second_moment", Q * (1 + A**2) / 2),
        ("prelu", "chi_1", SIGMA_W2 * (1 + A**2) / 2),
        ("squared-relu", "moment_3", 15 * Q**3 / 2),
        ("squared-relu", "chi_1", 2 * Q * SIGMA_W2),
        ("squared-relu", "derivative_moment_0_2", Q),
        ("squared-relu", "sparsity", sp.S.Half),
        ("hard-tanh", "mean", 0),
        ("hard-tanh", "sparsity", 0),
        ("hard-sigmoid", "mean", sp.S.Half),
        ("identity", "hermite_1", sp.sqrt(Q)),
        ("identity", "hermite-3", 0),
        ("relu", "hermite_2", sp.sqrt(Q) / (2 * sp.sqrt(sp.pi))),
        ("sign", "derivative_moment_0_1", 0),
        ("relu", "moment_0", 1),
    ],
)
def test_members_known_by_hand(name, quantity, expected):
    got = maps.derive(member(name), quantity).expression
    assert got == expected or equal(got, expected) == Equal()


def test_correlation_rate_of_relu_is_that_of_cho_and_saul():
    """R'(rho) = 1 - arccos(rho) / pi at sigma_w2 = 2, so R'' = 1 / (pi sqrt(1 - rho^2)) and A = 1 / (pi sqrt 2)."""
    rate = maps.correlation_rate(member("relu")).expression.subs(SIGMA_W2, 2)
    assert equal(rate, 1 / (sp.pi * sp.sqrt(2))) == Equal()
    assert maps.correlation_rate(member("sign")).expression == sp.oo


def test_two_inputs_that_are_one():
    """q1 = q2 and rho = 1: the kernel is the second moment, the correlation slope chi_1, whatever the knots."""
    for name in ("clipped-relu", "hard-swish", "prelu", "squared-relu"):
        phi = member(name)
        same = {"rho": 1, "variances": (Q, Q)}
        assert equal(maps.kernel(phi, **same).expression, maps.second_moment(phi).expression) == Equal()
        assert equal(maps.correlation_slope(phi, **same).expression, maps.chi_1(phi).expression) == Equal()
        at_fixed_point = maps.correlation_map(phi, **same).expression * Q
        assert equal(at_fixed_point, maps.variance_map(phi).expression) == Equal()


@pytest.mark.parametrize("order", [-1, 0.5])
def test_orders(order):
    with pytest.raises(ValueError, match=r"moment: need an order 0, 1, 2, ..., 64, got"):
        maps.moment(member("relu"), order)


def test_orders_in_names_and_refusals():
    assert maps.derive(member("relu"), "moment-4") == maps.moment(member("relu"), 4)
    assert maps.derive(member("relu"), "derivative_moment_0_1") == maps.derivative_moment(member("relu"), 0, 1)
    assert maps.derive(member("relu"), "kernel", rho=1) == maps.kernel(member("relu"), rho=1)
    with pytest.raises(ValueError, match="need a quantity of two inputs for rho, got slope"):
        maps.derive(member("relu"), "slope", rho=1)
    with pytest.raises(ValueError, match="kernel: need a correlation -1, 0 or 1, or none, got 1/2"):
        maps.kernel(member("relu"), rho=sp.S.Half)


def test_variables_come_in_one_order():
    assert [str(v) for v in maps.ntk(member("cst")).variables] == [
        "q1", "q2", "rho", "tau", "m", "sigma_w2", "sigma_b2", "theta"
    ]  # fmt: skip
    assert [str(v) for v in maps.variance_map(member("cst")).variables] == ["q", "tau", "m", "sigma_w2", "sigma_b2"]
    assert maps.sparsity(member("crelu")).variables == (Q, TAU, M)


def test_meanings_name_the_derivative():
    meanings = [maps.derive(member("relu"), quantity).meaning for quantity in ("slope", "curvature")]
    assert [r"\frac{d}{dq}\," in meanings[0], r"\frac{d^2}{dq^2}\," in meanings[1]] == [True, True]


def test_unknown_quantity():
    with pytest.raises(ValueError, match="unknown quantity 'kurtosis'; choose from variance"):
        maps.derive(member("relu"), "kurtosis")
