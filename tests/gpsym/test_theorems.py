"""The theorems on which the designs rest: for named members, random ones and designs; and where they end."""

from dataclasses import replace

import pytest
import sympy as sp
from flint import arb, fmpq
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from gpsym import equal, evaluate, identity, maps, relu, shifted_relu
from gpsym.activation import Activation
from gpsym.equality import Equal
from gpsym.expression import parse_activation
from gpsym.formula import SIGMA_W2, Q, exact
from gpsym.members import MEMBERS, hard_sigmoid, hard_tanh, soft_threshold
from gpsym.numeric import precise
from gpsym.numeric.balls import enclose
from gpsym.testing import (
    THEOREM_LAWS,
    Inapplicable,
    activations,
    clipped_designs,
    dead_zones,
    unclipped_designs,
    variances,
)
from gpsym.testing.conditions import bends, has_edge_of_chaos, marginal, piecewise_linear, sign_changes
from gpsym.testing.theorems import bend_signs

EVERYWHERE = {"calculus", "existence", "scale_invariance"}
BENT = EVERYWHERE | {"shape", "correlation", "decorrelation"}
UNCLIPPED = BENT | {"marginality", "instability", "chaos_above", "design_is_a_bijection"}
CLIPPED = BENT | {"stability_by_clipping", "lowest_fixed_point", "chaos_above", "design_is_a_bijection"}
HOMOGENEOUS = BENT | {"marginality", "design_is_a_bijection"}
# What each member is subject to; those that jump, or are not piecewise linear, to nothing.
SUBJECT = {
    "relu": HOMOGENEOUS,
    "shifted-relu": UNCLIPPED,
    "soft-threshold": UNCLIPPED,
    "clipped-relu": CLIPPED,
    "clipped-soft-threshold": CLIPPED,
    "identity": EVERYWHERE | {"marginality", "design_is_a_bijection"},
    "abs": HOMOGENEOUS,
    "leaky-relu": HOMOGENEOUS,
    "prelu": HOMOGENEOUS,
    "hard-tanh": CLIPPED,
    "relu6": CLIPPED,
    "hard-sigmoid": CLIPPED - {"design_is_a_bijection"},
}


def meets(law, phi):
    """Whether the theorem speaks of phi; if so it holds."""
    try:
        THEOREM_LAWS[law](phi)
    except Inapplicable:
        return False
    return True


@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_meets_the_theorems_that_speak_of_it(name):
    assert {law for law in THEOREM_LAWS if meets(law, MEMBERS[name]())} == SUBJECT.get(name, set())


# Random members of the wider class.

# x + e for even e = b max(0, |x| - t): phi is t and -t at its knots, where its slope jumps by b.
CANCELLING = st.builds(
    lambda f, slope: f + f.affine(-1) + slope * identity(),
    st.builds(shifted_relu, st.fractions(min_value=0, max_value=4, max_denominator=16)),
    st.integers(1, 4),
)
MARGINAL = activations(zero_at_knots=True) | dead_zones() | CANCELLING


def require(law, phi):
    """The theorem holds for phi, or this is no example."""
    if not meets(law, phi):
        reject()


@given(activations())
def test_slope_is_chi_1_plus_the_clips(phi):
    THEOREM_LAWS["calculus"](phi)


@given(MARGINAL)
def test_marginality(phi):
    require("marginality", phi)


@given(activations(max_knots=2) | MARGINAL)
def test_marginality_holds_nowhere_else(phi):
    slope, chi_1 = maps.slope(phi).expression, maps.chi_1(phi).expression
    assert (equal(slope, chi_1) == Equal()) == (marginal(phi) is None)


@given(MARGINAL)
def test_instability_without_a_clip(phi):
    require("instability", phi)


@given(activations() | dead_zones())
def test_existence(phi):
    require("existence", phi)


@given(activations() | dead_zones())
def test_stability_by_clipping(phi):
    require("stability_by_clipping", phi)


@settings.get_profile("one-input")
@given(dead_zones())
def test_design_is_a_bijection(phi):
    THEOREM_LAWS["design_is_a_bijection"](phi)


@settings.get_profile("one-input")
@given(activations())
def test_shape(phi):
    require("shape", phi)


