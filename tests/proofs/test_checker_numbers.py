"""The checker's arithmetic: texts, trees, normal forms, signs, limits and enclosures."""

from fractions import Fraction

import mpmath
import pytest
import sympy as sp
from flint import arb, ctx, fmpq
from hypothesis import given
from hypothesis import strategies as st

from proofs.checker import Rejected, parse
from proofs.checker.boxes import require_positive_on_boxes
from proofs.checker.domains import domain, require_covered, symbol_signs
from proofs.checker.intervals import BITS, bounds, enclosure, erf_series, erfc, interval
from proofs.checker.limits import require_vanishing
from proofs.checker.normal import Normal, as_tree, is_zero
from proofs.checker.signs import require_defined, require_smooth, signs
from proofs.checker.trees import ZERO, derivative, minus, substitute

HALVES = domain({"x": "(0, oo)", "y": "[0, oo)", "z": "(-oo, oo)"})
NUMBERS = mpmath.MPContext()
NUMBERS.prec = 4000  # 40^2 / ln 2 bits are lost in 2 - erfc(-40)


def assert_holds(enclosed, number):
    """The interval has the number of mpmath in it."""
    low, high = (NUMBERS.mpf(end.numerator) / end.denominator for end in bounds(enclosed))
    assert low <= number <= high


def exact(x):
    return arb(fmpq(x.numerator, x.denominator))


def point(x):
    return interval(Fraction(x), Fraction(x))


# Trees over x > 0, y >= 0 and any z, defined everywhere: under roots and negative powers are positive factors.
ATOMS = st.sampled_from(
    ["x", "y", "z", "2", "3/5", "pi", "sqrt(2)", "sqrt(x)", "y**(3/2)", "1/x", "x**(-3/2)", "1/(1 + y)"]
)
TEXTS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} + {})".format, inner, inner),
        st.builds("({} - {})".format, inner, inner),
        st.builds("({})*({})".format, inner, inner),
        st.builds("({})**2".format, inner),
        st.builds("exp(-({})/4)".format, ATOMS),
        st.builds("erfc({})".format, ATOMS),
        st.builds("sqrt(1 + ({})**2)".format, ATOMS),
    ),
    max_leaves=6,
)
POINTS = st.fixed_dictionaries(
    {
        "x": st.fractions(Fraction(1, 50), 4, max_denominator=50),
        "y": st.fractions(0, 4, max_denominator=50),
        "z": st.fractions(-4, 4, max_denominator=50),
    }
)


@given(text=TEXTS, place=POINTS)
def test_values_derivatives_and_normal_forms_are_those_of_sympy(text, place):
    tree, expression = parse.expression(text), sp.sympify(text)
    box = {name: point(value) for name, value in place.items()}
    values = {sp.Symbol(name): sp.Rational(value.numerator, value.denominator) for name, value in place.items()}
    for own, other in ((tree, expression), (derivative(tree, "x"), sp.diff(expression, sp.Symbol("x")))):
        assert_holds(enclosure(own, box), NUMBERS.make_mpf(sp.Float(other.subs(values).evalf(600), 600)._mpf_))
    low, high = bounds(enclosure(minus(tree, as_tree(Normal(symbol_signs(HALVES)).form(tree))), box))
    assert low <= 0 <= high
    assert high - low < Fraction(1, 2**100)


@given(text=TEXTS, place=POINTS)
def test_signs_hold_at_every_point(text, place):
    tree = parse.expression(text)
    low, high = bounds(enclosure(tree, {name: point(value) for name, value in place.items()}))
    allowed = signs(tree, HALVES)
    assert (high >= 0 and 1 in allowed) or (low <= 0 and -1 in allowed) or (low <= 0 <= high and 0 in allowed)
    assert not (low > 0 and 1 not in allowed)
    assert not (high < 0 and -1 not in allowed)


@given(text=TEXTS, other=TEXTS)
def test_what_is_multiplied_out_is_the_same(text, other):
    a, b = f"({text})", f"({other})"
    assert is_zero(parse.expression(f"({a} + {b})**2 - {a}**2 - 2*{a}*{b} - {b}**2"), symbol_signs(HALVES))


