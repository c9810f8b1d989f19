"""Runs that are killed, that find the disk full or a file damaged: nothing is lost, and what is wrong is said."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gpsym.files import PARTIAL
from training import checkpoint, trainer
from training.records import Records
from training.trainer import resume, train, train_or_resume

ROOT = Path(__file__).parents[2]
FILES = {"config.json", "metrics.jsonl", "model.pt", "summary.json"}


class Killed(BaseException):
    """What no handler of errors catches."""


def die(*_) -> None:
    raise Killed


def assert_same_run(folder: Path, expected: Path) -> None:
    """The same files, metrics, summary and weights bit for bit, but for seconds; nothing is left of checkpoints."""
    assert {path.name for path in folder.iterdir()} == FILES
    assert (folder / "model.pt").read_bytes() == (expected / "model.pt").read_bytes()
    for name in ("metrics.jsonl", "summary.json", "config.json"):
        assert without_seconds(folder / name) == without_seconds(expected / name)


def without_seconds(path: Path) -> list[dict]:
    text = path.read_text()
    parts = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    return [{name: value for name, value in part.items() if name != "seconds"} for part in parts]


@pytest.fixture
def config(small_config):
    """Two epochs of five steps each, a checkpoint after each step."""
    return small_config(width=8, batch_size=260, checkpoint_every=1)


@pytest.fixture
def whole(config, tmp_path) -> Path:
    """The run without interruption."""
    train(config, tmp_path / "whole")
    return tmp_path / "whole"


@pytest.fixture
def interrupted(config, tmp_path, monkeypatch) -> Callable[[int], Path]:
    """A run that ended in the middle of its so-many-th checkpoint."""

    def start(number: int = 8) -> Path:
        folder, save, saved = tmp_path / "interrupted", checkpoint.save, 0

        def dying(*arguments) -> None:
            nonlocal saved
            saved += 1
            if saved == number:
                raise Killed
            save(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "save", dying)
            with pytest.raises(Killed):
                train(config, folder)
        return folder

    return start


# Death


def test_runs_killed_at_twenty_random_moments_end_as_the_one_that_was_not(tmp_path):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killing.py")), str(tmp_path), "20", "0"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert len(kills) == 20
    assert sum(kill["resumable"] for kill in kills) >= 5  # later than the first checkpoint
    for folder in tmp_path.glob("run-*"):
        assert_same_run(folder, tmp_path / "whole")


@pytest.mark.parametrize("torn", [pytest.param(False, marks=pytest.mark.deep), True])
def test_death_at_any_call_that_writes_loses_nothing(config, whole, tmp_path, monkeypatch, torn):
    """Every kind of call in turn; torn: what was written is only half there, as when the power goes."""
    real = {name: getattr(os, name) for name in ("fsync", "replace", "unlink")}
    calls: list[str] = []
    deadly = 0

    def wrap(name: str):
        def call(*arguments, **options):
            calls.append(name)
            if len(calls) == deadly:
                if name == "fsync" and torn and stat.S_ISREG(os.fstat(arguments[0]).st_mode):
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
                raise Killed
            return real[name](*arguments, **options)

        return call

    for name in real:
        monkeypatch.setattr(os, name, wrap(name))
    train(config, tmp_path / "counted")
    count, steps = len(calls), 0
    assert count > 60  # four and more for each of the eleven checkpoints, and the files of the run
    for deadly in range(1, count + 1, 7):
        folder = tmp_path / f"killed-{deadly}"
        calls.clear()
        with pytest.raises(Killed):
            train(config, folder)
        deadly = 0
        train_or_resume(config, folder)
        assert_same_run(folder, whole)
        steps += 1
    assert steps >= 10


def test_a_finished_run_is_resumed_at_once(finished, monkeypatch):
    """And checkpoints that death left behind it are removed."""
    summary = finished.summary
    monkeypatch.setattr(trainer, "_run", die)
    checkpoint.save(finished.folder, {}, {})
    assert resume(finished.folder) == summary
    assert {path.name for path in finished.folder.iterdir()} == FILES


def test_resume_goes_on_where_the_checkpoint_was(interrupted, monkeypatch):
    """The eighth checkpoint would have been that of step 7: one behind epoch 0, five of epoch 1, then step 6."""
    folder, steps = interrupted(8), []
    monkeypatch.setattr(trainer.Epochs, "_one_step", lambda self, group: steps.append(self.steps_done))
    resume(folder)
    assert steps == [6, 7, 8, 9]


@pytest.mark.parametrize("written", [0, 40])
def test_death_between_a_checkpoint_and_its_row_loses_no_row(config, whole, tmp_path, monkeypatch, written):
    """None of the row of epoch 1 is in metrics.jsonl, or its first 40 characters."""

    def dying(files, row) -> None:
        if row["epoch"] == 1:
            with (files.folder / "metrics.jsonl").open("a") as log:
                log.write(json.dumps(row)[:written])
            raise Killed
        write(files, row)

    write = Records.row
    with monkeypatch.context() as patch:
        patch.setattr(Records, "row", dying)
        with pytest.raises(Killed):
            train(config, tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_death_while_the_rate_is_chosen_starts_the_choice_again(small_config, tmp_path, monkeypatch):
    config = small_config(width=8, batch_size=500, lr=None)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "_bar", die)
        with pytest.raises(Killed):
            train(config, tmp_path / "run")
    train(config, tmp_path / "whole")
    train_or_resume(config, tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_content_is_on_the_disk_before_its_name_and_the_name_before_anything_else(tmp_path, monkeypatch):
    """Of power failures: by the calls in their order, as none can be had here."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        status = os.fstat(descriptor)
        calls.append("folder" if stat.S_ISDIR(status.st_mode) else f"file of {status.st_size}")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        calls.append(f"{'partial' if source.match(PARTIAL) else source.name} -> {target.name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    checkpoint.write_durably(tmp_path / "model.pt", b"12345")
    assert calls == ["file of 5", "partial -> model.pt", "folder"]
    checkpoint.save(tmp_path, {}, {})
    calls.clear()
    checkpoint.save(tmp_path, {}, {})
    size = (tmp_path / "checkpoint.pt").stat().st_size
    assert calls == [f"file of {size}", "checkpoint.pt -> checkpoint.previous.pt",
                     "partial -> checkpoint.pt", "folder"]  # fmt: skip


# Damage


def flip(path: Path, byte: int = -100) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:50]),
                                    lambda path: path.write_bytes(b"")])  # fmt: skip
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(interrupted, whole, capsys, damage):
    folder = interrupted()
    damage(folder / "checkpoint.pt")
    resume(folder)
    message = capsys.readouterr().err
    assert message == (
        f"checkpoint: {folder}/checkpoint.pt is corrupt; going on from checkpoint.previous.pt, the one before it.\n"
    )
    assert_same_run(folder, whole)


