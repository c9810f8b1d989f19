"""Arrays from files: right in every layout that numpy writes, and one sentence for anything else."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gpsym.reading import UnreadableError, read_array, read_arrays, reading

ROWS = np.arange(12.0).reshape(3, 4)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes bytes into a file."""

    def write(content: bytes) -> Path:
        path = tmp_path / "rows"
        path.write_bytes(content)
        return path

    return write


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def with_header(shape: str, data: bytes = b"", dtype: str = "'<f8'") -> bytes:
    """A .npy file whose header announces the shape, in front of the data."""
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def archive(entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as found:
        for name, data in entries:
            found.writestr(name, data)
    return content.getvalue()


def assert_refused(act: Callable[[], object], *words: str) -> None:
    """One sentence with these words, and no more memory than a file of that size may take."""
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableError, match=r"^\w+: need .*, got .*/rows: .+; write .*\.$") as refusal:
            act()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    message = str(refusal.value)
    assert all(word in message for word in words), message
    assert message.isprintable()
    assert len(message) < 1000
    assert peak < 2**26


@pytest.mark.parametrize(
    "array",
    [
        ROWS, np.asfortranarray(ROWS), ROWS.astype(">f8"), ROWS.astype(">i2"), ROWS.astype(np.float16), ROWS[::2, ::-1],
        np.asfortranarray(np.arange(24, dtype=">u4").reshape(2, 3, 4)), ROWS > 5, np.array(3.5), np.zeros((0, 4)),
        np.zeros((3, 0)), ROWS.astype(np.longdouble),
    ],
    ids=lambda array: f"{array.dtype.str}-{array.shape}",
)  # fmt: skip
def test_every_layout_of_real_numbers_is_read_as_numpy_reads_it(file, array):
    found = read_array(file(npy(array)))
    np.testing.assert_array_equal(found, array, strict=True)
    assert found.dtype == array.dtype
    content = io.BytesIO()
    np.savez_compressed(content, x=array, y=ROWS)
    x, y = read_arrays(file(content.getvalue()), ("x", "y"))
    np.testing.assert_array_equal(x, array, strict=True)
    np.testing.assert_array_equal(y, ROWS)


