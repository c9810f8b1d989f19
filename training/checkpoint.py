"""Files that outlive a crash: written whole or not at all, and checkpoints that know whether they are whole."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

__all__ = ["discard", "load", "save", "serialized", "write_durably"]

_CURRENT, _PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
_DIGEST = hashlib.sha256().digest_size


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint into the folder; the one before it stays as the previous one.

    A checkpoint is the SHA-256 of what follows, then `torch.save` of the state: torch itself notices a changed byte in
    fewer than half of all cases.

    Raises ValueError if writing fails; the checkpoints are then as they were.
    """
    payload = serialized(state)
    partial = _write(folder / f".{_CURRENT}.partial", hashlib.sha256(payload).digest(), payload)
    if (folder / _CURRENT).exists():
        os.replace(folder / _CURRENT, folder / _PREVIOUS)  # a crash behind this line leaves the previous one to load
    os.replace(partial, folder / _CURRENT)
    _sync_folder(folder)


def load(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """(state, remark): the newest whole checkpoint of the folder, None if there is none, and what was wrong.

    Raises ValueError if there are checkpoints and all are corrupt.
    """
    there = [path for path in (folder / _CURRENT, folder / _PREVIOUS) if path.exists()]
    corrupt: list[Path] = []
    for path in there:
        if (state := _read(path)) is not None:
            return state, f"{corrupt[0]} is corrupt; going on from {path.name}, the one before it." if corrupt else ""
        corrupt.append(path)
    if corrupt:
        raise ValueError(
            f"checkpoint: need a whole checkpoint to go on from, got {' and '.join(map(str, corrupt))}, which are "
            "corrupt; restore one from a copy, or train again into another folder."
        )
    return None, ""


def discard(folder: Path) -> None:
    """Remove the checkpoints of a run that is finished."""
    for name in (_CURRENT, _PREVIOUS, f".{_CURRENT}.partial"):
        (folder / name).unlink(missing_ok=True)


def write_durably(path: Path, content: bytes) -> None:
    """Write the file so that a crash at any moment leaves the old content or the new.

    Raises ValueError if writing fails; the file is then as it was.
    """
    os.replace(_write(path.with_name(f".{path.name}.partial"), content), path)
    _sync_folder(path.parent)


def serialized(state: Any) -> bytes:
    """What `torch.save` writes: `torch.load` reads it with weights_only."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _read(path: Path) -> dict[str, Any] | None:
    """The state in a checkpoint, None if it is not what was written."""
    content = path.read_bytes()
    digest, payload = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)


def _write(path: Path, *parts: bytes) -> Path:
    """The file with the parts on the disk itself; nothing if that fails."""
    try:
        with path.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ValueError(
            f"run: need room for {path.with_name(path.name.removeprefix('.').removesuffix('.partial'))}, got "
            f"{error.strerror or error}; make some, then python -m training resume {path.parent}."
        ) from error
    return path


def _sync_folder(folder: Path) -> None:
    """Bring the folder's names to the disk, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
