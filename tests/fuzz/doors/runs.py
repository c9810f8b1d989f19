"""Doors for the files of a training run, each a file of a small sound run with changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import click
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gpsym.plot import read_run
from gpsym.report import _training_section
from tests.fuzz.harness import Door
from tests.fuzz.mutations import HOSTILE_PICKLE, broken_bytes, broken_json
from training import checkpoint
from training.cli import cli
from training.config import RunConfig
from training.trainer import train

__all__ = ["DOORS"]

_CONFIG = RunConfig("digits", "relu", width=8, depth=2, epochs=1, lr=1e-3, device="cpu")


class _Cut(BaseException):
    pass


@cache
def _sample(finished: bool) -> dict[str, bytes]:
    """The files of a run, finished or interrupted behind its first checkpoint."""
    save = checkpoint.save

    def cut(*arguments: Any) -> None:
        save(*arguments)
        if not finished:
            raise _Cut

    with tempfile.TemporaryDirectory() as name, mock.patch.object(checkpoint, "save", cut):
        folder = Path(name, "run")
        with contextlib.suppress(_Cut):
            train(_CONFIG, folder)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def _changed(file: str, finished: bool) -> SearchStrategy[bytes]:
    def made() -> SearchStrategy[bytes]:
        content = _sample(finished)[file]
        if file.endswith(".json"):
            return broken_json(json.loads(content)).map(lambda text: text.encode(errors="replace"))
        if file.endswith(".jsonl"):
            rows = [json.loads(line) for line in content.splitlines()]
            lines = [json.dumps(row) for row in rows[1:]]
            return broken_json(rows[0]).map(lambda row: "\n".join([row, *lines]).encode(errors="replace"))
        digest = hashlib.sha256().digest_size if file == "checkpoint.pt" else 0
        broken = st.one_of(broken_bytes(content[digest:]), st.just(HOSTILE_PICKLE))
        return broken.map(lambda part: hashlib.sha256(part).digest() + part) if digest else broken

    return st.deferred(made)  # trains when the first input is drawn


def _door(
    file: str, command: click.Command, program: str, finished: bool, read: Callable[[Path], Sequence[str]]
) -> Door:
    def knock(content: bytes, folder: Path) -> Sequence[str]:
        for name, sound in _sample(finished).items():
            (folder / "run").mkdir(exist_ok=True)
            (folder / "run" / name).write_bytes(content if name == file else sound)
        return read(folder)

    verb = read(Path("."))[0]
    return Door(f"{verb}-{file}", program, command, _changed(file, finished), knock)


def _resume(folder: Path) -> Sequence[str]:
    return ["resume", str(folder / "run")]


def _predict(folder: Path) -> Sequence[str]:
    return ["predict", str(folder / "run")]


@click.command()
@click.argument("name")
@click.argument("run", type=click.Path(path_type=Path))
def _section(name: str, run: Path) -> None:
    """The part of `gpsym report --run` that reads the run; the rest of the page takes longer than an input may."""
    _training_section(read_run(run))


def _report(folder: Path) -> Sequence[str]:
    return ["report", str(folder / "run")]


_TRAINING = "python -m training"
DOORS = [
    _door("config.json", cli, _TRAINING, True, _predict),
    _door("model.pt", cli, _TRAINING, True, _predict),
    _door("config.json", cli, _TRAINING, False, _resume),
    _door("checkpoint.pt", cli, _TRAINING, False, _resume),
    _door("summary.json", cli, _TRAINING, True, _resume),
    _door("summary.json", _section, "gpsym", True, _report),
    _door("metrics.jsonl", _section, "gpsym", True, _report),
]