def test_any_changed_bit_is_noticed(tmp_path):
    checkpoint.save(tmp_path, {"weights": torch.arange(5.0)}, {})
    content = (tmp_path / "checkpoint.pt").read_bytes()
    for byte in np.random.default_rng(0).choice(len(content), 100, replace=False):
        flip(tmp_path / "checkpoint.pt", byte)
        with pytest.raises(ValueError, match="need a whole checkpoint to go on from"):
            checkpoint.load(tmp_path, {}, dict)
        (tmp_path / "checkpoint.pt").write_bytes(content)
    assert checkpoint.load(tmp_path, {}, dict)[0]["weights"].tolist() == [0, 1, 2, 3, 4]


def test_two_damaged_checkpoints_are_refused_and_all_is_kept(interrupted):
    folder = interrupted()
    flip(folder / "checkpoint.pt")
    flip(folder / "checkpoint.previous.pt")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match=r"checkpoint: need a whole checkpoint .*checkpoint\.pt and .*previous\.pt"):
        resume(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


class FullDisk:
    """A file that takes so many more bytes, in all files together."""

    room = 0

    def __init__(self, file):
        self._file = file

    def write(self, content):
        FullDisk.room -= len(content)
        if FullDisk.room < 0:
            self._file.write(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._file.write(content)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
def test_a_full_disk_is_said_and_nothing_is_lost(config, whole, tmp_path, monkeypatch, share):
    opened = Path.open

    def full(path, mode="r", **options):
        file = opened(path, mode, **options)
        return file if mode.startswith("r") else FullDisk(file)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        FullDisk.room = enough = 10**9
        train(config, tmp_path / "measured")
        FullDisk.room = round(share * (enough - FullDisk.room))
        with pytest.raises(ValueError, match=r"run: need room for .*, got No space left on device; make some, then"):
            train(config, tmp_path / "run")
    assert not list((tmp_path / "run").glob(PARTIAL))
    train_or_resume(config, tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def test_a_missing_data_file_is_named_and_the_run_kept(small_config, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(100, 6)), y=np.arange(100) % 3)
    config = small_config(data=str(tmp_path / "data.npz"), width=8)
    with monkeypatch.context() as patch:
        patch.setattr(Records, "summary", die)
        with pytest.raises(Killed):
            train(config, tmp_path / "run")
    shutil.move(tmp_path / "data.npz", tmp_path / "away.npz")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ValueError, match=r"data: need .*an existing \.npz file.*got .*data\.npz; pass one"):
        resume(tmp_path / "run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    shutil.move(tmp_path / "away.npz", tmp_path / "data.npz")
    train(config, tmp_path / "whole")
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_divergence_is_said_in_one_sentence_and_the_best_weights_are_kept(run, capsys):
    diverged = run(activation="relu-tau", slope=None, lr=1e30, epochs=5)
    assert capsys.readouterr().err == (
        "run: need a finite loss, got one that is not in epoch 1, where training ended; the weights of epoch 0 are "
        "kept; try a lower --lr or --clip-norm 1.\n"
    )
    assert {path.name for path in diverged.folder.iterdir()} == FILES
    assert all(weight.isfinite().all() for weight in diverged.weights.values())


# What is refused


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"need the folder of a run, got .*, which has no config\.json"):
        resume(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}", ""])
def test_a_damaged_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"^run: need (JSON|a JSON object|the field data) in .*config\.json, got "):
        resume(tmp_path)


def test_another_configuration_is_not_resumed(finished, small_config):
    with pytest.raises(ValueError, match=r"need the seed of the run in .*, 0, got 1;"):
        train_or_resume(small_config(seed=1), finished.folder)
    assert train_or_resume(small_config(lr=None), finished.folder) == finished.summary  # the rate was chosen
