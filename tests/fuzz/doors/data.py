"""Doors for data: arrays, archives, tables and images, each sound but for a place or two, and the weights of a run."""

from __future__ import annotations

import io
import json
import math
import os
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from PIL import Image

from gpsym.cli import cli as gpsym
from tests.fuzz.doors.runs import sample
from tests.fuzz.harness import Door, Outcome
from tests.fuzz.mutations import CODE, HOSTILE_PICKLE, Pickled, broken_bytes
from training.cli import cli as training
from training.data import load

__all__ = ["DOORS"]

_RANDOM = np.random.default_rng(0)
_ROWS = _RANDOM.normal(size=(12, 3))
_LABELS = np.arange(12) % 4


def _saved(array: Any, *, pickled: bool = False) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=pickled)
    return content.getvalue()


# Arrays

_SHAPES = st.sampled_from(
    ("()", "(12,)", "(12, 3)", "(3, 12)", "(0, 3)", "(12, 0)", "(12, 3, 1)", "(-1, 3)", "(1000000000000, 8)",
     "(12, 3.0)", "(2**62, 2)", "(4611686018427387904, 4)", "(True, 3)", "12", "[12, 3]", "None", f"({CODE},)",
     f"(1{'0' * 400},)",
     "(" + "1," * 65 + ")", "(" * 3000)
)  # fmt: skip
_TYPES = st.sampled_from(
    ("'<f8'", "'>f8'", "'<f2'", "'|b1'", "'<u8'", "'<c16'", "'|O'", "'<U3'", "'|V8'", "'<M8[s]'", "[('a', '<f8')]",
     "('<f8', (3,))", "'f8, f8'", "'<f0'", "8", CODE)
)  # fmt: skip
_NUMBERS = st.sampled_from((0.0, -1.0, 0.5, 1e8, 1e300, -1e300, 1e-300, math.nan, math.inf, 2.0**63 - 1, 2.0**64))
_KINDS = st.sampled_from(
    ("<f8", ">f8", "<f4", "<f2", "g", "<i8", ">i2", "<u8", "|u1", "|b1", "<c16", "|O", "<U3", "<M8[s]")
)


