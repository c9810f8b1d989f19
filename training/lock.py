"""One writer for each folder of a run, among all processes of all machines that share its file system."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOENT
from pathlib import Path

import click
from filelock import FileLock, Timeout

__all__ = ["lock_of", "sole_writer"]

# Seconds between two tries of a process that waits: a run lasts minutes.
_PATIENCE = 0.2


def lock_of(folder: Path) -> Path:
    """The file beside the folder that its writer locks. It names the machine, the process and the time."""
    folder = folder.resolve()  # a link to a folder has the lock of the folder
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def sole_writer(folder: Path, door: str, *, wait: bool = False) -> Iterator[None]:
    """Write into `folder` as the only process that does.

    door  the word that begins a message: the command that wants to write.
    wait  whether to wait for the end of another writer and say so, or to refuse at once.

    The operating system keeps the lock, NFS included. The lock ends with the process that holds it, however the process
    ends. The file is removed at the end; a process that waited for the removed file takes the lock of a new one.

    Raises ValueError if another process holds the lock, or if the file can not be written or locked.
    """
    path = lock_of(folder)
    lock = FileLock(path, fallback_to_soft=False, poll_interval=_PATIENCE)
    try:
        _acquire(lock, folder, door, wait)
        path.write_text(f"{socket.gethostname()} {os.getpid()} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n")
    except OSError as error:
        lock.release()
        raise ValueError(
            f"{door}: need a folder that can be written to, on a file system with locks, got {path.parent} "
            f"({error.strerror or error}); pass another, for a cluster one that all of its machines share."
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: FileLock, folder: Path, door: str, wait: bool) -> None:
    if not lock_of(folder).parent.is_dir():  # which filelock would make
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        owner, path = _owner(folder), lock_of(folder)
        if not wait:
            raise ValueError(
                f"{door}: need a folder that no other process writes, got {folder}, held by {owner}; wait for its end "
                f"or stop it, and if no such process is left, remove {path}."
            ) from None
        click.echo(f"{door}: waiting for {folder.name}, held by {owner}; if it is gone, remove {path}.", err=True)
        lock.acquire()


def _owner(folder: Path) -> str:
    try:
        host, process, since = lock_of(folder).read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # it has only just taken the lock
        return "a process that has not written its name yet"
    return f"process {process} on {host} since {since}"
