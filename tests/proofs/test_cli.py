import ast
import json
import re
import shutil
from fractions import Fraction

import pytest

from gpsym.cli import main as gpsym
from gpsym.cli import run
from proofs.checker import check, digest
from proofs.cli import CERTIFICATES, THEOREMS, main
from proofs.curvature import LEVELS
from proofs.fold import FOLDS
from proofs.quantities import CLIPPED


def status(command, *arguments):
    with pytest.raises(SystemExit) as stop:
        command(list(arguments))
    return stop.value.code


def proofs(arguments):
    run(main, "python -m proofs", arguments)


def test_theorems_as_json(capsys):
    assert status(proofs, "marginality", "existence", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["theorems"]
    assert [set(row) for row in rows] == [{"theorem", "activation", "domain", "verdict", "method", "seconds"}] * len(
        rows
    )
    assert {row["theorem"] for row in rows} == {"marginality", "existence"}
    assert {row["verdict"] for row in rows} == {"Proved"}


def test_theorems_as_a_table(capsys):
    assert status(gpsym, "prove", "stability") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith("stability: 0 < V'(q) < chi_1(q)")
    assert [row.split(":")[0].strip() for row in rows] == ["clipped-relu", "clipped-soft-threshold"]
    assert all("Proved" in row for row in rows)


def test_an_unknown_theorem_is_named(capsys):
    assert status(proofs, "prove", "completeness") == 2
    assert capsys.readouterr().err == (
        f"python -m proofs: prove: need names among {', '.join(THEOREMS)}, got completeness; choose of these.\n"
    )


def test_falsehoods(capsys):
    assert status(proofs, "--falsehoods", "concave", "--json") == 0
    assert {row["verdict"] for row in json.loads(capsys.readouterr().out)["theorems"]} == {"Refuted"}


def test_what_is_not_proved_exits_1(monkeypatch, capsys):
    monkeypatch.setattr("proofs.cli.THEOREMS", {"concave": _falsehood()})
    assert status(proofs) == 1
    assert "Refuted" in capsys.readouterr().out


def _falsehood():
    from proofs.falsehoods import falsehoods

    return next(theorem for theorem in falsehoods() if theorem.name == "concave")


@pytest.mark.parametrize("name", THEOREMS)
def test_the_certificates_that_lie_here_are_those_of_the_proofs(name, tmp_path, capsys):
    assert status(proofs, name, "--certificates", str(tmp_path)) == 0
    written, kept = (json.loads((folder / f"{name}.json").read_text()) for folder in (tmp_path, CERTIFICATES))
    assert written == kept, "make prove writes them"


def test_the_certificates_that_lie_here_are_accepted(capsys):
    assert status(proofs, "check") == 0
    assert capsys.readouterr().out.count("accepted") == len(THEOREMS)


def check_changed(tmp_path, change, name="stability"):
    path = tmp_path / f"{name}.json"
    shutil.copy(CERTIFICATES / path.name, path)
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps({**found, "digest": digest(found)}))
    return status(proofs, "check", str(path))


def test_a_proof_of_another_statement_is_rejected(tmp_path, capsys):
    """Sound in itself, but less than the theorem says."""

    def narrow(found):
        for node in found["nodes"]:
            node["domain"] = {**node["domain"], "tau": "(0, oo)"}

    assert check_changed(tmp_path, narrow) == 1
    assert "claims, V' > 0, domain, tau is not as the theorem states it" in capsys.readouterr().out


def claimed(found, activation, label):
    (row,) = (row for row in found["proofs"] if row["activation"] == activation)
    return found["nodes"][row["claims"][label]]


def test_a_claim_whose_content_was_cancelled_is_rejected(tmp_path, capsys):
    """chi_1 - V' > 0 with m p(b) in place of the difference is true, and does not say what m p(b) is."""

    def cancel(found):
        node = claimed(found, "clipped-relu", "V' < chi_1")
        assert ") - (" in node["expression"]
        node["expression"] = node["data"]["rest"]

    assert check_changed(tmp_path, cancel) == 1
    assert "is not as the theorem states it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("left", "right", "why"),
    [
        ("0", "0", "an equation of numbers alone says nothing"),
        ("q - q", "0", "both sides are the same as they are written"),
        ("q/2", "q*1/2", "both sides are the same as they are written"),
        ("Derivative(q**2, q)", "2*q", "is not as the theorem states it"),  # true, of something else
    ],
)
def test_an_equation_that_says_nothing_is_rejected(tmp_path, capsys, left, right, why):
    """Each was accepted for dV/dq = V' as long as only a difference was compared, which was written as 0."""

    def empty(found):
        claimed(found, "clipped-relu", "dV/dq = V'").update(left=left, right=right)

    assert check_changed(tmp_path, empty, "calculus") == 1
    assert why in capsys.readouterr().out


