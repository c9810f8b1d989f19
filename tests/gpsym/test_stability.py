"""Fixed points and basins against the theory's examples, iteration of the map, and maps built to have them."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from gpsym import maps
from gpsym.activation import Activation
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.members import leaky_relu, member
from gpsym.numeric import evaluate, lambdify
from gpsym.stability import Layer, basin, fixed_points, gain_margin
from gpsym.testing import activations, clipped_designs, piecewise_polynomials, unclipped_designs, variances

UNCLIPPED = [("shifted-relu", 0.85), ("shifted-relu", 0.6), ("soft-threshold", 0.85), ("soft-threshold", 0.3)]
CLIPPED = list(itertools.product(("clipped-relu", "clipped-soft-threshold"), (0.5, 0.85), (0.3, 0.9)))


def clipped_design(activation: str, sparsity: float, slope: float, q_star: float = 1.0) -> CriticalInit:
    return edge_of_chaos(activation, sparsity=sparsity, slope=slope, q_star=q_star)


def iterated(design: CriticalInit, q: float, layers: int) -> float:
    variance_map = lambdify(maps.variance_map(design.phi), "numpy")
    for _ in range(layers):
        q = float(variance_map(q=q, sigma_w2=design.sigma_w2, sigma_b2=design.sigma_b2))
    return q


def test_clipped_soft_threshold_of_slope_0_9_has_three_fixed_points():
    """Numbers of the theory note, theorem 7, to the digits given there."""
    target, middle, upper = fixed_points(clipped_design("clipped-soft-threshold", 0.85, 0.9))
    assert (target.q, target.kind) == (1.0, "attracting")
    assert (target.slope, target.chi_1) == pytest.approx((0.9, 1.0), abs=1e-14)
    assert middle.kind == "repelling"
    assert (middle.q, middle.slope) == pytest.approx((1.263, 1.08), abs=5e-3)
    assert upper.kind == "attracting"
    assert (upper.q, upper.slope, upper.chi_1) == pytest.approx((5.340, 0.71, 2.28), abs=5e-3)


@pytest.mark.parametrize(("activation", "sparsity", "slope"), CLIPPED)
@pytest.mark.parametrize("q_star", [1.0, 0.02])
def test_theorem_clipped_fixed_points(activation, sparsity, slope, q_star):
    """Theorem 7: at most three, q_star lowest and attracting, those above it chaotic."""
    design = clipped_design(activation, sparsity, slope, q_star)
    target, *others = fixed_points(design)
    assert (target.q, target.kind) == (q_star, "attracting")
    assert len(others) in (0, 2)
    for point in others:
        values = {"q": point.q, "sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2}
        # One rounding of q moves V(q) - q by |V' - 1| of it.
        assert float(evaluate(maps.variance_map(design.phi), values)) == pytest.approx(point.q, rel=1e-14)
        assert point.chi_1 > 1
    assert [point.kind for point in others] in ([], ["repelling", "attracting"])


@pytest.mark.parametrize(("activation", "sparsity"), UNCLIPPED)
def test_theorem_instability(activation, sparsity):
    """Theorem 3: q_star is the only fixed point, marginal, and attracts from the left alone."""
    design = edge_of_chaos(activation, sparsity=sparsity, q_star=3.0)
    (point,) = fixed_points(design)
    assert (point.q, point.kind) == (3.0, "marginal")
    assert basin(design) == (0.0, 3.0)
    assert iterated(design, 0.1, 3000) == pytest.approx(3.0, rel=0.01)
    assert iterated(design, 3.3, 300) > 1e6


@pytest.mark.parametrize("activation", ["relu", "soft-threshold"])
def test_identity_keeps_every_variance(activation):
    """ReLU, and soft threshold at tau = 0, have V(q) = q: nothing comes back to q_star."""
    design = edge_of_chaos(activation, sparsity=None if activation == "relu" else 0.0, q_star=2.0)
    (point,) = fixed_points(design)
    assert (point.q, point.kind) == (2.0, "marginal")
    assert basin(design) == (2.0, 2.0)


def test_basin_ends_at_the_repelling_fixed_point():
    design = clipped_design("clipped-soft-threshold", 0.85, 0.9)
    low, high = basin(design)
    _, middle, upper = fixed_points(design)
    assert low == 0
    assert high == middle.q
    assert iterated(design, 0.999 * high, 1000) == pytest.approx(1.0, rel=1e-9)
    assert iterated(design, 1.001 * high, 1000) == pytest.approx(upper.q, rel=1e-9)


def test_basin_without_other_fixed_points_is_unbounded():
    design = clipped_design("clipped-relu", 0.85, 0.7)
    assert basin(design) == (0.0, None)
    assert iterated(design, 1e5, 300) == pytest.approx(1.0, rel=1e-9)


def test_fixed_point_within_a_grid_step_of_the_target():
    """Close to slope 1 the repelling one is at q_star + 2 (1 - slope) / V'' + O((1 - slope)^2)."""
    design = edge_of_chaos("clipped-soft-threshold", sparsity=0.85, m=3.5)
    distance = 2 * (1 - design.slope) / design.curvature
    assert distance < 0.001  # the grid's steps are 0.0035
    middle = fixed_points(design)[1]
    assert middle.q - 1 == pytest.approx(distance, rel=0.01)
    assert basin(design) == (0.0, middle.q)


def test_fixed_point_within_a_grid_step_left_of_the_target():
    """The same pair, seen from the repelling one."""
    design = edge_of_chaos("clipped-soft-threshold", sparsity=0.85, m=3.5)
    lower, middle, upper = fixed_points(design)
    points = fixed_points(replace(design, q_star=middle.q))
    # Which q is fixed is known to the rounding of V / |V' - 1|.
    assert [point.q for point in points] == pytest.approx([lower.q, middle.q, upper.q], rel=1e-10)
    assert [point.kind for point in points] == ["attracting", "repelling", "attracting"]


@pytest.mark.parametrize("tau", [5e-324, 1e-160])
def test_threshold_next_to_zero(tau):
    """The rounded weight variance is then 1, which has another fixed point: the exact one decides."""
    with pytest.raises(ValueError, match="need coefficients that 128 bits tell from 0"):
        fixed_points(edge_of_chaos("st", tau=tau))


def test_repelling_target():
    """phi with phi' of size 1, then 2 beyond a kink at which phi is not 0: V'(q_star) > 1 although chi_1 = 1."""
    phi = Activation((-1, 1), ((1, 2), (0, 1), (-1, 2)), "steepening")
    design = edge_of_chaos(phi)
    assert design.slope > 1
    lower, target = fixed_points(design)
    assert (target.q, target.kind, lower.kind) == (1.0, "repelling", "attracting")
    assert basin(design) == (1.0, 1.0)
    assert iterated(design, 0.999, 200) == pytest.approx(lower.q, rel=1e-9)
    assert iterated(design, 1.001, 200) > 1e6


def test_basin_refuses_a_map_that_decreases():
    """A bump: large inputs give 0 again, so V rises and falls."""
    phi = Activation((0, 1, 2), ((), (0, 1), (2, -1), ()), "bump")
    design = edge_of_chaos(phi, q_star=0.1)
    assert design.sigma_b2 >= 0
    with pytest.raises(ValueError, match=r"need a variance map that increases.*from q = 0\.899262 to inf for bump"):
        basin(design)


def test_lower_end_of_a_basin():
    """Started from the upper fixed point of a design, the basin runs from the repelling one upwards."""
    design = clipped_design("clipped-soft-threshold", 0.85, 0.9)
    _, middle, upper = fixed_points(design)
    low, high = basin(replace(design, q_star=upper.q, slope=upper.slope, chi_1=upper.chi_1))
    assert low == pytest.approx(middle.q, rel=1e-12)
    assert high is None


def test_scale_theorem():
    """Theorem 9: the fixed points scale with q_star, and their slopes stay."""
    points = fixed_points(clipped_design("clipped-soft-threshold", 0.85, 0.9))
    scaled = fixed_points(clipped_design("clipped-soft-threshold", 0.85, 0.9, q_star=100.0))
    for point, other in zip(points, scaled, strict=True):
        # Designs are rounded to float64, which V' ~ 1 magnifies by 1 / |V' - 1|.
        assert other.q == pytest.approx(100 * point.q, rel=1e-12)
        assert (other.slope, other.chi_1) == pytest.approx((point.slope, point.chi_1), rel=1e-12)
        assert math.isfinite(other.q)


@pytest.mark.parametrize(
    ("activation", "ends"),
    [
        (member("shifted-relu", tau=1e-7), (0.0, 1.0)),
        (leaky_relu(0.1), (1.0, 1.0)),
        (leaky_relu(0.3), (1.0, 1.0)),
    ],
    ids=["nearly linear", "identity", "another identity"],
)
def test_no_fixed_point_from_rounding(activation, ends):
    """V(q) - q is 0 or below float64's rounding over many steps of the grid."""
    design = edge_of_chaos(activation)
    assert len(fixed_points(design)) == 1
    assert basin(design) == ends


