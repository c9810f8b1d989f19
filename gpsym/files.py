"""Files that are written whole or not at all, and what a command may write over.

A file that gpsym wrote ends with a comment that holds the SHA-256 of all before it. So a later command knows its own
files, and notices those that somebody has changed since. Formats without comments (.npy, .json) have no such mark.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

__all__ = ["Output", "figure_style", "shown", "write_bytes", "write_figure", "write_text", "written_beside"]

Write = Callable[[IO[bytes]], object]
Format = Literal["py", "html", "svg", "pdf", "png"]

_NOTE = b"Written by gpsym; SHA-256 of the rest of this file: "
_COMMENTS: dict[Format, tuple[bytes, bytes]] = {
    "py": (b"# ", b"\n"),
    "html": (b"<!-- ", b" -->\n"),
    "svg": (b"<!-- ", b" -->\n"),
    "pdf": (b"% ", b"\n"),
    "png": (struct.pack(">I", len(_NOTE) + 72) + b"tEXtComment\0", b""),  # a chunk, whose checksum is put behind it
}
_PNG_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


@dataclass(frozen=True)
class Output:
    """Where a command writes: a file, or standard output if `path` is "-".

    force  whether a file may be replaced that is there and does not bear gpsym's mark.
    """

    path: Path
    force: bool = False

    @property
    def is_stdout(self) -> bool:
        """Whether there is no file."""
        return self.path == Path("-")

    def inside(self, name: str) -> Output:
        """The file of that name in the folder that `path` is; standard output stays what it is."""
        return self if self.is_stdout else Output(self.path / name, self.force)

    def require_free(self) -> None:
        """Raise ValueError where the file may not be written: before a long computation, as `write` does."""
        if self.is_stdout:
            return
        path = _target(self.path)
        if not self.force and path.exists() and not _is_ours(path):
            raise ValueError(
                f"output: need a name that is free, got {shown(self.path)}, a file that gpsym did not write, or that "
                "was changed since; choose another name, or pass --force to replace it."
            )

    def write(self, write: Write) -> None:
        """Write the file, whole.  Raises ValueError as `require_free` and `write_bytes` do."""
        self.require_free()
        if not self.is_stdout:
            write_bytes(self.path, write)
            return
        content = io.BytesIO()
        write(content)
        try:
            sys.stdout.buffer.write(content.getvalue())
            sys.stdout.flush()
        except OSError as error:
            raise ValueError(f"output: need to write standard output, got {error.strerror}; free it.") from error

    def write_text(self, text: str, style: Format | None = None) -> None:
        """Write the text, which ends with a line break, marked as gpsym's own if its format is given."""
        content = text.encode()
        self.write(lambda file: file.write(_marked(content, style) if style else content))

    def write_array(self, array: Any) -> None:
        """Write a numpy array in numpy's format."""
        import numpy as np

        self.write(lambda file: np.lib.format.write_array(file, np.asarray(array), allow_pickle=False))

    def write_figure(self, figure: Any) -> None:
        """Write a Matplotlib figure in the format of its name, marked as gpsym's own."""
        style = figure_style(self.path)
        content = _marked(_rendered(figure, style), style)
        self.write(lambda file: file.write(content))


def figure_style(path: Path) -> Literal["png", "svg", "pdf"]:
    """The format that a name ends in; svg for "-".  Raises ValueError for others."""
    if path == Path("-"):
        return "svg"
    for style in ("png", "svg", "pdf"):
        if path.suffix.lower() == f".{style}":
            return style
    raise ValueError(f"output: need a name that ends in .png, .svg or .pdf, got {shown(path)}; choose one.")


def write_text(path: Path, text: str) -> None:
    """Write the text to `path`, whole, in place of what is there; see `write_bytes`."""
    write_bytes(path, lambda file: file.write(text.encode()))


def write_figure(path: Path, figure: Any) -> None:
    """Write a Matplotlib figure to `path` in the format that its name ends in; see `write_text`."""
    content = _rendered(figure, figure_style(path))
    write_bytes(path, lambda file: file.write(content))


def write_bytes(path: Path, write: Write) -> None:
    """Have `write` fill a file such that a crash at any moment leaves the old content of `path` or the new.

    Raises ValueError if the parent folder is missing, `path` is there and no regular file, or writing fails; `path` is
    then as it was.
    """
    with written_beside(path, write) as partial:
        os.replace(partial, _target(path))
        _sync_folder(partial.parent)


@contextmanager
def written_beside(path: Path, write: Write) -> Iterator[Path]:
    """A file in the folder of `path`, filled and on the disk, which is to take a name; removed where it does not."""
    target = _target(path)
    partial = target.with_name(f".gpsym-{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, partial)
        yield partial
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"output: need to write {shown(path)}, got {reason}; choose another place.") from error
    finally:
        partial.unlink(missing_ok=True)


def shown(path: Path) -> str:
    """A name for a message: what no terminal prints is escaped, and of a long one both ends are shown."""
    name = str(path).encode("unicode_escape").decode() if not str(path).isprintable() else str(path)
    return name if len(name) <= 200 else f"{name[:100]}...{name[-97:]}"


def _target(path: Path) -> Path:
    """The file that a link points to, not the link.  Raises ValueError where no file can be."""
    try:
        target = Path(os.path.realpath(path))
        parent_there, there, regular = target.parent.is_dir(), target.exists(), target.is_file()
    except (OSError, ValueError) as error:  # too long, or with a character that no name has
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"output: need the name of a file, got {shown(path)}: {reason}; choose another.") from error
    if not parent_there:
        parent = shown(target.parent)
        raise ValueError(f"output: need an existing folder to write into, got {shown(path)}; create {parent} first.")
    if there and not regular:
        raise ValueError(
            f"output: need the name of a file, got {shown(path)}, which is none; choose another name, or - for "
            "standard output."
        )
    return target


def _rendered(figure: Any, style: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=style, dpi=150)
    return content.getvalue()


def _marked(content: bytes, style: Format) -> bytes:
    """The content with a comment at its end, in the syntax of the format, that holds its digest."""
    start, end = _COMMENTS[style]
    comment = start + _NOTE + hashlib.sha256(content).hexdigest().encode() + end
    if style != "png":
        return content + comment
    checksum = struct.pack(">I", zlib.crc32(comment[4:]))
    return content.removesuffix(_PNG_END) + comment + checksum + _PNG_END


def _is_ours(path: Path) -> bool:
    """Whether gpsym wrote the file and nobody has changed it since."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - 256))
        if _NOTE not in file.read():
            return False
        file.seek(0)
        content = file.read()
    before = content[: content.rindex(_NOTE)]
    for style, (start, _) in _COMMENTS.items():
        body = before.removesuffix(start) + (_PNG_END if style == "png" else b"")
        if _marked(body, style) == content:
            return True
    return False


def _sync_folder(folder: Path) -> None:
    """Bring the folder's names to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