def test_a_proof_of_part_of_a_theorem_is_rejected(tmp_path, capsys):
    def drop(found):
        found["proofs"] = found["proofs"][1:]
        places = sorted(_used(found))
        number = {place: k for k, place in enumerate(places)}
        found["nodes"] = [
            {**found["nodes"][place], "premises": [number[p] for p in found["nodes"][place]["premises"]]}
            for place in places
        ]
        for row in found["proofs"]:
            row["claims"] = {label: number[place] for label, place in row["claims"].items()}

    assert check_changed(tmp_path, drop) == 1
    assert "it, proofs is not as the theorem states it" in capsys.readouterr().out


def _used(found):
    waiting = [place for row in found["proofs"] for place in row["claims"].values()]
    used = set()
    while waiting:
        place = waiting.pop()
        if place not in used:
            used.add(place)
            waiting += found["nodes"][place]["premises"]
    return used


def test_what_is_no_certificate_is_rejected(tmp_path, capsys):
    path = tmp_path / "fold.json"
    path.write_text("{")
    assert status(proofs, "check", str(path)) == 1
    assert capsys.readouterr().out.startswith("fold.json           rejected: cannot read the certificate")
    assert status(proofs, "check", str(tmp_path / "missing.json")) == 2
    assert "missing.json' does not exist" in capsys.readouterr().err


def edited_text(old, new):
    """The stability certificate with an edit of its text."""

    def write(folder):
        text = (CERTIFICATES / "stability.json").read_text()
        assert text.count(old)
        (folder / "stability.json").write_text(text.replace(old, new, 1))

    return write


def edited(change, name="stability"):
    """A certificate with an edit, and the digest that belongs to it."""

    def write(folder):
        found = json.loads((CERTIFICATES / f"{name}.json").read_text())
        change(found)
        (folder / f"{name}.json").write_text(json.dumps({**found, "digest": digest(found)}))

    return write


def put(*places):
    """Put the last of the places at the place that the others lead to."""

    def change(found):
        *path, key, value = places
        for step in path:
            found = found[step]
        assert found[key] != value
        found[key] = value

    return change


def renamed(found):
    for row in found["proofs"]:
        row["claims"] = {f"{label}, and P = NP": place for label, place in row["claims"].items()}


def swapped(found):
    """Each activation's proofs under the other's name."""
    first, second = found["proofs"]
    first["claims"], second["claims"] = second["claims"], first["claims"]


def turned(found):
    """Each claim's proof under the next label of its row."""
    for row in found["proofs"]:
        labels, places = list(row["claims"]), list(row["claims"].values())
        row["claims"] = dict(zip(labels, places[1:] + places[:1], strict=True))


FORGED = {
    "words": (edited(put("words", "V'(q) < 0.9, and P = NP")), "it, words is not as the theorem states it"),
    "domain": (edited(put("proofs", 0, "domain", "tau complex")), "it, proofs 1, domain is not as the theorem"),
    "activation": (edited(put("proofs", 0, "activation", "relu")), "it, proofs 1, activation is not as the theorem"),
    "labels": (edited(renamed), "it, proofs 1, claims is not as the theorem states it"),
    "rows": (edited(swapped), "it, proofs 1, claims, .* is not as the theorem states it"),
    "claims": (edited(turned), "it, proofs 1, claims, .* is not as the theorem states it"),
    "theorem": (edited(put("theorem", "bijection")), "it, theorem is not as the theorem states it"),
    "gpsym": (edited(put("versions", "gpsym", "99")), "it, versions, gpsym is not as the theorem states it"),
    "sympy": (edited(put("versions", "sympy", "0.1")), "it, versions, sympy is not as the theorem states it"),
    "format": (edited(put("versions", "certificate", "3")), "need a certificate of version 2, got '3'"),
    "another program": (edited(lambda c: c["versions"].update(lean="4")), "need versions of"),
    "no version": (edited(lambda c: c["versions"].pop("sympy")), "need versions of"),
    "a key twice": (edited_text('"words": "', '"words": "P = NP", "words": "'), "a key comes twice"),
    "a version twice": (edited_text('"gpsym": "', '"gpsym": "99", "gpsym": "'), "a key comes twice"),
    "NaN": (edited_text('"premises": []', '"premises": NaN'), "numbers of a certificate are texts, got 'NaN'"),
    "trailing data": (edited_text("\n}\n", "\n} {}"), "cannot read the certificate: Extra data"),
    "another key": (edited(lambda c: c.update(note="P = NP")), "need a certificate of"),
}


@pytest.mark.parametrize("name", FORGED)
def test_what_is_said_around_the_proofs_is_part_of_the_certificate(name, tmp_path, capsys):
    write, why = FORGED[name]
    write(tmp_path)
    assert status(proofs, "check", str(tmp_path / "stability.json")) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(rf"stability.json +rejected: {why}", line)