@given(activations(max_knots=3) | dead_zones())
def test_the_target_is_the_lowest_fixed_point(phi):
    require("lowest_fixed_point", phi)


@settings.get_profile("one-input")
@given(activations())
def test_fixed_points_above_the_target_are_chaotic(phi):
    require("chaos_above", phi)


@settings.get_profile("two-inputs")
@given(activations(max_knots=3))
def test_correlations_increase(phi):
    require("correlation", phi)


@settings.get_profile("two-inputs")
@given(activations(max_knots=3))
def test_correlations_tend_to_1_like_1_over_the_squared_depth(phi):
    require("decorrelation", phi)


@given(activations(max_knots=2))
def test_scale_invariance(phi):
    THEOREM_LAWS["scale_invariance"](phi)


# Designs, up to the ends of their ranges.


def excess(design, ratio):
    """V(q) - q at the edge of chaos for q = ratio * q_star, with the exact sigma_w2 and sigma_b2."""
    moment = maps.second_moment(design.phi).expression
    gradient = maps.chi_1(design.phi).expression / SIGMA_W2
    at_star = {Q: design.q_star}
    ratio = exact(ratio)  # a float would leave 15 digits of the rest
    expression = (moment.subs(Q, Q * ratio) - moment) / gradient - Q * (ratio - 1)
    return precise(expression, at_star, digits=10)


@given(unclipped_designs(), variances())
def test_unclipped_variance_maps_are_convex(design, q):
    """Theorem 3, first part: V'' > 0 everywhere for tau > 0."""
    assert precise(maps.curvature(design.phi).expression.subs(SIGMA_W2, 1), {Q: q}) > 0


@given(unclipped_designs(), st.floats(min_value=1e-2, max_value=1e2).filter(lambda r: abs(r - 1) > 1e-6))
def test_unclipped_designs_run_away_from_above(design, ratio):
    """Theorem 3, second part: V(q) > q for every q != q*; so q* attracts from below and repels from above."""
    assert excess(design, ratio) > 0


@given(clipped_designs())
def test_clipped_designs_are_stable(design):
    """Theorems 4 and 5: for tau >= 0 an edge of chaos exists, sigma_b2 >= 0, and there 0 < V'(q*) < 1."""
    assert design.sigma_b2 >= 0
    assert 0 < design.slope < 1


@given(clipped_designs(), st.floats(min_value=1e-9, max_value=1e-7))
def test_clipped_designs_return_from_both_sides(design, step):
    """Theorem 5: below q* the variance grows, above q* it shrinks, as far as a small step goes."""
    # |V''| q* / (1 - V') bounds how far: at slope 1 - 1e-6 it stays below 1e6.
    assert excess(design, 1 - step) > 0
    assert excess(design, 1 + step) < 0


# Counterexamples to wider statements, certified: a comparison of balls is true only if it is for all numbers in them.


def number(q):
    """The decimal as a ball."""
    q = sp.Rational(q)
    return arb(fmpq(q.p, q.q))


def ball(quantity, phi, q):
    """At sigma_w2 = 1 and sigma_b2 = 0."""
    return enclose(quantity(phi), {"q": sp.Rational(q), "sigma_w2": 1, "sigma_b2": 0})


def gap(phi, q):
    """G = q E phi'^2 - E phi^2, which is sigma_b2 / sigma_w2 at an edge of chaos."""
    return number(q) * ball(maps.chi_1, phi, q) - ball(maps.second_moment, phi, q)


def edge_slope(phi, q):
    """V'(q) if chi_1(q) = 1."""
    return ball(maps.slope, phi, q) / ball(maps.chi_1, phi, q)


def edge_excess(phi, q, q_star):
    """V(q) - q at the edge of chaos at q_star."""
    rise = ball(maps.second_moment, phi, q) - ball(maps.second_moment, phi, q_star)
    return rise / ball(maps.chi_1, phi, q_star) - (number(q) - number(q_star))


def assert_about(value, expected, digits=4):
    assert abs(value - expected) < number(10) ** -digits / 2, f"got {value}, expected {expected}"