@pytest.mark.parametrize("name", ["identity", "abs", "leaky-relu"])
def test_homogeneous_activations_keep_every_variance(name):
    """phi(c x) = c phi(x) for c > 0 makes V linear, and the identity at the edge of chaos."""
    design = edge_of_chaos(name, q_star=7.0)
    (point,) = fixed_points(design)
    assert (point.q, point.kind) == (7.0, "marginal")
    assert basin(design) == (7.0, 7.0)


def test_squared_relu_has_a_stable_point_below_its_edge_of_chaos():
    """V(q) = q^2 sigma_w2 3 / 2 + sigma_b2 with roots q* and q* / 3, slopes 3 / 2 and 1 / 2."""
    design = edge_of_chaos("squared-relu", q_star=6.0)
    lower, target = fixed_points(design)
    assert (lower.q, lower.slope, lower.chi_1) == pytest.approx((2, 1 / 2, 1 / 3), rel=1e-12)
    assert (target.q, target.kind, lower.kind) == (6.0, "repelling", "attracting")
    assert basin(design) == (6.0, 6.0)


def test_clips_on_both_sides_make_hard_tanh_stable():
    """Bounded and increasing: every variance returns."""
    design = edge_of_chaos("hard-tanh")
    assert [point.kind for point in fixed_points(design)] == ["attracting"]
    assert basin(design) == (0.0, None)
    assert iterated(design, 1e4, 100) == pytest.approx(1.0, rel=1e-12)


