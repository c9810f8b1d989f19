"""Formulas of arrays: accurate in every corner, lawful, and clear about bad values."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpsym import lambdify, maps, member
from gpsym.formula import Formula, Q
from gpsym.numeric import arrays
from gpsym.numeric.balls import enclose
from gpsym.numeric.moments import log_tail_moment
from gpsym.numeric.precise import precise
from gpsym.numeric.rectangles import log_bivariate_tail
from gpsym.special import TailMoment
from gpsym.stable import IntervalMoment, RectangleMoment

FOUR = ("clipped-relu", "clipped-soft-threshold", "shifted-relu", "soft-threshold")
ONE_INPUT = ("variance", "slope", "chi_1", "moment_4")
BACKENDS = ("numpy", "torch")


def on(backend, formula, *values):
    """The formula on columns of numbers, as an array of numpy."""
    if backend == "numpy":
        return lambdify(formula)(*values)
    return lambdify(formula, "torch")(*(torch.as_tensor(v, dtype=torch.float64) for v in values)).numpy()


def columns(formula, points):
    return [np.array([p[str(v)] for p in points]) for v in formula.variables]


def assert_within(formula, points, values, digits):
    """To this relative error of the balls; what is below 1e-290 may be anything up to that."""
    for point, value in zip(points, values, strict=True):
        exact = enclose(formula, point, least=1e-290)
        assert abs(float(value) - exact) <= digits * abs(exact) + 1e-290, f"{point}: got {value}, exact {exact}"


# Accuracy.

CORNERS = [
    {"q": q, "tau": a * math.sqrt(q), "m": mu * math.sqrt(q), "sigma_w2": 1.5, "sigma_b2": 0.0}
    for q, a, mu in itertools.product((1e-3, 1.7), (1e-8, 0.3, 3.1, 10.0, 36.9), (1e-8, 0.02, 1.1, 3.1, 7.0, 1e8))
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("quantity", ONE_INPUT)
@pytest.mark.parametrize("name", FOUR)
def test_one_input_in_every_corner(name, quantity, backend):
    formula = maps.derive(member(name), quantity)
    assert_within(formula, CORNERS, on(backend, formula, *columns(formula, CORNERS)), 1e-14)


def test_thresholds_far_out_at_any_variance():
    """Rounding of tau / sqrt(q) alone would cost 2e-13."""
    rng = np.random.default_rng(1)
    points = [{**CORNERS[0], "q": q, "tau": a * math.sqrt(q)} for q, a in rng.uniform((0.1, 30), (9, 37), (30, 2))]
    formula = maps.variance_map(member("shifted-relu"))
    assert_within(formula, points, on("numpy", formula, *columns(formula, points)), 1e-14)


PAIRS = [
    {"q1": 1.3, "q2": 1.3 * ratio, "tau": a, "m": mu, "rho": rho, "sigma_w2": 1.0}
    for ratio, a, mu, rho in itertools.product(
        (1.0, 1 + 1e-9, 5.0),
        (1e-8, 1.2, 11.0),
        (1e-7, 1.0),
        (-1 + 1e-12, -0.4, -1e-9, 1e-12, 0.03, 0.5, 1 - 1e-6, 1 - 1e-15),
    )
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("quantity", ["kernel", "correlation_slope"])
@pytest.mark.parametrize("name", FOUR)
def test_two_inputs_in_every_corner(name, quantity, backend):
    formula = maps.derive(member(name), quantity)
    points = PAIRS[:: 2 if name.startswith("c") else 3]
    assert_within(formula, points, on(backend, formula, *columns(formula, points)), 1e-12)


@pytest.mark.parametrize(("gap", "rho"), [(1e-8, 1 - 1e-15), (-1e-7, 1 - 1e-14), (3e-9, 1 - 2e-16), (0.01, 0.9999)])
def test_intervals_that_meet_at_their_ends(gap, rho):
    """P(0 < U < 1 + gap, V > 1): what the ends decide, within some s = sqrt(1 - rho^2) of each other."""
    rho_ = sp.Symbol("rho", real=True)
    place = (0, 0, sp.Rational(1 + gap), 0, 1, sp.oo, 1, 1, rho_)
    named, closed = (
        Formula("rectangle", "P", "", (rho_,), (), sp.S.Zero, expression, "test")
        for expression in (RectangleMoment(*place), RectangleMoment(*place).rewrite(sp.erfc))
    )
    assert_within(closed, [{"rho": rho}], on("numpy", named, [rho]), 1e-12)


def test_the_second_derivative_of_a_kernel_next_to_1():
    formula = maps.correlation_curvature(member("crelu"))
    points = [p for p in PAIRS if p["rho"] > 0.9 and p["m"] == 1.0]
    assert_within(formula, points, on("numpy", formula, *columns(formula, points)), 1e-11)


@pytest.mark.parametrize("n", range(6))
def test_tail_moments_keep_their_digits(n):
    h = sp.Symbol("h", real=True)
    formula = Formula("moment", "H", "", (h,), (), sp.S.Zero, TailMoment(n, h), "test")
    far = np.random.default_rng(0).uniform(20, 37, 30)  # where rounding of h^2 / 2 alone would cost 1e-13
    points = [{"h": x} for x in (-30.0, -2.0, -1e-9, 0.0, 0.7, 8.0, 37.0, *far)]
    assert_within(formula, points, on("numpy", formula, *columns(formula, points)), 1e-14)


@pytest.mark.parametrize("n", range(4))
def test_logarithms_of_tail_moments(n):
    """Far below what float64 holds, against two terms of the asymptotic series, and against the moments elsewhere."""
    h = np.array([-3.0, -0.5, 0.0, 2.0, 30.0])
    found = log_tail_moment(n, h)
    with mpmath.workdps(60):
        exact = [float(mpmath.log(mpmath.mpf(sp.Float(TailMoment(n, sp.Rational(x)).evalf(50))._mpf_))) for x in h]
    np.testing.assert_allclose(found, exact, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(log_tail_moment(n, torch.tensor(h)).numpy(), found, rtol=2e-15)
    far = log_tail_moment(n, 1e4)
    leading = math.lgamma(n + 1) - (n + 1) * math.log(1e4) - 5e7 - math.log(2 * math.pi) / 2
    assert far == pytest.approx(leading - (n + 1) * (n + 2) / 2 / 1e8, rel=1e-15)


@pytest.mark.parametrize("orders", [(0, 0), (1, 1)])
def test_logarithms_of_bivariate_tails_and_of_kernels(orders):
    """L and K, of which most are far below what float64 holds, against mpmath."""
    places = [(60, 50, 0.5), (60, 50, -0.5), (1, 2, 0.3), (-1, 2, 0.3), (900, 1000, 0.9), (300, 300, 0.999999)]
    found = log_bivariate_tail(*(np.array(column, float) for column in zip(*places, strict=True)), orders)
    i, j = orders
    rho = sp.Symbol("rho", real=True)
    for (h, k, r), value in zip(places, found, strict=True):
        exact = precise(RectangleMoment(i, h, sp.oo, j, k, sp.oo, 1, 1, rho).rewrite(sp.erfc), {rho: r}, 30)
        with mpmath.workdps(40):
            assert value == pytest.approx(float(mpmath.log(exact)), rel=1e-14)
    tensors = (torch.tensor(column, dtype=torch.float64) for column in zip(*places, strict=True))
    np.testing.assert_allclose(log_bivariate_tail(*tensors, orders).numpy(), found, rtol=1e-14)


def test_logarithms_of_pairs_want_a_correlation():
    with pytest.raises(ValueError, match=r"log_bivariate_tail: need -1 <= rho <= 1, got 1.5; pass correlations"):
        log_bivariate_tail(1.0, 1.0, 1.5)


def test_logarithms_want_an_order():
    with pytest.raises(ValueError, match=r"log_tail_moment: need an order n = 0, 1, 2, ..., got -1; pass one"):
        log_tail_moment(-1, 1.0)


@given(st.floats(-20, 20), st.floats(1e-8, 40), st.integers(0, 5))
def test_moments_of_any_interval(t, w, n):
    """Also left of 0 and across it."""
    formula = Formula(
        "moment",
        "M",
        "",
        (Q,),
        (),
        sp.S.Zero,
        IntervalMoment(n, sp.Rational(t), sp.Rational(w), Q).rewrite(sp.erfc),
        "t",
    )
    stable = IntervalMoment(n, sp.Rational(t), sp.Rational(w), Q)
    named = Formula("moment", "M", "", (Q,), (), sp.S.Zero, stable, "test")
    point = {"q": 1.9}
    assert_within(formula, [point], on("numpy", named, [1.9]), 1e-13)


# Laws.

tau_and_m = {"tau": st.floats(0, 5), "m": st.floats(1e-6, 20)}
VARIANCES = np.geomspace(1e-3, 1e3, 60)


@pytest.mark.parametrize("name", ["clipped-relu", "clipped-soft-threshold"])
@given(**tau_and_m)
def test_variance_maps_of_arrays_increase_and_stay_below_their_limit(name, tau, m):
    """V rises from V(0) to V(oo) = sigma_w2 k m^2 / 2, k = 1 or 2 sides; V' > 0; chi_1 <= sigma_w2."""
    phi, sides = member(name), 2 if "soft" in name else 1
    v = lambdify(maps.variance_map(phi))([0, *VARIANCES, np.inf], tau, m, 1.0, 0.0)
    assert np.all(np.diff(v) >= 0)
    assert v[0] == 0
    assert v[-1] == pytest.approx(sides * m * m / 2, rel=1e-14)
    slope, chi_1 = (lambdify(f(phi))(VARIANCES, tau, m, 1.0) for f in (maps.slope, maps.chi_1))
    assert np.all(slope >= 0)
    assert np.all((chi_1 >= 0) & (chi_1 <= 1))


