"""Files that outlive a crash: written whole or not at all, and checkpoints that know whether they are whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from training import tensors

__all__ = ["discard", "load", "run_of", "save", "serialized", "write_durably"]

_CURRENT, _PREVIOUS = "checkpoint.pt", "checkpoint.previous.pt"
_DIGEST = hashlib.sha256().digest_size
_MOST_OF_RUN = 2**26  # bytes; an ensemble names all of its runs


def save(folder: Path, state: dict[str, Any], run: Mapping[str, Any]) -> None:
    """Write a checkpoint into the folder; the one before it stays as the previous one.

    run  what determines the run, as JSON has it.

    A checkpoint is the SHA-256 of what follows, then the run as a line of JSON, then `torch.save` of the state: torch
    itself notices a changed byte in fewer than half of all cases.

    Raises ValueError if writing fails; the checkpoints are then as they were.
    """
    payload = json.dumps(run, sort_keys=True).encode() + b"\n" + serialized(state)
    partial = _write(folder / f".{_CURRENT}.partial", hashlib.sha256(payload).digest(), payload)
    if (folder / _CURRENT).exists():
        os.replace(folder / _CURRENT, folder / _PREVIOUS)  # a crash behind this line leaves the previous one to load
    os.replace(partial, folder / _CURRENT)
    _sync_folder(folder)


def load(
    folder: Path,
    run: Mapping[str, Any],
    expected: Callable[[], dict[str, Any]],
    holds: Callable[[dict[str, Any], dict[str, Any]], bool] = lambda _state, _like: True,
    room: int = 2**20,
) -> tuple[dict[str, Any] | None, str]:
    """(state, remark): the newest whole checkpoint of the folder, None if there is none, and what was wrong.

    run       what determines the run that is to go on.
    expected  makes parts like those of the state, by which names, shapes and types are checked. A part of the state
              may be None, and the state may have other parts.
    holds     whether a state could be the run's, given what `expected` made.
    room      bytes that the other parts may take.

    Raises ValueError if there are checkpoints and all are corrupt, or if the whole one belongs to another run or holds
    anything else.
    """
    there = [path for path in (folder / _CURRENT, folder / _PREVIOUS) if path.exists()]
    corrupt: list[Path] = []
    for path in there:
        if _is_whole(path):
            remark = f"{corrupt[0]} is corrupt; going on from {path.name}, the one before it." if corrupt else ""
            return _state(path, run, expected, holds, room), remark
        corrupt.append(path)
    if corrupt:
        raise ValueError(
            f"checkpoint: need a whole checkpoint to go on from, got {' and '.join(map(str, corrupt))}, which are "
            "corrupt; restore one from a copy, or train again into another folder."
        )
    return None, ""


def run_of(folder: Path) -> Mapping[str, Any] | None:
    """What determines the run of the newest whole checkpoint, None if there is none."""
    for path in (folder / _CURRENT, folder / _PREVIOUS):
        if path.exists() and _is_whole(path):
            with path.open("rb") as file:
                return _run(file, path)
    return None


def _state(
    path: Path,
    run: Mapping[str, Any],
    expected: Callable[[], dict[str, Any]],
    holds: Callable[[dict[str, Any], dict[str, Any]], bool],
    room: int,
) -> dict[str, Any]:
    with path.open("rb") as file:
        _require_same(_run(file, path), json.loads(json.dumps(run)), path)
        like, payload = expected(), file.tell()
        most = tensors.size(like) + room
        if path.stat().st_size - payload > most:
            raise _other(path, f"more than {most} bytes")
        state = tensors.unpickled(io.BytesIO(file.read()), most, f"checkpoint: need a state of the run in {path}")
    if not isinstance(state, dict):
        raise _other(path, "no names")
    there = {name: part for name, part in like.items() if state.get(name, part) is not None}
    if reason := tensors.fit({name: state.get(name) for name in there}, there):
        raise _other(path, reason)
    if not holds(state, like):
        raise _other(path, "other numbers")
    return state


def _run(file: IO[bytes], path: Path) -> Mapping[str, Any]:
    file.seek(_DIGEST)
    try:
        run = json.loads(file.readline(_MOST_OF_RUN))
    except (ValueError, RecursionError):
        run = None
    if not isinstance(run, dict):
        raise _other(path, "no configuration in front")
    return run


def _require_same(written: Mapping[str, Any], run: Mapping[str, Any], path: Path) -> None:
    for name in run.keys() | written.keys():
        old, new = (str(values.get(name, "none"))[:60] for values in (written, run))
        if written.get(name) != run.get(name):
            raise ValueError(
                f"checkpoint: need the {name} with which {path} was written, {old}, got {new}; put it back, or train "
                "again into another folder."
            )


def _other(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"checkpoint: need what a run wrote in {path}, got something else ({reason}); restore it from a copy, or train "
        "again into another folder."
    )


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


def _is_whole(path: Path) -> bool:
    """Whether the file is what was written, by its digest."""
    with path.open("rb") as file:
        digest = file.read(_DIGEST)
        return hashlib.file_digest(file, "sha256").digest() == digest


def _write(path: Path, *parts: bytes) -> Path:
    """The file with the parts on the disk itself; nothing if that fails."""
    try:
        with path.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
    except KeyboardInterrupt:
        path.unlink(missing_ok=True)
        raise
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
