"""Equations and expressions as they are written: what is carried out, what says nothing, and forged certificates."""

import re

import pytest

from proofs.checker import Rejected, check, parse, read
from proofs.checker.domains import domain, symbol_signs
from proofs.checker.normal import is_zero
from proofs.checker.trees import minus, text
from proofs.checker.written import carried_out, require_content
from proofs.cli import CERTIFICATES, THEOREMS
from tests.proofs.steps import certificate_of

REALS = domain({"x": "(-oo, oo)", "y": "(-oo, oo)", "m": "(0, oo)"})


def carried(content, where=REALS):
    return carried_out(parse.written(content), where)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Derivative(x**3*y, x)", "3*x**2*y"),
        ("Derivative(x**3*y, (x, 2))", "6*x*y"),
        ("Derivative(x**3*y**2, x, y)", "6*x**2*y"),
        ("Derivative(x**3*y**2, (x, 2), y)", "12*x*y"),
        ("Derivative(Derivative(x**3, x), x)", "6*x"),
        ("Derivative(x*erfc(x), x)", "erfc(x) - 2*x*exp(-x**2)/sqrt(pi)"),
        ("Subs(x**2 - y, x, y + 1)", "y**2 + y + 1"),
        ("Subs(x - y**2, (x, y), (y, x))", "y - x**2"),  # both at once
        ("Subs(Derivative(x**3, x), x, y)", "3*y**2"),  # and not Derivative(y**3, x), which is 0
        ("Derivative(Subs(x**3*y, x, y), y)", "4*y**3"),
        ("Subs(Subs(x*y, x, 2), y, x)", "2*x"),
        ("Subs(Subs(x*y, x, y), y, Subs(x**2, x, 3))", "81"),
        ("exp(Derivative(x**2, x)) + 1", "exp(2*x) + 1"),
        ("Derivative(sqrt(m), m)", "1/(2*sqrt(m))"),
        ("Subs(Derivative(sqrt(x), x), x, m)", "1/(2*sqrt(m))"),  # smooth where the value is put in
    ],
)
def test_what_is_carried_out(content, expected):
    assert is_zero(minus(carried(content), parse.expression(expected)), symbol_signs(REALS))


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("Derivative(x**3*y, x)", "3*x**2*y + 1/10**40"),
        ("Derivative(x**3*y, x)", "x**3"),
        ("Derivative(x**3*y**2, x, y)", "6*x*y"),
        ("Derivative(erfc(x), x)", "2*exp(-x**2)/sqrt(pi)"),
        ("Subs(x - y**2, (x, y), (y, x))", "x - x**2"),  # one after the other
        ("Subs(Derivative(x**3, x), x, y)", "0"),
        ("Derivative(Subs(x**3*y, x, y), y)", "y**3"),
    ],
)
def test_false_neighbours_of_what_is_carried_out(content, wrong):
    assert not is_zero(minus(carried(content), parse.expression(wrong)), symbol_signs(REALS))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("Derivative(sqrt(x**2), x)", "may leave where that is defined or smooth"),
        ("Derivative(sqrt(x), x)", "may leave"),
        ("Derivative(1/x, x)", "may leave"),
        ("Subs(Derivative(sqrt(x), x), x, y)", "may leave"),
        ("Subs(Derivative(sqrt(x**2)*x, x), x, 0)", "may leave"),
        ("Derivative(sqrt(x)*0 + x, x)", "may leave"),  # before anything cancels
        ("Derivative(m, x)", "x is not in m"),
        ("Derivative(m*x, y, x)", "y is not in"),
        ("Derivative(Subs(x*y, x, 2), x)", "x is not in"),
        ("Subs(m, x, 1)", "x is not in m"),
        ("Subs(m*x, (x, y), (1, 2))", "y is not in"),
        ("Derivative(z, z)", "z has no interval"),
        ("Derivative(x**9, (x, 4), x)", "at most 4 derivatives within each other"),
        ("Derivative(Derivative(x**9, (x, 2))*x, (x, 3))", "at most 4 derivatives within each other"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(content, why):
    with pytest.raises(Rejected, match=why):
        carried(content)


@pytest.mark.parametrize(
    "content",
    [
        "Derivative(x)",
        "Derivative(x, 2)",
        "Derivative(x, (x, 0))",
        "Derivative(x, (x, 5))",
        "Derivative(x, (x, 1/2))",
        "Derivative(x, (x, y))",
        "Derivative(x, (2, x))",
        "Derivative(x, x + y)",
        "Derivative(x, x, evaluate=True)",
        "Subs(x, x)",
        "Subs(x, x, 1, 2)",
        "Subs(x, (x, y), (1,))",
        "Subs(x, (x, x), (1, 2))",
        "Subs(x, 2, 1)",
        "Subs(x, (), ())",
        "Derivative",
        "Subs + 1",
    ],
)
def test_other_texts_of_derivatives_and_values_are_refused(content):
    with pytest.raises(Rejected, match=r"need|cannot read"):
        parse.written(content)


def test_derivatives_stand_in_statements_alone():
    with pytest.raises(Rejected, match="need an expression without Derivative and Subs"):
        parse.expression("1 + Derivative(x**2, x)")
    with pytest.raises(Rejected, match="need an expression without Derivative and Subs"):
        parse.fraction("Subs(x, x, 2)")


def test_messages_show_what_is_to_be_carried_out():
    assert text(parse.written("Derivative(x**2, (x, 2))")) == "Derivative(x**(2), x, x)"
    assert text(parse.written("Subs(x + y, (x, y), (1, pi))")) == "Subs((x + y), (x, y), (1, pi))"


EMPTY = [
    ("0", "0"),
    ("2", "1 + 1"),
    ("sqrt(2)**2", "2"),
    ("Subs(x**2, x, 3)", "9"),
    ("x", "x"),
    ("x - x", "0"),
    ("0*x", "0"),
    ("x + y", "y + x"),
    ("x*y*exp(x)", "exp(x)*y*x"),
    ("x + x", "2*x"),
    ("x*x", "x**2"),
    ("x/y*y", "x"),
    ("sqrt(m)*sqrt(m)", "m"),
    ("sqrt(2)*sqrt(2)*x", "2*x"),
    ("x + (y - y)", "x"),
    ("-(x - y)", "y - x"),
    ("3*(x + y)", "3*x + 3*y"),
    ("m*(x + y)**2", "(y + x)**2*m"),
    ("(x + y)*(x + y)", "(x + y)**2"),
    ("1/(x*x)", "x**(-2)"),
    ("erfc(x + y)", "erfc(y + x)"),
    ("exp(x - y)", "exp(-y + x)"),
    ("sqrt(x**2*x**2)", "sqrt(x**4)"),
    ("Derivative(x**2, x)", "Derivative(x*x, x)"),
    ("Derivative(x**2*y**2, x, y)", "Derivative(y**2*x**2, y, x)"),
    ("Derivative(Derivative(x**3, x), x)", "Derivative(x**3, (x, 2))"),
    ("Derivative(0*x + m, x) + y", "y"),
    ("Subs(x**2 + m, x, 2)", "Subs(m + x**2, x, 2)"),
    ("Subs(x**2 + m, x, 2)", "Subs(m + y**2, y, 2)"),
    ("Subs(0*x + m, x, 2) + y", "y + m"),
    ("Subs(Subs(x*y, x, m), y, 2)", "Subs(Subs(y*x, y, m), x, 2)"),
]


@pytest.mark.parametrize(("left", "right"), EMPTY)
def test_equations_that_say_nothing(left, right):
    for sides in ((left, right), (right, left)):
        with pytest.raises(Rejected, match=r"numbers alone says nothing|the same as they are written"):
            require_content(*map(parse.written, sides))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("exp(x)*exp(-x)", "1"),
        ("erfc(-x)", "2 - erfc(x)"),
        ("(x + y)**2", "x**2 + 2*x*y + y**2"),
        ("m*(x + y)", "m*x + m*y"),
        ("sqrt(m**2)", "m"),
        ("sqrt(x)", "x"),
        ("sqrt(2*m)", "sqrt(2)*sqrt(m)"),
        ("x", "y"),
        ("erfc(x)", "exp(x)"),
        ("x**2", "x**3"),
        ("2*x", "3*x"),
        ("Derivative(x**2, x)", "2*x"),
        ("Derivative(x**2*y, x)", "Derivative(x**2*y, y)"),
        ("Derivative(x**2, (x, 2))", "Derivative(x**2, x)"),
        ("Subs(x**2 + y, x, 0)", "y"),
        ("Subs(x*y**2, x, m)", "Subs(x*y**2, y, m)"),
        ("Subs(x*y**2, x, m)", "Subs(x*y**2, x, 2)"),
        ("Subs(x*y**2, (x, y), (y, x))", "x*y**2"),
    ],
)
def test_equations_that_say_something(left, right):
    require_content(parse.written(left), parse.written(right))


