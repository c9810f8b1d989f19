import json
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
import sympy as sp
import torch

from gpsym import evaluate, format_formula, maps, member
from gpsym.formats import FORMATS
from gpsym.members import MEMBERS
from gpsym.special import BivariateTail

POINT = {"q": 1.7, "tau": 0.9, "m": 1.3, "a": -0.3, "sigma_w2": 2.5, "sigma_b2": 0.2,
         "q1": 1.7, "q2": 0.6, "rho": 0.55, "theta": 1.5}  # fmt: skip
TWO = [
    (name, quantity)
    for name in ("relu", "clipped-relu", "hard-swish", "prelu")
    for quantity in ("kernel", "correlation_slope")
]
ALL = [(name, quantity) for name in MEMBERS for quantity in maps.QUANTITIES]


@pytest.mark.parametrize(("name", "quantity"), ALL)
def test_programs_read_back_what_is_printed(name, quantity):
    formula = maps.derive(member(name), quantity)
    exact = float(evaluate(formula, POINT))
    expression = sp.sympify(format_formula(formula, "sympy"))
    assert {str(s) for s in expression.free_symbols} <= POINT.keys()
    assert not expression.has(sp.Integral)
    assert float(expression.subs(POINT)) == pytest.approx(exact, rel=1e-12)
    fields = json.loads(format_formula(formula, "json"))
    assert float(sp.sympify(fields["expression"]).subs(POINT)) == pytest.approx(exact, rel=1e-12)
    for style, number in (("python", float), ("torch", lambda v: torch.tensor(v, dtype=torch.float64))):
        namespace = {}
        exec(format_formula(formula, style), namespace)
        value = namespace[formula.name](**{v: number(POINT[v]) for v in fields["variables"]})
        assert math.isclose(float(value), exact, rel_tol=1e-12)


@pytest.mark.parametrize(("name", "quantity"), TWO)
def test_two_inputs_are_read_back_without_gpsym(name, quantity):
    """The bivariate tail is an integral for SymPy and MathML readers, a function of its own in programs."""
    formula = maps.derive(member(name), quantity)
    exact = float(evaluate(formula, POINT))
    text = format_formula(formula, "sympy")
    assert "BivariateTail" not in text
    plain = {str(v): sp.Symbol(str(v), real=True) for v in formula.variables}
    expression = sp.sympify(text, locals=plain)
    assert not expression.has(BivariateTail)
    numbers = {plain[str(v)]: sp.Rational(POINT[str(v)]) for v in formula.variables}
    assert float(expression.subs(numbers).evalf()) == pytest.approx(exact, rel=1e-10)
    assert json.loads(format_formula(formula, "json"))["expression"] == text
    for style, number in (("python", float), ("torch", lambda v: torch.tensor(v, dtype=torch.float64))):
        namespace = {}
        exec(format_formula(formula, style), namespace)
        value = namespace[formula.name](*(number(POINT[str(v)]) for v in formula.variables))
        # An absolute error of 1e-15 of the bivariate tail, next to numbers of the size 1.
        assert math.isclose(float(value), exact, rel_tol=1e-12)


@pytest.mark.parametrize("name", ["clipped-relu", "hard-swish"])
def test_programs_carry_their_bivariate_tail(name):
    formula = maps.kernel(member(name))
    assert format_formula(formula, "c").startswith("#include <math.h>\n\nstatic double bivariate_tail(double h")
    assert len(re.findall(r"^double kernel\(double q1, ", format_formula(formula, "c"), re.M)) == 1
    for style, imports in (("python", "import math"), ("jax", "import jax"), ("torch", "import torch")):
        assert format_formula(formula, style).startswith(imports)
        assert format_formula(formula, style).count("def bivariate_tail(") == 1
    assert "bivariate_tail" not in format_formula(maps.kernel(member("relu")), "c")


def test_letters_of_the_bivariate_tail():
    formula = maps.kernel(member("clipped-relu"))
    assert r"L\left(" in format_formula(formula, "latex")
    assert "L(" in "".join(ElementTree.fromstring(format_formula(formula, "mathml")).itertext())


def test_programs_of_other_languages():
    formula = maps.variance_map(member("crelu"))
    assert "double variance(double q, double tau, double m, double sigma_w2, double sigma_b2) {" in format_formula(
        formula, "c"
    )
    jax = format_formula(formula, "jax")
    assert "import jax.scipy.special" in jax
    assert "def variance(q, tau, m, sigma_w2, sigma_b2):" in jax


@pytest.mark.parametrize(("name", "quantity"), ALL + TWO)
def test_mathml_is_well_formed(name, quantity):
    math_element = ElementTree.fromstring(format_formula(maps.derive(member(name), quantity), "mathml"))
    assert math_element.tag.endswith("math")


def test_latex_and_text_name_the_quantity():
    formula = maps.variance_map(member("crelu"))
    assert format_formula(formula, "latex").startswith("V(q) = ")
    assert format_formula(formula, "text").count("\n") > 1


@pytest.mark.parametrize("style", FORMATS)
@pytest.mark.parametrize("quantity", ["variance", "kernel"])
def test_no_format_shows_an_internal_name(style, quantity):
    shown = format_formula(maps.derive(member("crelu"), quantity), style)
    assert "Dummy" not in shown
    assert not re.search("[A-Za-z]__|__[A-Za-z]", shown)  # the roof of a root in text is made of underscores


def test_unknown_format():
    with pytest.raises(ValueError, match="unknown format 'word'; choose from text, latex"):
        format_formula(maps.slope(member("relu")), "word")
