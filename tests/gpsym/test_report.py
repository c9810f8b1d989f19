"""The report as a reader and a browser meet it: parsed HTML, and formulas read back from their MathML."""

import json
import math
import re
import sys
from html.parser import HTMLParser
from itertools import chain, pairwise
from xml.etree import ElementTree

import pytest
import sympy as sp
from scipy.special import erf, erfc

from gpsym import maps, report, typeset
from gpsym.cli import main
from gpsym.design import edge_of_chaos
from gpsym.finite_width import excursion_probability
from gpsym.maps import QUANTITIES
from gpsym.members import MEMBERS
from gpsym.plot import phase
from gpsym.report import SPARSIFYING, report_page
from gpsym.typeset import Root, paper_form
from gpsym.verify import Check, Refuted, Undecided

FORMULAS = [
    pytest.param(quantity(MEMBERS[activation]()), id=f"{activation}-{name}")
    for activation in SPARSIFYING
    for name, quantity in QUANTITIES.items()
]
POINT = {"q": 1.3, "tau": 0.7, "m": 0.9, "sigma_w2": 2.3, "sigma_b2": 0.4, "pi": math.pi}
VOID = {"meta", "br"}  # HTML elements without an end


class Page(HTMLParser):
    """Every tag with its attributes, the text, and a check that tags are closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open[-1:] != ["style"] else ""

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that diverged at once, with markup in its names."""
    folder = tmp_path_factory.mktemp("run")
    design = edge_of_chaos("clipped-relu", sparsity=0.85, slope=0.7)
    row = {"epoch": 0, "train_loss": 2.3, "train_sparsity": 0.85, "layer_variance": [1.0, None, 1.1]}
    config = {"data": "<script>alert('x')</script> & co", "lr": 0.012345678, "design": design.to_dict()}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"epoch": 1, "train_loss": None}) + "\n")
    (folder / "summary.json").write_text(json.dumps({"test_accuracy": None, "diverged": True, "<b>": "<i>"}))
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory, run):
    """The page, written once."""
    folder = tmp_path_factory.mktemp("parent") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phase, "_POINTS", 9)  # coarse curves, which are quick
        with pytest.raises(SystemExit) as end:
            main(["report", "--output", str(folder), "--run", str(run)])
    assert end.value.code == 0
    assert [entry.name for entry in folder.iterdir()] == ["index.html"]
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_page_stands_alone(source, page):
    """Nothing is fetched: no address anywhere but the names of XML's vocabularies, no script, font or style file."""
    for _, attributes in page.tags:
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                assert value.startswith("#")
            assert name.startswith("xmlns") or "http" not in (value or "")
    assert not {"script", "link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)


def test_ids_are_unique_and_links_lead_somewhere(source, page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [v for _, attributes in page.tags for k, v in attributes.items() if k in ("href", "xlink:href")]
    links += [f"#{name}" for name in re.findall(r"url\(#([^)]*)\)", source)]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(ids)


def test_the_steepest_designs_and_the_scale_are_on_the_page(page):
    design = edge_of_chaos("clipped-soft-threshold", sparsity=0.95, width=300, depth=100)
    assert f"{design.m:.6g}" in page.text
    large = edge_of_chaos("clipped-relu", sparsity=0.85, slope=0.7, q_star=4.0)
    assert f"{large.sigma_b2:.6g}" in page.text
    risk = excursion_probability(large, width=300, depth=100)
    assert page.text.count(f"{risk:.6g}") == 3  # of each q*


def test_every_activation_has_its_section(page):
    sections = [attributes["id"] for attributes in page.attributes("section")]
    assert sections == [*SPARSIFYING, "finite-width", "verification", "training"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_every_formula_is_on_the_page(formula, source):
    assert report._display(typeset.left_side(formula), typeset.mathml(formula.expression)) in source


def test_number_of_equations(page):
    """Per activation its definition and its quantities."""
    equations = [attributes for attributes in page.attributes("math") if attributes.get("display") == "block"]
    assert len(equations) == len(SPARSIFYING) * (1 + len(QUANTITIES))


def test_plots_are_named_for_those_who_do_not_see_them(page):
    plots = page.attributes("svg")
    assert len(plots) == len(SPARSIFYING) + 4 + 1  # two of each clipped one, and the training
    assert all(plot["role"] == "img" for plot in plots)
    labels = {plot["aria-label"] for plot in plots}
    assert len(labels) == len(plots)
    assert all(any(name in label for label in labels) for name in SPARSIFYING)


def test_designs_and_checks_are_on_the_page(page):
    """sigma_w2 of the theory note, section 5; all closed forms verified."""
    for number in ("7.33482", "7.38772", "1.17037", "attracting", "marginal"):
        assert number in page.text
    assert page.text.count("verified") == len(FORMULAS)
    assert "30 digits at 5 points: a quick check" in re.sub(r"\s+", " ", page.text)


def test_run_is_shown_escaped(source, page):
    assert "<script>alert('x')</script> & co" in page.text
    assert "<i>" in page.text
    assert "0.0123457" in page.text
    assert "alert" not in "".join(str(attributes) for _, attributes in page.tags)
    assert re.search(r"<td>diverged</td><td>yes</td>", source)
    assert re.search(r"<td>test_accuracy</td><td>–</td>", source)


def test_verdicts_that_are_no_success_stand_out():
    refuted = report._verdict(Check("a", "slope", Refuted({"q": "1.0"}, "2", "<b>3")))
    assert Page(refuted).text == "refutedq = 1.0: expression 2, definition <b>3"
    undecided = report._verdict(Check("a", "slope", Undecided("error <b>1", {"q": "1.0"})))
    assert Page(undecided).text == "undecidedq = 1.0: error <b>1"
    assert 'class="refuted"' in refuted
    assert 'class="refuted"' in undecided


# The MathML, read as the eye reads it: rows are what stands side by side, whatever the nesting.


def spoken(element) -> list[str]:
    """The tokens of a row in Python's notation."""
    children = [spoken(child) for child in element]
    match element.tag:
        case "mi" | "mn" | "mo":
            names = {"π": "pi", "τ": "tau", "−": "-", "σ": "sigma", "\N{INVISIBLE TIMES}": "*"}
            return [names.get(element.text, element.text)]
        case "mspace":
            return []
        case "mfrac":
            return [f"(({joined(children[0])})/({joined(children[1])}))"]
        case "msqrt":
            return [f"(({joined([*chain(*children)])})**0.5)"]
        case "msup" if children[0] == ["e"]:
            return [f"(exp({joined(children[1])}))"]
        case "msup":
            *before, base = children[0]  # the exponent is that of the last token, or of a whole bracket
            whole = base == ")"
            power = f"({joined(children[0]) if whole else base})**({joined(children[1])})"
            return [f"({power})"] if whole else [*before, f"({power})"]
        case "msub":
            return [f"{children[0][0]}_{children[1][0]}"]
        case "msubsup":
            return [f"{children[0][0]}_{children[1][0]}{children[2][0]}"]
        case _:
            assert element.tag in ("mrow", "mtable", "mtr", "mtd", "math")
            return [*chain(*children)]


def joined(tokens: list[str]) -> str:
    """The tokens with a sign of multiplication between neighbours that have none."""
    operators = ("+", "-", "*", "/", "(")
    text = tokens[:1]
    for before, token in pairwise(tokens):
        applied = before in ("erf", "erfc")
        text += [token] if before in operators or token in (*operators[:4], ")") or applied else ["*", token]
    return "".join(text)


def read_back(mathml: str) -> float:
    entities = {"&InvisibleTimes;": "\N{INVISIBLE TIMES}", "&pi;": "π"}
    for entity, character in entities.items():
        mathml = mathml.replace(entity, character)
    return eval(joined(spoken(ElementTree.fromstring(mathml))), {"erf": erf, "erfc": erfc, "exp": math.exp} | POINT)


def value(expression: sp.Expr) -> float:
    return float(expression.subs({s: POINT[s.name] for s in expression.free_symbols}))


@pytest.mark.parametrize("formula", FORMULAS)
def test_printed_formula_means_the_formula(formula):
    """Signs, brackets and order survive the printing; only rounding may differ."""
    assert read_back(typeset.mathml(formula.expression)) == pytest.approx(value(formula.expression), rel=1e-12)


q, tau, m = (sp.Symbol("q", positive=True), sp.Symbol("tau", real=True), sp.Symbol("m", positive=True))


@pytest.mark.parametrize(
    "expression",
    [
        -(q + tau),
        q - (q + tau) / 2,
        -sp.exp(-(q + m)) * 3 / (q + tau),
        (q + tau) * (m - tau) / (2 * q * (m + q)),
        2 * sp.erfc(-tau) ** 2 - 3,
        sp.sqrt(6 * q) / 4 + sp.sqrt(q**3) * sp.exp(-m / 2),
        sp.sqrt(q + m) / sp.sqrt(8),
        -sp.sqrt(2) * tau / 3,
        sp.Rational(-1, 3),
    ],
    ids=str,
)
def test_any_expression_keeps_its_meaning(expression):
    assert read_back(typeset.mathml(expression)) == pytest.approx(value(expression), rel=1e-12)


def test_a_subtracted_sum_keeps_its_brackets():
    """As SymPy holds it unevaluated; evaluation would multiply the number into the sum."""
    product = sp.Mul(sp.Rational(-3, 2), q + tau, evaluate=False)
    difference = sp.Add(m, product, evaluate=False)
    assert read_back(typeset._Printer().doprint(difference)) == pytest.approx(value(m) + value(product), rel=1e-12)


@pytest.mark.parametrize("formula", FORMULAS)
def test_paper_form_is_equal_and_shows_no_loose_roots(formula):
    paper = paper_form(formula.expression)
    plain = paper.replace(Root, sp.sqrt)
    assert value(plain) == pytest.approx(value(formula.expression), rel=1e-12)
    assert not [power for power in paper.atoms(sp.Pow) if power.exp.is_Rational and power.exp.q == 2]


@pytest.mark.parametrize(
    ("expression", "paper"),
    [
        (sp.erfc(sp.sqrt(2) * tau / (2 * sp.sqrt(q))), sp.erfc(tau / Root(2 * q))),
        (sp.sqrt(2) * tau / (4 * sp.sqrt(sp.pi) * q ** sp.Rational(3, 2)), tau / (2 * q * Root(2 * sp.pi * q))),
        (-sp.sqrt(2) * sp.sqrt(q) * tau / (2 * sp.sqrt(sp.pi)), -tau * Root(q / (2 * sp.pi))),
        (m**3 + 2 * m**2 * tau + m * tau**2 + q * tau, q * tau + m * (m + tau) ** 2),
    ],
)
def test_paper_form_of_a_paper(expression, paper):
    assert paper_form(expression) == paper


def test_paper_form_in_latex():
    threshold = sp.sqrt(2) * tau / (2 * sp.sqrt(q))
    assert sp.latex(paper_form(threshold)) == r"\frac{\tau}{\sqrt{2 q}}"


def test_paper_form_of_large_numbers_is_quick():
    """A float is a rational with large factors; finding them all would take for ever."""
    number = sp.nextprime(2**120) * sp.nextprime(3**75) / sp.Integer(2) ** 240
    paper = paper_form(sp.sqrt(2) * number * sp.exp(-q) / sp.sqrt(q))
    assert value(paper.replace(Root, sp.sqrt)) == pytest.approx(value(sp.sqrt(2) * number * sp.exp(-q) / sp.sqrt(q)))


def test_names_of_variances_and_quantities():
    """sigma_w2 prints as a square, primes are primes."""
    assert typeset.mathml(sp.Symbol("sigma_w2")) == "<msubsup><mi>&#963;</mi><mi>w</mi><mi>2</mi></msubsup>"
    left = typeset.left_side(maps.curvature(MEMBERS["relu"]()))
    assert "".join(ElementTree.fromstring(left).itertext()) == "V″(q)"
    left = typeset.left_side(maps.chi_1(MEMBERS["relu"]()))
    assert "".join(ElementTree.fromstring(left).itertext()) == "χ1(q)"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("clipped-relu", "φ(x)={0x<τx−ττ<x<τ+mmx>τ+m"),
        ("squared-relu", "φ(x)={0x<0x2x>0"),
        ("sign", "φ(x)={-1x<01x>0"),
        ("identity", "φ(x)=x"),
    ],
)
def test_definition_lists_the_pieces(name, text):
    """What phi is at the knots is left open."""
    shown = report._definition(MEMBERS[name]())
    assert Page(shown).text == text
    # Text outside of a token is not displayed.
    assert not re.search(r"</m\w+>[^<]+<", shown)


def test_the_page_is_about_the_activations_of_the_paper():
    assert set(SPARSIFYING) < set(MEMBERS)
    assert len(SPARSIFYING) == 5


def test_missing_matplotlib_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="plots need matplotlib"):
        report_page()
