"""Certificates of the prover are accepted by the checker; certificates that were tampered with are not."""

import copy
import json
import subprocess
import sys
import time
from fractions import Fraction

import pytest
import sympy as sp

from gpsym.formula import TAU, M, Q
from gpsym.special import density, tail
from proofs.checker import FORMAT, Rejected, check, claims, digest, read
from proofs.checker.rules import RULES
from proofs.logic import balls, rules
from proofs.logic.certificate import nodes
from proofs.logic.statements import domain

X = sp.Symbol("x", positive=True)
LINE = domain({X: "(0, oo)"})
VERSIONS = {"certificate": FORMAT, "gpsym": "0", "sympy": sp.__version__, "python-flint": "0"}


def gap_is_positive():
    """The mass between tau and tau + m is positive, and above m times the density at the far end."""
    places = domain({Q: "(0, oo)", TAU: "[0, oo)", M: "(0, oo)"})
    gap = tail(TAU / sp.sqrt(Q)) - tail((TAU + M) / sp.sqrt(Q))
    far = M * density(TAU + M, Q) - (1 - M * (TAU + M) / Q) * gap
    lemma = rules.from_end(places, gap, M, sp.S.Zero, rules.combination(places, sp.diff(gap, M)))
    slope = rules.combination(places, sp.diff(far, M), [((TAU + 2 * M) / Q, lemma)])
    whole = rules.from_end(places, far, M, sp.S.Zero, slope)
    return {"gap": whole, "gap at 1": rules.instance(lemma, domain({TAU: "[0, oo)", M: "(0, oo)"}), {Q: sp.S.One})}


def shapes():
    """A statement by each of the rules along x; x exp(-x) and its derivative."""
    bell = X * sp.exp(-X)
    falls = rules.increasing(LINE, X - 1, X, rules.combination(LINE, sp.S.One))
    slope = rules.multiple(LINE, (X - 1) * sp.exp(-X), sp.exp(-X), falls)
    far = rules.increasing(LINE, X - 3, X, rules.combination(LINE, sp.S.One))
    hill = (X - 2) * sp.exp(-X)
    curve = rules.multiple(LINE, (X - 3) * sp.exp(-X), sp.exp(-X), far)
    limit = rules.vanishes(LINE, hill, X, sp.oo)
    return {
        "ridge": rules.ridge(LINE, bell, slope, rules.vanishes(LINE, bell, X, sp.oo)),
        "hump": rules.hump(LINE, hill, curve, limit),
        "valley": rules.valley(LINE, X**2 / 2 - X, falls),
        "identity": rules.identity(
            LINE, sp.Derivative(X * sp.erfc(X), X), sp.erfc(X) - 2 * X * sp.exp(-(X**2)) / sp.sqrt(sp.pi)
        ),
    }


def numbers():
    """Boxes of a difference of tails, and roots with and without a parameter."""
    places = domain({M: "[1/4, 4]", Q: "[1, 3]"})
    half = sp.Symbol("a", positive=True)
    narrow = domain({TAU: "[10364333894934/10**13, 10364333894942/10**13]"})
    return {
        "boxes": balls.on_boxes(places, tail(1 / sp.sqrt(Q)) - tail((1 + M) / sp.sqrt(Q))),
        "root": balls.root(narrow, [tail(TAU) - sp.Rational(3, 20)], [TAU]),
        "roots": balls.root(domain({half: "[19/10, 2]", X: "[1, 2]"}), [X**2 - half], [X]),
    }


def certificate_of(proofs):
    found, places = nodes(proofs)
    row = {"activation": "some", "domain": "as stated", "claims": places}
    content = {"theorem": "sample", "words": "as stated", "versions": VERSIONS, "proofs": [row]}
    return with_digest({**content, "nodes": found})


def with_digest(content):
    return {**content, "digest": digest(content)}


@pytest.fixture(scope="module")
def sample():
    return certificate_of(gap_is_positive() | shapes() | numbers())


def claimed(certificate, label):
    return certificate["proofs"][0]["claims"][label]


