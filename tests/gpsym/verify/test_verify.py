"""Verdicts: right formulas are verified at their digits, and wrong ones refuted, wherever and whatever is wrong."""

from dataclasses import replace

import pytest
import sympy as sp
from hypothesis import given, settings

import gpsym
from gpsym import Refuted, Undecided, Verified, identity, maps, member, verify_formula
from gpsym.expression import parse_activation
from gpsym.formula import ALPHA, Q1, Q2, RHO, SIGMA_B2, SIGMA_W2, TAU, THETA, M, Q
from gpsym.layers import gated, normalised, residual
from gpsym.maps import one_input
from gpsym.members import MEMBERS, shifted_relu
from gpsym.piecewise import Piecewise
from gpsym.testing import activations
from gpsym.verify import verify_activation

H, R = sp.Heaviside, sp.Rational


@pytest.mark.parametrize("name", MEMBERS)
def test_every_formula_of_every_member_is_verified_to_50_digits(name):
    checks = verify_activation(member(name), digits=50, points=1)
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
    [("soft-threshold", "kernel"), ("hard-swish", "correlation"), ("prelu", "correlation_slope"), ("sign", "ntk"),
     ("leaky-relu", "correlation_curvature"), ("squared-relu", "hermite_3"), ("jump-relu", "moment_3"),
     ("hard-shrink", "derivative_moment_0_1"), ("hard-tanh", "output_variance"), ("abs", "nngp"),
     ("soft-threshold", "correlation_rate"), ("sign", "correlation_rate")],
)  # fmt: skip
def test_other_quantities_are_verified(name, quantity):
    verdict = verify_formula(maps.derive(member(name), quantity), digits=20, points=1)
    assert isinstance(verdict, Verified), verdict


LAYERS = [
    gated.variance_map(shifted_relu(), identity()),
    gated.correlation_map(identity(), member("relu")),
    normalised.chi_1(member("hard-tanh")),
    normalised.correlation_map(member("relu")),
    residual.slope(shifted_relu()),
    residual.correlation_map(member("relu")),
]


@pytest.mark.parametrize("formula", LAYERS, ids=lambda f: f.name)
def test_layers_are_verified_and_their_errors_refuted(formula):
    verdict = verify_formula(formula, digits=20, points=3)
    assert isinstance(verdict, Verified), verdict
    wrong = replace(formula, expression=formula.expression * (1 + R(1, 10**18)))
    assert isinstance(verify_formula(wrong, digits=20, points=1), Refuted)


def test_the_verdict_names_forms_digits_and_domain():
    verdict = verify_formula(maps.second_moment(shifted_relu()), digits=20, points=3)
    assert isinstance(verdict, Verified)
    assert (verdict.digits, verdict.points) == (20, 3)
    assert verdict.domain.split("; ") == [
        "q 1e-8 to 1e8, tau/sqrt(q) 0 and +-1e-8 to 40, to 450 digits after the point at most",
        "expression, stable",
        "expression to 12 digits at 39 further points",
        "lambdify to 1e-12 of the parts",
    ]
    two = verify_formula(maps.kernel(member("relu")), digits=10, points=2)
    assert isinstance(two, Verified)
    assert two.domain.split("; ") == [
        "q1 1e-8 to 1e8, q2/q1 1e-4 to 1e4, rho -1 + 1e-9 to 1 - 1e-9, to 150 digits after the point at most",
        "expression, stable, at_rho(-1), at_rho(0), at_rho(1)",
        "lambdify to 1e-12 of the parts, knots to 12 deviations",
    ]


