"""Piecewise polynomials with atoms: the rules of calculus, and the sums in which they are written."""

from math import factorial

import pytest
import sympy as sp

from gpsym.piecewise import Piecewise, merged, ring_of

RING, _ = ring_of([])
CUBIC = Piecewise.function(RING, (), [map(RING, (2, -1, 3, 5))])


def function(knots, *pieces):
    """Integer coefficients of 1, x, x^2, ... between rational knots."""
    return Piecewise.function(RING, [RING(t) for t in knots], [map(RING, piece) for piece in pieces])


STEP = function([1], [], [1])
BUMPS = function([-2, -1, 3], [1, 1], [0, 2, 1], [4], [1, 0, 3])  # jumps at all knots
ZERO_INSIDE = function([-2, 3], [0, 1], [2, 0, 1], [7, 1])
NAMED = {
    "step": STEP,
    "bumps": BUMPS,
    "zero inside": ZERO_INSIDE,
    "right": function([1, 4], [], [1, 2], [0, 0, 5]),
    "left": function([-4, -1], [3], [1, 2], []),
    "from zero": function([0, 2], [0, -1], [0, 1], [2]),
    "up to zero": function([-3, 0], [1], [0, 4], [0, 0, 1]),
    "polynomial": CUBIC,
}
named = pytest.mark.parametrize("f", NAMED.values(), ids=NAMED)


def assert_same(f, g):
    difference = f + g * g.constant(-1)
    assert not any(difference.pieces)
    assert not difference.has_atoms


@pytest.mark.parametrize("order", range(4))
def test_product_rule_for_atoms(order):
    """(F g)' = F' g + F g' for F = delta, delta', ... and smooth g."""
    atoms = BUMPS.derivative(order)
    assert_same((atoms * CUBIC).derivative(), atoms.derivative() * CUBIC + atoms * CUBIC.derivative())
    assert_same((CUBIC * atoms).derivative(), CUBIC.derivative() * atoms + CUBIC * atoms.derivative())


def test_product_rule_for_jumps_at_one_place():
    """Volpert's product: an atom meets the mean of the one-sided limits."""
    for f in (STEP, ZERO_INSIDE):
        assert_same((BUMPS * f).derivative(), BUMPS.derivative() * f + BUMPS * f.derivative())
    assert (STEP.derivative() * STEP).atoms == ((RING(sp.QQ(1, 2)),),)


def test_atoms_at_one_place_have_no_product():
    for f, g in ((STEP.derivative(), STEP.derivative()), (STEP.derivative(2), STEP)):
        with pytest.raises(ValueError, match=r"need factors without a common singularity, got an atom .* at 1;"):
            f * g
        with pytest.raises(ValueError, match="need factors without a common singularity"):
            g * f


@named
@pytest.mark.parametrize("order", range(1, 4))
def test_chain_rule(f, order):
    """(f(a x + b))^(n) = a^n f^(n)(a x + b), a > 0, and the same for a = -1."""
    line = RING(2), RING(3), RING(sp.QQ(1, 2))
    assert_same(f.composed(*line).derivative(order), f.derivative(order).composed(*line) * f.constant(2**order))
    assert_same(f.mirrored().derivative(order), f.derivative(order).mirrored() * f.constant((-1) ** order))


def test_the_derivative_of_a_derivative():
    assert STEP.derivative(0) is STEP
    assert STEP.derivative().atoms == ((RING.one,),)
    assert STEP.derivative(3).atoms == ((RING.zero, RING.zero, RING.one),)
    assert ZERO_INSIDE.derivative().pieces == ((RING.one,), (RING.zero, RING(2)), (RING.one,))
    assert_same(BUMPS.derivative(2), BUMPS.derivative().derivative())


def ramp(knot, order):
    """r_order(x - knot)."""
    step = Piecewise.function(RING, (knot,), ((), (RING.one,)))
    if order < 0:
        return step.derivative(-order)
    line = Piecewise.function(RING, (), ((-knot, RING.one),))
    return line**order * step * step.constant(sp.QQ(1, factorial(order)))


