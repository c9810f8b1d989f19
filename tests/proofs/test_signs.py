import itertools
import random

import pytest
import sympy as sp

from proofs.logic.signs import defined, sign
from proofs.logic.statements import domain

X, Y, Z = sp.symbols("x y z", real=True)
WHERE = domain({X: "(0, oo)", Y: "[0, oo)", Z: "(-oo, oo)"})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (X, "+"),
        (Y, "0+"),
        (Z, "?"),
        (-X, "-"),
        (-Y, "0-"),
        (X * Y, "0+"),
        (X + Y, "+"),
        (-X - Y, "-"),
        (X - Y, "?"),
        (Z**2, "0+"),
        (Z**3, "?"),
        (X**2, "+"),
        (Y**2, "0+"),
        (1 / X, "+"),
        (1 / Y, "?"),
        (sp.sqrt(Y), "0+"),
        (sp.exp(Z) * sp.erfc(Z), "+"),
        (sp.exp(X) - 1, "+"),
        (sp.exp(Y) - 1, "0+"),
        (sp.exp(-X) - 1, "-"),
        (sp.exp(Z) - 1, "?"),
        (sp.exp(X) - 2, "?"),
        ((X + 1) ** 2 - 1, "+"),
        (sp.sqrt(2) - 1, "+"),
        (sp.S.Zero, "0"),
        (sp.sin(X), "?"),
    ],
)
def test_signs(expression, expected):
    assert sign(expression, WHERE) == expected


def test_symbols_are_counted_from_the_ends_of_their_intervals():
    unit, beyond = domain({X: "(0, 1)"}), domain({X: "[sqrt(3), oo)"})
    assert sign((1 - X) * X, unit) == "+"
    assert sign(1 - X**2, unit) == "+"
    assert sign(1 - X**2, domain({X: "(-1, 1)"})) == "+"
    assert sign(1 - 2 * X**2, unit) == "?"
    assert sign(X**2 - 3, beyond) == "0+"
    assert sign(X**2 - 4, beyond) == "?"
    assert sign(-X, domain({X: "(-oo, 0)"})) == "+"
    assert sign(X - X**2, domain({X: "[0, 1]"})) == "?"
    assert sign(Y - 1 - X, domain({X: "(-oo, 0)", Y: "(1, 2)"})) == "+"  # from the right end and from the left one
    assert sign(2 - Y + X, domain({X: "(0, oo)", Y: "(1, 2)"})) == "+"


def test_what_is_defined():
    assert defined(1 / X + sp.sqrt(X), WHERE)
    assert not defined(1 / Y, WHERE)
    assert not defined(sp.sqrt(Y), WHERE)  # not smooth
    assert not defined(1 / (X - 1), WHERE)
    assert not defined(X + sp.Symbol("w"), WHERE)
    assert defined(1 / sp.sqrt(1 - X**2), domain({X: "(-1, 1)"}))


def test_no_sign_is_wrong():
    """Random expressions: what is said of the sign holds at random points."""
    rng = random.Random(0)
    leaves = [X, Y, Z, *map(sp.Integer, (-2, -1, 1, 3))]
    grow = [
        lambda a, b: a + b,
        lambda a, b: a * b,
        lambda a, b: a - b,
        lambda a, _: a**2,
        lambda a, _: a**3,
        lambda a, _: sp.exp(a) - 1,
        lambda a, _: sp.erfc(a),
    ]
    allowed = {"+": lambda v: v > 0, "0+": lambda v: v >= 0, "-": lambda v: v < 0, "0-": lambda v: v <= 0}
    points = [dict(zip((X, Y, Z), p, strict=True)) for p in itertools.product((0.1, 0.7, 2), (0, 0.3, 2), (-2, 0, 1.5))]
    seen = 0
    for _ in range(600):
        expression = rng.choice(leaves)
        for _ in range(rng.randint(1, 4)):
            expression = rng.choice(grow)(expression, rng.choice(leaves))
        found = sign(expression, WHERE)
        if found not in ("?", "0"):
            seen += 1
            values = [expression.evalf(30, subs=point) for point in points]
            # evalf gives 0 for an erfc far out.
            assert all(allowed[found](v) or (v == 0 and expression.has(sp.erfc)) for v in values), (expression, found)
    assert seen > 100
