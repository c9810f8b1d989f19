"""Expectations by quadrature against closed forms: the ball holds the value, and is small."""

import math

import pytest
from flint import arb, ctx, fmpq

from gpsym.verify.pairs import line_expectation, pair_expectation
from gpsym.verify.quadrature import expectation, hermite, line_integral, product_expectation
from gpsym.verify.shapes import Shape, horner
from gpsym.verify.values import INFINITE, Unknown, Value, power

Q1, Q2 = fmpq(9, 4), fmpq(1, 4)
ONE, LINE, SQUARE = (Shape((), (tuple(fmpq(k == n) for k in range(n + 1)),)) for n in range(3))
RELU = Shape((fmpq(0),), ((), (fmpq(0), fmpq(1))))


def step(t, height=1):
    return Shape((fmpq(t),), ((), (fmpq(height),)))


def ramp(t):
    return Shape((fmpq(t),), ((), (-fmpq(t), fmpq(1))))


def between(a, b):
    return Shape((fmpq(a), fmpq(b)), ((), (fmpq(1),), ()))


def tail(h):
    return (arb(h) / arb(2).sqrt()).erfc() / 2


def density(z):
    return (-(arb(z) ** 2) / 2).exp() / (2 * arb.pi()).sqrt()


def mean(shape, variance=1):
    return expectation(shape, fmpq(variance), lambda p, x, z: horner(p, x))


def assert_is(value, expected, digits=40):
    """The ball overlaps the expected one, and both are small next to the larger of the value and 1e-30 of its parts."""
    difference = abs(value.ball - expected)
    assert difference.abs_lower() == 0, (value, expected)
    size = abs(arb(expected)).max(value.mass * arb(10) ** -30)
    assert difference <= size * arb(10) ** -digits, (value, expected)


@pytest.fixture(autouse=True)
def precision():
    with ctx.workprec(200):
        yield


@pytest.mark.parametrize("q", [fmpq(1), fmpq(1, 10**8), fmpq(10**8)])
def test_moments_of_a_normal_variable(q):
    for n in range(5):
        found = expectation(LINE, q, lambda p, x, z, n=n: horner(p, x) ** (2 * n))
        assert_is(found, math.prod(range(1, 2 * n, 2)) * arb(q) ** n)
        odd = expectation(LINE, q, lambda p, x, z, n=n: horner(p, x) ** (2 * n + 1))
        assert_is(odd, arb(0), 9)


@pytest.mark.parametrize(("a", "b"), [(-1, 2), (1, 2), (-3, -2), (38, 40), (-40, -39), (-60, 60), (2, 10**7)])
def test_probabilities_of_intervals(a, b):
    assert_is(
        mean(between(a, b)), tail(a) - tail(b) if a > 0 else tail(-b) - tail(-a) if b < 0 else 1 - tail(-a) - tail(b)
    )


@pytest.mark.parametrize("t", [fmpq(0), fmpq(1, 10**8), fmpq(-12), fmpq(12), fmpq(40), fmpq(-40)])
def test_ramps(t):
    assert_is(mean(ramp(t)), density(t) - arb(t) * tail(t), 25)
    assert_is(mean(ramp(2 * t), 4), 2 * (density(t) - arb(t) * tail(t)), 25)


def test_what_lies_too_far_out_is_none():
    value = mean(step(10**9))
    assert value.ball == 0


def test_powers_of_balls_around_zero_are_finite():
    small = arb(0, 0.5)
    assert power(small, 2).overlaps(small * small)
    assert power(small, 2).is_finite()
    assert [power(3, n) for n in range(4)] == [1, 3, 9, 27]


def test_hermite_polynomials():
    assert [hermite(n, 3) for n in range(6)] == [1, 3, 8, 18, 30, 18]


@pytest.mark.parametrize("place", [fmpq(0), fmpq(3, 2), fmpq(-7, 3)])
def test_atoms_meet_smooth_factors(place):
    """E[delta(U - t) U^2] = t^2 p(t), and (-1)^n times the n-th derivative for delta^(n)."""
    q, t = arb(Q1), arb(place)
    p = density(t / q.sqrt()) / q.sqrt()
    assert_is(product_expectation(step(place).derivative(), SQUARE, Q1), t**2 * p, 30)
    assert_is(product_expectation(SQUARE, step(place).derivative(), Q1), t**2 * p, 30)
    assert_is(product_expectation(step(place, 3).derivative(2), SQUARE, Q1), -3 * (2 * t - t**3 / q) * p, 30)
    second = (2 - 5 * t**2 / q + t**4 / q**2) * p
    assert_is(product_expectation(step(place).derivative(3), SQUARE, Q1), second, 30)


def test_an_atom_at_a_jump_meets_the_mean_of_both_sides():
    assert_is(product_expectation(step(1).derivative(), step(1, 5), fmpq(1)), 5 * density(1) / 2, 30)


