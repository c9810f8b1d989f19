"""Runs of the trainer: what they write, what decides their weights, and what is refused."""

import importlib.util
import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gpsym import CriticalInit, edge_of_chaos
from gpsym.export import export_text
from gpsym.torch import activation_module
from training import data as data_sets
from training import trainer
from training.digest import digest
from training.measure import Measurement, measure
from training.models import mlp
from training.start import Start
from training.trainer import RunConfig, train

FRACTIONS = ("test_accuracy", "validation_accuracy", "test_sparsity", "train_sparsity")
LOSSES = ("train_loss", "validation_loss", "test_loss")
# Far above what any of these networks survives: its weights are beyond float32 after the first few steps.
ABSURD_RATE = 1e30


@pytest.fixture
def alike(tmp_path: Path) -> str:
    """A data set whose inputs all have mean 0 and mean square 1, each on its own: eight signs, half of them plus."""
    signs = np.array([s for s in itertools.product((-1.0, 1.0), repeat=8) if sum(s) == 0])
    np.savez(tmp_path / "alike.npz", x=signs, y=np.arange(len(signs)) % 2)
    return str(tmp_path / "alike.npz")


@pytest.fixture
def exported(tmp_path: Path):
    """Writes the export of a clipped ReLU, with one piece of its text replaced; returns its path."""

    def write(slope: float = 0.7, old: str = "", new: str = "") -> Path:
        text = export_text(edge_of_chaos("crelu", sparsity=0.85, slope=slope), "torch")
        assert old in text
        path = tmp_path / "initializer.py"
        path.write_text(text.replace(old, new) if old else text)
        return path

    return write


def rebuilt_digest(config: RunConfig, initializer: Path) -> str:
    """Digest of the network of a run on digits as the exported module alone makes and initializes it."""
    spec = importlib.util.spec_from_file_location("rebuilt", initializer)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "rebuilt", module)  # where dataclasses looks it up
        spec.loader.exec_module(module)
    model = mlp(64, 10, width=config.width, depth=config.depth, activation=module.Activation)
    mean_square = data_sets.load(config.data, seed=config.seed).x_train.square().mean().item()
    module.init_(model, input_mean_square=mean_square, generator=torch.Generator().manual_seed(config.seed))
    return digest(model)


def trained(run) -> nn.Module:
    """The network that a run kept in model.pt."""
    config = run.config
    model = mlp(64, 10, width=config.width, depth=config.depth, activation=lambda: activation_module(config.design))
    model.load_state_dict(run.weights)
    return model


