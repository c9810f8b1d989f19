from fractions import Fraction

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from gpsym.activation import Activation
from gpsym.expression import from_sympy, parse_activation
from gpsym.formula import TAU, A, M, X
from gpsym.members import MEMBERS, clipped_relu, identity, relu, shifted_relu

B, C = sp.symbols("b c", real=True)

WRITTEN = [
    ("relu", "max(0, x)"),
    ("relu", "x*Heaviside(x)"),
    ("relu", "(x + abs(x))/2"),
    ("relu", "Piecewise((x, x >= 0), (0, True))"),
    ("shifted-relu", "max(0, x - tau)"),
    ("shifted-relu", "max(x, tau) - tau"),
    ("soft-threshold", "sign(x)*max(0, abs(x) - tau)"),
    ("soft-threshold", "x - min(max(x, -tau), tau)"),
    ("soft-threshold", "Piecewise((x - tau, x > tau), (x + tau, x < -tau), (0, True))"),
    ("clipped-relu", "min(max(0, x - tau), m)"),
    ("clipped-relu", "max(0, x - tau) - max(0, x - tau - m)"),
    ("clipped-relu", "Piecewise((0, x < tau), (x - tau, tau <= x <= tau + m), (m, True))"),
    ("clipped-soft-threshold", "sign(x)*min(max(0, abs(x) - tau), m)"),
    ("clipped-soft-threshold", "max(-m, min(m, x - min(max(x, -tau), tau)))"),
    ("identity", "x"),
    ("identity", "sqrt(2)*x/sqrt(2)"),
    ("abs", "abs(x)"),
    ("abs", "max(x, -x)"),
    ("abs", "x*sign(x)"),
    ("sign", "sign(x)"),
    ("sign", "2*Heaviside(x) - 1"),
    ("leaky-relu", "max(x, 0.01*x)"),
    ("prelu", "max(0, x) + a*min(0, x)"),
    ("prelu", "Piecewise((a*x, x < 0), (x, True))"),
    ("hard-tanh", "min(max(x, -1), 1)"),
    ("hard-tanh", "Piecewise((-1, x < -1), (x, (-1 <= x) & (x <= 1)), (1, not x <= 1))"),
    ("relu6", "min(max(0, x), 6)"),
    ("hard-sigmoid", "min(max(0, x/6 + 1/2), 1)"),
    ("hard-sigmoid", "Min(Max(0, x + 3), 6)/6"),
    ("hard-swish", "x*min(max(0, x/6 + 1/2), 1)"),
    ("hard-swish", "Piecewise((0, x <= -3), (x, x >= 3), (x*(x + 3)/6, True))"),
    ("squared-relu", "max(0, x)**2"),
    ("squared-relu", "max(0, x**3)/2 + max(0, x)**2 - x*x*max(0, x)/2"),
    ("hard-shrink", "Piecewise((0, abs(x) < tau), (x, True))"),
    ("hard-shrink", "x*(Heaviside(x - tau) + Heaviside(-x - tau))"),
    ("hard-shrink", "Piecewise((x, Or(x < -tau, x > tau)), (0, True))"),
    ("jump-relu", "x*Heaviside(x - tau)"),
    ("jump-relu", "Piecewise((x, ~(x <= tau)), (0, True))"),
]


def test_every_member_is_written():
    assert {name for name, _ in WRITTEN} == set(MEMBERS)


@pytest.mark.parametrize(("name", "text"), WRITTEN)
def test_what_is_written_is_the_member(name, text):
    read = parse_activation(text, assume=["tau >= 0", "m > 0"])
    assert read == MEMBERS[name]()
    assert read.name == "piecewise-polynomial"