def test_atoms_that_meet():
    delta = step(1).derivative()
    assert product_expectation(delta, delta, fmpq(1)) == INFINITE
    assert product_expectation(delta, step(1, 2).derivative(), fmpq(1)) == INFINITE
    with pytest.raises(Unknown, match="atoms meet whose product has no sign"):
        product_expectation(delta, step(1, -2).derivative(), fmpq(1))
    with pytest.raises(Unknown, match="atoms meet"):
        product_expectation(step(1).derivative(2), step(1, 2).derivative(), fmpq(1))


def test_products_on_one_line():
    first, second = arb(Q1).sqrt(), arb(Q2).sqrt()
    assert_is(line_integral(RELU, RELU, first, second, 1), first * second / 2)
    assert line_integral(RELU, RELU, first, second, -1).ball == 0
    assert_is(line_expectation(RELU, RELU, Q1, Q2, 1), first * second / 2)
    assert_is(line_expectation(LINE, RELU, Q1, Q2, -1), -first * second / 2)
    h, k = fmpq(3) / fmpq(3, 2), fmpq(1) / fmpq(1, 2)
    assert h == k  # both steps lie at the same place
    assert_is(line_expectation(step(3), step(1), Q1, Q2, 1), tail(2), 30)
    assert_is(line_expectation(step(-3), step(-1), Q1, Q2, -1), 1 - 2 * tail(2), 30)


def test_atoms_on_one_line():
    delta = step(3).derivative()
    at = density(2) / arb(fmpq(3, 2))
    assert_is(line_expectation(delta, LINE, Q1, Q2, 1), at, 30)
    assert_is(line_expectation(LINE, delta, Q2, Q1, -1), -at, 30)
    assert_is(line_expectation(delta, step(3, 4), Q1, Q1, 1), 2 * at, 30)
    assert line_expectation(delta, step(1).derivative(), Q1, Q2, 1) == INFINITE
    assert line_expectation(delta, step(-1).derivative(), Q1, Q2, -1) == INFINITE
    assert line_expectation(delta, step(-1).derivative(), Q1, Q2, 1).ball == 0
    assert line_expectation(delta, step(2).derivative(), Q1, Q2, 1).ball == 0
    with pytest.raises(Unknown, match="no rule for derivatives of delta at correlation"):
        line_expectation(step(3).derivative(2), LINE, Q1, Q2, 1)


CORRELATIONS = [fmpq(0), fmpq(3, 8), fmpq(-9, 10), 1 - fmpq(1, 10**9), fmpq(1, 10**9) - 1]


@pytest.mark.parametrize("rho", CORRELATIONS)
def test_pairs_of_relus(rho):
    """The arc-cosine kernel, with its two derivatives in the correlation."""
    sigmas, r = (arb(Q1).sqrt(), arb(Q2).sqrt()), arb(rho)
    s, angle = (1 - r * r).sqrt(), r.acos()
    root = sigmas[0] * sigmas[1]
    values = [root * (s + r * (arb.pi() - angle)), arb.pi() - angle, 1 / (s * root)]
    for order, value in enumerate(values):
        assert_is(pair_expectation(RELU, RELU, sigmas, r, order), value / (2 * arb.pi()), 20)


@pytest.mark.parametrize("rho", CORRELATIONS)
@pytest.mark.parametrize(("a", "b"), [((0, 1), (1, 2)), ((-2, 1), (-12, -10)), ((12, 14), (-1, 0))])
def test_rectangles(rho, a, b):
    """Their probability, from the other variable's side; and with the whole line, that of an interval."""
    one, r = arb(1), arb(rho)
    there, back = (pair_expectation(between(*x), between(*y), (one, one), r, 0) for x, y in ((a, b), (b, a)))
    assert there.ball.overlaps(back.ball)
    assert (there.ball - back.ball).rad() <= there.mass * arb(10) ** -25 + arb(10) ** -150
    assert_is(pair_expectation(between(*a), ONE, (one, one), r, 0), mean(between(*a)).ball, 30)
    assert_is(pair_expectation(ONE, between(*b), (one, one), r, 0), mean(between(*b)).ball, 30)


@pytest.mark.parametrize("rho", CORRELATIONS)
def test_pairs_of_polynomials(rho):
    r, sigmas = arb(rho), (arb(Q1).sqrt(), arb(Q2).sqrt())
    assert_is(pair_expectation(SQUARE, SQUARE, sigmas, r, 0), arb(Q1 * Q2) * (1 + 2 * r * r), 30)
    assert_is(pair_expectation(SQUARE, SQUARE, sigmas, r, 2), arb(4), 20)


def test_values_add_their_parts():
    value = Value(arb(2), arb(3)) - 5
    assert (value.ball, value.mass) == (-3, 8)
    value = 7 - 2 * Value(arb(2), arb(3)) * Value(arb(-1), arb(1))
    assert (value.ball, value.mass) == (11, 13)
    value = Value(arb(2), arb(3)) / arb(-4)
    assert (value.ball, value.mass) == (-0.5, 0.75)