def node(left, right, where):
    fields = {"claim": "equal", "left": left, "right": right, "domain": where}
    return {**fields, "rule": "identity", "premises": [], "data": {}}


def test_an_equation_is_checked_by_the_checker():
    tail = "erfc(sqrt(2)*x/(2*sqrt(q)))/2"
    density = "sqrt(2)*exp(-x**2/(2*q))/(2*sqrt(pi)*sqrt(q))"
    where = {"q": "(0, oo)", "x": "(-oo, oo)"}
    check(certificate_of(node(f"Derivative({tail}, x)", f"-{density}", where)))
    for left, right in ((f"Derivative({tail}, x)", density), (f"Derivative({tail}, q)", f"-{density}")):
        with pytest.raises(Rejected, match="= 0 was not seen"):
            check(certificate_of(node(left, right, where)))


def limit(content):
    fields = {"claim": "vanishing", "expression": content, "domain": {"x": "(0, oo)"}, "variable": "x", "end": "oo"}
    return certificate_of({**fields, "rule": "vanishes", "premises": [], "data": {}})


def test_limits_of_tails_that_are_written_from_the_other_side():
    check(limit("1 - erfc(-x)/2"))
    check(limit("Subs(1 - erfc(x)/2, x, -x)"))
    for wrong in ("erfc(-x)", "1 - erfc(-x)", "2 - erfc(x)", "Subs(erfc(x), x, -x)"):
        with pytest.raises(Rejected, match="was not seen to vanish"):
            check(limit(wrong))


