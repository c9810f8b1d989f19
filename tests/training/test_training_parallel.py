"""Two processes on the CPU, joined by gloo: they find what one finds, up to rounding."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training import devices
from training.records import read_summary
from training.trainer import train

ROOT = Path(__file__).parents[2]
# Sums of float32 in another order, after some dozens of steps.
ROUNDING = 1e-3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def two_processes(folder: Path) -> list[int]:
    """Exit statuses of both."""
    port, script = str(free_port()), str(Path(__file__).with_name("sharing.py"))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, script, str(folder), rank, port] for rank in ("0", "1")]
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for command in commands]
    return [process.wait(timeout=300) for process in started]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_metrics(folder: Path, expected: Path) -> None:
    ours, theirs = metrics(folder), metrics(expected)
    assert len(ours) == len(theirs)
    for row, other in zip(ours, theirs, strict=True):
        assert row.keys() == other.keys()
        for name in set(row) - {"seconds"}:
            assert row[name] == pytest.approx(other[name], rel=ROUNDING, abs=1e-9), name


@pytest.fixture
def configurations(small_config, tmp_path):
    """A convolutional network on images that two does not divide, augmented, accumulated and clipped: by copies, by
    shards, and a transformer by shards."""
    rng = np.random.default_rng(0)
    labels = np.arange(92) % 3
    images = rng.integers(0, 100, (92, 1, 8, 8))
    images[np.arange(92), :, 2 * labels + 1] += 150
    np.savez(tmp_path / "images.npz", x=images.astype(np.uint8), y=labels)
    shared = {"data": str(tmp_path / "images.npz"), "depth": 3, "batch_size": 7, "accumulate": 2, "clip_norm": 0.5,
              "augment": "shift-flip", "telemetry": 1, "checkpoint_every": 2}  # fmt: skip
    return {
        "a-copies": small_config(**shared, model="cnn", width=8),
        "b-shards": small_config(**shared, model="cnn", width=8, strategy="fsdp"),
        "c-shards": small_config(**shared, model="transformer", width=8, strategy="fsdp"),
    }


def test_two_processes_find_what_one_finds_and_go_on_after_their_end(configurations, small_config, tmp_path):
    folder = tmp_path / "two"
    folder.mkdir()
    for name, config in configurations.items():
        (folder / f"{name}.json").write_text(json.dumps(vars(config)))
    (folder / "die").touch()
    assert two_processes(folder) == [9, 9]
    assert (folder / "a-copies" / "checkpoint.pt").exists()
    (folder / "die").unlink()
    assert two_processes(folder) == [0, 0]
    for name, config in configurations.items():
        one = tmp_path / name
        train(small_config(**{**vars(config), "strategy": "auto"}), one)
        assert_same_metrics(folder / name, one)
        ours, theirs = read_summary(folder / name), read_summary(one)
        assert ours["parameters"] == theirs["parameters"]
        assert ours["initial_weights_sha256"] == theirs["initial_weights_sha256"]
        assert ours["best_epoch"] == theirs["best_epoch"]


@pytest.mark.deep
def test_the_command_starts_the_other_processes_itself(finished, tmp_path):
    options = "--data digits --sparsity 0.85 --slope 0.7 --width 32 --depth 2 --epochs 2 --batch-size 32 --lr 1e-3"
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", *options.split(), "--device", "cpu", "--devices", "2",
         "--output", str(tmp_path / "run")],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1  # one of them speaks
    assert done.stdout.count("epoch   2") == 1
    assert_same_metrics(tmp_path / "run", finished.folder)


def test_devices_that_are_not_there_are_refused(small_config, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ValueError, match="need devices <= 2, as many as CUDA has here, got 3; pass fewer"):
        devices.make_fabric(small_config(device="cuda", devices=3))