@pytest.mark.parametrize(
    ("text", "zero"),
    [
        ("sqrt(2)*sqrt(2) - 2", True),
        ("sqrt(8) - 2*sqrt(2)", True),
        ("sqrt(2)*sqrt(3) - sqrt(6)", True),
        ("12**(1/3) - 2**(2/3)*3**(1/3)", True),
        ("sqrt(2) - 17/12", False),
        ("sqrt(pi)**2 - pi", True),
        ("pi - 355/113", False),
        ("sqrt(x)*sqrt(x) - x", True),
        ("sqrt(x**2) - x", True),
        ("sqrt(z**2) - z", False),
        ("sqrt(z**2)**2 - z**2", True),
        ("x*y/x - y", True),
        ("exp(x)*exp(y) - exp(x + y)", True),
        ("exp(x)**2*exp(-2*x) - 1", True),
        ("exp(-(x + y)**2/(2*x)) - exp(-x/2)*exp(-y)*exp(-y**2/(2*x))", True),
        ("exp(x/(1 + x)) - exp(1 - 1/(1 + x))", True),
        ("exp(x) - 1 - x - x**2/2", False),
        ("erfc(z) + erfc(-z) - 2", True),
        ("erfc(z) - erfc(-z)", False),
        ("erf(z) + erfc(z) - 1", True),
        ("erfc(0) - 1", True),
        ("erfc((x + y)/sqrt(2)) - erfc(sqrt(2)*x/2 + sqrt(2)*y/2)", True),
        ("erfc(x/(1 + x)) - erfc(1 - 1/(1 + x))", True),
        ("1/(1 + x) + x/(1 + x) - 1", True),
        ("1/(1 + x) - 1/(2 + x) - 1/((1 + x)*(2 + x))", True),
        ("1/(1 + x) - 1/(2 + x)", False),
        ("sqrt(1 + x)**3 - sqrt(1 + x) - x*sqrt(1 + x)", True),
        ("1/sqrt(1 + x) - sqrt(1 + x)/(1 + x)", True),
        ("1/(1 + 1/(1 + x)) - (1 + x)/(2 + x)", True),
        ("sqrt(1 - (1 - x)**2/(1 + x)**2) - 2*sqrt(x)/(1 + x)", True),
        ("sqrt(1 - (1 - z**2)**2/(1 + z**2)**2) - 2*z/(1 + z**2)", False),  # of the other sign for z < 0
        ("sqrt((1 + z)**(-2)) - 1/(1 + z)", False),
        ("sqrt((1 - x/2)**(-2)) - 1/(1 - x/2)", False),
        ("x - x*(1 + 10**(-40))", False),
    ],
)
def test_identities(text, zero):
    assert is_zero(parse.expression(text), symbol_signs(HALVES)) is zero


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x", {1}),
        ("y", {0, 1}),
        ("z", {-1, 0, 1}),
        ("-x*y", {-1, 0}),
        ("z**2", {0, 1}),
        ("1 + z**2", {1}),
        ("x - y", {-1, 0, 1}),
        ("(x + y)**2 - y**2", {1}),
        ("exp(x) - 1", {1}),
        ("exp(-y) - 1", {-1, 0}),
        ("exp(z) - 1", {-1, 0, 1}),
        ("erfc(y) - erfc(x + y)", {1}),
        ("x*erfc(x + y) - x*erfc(y)", {-1}),
        ("erf(x)", {1}),
        ("erfc(x) - 2*erfc(x + y)", {-1, 0, 1}),
        ("exp(x) + exp(y) - 2", {1}),
        ("3*exp(x) - 2*exp(-x) - 1", {1}),
        ("3*exp(x) - 2*exp(-x) - 2", {-1, 0, 1}),
        ("exp(z) - 2*exp(z - y)", {-1, 0, 1}),
        ("2*exp(z - y) - 2*exp(z)", {-1, 0}),
        ("z*exp(x) - z", {-1, 0, 1}),
        ("x/(1 + x) - 1", {-1}),
        ("x/(1 + z) - 1", {-1, 0, 1}),
        ("3 - pi", {-1}),
        ("sqrt(2)*sqrt(3) - sqrt(6)", {0}),
        ("exp(-z)", {1}),
    ],
)
def test_signs_by_form(text, expected):
    assert signs(parse.expression(text), HALVES) == expected