def tampered(certificate, label, change, up=()):
    """A copy in which the node of a claim, or one of its premises' premises, was changed; with its digest."""
    changed = copy.deepcopy(certificate)
    place = claimed(changed, label)
    for k in up:
        place = changed["nodes"][place]["premises"][k]
    change(changed["nodes"][place])
    assert changed["nodes"] != certificate["nodes"]
    with pytest.raises(Rejected, match="the digest is not"):
        check(changed)
    return with_digest(changed)


def assert_rejected(certificate, why):
    with pytest.raises(Rejected, match=why):
        check(certificate)


def test_certificates_of_the_prover_are_accepted(sample):
    check(sample)
    assert {node["rule"] for node in sample["nodes"]} == RULES.keys()
    check(read(json.dumps(sample).encode()))


def test_claims_are_the_texts_that_were_proved(sample):
    found = claims(sample)
    assert found.keys() == {"theorem", "words", "versions", "proofs"}
    (row,) = found["proofs"]
    assert row["claims"]["valley"] == {
        "claim": "crossing",
        "expression": "x**2/2 - x",
        "domain": {"x": "(0, oo)"},
        "variable": "x",
    }
    assert row["claims"]["hump"]["variable"] == "x"
    assert row["claims"]["root"]["domain"] == {"tau": "[5182166947467/5000000000000, 5182166947471/5000000000000]"}
    assert row["claims"].keys() == sample["proofs"][0]["claims"].keys()


LABELS = ["gap", "gap at 1", "ridge", "hump", "valley", "identity", "boxes", "root", "roots"]
UP = [(), (0,), (0, 0)]


def put(key, value):
    return lambda node: node.update({key: value})


def put_data(key, value):
    return lambda node: node["data"].update({key: value})


def plus(text, by):
    return f"({text[1:-2]} + {by},)" if text.endswith(",)") else f"{text} + {by}"


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("by", ["1/10**12", "-1/10**12"])
def test_an_expression_that_differs_by_little(sample, label, by):
    def change(node):
        key = "right" if "right" in node else "expression"
        node[key] = plus(node[key], by)

    # What is near to wide boxes, or to a root for each of many parameters, is proved by them too.
    by = {"boxes": "-1/10", "roots": "2"}.get(label, by)
    assert_rejected(tampered(sample, label, change), rf"^node \d+ \('{claimed_rule(sample, label)}'\): ")


def claimed_rule(certificate, label):
    return certificate["nodes"][claimed(certificate, label)]["rule"]


@pytest.mark.parametrize(("label", "up"), [("gap", u) for u in UP] + [("hump", u) for u in UP] + [("ridge", (1,))])
def test_a_premise_that_differs_by_little(sample, label, up):
    def change(node):
        node["expression"] += " + 1/10**12"

    assert_rejected(tampered(sample, label, change, up), r"^node \d+ \(")


@pytest.mark.parametrize(
    ("label", "symbol", "interval"),
    [
        ("gap", "tau", "(-oo, oo)"),
        ("gap", "tau", "[-1/100, oo)"),
        ("gap", "m", "[0, oo)"),
        ("gap", "m", "(-1, oo)"),
        ("gap", "q", "[0, oo)"),
        ("gap at 1", "tau", "(-oo, oo)"),
        ("gap at 1", "m", "[0, oo)"),
        ("ridge", "x", "[0, oo)"),
        ("ridge", "x", "(-oo, oo)"),
        ("hump", "x", "(-1, oo)"),
        ("hump", "x", "(0, 1)"),
        ("valley", "x", "[0, oo)"),
        ("valley", "x", "(-oo, oo)"),
        ("valley", "x", "(-1, oo)"),
        ("boxes", "m", "[1/4, 5]"),
        ("boxes", "m", "[1/5, 4]"),
        ("boxes", "q", "[1, 3/2]"),
        ("boxes", "m", "(1/4, 4]"),
        ("roots", "a", "[1/10, 2]"),
        ("roots", "a", "(0, oo)"),
        ("roots", "x", "[-2, 2]"),
        ("roots", "x", "[3/2, 2]"),
    ],
)
def test_another_domain(sample, label, symbol, interval):
    assert_rejected(tampered(sample, label, lambda node: node["domain"].update({symbol: interval})), r"^node \d+ \(")