@st.composite
def _forged(draw: DrawFn) -> bytes:
    """A .npy file whose header says something else than what follows."""
    order = draw(st.sampled_from(("False", "True", "2", "None")))
    header = f"{{'descr': {draw(_TYPES)}, 'fortran_order': {order}, 'shape': {draw(_SHAPES)}, }}\n".encode()
    version = draw(st.sampled_from((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00")))
    length = struct.pack("<H" if version[0] == 1 else "<I", len(header) % 2**16)
    return b"\x93NUMPY" + version + length + header + _ROWS.tobytes()


@st.composite
def _changed(draw: DrawFn, array: np.ndarray) -> bytes:
    """The array in another type and order, with another number, or of another shape."""
    values = array.astype(np.float64)
    if draw(st.booleans()):
        values[draw(st.integers(0, len(values) - 1))] = draw(_NUMBERS)
    with np.errstate(all="ignore"):
        values = values.astype(draw(_KINDS))
    shape = draw(st.sampled_from((array.shape, array.shape, array.shape[::-1], (-1,), (array.size, 1, 1))))
    order = draw(st.sampled_from((np.asarray, np.asfortranarray, np.flip)))
    return _saved(order(values.reshape(shape)), pickled=True)


def _arrays(array: np.ndarray) -> SearchStrategy[bytes]:
    sound = _saved(array)
    hostile = st.sampled_from(
        (b"", HOSTILE_PICKLE, _saved(np.array([Pickled()]), pickled=True), sound + b"0", sound * 2)
    )
    return st.one_of(broken_bytes(sound), _forged(), _changed(array), hostile)


def _kernel(content: bytes, folder: Path) -> Sequence[str]:
    (folder / "rows.npy").write_bytes(content)
    return ["kernel", "relu", "--depth=1", f"--input={folder / 'rows.npy'}", f"--output={folder / 'k.npy'}"]


def _kernel_answer(content: bytes, folder: Path, _outcome: Outcome) -> None:
    rows = np.load(io.BytesIO(content), allow_pickle=False)
    found = np.load(folder / "k.npy", allow_pickle=False)
    assert found.shape == (len(rows), len(rows))
    assert np.isfinite(found).all()


# Data sets


@click.command()
@click.argument("name")
@click.option("--data-dir")
def _load(name: str, data_dir: str | None) -> None:
    """Load a data set, and print what it came to."""
    data = load(name, data_dir=data_dir)
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    counts = {split: [*part.x.shape] for split, part in splits.items()}
    labels = sorted(torch.cat([part.y for part in splits.values()]).tolist())
    finite = all(bool(part.x.isfinite().all()) for part in splits.values())
    click.echo(json.dumps({"counts": counts, "labels": labels, "finite": finite, "classes": data.classes}))


def _loaded(labels: Sequence[int], shape: Sequence[int], outcome: Outcome) -> None:
    """Raise AssertionError unless the data came to these labels and inputs of this shape."""
    found = json.loads(outcome.out)
    assert found["labels"] == sorted(labels)
    assert found["finite"]
    assert found["classes"] == max(labels) + 1
    assert {tuple(counts[1:]) for counts in found["counts"].values()} == {tuple(shape)}


_FOUR: Mapping[str, np.ndarray] = {
    "x_train": _ROWS,
    "y_train": _LABELS,
    "x_test": _ROWS[::-1].copy(),
    "y_test": _LABELS,
}
_NAMES = st.sampled_from((*_FOUR, "x", "y", "x_train.npy", "../x_train", "", CODE))


@st.composite
def _archives(draw: DrawFn) -> bytes:
    """An archive of four arrays of which one or two are broken, have another name or are there twice."""
    entries = [(name, _saved(array)) for name, array in _FOUR.items()]
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, 3))
        name, _content = entries[place]
        match draw(st.sampled_from(("array", "array", "name", "twice", "long"))):
            case "array":
                entries[place] = name, draw(_arrays(_FOUR[name]) if name in _FOUR else _forged())
            case "name":
                entries[place] = draw(_NAMES), entries[place][1]
            case "twice":
                entries.append((name, draw(_arrays(_ROWS))))
            case _:
                entries[place] = name, _saved(np.zeros(2**22, np.uint8))
    content = io.BytesIO()
    compression = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))
    with zipfile.ZipFile(content, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two arrays of one name
        for name, data in entries:
            archive.writestr(f"{name}.npy", data)
    return draw(broken_bytes(content.getvalue())) if draw(st.booleans()) else content.getvalue()


def _npz(content: bytes, folder: Path) -> Sequence[str]:
    (folder / "data.npz").write_bytes(content)
    return [str(folder / "data.npz")]


def _npz_answer(content: bytes, _folder: Path, outcome: Outcome) -> None:
    with np.lib.npyio.NpzFile(io.BytesIO(content)) as arrays:  # numpy.load asks for more: that it begins the file
        four = "x_train" in arrays and "x_test" in arrays
        labels = [arrays[name] for name in (("y_train", "y_test") if four else ("y",))]
        shape = arrays["x_train" if four else "x"].shape[1:]
    _loaded([int(label) for part in labels for label in part], shape, outcome)


# Images

_STYLES = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "ICO", "EPS", "TGA", "JPEG2000")
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F", "LAB", "YCbCr")


@cache
def _image(mode: str = "L", style: str = "PNG", frames: int = 1, size: tuple[int, int] = (4, 3)) -> bytes:
    """An image of that mode in that format; an empty file where the format has no such mode."""
    pictures = [Image.linear_gradient("L").resize(size).rotate(90 * k) for k in range(frames)]
    content = io.BytesIO()
    try:
        first, *rest = [picture.convert("L" if mode == "LAB" else mode) for picture in pictures]
        first.save(content, style, **({"save_all": True, "append_images": rest} if rest else {}))
    except (OSError, ValueError, KeyError):
        return b""
    return content.getvalue()


