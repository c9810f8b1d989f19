from dataclasses import replace

import pytest
import sympy as sp
from hypothesis import given, settings

from gpsym import Refuted, Undecided, Verified, maps, member, verify_formula
from gpsym.formula import TAU, Q
from gpsym.members import MEMBERS
from gpsym.testing import activations
from gpsym.verify import verify_activation


@pytest.mark.parametrize("name", MEMBERS)
def test_every_formula_of_every_member_is_verified_to_50_digits(name):
    checks = verify_activation(member(name), digits=50, points=3)
    assert [check.quantity for check in checks] == list(maps.QUANTITIES)
    for check in checks:
        assert isinstance(check.verdict, Verified), check
        assert check.verdict.worst < 1e-50


@settings(max_examples=settings().max_examples // 4)  # each derives five formulas
@given(activations(max_knots=3))
def test_every_formula_of_any_member_is_verified(phi):
    for check in verify_activation(phi, digits=20, points=1):
        assert isinstance(check.verdict, Verified), check


@pytest.mark.parametrize(
    ("name", "quantity"),
    [("clipped-relu", "kernel"), ("hard-swish", "correlation"), ("prelu", "correlation_slope"), ("sign", "ntk"),
     ("leaky-relu", "correlation_curvature"), ("squared-relu", "hermite_3"), ("jump-relu", "moment_3"),
     ("hard-shrink", "derivative_moment_0_1"), ("hard-tanh", "output_variance")],
)  # fmt: skip
def test_other_quantities_are_verified(name, quantity):
    verdict = verify_formula(maps.derive(member(name), quantity), digits=20, points=1)
    assert isinstance(verdict, Verified), verdict


@pytest.mark.parametrize("quantity", ["kernel", "correlation_slope"])
def test_a_wrong_formula_of_two_inputs_is_refuted(quantity):
    formula = maps.derive(member("clipped-relu"), quantity)
    wrong = replace(formula, expression=formula.expression * (1 + sp.Rational(1, 10**12)))
    verdict = verify_formula(wrong, digits=20, points=1)
    assert isinstance(verdict, Refuted)
    assert verdict.witness.keys() == {str(v) for v in formula.variables}


def test_infinity_is_verified_and_its_denial_refuted():
    formula = maps.chi_1(member("sign"))
    assert isinstance(verify_formula(formula, points=1), Verified)
    assert isinstance(verify_formula(replace(formula, expression=sp.S.One), points=1), Refuted)


def test_limits_are_left_undecided():
    verdict = verify_formula(maps.correlation_rate(member("relu")), points=1)
    assert isinstance(verdict, Undecided)
    assert "limits are not computed" in verdict.why


@pytest.mark.parametrize("quantity", maps.QUANTITIES)
def test_a_wrong_formula_is_refuted_with_a_witness(quantity):
    formula = maps.derive(member("cst"), quantity)
    wrong = replace(formula, expression=formula.expression * (1 + sp.Rational(1, 10**40)))
    verdict = verify_formula(wrong, digits=50, points=3)
    assert isinstance(verdict, Refuted)
    assert verdict.witness.keys() == {str(v) for v in formula.variables}
    assert isinstance(verify_formula(wrong, digits=30, points=3), Verified)


def test_a_sign_error_is_refuted():
    formula = maps.variance_map(member("crelu"))
    wrong = replace(
        formula, expression=formula.expression.subs(sp.erfc(TAU / sp.sqrt(2 * Q)), sp.erf(TAU / sp.sqrt(2 * Q)))
    )
    assert isinstance(verify_formula(wrong, points=2), Refuted)


def test_a_quadrature_that_cannot_tell_is_undecided(monkeypatch):
    monkeypatch.setattr("gpsym.verify._legendre_rules", lambda bits, precision: _few_nodes(precision))
    verdict = verify_formula(maps.variance_map(member("relu")), points=1, seed=99)  # points of no other test
    assert isinstance(verdict, Undecided)
    assert "quadrature error" in verdict.why


def _few_nodes(precision):
    from gpsym.verify import _legendre

    return _legendre(2, precision), _legendre(1, precision)


def test_the_seed_chooses_the_points():
    formula = maps.slope(member("st"))
    first, again, other = (verify_formula(formula, points=2, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(("digits", "points", "name"), [(0, 1, "digits"), (10, 0, "points")])
def test_bad_arguments_are_refused(digits, points, name):
    with pytest.raises(ValueError, match=f"need {name} >= 1, got 0"):
        verify_formula(maps.slope(member("st")), digits=digits, points=points)
