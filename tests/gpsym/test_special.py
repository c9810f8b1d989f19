"""The special functions against quadratures of their definitions, their symmetries and what is known of them."""

import itertools
import math

import mpmath
import pytest
import scipy.stats
import sympy as sp
from sympy.core.function import ArgumentIndexError

from gpsym.equality import Equal, equal
from gpsym.special import BivariateTail, TailMoment, bivariate_tail, density, joint_density, tail

H, K = sp.symbols("h k", real=True)
R = sp.Symbol("rho", real=True)
PLACES = [sp.Rational(-7, 3), sp.Rational(-1, 2), sp.S.Zero, sp.Rational(1, 3), sp.Integer(2), sp.Rational(11, 2)]


def assert_digits(got, expected, digits=38):
    """Equal to so many digits, of two numbers of SymPy or mpmath."""
    with mpmath.workdps(digits + 10):
        got, expected = (mpmath.mpf(v._mpf_) for v in (got, expected))
        assert abs(got - expected) <= abs(expected) * mpmath.mpf(10) ** -digits


# TailMoment.


@pytest.mark.parametrize("n", range(6))
@pytest.mark.parametrize("h", PLACES)
def test_tail_moments_are_their_integrals(n, h):
    with mpmath.workdps(50):
        a = mpmath.mpf(h.p) / h.q
        panels = [a + k / mpmath.mpf(4) for k in (*range(9), *range(10, 24, 2), 24, 32, 48, 64)]
        expected = mpmath.quad(lambda z: (z - a) ** n * mpmath.npdf(z), panels)
    assert_digits(TailMoment(n, h).evalf(60), expected)