def test_hard_swish_is_between_linear_and_relu():
    """Small variances see x / 2, large ones ReLU; at q* = 1 the slope is above 1, with a stable point below."""
    lower, target = fixed_points(edge_of_chaos("hard-swish"))
    assert (target.kind, lower.kind) == ("repelling", "attracting")
    assert target.slope == pytest.approx(1.131872678406498, rel=1e-12)
    design = edge_of_chaos("hard-swish", q_star=30.0)
    assert [point.kind for point in fixed_points(design)] == ["attracting"]


def scaled(design: CriticalInit, gain: float) -> Layer:
    return Layer(design.phi, gain * design.sigma_w2, design.sigma_b2)


def above(design: CriticalInit, gain: float) -> int:
    """How many fixed points there are from q_star on when all weight variances have grown by the gain."""
    return sum(point.q >= design.q_star for point in fixed_points(scaled(design, gain)))


def test_gain_margin_of_clipped_soft_thresholding():
    """At 1.068 times its weight variance the design of slope 0.8 loses q = 1.39 and jumps to 2.15."""
    design = clipped_design("clipped-soft-threshold", 0.85, 0.8)
    margin = gain_margin(design)
    assert margin == pytest.approx(1.0683967, abs=1e-7)
    kept, lost = (
        iterated(replace(design, sigma_w2=design.sigma_w2 * margin * g), 1.0, 2_000) for g in (0.9999, 1.0001)
    )
    assert kept < 1.4
    assert lost > 2.1


@pytest.mark.parametrize(
    ("activation", "sparsity", "slope"),
    [
        ("clipped-soft-threshold", 0.85, 0.76),
        ("clipped-soft-threshold", 0.85, 0.8),
        ("clipped-soft-threshold", 0.85, 0.9),
        ("clipped-soft-threshold", 0.95, 0.6),
        ("clipped-relu", 0.85, 0.9),
        ("clipped-relu", 0.85, 0.95),
        ("clipped-relu", 0.95, 0.8),
    ],
)
@pytest.mark.parametrize("q_star", [1.0, 4.0])
def test_at_the_gain_margin_two_fixed_points_vanish(activation, sparsity, slope, q_star):
    """And without a margin there is one above q_star at every gain; the margin does not depend on q_star."""
    design = clipped_design(activation, sparsity, slope, q_star)
    margin = gain_margin(design)
    if math.isinf(margin):
        assert {above(design, gain) for gain in (1.001, 1.01, 1.1, 1.5, 3, 10)} == {1}
        return
    assert margin > 1
    assert above(design, margin * (1 - 1e-6)) - above(design, margin * (1 + 1e-6)) == 2
    assert margin == pytest.approx(gain_margin(clipped_design(activation, sparsity, slope)), rel=1e-9)


@pytest.mark.parametrize(("activation", "sparsity"), [("relu", None), ("identity", None), *UNCLIPPED])
def test_unclipped_activations_have_no_gain_margin(activation, sparsity):
    assert gain_margin(edge_of_chaos(activation, sparsity=sparsity)) == 1


