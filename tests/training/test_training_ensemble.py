"""Ensembles: many runs as one network come to what each comes to by itself."""

import hashlib
import json
import math
from dataclasses import replace

import pytest
import torch

from gpsym import Activation
from gpsym.members import member
from gpsym.torch import PiecewisePolynomial
from training.ensemble.epochs import EnsembleEpochs
from training.ensemble.stack import Ramps
from training.ensemble.together import in_ensembles
from training.records import Records
from training.trainer import train

# Two activations without a clip, two with one, and another sparsity and q*.
MEMBERS = (
    {"activation": "relu", "sparsity": None, "slope": None},
    {"activation": "soft-threshold", "sparsity": 0.7, "slope": None},
    {"activation": "crelu", "sparsity": 0.85, "slope": 0.7},
    {"activation": "cst", "sparsity": 0.7, "slope": 0.5, "q_star": 2.0},
)
# Networks follow one another for this long; later, rounding makes itself felt in single examples.
SETTINGS = {
    "mlp": {"depth": 4},
    "residual": {"depth": 4, "alpha": 0.5},
    "cnn": {"model": "cnn", "width": 8, "depth": 4},
    "transformer": {"model": "transformer", "width": 8, "depth": 2},
    "scaled": {"depth": 4, "input_scale": "hidden"},
    "sgd": {"optimizer": "sgd", "lr": 1e-2},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "clip_norm": 0.1},
    "accumulated": {"accumulate": 2, "schedule": "constant"},
}


def close(one, other):
    """Equal up to the rounding of sums in another order: float32, some hundred steps."""
    assert set(one) == set(other)
    for name in set(one) - {"seconds", "lr", "parameters", "initial_weights_sha256", "device"}:
        assert one[name] == pytest.approx(other[name], rel=2e-3, abs=4e-3), name


@pytest.fixture
def members(small_config):
    def make(**changes):
        return [small_config(**{**member, "seed": seed, **changes}) for member in MEMBERS for seed in (0, 1)]

    return make


def trained_together(configs, folder, size=100):
    folder.mkdir()
    runs = {folder / f"run{number}": config for number, config in enumerate(configs)}
    return dict(in_ensembles(size)(runs))


@pytest.mark.parametrize(
    "setting", [pytest.param(s, marks=pytest.mark.deep) if s in ("cnn", "transformer") else s for s in SETTINGS]
)
def test_members_come_to_what_they_come_to_alone(setting, members, tmp_path):
    configs = members(**SETTINGS[setting])
    together = trained_together(configs, tmp_path / "together")
    for number, (config, (folder, summary)) in enumerate(zip(configs, together.items(), strict=True)):
        alone = tmp_path / f"alone{number}"
        own = train(config, alone)
        close(summary, own)
        assert summary["initial_weights_sha256"] == own["initial_weights_sha256"]
        assert json.loads((folder / "config.json").read_text()) == json.loads((alone / "config.json").read_text())
        rows = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for f in (folder, alone)]
        for mine, theirs in zip(*rows, strict=True):
            close(mine, theirs)
        weights, theirs = (torch.load(f / "model.pt", weights_only=True) for f in (folder, alone))
        assert weights.keys() == theirs.keys()


def test_a_member_that_diverges_freezes_and_the_others_do_not_notice(members, tmp_path):
    """At a rate of 1e25 the loss of ReLU networks overflows."""
    sound = members(depth=4)
    wild = [replace(config, lr=1e25) if config.activation == "relu" else config for config in sound]
    calm = list(trained_together(sound, tmp_path / "calm").values())
    mixed = list(trained_together(wild, tmp_path / "mixed").values())
    for config, summary, other, folder in zip(wild, mixed, calm, sorted((tmp_path / "mixed").iterdir()), strict=True):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        if config.activation != "relu":
            close(summary, other)
            assert len(rows) == 1 + config.epochs
            continue
        assert (summary["diverged"], summary["best_epoch"], len(rows)) == (True, 0, 2)
        assert rows[1]["train_loss"] is None
        start = train(replace(config, epochs=0), tmp_path / f"start{folder.name}")
        assert digest_of(folder) == start["initial_weights_sha256"]


def digest_of(folder):
    sha = hashlib.sha256()
    for tensor in torch.load(folder / "model.pt", weights_only=True).values():
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()


def test_all_may_diverge(small_config, tmp_path):
    configs = [small_config(activation="relu", sparsity=None, slope=None, lr=1e25, epochs=5)]
    (summary,) = trained_together(configs, tmp_path / "t").values()
    assert (summary["diverged"], summary["epochs"]) == (True, 1)


def test_rates_are_chosen_for_each_member(members, tmp_path):
    configs = members(lr=None, epochs=1)[::2]
    for config, summary in zip(configs, trained_together(configs, tmp_path / "t").values(), strict=True):
        own = train(config, tmp_path / f"alone-{config.activation}")
        assert summary["lr"] == own["lr"]


def seen_by(monkeypatch, method, look):
    """What `look` makes of the arguments of each call of that method of EnsembleEpochs."""
    seen, original = [], getattr(EnsembleEpochs, method)

    def watched(*args):
        seen.append(look(*args))
        return original(*args)

    monkeypatch.setattr(EnsembleEpochs, method, watched)
    return seen


