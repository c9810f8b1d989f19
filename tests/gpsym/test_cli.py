import json
import re
import subprocess
import sys

import numpy as np
import pytest
import sympy as sp
from sympy.core.function import AppliedUndef

from gpsym import CriticalInit, __version__, edge_of_chaos, evaluate, maps, member
from gpsym.cli import main
from gpsym.depth_scales import correlation_rate
from gpsym.directions import gradient_directions, mixing_of_directions
from gpsym.finite_width import finite_width
from gpsym.finite_width.correlation import correlation_spread
from gpsym.kernel import kernels
from gpsym.layers import residual
from gpsym.layers.fluctuation import spread
from gpsym.learning_rate import adam_rate, sgd_rate
from gpsym.maps import ONE_INPUT, TWO_INPUTS
from gpsym.stability import basin, fixed_points, gain_margin
from gpsym.testing import LAWS, THEOREM_LAWS, Undetermined


def gpsym(capsys, *arguments):
    """(status, stdout, stderr) of the command, run in this process."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def test_version_and_help(capsys):
    assert gpsym(capsys, "--version") == (0, f"gpsym, version {__version__}\n", "")
    assert "aliases relu-tau, st, crelu, cst" in " ".join(gpsym(capsys, "--help")[1].split())


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


NUMBERS = {"q": 1.5, "q1": 1.5, "q2": 0.5, "rho": -0.3, "theta": 0.25, "tau": 0.7, "m": 1.2, "a": 0.1,
           "sigma_w2": 2.0, "sigma_b2": 0.5}  # fmt: skip


@pytest.mark.parametrize(
    "quantity",
    [pytest.param(q, marks=pytest.mark.deep) if q in ("ntk", "nngp") else q for q in (*ONE_INPUT, *TWO_INPUTS)],
)
def test_derive_prints_what_sympy_reads_back(capsys, quantity):
    quantity = re.sub("_[JKN]", "_2", quantity).replace("derivative_moment_2_2", "derivative_moment_0_2")
    status, out, _ = gpsym(capsys, "derive", "crelu", "--quantity", quantity.replace("_", "-"), "--format", "sympy")
    assert status == 0
    read = sp.sympify(out)
    assert not read.atoms(AppliedUndef)
    value = read.subs({symbol: sp.Rational(NUMBERS[str(symbol)]) for symbol in read.free_symbols}).evalf(30)
    expected = evaluate(maps.derive(member("crelu"), quantity), NUMBERS, digits=25)
    assert abs(value - sp.Float(str(expected), 30)) < abs(value) * sp.Float("1e-20", 30)


def test_derive_takes_an_expression(capsys):
    text = "Piecewise((0, x < tau), (x, True))"
    options = ["--quantity", "second-moment", "--format", "sympy"]
    status, out, _ = gpsym(capsys, "derive", "--expr", text, *options)
    assert (status, out) == (0, gpsym(capsys, "derive", "jump-relu", *options)[1])
    clipped = gpsym(capsys, "derive", "--expr", "min(max(0, x - tau), m)", "--assume", "m > 0", *options)
    assert clipped == gpsym(capsys, "derive", "crelu", *options)
    assert gpsym(capsys, "derive", "--expr", text, "--quantity", "chi-1", "--format", "sympy")[1] == "oo\n"


def test_derive_at_the_ends_of_rho(capsys):
    options = ["--rho", "1", "--same-variance", "--format", "sympy"]
    limit = sp.sympify(gpsym(capsys, "derive", "cst", "--quantity", "kernel", *options)[1])
    second = sp.sympify(gpsym(capsys, "derive", "cst", "--quantity", "second-moment", "--format", "sympy")[1])
    assert limit == second
    assert gpsym(capsys, "derive", "cst", "--quantity", "kernel", "--rho", "0", "--format", "sympy")[1] == "0\n"


def test_a_jump_makes_chi_1_infinite(capsys):
    status, out, _ = gpsym(capsys, "maps", "hard-shrink", "--tau", "1", "--q", "1", "--json")
    assert (status, json.loads(out)["chi_1"]) == (0, "inf")


def test_prelu_takes_its_slope(capsys):
    assert json.loads(gpsym(capsys, "maps", "prelu", "--a", "0.5", "--q", "2", "--json")[1])["chi_1"] == 0.625
    assert json.loads(gpsym(capsys, "design", "prelu", "--a", "0.5", "--json")[1])["sigma_w2"] == 1.6


def test_design(capsys):
    status, out, _ = gpsym(capsys, "design", "crelu", "--sparsity", "0.85", "--slope", "0.7", "--json")
    assert status == 0
    assert json.loads(out) == edge_of_chaos("crelu", sparsity=0.85, slope=0.7).to_dict() | {"stability": "stable"}
    assert CriticalInit.from_json(out) == edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
    assert list(json.loads(out)) == ["activation", "tau", "m", "sigma_w2", "sigma_b2", "q_star", "sparsity", "slope",
                                     "curvature", "chi_1", "stability"]  # fmt: skip
    assert json.loads(gpsym(capsys, "design", "st", "--sparsity", "0.85", "--json")[1])["m"] is None


@pytest.mark.parametrize("command", ["design", "stability"])
def test_an_unstable_variance_is_said(capsys, command):
    status, out, err = gpsym(capsys, command, "squared-relu", "--json")
    assert (status, json.loads(out)["stability"], err.count("\n")) == (0, "unstable", 1)
    assert "warning: edge_of_chaos: need V'(q*) < 1 for a stable q*, got V' = 1.5" in err
    status, out, err = gpsym(capsys, command, "st", "--sparsity", "0.85")
    assert (status, err.count("unstable")) == (0, 0)
    assert re.search("^stability +unstable from above", out, re.MULTILINE)
    assert "variances above q* move away from it; clip it, as clipped-soft-threshold does" in err
    assert gpsym(capsys, command, "relu")[2] == ""


def test_networks_that_would_be_dead_are_refused(capsys):
    line = "design crelu --sparsity 0.95 --width 64 --depth 50"
    status, out, err = gpsym(capsys, *line.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "they fail with probability 0.99 (a gradient of exactly 0: 0.99" in err


def test_export(capsys, tmp_path):
    wishes = ["--sparsity", "0.85", "--slope", "0.7"]
    for framework in ("torch", "jax", "keras", "json"):
        path = tmp_path / f"file.{framework}"
        status, _, _ = gpsym(capsys, "export", "crelu", *wishes, "--framework", framework, "--output", str(path))
        assert status == 0
        assert "clipped-relu" in path.read_text()


@pytest.mark.parametrize(("name", "start"), [("x.png", b"\x89PNG"), ("x.svg", b"<?xml"), ("x.PDF", b"%PDF")])
def test_plot(capsys, tmp_path, name, start):
    output = tmp_path / name
    assert gpsym(capsys, "plot", "map", "relu", "--output", str(output)) == (0, f"wrote {output}\n", "")
    assert output.read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_kernel(capsys, tmp_path):
    x, y = np.random.default_rng(0).standard_normal((2, 5, 3))
    x_path, y_path, out_path = (str(tmp_path / name) for name in ("x.npy", "y.npy", "k.npy"))
    np.save(x_path, x)
    np.save(y_path, y)
    design = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
    wishes = ["--sparsity", "0.85", "--slope", "0.7", "--depth", "3", "--input", x_path, "--output", out_path]
    assert gpsym(capsys, "kernel", "crelu", *wishes) == (0, f"wrote {out_path}\n", "")
    assert np.array_equal(np.load(out_path), kernels(x, design, depth=3).nngp)
    more = ["--kind", "ntk", "--other", y_path, "--input-mean-square", "1"]
    assert "pass --force to replace it" in gpsym(capsys, "kernel", "crelu", *wishes, *more)[2]  # .npy has no mark
    wishes.append("--force")
    assert gpsym(capsys, "kernel", "crelu", *wishes, *more)[0] == 0
    assert np.array_equal(np.load(out_path), kernels(x, design, depth=3, other=y, input_mean_square=1.0).ntk)
    np.save(x_path, np.array(["a"]))
    before = np.load(out_path)
    status, _, err = gpsym(capsys, "kernel", "crelu", *wishes)
    assert (status, err.count("\n")) == (2, 1)
    assert "an array of <U1, which are no real numbers" in err
    assert np.array_equal(np.load(out_path), before)
    np.save(x_path, np.ones(3))
    assert "need x of shape (n, features), got (3,)" in gpsym(capsys, "kernel", "crelu", *wishes)[2]
    np.save(x_path, x)
    assert "unknown kind 'ntp'" in gpsym(capsys, "kernel", "crelu", *wishes, "--kind", "ntp")[2]


def test_verify(capsys, monkeypatch):
    options = ["relu", "st", "--digits", "30", "--points", "2"]
    status, out, _ = gpsym(capsys, "verify", *options, "--json")
    result = json.loads(out)
    assert (status, result["verified"], len(result["checks"])) == (0, True, 10)
    assert {check["verdict"] for check in result["checks"]} == {"Verified"}
    assert gpsym(capsys, "verify", *options)[1].count("Verified") == 10
    two = gpsym(capsys, "verify", "relu", "--quantity", "kernel", "--digits", "15", "--points", "1")
    assert (two[0], two[1].count("Verified")) == (0, 1)
    monkeypatch.setitem(maps.ONE_INPUT, "slope", lambda phi: _wrong(maps.slope(phi)))
    status, out, _ = gpsym(capsys, "verify", *options, "--json")
    assert (status, json.loads(out)["verified"]) == (1, False)


def test_verify_applies_laws_to_an_expression(capsys):
    options = ["--quantity", "slope", "--digits", "15", "--points", "1"]
    status, out, _ = gpsym(capsys, "verify", "--expr", "max(x, a*x)", "--assume", "a < 1", *options, "--json")
    result = json.loads(out)
    verdicts = {check["law"]: check["verdict"] for check in result["laws"]}
    assert (status, result["verified"], [check["quantity"] for check in result["checks"]]) == (0, True, ["slope"])
    assert list(verdicts) == [*LAWS, *THEOREM_LAWS]
    assert {law for law, verdict in verdicts.items() if verdict == "Inapplicable"} == {
        "instability",
        "stability_by_clipping",
        "lowest_fixed_point",
        "chaos_above",
    }
    assert set(verdicts.values()) == {"Verified", "Inapplicable"}
    assert {frozenset(check) for check in result["laws"]} == {frozenset(("activation", "law", "verdict", "why"))}


def test_verify_says_why_a_law_fails_or_does_not_apply(capsys, monkeypatch):
    def wrong(phi):
        raise AssertionError("V'(1) = 3")

    def open_(phi):
        raise Undetermined("not told from 0")

    chosen = {"wrong": wrong, "open": open_, "correlation": THEOREM_LAWS["correlation"]}
    monkeypatch.setattr("gpsym.testing.verdicts.LAWS", chosen)
    monkeypatch.setattr("gpsym.testing.verdicts.THEOREM_LAWS", {})
    options = ["--quantity", "slope", "--digits", "15", "--points", "1"]
    status, out, _ = gpsym(capsys, "verify", "identity", "--laws", *options)
    assert status == 1
    assert [re.sub(" +", " ", line) for line in out.splitlines()[1:]] == [
        "identity wrong Refuted (V'(1) = 3)",
        "identity open Undecided (not told from 0)",
        "identity correlation does not apply (phi must not be affine)",
    ]
    for law, expected in (("wrong", 1), ("open", 1), ("correlation", 0)):
        monkeypatch.setattr("gpsym.testing.verdicts.LAWS", {law: chosen[law]})
        status, out, _ = gpsym(capsys, "verify", "--expr", "2*x", *options, "--json")
        assert (status, json.loads(out)["verified"]) == (expected, not expected)
    assert "laws" not in json.loads(gpsym(capsys, "verify", "identity", *options, "--json")[1])


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
    ("maps prelu --q 1", "prelu needs --a"),
    ("derive --quantity slope", "need one of ACT and --expr, got neither"),
    ("derive relu --expr x --quantity slope", "need one of ACT and --expr, got both"),
    ("derive relu --assume m>0 --quantity slope", "need --expr for --assume"),
    ("derive --expr exp(x) --quantity slope", "unknown function exp"),
    ("derive --expr max(m,x,0) --quantity slope", "need the sign of m"),
    ("derive --expr 1/x --quantity slope", "got 1/x"),
    ("derive relu --quantity slope --rho 1", "need a quantity of two inputs for rho, got slope"),
    ("derive relu --quantity kernel --rho 0.5", "need a correlation -1, 0 or 1, or none, got 1/2"),
    ("derive relu --quantity derivative-moment-1-3", "their product is no distribution"),
    ("design hard-shrink --tau 1", "jumps by tau at -tau: so chi_1 = infinity"),
    ("design prelu", "need numbers for a of prelu"),
    ("derive crelu --quantity speed", "unknown quantity 'speed'; choose from variance"),
    ("derive crelu --quantity slope --format word", "unknown format 'word'"),
    ("design crelu --sparsity 0.4 --slope 0.7", "need sparsity in [0.5, 1)"),
    ("design crelu --sparsity nan --slope 0.7", "need sparsity in [0.5, 1)"),
    ("design crelu --sparsity 0.85 --slope 1", "need slope in (0, 1)"),
    ("design crelu --sparsity 0.85", "need one of slope (0, 1) and m"),
    ("design st --sparsity 0.85 --slope 0.7", "no slope for soft-threshold"),
    ("design relu --sparsity 0.6", "no sparsity for relu, where it is always 0.5"),
    ("design relu --q-star 0", "need q_star > 0"),
    ("design relu --width 9 --depth 3 --classes 1", "sgd_rate: need classes >= 2, got 1"),
    ("export relu --framework mxnet --output x.py", "unknown framework 'mxnet'; choose from torch, jax, keras, json"),
    ("export relu --framework torch", "Missing option '--output'"),
    ("export hard-shrink --tau 1 --framework jax --output x.py", "so chi_1 = infinity"),
    ("export relu --framework torch --output no/such/x.py", "need an existing folder"),
    ("kernel relu --depth 1 --input no.npy --output k.npy", "no.npy: No such file or directory; write one"),
    ("kernel relu --input no.npy --output k.npy", "Missing option '--depth'"),
    ("verify nothing", "unknown name 'nothing'"),
    ("verify relu --expr x", "verify: need one of ACT and --expr, got both"),
    ("verify relu --assume m>0", "verify: need --expr for --assume"),
    ("verify --expr exp(x)", "unknown function exp"),
    ("verify relu --digits 0", "need digits from 1 to 100, got 0"),
    ("verify relu --points 0", "need points from 1 to 100000, got 0"),
    ("verify relu --digits 1000000", "need digits from 1 to 100, got 1000000"),
    ("verify relu --seed -1", "need seed from 0 to 4294967295, got -1"),
    ("report --output no/such/folder", "need an existing folder"),
    ("report --output . --run no-run", "config.json"),
    ("plot map crelu --sparsity .85 --slope .7 --width 300 --output x.png", "need no --width for map, got --width 300"),
    ("plot phase clipped-relu --sparsity .85 --output x.png", "need no --sparsity for phase, got --sparsity 0.85"),
    ("plot relief relu --output x.png", "plot: need map, phase or spread, got relief; choose one."),
    ("plot spread relu --output x.png --width 5", "plot: need width and depth for spread, got 5 and None; pass both."),
    ("plot phase crelu --output x.png --depth 5", "need width and depth together, got None and 5"),
    ("stability relu --correlation 0.5", "need width and depth, and no alpha, to follow a correlation"),
    ("stability relu --excursion 3", "need width and depth, and no alpha, with an excursion"),
    ("design relu --risk 0.1", "need width and depth with risk, got risk = 0.1 alone"),
    ("stability relu --alpha 0", "need alpha in (0, 1], got 0.0"),
    ("derive relu --residual --quantity kernel", "need one of variance, slope, curvature, chi-1, correlation"),
    ("derive relu --residual --quantity correlation --rho 1", "need no rho with --residual, got one"),
    ("plot map relu --output x.gif", "need a name that ends in .png, .svg or .pdf, got x.gif"),
    ("plot map relu --output no/x.png", "need an existing folder"),
    ("plot phase st --output x.png", "need clipped-relu or clipped-soft-threshold, got soft-threshold"),
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


def test_stability(capsys):
    options = ("cst", "--sparsity", "0.85", "--slope", "0.9", "--width", "300", "--depth", "10")
    status, out, _ = gpsym(capsys, "stability", *options, "--json")
    assert status == 0
    fields = json.loads(out)
    design = edge_of_chaos("cst", sparsity=0.85, slope=0.9)
    found = finite_width(design, width=300, depth=10)
    assert [point["kind"] for point in fields["fixed_points"]] == ["attracting", "repelling", "attracting"]
    assert fields["fixed_points"][1] == vars(fixed_points(design)[1])
    assert fields["basin"] == list(basin(design))
    assert fields["gain_margin"] == gain_margin(design)
    assert fields["escape_by_depth"] == list(found.escape_by_depth)
    names = ("escape_probability", "excursion_probability", "log_gradient_sd", "dead_probability")
    assert {name: fields[name] for name in names} == {name: getattr(found, name) for name in names}
    assert fields["correlation_rate"] == pytest.approx(0.5614622623710924, rel=1e-12)  # of test_depth_scales' formula
    assert fields["gradient_directions"] == gradient_directions(design, width=300, depth=10)
    shown = gpsym(capsys, "stability", *options)[1]
    assert re.search(r"^basin +\(0, 1\.26339\)$", shown, re.MULTILINE)
    assert re.search(r"^gain_margin +1\.01331$", shown, re.MULTILINE)
    assert re.search(r"^excursion_probability +0\.28\d*$", shown, re.MULTILINE)


def test_stability_without_a_size_or_an_upper_end(capsys):
    fields = json.loads(gpsym(capsys, "stability", "crelu", "--tau", "1", "--m", "1", "--json")[1])
    assert fields["basin"] == [0.0, None]
    assert fields["escape_probability"] is fields["gradient_directions"] is fields["gain_margin"] is None
    assert re.search(
        r"^gain_margin +oo$", gpsym(capsys, "stability", "crelu", "--tau", "1", "--m", "1")[1], re.MULTILINE
    )
    assert "(0, oo)" in gpsym(capsys, "stability", "crelu", "--tau", "1", "--m", "1")[1]
    assert json.loads(gpsym(capsys, "stability", "st", "--sparsity", "0.9", "--json")[1])["basin"] == [0.0, 1.0]


def test_stability_of_residual_layers(capsys):
    options = ("crelu", "--sparsity", "0.85", "--slope", "0.7", "--width", "300", "--depth", "50", "--alpha", "0.2")
    fields = json.loads(gpsym(capsys, "stability", *options, "--json")[1])
    design = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
    found = spread(design, alpha=0.2, width=300, depth=50)
    assert fields["fixed_points"] == [vars(point) for point in residual.fixed_points(design, 0.2)]
    assert fields["correlation_rate"] == pytest.approx(0.04 * correlation_rate(design))
    assert (fields["log_gradient_sd"], fields["variance_sd"]) == (found.log_gradient_sd, found.variance_sd)
    assert fields["gradient_directions"] == gradient_directions(design, width=300, depth=50, alpha=0.2)
    assert fields["escape_probability"] is None
    assert fields["dead_probability"] == 0.0


def test_stability_follows_a_correlation(capsys):
    options = ("crelu", "--tau", "1", "--m", "1", "--width", "300", "--depth", "5", "--correlation", "0.2")
    fields = json.loads(gpsym(capsys, "stability", *options, "--json")[1])
    design = edge_of_chaos("crelu", tau=1.0, m=1.0)
    found = correlation_spread(design, width=300, depth=5, correlation=0.2)
    assert fields["correlation_by_depth"] == found.correlation.tolist()
    assert fields["correlation_sd_by_depth"] == found.sd.tolist()
    assert re.search(r"^correlation_sd +0\.024", gpsym(capsys, "stability", *options)[1], re.MULTILINE)


def test_derive_of_residual_layers(capsys):
    text = gpsym(capsys, "derive", "relu", "--quantity", "correlation-rate", "--residual")[1]
    assert "residual correlation rate = " in text
    sympy = gpsym(capsys, "derive", "relu", "--quantity", "slope", "--residual", "--format", "sympy")[1]
    alpha, sigma_w2 = sp.symbols("alpha sigma_w2")
    assert sp.expand(sp.sympify(sympy) - (1 - alpha**2 + alpha**2 * sigma_w2 / 2)) == 0


@pytest.mark.parametrize("figure", ["spread", "phase"])
def test_plots_of_a_size(capsys, tmp_path, monkeypatch, figure):
    monkeypatch.setattr("gpsym.plot.phase._POINTS", 3)
    wishes = ["--sparsity", "0.85", "--slope", "0.7"] if figure == "spread" else []
    output = str(tmp_path / "x.svg")
    status, out, _ = gpsym(
        capsys, "plot", figure, "crelu", *wishes, "--width", "50", "--depth", "5", "--output", output
    )
    assert (status, out) == (0, f"wrote {output}\n")


def test_stability_needs_width_and_depth_together(capsys):
    status, out, err = gpsym(capsys, "stability", "relu", "--width", "10")
    assert (status, out) == (2, "")
    assert err == "gpsym: stability: need width and depth together, got 10 and None; pass both.\n"


def test_design_for_a_size(capsys):
    size = ("--width", "300", "--depth", "10", "--risk", "0.05")
    fields = json.loads(gpsym(capsys, "design", "crelu", "--sparsity", "0.85", *size, "--json")[1])
    assert fields["slope"] == pytest.approx(round(fields["slope"], 3), abs=1e-15)
    assert fields["excursion_probability"] <= 0.05
    assert fields["escape_probability"] <= fields["excursion_probability"]
    plain = {name: fields[name] for name in edge_of_chaos("relu").to_dict()}
    found, sizes = CriticalInit.from_dict(plain), {"width": 300, "depth": 11}  # ten layers after the first hidden one
    assert fields["learning_rate_adam"] == adam_rate(found, **sizes)
    assert fields["learning_rate_sgd"] == sgd_rate(found, **sizes, classes=10)
    stack = {"width": 300, "depth": 10}
    assert fields["gradient_directions"] == gradient_directions(found, **stack)
    assert fields["residual_alpha"] == mixing_of_directions(found, **stack, directions=9)
    networks = finite_width(found, width=300, depth=10)
    for name in ("dead_probability", "failure_probability", "log_gradient_mean", "log_gradient_sd"):
        assert fields[name] == getattr(networks, name)
    own = ("design", "crelu", "--sparsity", "0.85", "--slope", "0.95", *size, "--json")
    status, out, err = gpsym(capsys, *own)
    assert (status, err.count("\n")) == (0, 1)
    assert err.startswith("gpsym: warning: edge_of_chaos: need networks that fail with at most probability 0.05")
    given = json.loads(out)
    assert given["slope"] == pytest.approx(0.95)
    assert given["excursion_probability"] > 0.01
    out = gpsym(capsys, "design", "crelu", "--sparsity", "0.85", *size, "--classes", "2")[1]
    assert "excursion_probability  0.0" in out
    assert f"\nlearning_rate_adam  {adam_rate(found, **sizes):.4g}\n" in out
    assert f"\nlearning_rate_sgd  {sgd_rate(found, **sizes, classes=2):.4g}\n" in out
    assert out.endswith("\nresidual_alpha  1\n")  # two classes differ in one direction
    out = gpsym(capsys, "design", "crelu", "--sparsity", "0.85", *size, "--classes", "100")[1]
    mixing = mixing_of_directions(found, **stack, directions=99)
    assert mixing < 1
    assert out.endswith(f"\nresidual_alpha  {mixing:.4g}\n")