def test_marginality_does_not_need_zeros_at_the_knots():
    phi = parse_activation("x + max(0, abs(x) - 1)")
    assert [(t, phi(t)) for t, _ in phi.jumps(1)] == [(-1, -1), (1, 1)]
    assert equal(maps.slope(phi).expression, maps.chi_1(phi).expression) == Equal()
    assert_about(ball(maps.slope, hard_tanh(), 1) - ball(maps.chi_1, hard_tanh(), 1), -0.4839)
    assert not meets("marginality", hard_tanh())


def test_convexity_needs_slopes_that_grow_away_from_zero():
    """Where phi(0) != 0, V'' < 0 is possible though V' = chi_1, but not from an edge of chaos on."""
    assert_about(ball(maps.curvature, shifted_relu(-1), 1), -0.1210)
    assert not meets("instability", shifted_relu(-1))
    mixed = parse_activation("max(0, x + 1) + 3 * max(0, -x - 3)")
    assert meets("marginality", mixed)
    assert ball(maps.curvature, mixed, "1.2136") < 0 < ball(maps.curvature, mixed, "1.2137")
    assert gap(mixed, "3.7564") < 0 < gap(mixed, "3.7565")
    assert meets("instability", mixed)


@pytest.mark.parametrize(
    ("phi", "q", "expected"), [(parse_activation("x + 1"), 1, -1), (shifted_relu(-1), 1, -1.2876)], ids=["x+1", "relu"]
)
def test_no_edge_of_chaos_where_phi_is_not_zero_at_zero(phi, q, expected):
    assert_about(gap(phi, q) / ball(maps.chi_1, phi, q), expected)
    assert has_edge_of_chaos(phi) is not None


def test_an_edge_of_chaos_may_exist_from_some_variance_on():
    assert gap(hard_sigmoid(), "47.2736") < 0 < gap(hard_sigmoid(), "47.2737")
    assert has_edge_of_chaos(hard_sigmoid()) is None


def test_a_slope_that_grows_off_zero_repels_and_has_a_lower_fixed_point():
    phi = parse_activation("max(x, 2*x - 1)")
    assert_about(edge_slope(phi, 1), 1.1639)
    assert gap(phi, 1) > 0
    assert edge_excess(phi, "0.1833", 1) > 0 > edge_excess(phi, "0.1834", 1)
    for law in ("stability_by_clipping", "lowest_fixed_point"):
        assert not meets(law, phi)


def test_the_slope_at_the_edge_may_be_negative():
    tent = parse_activation("max(0, min(x, 2 - x))")
    assert gap(tent, 1) > 0
    assert_about(edge_slope(tent, 1), -0.0140)


def test_two_clip_levels_have_one_slope_where_thresholds_differ():
    slopes = []
    for end in map(sp.Rational, ("2.01", "2.25", "2.5")):
        left = 4 * (shifted_relu(2) - shifted_relu(end)).affine(-1)
        slopes.append(edge_slope(left + shifted_relu(1) - shifted_relu(end), 1))
    for slope, expected in zip(slopes, (0.5730, 0.4707, 0.6008), strict=True):
        assert_about(slope, expected)
    assert not meets("design_is_a_bijection", parse_activation("max(0, x - 1) + 4 * max(0, -x - 2)"))


def test_a_second_clip_level_gives_five_fixed_points():
    phi = parse_activation("min(max(0, x - 1), 2) + min(max(0, x - 6), 8)")
    assert sign_changes(bend_signs(phi)) == 3
    assert gap(phi, 1) > 0
    assert edge_slope(phi, 1) < 1
    for fixed, rises in (("1.2923", True), ("3.0351", False), ("34.4734", True), ("94.3225", False)):
        before, after = (edge_excess(phi, sp.Rational(fixed) + d * sp.Rational("0.00005"), 1) for d in (-1, 1))
        assert before < 0 < after if rises else before > 0 > after, fixed
    assert meets("shape", phi)


def test_named_clipped_maps_are_convex_and_then_concave():
    for name in ("clipped-relu", "clipped-soft-threshold"):
        for tau, inflections in (("1/100", 1), (3, 1), (0, 0)):
            assert sign_changes(bend_signs(MEMBERS[name](tau, "7/5"))) == inflections


def test_relu_forgets_like_9_pi_squared_over_2():
    """Theorem 8: (3 / (2 A))^2 = 9 pi^2 / 2 at sigma_w2 = 2."""
    rate = maps.correlation_rate(relu()).expression.subs(SIGMA_W2, 2)
    assert sp.simplify((sp.Rational(3, 2) / rate) ** 2 - 9 * sp.pi**2 / 2) == 0