@pytest.mark.parametrize(
    ("label", "up", "change"),
    [
        ("gap", (), put("premises", [0])),
        ("gap", (), put("rule", "combination")),
        ("gap", (), put_data("end", "oo")),
        ("gap", (), put_data("end", "1")),
        ("gap", (), put_data("variable", "tau")),
        ("gap", (), put_data("limit", "1")),
        ("gap", (0,), put_data("coefficients", ["-(2*m + tau)/q"])),
        ("gap", (0,), put_data("coefficients", ["(2*m + tau)/(q + 1)"])),
        ("gap", (0,), put_data("coefficients", [])),
        ("gap", (0,), put_data("rest", "1/10**12")),
        ("gap", (0,), put_data("rest", "-m")),
        ("gap", (0, 0), put_data("variable", "q")),
        ("gap at 1", (), put_data("values", {"q": "2"})),
        ("gap at 1", (), put_data("values", {"q": "0"})),
        ("gap at 1", (), put_data("values", {})),
        ("gap at 1", (), put_data("values", {"m": "q"})),
        ("ridge", (), put_data("start", "1")),
        ("ridge", (), put_data("limit", "1")),
        ("ridge", (), put_data("end", "0")),
        ("ridge", (1,), put("end", "0")),
        ("ridge", (0,), put_data("factor", "-exp(-x)")),
        ("ridge", (0,), put_data("factor", "exp(-2*x)")),
        ("hump", (), put_data("end", "0")),
        ("hump", (1,), put("variable", "y")),
        ("hump", (1,), put("end", "1")),
        ("valley", (), put_data("end", "oo")),
        ("valley", (), put_data("limit", "-1")),
        ("valley", (), put("rule", "hump")),
        ("valley", (0,), put("rule", "multiple")),
        ("root", (), put("end", "13")),
        ("root", (), put("variable", "(tau, tau)")),
        ("roots", (), put("variable", "(a,)")),
        ("roots", (), put("end", "1")),
    ],
)
def test_another_step(sample, label, up, change):
    assert_rejected(tampered(sample, label, change, up), r"^node \d+ \(")


@pytest.mark.parametrize("other", ["identity", "hump", "boxes", "root"])
def test_another_premise(sample, other):
    """A premise that comes before, but is another statement."""
    proofs = {other: (shapes() | numbers())[other]} | gap_is_positive()
    certificate = certificate_of(proofs)
    check(certificate)
    change = put("premises", [claimed(certificate, other)])
    assert_rejected(tampered(certificate, "gap", change), r"^node \d+ \('from_end'\): need a premise|not seen|interval")


def moved(interval, by):
    low, high = (Fraction(end) for end in interval[1:-1].split(","))
    return f"[{low + by * (high - low)}, {high + by * (high - low)}]"


def widened(interval, by):
    low, high = (Fraction(end) for end in interval[1:-1].split(","))
    return f"[{low - by * (high - low)}, {high + by * (high - low)}]"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: moved(text, 1), "no single root"),
        (lambda text: moved(text, Fraction(-3, 5)), "no single root"),
        (lambda text: widened(text, 10**20), "no single root"),
        (lambda text: widened(text, Fraction(-1, 2)), "ends rise"),
    ],
)
def test_another_box_of_a_root(sample, change, why):
    def on_tau(node):
        node["domain"]["tau"] = change(node["domain"]["tau"])

    assert_rejected(tampered(sample, "root", on_tau), why)