@pytest.mark.parametrize(("left", "right"), EMPTY)
def test_forged_certificates_of_equations_that_say_nothing(left, right):
    where = {"x": "(1, oo)", "y": "(1, oo)", "m": "(1, oo)"}
    with pytest.raises(Rejected, match=r"^node 0 \('identity'\): (an equation of numbers|both sides are the same)"):
        check(certificate_of(node(left, right, where)))


def test_an_equation_in_the_old_form_is_refused():
    """A difference that the prover had cancelled: "0 is 0"."""
    old = {"claim": "zero", "expression": "0", "domain": {"q": "(0, oo)"}, "rule": "identity"}
    with pytest.raises(Rejected, match="need one of the claims"):
        check(certificate_of({**old, "premises": [], "data": {}}))


def test_a_claim_about_a_number_says_nothing():
    fields = {"claim": "positive", "domain": {"x": "(0, oo)"}, "rule": "combination", "premises": []}
    for expression in ("1", "Derivative(x, x)"):
        claim = {**fields, "expression": expression, "data": {"rest": "1", "coefficients": []}}
        with pytest.raises(Rejected, match="says nothing: it is about a number"):
            check(certificate_of(claim))


# The certificates that lie here, by code of this test's own: texts up to the order of terms and factors.


def equations():
    for name in THEOREMS:
        for place, found in enumerate(read((CERTIFICATES / f"{name}.json").read_bytes())["nodes"]):
            if found["rule"] == "identity":
                yield f"{name} {place}", found


def cut(content, marks):
    """The parts of a text between marks that stand outside of brackets; each begins with its mark."""
    parts, depth, start = [], 0, 0
    for k, character in enumerate(content):
        depth += (character == "(") - (character == ")")
        if depth == 0 and character in marks and k > start:
            parts.append(content[start:k])
            start = k
    return [*parts, content[start:]]


def grouped(content):
    """The terms of a text and their factors, each sorted."""
    terms = (term.lstrip("+") for term in cut(content.replace(" ", "").replace("**", "^"), "+-"))
    return sorted(sorted(factor.lstrip("*") for factor in cut(term, "*/")) for term in terms)


def is_tautology(found):
    left, right = grouped(found["left"]), grouped(found["right"])
    named = re.findall(r"[A-Za-z]\w*", found["left"] + " " + found["right"])
    symbols = set(named) - {"exp", "erfc", "erf", "sqrt", "pi", "Derivative", "Subs"}
    return left == right or not symbols


def test_no_equation_of_a_certificate_is_a_tautology():
    found = dict(equations())
    assert len(found) > 100
    assert [place for place, equation in found.items() if is_tautology(equation)] == []
    assert all("Derivative" in equation["left"] for place, equation in found.items() if "marginality" in place)


@pytest.mark.parametrize(
    ("left", "right"), [("0", "0"), ("x*y + 2", "2 + y*x"), ("exp(x)", "exp(x)"), ("x - (y + 1)", "-(y + 1) + x")]
)
def test_the_count_sees_tautologies(left, right):
    assert is_tautology({"left": left, "right": right})
    assert not is_tautology({"left": left + " + x**2", "right": right})


@pytest.mark.parametrize("side", ["left", "right"])
def test_no_side_of_a_certificate_may_differ_by_little(side):
    """Each equation is checked: with 1/10**12 more on one side none is accepted."""
    for _, found in equations():
        wrong = {**found, side: f"{found[side]} + 1/10**12"}
        with pytest.raises(Rejected, match="= 0 was not seen"):
            check(certificate_of(wrong))


def test_a_side_that_was_cancelled_is_refused():
    """Where the prover had cancelled a side, and put the other in its place."""
    for _, found in equations():
        with pytest.raises(Rejected, match=r"the same as they are written|of numbers alone"):
            check(certificate_of({**found, "left": found["right"]}))