def measured(run, split: str) -> Measurement:
    """What the kept network does on a split of the digits."""
    model, data = trained(run), data_sets.load("digits", seed=run.config.seed)
    activations = [layer for layer in model if not isinstance(layer, nn.Flatten | nn.Linear)]
    return measure(model, activations, getattr(data, f"x_{split}"), getattr(data, f"y_{split}"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What a run writes


def test_run_writes_its_four_files_and_nothing_else(finished):
    assert set(contents(finished.folder)) == {"config.json", "metrics.jsonl", "model.pt", "summary.json"}


def test_config_holds_the_options_the_data_the_design_and_the_theory(finished):
    written = finished.written_config
    assert {name: written[name] for name in vars(finished.config)} == vars(finished.config)
    assert (written["inputs"], written["classes"]) == (64, 10)
    assert written["input_mean_square"] == pytest.approx(1, abs=1e-6)
    assert CriticalInit.from_dict(written["design"]) == finished.config.design
    assert len(written["theory_variance"]) == finished.config.depth
    # What `predict` needs to normalise rows of a file, without the data set.
    assert written["input_shape"] == [64]
    assert (written["input_mean"], written["input_std"]) == pytest.approx((4.88, 6.01), abs=0.1)  # of all digits
    assert set(written) == {*vars(finished.config), "inputs", "classes", "input_shape", "input_mean", "input_std",
                            "input_mean_square", "design", "theory_variance", "theory_lr"}  # fmt: skip


def test_metrics_have_a_line_for_the_start_and_for_each_epoch(finished):
    rows = finished.metrics
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert set(row) == {"epoch", *LOSSES, *FRACTIONS, "train_accuracy", "layer_variance", "layer_sparsity",
                            "diverged", "seconds"}  # fmt: skip
        assert all(0 <= row[name] <= 1 for name in (*FRACTIONS, "train_accuracy"))
        assert all(row[name] > 0 for name in LOSSES)
        assert len(row["layer_variance"]) == len(row["layer_sparsity"]) == finished.config.depth
        assert row["test_sparsity"] == pytest.approx(np.mean(row["layer_sparsity"]))
        assert row["diverged"] is False
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_summary_is_returned_and_written_with_every_key_in_its_range(finished):
    summary = finished.summary
    assert summary == finished.returned
    assert set(summary) == {*FRACTIONS, "diverged", "best_epoch", "epochs", "lr", "parameters",
                            "initial_weights_sha256", "device", "seconds"}  # fmt: skip
    assert all(0 <= summary[name] <= 1 for name in FRACTIONS)
    assert summary["diverged"] is False
    assert summary["epochs"] == 2
    assert summary["lr"] == finished.config.lr
    assert summary["parameters"] == 64 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10
    assert int(summary["initial_weights_sha256"], 16) < 2**256
    assert summary["device"] == "cpu"
    assert summary["seconds"] > finished.metrics[-1]["seconds"]


def test_summary_reports_the_epoch_with_the_best_validation_accuracy(finished):
    rows = finished.metrics
    best = rows[finished.summary["best_epoch"]]
    assert best["validation_accuracy"] == max(row["validation_accuracy"] for row in rows)
    assert {name: finished.summary[name] for name in FRACTIONS} == {name: best[name] for name in FRACTIONS}


def test_kept_weights_reproduce_the_test_accuracy_exactly(finished):
    found = measured(finished, "test")
    assert found.accuracy == finished.summary["test_accuracy"]
    assert found.sparsity == finished.summary["test_sparsity"]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_each_split_is_measured_on_its_own_examples(run, split):
    untrained = run(epochs=0)
    row, found = untrained.metrics[0], measured(untrained, split)
    assert (row[f"{split}_loss"], row[f"{split}_accuracy"]) == (found.loss, found.accuracy)


def test_training_beats_the_untrained_network(run):
    rows = run(epochs=6).metrics
    assert rows[-1]["test_accuracy"] > 0.5 > rows[0]["test_accuracy"]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_no_epochs_keep_the_initial_weights(run):
    untrained = run(epochs=0)
    assert [row["epoch"] for row in untrained.metrics] == [0]
    assert digest(trained(untrained)) == untrained.summary["initial_weights_sha256"]


# What decides a run


def test_same_seed_makes_the_same_run(run, finished):
    again = run()
    assert again.timeless_metrics == finished.timeless_metrics
    assert again.summary["initial_weights_sha256"] == finished.summary["initial_weights_sha256"]
    assert all(torch.equal(again.weights[name], value) for name, value in finished.weights.items())


def test_another_seed_makes_another_run(run, finished):
    other = run(seed=1)
    assert other.summary["initial_weights_sha256"] != finished.summary["initial_weights_sha256"]
    assert all(one != another for one, another in zip(other.metrics, finished.metrics, strict=True))


@pytest.fixture
def tried(monkeypatch):
    """Puts rates in place of those around theory's."""

    def put(*rates: float) -> None:
        monkeypatch.setattr(Start, "theory_lr", lambda _: 1.0)
        monkeypatch.setattr(trainer, "RATE_FACTORS", rates)

    return put


@pytest.mark.parametrize("rates", [(10.0, 1e-3), (1e-3, 10.0)])
def test_rate_with_the_lowest_validation_loss_is_chosen(run, finished, tried, rates):
    """The sane rate wins wherever it stands, and the run is then the one that is given this rate."""
    tried(*rates)
    searched = run(lr=None)
    assert searched.summary["lr"] == searched.written_config["lr"] == 1e-3
    assert searched.timeless_metrics == finished.timeless_metrics


def test_each_rate_is_judged_by_an_epoch_half_of_it_at_its_peak(run, tried, capsys):
    """Whatever schedule the run itself has."""
    rates = (1e-3, 3e-2, 0.3)
    trial = {"epochs": 1, "warmup": 0.5, "schedule": "constant"}
    losses = {lr: run(lr=lr, **trial).metrics[1]["validation_loss"] for lr in rates}
    best = min(losses, key=losses.get)
    assert best == 3e-2  # the one in the middle: neither the first nor the last, the smallest nor the largest
    tried(*rates)
    capsys.readouterr()
    assert run(lr=None).summary["lr"] == best
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [f"lr {lr:g}: validation loss {loss:.4f} after one epoch" for lr, loss in losses.items()]


def test_rate_that_diverges_is_not_chosen(run, tried):
    tried(ABSURD_RATE, 1e-3)
    assert run(activation="relu-tau", slope=None, lr=None).summary["lr"] == 1e-3


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_rates_tried_are_factors_of_theory_s(run, capsys, optimizer):
    tried = run(lr=None, optimizer=optimizer, epochs=1, batch_size=500, width=8)
    theory = tried.written_config["theory_lr"]
    factors = (1 / 256, 1 / 64, 1 / 16, 1 / 4) if optimizer == "sgd" else (1 / 4, 1 / 2, 1, 2)
    said = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("lr ")]
    assert said == [f"lr {factor * theory:g}" for factor in factors]
    assert tried.summary["lr"] in [factor * theory for factor in factors]


def test_divergence_ends_the_run_and_is_recorded(run):
    diverged = run(activation="relu-tau", slope=None, lr=ABSURD_RATE, epochs=5)
    rows = diverged.metrics
    assert [row["diverged"] for row in rows] == [False, True]
    assert rows[-1]["train_loss"] is None
    assert rows[-1]["validation_loss"] is None
    assert diverged.summary["diverged"] is True
    assert diverged.summary["epochs"] == 1
    assert diverged.summary["best_epoch"] == 0
    assert digest(trained(diverged)) == diverged.summary["initial_weights_sha256"]


def test_divergence_in_the_last_step_is_recorded(run):
    """One step an epoch: the loss of the only batch is still finite, what it leads to is not."""
    diverged = run(activation="relu-tau", slope=None, lr=ABSURD_RATE, epochs=1, batch_size=5000)
    assert diverged.metrics[-1]["validation_loss"] is None
    assert diverged.summary["diverged"] is True
    assert diverged.summary["best_epoch"] == 0


# What an exported initializer decides


def test_weights_trained_from_are_those_of_the_exported_file(run, exported, finished):
    path = exported()
    started = run(initializer=str(path))
    assert rebuilt_digest(started.config, path) == started.summary["initial_weights_sha256"]
    # The export draws what gpsym draws, so that the whole run is the same.
    assert started.timeless_metrics == finished.timeless_metrics


def test_initializer_of_the_exported_file_is_the_one_that_runs(run, exported, finished):
    path = exported(old="Rule(1.0, 0.0)", new="Rule(4.0, 0.0)")
    started = run(initializer=str(path), epochs=0)
    assert rebuilt_digest(started.config, path) == started.summary["initial_weights_sha256"]
    assert started.summary["initial_weights_sha256"] != finished.summary["initial_weights_sha256"]


def test_export_with_another_activation_is_refused(small_config, exported, tmp_path):
    path = exported(old="return clipped_relu(", new="return 0 * clipped_relu(")
    with pytest.raises(ValueError, match="need an initializer for clipped-relu, got another activation"):
        train(small_config(initializer=str(path)), tmp_path / "run")


def test_export_of_another_design_is_refused(small_config, exported, tmp_path):
    config = small_config(initializer=str(exported(slope=0.5)))
    with pytest.raises(ValueError, match=r"initializer for the run's own design, got sigma_w2 = .*and 7\.33"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# What theory says of the start


def phi_moments(design: CriticalInit, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E phi^2 and E phi^4 of the clipped ReLU at the variances q, by the trapezoidal rule, to about 1e-5."""
    z = np.linspace(-10, 10, 8001)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    phi = np.clip(np.sqrt(q)[:, None] * z - design.tau, 0, design.m)  # (inputs, points)
    return np.trapezoid(phi**2 * weight, z, axis=1), np.trapezoid(phi**4 * weight, z, axis=1)


def layer_theory(design: CriticalInit, squares: np.ndarray, width: int, depth: int) -> list[tuple[float, float]]:
    """Mean over inputs of the variance of each layer, and a standard error of the measured one at finite width.

    squares  |x|^2 / (inputs E[x^2]) of each input.

    For one input the variances are a Markov chain, q -> sigma_w2 mean phi^2 + sigma_b2 over n units, of variance
    sigma_w2^2 Var(phi^2) / n; errors grow by V' from layer to layer, and the mean square of n units measures q
    with variance 2 q^2 / n.  The standard error of a mean over inputs is at most the mean of theirs.
    """
    q, variance, layers = design.sigma_b2 + (design.q_star - design.sigma_b2) * squares, 0.0, []
    for _ in range(depth):
        layers.append((q.mean(), np.sqrt(2 * q**2 / width + variance).mean()))
        second, fourth = phi_moments(design, q)
        beyond, _ = phi_moments(design, 1.001 * q)
        slope = design.sigma_w2 * (beyond - second) / (0.001 * q)
        variance = slope**2 * variance + design.sigma_w2**2 * (fourth - second**2) / width
        q = design.sigma_w2 * second + design.sigma_b2
    return layers


@pytest.mark.parametrize(("sparsity", "slope"), [(0.5, 0.9), (0.85, 0.7)])
def test_wide_network_starts_with_the_variances_of_theory(run, sparsity, slope):
    """Each layer within 3 standard errors; q_star is not 1 so that nothing hides in its square."""
    wide = run(width=1000, depth=3, epochs=0, q_star=3.0, sparsity=sparsity, slope=slope)
    x = data_sets.load("digits").x_test
    expected = layer_theory(wide.config.design, x.square().mean(1).double().numpy(), width=1000, depth=3)
    # The quadrature is good to 1e-5, the sum over the inputs in float32 to 1e-6.
    assert wide.written_config["theory_variance"] == pytest.approx([mean for mean, _ in expected], rel=1e-4)
    for measured, (mean, error) in zip(wide.metrics[0]["layer_variance"], expected, strict=True):
        assert abs(measured - mean) < 3 * error
        assert error < 0.1 * mean


@pytest.mark.parametrize("q_star", [0.25, 1.0, 3.0])
def test_theory_stays_at_q_star_where_every_input_has_the_mean_square_of_all(run, alike, q_star):
    theory = run(data=alike, q_star=q_star, depth=10, epochs=0).written_config["theory_variance"]
    assert theory == pytest.approx([q_star] * 10, rel=1e-9)  # rounding of the closed form, ten times


def test_theory_of_the_shifted_relu_grows_with_depth(run):
    """V is convex and at the edge of chaos V(q) > q for all q other than q_star, so the mean over inputs grows."""
    theory = run(activation="relu-tau", slope=None, depth=10, epochs=0).written_config["theory_variance"]
    assert all(later > earlier for earlier, later in itertools.pairwise(theory))


# What is refused


def test_folder_that_holds_a_run_is_refused_and_left_as_it_was(finished, small_config):
    before = contents(finished.folder)
    with pytest.raises(ValueError, match=r"need a folder without a run, got .*run, which holds one"):
        train(small_config(seed=5), finished.folder)
    assert contents(finished.folder) == before


def test_folder_below_a_missing_one_is_refused_and_not_made(small_config, tmp_path):
    with pytest.raises(ValueError, match=r"need an existing folder .*create .*missing first"):
        train(small_config(), tmp_path / "missing" / "run")
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "nosuch"}, "got nosuch"),
        ({"sparsity": 1.5}, "need sparsity in"),
        ({"slope": None}, "need one of slope"),
        ({"initializer": "nosuch.py"}, "need a file written by gpsym export --framework torch, got nosuch.py"),
    ],
)
def test_refused_run_leaves_no_folder(small_config, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(small_config(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cuda_is_refused_where_there_is_none(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="need a CUDA device for --device cuda, got none; use --device cpu"):
        train(small_config(device="cuda"), tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", -1),
        ("width", 0),
        ("depth", 0),
        ("batch_size", 0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("lr", 0.0),
        ("lr", -1e-3),
        ("device", "tpu"),
    ],
)
def test_configuration_out_of_range_is_refused(small_config, name, value):
    with pytest.raises(ValueError, match=rf"run: need .*{name}.*got {value};"):
        small_config(**{name: value})