def test_signs_by_form_count_from_the_ends_of_intervals():
    places = domain({"tau": "[sqrt(3), oo)", "u": "(-oo, 1)", "v": "(-2, -1]"})
    assert signs(parse.expression("tau**2 - 3"), places) == {0, 1}
    assert signs(parse.expression("tau**2 - 2"), places) == {1}
    assert signs(parse.expression("tau**2 - 4"), places) == {-1, 0, 1}
    assert signs(parse.expression("1 - u"), places) == {1}
    assert signs(parse.expression("v**3"), places) == {-1}
    assert signs(parse.expression("2 + v"), places) == {1}
    assert signs(parse.expression("tau*(tau + exp(-u))*exp(tau) - 3"), places) == {1}


def test_signs_by_form_between_two_ends():
    places = domain({"a": "(-1, 1)", "b": "[0, 1]", "c": "(0, 1]", "x": "(0, oo)"})
    assert signs(parse.expression("1 - a**2"), places) == {1}
    assert signs(parse.expression("x - x*a**2 + x**2"), places) == {1}
    assert signs(parse.expression("1/2 - a**2"), places) == {-1, 0, 1}
    assert signs(parse.expression("b - b**2"), places) == {0, 1}
    assert signs(parse.expression("c**2 - c"), places) == {-1, 0}
    assert signs(parse.expression("1 - a*b"), places) == {0, 1}  # 1 only, but b = 1 is a limit there
    assert signs(parse.expression("1 - b*c"), places) == {0, 1}


@given(text=TEXTS, place=POINTS)
def test_signs_hold_between_two_ends(text, place):
    """As x, y and z are at most 4 there, and more than -5."""
    places = domain({"x": "(0, 4]", "y": "[0, 4]", "z": "(-5, 4]"})
    tree = parse.expression(f"{text} - z**2/3")
    low, high = bounds(enclosure(tree, {name: point(value) for name, value in place.items()}))
    allowed = signs(tree, places)
    assert not (low > 0 and 1 not in allowed)
    assert not (high < 0 and -1 not in allowed)


def test_definedness_is_seen_before_anything_cancels():
    places = domain({"x": "[0, oo)", "z": "(-oo, oo)"})
    for text in ("x/x", "0*(1/x)", "sqrt(z)", "sqrt(z)**2", "1/(x - 1)", "erfc(1/x)", "exp(-1/x)", "1/(2 - 2)", "1/0"):
        with pytest.raises(Rejected, match=r"may leave|0 stands"):
            require_defined(parse.expression(text), places)
    for text in ("1/(1 + x)", "sqrt(x)", "sqrt(1 + z**2)", "x**(3/2)/erfc(-z)"):
        require_defined(parse.expression(text), places)
    with pytest.raises(Rejected, match="may leave"):
        require_smooth(parse.expression("sqrt(x)"), places)
    with pytest.raises(Rejected, match="w has no interval"):
        require_defined(parse.expression("w - w"), places)


@pytest.mark.parametrize(
    ("text", "end", "vanishes"),
    [
        ("exp(-x)", "oo", True),
        ("x**40*exp(-sqrt(x))", "oo", True),
        ("1/sqrt(x)", "oo", True),
        ("exp(x)*erfc(x)", "oo", True),
        ("x*exp(x**2)*erfc(x)**2", "oo", True),
        ("exp(x**2)*erfc(x)/x", "oo", True),
        ("exp(x**2)*erfc(x)", "oo", False),  # true, ~ 1/x, but not seen
        ("x*exp(2*x**2)*erfc(x)", "oo", False),
        ("exp(x - x**2)", "oo", True),
        ("exp(x**2 - x)", "oo", False),
        ("exp(-x)*exp(x)", "oo", False),
        ("exp(-2*x)*exp(x)", "oo", True),
        ("exp(-y*x)", "oo", False),  # 1 at y = 0
        ("y*exp(-y*x)", "oo", True),
        ("exp(-y*x)/x", "oo", True),
        ("exp(-y*x - sqrt(x))", "oo", True),
        ("exp(-z*x)", "oo", False),
        ("exp(-z**2*x)/x", "oo", True),
        ("erfc(z*x)/x", "oo", True),
        ("erfc(z*x)", "oo", False),
        ("erfc(-x)", "oo", False),
        ("z*exp(-x)", "oo", True),
        ("1 - erf(x)", "oo", True),
        ("erf(x)", "oo", False),
        ("x", "0", True),
        ("sqrt(x)", "0", True),
        ("exp(-1/x)/x**7", "0", True),
        ("exp(1/x)", "0", False),
        ("erfc(y/sqrt(x))*y**2", "0", True),
        ("erfc(y/sqrt(x))", "0", False),
        ("sqrt(x)*exp(-y**2/(2*x))", "0", True),
        ("1", "0", False),
        ("exp(-1 - y)", "oo", False),
        ("exp(-exp(x))", "oo", False),
        ("x/(1 + x)**2", "oo", False),  # true, but not seen
    ],
)
def test_limits(text, end, vanishes):
    tree, place = parse.expression(text), None if end == "oo" else ZERO
    require_defined(tree, HALVES)
    if vanishes:
        require_vanishing(tree, "x", place, HALVES)
    else:
        with pytest.raises(Rejected, match="was not seen to vanish"):
            require_vanishing(tree, "x", place, HALVES)


