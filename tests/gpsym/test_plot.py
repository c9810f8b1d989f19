"""What the figures show, read back from their axes; how they look is for eyes."""

import json
import subprocess
import sys

import numpy as np
import pytest

from gpsym.bifurcation import flat_slope, fold
from gpsym.design import edge_of_chaos
from gpsym.finite_width import excursion_probability, finite_width, variance_quantiles
from gpsym.plot import Run, phase_figure, read_run, spread_figure, training_figure, variance_map_figure
from gpsym.stability import fixed_points

DESIGN = edge_of_chaos("clipped-soft-threshold", sparsity=0.85, slope=0.9)
LAYERS = 4


def epoch(number: int, **changed) -> dict:
    parts = {
        f"{part}_{name}": 1 / (number + 2) for part in ("train", "validation", "test") for name in ("loss", "accuracy")
    }
    layers = {"layer_variance": [1 + 0.1 * number] * LAYERS, "layer_sparsity": [0.85] * LAYERS}
    return {"epoch": number, **parts, "train_sparsity": 0.85, "test_sparsity": 0.84, **layers, "seconds": 1.0} | changed


def run_of(*metrics: dict) -> Run:
    return Run({"design": DESIGN.to_dict()}, metrics, {"diverged": False})


def drawn(axes) -> dict:
    """The curves of the axes by label."""
    return {line.get_label(): np.array(line.get_data(), dtype=float) for line in axes.get_lines()}


def draw(figure) -> None:
    figure.savefig("/dev/null", format="svg")


def test_fixed_points_are_marked_and_named_by_kind():
    (axes,) = variance_map_figure(DESIGN).axes
    curves = drawn(axes)
    for point in fixed_points(DESIGN):
        (label,) = (name for name in curves if f"{point.kind} $q = {point.q:.4g}$" in name)
        assert curves[label].tolist() == [[point.q], [point.q]]


def test_the_map_crosses_the_diagonal_where_the_fixed_points_are():
    curves = drawn(variance_map_figure(DESIGN).axes[0])
    q, values = curves["$V(q)$"]
    gap = values - curves["$V = q$"][1]
    crossings = q[1:][np.sign(gap[1:]) != np.sign(gap[:-1])]
    assert crossings == pytest.approx([point.q for point in fixed_points(DESIGN)], abs=q[1] - q[0])


def test_basin_is_shaded_up_to_the_repelling_point():
    (axes,) = variance_map_figure(DESIGN).axes
    (span,) = axes.patches
    assert (span.get_x(), span.get_x() + span.get_width()) == pytest.approx((0, fixed_points(DESIGN)[1].q))
    assert "1.263" in span.get_label()


def test_no_basin_is_shaded_for_the_identity():
    assert not variance_map_figure(edge_of_chaos("relu")).axes[0].patches


@pytest.mark.parametrize(("activation", "end"), [("clipped-relu", 1.0), ("shifted-relu", np.inf)])
def test_cobweb_returns_or_runs_away(activation, end):
    """The staircase between map and diagonal comes closer to q_star, or leaves the picture."""
    design = edge_of_chaos(activation, sparsity=0.85, slope=0.7 if activation == "clipped-relu" else None)
    (axes,) = variance_map_figure(design).axes
    q, values = next(curve for label, curve in drawn(axes).items() if "layers from" in label)
    assert (q[0], values[0]) == (1.5, 1.5)
    assert (q[2::2] == values[2::2]).all()
    assert (abs(q[-1] - 1) < 0.05) if end == 1.0 else (q[-1] > axes.get_xlim()[1])


@pytest.mark.parametrize("activation", ["relu", "shifted-relu", "clipped-soft-threshold"])
@pytest.mark.parametrize("q_star", [1e-4, 1e4])
def test_every_scale_is_drawn_without_a_warning(activation, q_star):
    clipped = activation.startswith("clipped")
    sparsity = 0.5 if activation == "relu" else 0.85
    draw(
        variance_map_figure(edge_of_chaos(activation, sparsity=sparsity, slope=0.7 if clipped else None, q_star=q_star))
    )


@pytest.mark.parametrize("name", ["identity", "abs", "leaky-relu", "hard-tanh", "squared-relu", "hard-swish"])
def test_other_members_are_drawn_without_a_warning(name):
    design = edge_of_chaos(name)
    figure = variance_map_figure(design)
    draw(figure)
    labels = drawn(figure.axes[0])
    assert all(any(f"{p.kind} $q = {p.q:.4g}$" in label for label in labels) for p in fixed_points(design))