@pytest.mark.parametrize(
    ("name", "expression", "assume"),
    [
        ("relu", sp.Max(X, 0), ()),
        ("shifted-relu", sp.Max(0, X - TAU), ()),
        ("soft-threshold", sp.sign(X) * sp.Max(0, abs(X) - TAU), [TAU >= 0]),
        ("clipped-relu", sp.Min(sp.Max(0, X - TAU), M), ()),
        ("clipped-soft-threshold", sp.sign(X) * sp.Min(sp.Max(0, abs(X) - TAU), M), [TAU >= 0]),
        ("prelu", sp.Piecewise((X, X > 0), (A * X, True)), ()),
        ("hard-shrink", sp.Piecewise((X, abs(X) > TAU), (0, True)), "tau >= 0"),
    ],
)
def test_members_from_sympy_have_the_symbols_and_conditions_of_members(name, expression, assume):
    read = from_sympy(expression, assume=assume)
    assert read == MEMBERS[name]()
    assert read.conditions == MEMBERS[name]().conditions


def test_x_may_be_any_real_symbol_and_numbers_are_activations():
    z = sp.Symbol("z", real=True)
    assert from_sympy(sp.Max(0, z - TAU), x=z) == shifted_relu()
    assert from_sympy(3) == Activation((), ((3,),))
    assert from_sympy(0.1 * X) == Activation((), ((0, 0.1),))


def test_decimals_in_text_are_the_fractions_that_they_say():
    assert parse_activation("0.1 + 1e-3*x").pieces == ((sp.Rational(1, 10), sp.Rational(1, 1000)),)


@pytest.mark.parametrize(
    ("text", "knots"),
    [
        ("max(x, x**2)", (0, 1)),
        ("max(0, x**2 - 2)", (-sp.sqrt(2), sp.sqrt(2))),
        ("max(0, x**2 + 1)", ()),
        ("sign((x - 1)**2*(x - 2))", (2,)),
        ("max(0, x**3 - x)", (-1, 0, 1)),
        ("sign(sqrt(2)*x**3 - pi*x)", (-sp.sqrt(sp.sqrt(2) * sp.pi / 2), 0, sp.sqrt(sp.sqrt(2) * sp.pi / 2))),
        ("max(0, x - sqrt(2) - sqrt(3), x - sqrt(5 + 2*sqrt(6)))", (sp.sqrt(2) + sp.sqrt(3),)),
        ("max(0, x**5 - x - 1)", tuple(sp.real_roots(X**5 - X - 1))),
    ],
)
def test_knots_are_exact_roots(text, knots):
    assert [sp.simplify(a - b) for a, b in zip(parse_activation(text).knots, knots, strict=True)] == [0] * len(knots)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Heaviside(max(0, x))", (("1/2",), (1,))),
        ("Heaviside(max(0, x), 3)", ((3,), (1,))),
        ("sign(max(0, x))", ((), (1,))),
        ("Piecewise((1, max(0, x) == 0), (2, True))", ((1,), (2,))),
        ("Piecewise((1, max(0, x) <= 0), (2, True))", ((1,), (2,))),
        ("Piecewise((1, max(0, x) < 0), (2, x > 0), (3, True))", ((3,), (2,))),
        ("Piecewise((1, max(0, x) >= 0), (2, True))", ((1,),)),
        ("Piecewise((1, max(0, x) != 0), (2, True))", ((2,), (1,))),
        ("Piecewise((1, x == 0), (2, True))", ((2,),)),
        ("Piecewise((1, x != 0), (2, True))", ((1,),)),
        ("Piecewise((1, False), (2, True))", ((2,),)),
    ],
)
def test_zero_matters_on_intervals_and_not_at_points(text, pieces):
    assert parse_activation(f"x + {text}") - identity() == Activation((0,) * (len(pieces) - 1), pieces)


