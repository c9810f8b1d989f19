import pytest
import sympy as sp

from proofs.logic.balls import on_boxes, root, rounding
from proofs.logic.refute import refute
from proofs.logic.statements import Open, Statement, domain, equation

X, Y, T = sp.symbols("x y t", real=True)


def test_a_positive_function_is_seen_to_be_so_on_boxes_that_fill_the_domain():
    where = domain({X: "[-1, 2]", Y: "[0, 1]"})
    proof = on_boxes(where, X**2 - X * Y + Y**2 + sp.Rational(1, 100))
    boxes = proof.data["boxes"]
    area = sum((b["x"][1] - b["x"][0]) * (b["y"][1] - b["y"][0]) for b in boxes)
    assert area == 3
    assert len(boxes) > 20
    assert all(b["value"][0] > 0 for b in boxes)


def test_what_is_negative_somewhere_stays_open():
    with pytest.raises(Open, match="x in"):
        on_boxes(domain({X: "[0, 3]"}), (X - 1) * (X - 2) + sp.Rational(1, 5))


def test_a_zero_stays_open():
    with pytest.raises(Open, match=r"is \[.*\] for x in"):
        on_boxes(domain({X: "[-1, 2]"}), X**2)


SQUARE_ROOT = (X**2 - 2,)


def test_the_points_that_round_to_decimals():
    assert rounding({X: "1.414", Y: "-2"}) == domain({X: "[2827/2000, 2829/2000]", Y: "[-5/2, -3/2]"})


def test_one_root_rounds_to_these_digits():
    where = rounding({X: "1.41421356237"})
    assert root(where, SQUARE_ROOT, (X,)).statement == Statement("root", sp.Tuple(*SQUARE_ROOT), where, sp.Tuple(X))


@pytest.mark.parametrize("digits", ["1.41421356236", "1.41421356238", "1.4142135623", "1.42"])
def test_a_root_that_rounds_to_other_digits_is_not_seen(digits):
    with pytest.raises(Open, match="no single root"):
        root(rounding({X: digits}), SQUARE_ROOT, (X,))


def test_roots_that_depend_on_a_parameter():
    where = domain({T: "[2, 41/20]", X: "[7/5, 29/20]"})
    assert root(where, (X**2 - T,), (X,)).statement.variable == sp.Tuple(X)


@pytest.mark.parametrize("box", ["[3/2, 2]", "[-3/2, 3/2]", "[7/5, 1414/1000]"])
def test_a_box_without_a_single_root_stays_open(box):
    with pytest.raises(Open, match="no single root"):
        root(domain({X: box}), SQUARE_ROOT, (X,))


def test_a_double_root_stays_open():
    with pytest.raises(Open, match="no single root"):
        root(domain({X: "[9/10, 11/10]"}), ((X - 1) ** 2,), (X,))


def test_two_equations():
    circle_and_line = (X**2 + Y**2 - 1, X - Y)
    where = rounding({X: "0.7071067812", Y: "0.7071067812"})
    assert root(where, circle_and_line, (X, Y)).statement.domain == where


def test_refutation():
    where = domain({X: "(0, oo)"})
    found = refute(Statement("positive", X - 1, where))
    assert found is not None
    assert (found.witness, float(found.value)) == ({"x": "1/16"}, -0.9375)
    assert refute(Statement("positive", X, where)) is None
    assert refute(equation(where, sp.exp(X), 1 + X)) is not None
    assert refute(equation(where, sp.Derivative(X**2, X), 2 * X)) is None
    assert refute(Statement("positive", X - X, where)) is None  # 0 is not < 0