def test_training_curves_show_the_metrics():
    run = run_of(*(epoch(k, train_loss=[2.0, 1.0, 0.5][k]) for k in range(3)))
    loss, accuracy, sparsity, variance = training_figure(run).axes
    assert drawn(loss)["train"].tolist() == [[0, 1, 2], [2.0, 1.0, 0.5]]
    assert set(drawn(loss)) == set(drawn(accuracy)) == {"train", "validation", "test"}
    assert drawn(sparsity)["test"][1].tolist() == [0.84] * 3
    assert drawn(sparsity)["design"][1].tolist() == [DESIGN.sparsity] * 2
    assert drawn(variance)["measured, initial"].tolist() == [[1, 2, 3, 4], [1.0] * 4]
    assert drawn(variance)["measured, final"][1] == pytest.approx([1.2] * 4)
    assert drawn(variance)["theory, initial: $q^{*}$"][1].tolist() == [1.0] * 2


def test_sparsity_axis_does_not_magnify_noise():
    axes = training_figure(run_of(epoch(0), epoch(1, train_sparsity=0.8500001))).axes[2]
    low, high = axes.get_ylim()
    assert high - low >= 0.1


@pytest.mark.parametrize(("last", "scale"), [(1e-3, "log"), (0.4, "linear"), (0.0, "linear")])
def test_loss_is_logarithmic_where_it_spans_a_decade(last, scale):
    run = run_of(epoch(0), epoch(1, train_loss=last, validation_loss=0.4, test_loss=0.4))
    assert training_figure(run).axes[0].get_yscale() == scale


NOTHING = {key: None for key in epoch(0) if key not in ("epoch", "layer_variance", "layer_sparsity")}


@pytest.mark.parametrize(
    "rows",
    [
        [epoch(0), epoch(1, **NOTHING, layer_variance=[None] * LAYERS)],
        [epoch(0), epoch(1, **NOTHING, layer_variance=None), epoch(2)],
        [epoch(0, **NOTHING, layer_variance=[1.0, None, 3e38, None])],
        [{"epoch": 0}],
        [epoch(0, train_loss=float("nan")), epoch(1, train_loss=float("inf"))],
    ],
    ids=["diverged", "gap", "largest float32", "no fields", "not finite"],
)
def test_missing_numbers_leave_gaps(rows):
    figure = training_figure(run_of(*rows))
    draw(figure)
    (x, y) = drawn(figure.axes[0])["train"]
    assert len(x) == len(rows)
    wanted = [row.get("train_loss") for row in rows]
    assert np.isnan(y).tolist() == [value is None or not np.isfinite(value) for value in wanted]


def write_run(folder, rows):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"data": "digits", "design": DESIGN.to_dict()}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "summary.json").write_text(json.dumps({"test_accuracy": 0.9}))
    return folder


def test_run_is_read_as_written(tmp_path):
    run = read_run(write_run(tmp_path / "run", [epoch(0), epoch(1)]))
    assert run.design == DESIGN
    assert run.series("train_loss").tolist() == [1 / 2, 1 / 3]
    assert run.summary == {"test_accuracy": 0.9}


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json"])
def test_missing_file_is_named(tmp_path, name):
    folder = write_run(tmp_path / "run", [epoch(0)])
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"run: need {name} in .*run, got none"):
        read_run(folder)


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json"])
@pytest.mark.parametrize(("text", "message"), [('{"epoch": 0', "need JSON in"), ("[1]", "need a JSON object in")])
def test_broken_file_is_named(tmp_path, name, text, message):
    folder = write_run(tmp_path / "run", [epoch(0)])
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=f"run: {message} .*{name}"):
        read_run(folder)


def test_run_without_epochs_or_design(tmp_path):
    folder = write_run(tmp_path / "run", [])
    with pytest.raises(ValueError, match="need at least one epoch"):
        read_run(folder)
    (folder / "metrics.jsonl").write_text(json.dumps(epoch(0)))
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match='need the design under "design"'):
        read_run(folder)


