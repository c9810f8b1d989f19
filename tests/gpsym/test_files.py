"""Files that commands write: whole or not at all, and nobody's work is lost."""

import ast
import io
import os
import re
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from gpsym import edge_of_chaos, report
from gpsym.cli import main
from gpsym.export import export_text
from gpsym.files import PARTIAL, Output, replace_file, shown
from gpsym.plot.canvas import figure_of

NOT_OURS = r"need a new file, or one with gpsym's mark that nobody changed since, got .*pass --force to replace it"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """A report and a figure without content, and a folder to work in that holds the rows of a kernel matrix."""
    monkeypatch.setattr(report, "_page", lambda run: "<p>a page</p>\n")
    monkeypatch.setattr("gpsym.plot.variance_map_figure", lambda design: figure_of(1, 1))
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.eye(3))


def run(capfdbinary, line, *more):
    """(status, standard output, standard error) of a command."""
    with pytest.raises(SystemExit) as end:
        main([*line.split(), *more])
    out, err = capfdbinary.readouterr()
    return end.value.code, out, err.decode()


def contents():
    """What is there: links by where they lead, files by what they hold."""
    return {str(p): os.readlink(p) if p.is_symlink() else p.is_file() and p.read_bytes() for p in Path().rglob("*")}


# The commands that write a file, with the name of their --output and of the file that they write.
WRITERS = {
    "torch": ("export crelu --sparsity 0.85 --slope 0.7 --framework torch", "init.py", "init.py"),
    "jax": ("export relu --framework jax", "init.py", "init.py"),
    "keras": ("export relu --framework keras", "init.py", "init.py"),
    "json": ("export relu --framework json", "design.json", "design.json"),
    "kernel": ("kernel relu --depth 2 --input x.npy", "k.npy", "k.npy"),
    "svg": ("plot map relu", "map.svg", "map.svg"),
    "png": ("plot map relu", "map.png", "map.png"),
    "pdf": ("plot map relu", "map.pdf", "map.pdf"),
    "report": ("report", "folder", "folder/index.html"),
}
MARKED = [name for name in WRITERS if name not in ("json", "kernel")]


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_gpsym_did_not_write_is_replaced_by_force_alone(name, capfdbinary):
    line, output, file = WRITERS[name]
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_bytes(b"mine")
    before = contents()
    status, out, err = run(capfdbinary, line, "--output", output)
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert f"got {file}; choose another name, or pass --force to replace it." in err
    assert contents() == before
    assert run(capfdbinary, line, "--output", output, "--force")[:2] == (0, f"wrote {file}\n".encode())
    assert len(Path(file).read_bytes()) > len(b"mine")
    assert contents().keys() == before.keys()


@pytest.mark.parametrize("name", MARKED)
def test_an_own_file_is_replaced_unless_somebody_changed_it(name, capfdbinary):
    line, output, file = WRITERS[name]
    assert run(capfdbinary, line, "--output", output)[0] == 0
    Path(file).chmod(0o640)
    assert run(capfdbinary, line, "--output", output)[0] == 0
    assert Path(file).stat().st_mode & 0o777 == 0o640
    written = Path(file).read_bytes()
    changed = (written[:20] + b"!" + written[20:], written + b"\n", b"!" + written, written[:-1], written * 2, b"")
    for content in changed:
        Path(file).write_bytes(content)
        assert run(capfdbinary, line, "--output", output)[0] == 2
        assert Path(file).read_bytes() == content


@pytest.mark.parametrize("name", ["json", "kernel"])
def test_formats_without_comments_need_force_each_time(name, capfdbinary):
    line, output, _ = WRITERS[name]
    assert run(capfdbinary, line, "--output", output)[0] == 0
    assert run(capfdbinary, line, "--output", output)[0] == 2
    assert run(capfdbinary, line, "--output", output, "--force")[0] == 0


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in ("png", "pdf")])
def test_standard_output_gets_what_the_file_gets(name, capfdbinary, monkeypatch):
    line, output, file = WRITERS[name]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    monkeypatch.setitem(matplotlib.rcParams, "svg.hashsalt", "0")
    assert run(capfdbinary, line, "--output", output)[0] == 0
    written, before = Path(file).read_bytes(), contents()
    assert run(capfdbinary, line, "--output", "-") == (0, written, "")
    assert contents() == before


