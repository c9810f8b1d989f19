"""Arrays from files that nobody vouches for: nothing is executed, and nothing allocated that the file does not hold.

`reading` is the one place where what goes wrong in a file becomes a sentence.
"""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from gpsym.files import shown

__all__ = ["UnreadableError", "open_regular", "read_array", "read_arrays", "reading", "require_unpacked_size"]

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

# A file may unpack to a hundred times its size. Small files may exceed this: they may take 64 MB.
_MOST_TIMES, _SMALL = 100, 2**26

_CHUNK = 2**24  # bytes that are unpacked together


class UnreadableError(ValueError):
    """A sentence about a file: what must hold, what came, and what to do."""


@contextmanager
def reading(need: str, path: Path, remedy: str) -> Iterator[None]:
    """Turn what goes wrong while a file is read into UnreadableError("NEED, got PATH: REASON; REMEDY.")."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Libraries warn of odd files, which are read or refused here.
            yield
    except UnreadableError:
        raise
    except Exception as error:  # numpy, zipfile, PIL and pyarrow have no class in common for what damage makes of them
        raise UnreadableError(f"{need}, got {shown(path)}: {_reason(error)}; {remedy}.") from error


def _reason(error: Exception) -> str:
    said = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    printable = said if said.isprintable() else said.encode("unicode_escape").decode()
    return printable[:200].removesuffix(".")


def open_regular(path: Path) -> IO[bytes]:
    """The file, opened.  Raises ValueError for pipes and devices, which may never end, and OSError if it is missing."""
    if path.exists() and not path.is_file():
        raise ValueError("no regular file")
    return path.open("rb")


def require_unpacked_size(size: int, packed: int) -> None:
    """Raise ValueError for a file of `packed` bytes that takes `size` bytes when it is unpacked, if these are many."""
    most = max(_MOST_TIMES * packed, _SMALL)
    if size > most:
        raise ValueError(f"{size} bytes when it is unpacked, more than {most}")


def read_array(path: Path) -> Any:
    """The array of real numbers in a .npy file.

    Raises ValueError if there is no such file, or if it holds anything else or more.
    """
    with reading("input: need a file by numpy.save", path, "write one"), open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        return _array(file, size)


def read_arrays(path: Path, *choices: tuple[str, ...]) -> tuple[Any, ...]:
    """The arrays of a .npz file by the names of the first choice of which it has all.

    Raises ValueError for a file that is no such archive, that has none of the choices, or an array of one twice, or
    that unpacks to more than 64 MB and more than a hundred times its size.
    """
    need = f"data: need an archive of numpy.savez with {' or '.join(', '.join(names) for names in choices)}"
    with reading(need, path, "write it with savez"), open_regular(path) as file, zipfile.ZipFile(file) as archive:
        found = [(entry.filename.removesuffix(".npy"), entry) for entry in archive.infolist()]
        entries = dict(found)
        names = next((choice for choice in choices if set(choice) <= set(entries)), None)
        if names is None:
            raise ValueError(f"arrays {', '.join(entries)[:100]}" if entries else "no arrays")
        if sum(name in names for name, _ in found) > len(names):
            raise ValueError("an array that is there twice")
        require_unpacked_size(sum(entries[name].file_size for name in names), file.seek(0, io.SEEK_END))
        return tuple(_member(archive, entries[name]) for name in names)


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile unpacks others without a bound
        raise ValueError(f"an array in a compression that numpy does not write, number {entry.compress_type}")
    with archive.open(entry) as member:
        return _array(member, entry.file_size)


def _array(file: IO[bytes], size: int) -> Any:
    """The array in a stream of that many bytes, which are those that its header announces."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format, which is for named fields")
    shape, by_columns, dtype = _HEADERS[version](file)
    if dtype.kind not in "biuf":
        raise ValueError(f"an array of {dtype}, which are no real numbers")
    there, count = size - file.tell(), math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != there:
        raise ValueError(f"a header of shape {str(shape)[:80]} and type {dtype} before {there} bytes")
    array = np.empty(count, dtype)
    _fill(array.view(np.uint8), file)
    return array.reshape(shape[::-1]).T if by_columns else array.reshape(shape)


def _fill(left: np.ndarray, file: IO[bytes]) -> None:
    """Read as many bytes as there is room for.  Raises ValueError if the file has fewer."""
    while len(left):
        chunk = file.read(min(len(left), _CHUNK))  # An archive compares the checksum when it gives the last byte.
        if not chunk:
            raise ValueError(f"an end {len(left)} bytes too early")
        left[: len(chunk)] = np.frombuffer(chunk, np.uint8)
        left = left[len(chunk) :]