def enclosure_of(change):
    def on_value(node):
        # The relatively narrowest: a little more is too much for it.
        values = {k: [Fraction(end) for end in box["value"]] for k, box in enumerate(node["data"]["boxes"])}
        place = max(values, key=lambda k: values[k][0] / values[k][1])
        node["data"]["boxes"][place]["value"] = [str(end) for end in change(*values[place])]

    return on_value


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda node: node["data"]["boxes"].pop(), "cover the domain"),
        (lambda node: node["data"]["boxes"].pop(2), "cover the domain"),
        (lambda node: node["data"]["boxes"].append(node["data"]["boxes"][0]), "overlap"),
        (lambda node: node["data"]["boxes"].clear(), "need|cover"),
        (lambda node: node["data"]["boxes"][1].pop("value"), "need a box"),
        (lambda node: node["data"]["boxes"][1].pop("q"), "need a box"),
        (lambda node: node["data"]["boxes"][1].update(q=["1", "1"]), "rise"),
        (enclosure_of(lambda low, high: (low, 3 * high)), "wider than"),
        (enclosure_of(lambda low, high: (low / 100, high)), "wider than"),
        (enclosure_of(lambda low, high: (low + (high - low) / 2, high)), "misses values"),
        (enclosure_of(lambda low, high: (low, high - (high - low) / 2)), "misses values"),
        (enclosure_of(lambda low, high: (high, 2 * high - low)), "misses values"),
        (enclosure_of(lambda low, high: (-high, -low)), "not above 0"),
        (enclosure_of(lambda low, high: (-low, high)), "not above 0"),
        (enclosure_of(lambda low, high: (high, low)), "in order"),
    ],
)
def test_other_boxes(sample, change, why):
    assert len(sample["nodes"][claimed(sample, "boxes")]["data"]["boxes"]) > 10
    assert_rejected(tampered(sample, "boxes", change), why)


@pytest.mark.parametrize("side", [0, 1])
def test_a_shrunk_box(sample, side):
    def change(node):
        box = node["data"]["boxes"][0]
        ends = [Fraction(end) for end in box["m"]]
        ends[side] += (1 - 2 * side) * (ends[1] - ends[0]) / 10**6
        box["m"] = [str(end) for end in ends]

    assert_rejected(tampered(sample, "boxes", change), "cover the domain|misses values|wider")


def without(key):
    return lambda certificate: certificate.pop(key)