def test_figures_leave_global_state_alone():
    """Importing loads no Matplotlib; a figure is not among pyplot's open ones and changes no setting."""
    code = (
        "import sys, gpsym.plot; assert 'matplotlib' not in sys.modules\n"
        "from gpsym.design import edge_of_chaos\n"
        "import matplotlib, matplotlib.pyplot as plt; before = dict.copy(matplotlib.rcParams)\n"
        "gpsym.plot.variance_map_figure(edge_of_chaos('relu')).savefig('/dev/null', format='svg')\n"
        "assert dict.copy(matplotlib.rcParams) == before and not plt.get_fignums()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_matplotlib_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"plots need matplotlib; pip install gpsym\[plot\]"):
        variance_map_figure(DESIGN)


@pytest.fixture
def coarse(monkeypatch):
    """Phase diagrams of few designs."""
    monkeypatch.setattr("gpsym.plot.phase._POINTS", 5)


@pytest.mark.parametrize("activation", ["clipped-relu", "clipped-soft-threshold"])
def test_the_phase_diagram_shows_the_fold_above_the_flat_slopes(activation, coarse):
    (axes,) = phase_figure(activation).axes
    curves = drawn(axes)
    (sparsity, folds), (_, flat) = curves["fold"], curves["$V''(q^*) = 0$"]
    assert (folds >= flat).all()
    k = int(np.argmin(np.abs(sparsity - 0.85)))
    assert folds[k] == pytest.approx(fold(activation, sparsity[k]).slope)
    assert flat[k] == pytest.approx(flat_slope(activation, sparsity[k]))
    assert axes.get_xlim()[0] == (0.5 if activation == "clipped-relu" else 0.0)


@pytest.mark.parametrize("activation", ["crelu", "cst"])
def test_contours_are_where_the_risk_is_that(activation, coarse):
    size = {"width": 100, "depth": 30}
    curves = drawn(phase_figure(activation, **size).axes[0])
    for risk in (0.01, 0.1, 0.5, 0.9):
        sparsity, slopes = curves[f"risk {risk:.0%}"]
        # To a twentieth of the distance from slope 1; at the fold the risk jumps.
        below, above = (
            excursion_probability(edge_of_chaos(activation, sparsity=sparsity[1], slope=slope), **size)
            for slope in (1 - 1.05 * (1 - slopes[1]), 1 - 0.95 * (1 - slopes[1]))
        )
        assert below < risk < above


def test_a_size_is_width_and_depth():
    with pytest.raises(ValueError, match="need width and depth together, got 10 and None"):
        phase_figure("crelu", width=10)


def test_the_spread_shows_theory_and_simulation():
    size = {"width": 100, "depth": 20}
    figure = spread_figure(DESIGN, **size)
    variances, risks = figure.axes
    median = drawn(variances)["median"]
    assert median.tolist() == [list(range(1, 21)), variance_quantiles(DESIGN, [0.5], **size)[:, 0].tolist()]
    simulated = next(curve for label, curve in drawn(variances).items() if "simulated: 5%, 50%, 95%" in label)
    bands = variance_quantiles(DESIGN, [0.02, 0.08], **size)  # four standard errors of a share of 5 % of 1000
    layers = simulated[0].astype(int) - 1
    assert (simulated[1] > bands[layers, 0]).all()
    assert (simulated[1] < bands[layers, 1]).all()
    found = finite_width(DESIGN, **size)
    assert drawn(risks)["P(escape so far)"][1].tolist() == list(found.escape_by_depth)
    assert f"end of the basin, {found.limit:.4g}" in drawn(variances)


def test_the_spread_of_a_design_without_an_upper_end_has_excursions_alone():
    design = edge_of_chaos("crelu", sparsity=0.85, slope=0.5)
    variances, risks = spread_figure(design, width=20, depth=10).axes
    assert set(drawn(risks)) - {"_nolegend_"} >= {"P(excursion so far)"}
    assert "P(escape so far)" not in drawn(risks)
    assert "excursion, 2" in drawn(variances)


@pytest.mark.parametrize(("activation", "width", "depth"), [("st", 64, 100), ("relu", 4, 1), ("hard-tanh", 1, 3)])
def test_every_spread_is_drawn_without_a_warning(activation, width, depth):
    design = edge_of_chaos(activation, sparsity=0.85 if activation == "st" else None)
    draw(spread_figure(design, width=width, depth=depth))


def test_other_activations_have_no_phase_diagram():
    with pytest.raises(ValueError, match="others have no such diagram"):
        phase_figure("relu")