def test_a_certificate_under_the_name_of_another_is_rejected(tmp_path, capsys):
    for name in ("bijection.json", "words.json", "stability.txt"):
        shutil.copy(CERTIFICATES / "stability.json", tmp_path / name)
        assert status(proofs, "check", str(tmp_path / name)) == 1
    first, *others = capsys.readouterr().out.splitlines()
    assert "it, theorem is not as the theorem states it: need 'bijection', got 'stability'" in first
    assert all("need the name of a theorem and .json" in line for line in others)


def test_a_folder_holds_the_certificates_of_all_theorems_and_nothing_else(tmp_path, capsys, monkeypatch):
    kept = ("stability", "marginality", "instability")
    monkeypatch.setattr("proofs.cli.THEOREMS", {name: THEOREMS[name] for name in kept})
    for name in kept[:2]:
        shutil.copy(CERTIFICATES / f"{name}.json", tmp_path)
    assert status(proofs, "check", str(tmp_path)) == 1
    shutil.copy(CERTIFICATES / "instability.json", tmp_path)
    assert status(proofs, "check", str(tmp_path)) == 0
    shutil.copy(CERTIFICATES / "fold.json", tmp_path)
    assert status(proofs, "check", str(tmp_path)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "instability.json    rejected: it is missing; make prove writes it"
    assert lines[3:6] == [f"{name + '.json':<20}accepted" for name in kept]
    assert lines[9].startswith("fold.json           rejected: need the name of a theorem")


def mirrored(interval, centre):
    """The points 2 centre - x of an interval."""
    low, high = (Fraction(end) for end in interval[1:-1].split(","))
    return f"[{2 * centre - high}, {2 * centre - low}]"


def roots(found, row=0):
    return {label: found["nodes"][k] for label, k in found["proofs"][row]["claims"].items() if " at s" in label}


def with_mirror_roots(found):
    """tau, m < 0 and the sparsity 1 - s solve the equations of CReLU as well."""
    for node in roots(found).values():
        centres = {"tau": 0, "m": 0, "s": Fraction(1, 2)}
        node["domain"] = {name: mirrored(node["domain"][name], centre) for name, centre in centres.items()}


def widened(found):
    for node in roots(found).values():
        low, high = (Fraction(end) for end in node["domain"]["m"][1:-1].split(","))
        node["domain"]["m"] = f"[{low - (high - low)}, {high + (high - low)}]"


def with_the_next_row(key):
    """In each row of the table the next one's equations or digits."""

    def change(found):
        nodes = list(roots(found).values())
        values = [node[key] for node in nodes]
        for node, value in zip(nodes, values[1:] + values[:1], strict=True):
            node[key] = value

    return change


def with_other_equations(found):
    """Other equations with the same zeros."""
    for node in roots(found).values():
        first, *others = map(ast.unparse, ast.parse(node["expression"], mode="eval").body.elts)
        node["expression"] = f"({', '.join([f'2*({first})', *others])})"


@pytest.mark.parametrize("name", ["curvature", "fold"])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (widened, "claims, .*, domain, m is not as the theorem states it"),
        (with_the_next_row("domain"), "no single root was seen"),
        (with_the_next_row("expression"), "no single root was seen"),
        (with_other_equations, "claims, .*, expression is not as the theorem states it"),
    ],
)
def test_the_digits_of_a_table_are_part_of_its_claims(name, change, why, tmp_path, capsys):
    edited(change, name)(tmp_path)
    assert status(proofs, "check", str(tmp_path / f"{name}.json")) == 1
    assert re.search(f"rejected: .*{why}", capsys.readouterr().out)


def test_mirror_roots_are_not_those_of_the_table(tmp_path, capsys):
    """They are roots, each alone in its box, but not the printed ones."""
    edited(with_mirror_roots, "curvature")(tmp_path)
    check(json.loads((tmp_path / "curvature.json").read_text()))
    assert status(proofs, "check", str(tmp_path / "curvature.json")) == 1
    assert "at slope 0.1, domain, tau is not as the theorem states it" in capsys.readouterr().out


@pytest.mark.parametrize(("table", "column"), [(FOLDS, 3), (LEVELS, 2)], ids=["fold", "curvature"])
def test_the_readme_prints_the_digits_that_are_proved(table, column):
    lines = (CERTIFICATES.parent / "README.md").read_text().splitlines()
    one_sided, two_sided = (table[name] for name in CLIPPED)
    for x in {*one_sided, *two_sided}:
        cells = (found[x][column] if x in found else "" for found in (one_sided, two_sided))
        assert " ".join(f"| {x} | {' | '.join(cells)} |".split()) in {" ".join(line.split()) for line in lines}
