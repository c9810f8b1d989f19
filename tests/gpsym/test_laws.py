"""Every law of formulas for every named member and for random ones, most with jumps or piecewise linear."""

import subprocess
import sys
from dataclasses import replace

import pytest
import sympy as sp
from hypothesis import given, settings

from gpsym import maps
from gpsym.expression import parse_activation
from gpsym.formula import THETA, Q
from gpsym.members import MEMBERS, soft_threshold
from gpsym.testing import LAWS, ONE_INPUT_LAWS, TWO_INPUT_LAWS, activations, piecewise_polynomials
from gpsym.testing.assertions import numbers, specimens


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_meets_every_law(name, law):
    LAWS[law](MEMBERS[name]())


@pytest.mark.parametrize("law", ONE_INPUT_LAWS)
@settings.get_profile("one-input")
@given(phi=piecewise_polynomials() | activations())
def test_any_piecewise_polynomial_meets_every_law_of_one_input(law, phi):
    LAWS[law](phi)


@settings.get_profile("two-inputs")
@given(phi=piecewise_polynomials() | activations())
def test_the_kernel_of_any_piecewise_polynomial_matches_quadrature(phi):
    LAWS["kernel_matches_quadrature"](phi)


@pytest.mark.parametrize("law", [law for law in TWO_INPUT_LAWS if law != "kernel_matches_quadrature"])
@settings.get_profile("two-inputs")
@given(phi=piecewise_polynomials(max_knots=2) | activations(max_knots=2))
def test_any_piecewise_polynomial_meets_every_law_of_two_inputs(law, phi):
    LAWS[law](phi)


@pytest.mark.parametrize("text", ["min(max(0, x - sqrt(2)), 1)", "max(0, x - 1000000)"])
def test_knots_may_be_irrational_or_far_away(text):
    LAWS["kernel_at_the_ends"](parse_activation(text))


def with_error(owner, name, error):
    """The quantity's own function, with an error in its expression alone."""
    right = getattr(owner, name)

    def wrong(*args, **kwargs):
        formula = right(*args, **kwargs)
        return replace(formula, expression=error(formula.expression, *args), stably=None)

    return wrong


@pytest.mark.parametrize(
    ("law", "quantity", "error"),
    [
        ("sparsity_matches_quadrature", "sparsity", lambda e, phi: sp.erfc(-sp.sqrt(2 / Q)) / 2),  # x < 2 alone
        ("hermite_coefficients_match_quadrature", "hermite_coefficient", lambda e, phi, n: e * (1 + int(n >= 4))),
        ("hermite_coefficients_match_quadrature", "hermite_coefficient", lambda e, phi, n: e * (1 + int(n == 7))),
        ("ntk_matches_quadrature", "ntk", lambda e, phi: e.subs(THETA, 2 * THETA)),
        ("kernel_matches_quadrature", "kernel", lambda e, phi: e * (1 + sp.Rational(1, 10**15))),
        ("moments_match_quadrature", "moment", lambda e, phi, k: e + int(k == 2) * Q / 10**25),
    ],
)
def test_laws_fail_where_a_formula_is_wrong(monkeypatch, law, quantity, error):
    phi = parse_activation("max(0, 1 - abs(x - 3))")
    LAWS[law](phi)
    monkeypatch.setattr(maps, quantity, with_error(maps, quantity, error))
    with pytest.raises(AssertionError, match="against its definition: Refuted"):
        LAWS[law](phi)


@pytest.mark.parametrize(
    ("law", "quantity"),
    [("moments_match_quadrature", "moment"), ("hermite_coefficients_match_quadrature", "hermite_coefficient"),
     ("derivatives_match_quadrature", "slope"), ("sparsity_matches_quadrature", "sparsity"),
     ("kernel_matches_quadrature", "kernel"), ("ntk_matches_quadrature", "ntk")],
)  # fmt: skip
def test_laws_fail_where_a_stable_form_is_wrong(monkeypatch, law, quantity):
    right = getattr(maps, quantity)

    def wrong(*args):
        formula = right(*args)
        return replace(formula, stably=lambda: formula.stable * (1 + sp.Rational(1, 10**9)))

    monkeypatch.setattr(maps, quantity, wrong)
    with pytest.raises(AssertionError, match="against its definition: Refuted"):
        LAWS[law](parse_activation("max(0, 1 - abs(x - 3))"))


def test_numbers_meet_the_conditions():
    assert [member.knots[1] > 0 for member, _ in specimens(soft_threshold())] == [True]
    assert [member.knots[0] > 0 for member, _ in specimens(MEMBERS["shifted-relu"]())] == [False, True]
    assert specimens(soft_threshold(2)) == ((soft_threshold(2), ""),)
    far = parse_activation("Piecewise((0, x < 1000), (x, x < b), (0, True))", "b > 1000")
    (b,) = numbers(far).values()
    assert b >= 1000
    # b lies between 1.001 and 1.002, and random numbers are eighths.
    text = "Piecewise((0, x < 1.001), (x, x < b), (2*x, x < 1.002), (0, True))"
    narrow = parse_activation(text, ["b > 1.001", "b < 1.002"])
    with pytest.raises(ValueError, match="need conditions that random numbers meet"):
        numbers(narrow)


def test_laws_need_no_hypothesis():
    code = "import sys; sys.modules['hypothesis'] = None; from gpsym.testing import LAWS, THEOREM_LAWS, check_laws"
    subprocess.run([sys.executable, "-c", code], check=True)
    done = subprocess.run([sys.executable, "-c", f"{code}, activations"], capture_output=True, text=True, check=False)
    assert "hypothesis" in done.stderr
    assert done.returncode == 1


def test_laws_refuse_to_run_without_assertions():
    code = "from gpsym import relu; from gpsym.testing import check_laws; list(check_laws(relu()))"
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=False)
    assert "need assertions, got an interpreter without" in done.stderr
    assert done.returncode == 1
