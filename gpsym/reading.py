"""Arrays from files that nobody vouches for: nothing is executed, and nothing allocated that the file does not hold.

`reading` is the one place where what a library says of a broken file becomes a sentence.
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from gpsym.files import shown

__all__ = ["open_regular", "read_array", "read_arrays", "reading"]

# How a broken file shows in numpy, zipfile, PIL and pyarrow. RuntimeError includes deep recursion and encryption.
_BROKEN = (
    OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError, EOFError, SyntaxError,
    struct.error, tokenize.TokenError, zlib.error, zipfile.BadZipFile,
)  # fmt: skip

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

# Bytes that an archive may take when it is unpacked: a hundred times its own, and some.
_MOST_TIMES, _SOME = 100, 2**26


@contextmanager
def reading(need: str, path: Path, remedy: str, *more: type[Exception]) -> Iterator[None]:
    """Turn what goes wrong into ValueError("NEED, got PATH: REASON; REMEDY.").

    more  errors of the library that reads, besides those that all libraries raise.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old or odd headers, which are read or refused
            yield
    except (*_BROKEN, *more) as error:
        raise ValueError(f"{need}, got {shown(path)}: {_reason(error)}; {remedy}.") from error


def _reason(error: Exception) -> str:
    said = str(getattr(error, "strerror", None) or error) or type(error).__name__
    return " ".join(said.split())[:200].removesuffix(".")


def open_regular(path: Path) -> IO[bytes]:
    """The file, opened.  Raises ValueError for pipes and devices, which may never end, and OSError if it is missing."""
    if path.exists() and not path.is_file():
        raise ValueError("no regular file")
    return path.open("rb")


def read_array(path: Path) -> Any:
    """The array of real numbers in a .npy file.

    Raises ValueError if there is no such file, or if it holds anything else or more.
    """
    with reading("input: need a file by numpy.save", path, "write one"), open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return _array(file, size)


def read_arrays(file: IO[bytes], *names: str) -> Mapping[str, Any]:
    """Those of the arrays of a .npz file that it has, by name.

    Raises ValueError for an archive that unpacks to more than a hundred times its size, among others, and what
    `reading` makes a sentence of.
    """
    most = _MOST_TIMES * file.seek(0, io.SEEK_END) + _SOME
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        wanted = {name: entries[name] for name in names if name in entries}
        total = sum(entry.file_size for entry in wanted.values())
        if total > most:
            raise ValueError(f"an archive of {total} bytes when unpacked, more than {most}; store it uncompressed")
        found = {}
        for name, entry in wanted.items():
            with archive.open(entry) as member:
                found[name] = _array(member, entry.file_size)
        return found


def _array(file: IO[bytes], size: int) -> Any:
    """The array in a stream of that many bytes: as many as its header says."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format, which is for named fields")
    shape, by_columns, dtype = _HEADERS[version](file)
    if dtype.kind not in "biuf":
        raise ValueError(f"need an array of real numbers, got one of {dtype}; convert it")
    there, count = size - file.tell(), math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != there:
        raise ValueError(f"a header of shape {_short(shape)} and type {dtype} before {there} bytes")
    array = np.empty(count, dtype)
    file.readinto(array.view(np.uint8))  # type: ignore[attr-defined]  # both kinds of streams have it
    if file.read(1):  # behind the last byte an archive compares the checksum
        raise ValueError("more bytes than it should have")
    return array.reshape(shape[::-1]).T if by_columns else array.reshape(shape)


def _short(shape: tuple[int, ...]) -> str:
    return f"({', '.join(f'{n:.6g}' if abs(n) >= 10**9 and abs(n) < 10**300 else str(n)[:20] for n in shape[:8])})"
