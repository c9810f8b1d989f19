import mpmath
import pytest
import sympy as sp

from gpsym.gaussian import collect_generators, density, expectation, probability, truncated_moment

# (lower, upper)
ENDS = [(-sp.oo, sp.oo), (-sp.oo, -1), (-sp.oo, 2), (-2, -1), (-1, 1), (-1, 3), (1, 2), (2, sp.oo), (0, sp.oo)]


def quadrature(n, lower, upper):
    points = sorted({lower, upper} | {p for p in (-3, -1, 0, 1, 3) if lower < p < upper})
    with mpmath.workdps(30):
        return mpmath.quad(lambda z: z**n * mpmath.npdf(z), [mpmath.mpf(float(p)) for p in points])


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize(("lower", "upper"), ENDS)
def test_truncated_moments_are_their_integrals(n, lower, upper):
    closed = sp.lambdify((), truncated_moment(n, sp.sympify(lower), sp.sympify(upper)), "mpmath")
    with mpmath.workdps(30):
        assert abs(closed() - quadrature(n, lower, upper)) < mpmath.mpf("1e-25")


def test_the_far_tail_keeps_its_digits():
    assert probability(sp.Integer(30), sp.oo) == sp.erfc(15 * sp.sqrt(2)) / 2


def test_a_small_interval_around_zero_is_no_difference():
    a = sp.Symbol("a", positive=True)
    assert probability(-a, a) == sp.erf(a / sp.sqrt(2))


def test_density_integrates_to_one_and_vanishes_at_infinity():
    z, v = sp.Symbol("z", real=True), sp.Symbol("v", positive=True)
    assert sp.integrate(density(z, v), (z, -sp.oo, sp.oo)) == 1
    assert density(sp.oo, v) == 0


def test_the_whole_line_gives_the_moments_of_the_normal():
    x, v = sp.Symbol("x", real=True), sp.Symbol("v", positive=True)
    for n, moment in enumerate((1, 0, v, 0, 3 * v**2, 0, 15 * v**3)):
        assert sp.expand(expectation([(-sp.oo, sp.oo, sp.Poly(x**n, x))], v) - moment) == 0


def test_generators_stay_whole():
    a, b = sp.symbols("a b", positive=True)
    expression = a * sp.exp(-((a + b) ** 2)) + b * sp.exp(-((a + b) ** 2)) + sp.erfc(a) - sp.erfc(a)
    assert collect_generators(expression) == (a + b) * sp.exp(-((a + b) ** 2))
