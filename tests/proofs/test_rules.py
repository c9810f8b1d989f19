"""Each rule: a true step is taken, and every way in which it could be wrong is refused."""

import pytest
import sympy as sp

from proofs.logic.rules import (
    combination,
    from_end,
    hump,
    identity,
    increasing,
    instance,
    multiple,
    ridge,
    valley,
    vanishes,
)
from proofs.logic.statements import Open, carried_out, difference, domain

X, Y = sp.symbols("x y", real=True)
HALF_LINE, CLOSED, LINE, UNIT = (domain({X: i}) for i in ("(0, oo)", "[0, oo)", "(-oo, oo)", "(0, 1)"))
BEYOND_1 = domain({X: "(1, oo)"})


def refused(match):
    return pytest.raises(Open, match=match)


def test_identity():
    proof = identity(LINE, sp.Derivative(sp.exp(X**2), X), 2 * X * sp.exp(X**2))
    assert proof.statement.claim == "equal"
    assert proof.statement.expression.args == (sp.Derivative(sp.exp(X**2), X), 2 * X * sp.exp(X**2))
    with refused("not seen to be 0"):
        identity(LINE, sp.exp(X), 1)
    with refused("not seen to be 0"):
        identity(LINE, sp.Derivative(sp.exp(X**2), X), X * sp.exp(X**2))


ONCE = sp.Derivative(X**2 * Y, X)


@pytest.mark.parametrize(
    ("left", "right", "why"),
    [
        (sp.S.Zero, sp.S.Zero, "both sides are numbers"),
        (sp.Subs(X**2, X, 2), 4, "both sides are numbers"),
        (X - X, sp.S.Zero, "both sides are numbers"),
        (X * (X + 1), X * (X + 1), "the same as they are written"),
        (X + X, 2 * X, "the same as they are written"),
        (difference(X + Y, Y), X + sp.exp(X) * sp.exp(-X) - 1, "the same as they are written"),
        (ONCE + X, X + ONCE, "the same as they are written"),
        (sp.Subs(Y**2, X, 3) + Y, Y**2 + Y, "says nothing"),
        (sp.Derivative(sp.Subs(X * Y, X, 2), X) + Y, Y, "says nothing|the same"),
    ],
)
def test_identity_refuses_what_says_nothing(left, right, why):
    with refused(why):
        identity(domain({X: "(0, oo)", Y: "(0, oo)"}), left, right)


def test_what_is_carried_out():
    assert carried_out(sp.Subs(X - Y**2, (X, Y), (Y, X))) == Y - X**2  # both at once
    assert carried_out(sp.Subs(sp.Derivative(X**3, (X, 2)), X, Y)) == 6 * Y
    assert carried_out(difference(X + 1, X)) == 1
    assert difference(X + 1, X) != 1


def test_combination():
    square = combination(HALF_LINE, sp.expand((X + 1) ** 2))
    assert square.statement.claim == "positive"
    assert combination(HALF_LINE, X**2 + 4 * X + 1, [(sp.S.One, square)]).data["rest"] == 2 * X
    assert combination(HALF_LINE, X**2 - X + 1, rest=sp.Rational(3, 4) + (X - sp.Rational(1, 2)) ** 2)


def test_combination_refuses():
    square = combination(HALF_LINE, (X + 1) ** 2)
    with refused("the sign of x - 1 is open"):
        combination(HALF_LINE, X - 1)
    with refused("that x may be 0 was not excluded"):
        combination(CLOSED, X)
    with refused("the sign of -1 is open"):
        combination(HALF_LINE, -((X + 1) ** 2) + X**2 + 3 * X + 5, [(-sp.S.One, square)])
    with refused("not seen to be 0"):
        combination(HALF_LINE, X + 1, rest=X + 2)
    with refused("not covered"):
        combination(LINE, (X + 1) ** 2 + 1, [(sp.S.One, square)])
    with refused("need a proof that something is positive, got equal"):
        combination(HALF_LINE, X, [(sp.S.One, identity(HALF_LINE, X * (X + 1), X**2 + X))])