def test_a_file_may_be_named_like_the_sign_of_standard_output(capfdbinary):
    assert run(capfdbinary, "export relu --framework jax --output ./-")[0] == 0
    assert Path("./-").read_text().endswith("\n")


@pytest.mark.parametrize("link", ["x.npy", "link.npy", "../{}/x.npy", "hard.npy"])
def test_an_input_is_not_written_over(capfdbinary, link, tmp_path):
    """And by force it is read before it is replaced."""
    Path("link.npy").symlink_to("x.npy")
    Path("hard.npy").hardlink_to("x.npy")
    line = "kernel relu --depth 2 --input x.npy --output " + link.format(tmp_path.name)
    before = contents()
    assert run(capfdbinary, line)[0] == 2
    assert contents() == before
    assert run(capfdbinary, line, "--force")[0] == 0
    assert np.load(link.format(tmp_path.name)).shape == (3, 3)


def test_a_refusal_comes_before_the_computation(monkeypatch):
    monkeypatch.setattr("gpsym.cli.designs.design_of", lambda *_, **__: pytest.fail("computed"))
    monkeypatch.setattr("gpsym.cli.pictures.design_of", lambda *_, **__: pytest.fail("computed"))
    monkeypatch.setattr(report, "_page", lambda run: pytest.fail("computed"))
    for line, output, file in WRITERS.values():
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_bytes(b"mine")
        with pytest.raises(SystemExit) as end:
            main([*line.split(), "--output", output])
        assert end.value.code == 2


def fifo(name):
    os.mkfifo(name)
    return name


def listening(name):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
    return name


def link(name, target):
    Path(name).symlink_to(target)
    return name


def in_a_file(name):
    Path("file").write_bytes(b"mine")
    return f"file/{name}"


def in_a_file_as_folder(name):
    return in_a_file(f"folder/{name}")


NO_FILES = {
    "a folder": (lambda: Path("folder").mkdir() or "folder", "need the name of a file, got folder"),
    "this folder": (lambda: "", r"need the name of a file, got \."),
    "a pipe": (lambda: fifo("pipe"), "need the name of a file, got pipe"),
    "a socket": (lambda: listening("socket"), "need the name of a file, got socket, .*or - for standard output"),
    "a link to a folder": (lambda: link("link", "."), "need the name of a file, got link"),
    "a link to itself": (lambda: link("link", "link"), "need the name of a file, got link"),
    "a link into nowhere": (
        lambda: link("link", "no/x"),
        "need an existing folder to write into, got link; create .*no",
    ),
    "no such folder": (lambda: "no/x", "need an existing folder to write into, got no/x; create .*no first"),
    "below a file": (lambda: in_a_file("x"), "need an existing folder to write into, got file/x; choose another"),
    "far below a file": (lambda: in_a_file_as_folder("x"), "need an existing folder to write into, got file/folder/x"),
    "a long name": (lambda: "x" * 300, r"x{100}\.\.\.x{97}, got File name too long"),
    "a name with a zero": (lambda: "a\0b", r"need the name of a file, got a\\x00b"),
    "a name with colours": (lambda: "no\x1b[31m/x", r"got no\\x1b\[31m/x"),
    "half a letter": (lambda: "no\udcff/x", r"got no\\udcff/x"),
    "where nobody writes": (lambda: "/proc/x", "need to write /proc/x"),
}