@pytest.mark.parametrize("name", ["shifted-relu", "soft-threshold"])
@given(tau=st.floats(0.01, 5))
def test_unclipped_variance_maps_of_arrays_are_convex(name, tau):
    assert np.all(lambdify(maps.curvature(member(name)))(VARIANCES, tau, 1.0) >= 0)


@pytest.mark.parametrize("name", FOUR)
@given(q2=st.floats(0.1, 10), **tau_and_m)
def test_kernels_of_arrays_increase_and_are_symmetric(name, q2, tau, m):
    """E phi(u) phi(v) increases in rho, is symmetric, and convex on [0, 1] (its Hermite coefficients are squares)."""
    phi = member(name)
    kernel = lambdify(maps.kernel(phi))
    rho = np.linspace(-1, 1, 41)
    parameters = [{"tau": tau, "m": m}[str(p)] for p in phi.parameters]
    k = kernel(1.0, q2, rho, *parameters)
    scale = max(abs(k[0]), k[-1])
    assert np.all(np.diff(k) >= -1e-14 * scale)
    np.testing.assert_allclose(kernel(q2, 1.0, rho, *parameters), k, rtol=1e-12, atol=1e-300)
    same = kernel(1.0, 1.0, rho[20:], *parameters)
    assert np.all(np.diff(same, 2) >= -1e-13 * same[-1])


