import pytest
import sympy as sp

from proofs.logic.balls import newton, on_boxes, root, root_near
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


def test_one_root_in_a_box():
    proof = root_near(SQUARE_ROOT, {X: 1.4}, 12)
    ((_, box),) = proof.statement.domain
    assert box.start < sp.sqrt(2) < box.end
    assert box.measure < box.start / 10**12


def test_roots_that_depend_on_a_parameter():
    where = domain({T: "[2, 41/20]", X: "[7/5, 29/20]"})
    assert root(where, (X**2 - T,), (X,)).statement.end is None


@pytest.mark.parametrize("box", ["[3/2, 2]", "[-3/2, 3/2]", "[7/5, 1414/1000]"])
def test_a_box_without_a_single_root_stays_open(box):
    with pytest.raises(Open, match="no single root"):
        root(domain({X: box}), SQUARE_ROOT, (X,))


def test_a_double_root_stays_open():
    with pytest.raises(Open, match="no single root"):
        root(domain({X: "[9/10, 11/10]"}), ((X - 1) ** 2,), (X,))


def test_a_box_of_too_few_digits_stays_open():
    with pytest.raises(Open, match="less than 3 digits"):
        root(domain({X: "[141/100, 142/100]"}), SQUARE_ROOT, (X,), digits=3)


def test_two_equations():
    circle_and_line = (X**2 + Y**2 - 1, X - Y)
    proof = root_near(circle_and_line, {X: 0.7, Y: 0.7}, 10)
    assert all(i.start < sp.sqrt(2) / 2 < i.end for _, i in proof.statement.domain)


def test_newton_gives_up():
    with pytest.raises(Open, match="found no root"):
        newton([X**2 + 1], {X: 0.5})


def test_refutation():
    where = domain({X: "(0, oo)"})
    found = refute(Statement("positive", X - 1, where))
    assert found is not None
    assert (found.witness, float(found.value)) == ({"x": "1/16"}, -0.9375)
    assert refute(Statement("positive", X, where)) is None
    assert refute(equation(where, sp.exp(X), 1 + X)) is not None
    assert refute(equation(where, sp.Derivative(X**2, X), 2 * X)) is None
    assert refute(Statement("positive", X - X, where)) is None  # 0 is not < 0
