"""Files that are written whole or not at all, and arrays read from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["read_array", "write_array", "write_figure", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write the text to `path`, whole; see `write_array`."""
    _write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_array(path: Path, array: Any) -> None:
    """Write a numpy array to `path` in numpy's format, by way of a temporary file beside it.

    Raises ValueError if the parent folder is missing, `path` is there and no regular file, or writing fails.
    """
    import numpy as np

    def save(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array)

    _write(path, save)


def write_figure(path: Path, figure: Any) -> None:
    """Write a Matplotlib figure to `path`, whole, in the format that its name ends in; see `write_array`.

    Raises ValueError for names that do not end in .png, .svg or .pdf.
    """
    style = path.suffix.lower()
    if style not in (".png", ".svg", ".pdf"):
        raise ValueError(f"output: need a name that ends in .png, .svg or .pdf, got {path.name}; choose one.")
    _write(path, lambda temporary: figure.savefig(temporary, format=style[1:], dpi=150))


def read_array(path: Path) -> Any:
    """The array of numbers in a file of numpy's format.

    Raises ValueError if there is no such file, or if it holds anything else.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"input: need a file by numpy.save, got {path}: {reason}; write one.") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"input: need an array of real numbers, got {path}, of {array.dtype}; convert it.")
    return array


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    path = path.resolve()  # the file that a link points to, not the link
    if not path.parent.is_dir():
        raise ValueError(f"output: need an existing folder to write into, got {path}; create {path.parent} first.")
    if path.exists() and not path.is_file():
        raise ValueError(f"output: need the name of a file, got {path}, which is none; choose another name.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(
            f"output: need to write {path}, got {error.strerror or error}; choose another place."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