def test_conditions_are_named():
    for text, law, why in (
        ("max(0, x - 1)**2", "calculus", "must be piecewise linear, but has degree 2"),
        ("sign(x)", "shape", "must be continuous, but jumps by 2 at 0"),
        ("min(max(0, x - 1), 2)", "marginality", r"must add up to 0 at \|x\| = 3, but adds up to -2"),
        ("2*x", "correlation", "must not be affine"),
        ("abs(x)", "chaos_above", "for which V is linear"),
        ("max(0, x + 1)", "chaos_above", "no edge of chaos exists at any q"),
        ("max(x, 2*x - 1)", "lowest_fixed_point", r"summed over knots \|t\| <= 1"),
        ("max(0, x - 1)", "stability_by_clipping", "must be negative at some knot"),
        ("max(0, x - 1) + max(0, x - 2)", "design_is_a_bijection", r"must be 0 for \|x\| < tau"),
    ):
        with pytest.raises(Inapplicable, match=why):
            THEOREM_LAWS[law](parse_activation(text))
    with pytest.raises(Inapplicable, match="must not be constant"):
        THEOREM_LAWS["existence"](Activation((), ((3,),)))


@pytest.mark.parametrize(
    ("quantity", "change", "law"),
    [
        ("slope", lambda e: e * (1 + sp.Rational(1, 10**12)), "calculus"),
        ("slope", lambda e: e / 2, "design_is_a_bijection"),
        ("curvature", lambda e: -e, "instability"),
        ("chi_1", lambda e: 2 * e, "marginality"),
        ("second_moment", lambda e: e * (1 + Q / 100), "existence"),
        ("derivative_moment", lambda e: e * 9 / 10, "chaos_above"),
        ("kernel", lambda e: e / 10, "correlation"),
        ("correlation_curvature", lambda e: -e, "correlation"),
        ("correlation_rate", lambda e: e * 1001 / 1000, "decorrelation"),
        ("sparsity", lambda e: e + Q, "scale_invariance"),
    ],
)
def test_a_wrong_formula_breaks_its_theorem(monkeypatch, quantity, change, law):
    right = getattr(maps, quantity)

    def wrong(*arguments, **options):
        formula = right(*arguments, **options)
        return replace(formula, expression=change(formula.expression))

    phi = soft_threshold("7/11")  # of no other test: edges of chaos are cached
    monkeypatch.setattr(maps, quantity, wrong)
    with pytest.raises(AssertionError):
        meets(law, phi)


@pytest.mark.parametrize("law", ["stability_by_clipping", "lowest_fixed_point"])
def test_a_theorem_fails_outside_its_condition(law):
    with pytest.raises(AssertionError, match="must be > 0, got -"):
        THEOREM_LAWS[law].__wrapped__(parse_activation("max(x, 2*x - 1)"))


def test_what_is_said_of_symbols_names_their_numbers(monkeypatch):
    with pytest.raises(Inapplicable, match=r"must be negative at some knot, at tau = [\d/]+$"):
        THEOREM_LAWS["stability_by_clipping"](shifted_relu())
    monkeypatch.setattr("gpsym.testing.theorems.bend_signs", lambda phi: ())
    with pytest.raises(AssertionError, match=r"at most 0 times, got 1, at tau = -?[\d/]+, m = [\d/]+$"):
        THEOREM_LAWS["shape"](MEMBERS["clipped-relu"]())


@given(activations())
def test_bends_hold_all_knots(phi):
    assert {bend.knot for bend in bends(phi)} == {abs(t) for t in phi.knots}
    assert piecewise_linear(phi) is None
    at_1 = {"q": 1, "sigma_w2": 1}
    clips = sum(bend.clip * sp.exp(-(bend.knot**2) / 2) / sp.sqrt(2 * sp.pi) for bend in bends(phi))
    difference = evaluate(maps.slope(phi), at_1, 30) - evaluate(maps.chi_1(phi), at_1, 30)
    size = 1 + abs(evaluate(maps.chi_1(phi), at_1, 30))
    assert abs(difference - sp.N(clips, 30)) < 1e-25 * size  # 30 digits of the summands
