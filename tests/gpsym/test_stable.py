"""The moments of intervals and rectangles as SymPy functions."""

import mpmath
import pytest
import sympy as sp
from sympy.core.function import ArgumentIndexError

from gpsym.equality import Equal, equal
from gpsym.formula import Q1, Q2, RHO, TAU, M, Q
from gpsym.numeric import precise
from gpsym.stable import IntervalMoment, JointDensity, RectangleMoment

T, S = sp.symbols("t s", real=True)
W, V = sp.symbols("w v", positive=True)
POINT = {T: sp.Rational(1, 3), S: sp.Rational(-2, 5), W: sp.Rational(7, 4), V: sp.Rational(5, 6),
         Q: sp.Rational(9, 7), Q1: sp.Rational(9, 7), Q2: sp.Rational(3, 5), RHO: sp.Rational(-3, 7)}  # fmt: skip


def closed(expression):
    return expression.rewrite(sp.erfc).rewrite(JointDensity, sp.exp)


def assert_same_number(left, right):
    values = (precise(closed(e), POINT, 25) for e in (left, right))
    with mpmath.workdps(40):
        left, right = values
        assert abs(left - right) <= abs(right) * mpmath.mpf(10) ** -22


@pytest.mark.parametrize("width", [W, sp.oo])
@pytest.mark.parametrize("n", range(5))
def test_interval_moments_are_their_integrals(n, width):
    moment = IntervalMoment(n, T, width, Q).subs(POINT)
    with mpmath.workdps(40):
        t, q = (mpmath.mpf(POINT[s].p) / POINT[s].q for s in (T, Q))
        end = t + mpmath.mpf(7) / 4 if width == W else mpmath.inf
        panels = [t, end] if width == W else [t, t + 2, t + 5, t + 10, t + 20, mpmath.inf]
        integral = mpmath.quad(lambda x: (x - t) ** n * mpmath.npdf(x, 0, mpmath.sqrt(q)), panels)
        assert abs(mpmath.mpf(sp.Float(moment.evalf(30))._mpf_) - integral) < integral * mpmath.mpf("1e-25")


@pytest.mark.parametrize("width", [W, sp.oo])
@pytest.mark.parametrize("n", range(4))
def test_derivatives_of_interval_moments(n, width):
    """In start, width and variance, against those of the closed form, decided."""
    moment = IntervalMoment(n, T, width, Q)
    for symbol in (T, W, Q):
        assert equal(closed(moment.diff(symbol)), sp.diff(closed(moment), symbol)) == Equal()


@pytest.mark.parametrize(
    ("orders", "widths"),
    [
        ((0, 0), (W, V)), ((2, 0), (W, V)), pytest.param((1, 1), (W, V), marks=pytest.mark.deep),
        ((0, 0), (W, sp.oo)), ((2, 0), (W, sp.oo)), ((1, 1), (W, sp.oo)),
    ],
)  # fmt: skip
def test_derivatives_of_rectangle_moments(orders, widths):
    """In starts, widths, variances and correlation, against those of the closed form."""
    (i, j), (w, v) = orders, widths
    moment = RectangleMoment(i, T, w, j, S, v, Q1, Q2, RHO)
    for symbol in (T, S, W, V, Q1, Q2, RHO):
        if moment.has(symbol):
            assert_same_number(moment.diff(symbol), sp.diff(closed(moment), symbol))


def test_second_derivative_in_the_correlation():
    moment = RectangleMoment(1, TAU, M, 1, TAU, M, Q1, Q2, RHO)
    at = {TAU: sp.Rational(1, 3), M: sp.Rational(5, 4), **POINT}
    second, expected = closed(moment.diff(RHO, 2)), sp.diff(closed(moment), RHO, 2)
    assert abs(precise(second, at, 25) - precise(expected, at, 25)) < mpmath.mpf("1e-20")


@pytest.mark.parametrize("symbol", [T, S, Q1, Q2, RHO])
def test_derivatives_of_the_joint_density(symbol):
    density = JointDensity(T, S, Q1, Q2, RHO)
    assert equal(density.diff(symbol).rewrite(sp.exp), sp.diff(density.rewrite(sp.exp), symbol)) == Equal()


def test_special_values():
    assert IntervalMoment(2, TAU, 0, Q) == 0
    assert RectangleMoment(1, TAU, M, 0, TAU, 0, Q1, Q2, RHO) == 0
    first, second = (1, TAU, M), (0, TAU + M, sp.oo)
    assert RectangleMoment(*first, *second, Q1, Q2, RHO) == RectangleMoment(*second, *first, Q2, Q1, RHO)
    assert (
        closed(RectangleMoment(0, 0, sp.oo, 0, 0, sp.oo, Q1, Q2, RHO)) == sp.Rational(1, 4) + sp.asin(RHO) / 2 / sp.pi
    )


def test_what_is_no_order_or_argument_is_refused():
    with pytest.raises(ValueError, match=r"IntervalMoment: need an order n = 0, 1, 2, ..., got -1; pass one"):
        IntervalMoment(-1, T, W, Q)
    with pytest.raises(ValueError, match=r"RectangleMoment: need an order n = 0, 1, 2, ..., got 1/2; pass one"):
        RectangleMoment(0, T, W, sp.Rational(1, 2), S, V, Q1, Q2, RHO)
    for function in (IntervalMoment(1, T, W, Q), RectangleMoment(1, T, W, 1, S, V, Q1, Q2, RHO)):
        with pytest.raises(ArgumentIndexError):
            function.fdiff(1)
    with pytest.raises(ArgumentIndexError):
        JointDensity(T, S, Q1, Q2, RHO).fdiff(6)


def test_they_print():
    assert sp.latex(IntervalMoment(2, TAU, M, Q)) == r"M_{2}\left(\tau, m; q\right)"
    assert sp.latex(JointDensity(T, S, Q1, Q2, RHO)) == r"p_2\left(t, s; q_{1}, q_{2}, \rho\right)"
    assert "M_11" in sp.pretty(RectangleMoment(1, TAU, M, 1, TAU, M, Q1, Q2, RHO), use_unicode=False)
    assert r"M_{11}" in sp.latex(RectangleMoment(1, TAU, M, 1, TAU, M, Q1, Q2, RHO))