@given(clipped_designs())
def test_theorem_below_the_gain_margin_the_variance_stays_near(design):
    """Between q_star and the first turn of g(q) it increases: a gain in between has its fixed point there."""
    margin = gain_margin(design)
    gain = 1 + (min(margin, 3.0) - 1) / 2
    if gain > 1 + 1e-9:
        point = next(p for p in fixed_points(scaled(design, gain)) if p.q > design.q_star)
        assert point.kind == "attracting"


def gaps(layer, q: np.ndarray) -> np.ndarray:
    """V(q) / q - 1 of arrays, which share nothing with balls."""
    formula = maps.variance_map(layer.phi)
    values = {"q": q, "sigma_w2": layer.sigma_w2, "sigma_b2": layer.sigma_b2}
    return lambdify(formula)(**{str(v): values[str(v)] for v in formula.variables}) / q - 1


def assert_complete(layer) -> None:
    """All reported are fixed points, and a scan of steps of 0.5 % from 1e-8 to 1e8 sees no other.

    The number of fixed points between places whose signs are certain has the parity that they ask for, and between
    two neighbours among the fixed points no sign but one occurs.
    """
    points = [point.q for point in fixed_points(layer)]
    q = np.exp(np.linspace(math.log(1e-8), math.log(1e8), 7368))
    gap = gaps(layer, q)
    # Arrays are good to 1e-12 of E phi^2, which is at most |V / q - 1| + 1 of q.
    certain = np.abs(gap) > 1e-11 * (1 + np.abs(gap))
    for (a, s), (b, t) in itertools.pairwise(zip(q[certain], np.sign(gap[certain]), strict=True)):
        inside = [p for p in points if a < p < b]
        # A double zero is one point, at which no sign changes.
        marginal = [p for p in fixed_points(layer) if p.q in inside and p.kind == "marginal"] if inside else []
        assert (len(inside) - len(marginal)) % 2 == (s != t), f"{s} at {a}, {t} at {b}, between them {inside}"
    for point in points:
        distance = 1e-12 * point
        ends = [
            float(
                evaluate(maps.variance_map(layer.phi), {"q": p, "sigma_w2": layer.sigma_w2, "sigma_b2": layer.sigma_b2})
            )
            - p
            for p in (point - distance, point + distance)
        ]
        marginal = min(map(abs, ends)) < 1e-11 * point
        assert marginal or ends[0] * ends[1] < 0, f"no fixed point at {point}"


@given(activations(), variances(), variances())
def test_theorem_all_fixed_points_of_piecewise_linear_layers(phi, sigma_w2, sigma_b2):
    assert_complete(Layer(phi, sigma_w2, sigma_b2))


@given(piecewise_polynomials(max_knots=3, max_degree=2), variances(), st.just(0.0) | variances())
def test_theorem_all_fixed_points_of_layers_with_jumps(phi, sigma_w2, sigma_b2):
    assert_complete(Layer(phi, sigma_w2, sigma_b2))


@given(clipped_designs() | unclipped_designs())
def test_theorem_all_fixed_points_of_designs(design):
    """Theorem 7: at most three, q_star among them, exactly."""
    points = fixed_points(design)
    assert design.q_star in [point.q for point in points]
    assert len(points) <= 3
    assert_complete(design)


@pytest.mark.parametrize(("depth", "count"), [(-1e-10, 3), (1e-10, 1), (-1e-16, 3), (1e-16, 1)])
def test_pairs_next_to_a_fold(depth, count):
    """sigma_b2 such that V(q) - q = -depth at its local maximum right of the middle one: far within any scan's step."""
    design = clipped_design("clipped-soft-threshold", 0.85, 0.9)
    _, middle, upper = fixed_points(design)
    low = edge_of_chaos("clipped-soft-threshold", tau=design.tau, m=design.m)
    q = np.linspace(middle.q, upper.q, 200001)
    turn = float(q[np.argmax(gaps(low, q) * q)])
    for _ in range(4):  # Newton's method for V'(q) = 1
        values = {"q": turn, "sigma_w2": low.sigma_w2, "sigma_b2": low.sigma_b2}
        slope, bend = (float(evaluate(f(low.phi), values)) for f in (maps.slope, maps.curvature))
        turn -= (slope - 1) / bend
    values = {"q": turn, "sigma_w2": low.sigma_w2, "sigma_b2": 0}
    top = evaluate(maps.variance_map(low.phi), values, 40)
    # A rational keeps what a float would round.
    sigma_b2 = sp.Rational(turn) - sp.Rational(str(top)) - sp.Rational(str(depth))
    layer = Layer(low.phi, low.sigma_w2, sigma_b2)
    assert len(fixed_points(layer)) == count
