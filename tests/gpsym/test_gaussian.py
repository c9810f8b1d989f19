"""Gaussian expectations of ramps and their derivatives against quadrature, and each other by differentiation."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy as sp

from gpsym.activation import Activation, common
from gpsym.equality import Equal, equal
from gpsym.gaussian import expectation, pair_expectation
from gpsym.members import hard_tanh, identity, relu, sign, squared_relu
from gpsym.special import BivariateTail, density, joint_density, tail

T, S = sp.symbols("t s", real=True)
V, W = sp.symbols("v w", positive=True)
RHO = sp.Symbol("rho", real=True)
KNOTS = [sp.Rational(-5, 2), sp.Rational(-1, 3), sp.S.Zero, sp.Rational(3, 4), sp.Integer(4)]


def half_line(n, knot, side=1):
    """x^n where side (x - knot) > 0."""
    monomial = [0] * n + [1]
    return Activation((knot,), ((), monomial) if side == 1 else (monomial, ()))


def ramp(n, knot):
    """(x - knot)^n / n! for x > knot."""
    step = Activation((knot,), ((), (1,)))
    return step if n == 0 else relu().affine(1, -knot) ** n * sp.Rational(1, math.factorial(n))


def in_core(function, *activations):
    """A function of `Piecewise`s, of activations."""
    return function(*common(*activations))


def number(expression, digits=30):
    with mpmath.workdps(digits + 10):
        return mpmath.mpf(expression.evalf(digits + 10)._mpf_)


def assert_close(got, expected, digits=25):
    with mpmath.workdps(digits + 10):
        assert abs(got - expected) <= mpmath.mpf(10) ** -digits * max(1, abs(expected))


# One variable.


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize("knot", KNOTS)
@pytest.mark.parametrize("side", [1, -1])
def test_monomials_on_half_lines_are_their_integrals(n, knot, side):
    variance = sp.Rational(9, 4)
    closed = in_core(lambda f: expectation(f, variance), half_line(n, knot, side))
    with mpmath.workdps(40):
        t, sigma = mpmath.mpf(knot.p) / knot.q, mpmath.mpf(3) / 2
        panels = [t + side * k for k in (0, 1, 2, 4, 8, 16, 24)]
        expected = side * mpmath.quad(lambda x: x**n * mpmath.npdf(x, 0, sigma), panels)
    assert_close(number(closed), expected)


def test_the_whole_line_gives_the_moments_of_the_normal():
    for n, moment in enumerate((1, 0, V, 0, 3 * V**2, 0, 15 * V**3)):
        assert sp.expand(in_core(lambda f: expectation(f, V), identity() ** n) - moment) == 0


@pytest.mark.parametrize("n", range(5))
@pytest.mark.parametrize("order", range(1, 5))
def test_derivatives_move_to_the_density(n, order):
    """E f^(k)(X) = (-1)^k integral of f p^(k): for ramps (-d/dt)^k E r_n(X - t), atoms included."""
    f = ramp(n, T)
    derived = in_core(lambda core: expectation(core.derivative(order), V), f)
    base = in_core(lambda core: expectation(core, V), f)
    assert equal(derived, (-1) ** order * sp.diff(base, T, order)) == Equal()


@pytest.mark.parametrize("order", range(5))
def test_atoms_are_derivatives_of_the_density(order):
    """E delta^(n)(X - t) = (-1)^n p^(n)(t)."""
    derived = in_core(lambda core: expectation(core.derivative(order + 1), V), ramp(0, T))
    x = sp.Symbol("x", real=True)
    assert equal(derived, (-1) ** order * sp.diff(density(x, V), x, order).subs(x, T)) == Equal()


def test_a_factor_multiplies():
    assert in_core(lambda f: expectation(f, V, W / 2), relu()) == W / 2 * in_core(lambda f: expectation(f, V), relu())


def test_the_far_tail_keeps_its_digits():
    assert in_core(lambda f: expectation(f, sp.S.One), ramp(0, 30)) == sp.erfc(15 * sp.sqrt(2)) / 2


def test_a_small_interval_around_zero_is_no_difference():
    a = sp.Symbol("a", positive=True)
    inside = Activation((-a, a), ((), (1,), ()))
    assert in_core(lambda f: expectation(f, sp.S.One), inside) == sp.erf(a / sp.sqrt(2))


# Two variables.

PAIRS = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (0, 3), (3, 2)]
POINT = {"h": sp.Rational(1, 3), "k": sp.Rational(-3, 4), "v": sp.Rational(9, 4), "w": sp.Rational(1, 4)}


def pair(f, g, rho, orders=(0, 0), variances=(V, W), factor=sp.S.One):
    i, j = orders
    return in_core(lambda a, b: pair_expectation(a.derivative(i), b.derivative(j), variances, rho, factor), f, g)


@pytest.mark.parametrize(("i", "j"), PAIRS)
@pytest.mark.parametrize("rho", [sp.Rational(3, 5), sp.Rational(-4, 5), sp.Rational(1, 10)])
def test_pairs_of_ramps_are_their_double_integrals(i, j, rho):
    """Gauss-Legendre in both variables, u = a x and v = b (rho x + root z); 9 deviations leave out less than 1e-18."""
    h, k, variances = POINT["h"], POINT["k"], (POINT["v"], POINT["w"])
    closed = pair(ramp(i, h), ramp(j, k), rho, variances=variances)
    nodes, weights = np.polynomial.legendre.leggauss(120)
    t, s, r, a, b = map(float, (h, k, rho, sp.sqrt(variances[0]), sp.sqrt(variances[1])))
    root = math.sqrt(1 - r * r)
    x, x_weights = (t / a + 9) / 2 + (9 - t / a) / 2 * nodes[:, None], (9 - t / a) / 2 * weights[:, None]
    start = np.clip((s / b - r * x) / root, -9, 9)
    z, z_weights = (start + 9) / 2 + (9 - start) / 2 * nodes, (9 - start) / 2 * weights
    rises = (a * x - t) ** i / math.factorial(i) * (b * (r * x + root * z) - s) ** j / math.factorial(j)
    densities = np.exp(-(x**2 + z**2) / 2) / (2 * math.pi)
    # Past 9 - s / b there is a corner in `start`, where the density is below 1e-12.
    assert float(closed.evalf()) == pytest.approx(
        (x_weights * z_weights * rises * densities).sum(), rel=1e-10, abs=1e-12
    )


def test_the_four_generators():
    one = (sp.S.One, sp.S.One)
    step, other = ramp(0, T), ramp(0, S)
    assert pair(step, other, RHO, variances=one) == BivariateTail(T, S, RHO)
    assert equal(pair(step, other, RHO, (1, 1), one), joint_density(T, S, RHO)) == Equal()
    beyond = tail((S - RHO * T) / sp.sqrt(1 - RHO**2))
    assert equal(pair(step, other, RHO, (1, 0), one), density(T) * beyond) == Equal()


@pytest.mark.parametrize(("i", "j"), list(itertools.product(range(3), range(3))))
@pytest.mark.parametrize("orders", [(1, 0), (0, 1), (1, 1), (2, 0), (2, 2), (1, 4)])
def test_negative_orders_are_derivatives(i, j, orders):
    """E f^(m)(U) g^(n)(V) = (-d/dt)^m (-d/ds)^n E f g, whether the orders i - m, j - n are negative or not."""
    m, n = orders
    f, g = ramp(i, T), ramp(j, S)
    base, derived = pair(f, g, RHO), pair(f, g, RHO, orders)
    step = (-1) ** (m + n) * sp.diff(base, *([T] * m), *([S] * n))
    point = {T: "1/3", S: "-3/4", V: "9/4", W: "1/4", RHO: "3/5"}
    point = {symbol: sp.Rational(value) for symbol, value in point.items()}
    assert_close(number(derived.subs(point)), number(step.subs(point)), digits=20)


@pytest.mark.parametrize(("i", "j"), [(0, 0), (1, 1), (2, 0), (2, 2)])
def test_price_theorem_for_ramps(i, j):
    f, g = ramp(i, T), ramp(j, S)
    slope = sp.diff(pair(f, g, RHO), RHO)
    assert equal(slope, sp.sqrt(V) * sp.sqrt(W) * pair(f, g, RHO, (1, 1))) == Equal()


def test_polynomials_of_pairs():
    cube, square = identity() ** 3, identity() ** 2
    assert sp.expand(pair(identity(), identity(), RHO) - RHO * sp.sqrt(V) * sp.sqrt(W)) == 0
    assert sp.expand(pair(square, square, RHO) - V * W * (1 + 2 * RHO**2)) == 0
    assert sp.expand(pair(cube, identity(), RHO) - 3 * RHO * V ** sp.Rational(3, 2) * sp.sqrt(W)) == 0


def test_known_kernels():
    """Cho and Saul 2009 for degrees 0 and 1; the arcsine law for signs."""
    one = (sp.S.One, sp.S.One)
    theta = sp.acos(RHO)
    degree_1 = (sp.sqrt(1 - RHO**2) + (sp.pi - theta) * RHO) / (2 * sp.pi)
    assert equal(pair(relu(), relu(), RHO, variances=one), degree_1) == Equal()
    assert equal(pair(relu(), relu(), RHO, (1, 1), one), (sp.pi - theta) / (2 * sp.pi)) == Equal()
    assert equal(pair(sign(), sign(), RHO, variances=one), 2 * sp.asin(RHO) / sp.pi) == Equal()


def test_a_factor_multiplies_pairs():
    assert equal(pair(relu(), sign(), RHO, factor=T / 3), T / 3 * pair(relu(), sign(), RHO)) == Equal()


@pytest.mark.parametrize(
    ("f", "g"), [(relu(), hard_tanh()), (squared_relu(), sign()), (ramp(1, sp.S.Half), ramp(0, sp.Rational(-1, 3)))]
)
def test_ends_of_the_correlation(f, g):
    """Independence makes a product, rho = 1 and -1 a single expectation; both are limits."""
    single = [in_core(lambda a: expectation(a, V), h) for h in (f, g)]
    assert equal(pair(f, g, sp.S.Zero, variances=(V, V)), single[0] * single[1]) == Equal()
    at_one, at_minus_one = (in_core(lambda a: expectation(a, V), h) for h in (f * g, f * g.affine(-1)))
    assert equal(pair(f, g, sp.S.One, variances=(V, V)), at_one) == Equal()
    assert equal(pair(f, g, sp.S.NegativeOne, variances=(V, V)), at_minus_one) == Equal()
    for sign_, end in ((1, at_one), (-1, at_minus_one)):
        near = pair(f, g, RHO).subs({RHO: sign_ * (1 - sp.Rational(1, 10**12)), V: 2, W: 2})
        assert float(near.evalf(30)) == pytest.approx(float(end.subs(V, 2)), rel=1e-5)


def test_unequal_variances_at_the_ends():
    for rho in (1, -1):
        closed = pair(relu(), ramp(1, sp.S.Half), sp.Integer(rho)).subs({V: 4, W: "9/4"})
        with mpmath.workdps(20):
            rise = lambda z: max(2 * z, 0) * max(1.5 * rho * z - 0.5, 0) * mpmath.npdf(z)  # noqa: B023, E731
            expected = mpmath.quad(rise, [-9, -1 / mpmath.mpf(3), 0, 1 / mpmath.mpf(3), 3, 9])
        assert float(closed.evalf()) == pytest.approx(float(expected), rel=1e-12)


def test_independent_variables_have_their_own_variances():
    single = [in_core(lambda a, v=v: expectation(a, v), h) for h, v in ((relu(), V), (hard_tanh() ** 2, W))]
    assert pair(relu(), hard_tanh() ** 2, sp.S.Zero, factor=T) == T * single[0] * single[1]


def test_atoms_at_unequal_variances_have_no_limit():
    with pytest.raises(
        ValueError, match="need equal variances and knots in a known order for the limit of derivatives"
    ):
        pair(ramp(0, T), ramp(0, S), sp.S.One, (1, 1))
