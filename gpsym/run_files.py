"""JSON files of a training run: the one reader, which trusts nothing that it finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["read_object", "read_rows"]

# Bytes of a file, and digits of a whole number. A run of 100 layers writes 64 MB in about 10,000 epochs.
_MOST_BYTES = 2**26
_MOST_DIGITS = 300


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises ValueError for a file that is missing, larger than 64 MB, no UTF-8 or no JSON object, for NaN and infinity,
    which JSON lacks, for a key that is there twice and for whole numbers of more than 300 digits.
    """
    return _object(_text(path), path)


def read_rows(path: Path) -> tuple[dict[str, Any], ...]:
    """The JSON objects in a file, one a line and at least one. Raises ValueError as `read_object`."""
    rows = tuple(_object(line, path) for line in _text(path).splitlines())
    if not rows:
        raise ValueError(f"run: need at least one epoch in {path}, got none; train again.")
    return rows


def _text(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"run: need {path.name} in {path.parent}, got none; pass the folder of a training run.")
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise ValueError(f"run: need at most {_MOST_BYTES} bytes in {path}, got {size}; restore the file of the run.")
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"run: need JSON in {path}, got no UTF-8 ({error.reason}); train again.") from None


def _object(text: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=_integer, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"run: need JSON in {path}, got one that is nested too deeply; train again.") from None
    except ValueError as error:
        raise ValueError(f"run: need JSON in {path}, got {text[:40]!r} ({error}); train again.") from None
    if not isinstance(value, dict):
        raise ValueError(f"run: need a JSON object in {path}, got {text[:40]!r}; train again.")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found