@given(st.integers(0, 2**32 - 1), st.floats(0, 3), st.floats(0.01, 5))
def test_kernel_matrices_are_positive_semi_definite(seed, tau, m):
    x = np.random.default_rng(seed).standard_normal((6, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    matrix = lambdify(maps.kernel(member("crelu")))(1.0, 1.0, np.clip(x @ x.T, -1, 1), tau, m)
    assert np.linalg.eigvalsh((matrix + matrix.T) / 2).min() >= -1e-13 * matrix.max()


@given(st.floats(-0.999, 0.999), st.floats(-3, 3), st.floats(0.2, 5))
def test_differential_equations_of_the_kernel_of_ramps(rho, tau, q2):
    """dK/drho = sqrt(q1 q2) L and d^2 K / drho^2 = q1 q2 times the joint density, K of ReLU_tau, by autograd."""
    phi = member("shifted-relu")
    kernel, slope, curvature = (
        lambdify(f(phi), "torch") for f in (maps.kernel, maps.correlation_slope, maps.correlation_curvature)
    )
    r = torch.tensor(rho, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(kernel(1.0, q2, r, tau), r, create_graph=True)
    (second,) = torch.autograd.grad(first, r)
    root = math.sqrt(q2)
    torch.testing.assert_close(first.detach(), root * slope(1.0, q2, r.detach(), tau, 1.0), rtol=1e-12, atol=1e-300)
    torch.testing.assert_close(second, root * curvature(1.0, q2, r.detach(), tau, 1.0), rtol=1e-11, atol=1e-300)


# Bad and special values.

CRELU = member("crelu")


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_goes_to_nan_and_nowhere_else(backend):
    nan, q = math.nan, [1.0, 2.0, 3.0]
    v = on(backend, maps.variance_map(CRELU), [1.0, nan, 3.0], 0.9, [1.0, 1.0, nan], 2.0, 0.1)
    assert np.isnan(v).tolist() == [False, True, True]
    for rho in ([nan, 0.3, 0.4], [nan, 1.0, -1.0], [nan, 0.0, 1e-3]):
        assert np.isnan(on(backend, maps.kernel(member("cst")), q, q, rho, 0.9, 1.0)).tolist() == [True, False, False]
    k = on(backend, maps.kernel(CRELU), q, q, 0.3, [nan, 0.9, 0.9], [1.0, 1.0, nan])
    assert np.isnan(k).tolist() == [True, False, True]


@pytest.mark.parametrize("backend", BACKENDS)
def test_limits_at_variances_0_and_infinity(backend):
    ends = [0.0, np.inf]
    tau, m = 0.9, 1.3
    v = on(backend, maps.variance_map(CRELU), ends, tau, m, 2.0, 0.1)
    np.testing.assert_allclose(v, [0.1, m * m + 0.1], rtol=1e-14)
    assert on(backend, maps.variance_map(member("relu")), ends, 2.0, 0.1).tolist() == [0.1, np.inf]
    assert on(backend, maps.chi_1(CRELU), ends, tau, m, 2.0).tolist() == [0.0, 0.0]
    assert on(backend, maps.slope(CRELU), ends, tau, m, 2.0).tolist() == [0.0, 0.0]
    assert on(backend, maps.sparsity(member("st")), ends, tau).tolist() == [1.0, 0.0]
    assert on(backend, maps.sparsity(CRELU), ends, tau, m).tolist() == [1.0, 0.5]
    shifted = maps.variance_map(member("relu-tau"))
    np.testing.assert_allclose(on(backend, shifted, ends, -2.0, 1.0, 0.0), [4.0, np.inf], rtol=1e-14)
    # one variance alone: U tends to 0, or to an infinite one of either sign
    k = on(backend, maps.kernel(CRELU), [0.0, np.inf], 1.0, 0.3, -tau, m)
    mean = on(backend, maps.mean(CRELU), 1.0, -tau, m)
    assert k[0] == pytest.approx(0.9 * float(mean), rel=1e-13)
    assert 0 < k[1] < m * float(mean)


@pytest.mark.parametrize("backend", BACKENDS)
def test_correlations_1_and_minus_1(backend):
    kernel, slope = maps.kernel(CRELU), maps.correlation_slope(CRELU)
    ends = [-1.0, 1.0]
    second, gradient = (on(backend, f(CRELU), 1.7, *rest) for f, rest in (
        (maps.second_moment, (0.9, 1.3)), (maps.chi_1, (0.9, 1.3, 1.0))))  # fmt: skip
    np.testing.assert_allclose(on(backend, kernel, 1.7, 1.7, ends, 0.9, 1.3), [0, second], rtol=1e-14)
    np.testing.assert_allclose(on(backend, slope, 1.7, 1.7, ends, 0.9, 1.3, 1.0), [0, gradient], rtol=1e-14)
    curvature = on(backend, maps.correlation_curvature(CRELU), 1.7, 1.7, [1.0], 0.9, 1.3, 1.0)
    assert curvature.tolist() == [np.inf]
    # what dot products of unit vectors round to
    beyond = on(backend, kernel, 1.7, 1.7, [1 + 1e-15], 0.9, 1.3)
    np.testing.assert_allclose(beyond, [second], rtol=1e-14)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("formula", "values", "message"),
    [
        (maps.variance_map(CRELU), (-1.0, 0.9, 1.0, 1.0, 0.0), r"variance: need q >= 0, got -1.0; pass q >= 0"),
        (maps.variance_map(member("relu")), (-1.0, 1.0, 0.0), r"variance: need q >= 0, got -1.0"),
        (maps.variance_map(CRELU), (1.0, 0.9, -1.0, 1.0, 0.0), r"variance: need m >= 0, got -1.0"),
        (
            maps.kernel(CRELU),
            (1.0, 1.0, 1.001, 0.9, 1.0),
            r"kernel: need -1 <= rho <= 1, got 1.001; pass a correlation",
        ),
        (maps.slope(member("st")), (1.0, -0.5, 1.0), r"slope: need tau >= 0, got -0.5; pass such"),
    ],
)
def test_values_outside_the_domain_are_refused(backend, formula, values, message):
    with pytest.raises(ValueError, match=message):
        on(backend, formula, *values)


@pytest.mark.parametrize(
    ("q", "message"),
    [
        ("a", r"variance: need real numbers for q, got <U1; pass an array of floats"),
        (1j, r"variance: need real numbers for q, got complex128; pass"),
        ([object()], r"variance: need real numbers for q, got object; pass"),
        (np.ones(3), r"variance: need arrays that broadcast, got q \(3,\), tau \(2,\); pass shapes that agree, or 1"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(q, message):
    with pytest.raises(ValueError, match=message):
        lambdify(maps.variance_map(CRELU))(q, np.ones(2), 1.0, 1.0, 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_shapes(backend):
    kernel = maps.kernel(CRELU)
    assert on(backend, kernel, np.ones((4, 1)), np.ones(3), 0.3, 0.9, 1.0).shape == (4, 3)
    assert on(backend, kernel, np.ones((0, 3)), np.ones(3), 0.3, 0.9, 1.0).shape == (0, 3)
    assert on(backend, maps.variance_map(CRELU), [], 0.9, 1.0, 1.0, 0.0).shape == (0,)
    assert on(backend, kernel, 1.0, 1.0, 0.3, 0.9, 1.0).shape == ()
    many = on(backend, maps.variance_map(CRELU), np.linspace(1, 2, 40001), 0.9, 1.0, 1.0, 0.0)
    assert many[-1] == on(backend, maps.variance_map(CRELU), 2.0, 0.9, 1.0, 1.0, 0.0)


def test_threads_share_the_blocks(monkeypatch):
    q = np.linspace(0.1, 10, 1001)
    function = lambdify(maps.variance_map(CRELU))
    whole = function(q, 0.9, 1.0, 1.0, 0.0)
    monkeypatch.setattr(arrays, "_BLOCK", 100)
    np.testing.assert_array_equal(function(q, 0.9, 1.0, 1.0, 0.0), whole)
    with pytest.raises(ValueError, match="need q >= 0"):
        function(-q, 0.9, 1.0, 1.0, 0.0)


def test_integers_are_numbers():
    v = lambdify(maps.variance_map(CRELU))(np.array([1, 2]), 1, 1, 2, 0)
    assert v.dtype == np.float64
    assert v[0] == lambdify(maps.variance_map(CRELU))(1.0, 1.0, 1.0, 2.0, 0.0)


def test_float32_is_rounded_once():
    points = [{k: np.float32(v) for k, v in p.items()} for p in CORNERS if p["tau"] < 12 * math.sqrt(p["q"])]
    formula = maps.variance_map(CRELU)
    values = lambdify(formula)(*(c.astype(np.float32) for c in columns(formula, points)))
    assert values.dtype == np.float32
    exact = lambdify(formula)(*(c.astype(np.float64) for c in columns(formula, points)))
    np.testing.assert_array_equal(values, exact.astype(np.float32))
