import os

import pytest

from gpsym.files import write_text


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text(path, "old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_missing_folder_and_folder_as_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="need an existing folder"):
        write_text(tmp_path / "no" / "file", "text")
    with pytest.raises(ValueError, match="need the name of a file, got the folder"):
        write_text(tmp_path, "text")