_PICTURES = st.one_of(
    st.builds(_image, st.sampled_from(_MODES), st.sampled_from(_STYLES), st.sampled_from((1, 1, 2))),
    st.builds(lambda style: _image("RGB", style), st.sampled_from(_STYLES)).flatmap(broken_bytes),
    st.builds(_image, size=st.sampled_from(((3, 4), (1, 1), (4096, 4096)))),
    st.sampled_from((b"", HOSTILE_PICKLE, b"P5 99999 99999 255\n", b"P6 4 3 65535\n" + bytes(72))),
)


def _put(folder: Path, name: str, content: bytes) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "test" / "a" / "pipe.png")


_FOLDERS: Mapping[str, Callable[[Path], object]] = {
    "as it is": lambda _: None,
    "a pipe": _pipe,
    "a device": lambda folder: (folder / "train" / "a" / "zero.png").symlink_to("/dev/zero"),
    "a loop": lambda folder: (folder / "train" / "c").symlink_to(folder / "train"),
    "a loose end": lambda folder: (folder / "train" / "b" / "end.png").symlink_to("nowhere"),
    "an empty class": lambda folder: (folder / "train" / "c").mkdir(),
    "a class of the test": lambda folder: _put(folder, "test/c/0.png", _image()),
    "a loose image": lambda folder: _put(folder, "train/0.png", _image()),
    "no test": lambda folder: (folder / "test").rename(folder / "validation"),
    "a file for a folder": lambda folder: (folder / "test").rename(folder / "train" / "a" / "x.png"),
    "an odd name": lambda folder: _put(folder, "train/a/\x1b[2J\n.png", b""),
}  # fmt: skip
_FOLDER = tuple(f"{split}/{label}/{k}.png" for split in ("train", "test") for label in "ab" for k in range(5))


def _images(value: tuple[str, Sequence[tuple[int, bytes]]], folder: Path) -> Sequence[str]:
    change, broken = value
    contents = dict.fromkeys(range(len(_FOLDER)), _image()) | dict(broken)
    for place, content in contents.items():
        _put(folder / "data", _FOLDER[place], content)
    _FOLDERS[change](folder / "data")
    return [str(folder / "data")]


def _images_answer(value: tuple[str, Sequence[tuple[int, bytes]]], _folder: Path, outcome: Outcome) -> None:
    change, _ = value
    assert change == "as it is"
    _loaded([0] * 10 + [1] * 10, (1, 3, 4), outcome)


# Tables

_COLUMNS: Mapping[str, Any] = {
    "text": ["a"] * 12, "null": [None] * 12, "float": [0.5] * 12, "bool": [True] * 12, "list": [[1]] * 12,
    "struct": [{"bytes": _image(), "path": CODE}] * 12, "path": [{"path": "/etc/passwd"}] * 12,
    "bytes": [_image()] * 12,
    "lost": [{"bytes": None, "path": "/etc/passwd"}, *[{"bytes": _image(), "path": None}] * 11],
    "nested": [{"bytes": {"bytes": _image()}}] * 12,
    "map": pa.array([[("a", 1)]] * 12, pa.map_(pa.string(), pa.int8())),
    "dictionary": pa.array(["a"] * 12).dictionary_encode(), "decimal": pa.array([1] * 12, pa.decimal128(5, 2)),
    "negative": [-1] * 12, "huge": [2**63 - 1] * 12, "unsigned": pa.array([2**64 - 1] * 12, pa.uint64()),
    "one null": [None, *range(11)], "dates": pa.array([0] * 12, pa.timestamp("s")), "labels": [*_LABELS],
}  # fmt: skip