@pytest.mark.parametrize(
    ("expression", "assume", "knots"),
    [
        (sp.Max(0, X - A) + sp.Max(0, X - B), ["a < b"], (A, B)),
        (sp.Max(0, X - A) + sp.Max(0, X - B), [B <= A], (B, A)),
        (sp.Max(0, X - A) + sp.Max(0, X - B) + abs(X - C), ["b <= c", "a <= b"], (A, B, C)),
        (sp.Max(0, X - A) + sp.Max(0, X - B), ["a < 2*b - c", "c > b"], (A, B)),
        (sp.Max(X, A * X), ["a <= 1"], (0,)),
        (sp.Max(X, A * X), ["0 < a < 1"], (0,)),
        (sp.Min(sp.Max(0, X), M, 6), ["m < 6"], (0, M)),
        (sp.Min(sp.Max(0, X), A, 6), [A < 6, A > 0], (0, A)),
        (sp.Min(sp.Max(0, X), A), [A > 2], (0, A)),
        (sp.Min(sp.Max(0, X - TAU), M), ["m > 0", "0 <= tau", "tau < m", "1 < 2"], (TAU, M + TAU)),
        (sp.Max(0, X * (X - TAU)), "tau >= 0", (0, TAU)),
        (sp.Max(0, X**2 - M), [], (-sp.sqrt(M), sp.sqrt(M))),
    ],
)
def test_assumptions_decide_orders(expression, assume, knots):
    read = from_sympy(expression, assume=assume)
    assert read.knots == knots
    assert read.parameters == from_sympy(sum(expression.free_symbols - {X}, start=sp.S.Zero)).parameters


def test_orders_that_were_assumed_become_conditions():
    assert from_sympy(sp.Max(0, X - A) + sp.Max(0, X - B), assume=["a < b"]).conditions == (B - A,)
    with pytest.raises(ValueError, match="need -a \\+ b >= 0"):
        from_sympy(abs(X - A) + abs(X - B), assume=["a < b"]).subs({A: 2, B: 1})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (sp.exp(X), r"need a piecewise polynomial in x, got exp\(x\)"),
        (X + sp.Max(0, sp.sin(X)), r"got sin\(x\)"),
        (sp.sqrt(X), r"need powers 0, 1, 2, ... of functions of x, got sqrt\(x\)"),
        (1 / X, "got 1/x"),
        (X**A, r"got x\*\*a"),
        (2**A, r"got 2\*\*a"),
        (X / A, "need finite real numbers, got 1/a; declare"),
        (sp.I * X, "need finite real numbers, got I"),
        (sp.zoo * X, "need finite real numbers, got zoo"),
        (sp.Max(0, X - sp.Symbol("t")), "need symbols declared real, got t"),
        (sp.Symbol("x"), "need symbols declared real, got x"),
        (sp.Symbol("q", positive=True) * X, "need a parameter of another name, got q"),
        (sp.Piecewise((1, X > 0)), "need cases that cover the line, got none for x < 0"),
        (sp.Piecewise((1, X > 2), (0, X < 1)), r"got none for \(x > 1\) & \(x < 2\)"),
        (sp.Piecewise((1, sp.Contains(X, sp.S.Integers)), (0, True)), r"conditions .* got Contains\(x, Integers\)"),
        (sp.Piecewise((1, A > 0), (X, True)), r"need the sign of a, .* assume=\['a > 0'\]"),
        (sp.Min(sp.Max(0, X), A), r"need the sign of a, .* assume=\['a > 0'\]"),
        (abs(X - A) + abs(X - B), "need the sign of a - b"),
        (A * abs(A * X - 1), "need the sign of a"),
        (abs(sp.Symbol("s", nonnegative=True) * X - 1), "need the sign of s"),
        (sp.Max(0, X**2 - A), "need the sign of a"),
        (sp.Max(0, X * (X - A)), "need the sign of a"),
        (sp.Max(0, X**3 + M * X + 1), r"need the real roots of m\*x \+ x\*\*3 \+ 1"),
        (sp.Heaviside(X, X), "Heaviside's value at 0 to be free of x, got x"),
        ("x", "need a SymPy expression, got 'x'; read text with parse_activation"),
        (X > 0, "need a piecewise polynomial in x, got x > 0"),
    ],
)
def test_what_is_no_piecewise_polynomial_is_refused(expression, message):
    with pytest.raises(ValueError, match="^activation: .*" + message):
        from_sympy(expression)