@pytest.mark.parametrize("name", NO_FILES)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_is_no_place_for_a_file_is_refused_in_one_line(name, force, capfdbinary):
    make, message = NO_FILES[name]
    output = make()
    before = contents()
    status, out, err = run(capfdbinary, "export relu --framework jax --output", output, *force)
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert re.search(message, err)
    assert contents() == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("x.npy", "got x.npy/index.html; choose another"),
        ("no/report", "create {}/no first"),
        ("pipe", "choose another"),
    ],
)
def test_the_folder_of_a_report_needs_a_place(output, message, capfdbinary, tmp_path):
    fifo("pipe")
    before = contents()
    status, _, err = run(capfdbinary, "report --output", output)
    assert status == 2
    assert message.format(tmp_path) in err
    assert contents() == before


@pytest.mark.parametrize("place", [".", "old"])
def test_a_place_that_may_not_be_written_is_refused(place, monkeypatch):
    """By the system's word, which for the superuser is always yes."""
    Path("old").write_text("old")
    denied = Path(place).resolve()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != denied or mode != os.W_OK)
    with pytest.raises(ValueError, match=r"need a place that can be written, got old; choose another"):
        Output(Path("old"), force=True).require_free()


@pytest.mark.parametrize("name", ["jax", "report"])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_failure_leaves_all_as_it_was(name, function, capfdbinary, monkeypatch):
    line, output, file = WRITERS[name]

    def fail(*_):
        raise OSError(28, "No space left on device")

    for old in (False, True):
        before = contents()
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            status, _, err = run(capfdbinary, line, "--output", output)
        assert (status, err.count("\n")) == (2, 1)
        assert f"need to write {file}, got No space left on device; choose another place" in err
        assert contents() == before
        assert old or run(capfdbinary, line, "--output", output)[0] == 0


def test_a_link_stays_a_link():
    link("link", "file")
    Output(Path("link")).write_text("text")
    assert Path("link").is_symlink()
    assert Path("file").read_text() == "text"


def test_a_file_that_comes_to_be_during_the_computation_is_kept():
    output = Output(Path("file"))
    output.require_free()
    Path("file").write_text("mine")
    with pytest.raises(ValueError, match=NOT_OURS):
        output.write_text("ours")
    assert Path("file").read_text() == "mine"


def test_the_file_appears_by_renaming_what_is_whole(monkeypatch):
    renamed, replace = [], os.replace

    def watch(old, new):
        renamed.append((old.read_text(), old.match(PARTIAL), old.parent == new.parent, new.name, new.exists()))
        replace(old, new)

    monkeypatch.setattr(os, "replace", watch)
    replace_file(Path("file"), lambda file: file.write(b"text"))
    assert renamed == [("text", True, True, "file", False)]


def test_standard_output_that_is_full_is_said():
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gpsym.cli", "export", "relu", "--framework", "json", "--output", "-"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2, "gpsym: output: need to write standard output, got No space left on device; choose another place.\n"
    )  # fmt: skip


def test_closed_standard_output_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ValueError, match="need standard output for -, got none that is open"):
        Output(None).write_text("text")


def test_marked_files_are_read_as_without_the_mark(capfdbinary):
    for name in MARKED:
        line, output, _ = WRITERS[name]
        assert run(capfdbinary, line, "--output", output)[0] == 0
    text = export_text(edge_of_chaos("relu"), "keras")
    assert Path("init.py").read_text().startswith(text)
    assert ast.dump(ast.parse(Path("init.py").read_text())) == ast.dump(ast.parse(text))
    assert ET.parse("map.svg").getroot().tag.endswith("svg")
    with Image.open("map.png") as image:
        image.load()
        assert image.info["Comment"].startswith("Written by gpsym; SHA-256")
    HTMLParser().feed(Path("folder/index.html").read_text())
    assert b"%%EOF\n% Written by gpsym" in Path("map.pdf").read_bytes()


def test_names_in_messages_are_printable_and_short():
    assert shown(Path("a b")) == "a b"
    assert shown(Path("\x1b[31m\n")) == r"\x1b[31m\n"
    assert len(shown(Path("x" * 4000))) == 200


def test_arrays_are_written_as_numpy_does():
    Output(Path("a.npy")).write_array([[1.0, 2.0]])
    expected = io.BytesIO()
    np.save(expected, [[1.0, 2.0]])
    assert Path("a.npy").read_bytes() == expected.getvalue()