def test_instance():
    lemma = combination(HALF_LINE, sp.exp(X) + X)
    there = domain({Y: "(-oo, 0)"})
    assert instance(lemma, there, {X: -Y}).expression == sp.exp(-Y) - Y
    with refused(r"that y lies in Interval.open\(0, oo\) was not seen"):
        instance(lemma, there, {X: Y})
    with refused("that y lies in"):
        instance(lemma, domain({Y: "[0, oo)"}), {X: Y})


@pytest.mark.parametrize(
    "expression", [sp.exp(-X) * X**3, sp.erfc(X) * X**2, 1 / X, sp.exp(-(X**2)) * sp.exp(X), sp.erfc(X) * sp.exp(1 / X)]
)
def test_vanishes(expression):
    assert vanishes(HALF_LINE, expression, X, sp.oo).statement.claim == "vanishing"


@pytest.mark.parametrize(
    "expression",
    [
        X,
        sp.S.One,
        sp.exp(X),
        sp.erfc(-X),
        sp.exp(-Y * X),
        sp.erfc(X) * sp.exp(X**2),
        X * sp.erfc(1 / X),
        sp.sin(X) / X,
        sp.exp(-X / (1 + X)),  # tends to exp(-1)
        sp.erfc(X / (1 + X)),
    ],
)
def test_vanishes_refuses(expression):
    with refused("was not seen"):
        vanishes(domain({X: "(0, oo)", Y: "[0, oo)"}), expression, X, sp.oo)


def test_vanishes_at_zero_and_where_a_factor_is_zero():
    assert vanishes(HALF_LINE, X * sp.erfc(1 / X) + sp.exp(-1 / X) / X, X, sp.S.Zero)
    assert vanishes(domain({X: "(0, oo)", Y: "[0, oo)"}), Y * sp.exp(-X * Y), X, sp.oo)
    with refused("1 is no open end"):
        vanishes(HALF_LINE, X - 1, X, sp.S.One)
    with refused("0 is no open end"):
        vanishes(domain({X: "(-oo, 0)"}), sp.exp(-1 / X), X, sp.S.Zero)
    with refused("oo is no open end"):
        vanishes(domain({X: "(2, 3)"}), sp.exp(-X), X, sp.oo)


def test_what_is_not_defined_everywhere_is_not_concluded():
    for where, expression in ((CLOSED, sp.exp(-1 / X)), (LINE, sp.exp(sp.sqrt(X))), (HALF_LINE, Y**2 + 1)):
        with refused("is defined and smooth for .* was not seen"):
            combination(where, expression, rest=expression)
    with refused("is defined"):
        identity(LINE, (X**2 - 1) / (X - 1), X + 1)
    lemma = combination(LINE, X**2 + 1)
    with refused(r"that sqrt\(y\) is defined and smooth for y in .* was not seen"):
        instance(lemma, domain({Y: "(-oo, oo)"}), {X: sp.sqrt(Y)})


def test_symbols_are_what_their_intervals_say():
    positive = sp.Symbol("m", positive=True)
    with refused("m is declared otherwise than .* says"):
        identity(domain({positive: "(-oo, oo)"}), sp.sqrt(positive**2), positive)


def test_the_value_at_a_closed_end_must_be_strict():
    with refused("the sign of 0, at x = 0, is open"):
        from_end(CLOSED, X, X, sp.S.Zero, combination(CLOSED, sp.S.One))
    line = increasing(CLOSED, 2 * X - 1, X, combination(CLOSED, sp.S(2)))
    with refused("the sign of 0, at x = 0, is open"):
        valley(CLOSED, X**2 - X, line)
    closed = domain({X: "[0, 1]"})
    slope = increasing(closed, 2 * X - 1, X, combination(closed, sp.S(2)))
    for rule in (hump, ridge):
        with refused("the sign of 0, at x = 1, is open"):
            rule(closed, X - X**2, slope)


