import json
import subprocess
import sys

import pytest
import sympy as sp

from gpsym import __version__, edge_of_chaos, evaluate, maps, member
from gpsym.cli import main


def gpsym(capsys, *arguments):
    """(status, stdout, stderr) of the command, run in this process."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def test_version_and_help(capsys):
    assert gpsym(capsys, "--version") == (0, f"gpsym, version {__version__}\n", "")
    assert "aliases relu-tau, st, crelu, cst" in gpsym(capsys, "--help")[1]


def test_installed_command():
    done = subprocess.run([sys.executable, "-m", "gpsym.cli", "--version"], capture_output=True, text=True, check=True)
    assert __version__ in done.stdout


@pytest.mark.parametrize("alias", ["crelu", "clipped-relu"])
def test_maps(capsys, alias):
    numbers = {"tau": 30.0, "m": 1e-9, "q": 1.0, "sigma_w2": 2.0, "sigma_b2": 0.25}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in numbers.items()]
    status, out, _ = gpsym(capsys, "maps", alias, *options, "--json")
    assert status == 0
    fields = json.loads(out)
    for quantity in maps.QUANTITIES:
        exact = float(evaluate(maps.derive(member("crelu"), quantity), numbers, digits=25))
        assert fields[quantity] == exact
    assert "variance" in gpsym(capsys, "maps", alias, *options)[1]


@pytest.mark.parametrize("quantity", ["variance", "slope", "curvature", "chi-1", "sparsity"])
def test_derive(capsys, quantity):
    status, out, _ = gpsym(capsys, "derive", "cst", "--quantity", quantity, "--format", "sympy")
    assert status == 0
    assert str(sp.sympify(out)) == out.strip()


def test_design(capsys):
    status, out, _ = gpsym(capsys, "design", "crelu", "--sparsity", "0.85", "--slope", "0.7", "--json")
    assert status == 0
    assert json.loads(out) == edge_of_chaos("crelu", sparsity=0.85, slope=0.7).to_dict()
    assert list(json.loads(out)) == ["activation", "tau", "m", "sigma_w2", "sigma_b2", "q_star", "sparsity", "slope",
                                     "curvature", "chi_1"]  # fmt: skip
    assert json.loads(gpsym(capsys, "design", "st", "--sparsity", "0.85", "--json")[1])["m"] is None


def test_export(capsys, tmp_path):
    wishes = ["--sparsity", "0.85", "--slope", "0.7"]
    for framework in ("torch", "json"):
        path = tmp_path / f"file.{framework}"
        status, _, _ = gpsym(capsys, "export", "crelu", *wishes, "--framework", framework, "--output", str(path))
        assert status == 0
        assert "clipped-relu" in path.read_text()


def test_verify(capsys, monkeypatch):
    options = ["relu", "st", "--digits", "30", "--points", "2"]
    status, out, _ = gpsym(capsys, "verify", *options, "--json")
    result = json.loads(out)
    assert (status, result["verified"], len(result["checks"])) == (0, True, 10)
    assert {check["verdict"] for check in result["checks"]} == {"Verified"}
    assert gpsym(capsys, "verify", *options)[1].count("Verified") == 10
    monkeypatch.setitem(maps.QUANTITIES, "slope", maps.curvature)
    monkeypatch.setattr("gpsym.maps.QUANTITIES", {"slope": lambda phi: _wrong(maps.slope(phi))})
    monkeypatch.setattr("gpsym.verify.QUANTITIES", {"slope": lambda phi: _wrong(maps.slope(phi))})
    status, out, _ = gpsym(capsys, "verify", *options, "--json")
    assert (status, json.loads(out)["verified"]) == (1, False)


def _wrong(formula):
    from dataclasses import replace

    return replace(formula, expression=2 * formula.expression)


BAD = [
    ("maps foo --q 1", "unknown name 'foo'; choose from relu"),
    ("maps crelu --tau 1 --q 1", "clipped-relu needs --m"),
    ("maps relu --m 1 --q 1", "takes no parameters, got m = 1.0"),
    ("maps st --tau 1 --m 1 --q 1", "takes tau, got m = 1.0"),
    ("maps st --tau -1 --q 1", "need tau >= 0, got tau = -1.0"),
    ("maps st --tau nan --q 1", "need a finite real tau, got tau = nan"),
    ("maps crelu --tau 1 --m -1 --q 1", "need m > 0"),
    ("maps st --tau 1 --q 0", "need q > 0, got q = 0.0"),
    ("maps st --tau 1 --q inf", "need a finite real q"),
    ("maps st --tau 1 --q nan", "need a finite real q"),
    ("maps st --tau 1 --q one", "'one' is not a valid float"),
    ("maps relu --q 1 --sigma-w2 0", "need sigma_w2 > 0"),
    ("maps relu --q 1 --sigma-b2 -1", "need sigma_b2 >= 0"),
    ("maps relu", "Missing option '--q'"),
    ("derive crelu --quantity speed", "unknown quantity 'speed'; choose from variance"),
    ("derive crelu --quantity slope --format word", "unknown format 'word'"),
    ("design crelu --sparsity 0.4 --slope 0.7", "need sparsity in [0.5, 1)"),
    ("design crelu --sparsity nan --slope 0.7", "need sparsity in [0.5, 1)"),
    ("design crelu --sparsity 0.85 --slope 1", "need slope in (0, 1)"),
    ("design crelu --sparsity 0.85", "need one of slope (0, 1) and m"),
    ("design st --sparsity 0.85 --slope 0.7", "no slope for soft-threshold"),
    ("design relu --sparsity 0.6", "no sparsity for relu, where it is always 0.5"),
    ("design relu --q-star 0", "need q_star > 0"),
    ("export relu --framework jax --output x.py", "unknown framework 'jax'"),
    ("export relu --framework torch --output no/such/x.py", "need an existing folder"),
    ("verify nothing", "unknown name 'nothing'"),
    ("verify relu --digits 0", "need digits >= 1"),
    ("verify relu --points 0", "need points >= 1"),
    ("report --output no/such/folder", "need an existing folder"),
    ("report --output . --run no-run", "config.json"),
    ("launch", "No such command 'launch'"),
    ("design relu --colour red", "No such option"),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_bad_input_is_one_line_on_stderr(capsys, tmp_path, monkeypatch, line, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = gpsym(capsys, *line.split())
    assert (status, out) == (2, "")
    assert message in err
    assert err.startswith("gpsym: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_command_shows_the_help(capsys):
    status, out, err = gpsym(capsys)
    assert (status, out) == (2, "")
    assert "Commands:" in err