def test_the_seed_chooses_the_points():
    formula = maps.slope(member("st"))
    first, again, other = (verify_formula(formula, points=2, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize(("digits", "points", "name"), [(0, 1, "digits"), (10, 0, "points")])
def test_bad_arguments_are_refused(digits, points, name):
    with pytest.raises(ValueError, match=f"need {name} from 1 to .*, got 0"):
        verify_formula(maps.slope(member("st")), digits=digits, points=points)


# Errors of an expression.


@pytest.mark.parametrize("quantity", maps.QUANTITIES)
def test_a_wrong_formula_is_refuted_with_a_witness(quantity):
    formula = maps.derive(member("cst"), quantity)
    wrong = replace(formula, expression=formula.expression * (1 + R(1, 10**40)))
    verdict = verify_formula(wrong, digits=50, points=1)
    assert isinstance(verdict, Refuted)
    assert verdict.form == "expression"
    assert verdict.witness.keys() == {str(v) for v in formula.variables}
    assert float(verdict.formula) == pytest.approx(float(verdict.definition), rel=1e-12)
    assert isinstance(verify_formula(wrong, digits=30, points=1), Verified)


ONE_INPUT = [
    ("second_moment", lambda e: e + Q / 10**60),
    ("second_moment", lambda e: e + R(1, 10**120)),
    ("second_moment", lambda e: e * (1 + sp.exp(-((10**6 * M / sp.sqrt(Q)) ** 2)))),
    ("second_moment", lambda e: e * (1 + H(1 / M - 10**7 / sp.sqrt(Q)))),
    ("second_moment", lambda e: e * (1 + H(M / sp.sqrt(Q) - 10**7))),
    ("second_moment", lambda e: e * (1 + H(TAU / sp.sqrt(Q) - 35))),
    ("second_moment", lambda e: e * (1 + H(-TAU / sp.sqrt(Q) - 35))),
    ("second_moment", lambda e: e * (1 + H(Q - 10**7))),
    ("second_moment", lambda e: e * (1 + H(R(1, 10**7) - Q))),
    ("second_moment", lambda e: e * (1 + sp.exp(-((10**6 * (TAU - M) / sp.sqrt(Q)) ** 2)))),
    ("second_moment", lambda e: e + sp.Piecewise((Q, sp.Eq(TAU, 0)), (0, True))),
    ("second_moment", lambda e: e.subs(TAU, sp.Abs(TAU))),
    ("second_moment", lambda e: e + sp.exp(-200 * (TAU + M) ** 2 / Q) * Q),
    ("sparsity", lambda e: e + H(TAU / sp.sqrt(Q) - 30) / 10**30),
    ("variance", lambda e: e - SIGMA_B2),
    ("variance", lambda e: e * (1 + H(SIGMA_B2 - 10**7))),
    ("slope", lambda e: e * (1 + H(R(1, 10**7) - SIGMA_W2))),
    ("curvature", lambda e: -e),
]


@pytest.mark.parametrize(("quantity", "error"), ONE_INPUT)
def test_errors_of_one_input_are_refuted_wherever_they_show(quantity, error):
    formula = maps.derive(member("crelu"), quantity)
    verdict = verify_formula(replace(formula, expression=error(formula.expression), stably=None))
    assert isinstance(verdict, Refuted), verdict
    assert verdict.form == "expression"


def test_an_error_at_far_numbers_is_refuted():
    """The knot is a number, and shows only where q is of the size of its square."""
    formula = maps.second_moment(parse_activation("max(0, x - 1000000)"))
    wrong = replace(formula, expression=formula.expression * (1 + H(Q - 10**12)))
    assert isinstance(verify_formula(wrong, digits=20, points=20), Refuted)


TWO_INPUTS = [
    lambda e: e * (1 + H(RHO - R(99999, 100000))),
    lambda e: e * (1 + H(-RHO - R(99999, 100000))),
    lambda e: e + sp.Piecewise((1, sp.Eq(RHO, 0)), (0, True)),
    lambda e: e * (1 + H(Q2 / Q1 - 1000)),
    lambda e: e * (1 + H(R(1, 1000) - Q2 / Q1)),
    lambda e: e * (1 + H(R(1, 10**7) - Q1)),
    lambda e: e + (Q1 - Q2) ** 2,
    lambda e: e + sp.Piecewise((1, sp.Eq(Q1, Q2)), (0, True)),
    lambda e: e.subs(RHO, -RHO),
]


@pytest.mark.parametrize("error", TWO_INPUTS)
def test_errors_of_two_inputs_are_refuted_wherever_they_show(error):
    formula = maps.kernel(member("relu"))
    wrong = replace(formula, expression=error(formula.expression), stably=None)
    verdict = verify_formula(wrong, digits=20, points=25)
    assert isinstance(verdict, Refuted), verdict


@pytest.mark.parametrize(
    ("quantity", "error"),
    [("ntk", lambda e: e - SIGMA_B2), ("ntk", lambda e: e.subs(THETA, -THETA)), ("nngp", lambda e: e + SIGMA_B2),
     ("correlation", lambda e: e * sp.sqrt(Q1 / Q2)), ("hermite_6", lambda e: e * sp.sqrt(6)),
     ("derivative_moment_0_1", lambda e: -e), ("correlation_rate", lambda e: e / sp.sqrt(2)),
     ("correlation_curvature", lambda e: e / sp.sqrt(Q1)), ("output_variance", lambda e: e + Q)],
)  # fmt: skip
def test_errors_of_other_quantities_are_refuted(quantity, error):
    formula = maps.derive(shifted_relu(R(1, 3)), quantity)
    wrong = replace(formula, expression=error(formula.expression), stably=None)
    assert isinstance(verify_formula(wrong, digits=20, points=4), Refuted)


def test_errors_of_the_mixing_of_residual_layers_are_refuted():
    formula = residual.variance_map(member("relu"))
    wrong = replace(formula, expression=formula.expression.subs(ALPHA, ALPHA**2), stably=None)
    assert isinstance(verify_formula(wrong, digits=20, points=4), Refuted)


def test_infinity_is_verified_and_its_denial_refuted():
    formula = maps.chi_1(member("sign"))
    assert isinstance(verify_formula(formula, points=1), Verified)
    assert isinstance(verify_formula(replace(formula, expression=sp.S.One), points=1), Refuted)
    finite = maps.chi_1(member("relu"))
    assert isinstance(verify_formula(replace(finite, expression=sp.oo), points=1), Refuted)


# Errors of other forms.


STABLE_ERRORS = [
    lambda e: sp.Integer(42),
    lambda e: e * (1 + R(1, 10**15)),
    lambda e: e + H(TAU - 10 * sp.sqrt(Q)) * Q / 10**9,
]


@pytest.mark.parametrize("error", STABLE_ERRORS)
@pytest.mark.parametrize("quantity", ["second_moment", "slope", "sparsity", "hermite_4"])
def test_a_wrong_stable_form_is_refuted(quantity, error):
    formula = maps.derive(shifted_relu(), quantity)
    wrong = replace(formula, stably=lambda: error(formula.stable))
    verdict = verify_formula(wrong, digits=20, points=16)
    assert isinstance(verdict, Refuted), verdict
    assert verdict.form in ("stable", "lambdify")


@pytest.mark.parametrize("quantity", ["kernel", "ntk", "correlation_curvature"])
def test_a_wrong_stable_form_of_two_inputs_is_refuted(quantity):
    formula = maps.derive(member("relu"), quantity)
    wrong = replace(formula, stably=lambda: formula.stable * (1 + R(1, 10**15)))
    verdict = verify_formula(wrong, digits=20, points=2)
    assert isinstance(verdict, Refuted), verdict
    assert verdict.form == "stable"


@pytest.mark.parametrize("rho", [-1, 0, 1])
@pytest.mark.parametrize("quantity", ["kernel", "correlation_slope"])
def test_a_wrong_limit_is_refuted(quantity, rho):
    formula = maps.derive(member("relu"), quantity)
    right = formula.at_rho
    assert right is not None

    def wrong(at):
        return sp.Integer(42) if at == rho else right(at)

    verdict = verify_formula(replace(formula, at_rho=wrong), digits=15, points=1)
    assert isinstance(verdict, Refuted)
    assert verdict.form == f"at_rho({rho})"


@pytest.mark.parametrize("rho", [-1, 0, 1])
def test_formulas_at_a_correlation_are_verified_and_refuted(rho):
    formula = maps.kernel(shifted_relu(), rho=rho)
    assert isinstance(verify_formula(formula, digits=20, points=4), Verified)
    wrong = replace(formula, expression=formula.expression + Q1)
    assert isinstance(verify_formula(wrong, digits=20, points=1), Refuted)


@pytest.mark.parametrize(
    ("quantity", "error"),
    [("second_moment", lambda q: 1e-9), ("kernel", lambda rho: 1e-9 * (abs(rho) == 1)),
     ("kernel", lambda rho: 1e-9 * (rho == 0)), ("kernel", lambda rho: 1e-9 * (1 - abs(rho) < 1e-8))],
)  # fmt: skip
def test_errors_in_arrays_are_refuted(monkeypatch, quantity, error):
    from gpsym.verify import compare

    right, formula = compare.lambdify, maps.derive(member("relu"), quantity)

    def wrong(formula):
        function, rho = right(formula), formula.variables.index(RHO) if RHO in formula.variables else 0
        return lambda *values: function(*values) * (1 + error(values[rho]))

    monkeypatch.setattr(compare, "lambdify", wrong)
    verdict = verify_formula(formula, digits=15, points=12)
    assert isinstance(verdict, Refuted)
    assert verdict.form == "lambdify"


# Errors of what the derivation is made of; each activation is one that no memo holds yet.


POWER, DERIVATIVE = Piecewise.__pow__, Piecewise.derivative
EXPECTATION, STABLE = one_input.expectation, one_input.stable_expectation


def without_last_piece(f):
    return Piecewise.function(f.ring, f.knots, (*f.pieces[:-1], ()))


@pytest.mark.parametrize(
    ("quantity", "owner", "name", "wrong"),
    [
        ("variance", Piecewise, "__pow__", lambda f, n: POWER(f, 3 if n == 2 else n)),
        ("moment_3", one_input, "expectation", lambda f, *rest: 2 * EXPECTATION(f, *rest)),
        ("moment_4", one_input, "stable_expectation", lambda f, *rest: 2 * STABLE(f, *rest)),
        ("slope", one_input, "_stable_derivative", lambda f, order: STABLE(f, Q)),
        ("curvature", Piecewise, "derivative", lambda f, n=1: DERIVATIVE(f, n).joined()),
        ("chi_1", Piecewise, "derivative", lambda f, n=1: DERIVATIVE(f, n) + DERIVATIVE(f, n)),
        ("sparsity", one_input, "expectation", lambda f, q: EXPECTATION(without_last_piece(f), q)),
        ("hermite_4", Piecewise, "derivative", lambda f, n=1: DERIVATIVE(f, n - (n > 3))),
        ("derivative_moment_0_1", Piecewise, "derivative", lambda f, n=1: f),
    ],
)
def test_errors_of_the_derivation_are_refuted(monkeypatch, quantity, owner, name, wrong):
    place = 3 + len(quantity + name)  # of this case alone
    monkeypatch.setattr(owner, name, wrong)
    formula = maps.derive(parse_activation(f"max(0, {place - 2} - abs(x - {place}))"), quantity)
    verdict = verify_formula(formula, digits=20, points=6)
    assert isinstance(verdict, Refuted), verdict


def test_a_zero_piece_that_is_missed_is_refuted():
    phi = parse_activation("max(0, 1 - abs(x - 3))")
    formula = maps.sparsity(phi)
    assert float(gpsym.evaluate(formula, {"q": 1})) == pytest.approx(0.9772, abs=1e-4)
    missed = replace(formula, expression=sp.erfc(-sp.sqrt(2 / Q)) / 2, stably=None)  # x < 2 alone
    assert isinstance(verify_formula(missed, digits=20, points=6), Refuted)


# What cannot be told.


def test_a_quadrature_that_cannot_tell_is_undecided(monkeypatch):
    monkeypatch.setattr("gpsym.verify.panels._DEPTH", 0)
    monkeypatch.setattr("gpsym.verify.panels._rules", lambda precision: _few_nodes())
    verdict = verify_formula(maps.variance_map(member("relu")), points=1, seed=99)  # points of no other test
    assert isinstance(verdict, Undecided)
    assert "the quadrature error is" in verdict.why
    assert verdict.where.keys() == {"q", "sigma_w2", "sigma_b2"}


def _few_nodes():
    from flint import arb

    return tuple([arb.legendre_p_root(n, k, weight=True) for k in range(n)] for n in (1, 2))


def test_unknown_quantities_are_undecided():
    formula = maps.slope(member("relu"))
    verdict = verify_formula(formula.renamed("steepness"))
    assert isinstance(verdict, Undecided)
    assert verdict.why == "expression: verify has no meaning for steepness of 1 activations"
    assert verdict.where.keys() == {"q", "sigma_w2"}
    assert isinstance(verify_formula(replace(formula, activations=())), Undecided)


def test_conditions_that_no_point_meets_are_undecided():
    formula = replace(maps.slope(shifted_relu()), conditions=(-1 - TAU**2,))
    verdict = verify_formula(formula, points=2)
    assert verdict == Undecided("no point was found that meets -tau**2 - 1 >= 0")


def test_points_where_the_activation_is_of_another_kind_are_left_out_and_said():
    verdict = verify_formula(maps.sparsity(member("prelu")), digits=20, points=9)
    assert isinstance(verdict, Verified)
    assert verdict.points < 9
    assert "not where phi has fewer pieces than elsewhere, as at q = " in verdict.domain
    assert "a = 0.0" in verdict.domain
    wrong = replace(maps.sparsity(member("prelu")), expression=R(1, 10**10))
    assert isinstance(verify_formula(wrong, digits=20, points=9), Refuted)