def test_tail_moments_at_the_ends_and_at_zero():
    assert TailMoment(3, sp.oo) == 0
    assert TailMoment(0, -sp.oo) == 1
    assert TailMoment(2, -sp.oo) == sp.oo
    assert [TailMoment(n, 0) for n in range(5)] == [
        sp.S.Half, 1 / sp.sqrt(2 * sp.pi), sp.S.Half, sp.sqrt(2 / sp.pi), sp.Rational(3, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("n", range(1, 6))
def test_derivative_and_recursion_of_tail_moments(n):
    assert TailMoment(n, H).diff(H) == -n * TailMoment(n - 1, H)
    assert equal(TailMoment(n, H).rewrite(sp.erfc).diff(H), -n * TailMoment(n - 1, H)) == Equal()
    assert equal(TailMoment(n + 1, H), n * TailMoment(n - 1, H) - H * TailMoment(n, H)) == Equal()


def test_derivative_of_the_tail():
    assert equal(TailMoment(0, H).diff(H), -density(H)) == Equal()
    with pytest.raises(ArgumentIndexError):
        TailMoment(2, H).fdiff(1)


def test_tail_moments_of_unknown_order_stay():
    n = sp.Symbol("n", integer=True, nonnegative=True)
    assert TailMoment(n, H).rewrite(sp.erfc) == TailMoment(n, H)
    assert TailMoment(n, H).evalf() == TailMoment(n, H)


@pytest.mark.parametrize("order", [-1, sp.Rational(1, 2), -3])
def test_orders_of_tail_moments(order):
    with pytest.raises(ValueError, match="TailMoment: need an order n = 0, 1, 2"):
        TailMoment(order, H)


def test_numbers_in_the_far_tail_keep_their_digits():
    """H_2(30) is p(30) (2 / 30^3) (1 - ...), of which little is left in the difference of its two terms."""
    with mpmath.workdps(60):
        ends = [mpmath.mpf(k) / 16 for k in range(65)]
        # Scaled by exp(450): the tolerance of quad is absolute.
        scaled = mpmath.quad(lambda z: z**2 * mpmath.exp(-30 * z - z**2 / 2), ends)
        expected = scaled * mpmath.exp(-450) / mpmath.sqrt(2 * mpmath.pi)
    assert_digits(TailMoment(2, 30).evalf(60), expected, 40)
    assert_digits(TailMoment(2, 30).evalf(30), expected, 28)


def test_special_functions_are_printed_by_their_letters():
    assert sp.latex(TailMoment(2, H)) == r"H_{2}\left(h\right)"
    assert sp.latex(TailMoment(2, H) ** 3) == r"H_{2}^{3}\left(h\right)"
    assert sp.latex(BivariateTail(H, K, R)) == r"L\left(h, k; \rho\right)"
    assert sp.latex(BivariateTail(H, K, R) ** 2) == r"L^{2}\left(h, k; \rho\right)"
    assert sp.pretty(TailMoment(2, H), use_unicode=False) == "H_2(h)"
    assert sp.pretty(BivariateTail(H, K, R), use_unicode=False) == "L(h, k, rho)"


def test_signs_that_are_known():
    assert TailMoment(2, H).is_extended_nonnegative
    assert BivariateTail(H, K, R).is_extended_nonnegative


# BivariateTail.


def orthant(h, k, rho):
    """P(X > h, Y > k) as the integral of p(x) P(Y > k given X = x), which shares nothing with Plackett's integral."""
    h, k, rho = (mpmath.mpf(v.p) / v.q for v in map(sp.Rational, (h, k, rho)))
    s = mpmath.sqrt(1 - rho**2)
    middle = k / rho if rho else 0
    cuts = [h + j for j in (0, 1, 2, 4, 8, 16, 24)] + [middle + j * s for j in (-8, -4, -2, -1, 0, 1, 2, 4, 8)]
    inner = lambda x: mpmath.npdf(x) * mpmath.erfc((k - rho * x) / s / mpmath.sqrt(2)) / 2  # noqa: E731
    return mpmath.quad(inner, sorted({h, *(c for c in cuts if c > h)}))


@pytest.mark.parametrize(
    ("h", "k", "rho"),
    [("-7/3", "1/3", "1/2"), ("1/3", "2", "-4/5"), ("2", "2", "9/10"), ("-1", "-2", "-1/3"), ("0", "1", "3/5"),
     ("3", "-3", "19/20"), ("1", "1", "-19/20"), ("4", "5", "1/10")],
)  # fmt: skip
def test_bivariate_tails_are_their_integrals(h, k, rho):
    with mpmath.workdps(55):
        expected = orthant(h, k, rho)
    ctx = mpmath.MPContext()
    ctx.dps = 40
    got = bivariate_tail(ctx, *(ctx.mpf(v.p) / v.q for v in map(sp.Rational, (h, k, rho))))
    assert_digits(got, expected)


def test_evalf_of_bivariate_tails_has_the_digits_asked_for():
    with mpmath.workdps(55):
        expected = orthant(1, 2, "1/2")
    assert_digits(BivariateTail(1, 2, "1/2").evalf(40), expected)


def test_bivariate_tails_that_are_elementary():
    assert BivariateTail(0, 0, R) == sp.Rational(1, 4) + sp.asin(R) / (2 * sp.pi)
    assert BivariateTail(H, K, 0) == tail(H) * tail(K)
    assert BivariateTail(H, sp.oo, R) == 0 == BivariateTail(sp.oo, -sp.oo, R)
    assert BivariateTail(H, -sp.oo, R) == tail(H) == BivariateTail(-sp.oo, H, R)
    assert BivariateTail(H, K, 1) == tail(sp.Max(H, K))
    assert BivariateTail(1, 2, 1) == tail(sp.Integer(2))
    assert BivariateTail(1, 2, -1) == 0
    assert BivariateTail(-1, -2, -1) == tail(sp.Integer(-1)) - tail(sp.Integer(2))
    assert BivariateTail(H, K, -1).subs({H: -1, K: -2}) == BivariateTail(-1, -2, -1)


def test_bivariate_tails_are_symmetric():
    assert BivariateTail(K, H, R) == BivariateTail(H, K, R)
    assert BivariateTail(2, 1, R) == BivariateTail(1, 2, R)


def test_limits_in_the_correlation_are_those_of_evaluation():
    for h, k, sign in itertools.product((-1, 0, 2), (-2, 1), (-1, 1)):
        near = BivariateTail(h, k, sign * (1 - sp.Rational(1, 10**24))).evalf(30)
        assert abs(near - BivariateTail(h, k, sign).evalf(30)) < 1e-11  # the distance is of the size sqrt(1 - rho)


@pytest.mark.parametrize("argument", [1, 2, 3])
@pytest.mark.parametrize("point", list(itertools.product((-1.25, 0.5), (0.75, 2.0), (-0.6, 0.3, 0.9))))
def test_partial_derivatives_are_difference_quotients(argument, point):
    ctx = mpmath.MPContext()
    ctx.dps = 60
    numbers = [ctx.mpf(v) for v in point]

    def along(x):
        return bivariate_tail(ctx, *(x if k == argument - 1 else v for k, v in enumerate(numbers)))

    step = ctx.mpf(10) ** -20
    quotient = (along(numbers[argument - 1] + step) - along(numbers[argument - 1] - step)) / (2 * step)
    derivative = BivariateTail(H, K, R).diff((H, K, R)[argument - 1])
    value = derivative.subs(dict(zip((H, K, R), map(sp.Rational, point), strict=True))).evalf(40)
    assert abs(quotient - ctx.mpf(value._mpf_)) < ctx.mpf("1e-35")


def test_derivative_in_the_correlation_is_the_joint_density():
    assert BivariateTail(H, K, R).diff(R) == joint_density(H, K, R)


def test_it_may_be_written_as_an_integral():
    integral = BivariateTail(H, K, R).rewrite(sp.Integral)
    assert not integral.has(BivariateTail)
    point = {H: 1, K: sp.Rational(-1, 2), R: sp.Rational(2, 3)}
    assert float(integral.subs(point).evalf()) == pytest.approx(
        float(BivariateTail(1, "-1/2", "2/3").evalf()), rel=1e-14
    )
    assert joint_density(H, H, R).subs({H: 2, R: 0}) == density(sp.Integer(2)) ** 2


@pytest.mark.parametrize("rho", [2, sp.Rational(-3, 2), sp.sqrt(2)])
def test_correlations_of_bivariate_tails(rho):
    with pytest.raises(ValueError, match="BivariateTail: need a correlation from -1 to 1, got"):
        BivariateTail(H, K, rho)


def test_symbols_have_no_number():
    assert BivariateTail(H, 1, "1/2").evalf() == BivariateTail(H, 1, "1/2").evalf(20)
    assert BivariateTail(H, 1, "1/2").evalf().free_symbols == {H}


# The numbers at their extremes: precision doubled must agree.

CLOSE = 1 - 1e-8
EXTREMES = [
    *itertools.product((-3, 0.5, 3), (-3, -0.5, 3.0001), (CLOSE, -CLOSE, 0.5)),
    (30, 30, 0.9), (30, -30, -0.9), (40, 1, -0.99), (-40, -40, 0.5), (12, 12, CLOSE), (12, -12, -CLOSE),
    (8, 8, -0.9), (20, 20, -CLOSE), (1e-30, 0, 0.5), (1e-9, -1e-9, -CLOSE), (300, 299, 0.5), (0, 25, 1 - 1e-15),
]  # fmt: skip


@pytest.mark.parametrize(("h", "k", "rho"), EXTREMES)
def test_precision_doubled_gives_the_same(h, k, rho):
    digits = 30
    rough, fine = mpmath.MPContext(), mpmath.MPContext()
    rough.dps, fine.dps = digits, 2 * digits
    values = [bivariate_tail(ctx, *(ctx.mpf(v) for v in (h, k, rho))) for ctx in (rough, fine)]
    value, finer = fine.mpf(values[0]._mpf_), values[1]
    assert value >= 0
    # An exponential magnifies the relative rounding of its argument by the argument.
    assert abs(value - finer) <= fine.mpf(10) ** (3 - digits) * (1 + abs(fine.log(finer))) * finer


@pytest.mark.parametrize(
    ("h", "k", "rho"), [(h, k, r) for h, k, r in EXTREMES if abs(r) < 0.95 and max(abs(h), abs(k)) < 9]
)
def test_scipy_agrees(h, k, rho):
    """scipy.stats.multivariate_normal promises an absolute error of 1e-5; it is smaller for two variables."""
    normal = scipy.stats.multivariate_normal(cov=[[1, rho], [rho, 1]])
    assert float(bivariate_tail(mpmath.mp, *map(mpmath.mpf, (h, k, rho)))) == pytest.approx(
        normal.cdf([-h, -k]), abs=1e-12
    )


def test_complements_add_up():
    ctx = mpmath.MPContext()
    ctx.dps = 40
    for h, k, rho in itertools.product((-2, 0.25, 5), (-1.5, 3), (-0.99, 0.125, 0.999)):
        h, k, rho = map(ctx.mpf, (h, k, rho))
        whole = bivariate_tail(ctx, h, k, rho) + bivariate_tail(ctx, h, -k, -rho)
        assert abs(whole - ctx.erfc(h / ctx.sqrt(2)) / 2) < ctx.mpf("1e-38")


def test_no_correlation_no_number():
    assert math.isnan(bivariate_tail(mpmath.fp, 0.0, 1.0, 1.5))
