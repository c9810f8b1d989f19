"""One writer for each folder: the others wait for its end, whichever end that is."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from training.lock import lock_of, sole_writer

ROOT = Path(__file__).parents[2]

# Counts in FOLDER/count, where two that count at once lose numbers; each time the run is cut off before it is finished.
COUNT = """
import sys
from contextlib import suppress
from pathlib import Path
from training.lock import sole_writer
count = Path(sys.argv[1], "count")
for _ in range(200):
    with suppress(KeyError), sole_writer(count.parent / "run"):
        count.write_text(str(int(count.read_text()) + 1))
        raise KeyError
"""

# Takes the lock, says so, and does not end by itself.
HOLD = """
import signal, sys
from pathlib import Path
from training.lock import sole_writer
with sole_writer(Path(sys.argv[1], "run")):
    print("held", flush=True)
    signal.pause()
"""


def started(script: str, folder: Path) -> subprocess.Popen[str]:
    command, environment = [sys.executable, "-c", script, str(folder)], os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_writers_exclude_each_other(tmp_path):
    (tmp_path / "count").write_text("0")
    for child in [started(COUNT, tmp_path), started(COUNT, tmp_path)]:
        assert child.communicate()[0] == ""
        assert child.returncode == 0
    assert (tmp_path / "count").read_text() == "400"


def test_the_death_of_a_writer_gives_its_folder_to_the_one_that_waits(tmp_path):
    with started(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "held\n"
        with started(HOLD, tmp_path) as other:
            said = other.stderr.readline()
            assert said == f"run: waiting for the process that trains it, {socket.gethostname()} {holder.pid}\n"
            holder.kill()
            assert other.stdout.readline() == "held\n"
            assert lock_of(tmp_path / "run").read_text().split()[1] == str(other.pid)
            other.kill()


def test_the_lock_of_a_finished_run_is_removed_that_of_another_stays(tmp_path):
    """Were it removed, one who waits for it and one who makes it anew would write at once."""
    with pytest.raises(ValueError, match="no room"), sole_writer(tmp_path / "run"):
        raise ValueError("no room")
    assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]
    with sole_writer(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_no_lock_can_be_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match=r"need a folder that can be written to.*got .*missing \(No such file or dir"),
        sole_writer(tmp_path / "missing" / "run"),
    ):
        pass


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with (
        pytest.raises(ValueError, match=r"on a file system with locks.*No locks available"),
        sole_writer(tmp_path / "run"),
    ):
        pass
