"""Balls against mpmath, exact values and themselves at other precisions."""

import os
import subprocess
import sys

import mpmath
import pytest
import sympy as sp
from flint import arb, ctx

from gpsym import evaluate, maps, member
from gpsym.formula import Formula
from gpsym.members import MEMBERS
from gpsym.numeric import balls
from gpsym.numeric.balls import enclose
from gpsym.special import BivariateTail, TailMoment

POINT = {"q": 1.7, "tau": 0.9, "m": 1.3, "a": -0.3, "sigma_w2": 2.5, "sigma_b2": 0.2,
         "q1": 1.7, "q2": 0.6, "rho": 0.55, "theta": 1.5}  # fmt: skip
ONE = [(name, quantity) for name in MEMBERS for quantity in (*maps.QUANTITIES, "moment_4", "hermite_3")]
TWO = [
    (name, quantity)
    for name in ("clipped-relu", "soft-threshold", "clipped-soft-threshold", "leaky-relu", "hard-swish", "sign")
    for quantity in ("kernel", "correlation_slope", "correlation_curvature", "ntk")
]
h, k, rho = sp.symbols("h k rho", real=True)
TAIL = Formula("orthant", "L", "", (h, k, rho), (), sp.S.Zero, BivariateTail(h, k, rho), "test")


def assert_same(ball, value, digits):
    """The ball is small, and within it and the value's own error is the value of mpmath, right to 2 more digits."""
    with ctx.workprec(4 * digits + 64), mpmath.workprec(4 * digits + 64):
        if mpmath.isinf(value):
            assert ball == arb.pos_inf()
            return
        sign, man, exponent, _ = value._mpf_
        number = arb(-man if sign else man) * arb(2) ** exponent
        assert ball.rad() * arb(10) ** digits <= ball.abs_lower()
        assert ball.overlaps(number * arb(1, arb(10) ** -(digits + 2)))


@pytest.mark.parametrize(("name", "quantity"), ONE + TWO)
def test_balls_agree_with_mpmath(name, quantity):
    formula = maps.derive(member(name), quantity)
    assert_same(enclose(formula, POINT), evaluate(formula, POINT, digits=24), 20)


@pytest.mark.parametrize(("name", "quantity"), [("clipped-relu", "kernel"), ("soft-threshold", "correlation_slope")])
@pytest.mark.parametrize(
    "change",
    [
        {"rho": 1 - 1e-16},
        {"q2": 1.7, "rho": 1 - 1e-16},
        {"rho": -1 + 1e-4},
        {"rho": 1e-16},
        {"q2": 1.7000000000000002, "rho": -0.3},
        {"tau": 12, "rho": -0.7},
        {"tau": 1e-8, "m": 1e-8},
        {"rho": 1},
    ],
    ids=str,
)
def test_two_inputs_at_the_ends(name, quantity, change):
    formula, values = maps.derive(member(name), quantity), POINT | change
    assert_same(enclose(formula, values), evaluate(formula, values, digits=24), 20)


def test_clip_far_above_the_threshold():
    """With no weight at the clip the kernel is the one without it: L(1e8, 1e-8) has a peak of width 1e-8."""
    values = POINT | {"tau": 1e-8, "m": 1e8}
    clipped, whole = (enclose(maps.kernel(member(name)), values) for name in ("clipped-relu", "shifted-relu"))
    assert clipped.overlaps(whole)


@pytest.mark.parametrize("correlation", ["-1/2", "1/2", "sqrt(3)/2"])
@pytest.mark.parametrize("digits", [5, 40])
def test_orthants_at_zero_are_arcsines(correlation, digits):
    """P(X > 0, Y > 0) = 1/4 + asin(rho) / (2 pi); h and k are 0 only as numbers, so that the integral is taken."""
    exact = {"-1/2": "1/6", "1/2": "1/3", "sqrt(3)/2": "5/12"}[correlation]
    ball = enclose(TAIL, {"h": 0, "k": 0, "rho": correlation}, digits)
    with ctx.workprec(4 * digits + 64):
        p, q = map(int, exact.split("/"))
        assert ball.overlaps(arb(p) / q)
        assert ball.rad() * arb(10) ** digits <= ball


@pytest.mark.parametrize(
    ("point", "exact"),
    [
        ((36, 37, 0.5), "3.5328260676252052552e-390"),
        ((10, 10, -0.9), "1.8505453573487960764e-439"),
        ((-12, 10, -0.99), "7.6198530223840439539e-24"),
    ],
)
def test_far_tails(point, exact):
    """Origin: quadrature of p(x) P(Y > k given X = x) from h on, in mpmath, scaled to about 1."""
    ball = enclose(TAIL, dict(zip(("h", "k", "rho"), point, strict=True)))
    with ctx.workprec(100):
        assert abs(ball - arb(exact)) < arb(exact) * arb("1e-19")
        assert ball.rad() * arb(10) ** 20 <= ball


def test_what_the_integral_leaves_out_is_in_the_ball(monkeypatch):
    """Wherever it starts."""
    whole = enclose(TAIL, {"h": 0.5, "k": 0.25, "rho": -0.5})
    monkeypatch.setattr(balls, "_start", lambda b, least, end: end - 1)
    part = balls._bivariate_tail(arb(0.5), arb(0.25), arb(-0.5))
    assert part.contains(whole)
    assert part.rad() < whole


