from dataclasses import replace

import pytest
import sympy as sp
from hypothesis import given, settings

from gpsym import Refuted, Undecided, Verified, maps, member, verify_formula
from gpsym.activation import MEMBERS
from gpsym.formula import TAU, Q
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
