"""Tensors from files that nobody vouches for: no code, no more memory than expected, and the expected content."""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import torch
from torch import Tensor

__all__ = ["fit", "read", "size", "unpickled"]

# Names that `torch.save` writes for dicts of tensors. torch allows more of them, such as bytearray, which takes as
# much memory as its argument says.
_NAMES = ("torch._utils _rebuild_tensor_v2", "collections OrderedDict")
_STORAGES = tuple(
    f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Byte", "Bool")
)

# Bytes of a file beside its tensors: names, shapes, padding.
_ROOM = 2**20


def read(file: IO[bytes], expected: Mapping[str, Tensor], need: str) -> dict[str, Tensor]:
    """The tensors in a file of `torch.save`, with the names, shapes and types of the expected ones, all finite.

    need  the beginning of a message: what must be there.

    Raises ValueError for any other content.
    """
    with file:
        found = unpickled(file, size(expected) + _ROOM, need)
    if (reason := fit(found, expected)) is not None:
        raise ValueError(f"{need}, got others ({reason}); train again.")
    return found


def size(value: Any) -> int:
    """Bytes of the tensors in a tree of mappings and lists; a kilobyte more each for what is written beside it."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size() + 1024
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return sum(size(part) for part in parts)


def unpickled(file: IO[bytes], most: int, need: str) -> Any:
    """What `torch.save` wrote into the file, which takes at most so many bytes when it is unpacked.

    Raises ValueError for any other content; nothing of it is executed.
    """
    try:
        there = file.seek(0, io.SEEK_END)
        if there > most:
            raise ValueError(f"{there} bytes, more than {most}")
        file.seek(0)
        _require_plain(file, most)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of zipfile, pickle and torch
        # The words of torch advise to execute the file.
        reason = str(error)[:200] if isinstance(error, ValueError | zipfile.BadZipFile) else "no tensors"
        raise ValueError(f"{need}, got others ({reason}); train again.") from error


def _require_plain(file: IO[bytes], most: int) -> None:
    """Raises ValueError unless the archive is stored as it is and names only what belongs to tensors."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("a compressed archive")
        if sum(entry.file_size for entry in entries) > most:
            raise ValueError(f"an archive of more than {most} bytes")
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                _require_names(archive.read(entry))


def _require_names(pickled: bytes) -> None:
    for code, argument, _ in pickletools.genops(pickled):
        if code.name in ("STACK_GLOBAL", "INST") or (code.name == "GLOBAL" and argument not in _NAMES + _STORAGES):
            raise ValueError(f"the name {str(argument)[:60]}, which no file of a run has")


def fit(found: Any, expected: Any, name: str = "it") -> str | None:
    """What is wrong with a tree of tensors, None if nothing is: names, types, shapes, and finite numbers."""
    if isinstance(expected, Tensor):
        return _fit_tensor(found, expected, name)
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping) or found.keys() != expected.keys():
            return f"{name} has other names"
        reasons = (fit(found[key], value, str(key)) for key, value in expected.items())
    elif isinstance(expected, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(expected):
            return f"{name} is another list"
        reasons = (fit(a, b, name) for a, b in zip(found, expected, strict=True))
    else:
        return None if type(found) is type(expected) else f"{name} is of another type"
    return next((reason for reason in reasons if reason is not None), None)


def _fit_tensor(found: Any, expected: Tensor, name: str) -> str | None:
    if not isinstance(found, Tensor) or found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{name} has another shape or type than {tuple(expected.shape)} {expected.dtype}"
    if found.is_floating_point() and not bool(found.isfinite().all()):
        return f"{name} has numbers that are not finite"
    return None
