"""Run folders from elsewhere: nothing in them is executed, believed or unbounded, and each is told in one sentence."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from gpsym.plot import read_run
from training import checkpoint, tensors
from training.history import LARGEST_LOSS
from training.lock import lock_of
from training.predict import predict
from training.records import METRICS
from training.trainer import resume, train, train_or_resume

ROOT = Path(__file__).parents[2]


class Called:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


@pytest.fixture
def unfinished(small_config, tmp_path, monkeypatch) -> Path:
    """A run that was interrupted behind its second checkpoint."""
    save, saved = checkpoint.save, []

    def dying(*arguments) -> None:
        save(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            train(small_config(width=8), tmp_path / "unfinished")
    return tmp_path / "unfinished"


def change(path: Path, **changes) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not ...}))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# config.json


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": ...}, r"need the field width in .*config\.json, got none; add it\.$"),
        ({"colour": 1}, r"need the fields of a run in .*config\.json, got colour; remove it\.$"),
        ({"width": True}, "need width >= 1 in .*, got True; pass a larger whole number"),
        ({"width": 10**200}, "need width <= 1000000 in .*, got a whole number of 665 bits; pass a smaller"),
        ({"lr": "1e-3"}, r"need lr in \(0, 1e30\] in .*, got 1e-3"),
        ({"activation": ["crelu"]}, "need activation a text of <= 4096 characters in .*, got"),
        ({"input_std": 0}, r"need input_std in \(0, 1e30\] in .*, got 0"),
        ({"classes": 10**9}, "need classes that a run wrote in .*, got 1000000000"),
        ({"input_shape": [8, 9]}, "need as many inputs as input_shape has in .*, got 64"),
        ({"width": 10**6}, r"need weights of the run in .*model\.pt, got others \(.* has another shape"),
        ({"width": 16}, r"need weights of the run in .*model\.pt, got others"),
    ],
)  # fmt: skip
def test_a_configuration_outside_of_its_schema_is_refused(folder, changes, message):
    change(folder / "config.json", **changes)
    with pytest.raises(ValueError, match=message) as refusal:
        predict(folder)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"width": NaN}', "NaN is no JSON"),
        ('{"width": 1e400, "width": 2}', "a key is there twice"),
        ('{"width": ' + "9" * 5000 + "}", "a whole number of 5000 digits"),
        ("\ud7ff", "need JSON in"),
        ("null", "need a JSON object in"),
    ],
)
def test_text_that_is_no_sound_json_is_refused(folder, text, message):
    (folder / "config.json").write_text(text)
    for read in (predict, resume, read_run):
        with pytest.raises(ValueError, match=message):
            read(folder)


def test_a_file_larger_than_any_run_writes_is_not_read(folder):
    with (folder / METRICS).open("r+b") as file:
        file.truncate(2**33)
    with pytest.raises(ValueError, match=r"need at most 67108864 bytes in .*metrics\.jsonl, got 8589934592"):
        read_run(folder)


# summary.json and metrics.jsonl


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"test_accuracy": "x"}', '{"test_accuracy": [1]}'])
def test_a_summary_that_no_run_wrote_is_refused(folder, text):
    (folder / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=r"^run: need .* in .*summary\.json, got ") as refusal:
        resume(folder)
    assert "\n" not in str(refusal.value)
    if "x" not in text:  # a text is a value that a report may show
        with pytest.raises(ValueError, match=r"^run: need .* in .*summary\.json, got "):
            read_run(folder)


@pytest.mark.parametrize(
    "row",
    [
        '{"epoch": 1}', '{"epoch": true}', '{"epoch": 0, "train_loss": "1"}', '{"epoch": 0, "train_loss": {}}',
        '{"epoch": 0, "layer_variance": 5}', '{"epoch": 0, "layer_variance": [[1]]}', '{"epoch": 0, "x": 1e300}',
        '{"epoch": 0, "seconds": ' + "9" * 299 + "}", '{"epoch": 0', "",
    ],
)  # fmt: skip
def test_metrics_that_no_run_wrote_are_refused(folder, row):
    (folder / METRICS).write_text(row + "\n")
    with pytest.raises(ValueError, match=r"^run: need .*metrics\.jsonl, got "):
        read_run(folder)


# model.pt


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (Called(os.mkdir, "canary"), "mkdir"),
        (Called(bytearray, 10**12), "bytearray, which no file of a run has"),
        (Called(eval, "1"), "eval, which no file of a run has"),
        ([], "other names"),
        ({}, "other names"),
        ("text", "other names"),
    ],
)
def test_weights_that_are_anything_else_are_refused(folder, tmp_path, monkeypatch, state, message):
    monkeypatch.chdir(tmp_path)
    torch.save(state, folder / "model.pt")
    with pytest.raises(ValueError, match=rf"^predict: need weights of the run .*model\.pt, got others \(.*{message}"):
        predict(folder)
    assert not Path("canary").exists()


def test_weights_that_are_not_finite_are_refused(folder, finished):
    weights = finished.weights
    next(iter(weights.values()))[0, 0] = torch.nan
    torch.save(weights, folder / "model.pt")
    with pytest.raises(ValueError, match=r"got others \(.* has numbers that are not finite\); train again"):
        predict(folder)


def test_a_compressed_archive_is_not_unpacked(tmp_path):
    whole, packed = io.BytesIO(), io.BytesIO()
    torch.save(OrderedDict(x=torch.zeros(10_000_000)), whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert len(packed.getvalue()) < 2**17
    with pytest.raises(ValueError, match=r"^need x, got others \(a compressed archive\); train again"):
        tensors.unpickled(packed, 2**20, "need x")


# Checkpoints


def forge(path: Path, **changes) -> None:
    """Write a state with other parts, and the digest that belongs to it."""
    head, _, content = path.read_bytes()[hashlib.sha256().digest_size :].partition(b"\n")
    state = torch.load(io.BytesIO(content), weights_only=True)
    buffer = io.BytesIO()
    torch.save(state | changes, buffer)
    payload = head + b"\n" + buffer.getvalue()
    path.write_bytes(hashlib.sha256(payload).digest() + payload)


def test_a_state_that_was_not_changed_is_taken(unfinished):
    forge(unfinished / "checkpoint.pt")
    assert resume(unfinished)["epochs"] == 2


def test_a_run_may_be_interrupted_again_and_again(small_config, tmp_path, monkeypatch):
    """A checkpoint of a restored optimizer is taken, too."""
    config, saved, save = small_config(width=8, batch_size=260, checkpoint_every=1), [], checkpoint.save

    def dying(*arguments) -> None:
        save(*arguments)
        saved.append(1)
        if len(saved) % 3 == 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", dying)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                train_or_resume(config, tmp_path / "run")
    assert train_or_resume(config, tmp_path / "run")["epochs"] == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 16), ("lr", 0.5), ("seed", 7), ("batch_size", 16), ("optimizer", "sgd"), ("epochs", 3), ("alpha", 0.5)],
)
def test_a_checkpoint_goes_on_under_its_own_configuration_alone(unfinished, name, value):
    change(unfinished / "config.json", **{name: value})
    before = files(unfinished)
    with pytest.raises(ValueError, match=rf"^checkpoint: need the {name} with which .*, got {value}; put it back, or"):
        resume(unfinished)
    assert files(unfinished) == before


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": {}}, {"weights": "x"}, {"weights": None}, {"sums": torch.zeros(3)}, {"best_weights": []},
        {"sums": torch.full((2,), torch.nan, dtype=torch.float64)}, {"step": -1}, {"step": 10**9}, {"step": True},
        {"rows": []}, {"rows": [{}]}, {"rows": "x"}, {"best": {}}, {"seconds": -1.0}, {"elapsed": float("nan")},
        {"moments": None}, {"moments": {"state": {}, "param_groups": []}}, {"draws": torch.zeros(5)},
        {"extra": torch.zeros(10**6)},
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_with_a_digest_and_other_content_is_refused(unfinished, changes):
    forge(unfinished / "checkpoint.pt", **changes)
    before = files(unfinished)
    with pytest.raises(ValueError, match=r"^checkpoint: need .*checkpoint\.pt, got .*\.$"):
        resume(unfinished)
    assert files(unfinished) == before


# What is written, and by whom


def test_the_code_of_an_initializer_is_executed_only_if_it_is_named_again(unfinished, tmp_path):
    (tmp_path / "evil.py").write_text("import os; os.mkdir('canary')")
    change(unfinished / "config.json", initializer=str(tmp_path / "evil.py"))
    with pytest.raises(ValueError, match=r"^resume: need the initializer named again, .*pass --initializer .*evil\.py"):
        resume(unfinished)


def test_a_folder_of_other_files_is_left_alone(small_config, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"need a new or an empty folder, got .*, which holds notes\.txt; pass"):
        train(small_config(), tmp_path)
    assert files(tmp_path) == {"notes.txt": b"mine"}


def test_a_loss_out_of_reach_of_chance_is_a_divergence(run, capsys):
    wild = run(lr=1e9, epochs=1)
    assert wild.summary["diverged"] is True
    assert wild.metrics[-1]["validation_loss"] > LARGEST_LOSS
    assert "run: need a validation loss <= 103, got " in capsys.readouterr().err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_run_with_a_line_and_resume_comes_to_the_same(small_config, tmp_path, number, status):
    options = ["--activation", "crelu", "--sparsity", "0.85", "--slope", "0.7", "--width", "8", "--depth", "2",
               "--epochs", "12", "--batch-size", "32", "--lr", "1e-3", "--device", "cpu",
               "--checkpoint-every", "20"]  # fmt: skip
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    command = [sys.executable, "-m", "training", "run", *options, "--output", str(cut)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        while "epoch   3" not in child.stdout.readline():
            assert child.poll() is None
        child.send_signal(number)
        _, err = child.communicate()
    name = signal.Signals(number).name
    assert err == (
        f"python -m training: need to come to the end, got {name}; to go on, python -m training resume {cut}.\n"
    )
    assert child.returncode == status
    assert not lock_of(cut).exists()
    resume(cut)
    train(small_config(width=8, epochs=12, checkpoint_every=20), whole)
    assert (cut / "model.pt").read_bytes() == (whole / "model.pt").read_bytes()
    rows = [
        [json.loads(line) | {"seconds": 0} for line in (f / METRICS).read_text().splitlines()] for f in (cut, whole)
    ]
    assert rows[0] == rows[1]
