"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_text"]


def write_text(path: Path, text: str) -> None:
    """Write the text to `path` by way of a temporary file beside it, so that a reader never sees half of it.

    Raises ValueError if the parent folder is missing or `path` is a folder.
    """
    if not path.parent.is_dir():
        raise ValueError(f"output: need an existing folder to write into, got {path}; create {path.parent} first.")
    if path.is_dir():
        raise ValueError(f"output: need the name of a file, got the folder {path}; add a file name.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