@named
@pytest.mark.parametrize("order", range(3))
def test_ramps_sum_to_the_function(f, order):
    f = f.derivative(order)
    polynomial, ramps = f.ramps
    total = Piecewise.function(RING, (), (polynomial,))
    for side, knot, n, weight in ramps:
        r = ramp(knot, n) * f.constant(weight)
        total += r if side == 1 else r.mirrored()
    assert_same(total, f)
    assert all(knot.as_expr() >= 0 for _, knot, _, _ in ramps)  # rising away from zero


@named
def test_outward_pieces_sum_to_the_function(f):
    total = f.constant(0)
    for side, start, width, coefficients in f.outward:
        assert start.as_expr() >= 0
        assert width >= 0
        if width == 0:
            continue
        s = Piecewise.function(RING, (), ((-start, RING.one),))
        ends = (start,) if width == sp.oo else (start, start + RING(sp.QQ(width.p, width.q)))
        inside = Piecewise.function(RING, ends, ((), (RING.one,), ())[: len(ends) + 1])
        powers = sum((s**n * s.constant(c) for n, c in enumerate(coefficients)), start=s.constant(0))
        total += powers * inside if side == 1 else (powers * inside).mirrored()
    assert_same(total, f)


def test_the_singular_part_is_the_atoms():
    derivative = BUMPS.derivative(2)
    assert derivative.singular_part.atoms == derivative.atoms
    assert not any(derivative.singular_part.pieces)


def test_continuity():
    assert function([1], [], [-1, 1]).is_continuous
    assert not STEP.is_continuous
    assert not STEP.derivative().is_continuous
    assert function([-1, 1], [1], [0, 0, 1], [1]).is_continuous


def test_squares_of_atoms_have_the_sign_of_their_weights():
    delta = STEP.derivative()
    assert delta.singular_product(delta) == sp.oo
    assert delta.singular_product(delta * delta.constant(-2)) == -sp.oo
    assert delta.singular_product(ZERO_INSIDE.derivative()) is None
    assert BUMPS.derivative().singular_product(BUMPS.derivative()) == sp.oo
    plus_minus, plus_plus = function([-2, 3], [], [1], []).derivative(), function([-2, 3], [], [1], [2]).derivative()
    for f, g in ((delta, STEP.derivative(2)), (STEP.derivative(2), delta), (plus_minus, plus_plus)):
        with pytest.raises(ValueError, match="need atoms whose product has a sign"):
            f.singular_product(g)


def test_powers():
    assert_same(CUBIC**0, CUBIC.constant(1))
    assert_same(BUMPS**3, BUMPS * BUMPS * BUMPS)


def test_what_changes_nothing_is_joined():
    twice = function([-1, 1, 1, 2], [1], [1], [5], [0, 2], [0, 2])
    assert twice.joined() == function([1], [1], [0, 2])
    assert function([2, 3], [], [], []).joined() == function([], [])
    assert BUMPS.joined() == BUMPS


@pytest.mark.parametrize(
    ("f", "g", "expected"),
    [
        ([1, 3], [2], [1, 2, 3]),
        ([1, 2], [2, 3], [1, 2, 3]),
        ([2, 3], [1, 2], [1, 2, 3]),
        ([1, 2], [], [1, 2]),
        ([1, 2, 3], [3], [1, 2, 3]),
        ([3], [1, 2, 3], [1, 2, 3]),
    ],
)
def test_unions_are_in_order(f, g, expected):
    assert merged(f, g, lambda a, b: a <= b) == expected


def test_what_both_hold_needs_no_order():
    def refuse(a, b):
        raise AssertionError(f"{a} and {b} need not be compared")

    assert merged("abc", "abc", refuse) == list("abc")
    assert merged("ac", "abc", refuse) == list("abc")
    assert merged("abc", "ac", refuse) == list("abc")


def test_knots_without_an_order():
    ring, (t, s) = ring_of(sp.symbols("t s", real=True))
    f, g = (Piecewise.function(ring, (knot,), ((), (ring.one,))) for knot in (t, s))
    assert not f.has_order_with(g)
    assert f.has_order_with(f)
    with pytest.raises(ValueError, match=r"need to know whether [ts] or [ts] is greater"):
        f + g
