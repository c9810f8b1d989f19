import json
import shutil

import pytest

from gpsym.cli import main as gpsym
from gpsym.cli import run
from proofs.checker import digest
from proofs.cli import CERTIFICATES, THEOREMS, main


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
    for found in (written, kept):
        del found["versions"], found["digest"]
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
    assert "is not as the theorem states it" in capsys.readouterr().out


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
    assert "the theorem" in capsys.readouterr().out


def _used(found):
    waiting = [place for row in found["proofs"] for place in row["claims"].values()]
    used = set()
    while waiting:
        place = waiting.pop()
        if place not in used:
            used.add(place)
            waiting += found["nodes"][place]["premises"]
    return used


def test_a_theorem_that_does_not_exist(tmp_path, capsys):
    assert check_changed(tmp_path, lambda found: found.update(theorem="completeness")) == 1
    assert "there is no theorem completeness" in capsys.readouterr().out


def test_what_is_no_certificate_is_rejected(tmp_path, capsys):
    path = tmp_path / "broken.json"
    path.write_text("{")
    assert status(proofs, "check", str(path)) == 1
    assert "broken.json" in capsys.readouterr().out
    assert status(proofs, "check", str(tmp_path / "missing.json")) == 2