def test_from_end():
    rise = combination(HALF_LINE, sp.exp(X) - 1, rest=sp.exp(X) - 1)
    assert from_end(HALF_LINE, sp.exp(X) - X - 1, X, sp.S.Zero, rise)
    fall = combination(LINE, sp.erfc(X))
    h = sp.exp(-(X**2)) / sp.sqrt(sp.pi) - X * sp.erfc(X)
    assert from_end(LINE, h, X, sp.oo, fall, vanishes(LINE, h, X, sp.oo))
    bounded = from_end(HALF_LINE, 2 - sp.exp(-X), X, sp.S.Zero, combination(HALF_LINE, sp.exp(-X)))  # 1 at x = 0
    assert bounded.data["limit"] == 1


def test_from_end_refuses():
    one = combination(HALF_LINE, sp.S.One)
    with refused("the sign of -1, at x = 0, is open"):
        from_end(HALF_LINE, X - 1, X, sp.S.Zero, one)
    with refused("not seen to be 0"):
        from_end(HALF_LINE, 2 * X, X, sp.S.Zero, one)
    with refused("1 is no end"):
        from_end(HALF_LINE, X, X, sp.S.One, one)
    with refused("is a limit; prove it"):
        from_end(HALF_LINE, X - 1 / X, X, sp.S.Zero, combination(HALF_LINE, 1 + 1 / X**2))
    with refused("not covered"):
        from_end(CLOSED, X, X, sp.S.Zero, one)
    with refused("not of x -> 0"):
        from_end(HALF_LINE, X, X, sp.S.Zero, one, vanishes(HALF_LINE, 1 / X, X, sp.oo))
    with refused("still depends on x"):
        from_end(HALF_LINE, X, X, sp.S.Zero, one, vanishes(HALF_LINE, X**2, X, sp.S.Zero))
    with refused("not seen to be 0"):  # rises from the left end, said to come from the right one
        from_end(UNIT, X, X, sp.S.One, combination(UNIT, sp.S.One))


def test_crossings():
    line = increasing(HALF_LINE, X - 1, X, combination(HALF_LINE, sp.S.One))
    parabola = valley(HALF_LINE, X**2 / 2 - X, line)
    assert multiple(HALF_LINE, X**3 / 2 - X**2, X, parabola).statement.variable == X
    with refused("the sign of -1 is open"):
        multiple(HALF_LINE, X - X**2 / 2, -sp.S.One, parabola)
    with refused("the sign of 1, at x = 0, is open"):
        valley(HALF_LINE, X**2 / 2 - X + 1, line)
    with refused("not seen to be 0"):
        valley(HALF_LINE, X**2 - X, line)
    with refused("not seen to be 0"):
        increasing(HALF_LINE, 2 * X, X, combination(HALF_LINE, sp.S.One))
    with refused("must have one interval"):
        valley(BEYOND_1, X**2 / 2 - X - 1, line)
    with refused("need a proof that something is crossing"):
        valley(HALF_LINE, X**2 / 2, combination(HALF_LINE, X))


def test_hump_and_ridge():
    # -(x e^-x)' = (x - 1) e^-x crosses; x e^-x is 0 at both ends.
    line = increasing(HALF_LINE, X - 1, X, combination(HALF_LINE, sp.S.One))
    slope = multiple(HALF_LINE, (X - 1) * sp.exp(-X), sp.exp(-X), line)
    bump = X * sp.exp(-X)
    falls = vanishes(HALF_LINE, bump, X, sp.oo)
    assert ridge(HALF_LINE, bump, slope, falls).statement.claim == "positive"
    assert hump(HALF_LINE, bump - sp.S.Zero, slope, falls).statement.claim == "crossing"
    lower = bump - sp.exp(-1) / 2  # > 0 in the middle only
    with refused("the sign of -exp"):
        hump(HALF_LINE, lower, slope, falls)
    early = (X - sp.Rational(1, 2)) * sp.exp(-X)
    shifted = multiple(
        HALF_LINE,
        -sp.diff(early, X),
        sp.exp(-X),
        increasing(HALF_LINE, X - sp.Rational(3, 2), X, combination(HALF_LINE, sp.S.One)),
    )
    assert hump(HALF_LINE, early, shifted, vanishes(HALF_LINE, early, X, sp.oo))
    with refused("the sign of -1/2, at x = 0, is open"):
        ridge(HALF_LINE, early, shifted, vanishes(HALF_LINE, early, X, sp.oo))
