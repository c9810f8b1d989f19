"""Files that are written whole or not at all, and which files a command may write over.

Python, HTML, SVG, PDF and PNG files get a mark: a comment at their end with the SHA-256 of all before it. By the mark
a later command knows a file that gpsym wrote and nobody has changed since. The formats .npy and .json have no comments,
so their files have no mark.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

__all__ = ["PARTIAL", "Output", "bears_mark", "figure_style", "replace_file", "shown"]

Write = Callable[[IO[bytes]], object]
Style = Literal["py", "html", "svg", "pdf", "png"]

PARTIAL = ".gpsym-*.partial"  # names of files that are being written; death may leave one

_NOTE = b"Written by gpsym; SHA-256 of all before this sentence: "
_PNG_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_BEFORE_NOTE: dict[Style, bytes] = {
    "py": b"# ",
    "html": b"<!-- ",
    "svg": b"<!-- ",
    "pdf": b"% ",
    "png": struct.pack(">I", len(b"Comment\0" + _NOTE) + 64) + b"tEXtComment\0",  # a chunk: length, type, data, CRC
}
_MARK = re.compile(_NOTE + rb"([0-9a-f]{64})(?:\n| -->\n|.{4}" + re.escape(_PNG_END) + rb")\Z", re.DOTALL)
_LONGEST_MARK = 256


@dataclass(frozen=True)
class Output:
    """The place that a command writes to.

    path          the file; None for standard output.
    force         whether to replace a file that is there and does not bear gpsym's mark.
    makes_folder  whether to make the folder of the file if it is not there.
    """

    path: Path | None
    force: bool = False
    makes_folder: bool = False

    def inside(self, name: str) -> Output:
        """The file of that name in the folder that `path` names; standard output for standard output."""
        return self if self.path is None else Output(self.path / name, self.force, makes_folder=True)

    def require_free(self) -> None:
        """Raise ValueError where `write` would: call it before a long computation."""
        if self.path is None:
            return
        with _sentence(shown(self.path)):
            target = _target(self.path, self.makes_folder)
            if not self.force and target.exists() and not bears_mark(target):
                raise ValueError(
                    "output: need a new file, or one with gpsym's mark that nobody changed since, got "
                    f"{shown(self.path)}; choose another name, or pass --force to replace it."
                )

    def write(self, write: Write) -> None:
        """Have `write` fill the file. A failure or a crash leaves what was there before.

        Raises ValueError if the file is there and may not be replaced, if its folder is missing, if no regular file can
        have that name, or if writing fails.
        """
        if self.path is None:
            _write_stdout(write)
            return
        self.require_free()
        with _sentence(shown(self.path)):
            target = _target(self.path, self.makes_folder)
            with _folder(target.parent):
                replace_file(target, write)

    def write_text(self, text: str, style: Style | None = None) -> None:
        """Write the text, which ends with a line break; with gpsym's mark if its format is given."""
        self._write_content(text.encode(), style)

    def write_figure(self, figure: Any) -> None:
        """Write a Matplotlib figure in the format of the file's name, SVG to standard output; with gpsym's mark."""
        content, style = io.BytesIO(), figure_style(self)
        figure.savefig(content, format=style, dpi=150)
        self._write_content(content.getvalue(), style)

    def write_array(self, array: Any) -> None:
        """Write a numpy array in numpy's format."""
        import numpy as np

        self.write(lambda file: np.lib.format.write_array(file, np.asarray(array), allow_pickle=False))

    def _write_content(self, content: bytes, style: Style | None) -> None:
        self.write(lambda file: file.write(_marked(content, style) if style else content))


def figure_style(output: Output) -> Literal["png", "svg", "pdf"]:
    """The format that the name of a figure's file ends in; svg for standard output.  Raises ValueError for others."""
    if output.path is None:
        return "svg"
    for style in ("png", "svg", "pdf"):
        if output.path.suffix.lower() == f".{style}":
            return style
    raise ValueError(f"output: need a name that ends in .png, .svg or .pdf, got {shown(output.path)}; choose one.")


def replace_file(path: Path, write: Write, *, old: Path | None = None) -> None:
    """Have `write` fill the file such that a crash at any moment leaves the old content or the new on the disk.

    old  the name for the old content, if it is to stay. A crash may leave it under that name alone.

    Raises OSError if writing fails; the files are then as they were.
    """
    partial = path.with_name(PARTIAL.replace("*", secrets.token_hex(8)))
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, partial)
            if old is not None:
                os.replace(path, old)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def bears_mark(path: Path) -> bool:
    """Whether there is a file that ends with gpsym's mark, and nobody has changed what stands before it."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - _LONGEST_MARK))
        start = file.tell()
        mark = _MARK.search(file.read())
        if mark is None:
            return False
        file.seek(0)
        return hashlib.sha256(file.read(start + mark.start())).hexdigest().encode() == mark[1]


def shown(path: Path) -> str:
    """A name for a message: what no terminal prints is escaped, and of a long one both ends are shown."""
    name = str(path).encode("unicode_escape").decode() if not str(path).isprintable() else str(path)
    return name if len(name) <= 200 else f"{name[:100]}...{name[-97:]}"


def _write_stdout(write: Write) -> None:
    content = io.BytesIO()
    write(content)
    if sys.stdout is None:  # the caller closed it
        raise ValueError("output: need standard output for -, got none that is open; name a file.")
    with _sentence("standard output"):
        sys.stdout.buffer.write(content.getvalue())
        sys.stdout.flush()


@contextmanager
def _sentence(place: str) -> Iterator[None]:
    """Errors of the system as one sentence."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"output: need to write {place}, got {reason}; choose another place.") from error


def _target(path: Path, makes_folder: bool) -> Path:
    """The file that a link points to, not the link.  Raises ValueError where no file can be."""
    try:
        target = Path(os.path.realpath(path))
    except ValueError as error:  # a character that no name has
        raise ValueError(f"output: need the name of a file, got {shown(path)}: {error}; choose another.") from error
    if os.path.lexists(target) and not target.is_file():
        raise ValueError(
            f"output: need the name of a file, got {shown(path)}, which is none; choose another name, or - for "
            "standard output."
        )
    folder = target.parent.parent if makes_folder and not os.path.lexists(target.parent) else target.parent
    if not folder.is_dir():
        remedy = "choose another" if os.path.lexists(folder) else f"create {shown(folder)} first"
        raise ValueError(f"output: need an existing folder to write into, got {shown(path)}; {remedy}.")
    for place in (folder, target):
        if place.exists() and not os.access(place, os.W_OK):
            raise ValueError(f"output: need a place that can be written, got {shown(path)}; choose another place.")
    return target


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """A folder to write into; one that was made for that goes away after a failure."""
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        if made:
            with suppress(OSError):  # something else came to be in it
                folder.rmdir()
        raise


def _marked(content: bytes, style: Style) -> bytes:
    """The content with gpsym's mark, a comment in the syntax of the format."""
    before = content.removesuffix(_PNG_END) + _BEFORE_NOTE[style]
    note = _NOTE + hashlib.sha256(before).hexdigest().encode()
    if style == "png":
        return before + note + struct.pack(">I", zlib.crc32(b"tEXtComment\0" + note)) + _PNG_END
    return before + note + (b" -->\n" if style in ("html", "svg") else b"\n")


def _sync_folder(folder: Path) -> None:
    """Bring the folder's names to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