@pytest.mark.parametrize(
    ("interval_text", "end"), [("(-oo, 0)", "0"), ("(-1, 1)", "0"), ("(2, 3)", "0"), ("(0, 1)", "oo"), ("(1, oo)", "1")]
)
def test_limits_are_at_ends_of_intervals(interval_text, end):
    place = None if end == "oo" else parse.expression(end)
    with pytest.raises(Rejected, match=r"limits are defined|does not tend to"):
        require_vanishing(parse.expression("x*exp(-x)"), "x", place, domain({"x": interval_text}))


@given(x=st.fractions(-45, 45) | st.fractions(-13, 13) | st.fractions(-1, 1).map(lambda u: u * u * u / 10**6))
def test_erfc_holds_the_number_of_mpmath_and_the_ball_of_arb(x):
    enclosed = erfc(point(x))
    assert_holds(enclosed, NUMBERS.erfc(NUMBERS.mpf(x.numerator) / x.denominator))
    low, high = bounds(enclosed)
    assert (
        high - low <= high * (8 * x * x + 16) / 2**BITS
    )  # x is rounded to 2^(2-BITS) of it, and erfc moves 2 x^2 as much
    with ctx.workprec(200):
        ball = (arb(x.numerator) / x.denominator).erfc()
        assert (
            arb(fmpq(low.numerator, low.denominator)).union(arb(fmpq(high.numerator, high.denominator))).overlaps(ball)
        )


@pytest.mark.parametrize("x", [0, Fraction(1, 2**99), 12, Fraction(405, 32), 13, 40, 100, 255, -40, -200])
def test_erfc_is_sharp_where_the_method_changes_and_far_out(x):
    low, high = bounds(erfc(point(x)))
    assert 0 < low <= high <= 2
    assert high - low <= high / 2 ** (BITS - 8)


@given(x=st.fractions(0, 6, max_denominator=20), p=st.integers(4, 40))
def test_the_series_of_erf_is_between_its_bounds(x, p):
    low, high = (NUMBERS.mpf(bound) / 2**p for bound in erf_series(x, p))
    number = NUMBERS.mpf(x.numerator) / x.denominator
    assert low <= NUMBERS.erf(number) * NUMBERS.exp(number**2) * NUMBERS.sqrt(NUMBERS.pi) / 2 <= high


def test_erfc_far_beyond_is_between_its_bounds():
    assert bounds(erfc(point(10**6)))[0] == 0
    assert 0 < bounds(erfc(point(10**6)))[1] < Fraction(1, 2**90_000)
    assert bounds(erfc(point(-(10**6))))[1] == 2
    assert bounds(erfc(interval(Fraction(-(10**6)), Fraction(10**6))))[0] == 0


@given(x=st.fractions(-30, 30), width=st.fractions(0, 20), inner=st.fractions(0, 1))
def test_erfc_of_wide_intervals_is_between_its_ends(x, width, inner):
    enclosed = erfc(interval(x, x + width))
    between = x + inner * width
    assert_holds(enclosed, NUMBERS.erfc(NUMBERS.mpf(between.numerator) / between.denominator))
    ends = bounds(erfc(point(x + width)))[0], bounds(erfc(point(x)))[1]
    # The ends of an interval are rounded to the working precision.
    assert all(abs(a - b) <= abs(b) / 2 ** (BITS - 20) for a, b in zip(bounds(enclosed), ends, strict=True))


