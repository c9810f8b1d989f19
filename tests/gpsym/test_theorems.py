"""The theorems on which the designs rest, as properties of random members of the family."""

from hypothesis import given
from hypothesis import strategies as st

from gpsym import evaluate, maps
from gpsym.equality import Equal, equal
from gpsym.formula import SIGMA_W2, Q, exact
from gpsym.numeric import precise
from gpsym.special import density
from gpsym.testing import activations, clipped_designs, unclipped_designs, variances


def excess(design, ratio):
    """V(q) - q at the edge of chaos for q = ratio * q_star, with the exact sigma_w2 and sigma_b2."""
    moment = maps.second_moment(design.phi).expression
    gradient = maps.chi_1(design.phi).expression / SIGMA_W2
    at_star = {Q: design.q_star}
    ratio = exact(ratio)  # a float would leave 15 digits of the rest
    expression = (moment.subs(Q, Q * ratio) - moment) / gradient - Q * (ratio - 1)
    return precise(expression, at_star, digits=10)


@given(activations())
def test_slope_is_chi_1_plus_the_clip_terms(phi):
    """Theorem 1: V' = chi_1 + sigma_w2 sum of phi(t) * (jump of phi' at t) * density of N(0, q) at t."""
    clips = [phi(t) * jump * density(t, Q) for t, jump in phi.jumps(1)]
    slope, chi_1 = (f(phi).expression.subs(SIGMA_W2, 1) for f in (maps.slope, maps.chi_1))
    assert equal(slope, chi_1 + sum(clips)) == Equal()


@given(activations(zero_at_knots=True), variances())
def test_marginality(phi, q):
    """Theorem 2: where phi vanishes at every knot, V'(q) = chi_1(q) for all q."""
    values = {"q": q, "sigma_w2": 1}
    assert evaluate(maps.slope(phi), values, digits=25) == evaluate(maps.chi_1(phi), values, digits=25)


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
