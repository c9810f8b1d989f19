"""Activations at numbers: pieces, derivatives with their atoms, and what they have less of than elsewhere."""

from typing import Any

import pytest
import sympy as sp
from flint import fmpq

from gpsym import member
from gpsym.formula import TAU, M
from gpsym.verify.shapes import Atom, Shape, fraction, horner, lost, shape_at

HALF: Any = sp.Rational(1, 2)
RAMP = Shape((fmpq(1), fmpq(3)), ((), (fmpq(-1), fmpq(1)), (fmpq(2),)))  # max(0, x - 1) up to 2
STEP = Shape((fmpq(2),), ((), (fmpq(0), fmpq(0), fmpq(1))))  # x^2 from 2 on


def test_derivatives_have_atoms_where_one_sided_values_differ():
    assert RAMP.derivative() == Shape(RAMP.knots, ((), (fmpq(1),), ()))
    assert RAMP.derivative(2).atoms == (Atom(fmpq(1), 0, fmpq(1)), Atom(fmpq(3), 0, fmpq(-1)))
    assert STEP.derivative(2).pieces == ((), (fmpq(2),))
    assert STEP.derivative(2).atoms == (Atom(fmpq(2), 1, fmpq(4)), Atom(fmpq(2), 0, fmpq(4)))
    assert RAMP.derivative(0) is RAMP


def test_sides_differ_at_knots_alone():
    assert RAMP.sides(fmpq(1)) == (RAMP.pieces[0], RAMP.pieces[1])
    assert RAMP.sides(fmpq(2)) == (RAMP.pieces[1], RAMP.pieces[1])
    assert (RAMP.degree, STEP.degree, Shape((), ((),)).degree) == (1, 2, 0)


def test_horner_is_a_polynomial_and_its_derivatives():
    cubic = [fmpq(c) for c in (5, -1, 2, 3)]
    assert [horner(cubic, fmpq(2), order) for order in range(5)] == [35, 43, 40, 18, 0]
    assert horner((), fmpq(2)) == 0


def test_knots_that_coincide_leave_no_piece():
    clipped = member("crelu")
    assert shape_at(clipped, {TAU: HALF, M: sp.Integer(2)}).knots == (fmpq(1, 2), fmpq(5, 2))
    soft = member("soft-threshold")
    merged = shape_at(soft, {TAU: sp.S.Zero})
    assert (merged.knots, merged.pieces) == ((0,), ((0, 1), (0, 1)))
    assert merged.derivative(2).atoms == ()


@pytest.mark.parametrize(
    ("name", "at", "names"),
    [("soft-threshold", 0, {"knots"}), ("hard-shrink", 0, {"knots", "jumps"}), ("jump-relu", 0, {"jumps"}),
     ("prelu", 0, {"pieces"}), ("prelu", 2, set()), ("hard-shrink", 2, set()), ("relu", 0, set())],
)  # fmt: skip
def test_what_is_lost_at_a_point(name, at, names):
    phi = member(name)
    assert lost(phi, dict.fromkeys(phi.parameters, sp.Integer(at))) == names


def test_fractions_of_expressions():
    t = sp.Symbol("t", real=True)
    point = {t: 3 * HALF}
    assert fraction((2 * t + 1) ** -2 / 3, point) == fmpq(1, 48)
    root = fraction(sp.sqrt(t + HALF), point)
    assert abs(root * root - 2) < fmpq(1, 10**399)


def test_jumps_of_rounded_numbers_are_none():
    root = fraction(sp.sqrt(2), {})
    continuous = Shape((root,), ((), (-root * fraction(sp.sqrt(2), {}) + 0, fmpq(0), fmpq(1))))
    assert continuous.derivative().atoms == ()
    nearly = Shape((root,), ((), (fmpq(-2), fmpq(0), fmpq(1))))  # root^2 = 2 up to rounding
    assert nearly.derivative().atoms == ()
    assert len(Shape((root,), ((), (fmpq(-2) + fmpq(1, 10**100), fmpq(0), fmpq(1)))).derivative().atoms) == 1