def test_the_precision_of_mpmath_is_left_alone():
    before = mpmath.iv.prec, mpmath.mp.prec
    enclosure(parse.expression("erfc(x)**(1/3)/pi + exp(x)"), {"x": interval(Fraction(1), Fraction(2))}, 500)
    assert (mpmath.iv.prec, mpmath.mp.prec) == before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x.real",
        "x[0]",
        "lambda: 1",
        "__import__('os')",
        "print(x)",
        "exp(x, y)",
        "exp(x=1)",
        "exp",
        "Max(x, 0)",
        "Abs(x)",
        "0.5",
        "1e5",
        "True",
        "oo",
        "-oo",
        "nan",
        "x**y",
        "2**x",
        "x**1000",
        "9**9**9",
        "((9**64)**64)**64",
        "9" * 5000,
        "9" * 800,
        "(x, y)",
        "x == y",
        "x if y else z",
        "x; y",
        "x\n",
        "x # y",
        "ｘ",
        "(" * 3000 + "x" + ")" * 3000,
        "-" * 5000 + "x",
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(Rejected, match=r"need|cannot read"):
        parse.expression(text)


def test_long_sums_are_read():
    assert is_zero(parse.expression(" + ".join(["x"] * 700) + " - 700*x"), symbol_signs(HALVES))


@pytest.mark.parametrize(
    "text",
    ["", "(", "(0, oo]", "[-oo, 0]", "(1, 0)", "[1, 1]", "(0, 1, 2)", "(0; 1)", "{0, 1}", "(0, x)", "(0, 1/0)", 3],
)
def test_other_intervals_are_refused(text):
    with pytest.raises(Rejected):
        domain({"x": text})


def test_intervals_are_compared_with_their_ends():
    closed, half, opened = (domain({"x": text}) for text in ("[0, sqrt(4)]", "[0, 2)", "(0, 2)"))
    for inner, outer in ((closed, closed), (half, closed), (opened, closed), (opened, half)):
        require_covered(inner, outer, ["x"])
    for inner, outer in ((closed, half), (half, opened), (domain({"x": "(0, oo)"}), closed)):
        with pytest.raises(Rejected, match="is not covered"):
            require_covered(inner, outer, ["x"])
    for inner, outer in ((closed, closed), (closed, HALVES), (HALVES, closed)):
        with pytest.raises(Rejected, match="y has no interval"):
            require_covered({**inner, **closed}, {**outer, **closed}, ["y"])


def test_substitution_is_at_once():
    swapped = substitute(parse.expression("x - 2*y"), {"x": parse.expression("y"), "y": parse.expression("x")})
    assert is_zero(minus(swapped, parse.expression("y - 2*x")), symbol_signs(HALVES))


@pytest.mark.parametrize(
    ("boxes", "why"),
    [
        ([], "need|cover"),
        ([("0", "1", "0", "1")], "cover"),
        ([("0", "1", "0", "2"), ("1", "2", "0", "1")], "cover"),
        ([("0", "1", "0", "2"), ("1", "2", "0", "2"), ("0", "1", "0", "1")], "overlap"),
        ([("0", "3/2", "0", "2"), ("1", "2", "0", "2")], "overlap"),
        ([("0", "1", "0", "2"), ("1", "3", "0", "2")], "leaves"),
        ([("0", "1", "0", "2"), ("1", "2", "0", "2"), ("1", "1", "0", "2")], "rise"),
        ([("0", "2", "0", "1/3"), ("0", "2", "1/3", "2")], None),
        # Round and round: no cut of the whole is free of boxes.
        (
            [
                ("0", "1", "0", "3/2"),
                ("1", "2", "0", "1/2"),
                ("3/2", "2", "1/2", "2"),
                ("0", "3/2", "3/2", "2"),
                ("1", "3/2", "1/2", "3/2"),
            ],
            None,
        ),
    ],
)
def test_boxes_cover_once(boxes, why):
    tree, places = parse.expression("3"), domain({"x": "[0, 2]", "y": "[0, 2]"})
    rows = [{"x": [a, b], "y": [c, d], "value": ["3", "3"]} for a, b, c, d in boxes]
    if why is None:
        require_positive_on_boxes(tree, places, rows)
    else:
        with pytest.raises(Rejected, match=why):
            require_positive_on_boxes(tree, places, rows)