def test_two_correlations_of_one_sum():
    """L(h, k; rho) + L(h, -k; -rho) = P(X > h), from integrals with different ends."""
    for place in (-1.5, 0.0, 0.25, 8.0):
        one, other = (enclose(TAIL, {"h": 0.75, "k": s * place, "rho": s * 0.875}, 30) for s in (1, -1))
        with ctx.workprec(120):
            assert (one + other).overlaps((arb(0.75) / arb(2).sqrt()).erfc() / 2)


def test_tail_moments():
    formula = Formula("moment", "M", "", (h,), (), sp.S.Zero, TailMoment(3, h), "test")
    assert_same(enclose(formula, {"h": 30}), evaluate(formula, {"h": 30}, digits=24), 20)


def test_more_digits_lie_within_fewer():
    formula = maps.curvature(member("clipped-soft-threshold"))
    few, many = enclose(formula, POINT, digits=3), enclose(formula, POINT, digits=100)
    with ctx.workprec(500):
        assert few.contains(many)
        assert many.rad() * arb(10) ** 100 <= abs(many)


@pytest.mark.parametrize("m", [1e-8, 1e-9, 1e-300])
def test_no_clip_to_speak_of(m):
    """E phi^4 is m^4 P(Z > 1) (1 - O(m)): all digits of some precisions cancel, nearly all of others."""
    ball = enclose(maps.moment(member("clipped-relu"), 4), {"q": 1, "tau": 1, "m": m})
    with ctx.workprec(100):
        first = (1 / arb(2).sqrt()).erfc() / 2 * arb(m) ** 4
        assert abs(ball - first) < first * (4 * m + 1e-19)
        assert ball.rad() * arb(10) ** 20 <= ball


@pytest.mark.parametrize("name", ["soft-threshold", "clipped-soft-threshold"])
def test_odd_activations_decorrelate_at_once(name):
    assert enclose(maps.kernel(member(name)), POINT | {"rho": 0}).is_zero()


def test_what_vanishes_with_zeros_is_zero():
    formula = Formula("difference", "d", "", (h, k), (), sp.S.Zero, sp.erf(h + k) - sp.erf(h), "test")
    assert enclose(formula, {"h": 0.5, "k": 0}).is_zero()


def test_what_cannot_be_told_from_zero_is_a_ball_around_it():
    formula = Formula("zero", "0", "", (h,), (), sp.S.Zero, (h + 1) ** 2 - h**2 - 2 * h - 1, "test")
    ball = enclose(formula, {"h": "sqrt(2)"})
    assert ball.contains(0)
    assert not ball.is_zero()
    assert ball.rad() < arb("1e-9000")


def test_what_is_negligible_may_come_as_a_ball_around_zero():
    """Of two strips of correlation next to 1 that miss each other by 10^7 standard deviations."""
    values = {"q1": 1, "q2": 10, "rho": 1 - 2**-53, "tau": 1, "m": 1e-8, "sigma_w2": 1}
    ball = enclose(maps.correlation_slope(member("clipped-relu")), values, least=1e-50)
    assert ball.contains(0)
    assert ball.abs_upper() < 1e-50
    some = {"q": 1, "tau": 1, "m": 1e-12, "sigma_w2": 1}
    assert enclose(maps.chi_1(member("clipped-relu")), some, least=1e-13).rel_accuracy_bits() > 66


def test_a_ball_around_zero_may_be_squared():
    formula = Formula("square", "s", "", (h,), (), sp.S.Zero, sp.exp((h - sp.sqrt(2)) ** 2), "test")
    ball = enclose(formula, {"h": "sqrt(2)"})
    assert ball.contains(1)
    assert ball.rad() < 1e-20


def test_the_precision_of_flint_is_left_alone():
    before = ctx.prec
    enclose(maps.kernel(member("clipped-relu")), POINT, digits=60)
    assert ctx.prec == before


@pytest.mark.parametrize(
    ("values", "digits", "message"),
    [
        ({"q": 1}, 20, "chi_1: need a value for tau, sigma_w2; pass one"),
        ({"q": -1, "tau": 1, "sigma_w2": 1}, 20, "need q > 0, got q = -1"),
        ({"q": 1, "tau": 1, "sigma_w2": 1}, 0, "need digits >= 1, got 0"),
    ],
)
def test_what_is_refused(values, digits, message):
    with pytest.raises(ValueError, match=message):
        enclose(maps.chi_1(member("soft-threshold")), values, digits)


def test_an_unknown_function_is_named():
    formula = Formula("arc", "A", "", (h,), (), sp.S.Zero, sp.atan(h), "test")
    with pytest.raises(ValueError, match=r"enclose: need Add, Mul, .* and numbers, got atan\(h\); use evaluate"):
        enclose(formula, {"h": 1})


def run(code):
    """Where SymPy, which uses flint for its own arithmetic if it can, does not."""
    environment = os.environ | {"SYMPY_GROUND_TYPES": "python"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)


def test_importing_gpsym_imports_no_flint():
    done = run("import sys, gpsym, gpsym.numeric; assert not any('flint' in name for name in sys.modules)")
    assert done.returncode == 0, done.stderr


def test_without_flint_one_sentence_says_so():
    done = run("import sys; sys.modules['flint'] = None; import gpsym.numeric.balls")
    assert "ImportError: gpsym.numeric.balls: need python-flint, got no module flint; pip install" in done.stderr