@st.composite
def _tables(draw: DrawFn) -> bytes:
    """A Parquet file of images and labels, of which a column, a row or a byte is broken."""
    pictures: Any = [_image()] * 12
    labels: Any = _LABELS
    name = draw(st.sampled_from(("image", "image", "image", "img", "picture", "label")))
    match draw(st.sampled_from(("nothing", "image", "images", "labels", "rows"))):
        case "image":
            pictures[draw(st.integers(0, 11))] = draw(_PICTURES)
        case "images":
            pictures = _COLUMNS[draw(st.sampled_from(sorted(_COLUMNS)))]
        case "labels":
            labels = _COLUMNS[draw(st.sampled_from(sorted(_COLUMNS)))]
        case "rows":
            count = draw(st.sampled_from((0, 1, 9, 10**4)))
            pictures, labels = pa.array([_image()] * count, pa.binary()), pa.array([0] * count)
    content = io.BytesIO()
    table = pa.Table.from_arrays([pa.array(pictures), pa.array(labels)], [name, "label"])
    compression = draw(st.sampled_from(("none", "snappy", "zstd", "gzip")))
    pq.write_table(table, content, compression=compression, row_group_size=draw(st.sampled_from((5, 2**20))))
    return draw(broken_bytes(content.getvalue())) if draw(st.booleans()) else content.getvalue()


@cache
def _test_table() -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table({"image": [_image()] * 12, "label": _LABELS}), content)
    return content.getvalue()


def _parquet(content: bytes, folder: Path) -> Sequence[str]:
    _put(folder, "mnist/train.parquet", content)
    _put(folder, "mnist/test.parquet", _test_table())
    return ["mnist", f"--data-dir={folder}"]


def _parquet_answer(content: bytes, _folder: Path, outcome: Outcome) -> None:
    labels = pq.read_table(io.BytesIO(content), columns=["label"])["label"].to_pylist()
    _loaded([*labels, *_LABELS.tolist()], (1, 3, 4), outcome)


# Weights

_TENSORS: Mapping[str, Callable[[torch.Tensor], Any]] = {
    "NaN": lambda w: torch.full_like(w, math.nan), "infinite": lambda w: w / 0, "double": torch.Tensor.double,
    "flat": torch.Tensor.flatten, "strided": lambda w: w.movedim(0, -1).contiguous().movedim(-1, 0),
    "expanded": lambda w: w[:1].expand_as(w), "sparse": torch.Tensor.to_sparse, "meta": lambda w: w.to("meta"),
    "list": torch.Tensor.tolist, "None": lambda _: None, "complex": lambda w: w + 0j, "halves": torch.Tensor.half,
    "parameter": torch.nn.Parameter, "conjugate": lambda w: (w + 1j).conj(), "large": lambda w: w + 1e38,
    "imaginary": lambda w: (w + 1j).conj().imag, "code": lambda _: Pickled(), "empty": lambda _: torch.empty(0),
    "huge": lambda _: torch.zeros(1).expand(10**15),
}  # fmt: skip


def _weights(value: tuple[str, int, str], folder: Path) -> Sequence[str]:
    change, place, key = value
    for name, content in sample(True).items():
        _put(folder, f"run/{name}", content)
    path = folder / "run" / "model.pt"
    state = dict(torch.load(path, weights_only=True))
    name = sorted(state)[place % len(state)]
    state[name if key == "same" else key] = _TENSORS[change](state.pop(name))
    torch.save(state, path)
    return ["predict", str(folder / "run")]


DOORS = (
    Door("npy", "gpsym", gpsym, _arrays(_ROWS), _kernel, _kernel_answer),
    Door("npz", "python -m training", _load, _archives(), _npz, _npz_answer),
    Door("parquet", "python -m training", _load, _tables(), _parquet, _parquet_answer),
    Door(
        "images", "python -m training", _load,
        st.tuples(
            st.sampled_from(sorted(_FOLDERS)),
            st.lists(st.tuples(st.integers(0, len(_FOLDER) - 1), _PICTURES), max_size=2),
        ),
        _images, _images_answer,
    ),
    Door(
        "weights", "python -m training", training,
        st.tuples(
            st.sampled_from(sorted(_TENSORS)), st.integers(0, 9), st.sampled_from(("same", "same", "extra", CODE))
        ),
        _weights,
    ),
)  # fmt: skip