@pytest.mark.parametrize(
    ("assume", "message"),
    [
        (["x > 0"], "without x, got x > 0"),
        (["a == 1"], r"with <, <=, > or >= .* got Eq\(a, 1\)"),
        (["a"], "with <, <=, > or >= .* got a"),
        (["a*b > 1"], r"bound a symbol at most twice, got a\*b > 1"),
        (["a > 0", "a < 0"], "can hold together, got a < 0"),
        (["0 < a < 1", "a >= 1"], "can hold together, got a >= 1"),
        (["0 < a < 1", "2*a > 1"], r"at most twice, got 2\*a > 1"),
        (["Heaviside(a)"], r"with <, <=, > or >= .* got Heaviside\(a, 1/2\)"),
        (["a < 1 or a > 2"], "with <, <=, > or >= .* got Or"),
        ("a > ", "an error at column"),
        ([M < 0], "can hold together, got False"),
    ],
)
def test_bad_assumptions_are_refused(assume, message):
    with pytest.raises(ValueError, match="^activation: .*" + message):
        from_sympy(sp.Max(0, X - A - B), assume=assume)


def test_messages_speak_of_the_symbols_that_came():
    z = sp.Symbol("z", real=True)
    with pytest.raises(ValueError, match=r"got exp\(b \+ z\)"):
        from_sympy(sp.exp(z + B) + A, x=z, assume=["a < b"])
    with pytest.raises(ValueError, match=r"need the sign of (a - c|-a \+ c),"):
        from_sympy(abs(X - A) + abs(X - B) + abs(X - C), assume=["a < b", "c < b"])
    with pytest.raises(ValueError, match="got 1/a; declare its symbols"):
        from_sympy(X / A, assume=["a > 0"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got an empty text"),
        ("max(0, ", "an error at column 4 of 'max\\(0,'"),
        ("x = 3", "an error at column"),
        ("x^2", r"need \*\* for powers, got \^ in x\^2"),
        ("tanh(x)", "unknown function tanh; choose from Piecewise, where, Max"),
        ("__import__('os').system('true')", "unknown function __import__"),
        ("x.real", "got x.real"),
        ("x // 2", "got x // 2"),
        ("max(0, x - lambda)", "need names that are no words of Python, got lambda; write lambda_ for it"),
        ("max(0, z - 1)", r"need an expression in the variable x, got max\(0, z - 1\) in z; write x for it"),
        ("3", "need an expression in the variable x, got 3; use x"),
        ("x - x", "need an expression in the variable x, got x - x; use x"),
        ("max(x, x) - abs(x) - min(0, 2*x)", "depends on x, got .*, which is 0 everywhere; write another"),
        ("x in 3", "got x in 3"),
        ("'x'", "got 'x'"),
        ("2j*x", "got 2j"),
        ("1e999*x", "between 1e-308 and 1e308, got 1e999"),
        ("1e-999*x", "between 1e-308 and 1e308, got 1e-999"),
        ("max", r"got max alone; write max\(...\)"),
        ("max()", r"need arguments without names, got max\(\)"),
        ("max(0, a=x)", "need arguments without names, got"),
        ("abs(x, 1)", r"need fewer arguments, got abs\(x, 1\)"),
        ("Piecewise(x)", r"need \(value, condition\) in Piecewise, got x"),
        ("Piecewise((1, x), (2, True))", r"need conditions in \(1, x\), got x"),
        ("Piecewise((1, x > 0 & x < 1), (0, True))", "need conditions in 0 & x, got 0; compare it, in parentheses"),
        ("1/0 < x", "need finite real numbers, got 1/0"),
        ("sqrt(-1)*x", r"need finite real numbers, got sqrt\(-1\)"),
        ("sqrt(x)", r"got sqrt\(x\)"),
        ("q*x", "need a parameter of another name, got q"),
        ("-" * 1900 + "x", "need an expression of moderate depth"),
        ("-" * 5000 + "x", "need at most 2000 characters, got 5001"),
    ],
)
def test_text_that_is_not_understood_is_refused(text, message):
    with pytest.raises(ValueError, match="^activation: .*" + message):
        parse_activation(text)


NUMBERS = st.fractions(min_value=-3, max_value=3, max_denominator=4)
LEAVES = st.just(("x", lambda x: x)) | NUMBERS.map(lambda c: (f"({c})", lambda x: c))


def step(value, zero):
    return zero if value == 0 else Fraction(value > 0)


