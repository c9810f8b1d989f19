"""One writer for each folder of a run, among all processes of all machines that share its file system."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

__all__ = ["lock_of", "sole_writer"]


def lock_of(folder: Path) -> Path:
    """The file beside the folder that its writer locks; it holds the name of the writer's machine and its process."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Train in `folder` as the only process that does; wait for the end of one that already does, and say so.

    The lock is POSIX's, which the file system keeps, NFS too, and which ends with the process that holds it, however
    that ends.  When the block ends without an error its file is removed: the run is finished then, and who waited for
    the lock, or makes the file anew, finds it so and only reads.  Where there are no such locks, on Windows, none is
    taken.

    Raises ValueError if the file can not be written or locked.
    """
    if os.name != "posix":
        yield
        return
    path = lock_of(folder)
    try:
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise _refused(folder, error) from error
    with file:
        try:
            _lock(file, folder)
            file.truncate(0)
            file.write(f"{socket.gethostname()} {os.getpid()}\n".encode())
        except OSError as error:
            raise _refused(folder, error) from error
        yield
        path.unlink(missing_ok=True)


def _lock(file: IO[bytes], folder: Path) -> None:
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().decode().strip()  # by this descriptor: closing another of the file would release its lock
        click.echo(f"{folder.name}: waiting for the process that trains it, {holder}", err=True)
        fcntl.lockf(file, fcntl.LOCK_EX)


def _refused(folder: Path, error: OSError) -> ValueError:
    return ValueError(
        f"table: need a folder that can be written to, on a file system with locks, got {folder.parent} "
        f"({error.strerror or error}); pass another, for a cluster one that all of its machines share."
    )
