import json
import math
import xml.etree.ElementTree as ElementTree

import pytest
import sympy as sp
import torch

from gpsym import evaluate, format_formula, maps, member
from gpsym.activation import MEMBERS
from gpsym.formats import FORMATS

POINT = {"q": 1.7, "tau": 0.9, "m": 1.3, "sigma_w2": 2.5, "sigma_b2": 0.2}
ALL = [(name, quantity) for name in MEMBERS for quantity in maps.QUANTITIES]


@pytest.mark.parametrize(("name", "quantity"), ALL)
def test_programs_read_back_what_is_printed(name, quantity):
    formula = maps.derive(member(name), quantity)
    exact = float(evaluate(formula, POINT))
    expression = sp.sympify(format_formula(formula, "sympy"))
    assert {str(s) for s in expression.free_symbols} <= POINT.keys()
    assert float(expression.subs(POINT)) == pytest.approx(exact, rel=1e-12)
    fields = json.loads(format_formula(formula, "json"))
    assert float(sp.sympify(fields["expression"]).subs(POINT)) == pytest.approx(exact, rel=1e-12)
    for style, number in (("python", float), ("torch", lambda v: torch.tensor(v, dtype=torch.float64))):
        namespace = {}
        exec(format_formula(formula, style), namespace)
        value = namespace[formula.name](**{v: number(POINT[v]) for v in fields["variables"]})
        assert math.isclose(float(value), exact, rel_tol=1e-12)


@pytest.mark.parametrize(("name", "quantity"), ALL)
def test_mathml_is_well_formed(name, quantity):
    math_element = ElementTree.fromstring(format_formula(maps.derive(member(name), quantity), "mathml"))
    assert math_element.tag.endswith("math")


def test_latex_and_text_name_the_quantity():
    formula = maps.variance_map(member("crelu"))
    assert format_formula(formula, "latex").startswith("V(q) = ")
    assert format_formula(formula, "text").count("\n") > 1


@pytest.mark.parametrize("style", FORMATS)
def test_no_format_shows_an_internal_name(style):
    shown = format_formula(maps.variance_map(member("cst")), style)
    assert "Dummy" not in shown
    assert "__" not in shown


def test_unknown_format():
    with pytest.raises(ValueError, match="unknown format 'word'; choose from text, latex"):
        format_formula(maps.slope(member("relu")), "word")