def _as_equation(certificate):
    node = certificate["nodes"][0]
    node.update(claim="equal", left=node.pop("expression"), right="m")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        *((without(key), "need a certificate of") for key in ("theorem", "words", "versions", "proofs", "nodes")),
        (lambda c: c.update(note="x"), "need a certificate of"),
        (lambda c: c.update(words=3), "need a text for words"),
        (lambda c: c.update(versions={**VERSIONS, "sympy": 1}), "need a text for sympy"),
        (lambda c: c.update(versions={**VERSIONS, "certificate": "1"}), "need a certificate of version 2, got '1'"),
        (lambda c: c.update(versions={**VERSIONS, "lean": "4"}), "need versions of"),
        (lambda c: c.update(versions={"sympy": "1"}), "need versions of"),
        (lambda c: c.update(versions=[]), "need versions as a mapping"),
        (lambda c: c.update(nodes=c["nodes"] * 200), "need at most 2000 nodes"),
        (lambda c: c.update(nodes=[]), "need a list of nodes"),
        (lambda c: c.update(nodes={}), "need a list of nodes"),
        (lambda c: c.update(proofs=[]), "need a list of proofs"),
        (lambda c: c["nodes"].append(c["nodes"][0]), "is used by no claim"),
        (lambda c: c["proofs"].append(c["proofs"][0]), "is proved twice"),
        (lambda c: c["proofs"].append({**c["proofs"][0], "domain": "elsewhere"}), "is claimed twice"),
        (lambda c: c["proofs"][0].update(claims={}), "has no claims"),
        (lambda c: c["proofs"][0].update(note="x"), "need a proof of"),
        (lambda c: c["proofs"][0]["claims"].update(gap=10**6), "need a node for the claim 'gap'"),
        (lambda c: c["proofs"][0]["claims"].update(gap=-1), "need a node for the claim 'gap'"),
        (lambda c: c["proofs"][0]["claims"].update(gap=True), "need a node for the claim 'gap'"),
        (lambda c: c["proofs"][0]["claims"].update(gap="0"), "need a node for the claim 'gap'"),
        (lambda c: c["nodes"][0].update(note="x"), "need a node of"),
        (lambda c: c["nodes"][0].pop("data"), "need a node of"),
        (lambda c: c["nodes"][0].update(end="0"), "need a node of"),
        (lambda c: c["nodes"][0].update(rule="guess"), "need one of the rules"),
        (lambda c: c["nodes"][0].update(rule=["root"]), "need one of the rules"),
        (lambda c: c["nodes"][0].update(claim="true"), "need one of the claims"),
        (lambda c: c["nodes"][0].update(claim="zero"), "need one of the claims"),
        (lambda c: c["nodes"][0].update(claim="equal"), "need a node of"),
        (lambda c: c["nodes"][0].update(left="x", right="x"), "need a node of"),
        (_as_equation, "does not conclude equal"),
        (lambda c: c["nodes"][0].update(expression=3), "need a text"),
        (lambda c: c["nodes"][0].update(domain=[]), "need a mapping of symbols"),
        (lambda c: c["nodes"][0].update(domain={"pi": "(0, oo)"}), "need a symbol's name"),
        (lambda c: c["nodes"][0].update(domain={"exp": "(0, oo)"}), "need a symbol's name"),
        (lambda c: c["nodes"][0].update(data={"rest": "1"}), "need data of"),
        (lambda c: c["nodes"][0]["data"].update(note="1"), "need data of"),
        (lambda c: c["nodes"][0]["data"].update(rest=1.5), "need a text"),
        (lambda c: c["nodes"][0]["data"].update(rest="1.5"), "need a text"),
        (lambda c: c["nodes"][0]["data"].update(rest=float("nan")), "is not JSON"),
        (lambda c: c["nodes"][0]["data"].update(rest={1, 2}), "is not JSON"),
        (lambda c: c["nodes"][0]["data"].update(rest="9" * 1000), "need numbers of at most"),
        (lambda c: c["nodes"][0]["data"].update(rest="9" * 9000), "cannot read"),
        (lambda c: c["nodes"][0]["data"].update(rest="(a + b + c + d)**64*(1 + a + b)**64"), "no interval"),
        (lambda c: c["nodes"][0]["data"].update(rest="(m + tau + q + 1)**64 + (m + tau + q + 2)**64"), "terms"),
        (lambda c: c["nodes"][0].update(premises=[0]), "need premises among the 0 nodes before"),
        (lambda c: c["nodes"][1].update(premises=[1]), "need premises among the 1 nodes before"),
        (lambda c: c["nodes"][1].update(premises=[2]), "need premises among the 1 nodes before"),
        (lambda c: c["nodes"][1].update(premises=[-1]), "need premises among the 1 nodes before"),
        (lambda c: c["nodes"][1].update(premises=[False]), "need premises among the 1 nodes before"),
        (lambda c: c["nodes"][1].update(premises=[0, 0, 0]), "need 1 or 2 premises, got 3"),
        (lambda c: c["nodes"][1].update(premises=[]), "need 1 or 2 premises, got 0"),
    ],
)
def test_other_forms(sample, change, why):
    changed = copy.deepcopy(sample)
    change(changed)
    with pytest.raises(Rejected, match=why):
        check(with_digest(changed))


def powers(base, times):
    return "(" * times + base + ")**64" * times


