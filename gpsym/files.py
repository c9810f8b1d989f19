"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_text"]


def write_text(path: Path, text: str) -> None:
    """Write the text to `path` by way of a temporary file beside it, so that a reader never sees half of it.

    Raises ValueError if the parent folder is missing, `path` is there and no regular file, or writing fails.
    """
    path = path.resolve()  # the file that a link points to, not the link
    if not path.parent.is_dir():
        raise ValueError(f"output: need an existing folder to write into, got {path}; create {path.parent} first.")
    if path.exists() and not path.is_file():
        raise ValueError(f"output: need the name of a file, got {path}, which is none; choose another name.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(
            f"output: need to write {path}, got {error.strerror or error}; choose another place."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
