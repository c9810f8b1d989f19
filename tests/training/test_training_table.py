"""Tables of runs: every preset trains, goes on where it was cut off, and says what its runs came to."""

import json
from statistics import fmean, stdev

import pytest

from gpsym import edge_of_chaos
from gpsym.directions import gradient_directions
from gpsym.finite_width import finite_width
from training import table as module
from training import trainer
from training.lock import lock_of
from training.presets import PRESETS, Preset
from training.table import run_table, table_figure

# A step a run, on networks of 8 units.
ONE_STEP = {"data": "digits", "width": 8, "depth": 3, "epochs": 1, "batch_size": 2000, "lr": 1e-3, "device": "cpu"}
SMALL = Preset(
    {"data": "digits", "width": 32, "depth": 3, "epochs": 1, "batch_size": 64, "lr": 3e-3, "device": "cpu"},
    ({"activation": "relu"}, {"activation": "clipped-relu", "sparsity": 0.7, "slope": 0.7}),
    2,
)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(module, "PRESETS", {"small": SMALL})


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.deep) if n in ("mini-dnn", "paper-dnn", "followup") else n for n in PRESETS],
)
def test_every_preset_runs_a_step(name, tmp_path, monkeypatch):
    preset = PRESETS[name]
    common = {**preset.common, "augment": "none"}  # digits are features
    monkeypatch.setattr(module, "PRESETS", {name: Preset(common, preset.rows[:: max(1, len(preset.rows) // 3)], 1)})
    rows = run_table(name, tmp_path / "table", ONE_STEP)
    assert [row["runs"] for row in rows] == [1] * len(rows)
    assert len((tmp_path / "table" / "table.md").read_text().splitlines()) == 2 + len(rows)


@pytest.mark.parametrize("name", PRESETS)
def test_every_run_of_a_preset_has_a_configuration(name):
    preset = PRESETS[name]
    runs = list(preset.runs({}))
    assert len(runs) == len(preset.rows)
    assert all(config.seed == seed for configs in runs for seed, config in enumerate(configs))
    assert all(0 <= configs[0].design.sparsity < 1 for configs in runs)


def test_the_papers_grid():
    rows = PRESETS["paper-dnn"].rows
    assert len(rows) == 1 + 2 * 4 + 2 * 4 * 3
    assert {row.get("slope") for row in rows} == {None, 0.5, 0.7, 0.9}


def test_a_table_has_means_and_deviations_of_its_runs(small, tmp_path):
    rows = run_table("small", tmp_path / "t", {})
    assert json.loads((tmp_path / "t" / "table.json").read_text()) == rows
    _, clipped = rows
    summaries = [
        json.loads((tmp_path / "t" / f"clipped-relu-0.7-0.7-seed{seed}" / "summary.json").read_text())
        for seed in (0, 1)
    ]
    accuracies = [summary["test_accuracy"] for summary in summaries]
    assert clipped["test_accuracy"] == {"mean": fmean(accuracies), "sd": stdev(accuracies)}
    design = edge_of_chaos("clipped-relu", sparsity=0.7, slope=0.7)
    risk = finite_width(design, width=32, depth=2)
    assert clipped["excursion_probability"] == risk.excursion_probability
    assert clipped["escape_probability"] == risk.escape_probability
    assert (clipped["runs"], clipped["diverged"]) == (2, 0)
    cells = (tmp_path / "t" / "table.md").read_text().splitlines()[-1].split(" | ")
    assert f"{fmean(accuracies):.4f} ± {stdev(accuracies):.4f}" in cells


def test_finished_runs_are_not_trained_again(small, tmp_path, monkeypatch):
    rows = run_table("small", tmp_path / "t", {})
    (tmp_path / "t" / "relu-seed1" / "summary.json").unlink()
    trained = []
    monkeypatch.setattr("training.trainer._run", lambda config, output: trained.append(output.name))
    with pytest.raises(TypeError):  # what was trained has no summary here
        run_table("small", tmp_path / "t", {})
    assert trained == ["relu-seed1"]
    monkeypatch.undo()
    monkeypatch.setattr(module, "PRESETS", {"small": SMALL})
    again = run_table("small", tmp_path / "t", {})
    assert again == rows


def test_runs_are_trained_under_the_lock_of_their_folder(small, tmp_path, monkeypatch):
    locked = []

    def watched(config, folder):
        locked.append(lock_of(folder).exists())
        return begun(config, folder)

    begun = trainer._begun
    monkeypatch.setattr(trainer, "_begun", watched)
    run_table("small", tmp_path / "t", {"epochs": 0})
    assert locked == [True] * 4
    assert not list(tmp_path.glob("t/*.lock"))


def test_diverged_runs_are_counted(tmp_path, monkeypatch):
    """At an absurd rate ReLU's loss overflows; that of the clipped ReLU stays finite, far out of reach of chance."""
    relu, clipped = SMALL.rows
    rows = ({**relu, "lr": 1e25}, {**clipped, "lr": 1e25}, relu)
    monkeypatch.setattr(module, "PRESETS", {"small": Preset(SMALL.common, rows[:2], 2)})
    assert [row["diverged"] for row in run_table("small", tmp_path / "wild", {})] == [2, 2]
    monkeypatch.setattr(module, "PRESETS", {"small": Preset(SMALL.common, rows[2:], 2)})
    assert [row["diverged"] for row in run_table("small", tmp_path / "calm", {})] == [0]


def test_risks_are_those_of_plain_fully_connected_networks_alone(small, tmp_path):
    row = run_table("small", tmp_path / "t", {"alpha": 0.5, "epochs": 0})[1]
    assert row["escape_probability"] is None
    assert "–" in (tmp_path / "t" / "table.md").read_text()


def test_the_figure_has_a_curve_for_each_activation_and_slope():
    def row(activation, sparsity, slope, mean):
        return {"activation": activation, "sparsity": sparsity, "slope": slope, "q_star": 1.0,
                "test_accuracy": {"mean": mean, "sd": None}}  # fmt: skip

    rows = [row("relu", 0.5, 1.0, 0.9), *(row("clipped-relu", s, 0.7, 1 - s) for s in (0.6, 0.8))]
    (axes,) = table_figure(rows).axes
    curves = {c.get_label(): c.lines[0].get_xydata().tolist() for c in axes.containers}
    assert curves == {"relu": [[0.5, 0.9]], "clipped-relu, slope 0.7": [[0.6, 0.4], [0.8, pytest.approx(0.2)]]}


@pytest.mark.parametrize("name", ["mixed-dnn", "mixed-dnn-100"])
def test_mixed_networks_let_nine_directions_through_and_few_more(name):
    for config, *_ in PRESETS[name].runs({}):
        if config.slope is not None:
            came = gradient_directions(config.design, width=config.width, depth=config.depth, alpha=config.alpha)
            assert 9 <= came < 11


def test_points_of_one_sparsity_stand_side_by_side():
    values = {"slope": 1.0, "q_star": 1.0, "test_accuracy": {"mean": 0.9, "sd": 0.1}}
    names = ("relu", "shifted-relu", "soft-threshold", "identity")
    sparsities = (0.5, 0.85, 0.85, 0.85)
    (axes,) = table_figure(
        [{"activation": a, "sparsity": s, **values} for a, s in zip(names, sparsities, strict=True)]
    ).axes
    places = [c.lines[0].get_xdata()[0] for c in axes.containers]
    assert places == pytest.approx([0.5, 0.84, 0.85, 0.86])


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [
        ("grand", "t", "need one of paper-dnn, paper-cnn, followup"),
        ("mini-dnn", "no/such/t", "need an existing folder"),
    ],
)
def test_bad_input(name, output, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_table(name, tmp_path / output, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["table.json", "table.md", "table.svg"])
def test_files_that_no_table_wrote_are_replaced_by_force_alone(small, tmp_path, file):
    class Begun(Exception):
        pass

    def begin(_runs):
        raise Begun

    (tmp_path / file).write_text("mine")
    with pytest.raises(ValueError, match=f"need a new file, .*{file}; choose another name, or pass --force"):
        run_table("small", tmp_path, {}, begin)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(file, "mine")]
    with pytest.raises(Begun):
        run_table("small", tmp_path, {}, begin, force=True)


def test_a_table_writes_over_its_own_files_and_those_that_force_gave_it(small, tmp_path):
    (tmp_path / "table.md").write_text("mine")
    rows = run_table("small", tmp_path, {}, force=True)
    (tmp_path / "table.md").write_text("a note")
    assert run_table("small", tmp_path, {}) == rows
    assert "| relu |" in (tmp_path / "table.md").read_text()