def timeless(folder):
    files = {}
    for path in sorted(folder.rglob("*.json*")):
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else []
        values = lines or [json.loads(path.read_text())]
        files[path.relative_to(folder)] = [{k: v for k, v in line.items() if k != "seconds"} for line in values]
    return files


@pytest.mark.parametrize("moment", ["in an epoch", "between summaries", "between checkpoint and row"])
def test_a_table_that_was_cut_off_goes_on_bit_for_bit(moment, members, tmp_path, monkeypatch):
    configs = members(epochs=3)
    trained_together(configs, tmp_path / "whole")
    monkeypatch.setattr("training.ensemble.together._CHECKPOINT_SHARE", math.inf)  # after every epoch
    owner, name = {"in an epoch": (EnsembleEpochs, "next"), "between summaries": (Records, "summary"),
                   "between checkpoint and row": (Records, "row")}[moment]  # fmt: skip
    calls = iter(range({"in an epoch": 2, "between summaries": 3}.get(moment, 2 * len(configs))))
    original = getattr(owner, name)

    def dying(self, *args):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return original(self, *args)

    with monkeypatch.context() as context:
        context.setattr(owner, name, dying)
        with pytest.raises(KeyboardInterrupt):
            trained_together(configs, tmp_path / "cut")
    epochs = seen_by(monkeypatch, "next", lambda self, bar: self.epoch)
    runs = {tmp_path / "cut" / f"run{number}": config for number, config in enumerate(configs)}
    assert len(dict(in_ensembles(100)(runs))) == len(configs)
    assert epochs == {"in an epoch": [2, 3], "between summaries": [], "between checkpoint and row": [3]}[moment]
    assert timeless(tmp_path / "cut") == timeless(tmp_path / "whole")
    assert not (tmp_path / "cut" / "ensemble").exists()


def test_the_runs_of_another_table_are_left_alone(members, tmp_path, monkeypatch):
    """Another rate makes other runs of the same names; other names make another table."""
    (tmp_path / "t").mkdir()
    monkeypatch.setattr("training.ensemble.together._finish", lambda epochs, files, save: (save(), 1 / 0))
    runs = {tmp_path / "t" / f"run{n}": config for n, config in enumerate(members(epochs=0))}
    with pytest.raises(ZeroDivisionError):
        list(in_ensembles(9)(runs))
    monkeypatch.undo()
    before = {path: path.read_bytes() for path in (tmp_path / "t").rglob("*") if path.is_file()}
    others = {folder: replace(config, lr=1e-4) for folder, config in runs.items()}
    with pytest.raises(ValueError, match=r"^run: need the lr of the run in .*run0, .*, got 0\.0001; "):
        list(in_ensembles(9)(others))
    renamed = {folder.with_name(f"other-{folder.name}"): config for folder, config in runs.items()}
    with pytest.raises(
        ValueError, match=r"^table: need a folder without runs of another table, got .*ensemble, whose "
    ):
        list(in_ensembles(9)(renamed))
    assert {path: path.read_bytes() for path in (tmp_path / "t").rglob("*") if path.is_file()} == before
    assert len(dict(in_ensembles(9)(runs))) == len(runs)


def test_ensembles_hold_members_of_one_shape_and_no_more_than_wanted(members, tmp_path, monkeypatch):
    sizes = seen_by(monkeypatch, "__init__", lambda self, starts, *others: len(starts))
    configs = members(epochs=0) + members(epochs=0, width=16)[:2]
    assert len(trained_together(configs, tmp_path / "t", size=3)) == len(configs)
    assert sizes == [3, 3, 2, 2]


def test_finished_runs_are_not_trained_again(members, tmp_path, monkeypatch):
    configs = members(epochs=0)
    first = trained_together(configs, tmp_path / "t")
    monkeypatch.setattr("training.ensemble.together._train", lambda *_: 1 / 0)
    assert dict(in_ensembles(3)(dict(zip(first, configs, strict=True)))) == first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"activation": "squared-relu", "sparsity": None, "slope": None},
            "ensemble: need a continuous piecewise-linear",
        ),
        ({"devices": 2}, "ensemble: need devices 1, got 2"),
        ({"telemetry": 1}, "ensemble: need telemetry 0, got 1"),
    ],
)
def test_what_cannot_be_stacked_is_refused(changes, message, small_config, tmp_path):
    with pytest.raises(ValueError, match=message):
        trained_together([small_config(**changes)], tmp_path / "t")


LINEAR = [
    member("clipped-relu", tau=0.5, m=1.5),
    member("identity"),
    member("leaky-relu"),
    member("abs"),
    member("hard-sigmoid"),
    member("clipped-soft-threshold", tau=0.3, m=0.7),
    Activation([-1, 1], [[2, 1], [1, 0], [0, 1]]),
]


@pytest.mark.parametrize("phi", LINEAR, ids=str)
def test_ramps_are_the_activation(phi):
    x = torch.linspace(-3, 3, 601, dtype=torch.float64)
    module = Ramps(phi, 7).double()
    expected = PiecewisePolynomial(phi)(x)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-6)  # the numbers are float32
    assert torch.equal(module(x) == 0, expected == 0) or phi.name == "hard-sigmoid"
