"""Tables spread by Ray: what the runs come to is what they come to one by one, whatever happens to their workers."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from training import cluster
from training import table as module
from training.cluster import on_cluster
from training.lock import lock_of
from training.presets import Preset
from training.table import run_table

# Ends late enough to be killed before: a checkpoint after each of its epochs.
LONG = {"data": "digits", "width": 8, "depth": 3, "epochs": 40, "batch_size": 260, "lr": 3e-3, "device": "cpu"}
RELU, CLIPPED = {"activation": "relu"}, {"activation": "clipped-relu", "sparsity": 0.7, "slope": 0.7}
# Its data are not where the environment says.
WITHOUT_DATA = {"activation": "shifted-relu", "sparsity": 0.6, "data": "mnist"}
# Its file is not what it should be; read, it leaves a trace.
TRACED = {"activation": "soft-threshold", "sparsity": 0.6, "initializer": "trace.py"}


@pytest.fixture
def apart(monkeypatch) -> Iterator[None]:
    """Files of Ray in a folder of their own, with a path short enough for sockets, and what it set taken back."""
    folder = tempfile.mkdtemp(prefix="ray-")
    variables, on_sigterm = dict(os.environ), signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("RAY_TMPDIR", folder)
    yield
    os.environ.clear()
    os.environ.update(variables)
    signal.signal(signal.SIGTERM, on_sigterm)
    shutil.rmtree(folder)


@pytest.fixture
def address(apart, monkeypatch, tmp_path_factory) -> Iterator[str]:
    """A cluster of one machine with two cores, started elsewhere, where no variable leads to the checkout."""
    from ray.cluster_utils import Cluster

    with monkeypatch.context() as elsewhere:
        elsewhere.delenv("PYTHONPATH", raising=False)
        elsewhere.chdir(tmp_path_factory.mktemp("elsewhere"))
        started = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield started.address
    started.shutdown()


@pytest.fixture
def small(monkeypatch):
    """Makes a preset of one run of each row."""
    return lambda *rows: monkeypatch.setattr(module, "PRESETS", {"small": Preset(LONG, rows, 1)})


def timeless(folder: Path) -> dict[str, bytes]:
    """The files of a run, but for seconds."""
    return {path.name: re.sub(rb'"seconds": [^,}\n]+', b"", path.read_bytes()) for path in sorted(folder.iterdir())}


def whole_rows(folder: Path) -> str:
    """The rows of the run so far, each of which is in its checkpoint, too."""
    metrics = folder / "metrics.jsonl"
    return "".join(re.findall(r".*\n", metrics.read_text())) if metrics.exists() else ""


def killed_in_the_middle(folder: Path, over: Event) -> str:
    """Kill the process that trains in the folder when it has trained for an epoch or more; the rows till then."""
    while whole_rows(folder).count("\n") < 3:
        assert not over.wait(0.01)
    os.kill(int(lock_of(folder).read_text().split()[1]), signal.SIGKILL)
    assert not (folder / "summary.json").exists()
    return whole_rows(folder)


@pytest.mark.deep
def test_a_run_whose_worker_is_killed_goes_on_and_those_that_fail_keep_none_from_ending(
    address, small, one_thread, tmp_path, monkeypatch, capfd
):
    """The seconds of its first rows are those of the process that was killed: it was not started again."""
    import ray

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPSYM_DATA_DIR", "nowhere")
    Path("trace.py").write_text("open('traces', 'a').write('read ')")
    small(RELU, WITHOUT_DATA, TRACED, CLIPPED)
    pending, wait = [], ray.wait
    monkeypatch.setattr(ray, "wait", lambda tasks: pending.append(len(tasks)) or wait(tasks))
    over, names = Event(), ("relu-seed0", "clipped-relu-0.7-0.7-seed0")
    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(killed_in_the_middle, tmp_path / "t" / "relu-seed0", over)
        try:
            with pytest.raises(
                ValueError, match=r"^data: need nowhere/mnist/train\.parquet, got no such file; pass .*\.$"
            ):
                run_table("small", Path("t"), {}, on_cluster(2, address))
        finally:
            over.set()
        rows = killing.result()
    out, err = capfd.readouterr()
    assert out == ""  # where the table goes
    said = {line.partition(": ")[2] for line in err.splitlines() if line.startswith("run ")}
    assert "A worker died" in err  # in Ray's words
    failed = {"shifted-relu-0.6-seed0 failed", "soft-threshold-0.6-seed0 failed"}
    assert said == {*(f"{name} ended" for name in names)} | failed
    assert pending == [2, 2, 2, 1]
    assert Path("traces").read_text() == "read "  # once: what a run raises is not tried again
    assert (tmp_path / "t" / "relu-seed0" / "metrics.jsonl").read_text().startswith(rows)

    small(RELU, CLIPPED)
    expected = run_table("small", Path("whole"), {})
    for name in names:
        assert timeless(tmp_path / "t" / name) == timeless(tmp_path / "whole" / name)
    monkeypatch.setattr(cluster, "_connection", None)  # what is finished needs no Ray
    assert run_table("small", Path("t"), {}, on_cluster(2)) == expected


def test_an_interrupted_table_goes_on(apart, small, one_thread, tmp_path):
    """On this machine, from a folder that is not the checkout; all that Ray has to say is kept to itself."""
    longer = {"epochs": 60}  # than it takes to stop
    preset = json.dumps({"common": LONG | longer, "rows": [RELU, CLIPPED], "seeds": 1})
    command = [sys.executable, str(Path(__file__).with_name("spreading.py")), preset, "table", "small"]
    folder = tmp_path / "t" / "relu-seed0"
    with subprocess.Popen(
        [*command, "--workers", "1", "--output", "t"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as table:  # fmt: skip
        while whole_rows(folder).count("\n") < 3:
            with suppress(subprocess.TimeoutExpired):
                assert table.wait(0.01) is None
        table.send_signal(signal.SIGINT)
        assert table.communicate() == (
            "",
            "training: need to come to the end, got SIGINT; to go on, python -m training table small --workers 1 "
            "--output t.\n",
        )
    assert table.returncode == 130
    rows = whole_rows(folder)
    assert {path.name for path in tmp_path.glob("t/*")} - {lock_of(folder).name} == {folder.name}
    assert not (folder / "summary.json").exists()

    small(RELU, CLIPPED)
    assert run_table("small", tmp_path / "t", longer) == run_table("small", tmp_path / "whole", longer)
    assert (folder / "metrics.jsonl").read_text().startswith(rows)
    assert timeless(folder) == timeless(tmp_path / "whole" / folder.name)


@pytest.mark.parametrize("address", ["nosuch", "127.0.0.1:many", f"127.0.0.1:{10**30}", "closed"])
def test_a_cluster_that_does_not_answer_is_refused(small, tmp_path, address):
    small(RELU)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        if address == "closed":
            address = f"127.0.0.1:{unheard.getsockname()[1]}"
        with pytest.raises(
            ValueError, match=rf"need a Ray cluster that answers at HOST:PORT or auto, got {address} \("
        ):
            run_table("small", tmp_path / "t", {}, on_cluster(2, address))


def test_runs_of_several_processes_are_refused(small, tmp_path):
    small(RELU)
    with pytest.raises(ValueError, match="need devices = 1 for runs on workers, got 2; leave out --workers"):
        run_table("small", tmp_path / "t", {"devices": 2}, on_cluster(2))


def test_ray_and_a_worker_are_needed(monkeypatch):
    with pytest.raises(ValueError, match="need workers >= 1, got 0; pass the most runs at a time"):
        on_cluster(0)
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"need the package ray for --workers, got none; pip install 'gpsym\[cluster\]'"
    ):
        on_cluster(2)


def test_a_run_that_outlives_no_worker_is_named():
    from ray.exceptions import WorkerCrashedError

    error = cluster._cause(WorkerCrashedError(), Path("t", "relu-seed0"))
    assert isinstance(error, ValueError)
    assert str(error) == (
        "table: need workers that live until relu-seed0 ends, got WorkerCrashedError again and again; see that they "
        "have memory, then start the table again."
    )


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
@pytest.mark.parametrize("workers", [1, 2, 3, 6, 7, 13, 100])
def test_shares_are_the_largest_with_which_all_runs_have_a_gpu(gpus, workers):
    """A run has one GPU, or a part of it."""
    on_each = 1 / cluster._gpu_share(gpus, workers)
    assert on_each == pytest.approx(round(on_each), rel=1e-15)  # one rounding
    assert (round(on_each) - 1) * gpus < workers <= round(on_each) * gpus


def test_runs_have_no_share_where_there_is_no_gpu():
    assert cluster._gpu_share(0.0, 2) == 0