STRUCTURED = np.zeros(3, [("a", "f8"), ("b", "i4")])
BROKEN = {
    "empty": (b"", "EOF"),
    "text": (b"1, 2, 3\n" * 10, "magic string"),
    "pickle": (pickle.dumps(ROWS), "magic string"),
    "truncated": (npy(ROWS)[:-5], "a header of shape (3, 4) and type float64 before 91 bytes"),
    "appended": (npy(ROWS) + b"\0", "before 97 bytes"),
    "two arrays": (npy(ROWS) * 2, "before "),
    "cut in the header": (npy(ROWS)[:40], "EOF"),
    "1e12 rows": (with_header("(1000000000000, 8)", bytes(64)), "shape (1000000000000, 8)"),
    "1e400 rows": (with_header(f"(1{'0' * 40}, 1{'0' * 40})", bytes(64)), "a header of shape"),
    "negative": (with_header("(-1, -8)", bytes(64)), "a header of shape (-1, -8)"),
    "no rows of 1e30": (with_header(f"(0, 1{'0' * 30})"), ""),
    "65 dimensions": (with_header(str((1,) * 65), bytes(8)), ""),
    "shape of text": (with_header("'8'", bytes(64)), "shape"),
    "code in the header": (with_header("(__import__('os').mkdir('canary'),)"), ""),
    "deep": (with_header("(" * 5000 + "1" + ")" * 5000), ""),
    "objects": (with_header("(1,)", pickle.dumps([ROWS]), "'|O'"), "an array of object, which are no real numbers"),
    "records": (npy(STRUCTURED), "no real numbers"),
    "rows in a type": (with_header("(2,)", bytes(48), "('<f8', (3,))"), "no real numbers"),
    "complex": (npy(ROWS + 1j), "complex128, which are no real numbers"),
    "text array": (npy(np.array(["a", "b"])), "no real numbers"),
    "dates": (npy(np.array(["2020-01-01"], "datetime64[D]")), "no real numbers"),
    "version 3": (npy(ROWS).replace(b"NUMPY\x01", b"NUMPY\x03", 1), "version (3, 0)"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_anything_else_is_refused_in_one_sentence(file, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, words = BROKEN[name]
    assert_refused(lambda: read_array(file(content)), words)
    assert_refused(lambda: read_arrays(file(archive([("x.npy", content)])), ("x",)), words)
    assert not Path("canary").exists()


@pytest.mark.parametrize("place", range(0, 300, 7))
def test_a_flipped_bit_of_an_archive_is_refused_or_changes_nothing(file, place):
    content = bytearray(archive([("x.npy", npy(ROWS))]))
    content[place % len(content)] ^= 4
    found = ROWS
    with suppress(UnreadableError):
        (found,) = read_arrays(file(bytes(content)), ("x",))
    np.testing.assert_array_equal(found, ROWS)


def _encrypted(content: bytes) -> bytes:
    """The same with the flag of encryption at both places of each entry."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        changed[content.index(signature) + offset] |= 1
    return bytes(changed)


def _claimed(content: bytes, size: int) -> bytes:
    """The same where each entry is said to have `size` bytes when it is unpacked."""
    changed = bytearray(content)
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", changed, content.index(signature) + offset, size)
    return bytes(changed)


SOUND = ("x.npy", npy(ROWS))
LONG = npy(np.zeros(10**8, np.uint8))
ARCHIVES = {
    "no archive": (npy(ROWS), "not a zip file"),
    "empty": (b"", "not a zip file"),
    "cut": (archive([SOUND])[:-30], "not a zip file"),
    "no entries": (archive([]), "no arrays"),
    "other names": (archive([("images.npy", npy(ROWS))]), "arrays images"),
    "odd names": (archive([("\x1b[2J.npy", npy(ROWS))]), r"arrays \x1b[2J"),
    "another name": (archive([("y.npy", npy(ROWS))]), "arrays y"),
    "a name twice": (archive([SOUND, ("x", npy(ROWS + 1))]), "an array that is there twice"),
    "a bomb": (archive([("x.npy", LONG)]), "bytes when it is unpacked, more than 67108864"),
    "a bomb in bzip2": (archive([("x.npy", LONG[:2**20])], zipfile.ZIP_BZIP2), "a compression that numpy does not"),
    "a bomb in lzma": (archive([("x.npy", LONG[:2**20])], zipfile.ZIP_LZMA), "a compression that numpy does not"),
    "encrypted": (_encrypted(archive([SOUND])), "encrypted"),
    "claims too much": (_claimed(archive([SOUND]), 2**25), "a header of shape (3, 4)"),
    "claims too little": (_claimed(archive([SOUND]), 100), ""),
    "holds less than it claims": (
        _claimed(archive([("x.npy", with_header("(1000,)", bytes(80)))]), 128 + 8000), "bytes too early"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_numpy_did_not_write_is_refused_in_one_sentence(file, name):
    content, words = ARCHIVES[name]
    path = file(content)
    assert_refused(lambda: read_arrays(path, ("x",)), words)


def test_the_first_choice_that_is_whole_is_read_and_the_rest_is_not(file):
    path = file(archive([("y.npy", npy(ROWS + 1)), ("b.npy", b"broken"), SOUND, ("a.npy", b"broken")]))
    x, y = read_arrays(path, ("a", "b", "c"), ("x", "y"))
    np.testing.assert_array_equal(x, ROWS)
    np.testing.assert_array_equal(y, ROWS + 1)


def test_an_archive_may_unpack_to_a_hundred_times_its_size(file, monkeypatch):
    monkeypatch.setattr("gpsym.reading._SMALL", 0)
    sparse = np.zeros((100, 1000))
    sparse[:, ::50] = np.random.default_rng(0).normal(size=(100, 20))
    (found,) = read_arrays(file(archive([("x.npy", npy(sparse))])), ("x",))
    np.testing.assert_array_equal(found, sparse)
    assert_refused(lambda: read_arrays(file(archive([("x.npy", npy(0 * sparse))])), ("x",)), "when it is unpacked")


@pytest.mark.parametrize("read", [read_array, lambda path: read_arrays(path, ("x",))], ids=["npy", "npz"])
def test_what_is_no_regular_file_is_not_opened(tmp_path, read):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name, reason in (
        ("folder", "no regular file"), ("pipe", "no regular file"), ("zeros", "no regular file"), ("loop", "ymbolic"),
        ("none", "No such file"), ("a" * 5000, "name too long"), ("a\0b", "null"), ("a\x1b\n", r"a\\x1b\\n: No such"),
    ):  # fmt: skip
        with pytest.raises(UnreadableError, match=reason) as refusal:
            read(tmp_path / name)
        assert str(refusal.value).isprintable()
        assert len(str(refusal.value)) < 600


def test_a_link_to_an_array_is_read(file, tmp_path):
    (tmp_path / "link.npy").symlink_to(file(npy(ROWS)))
    np.testing.assert_array_equal(read_array(tmp_path / "link.npy"), ROWS)


@pytest.mark.parametrize(
    "error", [OSError(2, "No such"), KeyError("x"), MemoryError(), RecursionError("deep"), SyntaxError("a\nb" * 900)]
)
def test_a_reason_is_never_empty_long_or_of_several_lines(tmp_path, error):
    with (
        pytest.raises(UnreadableError, match=r"^a: need b, got .*: \S.*; do c\.$") as refusal,
        reading("a: need b", tmp_path, "do c"),
    ):
        raise error
    assert len(str(refusal.value)) < 500
    assert refusal.value.__cause__ is error


def test_a_sentence_passes_as_it_is(tmp_path):
    refused = pytest.raises(UnreadableError, match=rf"^a: need b, got {tmp_path}: why; do c\.$")
    with refused, reading("x: need y", tmp_path, "do z"), reading("a: need b", tmp_path, "do c"):
        raise ValueError("why.")
