"""Forms of formulas as functions of points; the functions of stable forms against their closed forms."""

from dataclasses import replace

import pytest
import sympy as sp
from flint import arb, ctx, fmpq

from gpsym import maps, member
from gpsym.formula import Q1, Q2, RHO, TAU, M, Q
from gpsym.maps.two_inputs import correlation_curvature
from gpsym.numeric import precise
from gpsym.numeric.balls import image
from gpsym.stable import IntervalMoment, JointDensity, RectangleMoment
from gpsym.verify.forms import forms_of

T, HALF, THIRD = sp.Rational(-2, 5), sp.Rational(1, 2), sp.Rational(1, 3)
FUNCTIONS = [
    IntervalMoment(0, T, sp.Integer(2), HALF),
    IntervalMoment(3, T, THIRD, HALF),
    IntervalMoment(2, THIRD, sp.oo, sp.Integer(3)),
    RectangleMoment(1, T, sp.Integer(2), 2, THIRD, HALF, HALF, sp.Integer(3), -THIRD),
    RectangleMoment(0, T, sp.oo, 1, THIRD, HALF, HALF, sp.Integer(3), THIRD),
    JointDensity(T, THIRD, HALF, sp.Integer(3), -THIRD),
    JointDensity(T, T, HALF, HALF, sp.S.Zero),
]


def stable_form(formula):
    return next(form for form in forms_of(formula) if form.name == "stable")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_of_stable_forms_are_their_closed_forms(function):
    closed = precise(function.rewrite(sp.erfc).rewrite(sp.exp), {}, 30)
    formula = _with_stable(maps.sparsity(member("relu")), function * Q)
    with ctx.workprec(160):
        value = stable_form(formula).value({Q: sp.Integer(2)}, 30, 0)
        assert abs(value / 2 - arb(str(closed))) < arb(str(closed)) * arb(10) ** -28


def _with_stable(formula, expression):
    return replace(formula, expression=sp.erfc(Q), stably=lambda: expression)


def test_functions_that_balls_do_not_know_are_numbers():
    formula = _with_stable(maps.sparsity(member("relu")), IntervalMoment(0, sp.S.Zero, sp.oo, Q) + sp.Heaviside(Q - 1))
    form = stable_form(formula)
    with ctx.workprec(160):
        assert [float(form.value({Q: sp.Integer(q)}, 20, 0)) for q in (HALF, 3)] == [0.5, 1.5]


def test_the_stable_form_is_that_away_from_zero_correlation():
    """The arcsine law: E[sign(U) sign(V)] = 2 asin(rho) / pi."""
    point = {Q1: sp.Integer(2), Q2: THIRD, RHO: HALF}
    with ctx.workprec(160):
        value = stable_form(maps.kernel(member("sign"))).value(point, 25, 0)
        assert abs(value - arb(1) / 3) < arb(10) ** -25


def test_names_of_forms():
    names = [form.name for form in forms_of(maps.kernel(member("relu")))]
    assert names == ["expression", "stable", "at_rho(-1)", "at_rho(0)", "at_rho(1)"]
    assert [form.name for form in forms_of(maps.variance_map(member("relu")))] == ["expression"]
    # It has no value at -1 and 1, and there is no form then.
    assert [form.name for form in forms_of(correlation_curvature(member("relu")))][2:] == ["at_rho(0)"]
    limits = [form.rho for form in forms_of(maps.kernel(member("relu")))]
    assert limits == [None, None, -1, 0, 1]


def test_expressions_are_numbers_or_infinite():
    form = next(forms_of(maps.chi_1(member("sign"))))
    assert form.value({}, 20, 0) == float("inf")
    formula = maps.second_moment(member("crelu"))
    point = {Q: sp.Integer(2), TAU: THIRD, M: HALF}
    with ctx.workprec(120):
        ball = image(formula.expression, {s: arb(fmpq(v.p, v.q)) for s, v in point.items()})
        assert abs(ball - arb(str(next(forms_of(formula)).value(point, 25, 0)))) < 1e-24
