"""Doors for --output: odd names, and things that are already there, of which none may be lost."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from hypothesis import strategies as st

from gpsym.cli import cli
from gpsym.cli.options import output_option, say_written
from gpsym.files import Output, bears_mark
from tests.fuzz.harness import Door, Outcome

__all__ = ["DOORS"]


@click.command()
@output_option("Folder to write index.html into.")
def _page(output: Output) -> None:
    """Write a page as `gpsym report` does, without the report's formulas."""
    page = output.inside("index.html")
    page.require_free()
    page.write_text("<p>a page</p>\n", "html")
    say_written(page)


def _own(path: Path) -> None:
    Output(path, force=True).write_text("x = 1\n", "py")


def _changed(path: Path) -> None:
    _own(path)
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))


def _protected(path: Path) -> None:
    path.write_text("mine")
    path.chmod(0)


# What is there under the name of the output, beside x.npy and the folder "folder" with a file.
_THERE: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _path: None,
    "nothing, in a new folder": lambda path: path.parent.mkdir(parents=True),
    "an own file": _own,
    "a changed one": _changed,
    "an empty file": lambda path: path.touch(),
    "a file": lambda path: path.write_bytes(b"mine"),
    "a protected file": _protected,
    "a folder": lambda path: path.mkdir(),
    "a folder with a page": lambda path: path.mkdir() or (path / "index.html").write_text("mine"),
    "a pipe": os.mkfifo,
    "a link to the input": lambda path: path.symlink_to("x.npy"),
    "the input by another name": lambda path: path.hardlink_to(path.with_name("x.npy")),
    "a link to a folder": lambda path: path.symlink_to("folder"),
    "a link to nothing": lambda path: path.symlink_to("new"),
    "a link into nowhere": lambda path: path.symlink_to("no/new"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}
_NAMES = (
    "x.npy", "folder", "folder/new", "folder/file", "no/new", "x.npy/new", "./x.py", "folder/../x.npy", "..", ".", "",
    "x" * 255, "x" * 256, "x/" * 3000, "~", "$HOME", "*", "a b", "a\nb", "a\0b", "\x1b[31m", "\udcff", "é", "-",
    "--force", "-x", "x.py/", "x.PY", "//", "-/x",
)  # fmt: skip
_COMMANDS = {
    "jax": "export relu --framework jax",
    "json": "export relu --framework json",
    "kernel": "kernel relu --depth 2 --input {}/x.npy",
}

# (command, name, whether the name is taken as it is or in the folder, what is there, whether --force is given)
_CASES = st.tuples(
    st.sampled_from(list(_COMMANDS)),
    st.just("new.py") | st.sampled_from(_NAMES) | st.text(max_size=20).filter(lambda name: ".." not in name),
    st.sampled_from(list(_THERE)),
    st.booleans(),
)


def _output(name: str, folder: Path) -> str:
    """The argument of --output, inside of the folder but for "-": devices of this machine are at no risk."""
    return name if name == "-" else f"{folder}/inner/{name}"


def _prepare(name: str, there: str, folder: Path) -> str:
    inner, output = folder / "inner", _output(name, folder)
    (inner / "folder").mkdir(parents=True)
    (inner / "folder" / "file").write_text("mine")
    np.save(inner / "x.npy", np.eye(3))
    if output.startswith(str(folder)):
        with contextlib.suppress(OSError, ValueError):  # no such thing can have this name
            path = Path(output)
            if not os.path.lexists(path):
                _THERE[there](path)
    return output


def _knock(case: tuple[str, str, str, bool], folder: Path) -> Sequence[str]:
    command, name, there, force = case
    output = _prepare(name, there, folder)
    return [*_COMMANDS[command].format(folder / "inner").split(), f"--output={output}", *["--force"] * force]


def _knock_page(case: tuple[str, str, str, bool], folder: Path) -> Sequence[str]:
    _, name, there, force = case
    return [f"--output={_prepare(name, there, folder)}", *["--force"] * force]


def _answer(case: tuple[str, str, str, bool], folder: Path, _outcome: Outcome, inside: str = "") -> None:
    """One file alone is another one than before, and it might be replaced."""
    _, name, there, force = case
    with tempfile.TemporaryDirectory() as other:
        again = Path(other)
        output = _prepare(name, there, again)
        before, after = _tree(again), _tree(folder)
        if output == "-":
            assert after == before
            return
        target = Path(os.path.realpath(Path(_output(name, folder), inside))).relative_to(os.path.realpath(folder))
        old = again / target
        assert old.is_file() or not old.exists(), "replaced what is no file"
        assert force or not old.exists() or bears_mark(old), "replaced what is not gpsym's"
        made = {str(target), *map(str, target.parents)} - before.keys()
        assert {p: kind for p, kind in after.items() if p not in made and p != str(target)} == {
            p: kind for p, kind in before.items() if p != str(target)
        }
        assert after[str(target)][0] == "file"
        assert after[str(target)][1]


def _tree(folder: Path) -> dict[str, tuple[str, Any]]:
    """All that is below the folder: its kind, and what it holds or where it leads."""
    return {str(path.relative_to(folder)): _kind(path) for path in folder.rglob("*")}


def _kind(path: Path) -> tuple[str, Any]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link", os.readlink(path)
    if stat.S_ISREG(mode):
        return "file", path.read_bytes()
    return oct(mode), None


def _answer_page(case: tuple[str, str, str, bool], folder: Path, outcome: Outcome) -> None:
    _answer(case, folder, outcome, inside="index.html")


DOORS = (
    Door("output", "gpsym", cli, _CASES, _knock, _answer),
    Door("output-folder", "page", _page, _CASES, _knock_page, _answer_page),
)
