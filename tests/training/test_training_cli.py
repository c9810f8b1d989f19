"""The command line: a run from end to end, its defaults, and one line for bad input."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from training import checkpoint, cli
from training.presets import Preset
from training.trainer import RunConfig

ROOT = Path(__file__).parents[2]
WISHES = ["--activation", "crelu", "--sparsity", "0.85", "--slope", "0.7"]
SMALL = [*WISHES, "--width", "32", "--depth", "2", "--epochs", "1", "--lr", "1e-3", "--device", "cpu"]


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "training", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs `python -m training` with these arguments in this process: (exit status, stdout, stderr)."""

    def start(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["training", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capfd.readouterr()

    return start


@pytest.fixture
def configured(invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The configuration and the folder that `training run` with these arguments would train with."""

    def start(*arguments: str) -> tuple[RunConfig, Path]:
        calls = []
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(cli, "train", lambda config, output: calls.append((config, output)) or {})
        assert invoke("run", *arguments)[0] == 0
        return calls[0]

    return start


def assert_refused(status: int, stdout: str, stderr: str, message: str) -> None:
    """Status 2 and one line on stderr that names the program and the trouble."""
    assert status == 2
    assert stdout == ""
    assert stderr.endswith("\n")
    assert len(stderr.splitlines()) == 1
    assert stderr.startswith("python -m training: ")
    assert message in stderr


def test_run_prints_its_summary_and_exits_0(tmp_path):
    folder = tmp_path / "run"
    done = in_a_process("run", "--data", "digits", *SMALL, "--output", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads((folder / "summary.json").read_text())
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[-len(summary) - 1 : -1]] == [[k, str(v)] for k, v in summary.items()]
    assert lines[-1] == f"wrote {folder}"


def test_bad_input_ends_the_process_with_one_line(tmp_path):
    done = in_a_process("run", "--data", "nosuch", *SMALL, "--output", str(tmp_path / "run"))
    assert_refused(done.returncode, done.stdout, done.stderr, "got nosuch; pass one.")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nosuch"], "got nosuch; pass one."),
        (["--data", "mnist", "--data-dir", "nowhere"], "need nowhere/mnist/train.parquet, got no such file"),
        (["--sparsity", "1.5"], "need sparsity in [0.5, 1) for clipped-relu, got 1.5"),
        (["--slope", "1"], "need slope in (0, 1) for clipped-relu, got 1.0"),
        (["--q-star", "-1"], "need q_star > 0, got"),
        (["--activation", "nosuch"], "nosuch"),
        (["--epochs", "-1"], "need epochs >= 0, got -1"),
        (["--epochs", "many"], "'many' is not a valid integer"),
        (["--lr", "nan"], "need lr in (0, 1e30], got nan"),
        (["--device", "tpu"], "need device auto, cpu or cuda, got tpu"),
        (["--initializer", "nosuch.py"], "need a file written by gpsym export --framework torch, got nosuch.py"),
        (["--bogus"], "No such option"),
        (["--model", "rnn"], "need model mlp, cnn or transformer, got rnn; pass one of them."),
        (["--alpha", "2"], "need alpha in (0, 1], got 2.0"),
        (["--augment", "shift"], "need images (channels, height, width) for augment shift"),
        (["--clip-norm", "0"], "need clip_norm in (0, oo), got 0.0"),
    ],
)
def test_bad_input_is_refused_in_one_line(invoke, tmp_path, arguments, message):
    assert_refused(*invoke("run", *SMALL, "--output", str(tmp_path / "run"), *arguments), message)
    assert list(tmp_path.iterdir()) == []


def test_missing_slope_is_refused_in_one_line(invoke, tmp_path):
    found = invoke("run", "--activation", "crelu", "--sparsity", "0.85", "--output", str(tmp_path / "run"))
    assert_refused(*found, "need one of slope (0, 1) and m for clipped-relu, got neither")


def test_output_below_a_missing_folder_is_refused_in_one_line(invoke, tmp_path):
    found = invoke("run", *SMALL, "--output", str(tmp_path / "missing" / "run"))
    assert_refused(*found, f"create {tmp_path / 'missing'} first")


def test_output_that_is_a_file_is_refused_in_one_line(invoke, tmp_path):
    (tmp_path / "run").write_text("taken")
    assert_refused(*invoke("run", *SMALL, "--output", str(tmp_path / "run")), "run")
    assert (tmp_path / "run").read_text() == "taken"


@pytest.mark.parametrize(("data", "epochs", "batch_size"), [("digits", 30, 32), ("mnist", 10, 128)])
def test_only_epochs_and_batch_size_follow_the_data_where_they_are_not_given(configured, data, epochs, batch_size):
    config, _ = configured("--data", data, *WISHES)
    assert config == RunConfig(data, "crelu", sparsity=0.85, slope=0.7, epochs=epochs, batch_size=batch_size)


def test_given_options_replace_the_defaults(configured):
    config, folder = configured("--data", "digits", *SMALL, "--batch-size", "7", "--seed", "3", "--output", "there")
    wished = {"activation": "crelu", "sparsity": 0.85, "slope": 0.7, "width": 32, "depth": 2, "epochs": 1, "lr": 1e-3,
              "device": "cpu", "batch_size": 7, "seed": 3}  # fmt: skip
    assert config == RunConfig(data="digits", **wished)
    assert folder == Path("there")


def test_run_without_output_goes_to_a_new_folder_in_runs(configured):
    _, folder = configured(*SMALL)
    assert folder.parent == Path("runs")
    assert folder.name.startswith("digits-crelu-")
    assert folder.parent.is_dir()
    assert not folder.exists()


def test_every_field_of_a_run_is_an_option():
    options = {name for parameter in cli.run_one.params for name in [parameter.name]}
    assert options == {field.name for field in fields(RunConfig)} | {"output", "go_on"}


def test_options_reach_the_configuration(configured):
    flags = {"--model": "cnn", "--alpha": "0.5", "--optimizer": "sgd", "--momentum": "0.8", "--weight-decay": "0.1",
             "--schedule": "constant", "--warmup": "0.2", "--accumulate": "3", "--clip-norm": "1", "--augment": "shift",
             "--precision": "bf16", "--devices": "2", "--strategy": "fsdp", "--telemetry": "5",
             "--checkpoint-every": "7"}  # fmt: skip
    config, _ = configured(*SMALL, *(part for pair in flags.items() for part in pair), "--compile", "--tensorboard")
    assert config == replace(
        configured(*SMALL)[0], model="cnn", alpha=0.5, optimizer="sgd", momentum=0.8, weight_decay=0.1,
        schedule="constant", warmup=0.2, accumulate=3, clip_norm=1.0, augment="shift", precision="bf16", devices=2,
        strategy="fsdp", telemetry=5, checkpoint_every=7, compile=True, tensorboard=True,
    )  # fmt: skip


def killed_run(invoke, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Leaves a run that got as far as its first checkpoint."""

    def save_and_die(*arguments: Any) -> None:
        save(*arguments)
        sys.exit(9)

    save = checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save_and_die)
        assert invoke("run", *SMALL, "--output", str(folder))[0] == 9
    assert not (folder / "summary.json").exists()


@pytest.mark.parametrize("command", [["resume"], ["run", *SMALL, "--resume", "--output"]])
def test_a_killed_run_is_resumed_by_two_commands(invoke, monkeypatch, tmp_path, command):
    assert invoke("run", *SMALL, "--output", str(tmp_path / "whole"))[0] == 0
    killed_run(invoke, monkeypatch, tmp_path / "run")
    status, stdout, _ = invoke(*command, str(tmp_path / "run"))
    assert status == 0
    assert "epoch   1" in stdout
    assert "epoch   0" not in stdout
    ours, whole = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("run", "whole"))
    assert ours | {"seconds": 0} == whole | {"seconds": 0}


def test_resume_keeps_the_place_of_the_run_unless_another_is_given(invoke, monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(cli, "resume", lambda run, **place: calls.append(place) or {})
    for options in ([], ["--device", "auto"], ["--devices", "2", "--strategy", "ddp", "--data-dir", "there"]):
        assert invoke("resume", str(tmp_path), *options)[0] == 0
    assert calls == [{}, {"device": "auto"}, {"devices": 2, "strategy": "ddp", "data_dir": "there"}]


def test_resume_of_nothing_is_refused_in_one_line(invoke, tmp_path):
    assert_refused(*invoke("resume", str(tmp_path / "nosuch")), "need the folder of a run, got")


def test_run_with_resume_starts_where_there_is_nothing(invoke, tmp_path):
    assert invoke("run", *SMALL, "--resume", "--output", str(tmp_path / "run"))[0] == 0
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_table_is_printed_and_written(invoke, tmp_path, monkeypatch):
    monkeypatch.setattr("training.table.PRESETS", {"mini-dnn": Preset({}, ({"activation": "relu"},), 1)})
    options = ["--data", "digits", "--width", "8", "--depth", "2", "--epochs", "0", "--device", "cpu"]
    status, stdout, _ = invoke("table", "mini-dnn", *options, "--output", str(tmp_path / "t"))
    assert status == 0
    assert (tmp_path / "t" / "table.md").read_text() in stdout


def test_a_table_is_trained_together_if_wanted(invoke, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("training.ensemble.together._train", lambda runs, home: seen.append(len(runs)) or iter(()))
    monkeypatch.setattr("training.table.PRESETS", {"mini-dnn": Preset({}, ({"activation": "relu"},), 5)})
    options = ["--data", "digits", "--width", "8", "--depth", "2", "--epochs", "0", "--device", "cpu", "--lr", "1e-3"]
    invoke("table", "mini-dnn", *options, "--output", str(tmp_path / "t"), "--together", "3")
    assert seen == [3, 2]
    assert_refused(*invoke("table", "mini-dnn", "--together", "0"), "ensemble: need a size >= 1, got 0")
    assert_refused(*invoke("table", "mini-dnn", "--together", "2", "--workers", "2"), "pass one of them")


def test_an_unknown_table_leaves_no_folder(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(*invoke("table", "grand"), "need one of paper-dnn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "0"], "need workers >= 1, got 0; pass"),
        (["--workers", "two"], "'two' is not a valid integer"),
        (["--cluster", "auto"], "--cluster needs --workers, the most runs at a time; pass it."),
        (
            ["--workers", "2", "--cluster", "nosuch"],
            "need a Ray cluster that answers at HOST:PORT or auto, got nosuch (",
        ),
    ],
)
def test_bad_workers_of_a_table_are_refused_in_one_line(invoke, tmp_path, arguments, message):
    assert_refused(*invoke("table", "mini-dnn", *arguments, "--output", str(tmp_path / "t")), message)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("command", [["run", *SMALL], ["table", "paper-dnn"], ["demo"]])
def test_folders_are_not_standard_output(invoke, command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert_refused(*invoke(*command, "--output", "-"), "need a folder for --output, got -, standard output")
    assert list(tmp_path.iterdir()) == []