def nested(function, times):
    return f"{function}(" * times + "m" + ")" * times


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (powers("m + 1", 4), "steps|terms"),
        (powers("m + tau + 1", 4), "steps|terms"),
        (powers("m", 5), "need exponents of at most 4096 in terms"),
        (powers("3*m", 3), "need coefficients of at most 16384 bits|need exponents"),
        ("m**65", "need exponents of at most 64"),
        ("m**(1/65)", "need exponents of at most 64"),
        (nested("exp", 100), "need at most 40 operations in each other"),
        (nested("-", 9_000), "need at most 40 operations|cannot read|characters"),
        (nested("", 20_000), "cannot read"),
        ("2**" * 5000 + "2", "need at most 40 operations|cannot read"),
        ("m + " * 20_000 + "m", "need a text of at most 50000 characters"),
        (" + ".join(f"sqrt({10**9 - k})" for k in range(2000)), "steps"),
        (" + ".join(f"(m + {k})**(1/63)" for k in range(500)) + " - q", "steps|was not seen"),
        (" + ".join(f"exp({k}*m) - exp({k}*q)" for k in range(1, 600)), "steps"),
    ],
)
def test_what_is_too_large_is_rejected(sample, text, why, monkeypatch):
    """Texts that took minutes or all memory, and others of their kinds, with fewer steps for quick tests."""
    monkeypatch.setattr("proofs.checker.budget.STEPS", 40_000)
    check(sample)
    assert_rejected(tampered(sample, "gap", put_data("rest", text), (0,)), why)


def test_roots_of_high_order_take_many_steps(sample, monkeypatch):
    monkeypatch.setattr("proofs.checker.budget.STEPS", 40_000)
    equation = "(" + " + ".join(f"(x + {k})**(1/63)" for k in range(100)) + ",)"
    change = {"expression": equation, "variable": "(x,)", "domain": {"x": "[1, 2]"}}
    assert_rejected(tampered(sample, "root", lambda node: node.update(change)), "need at most 40000 steps")


def test_an_end_with_too_many_bits_is_rejected(sample):
    huge = f"[{powers('exp(60000)', 3)}, oo)"
    changed = tampered(sample, "gap", lambda node: node["domain"].update(tau=huge))
    assert_rejected(changed, "need ends of intervals between")


def test_all_steps_take_seconds(sample):
    changed = tampered(sample, "gap", put_data("rest", powers("m + 1", 4)), (0,))
    started = time.process_time()
    assert_rejected(changed, "steps")
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"a": 1, "a": 1}', "twice"),
        ('{"a": {"b": 1, "b": 2}}', "twice"),
        ('{"a": NaN}', "numbers of a certificate are texts"),
        ('{"a": 1e400}', "numbers of a certificate are texts"),
        ('{"a": -Infinity}', "numbers of a certificate are texts"),
        ('{"a": ' + "9" * 9000 + "}", "cannot read"),
        ("[" * 10**5, "cannot read"),
        ("{", "cannot read"),
        ("[]", "need a certificate as a mapping"),
        ("{} {}", "cannot read.*Extra data"),
        (" " * 2**22 + "{}", "need a certificate of at most 4194304 bytes"),
    ],
)
def test_other_texts_of_certificates(content, why):
    with pytest.raises(Rejected, match=why):
        read(content.encode())


def test_the_digest_is_that_of_sorted_text(sample):
    turned = dict(reversed(sample.items()))
    assert digest(turned) == digest(sample) == sample["digest"]
    assert digest({**sample, "words": "others"}) != digest(sample)
    assert_rejected({**sample, "digest": "0" * 64}, "the digest is not")


def test_the_checker_shares_nothing_with_the_prover(sample, tmp_path):
    """It runs where neither the prover, nor SymPy, nor flint can be imported."""
    place = tmp_path / "certificate.json"
    place.write_text(json.dumps(sample))
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"gpsym", "sympy", "flint", "numpy", "torch"} or name.startswith("proofs.logic"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from pathlib import Path
from proofs.checker import check, read
check(read(Path(sys.argv[1]).read_bytes()))
own = {name for name in sys.modules if name.split(".")[0] == "proofs"}
assert all(name == "proofs" or name.startswith("proofs.checker") for name in own), own
print("accepted")
"""
    done = subprocess.run([sys.executable, "-c", program, str(place)], capture_output=True, text=True, check=False)
    assert done.stdout == "accepted\n", done.stderr
