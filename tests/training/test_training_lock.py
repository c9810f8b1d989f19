"""One writer for each folder: the others wait for its end, whichever end that is."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from training.lock import lock_of, sole_writer
from training.trainer import train

ROOT = Path(__file__).parents[2]

# Counts in FOLDER/count, where two that count at once lose numbers; each time the run is cut off before it is finished.
COUNT = """
import sys
from contextlib import suppress
from pathlib import Path
from training.lock import sole_writer
count = Path(sys.argv[1], "count")
for _ in range(200):
    with suppress(KeyError), sole_writer(count.parent / "run", "table", wait=True):
        count.write_text(str(int(count.read_text()) + 1))
        raise KeyError
"""

# Takes the lock, says so, and does not end by itself.
HOLD = """
import signal, sys
from pathlib import Path
from training.lock import sole_writer
with sole_writer(Path(sys.argv[1], "run"), "table", wait=True):
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


def test_the_death_of_a_writer_gives_its_folder_to_the_one_that_waits(tmp_path, small_config):
    with started(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "held\n"
        with started(HOLD, tmp_path) as other:
            said = other.stderr.readline()
            owner = f"process {holder.pid} on {socket.gethostname()} since "
            assert said.startswith(f"table: waiting for run, held by {owner}")
            with pytest.raises(ValueError, match=f"^run: need a folder that no other process writes, .*{owner}"):
                train(small_config(), tmp_path / "run")
            holder.kill()
            assert other.stdout.readline() == "held\n"
            assert lock_of(tmp_path / "run").read_text().split()[1] == str(other.pid)
            other.kill()


def test_the_file_of_a_lock_is_removed_at_any_end_of_its_block(tmp_path):
    with pytest.raises(ValueError, match="no room"), sole_writer(tmp_path / "run", "run"):
        raise ValueError("no room")
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_has_its_lock(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    assert lock_of(tmp_path / "link") == lock_of(tmp_path / "run")


def test_advice_to_remove_the_file_of_a_stale_lock_works(tmp_path):
    with started(HOLD, tmp_path) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match=r"if no such process is left, remove .*\.run\.lock\.$"),
            sole_writer(tmp_path / "run", "resume"),
        ):
            pass
        lock_of(tmp_path / "run").unlink()
        with sole_writer(tmp_path / "run", "resume"):
            pass
        holder.kill()


def test_a_folder_where_no_lock_can_be_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match=r"need a folder that can be written to.*got .*missing \(No such file or dir"),
        sole_writer(tmp_path / "missing" / "run", "table"),
    ):
        pass


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        pytest.raises(ValueError, match=r"on a file system with locks.*No locks available"),
        sole_writer(tmp_path / "run", "table"),
    ):
        pass