def extended(inner):
    """One more layer: pairs of a text and of what it means in Python's arithmetic."""
    one = inner.flatmap(
        lambda f: st.sampled_from(
            [
                (f"abs({f[0]})", lambda x: abs(f[1](x))),
                (f"sign({f[0]})", lambda x: 2 * step(f[1](x), Fraction(1, 2)) - 1),
                (f"Heaviside({f[0]})", lambda x: step(f[1](x), Fraction(1, 2))),
                (f"({f[0]})**2", lambda x: f[1](x) ** 2),
                (f"-({f[0]})/3", lambda x: -f[1](x) / 3),
            ]
        )
    )
    two = st.tuples(inner, inner).flatmap(
        lambda p: st.sampled_from(
            [
                (f"({p[0][0]} + {p[1][0]})", lambda x: p[0][1](x) + p[1][1](x)),
                (f"{p[0][0]} - ({p[1][0]})", lambda x: p[0][1](x) - p[1][1](x)),
                (f"({p[0][0]})*({p[1][0]})", lambda x: p[0][1](x) * p[1][1](x)),
                (f"max({p[0][0]}, {p[1][0]})", lambda x: max(p[0][1](x), p[1][1](x))),
                (f"min({p[0][0]}, {p[1][0]}, 1)", lambda x: min(p[0][1](x), p[1][1](x), 1)),
            ]
        )
    )
    cases = st.tuples(inner, inner, inner).flatmap(
        lambda p: st.sampled_from(
            [
                (
                    f"Piecewise(({p[0][0]}, {p[1][0]} < {p[2][0]}), ({p[2][0]}, True))",
                    lambda x: p[0][1](x) if p[1][1](x) < p[2][1](x) else p[2][1](x),
                ),
                (
                    f"Piecewise(({p[0][0]}, {p[1][0]} == {p[2][0]}), ({p[1][0]}, {p[0][0]} >= 0 or x < 1), (2, True))",
                    lambda x: (
                        p[0][1](x)
                        if p[1][1](x) == p[2][1](x)
                        else p[1][1](x)
                        if p[0][1](x) >= 0 or x < 1
                        else Fraction(2)
                    ),
                ),
            ]
        )
    )
    return one | two | cases


EXPRESSIONS = LEAVES | extended(LEAVES) | extended(extended(LEAVES) | LEAVES)
# No root of a polynomial with small coefficients has this prime as its denominator.
POINTS = (
    st.integers(min_value=-50_000, max_value=50_000).filter(lambda n: n % 10_007).map(lambda n: Fraction(n, 10_007))
)


@given(EXPRESSIONS, st.lists(POINTS, min_size=5, max_size=5))
def test_the_activation_takes_the_values_of_the_expression(expression, points):
    text, function = expression
    read = parse_activation(f"x + {text}")
    assert [read(x) - x for x in points] == [function(x) for x in points]


@given(EXPRESSIONS)
def test_pieces_are_joined(expression):
    read = parse_activation(f"x + {expression[0]}") - identity()
    assert all(left != right for left, right in zip(read.pieces, read.pieces[1:], strict=False))
    assert all(bool(a < b) for a, b in zip(read.knots, read.knots[1:], strict=False))


def test_relu_of_text_is_relu_and_parameters_are_real():
    assert parse_activation("Max(x, 0)") == relu()
    assert parse_activation("min(max(0, x - tau), m)", "m >= 1").conditions == (sp.Symbol("m", real=True),)
    assert parse_activation("x/m", "m > 0").parameters == (M,)
    assert parse_activation("min(max(0, x - tau), 2)") == clipped_relu(m=2)


def test_cases_within_cases_may_leave_out_what_does_not_matter():
    inner = sp.Piecewise((2 * X, X > 1), (X, X > 0))
    assert from_sympy(sp.Piecewise((inner, X > 0), (0, True))) == Activation((0, 1), ((), (0, 1), (0, 2)))
    with pytest.raises(ValueError, match=r"got none for \(x > -1\) & \(x < 0\)"):
        from_sympy(sp.Piecewise((inner, X > -1), (0, True)))
