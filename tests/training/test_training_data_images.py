"""Images of Parquet files and folders: every kind is read right or refused in one sentence."""

import io
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training import images
from training.data import load
from training.images import class_names, read_images, read_parquet

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
COLOUR = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder with the class a, of one image, and the class b, of the same, each in a file of that name."""

    def write(content: bytes, name: str = "x.png") -> Path:
        for letter in "ab":
            (tmp_path / "images" / letter).mkdir(parents=True, exist_ok=True)
            (tmp_path / "images" / letter / name).write_bytes(content)
        return tmp_path / "images"

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Writes the columns given into a Parquet file."""

    def write(**columns: object) -> Path:
        path = tmp_path / "train.parquet"
        pq.write_table(pa.table(columns), path, compression="zstd")
        return path

    return write


def encoded(image: Image.Image | np.ndarray, style: str = "PNG", **options: object) -> bytes:
    content = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(content, style, **options)
    return content.getvalue()


def first_of(folder: Path) -> np.ndarray:
    """The pixels of the first image, (channels, height, width)."""
    x, y = read_images(folder, class_names(folder))
    assert y.tolist() == [0, 1]
    np.testing.assert_array_equal(x[0], x[1])
    return x[0]


def assert_refused(act: Callable[[], object], message: str) -> None:
    """One sentence, and no more memory than a few small images take."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"^data: need (?!.*data: ).*, got .*{message}.*; .*\.$") as refusal:
            act()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 1000
    assert peak < 2**26


# Kinds of images


def _palette(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels).quantize(256)


GREY16 = RANDOM.integers(0, 2**16, (5, 7), dtype=np.uint16)
READ = {
    "grey": (encoded(GREY), GREY[None]),
    "colour": (encoded(COLOUR), np.moveaxis(COLOUR, -1, 0)),
    "bmp": (encoded(COLOUR, "BMP"), np.moveaxis(COLOUR, -1, 0)),
    "ppm": (encoded(COLOUR, "PPM"), np.moveaxis(COLOUR, -1, 0)),
    "webp": (encoded(COLOUR, "WEBP", lossless=True), np.moveaxis(COLOUR, -1, 0)),
    "tiff": (encoded(COLOUR, "TIFF"), np.moveaxis(COLOUR, -1, 0)),
    "tiff in lzw": (encoded(COLOUR, "TIFF", compression="tiff_lzw"), np.moveaxis(COLOUR, -1, 0)),
    "alpha": (encoded(np.dstack([COLOUR, GREY])), np.moveaxis(np.dstack([COLOUR, GREY]), -1, 0)),
    "grey with alpha": (encoded(np.dstack([GREY, GREY])), np.stack([GREY, GREY])),
    "palette": (encoded(_palette(COLOUR)), np.moveaxis(np.asarray(_palette(COLOUR).convert("RGB")), -1, 0)),
    "gif": (encoded(_palette(COLOUR), "GIF"), np.moveaxis(np.asarray(_palette(COLOUR).convert("RGB")), -1, 0)),
    "black and white": (encoded(GREY > 99), np.where(GREY > 99, 255, 0)[None]),
    "grey of 16 bits": (encoded(GREY16), GREY16[None]),
    "big-endian": (encoded(GREY16.astype(">u2"), "TIFF"), GREY16[None]),
    "floats": (encoded(GREY.astype(np.float32) / 7, "TIFF"), GREY[None].astype(np.float32) / np.float32(7)),
}


@pytest.mark.parametrize("kind", READ)
def test_pixels_are_those_that_the_image_shows(folder, parquet, kind):
    content, expected = READ[kind]
    np.testing.assert_array_equal(first_of(folder(content)), expected)
    for column in ([content] * 2, [{"bytes": content, "path": "/etc/passwd"}] * 2):
        x, y = read_parquet(parquet(image=column, label=[3, 1]))
        np.testing.assert_array_equal(x, [expected] * 2)
        assert y.tolist() == [3, 1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_that_says_how_it_is_to_be_turned_is_turned(folder, orientation):
    from PIL import ExifTags, ImageOps

    image = Image.fromarray(COLOUR)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    content = encoded(image, exif=image.getexif())
    with Image.open(io.BytesIO(content)) as again:
        expected = np.asarray(ImageOps.exif_transpose(again))
    assert expected.shape[:2] == ((5, 7) if orientation < 5 else (7, 5))
    np.testing.assert_array_equal(first_of(folder(content)), np.moveaxis(expected, -1, 0))


def _png(width: int, height: int, depth: int, colour: int, data: bytes = b"") -> bytes:
    """A PNG of that size, bits and kind of colour, whose data may be wrong."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, 0])
    packed = zlib.compress(data)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _moving(style: str) -> bytes:
    return encoded(COLOUR, style, save_all=True, append_images=[Image.fromarray(COLOUR[::-1].copy())])


DEEP = "more than eight bits for each of its colours"
REFUSED = {
    "empty": (b"", "no image of the formats PNG"),
    "text": (b"no image" * 9, "no image of the formats PNG"),
    "EPS, which PIL would run a program for": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of"),
    "an icon, which is no format for data": (encoded(Image.new("RGB", (16, 16)), "ICO"), "no image of the formats"),
    "truncated": (encoded(COLOUR)[:-40], ""),
    "truncated JPEG": (encoded(Image.new("RGB", (99, 99)), "JPEG")[:-40], "truncated"),
    "flipped byte": (encoded(COLOUR).replace(b"IDAT", b"IDAU"), ""),
    "CMYK": (encoded(Image.new("CMYK", (7, 5)), "JPEG"), "PIL's mode CMYK"),
    "LAB": (encoded(Image.new("LAB", (7, 5)), "TIFF"), "PIL's mode LAB"),
    "palette with transparency": (encoded(_palette(COLOUR), transparency=1), "P with transparency"),
    "colour of 16 bits": (_png(2, 1, 16, 2, bytes(13)), DEEP),
    "grey of 16 bits with alpha": (_png(2, 1, 16, 4, bytes(9)), DEEP),
    "colour of 16 bits with alpha": (_png(2, 1, 16, 6, bytes(17)), DEEP),
    "PPM of 16 bits": (b"P6 2 1 65535\n" + bytes(12), DEEP),
    "PPM of 10 bits as text": (b"P3 2 1 1023\n1 2 3 4 5 6\n", DEEP),
    "animated GIF": (_moving("GIF"), "an image that moves"),
    "animated PNG": (_moving("PNG"), "an image that moves"),
    "animated WEBP": (_moving("WEBP"), "an image that moves"),
    "pages of TIFF": (_moving("TIFF"), "of several pages"),
    "bomb": (_png(60_000, 60_000, 8, 0), "decompression bomb"),
    "many pixels": (_png(13_000, 13_000, 8, 6), "take 1352000000 bytes, more than 1073741824"),
    "no pixels": (_png(0, 5, 8, 0), ""),
    "2^31 columns": (_png(2**31 - 1, 1, 8, 0), "decompression bomb"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_images_that_would_not_be_read_right_are_refused(folder, parquet, kind, monkeypatch):
    monkeypatch.setattr(images, "MOST_BYTES", 2**30)
    content, message = REFUSED[kind]
    place = folder(content)
    assert_refused(lambda: read_images(place, class_names(place)), rf"a/x\.png: .*{message}")
    path = parquet(image=[content] * 2, label=[0, 1])
    assert_refused(lambda: read_parquet(path), rf"train\.parquet: .*{message}")


def test_pixels_that_are_not_finite_are_refused(tmp_path):
    for k in range(60):
        pixels = np.full((4, 4), k, np.float32)
        pixels[2, 2] = np.nan if k == 40 else 0
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "ab"[k % 2] / f"{k}.tiff")
    with pytest.raises(
        ValueError, match=r"^data: need finite inputs, got nan in the \w+ split of .*; correct the data"
    ):
        load(str(tmp_path))


# Folders


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "c").mkdir(), r"images: none in c"),
        (lambda f: (f / "c").symlink_to(f), r"images: the folder a inside c"),
        (lambda f: (f / "a" / "more").mkdir(), "the folder more inside a"),
        (lambda f: (f / "loose.JPG").touch(), r"the image loose\.JPG outside of the class folders"),
        (lambda f: (f / "a" / "y.png").write_bytes(encoded(GREY.T)), r"images of shape \(5, 7, 3\) and \(7, 5\)"),
        (lambda f: (f / "a" / "y.png").write_bytes(encoded(GREY)), r"images of shape \(5, 7, 3\) and \(5, 7\)"),
        (lambda f: (f / "a" / "y.tga").touch(), r"a/y\.tga: no image of the formats PNG"),
        (lambda f: (f / "a" / "y.png").symlink_to("nowhere"), r"a/y\.png: No such file"),
        (lambda f: os.mkfifo(f / "a" / "y.png"), r"a/y\.png: no regular file"),
        (lambda f: (f / "a" / "y.png").symlink_to("/dev/zero"), r"a/y\.png: no regular file"),
        (lambda f: (f / "b").rename(f / ".b"), "images: 1 class folders"),
        (lambda f: (f / "a" / "y\x1b.png").write_bytes(b""), r"a/y\\x1b\.png: no image"),
        (lambda f: os.truncate(f / "a" / "x.png", 2**26), r"a/x\.png: an image of more than 33554432 bytes"),
    ],
)
def test_a_folder_that_is_not_sorted_by_class_is_refused(folder, change, message):
    place = folder(encoded(COLOUR))
    change(place)
    assert_refused(lambda: load(str(place)), message)


def test_hidden_files_and_files_that_are_no_images_are_passed_over(folder):
    place = folder(encoded(COLOUR))
    for name in ("a/._x.png", "a/notes.txt", "notes.txt", "._x.png"):
        (place / name).write_text("no image")
    (place / ".hidden").mkdir()
    (place / "a" / ".hidden").mkdir()
    assert first_of(place).shape == (3, 5, 7)


def test_a_link_to_an_image_is_an_image(folder, tmp_path):
    place = folder(encoded(COLOUR))
    (place / "a" / "x.png").rename(tmp_path / "elsewhere")
    (place / "a" / "x.png").symlink_to(tmp_path / "elsewhere")
    np.testing.assert_array_equal(first_of(place), np.moveaxis(COLOUR, -1, 0))


def _classes(folder: Path, counts: dict[str, int]) -> None:
    """Grey images by class, each of one number: the place of the class among all letters."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(np.full((2, 2), ord(name), np.uint8)).save(folder / name / f"{k}.png")


def test_a_class_has_one_label_in_both_splits_though_one_lacks_it(tmp_path):
    _classes(tmp_path / "train", {"a": 10, "b": 10, "c": 10})
    _classes(tmp_path / "test", {"c": 10, "b": 3})
    data = load(str(tmp_path))
    assert data.y_test.tolist() == [1] * 3 + [2] * 10
    assert data.classes == 3
    for split in (data.train, data.validation, data.test):
        assert (split.inputs[:, 0, 0, 0] - ord("a")).tolist() == split.y.tolist()


def test_a_class_that_the_training_split_lacks_is_refused(tmp_path):
    _classes(tmp_path / "train", {"a": 10, "c": 10})
    _classes(tmp_path / "test", {"a": 10, "b": 3})
    assert_refused(lambda: load(str(tmp_path)), "test: the folder b, which is none of them")


# Parquet


ONE = encoded(GREY)
LABELS = [0, 1]
LOST = {"bytes": None, "path": "/etc/passwd"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"image": [], "label": []}, "labels of type null"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "0 images in place of 1"),
        ({"picture": [ONE] * 2, "label": LABELS}, "columns picture, label in place of image or img, and label"),
        ({"image": [ONE] * 2}, "columns image in place of"),
        ({"a\x1b\n" * 99: [ONE] * 2}, r"columns a\\x1b"),
        ({"image": [ONE] * 2, "label": ["0", "1"]}, "labels of type string"),
        ({"image": [ONE] * 2, "label": [0.0, 1.0]}, "labels of type double"),
        ({"image": [ONE] * 2, "label": [True, False]}, "labels of type bool"),
        ({"image": [ONE] * 2, "label": [[0], [1]]}, "labels of type list"),
        ({"image": [ONE] * 2, "label": [0, None]}, "a row without a label"),
        ({"image": [ONE] * 2, "label": pa.array([0, 2**64 - 1], pa.uint64())}, "too large"),
        ({"image": [ONE, None], "label": LABELS}, "a row without the bytes"),
        ({"image": [LOST] * 2, "label": LABELS}, "images of type struct<bytes: null"),
        ({"image": [{"bytes": ONE, "path": None}, LOST], "label": LABELS}, "a row without the bytes"),
        ({"image": [{"bytes": ONE, "path": None}, None], "label": LABELS}, "a row without the bytes"),
        ({"image": [{"path": "/etc/passwd"}] * 2, "label": LABELS}, ""),
        ({"image": [[1, 2], [3]], "label": LABELS}, "images of type list"),
        ({"image": ["x.png"] * 2, "label": LABELS}, "images of type string"),
        ({"image": [None, None], "label": LABELS}, "images of type null"),
        ({"image": [{"bytes": [ONE], "path": ""}] * 2, "label": LABELS}, "images of type struct<bytes: list"),
        ({"image": pa.array([ONE] * 2).dictionary_encode(), "label": LABELS}, "images of type dictionary"),
        ({"image": [ONE, encoded(COLOUR)], "label": LABELS}, r"images of shape \(5, 7\) and \(5, 7, 3\)"),
        ({"image": [ONE, encoded(GREY16)], "label": LABELS}, "uint8 and uint16"),
        ({"image": [bytes(2**26 + 1)], "label": [0]}, "bytes when it is unpacked, more than 67108864"),
        ({"image": [ONE] * 10**5, "label": [0] * 10**5}, "100000 rows in"),
    ],
)  # fmt: skip
def test_a_table_without_images_and_whole_labels_is_refused(parquet, columns, message):
    path = parquet(**columns)
    assert_refused(lambda: read_parquet(path), message)


def test_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([ONE]), pa.array([0]), pa.array([1])], ["image", "label", "label"])
    pq.write_table(table, tmp_path / "train.parquet")
    assert_refused(lambda: read_parquet(tmp_path / "train.parquet"), "label")


@pytest.mark.parametrize(
    "change", [lambda c: c[:-9], lambda c: c[:40], lambda c: c + b"0", lambda c: b"", lambda c: ONE]
)
def test_bytes_that_are_no_parquet_file_are_refused(parquet, change):
    path = parquet(image=[ONE] * 2, label=LABELS)
    path.write_bytes(change(path.read_bytes()))
    assert_refused(lambda: read_parquet(path), r"train\.parquet: ")


def test_a_pipe_in_place_of_a_parquet_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "train.parquet")
    assert_refused(lambda: read_parquet(tmp_path / "train.parquet"), "no regular file")


def test_rows_are_read_in_their_order_over_groups_of_any_size(tmp_path):
    pixels = RANDOM.integers(0, 256, (200, 3, 2), dtype=np.uint8)
    table = pa.table({"img": [encoded(p) for p in pixels], "label": np.arange(200, dtype=np.int8)})
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=77, compression="zstd")
    x, y = read_parquet(tmp_path / "train.parquet")
    np.testing.assert_array_equal(x[:, 0], pixels)
    assert y.tolist() == list(np.arange(200).astype(np.int8))


def test_labels_may_be_whole_numbers_of_any_kind_that_parquet_has(parquet):
    for labels in (pa.array([7, 3, 7]).dictionary_encode(), pa.array([7, 3, 7], pa.uint64())):
        _, y = read_parquet(parquet(image=[ONE] * 3, label=labels))
        assert y.tolist() == [7, 3, 7]


def test_the_hubs_table_is_read_as_its_parquet_file_is(monkeypatch):
    import datasets

    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(num_classes=10))
    pixels = RANDOM.integers(0, 256, (20, 3, 2), dtype=np.uint8)
    rows = {"image": [Image.fromarray(p) for p in pixels], "label": [k % 10 for k in range(20)]}
    split = datasets.Dataset.from_dict(rows, features)
    monkeypatch.setattr("datasets.load_dataset", lambda _name: {"train": split, "test": split})
    data = load("mnist")
    np.testing.assert_array_equal(data.test.inputs[:, 0], pixels)
    assert data.y_test.tolist() == rows["label"]
    broken = split.rename_column("image", "picture")
    monkeypatch.setattr("datasets.load_dataset", lambda _name: {"train": split, "test": broken})
    assert_refused(lambda: load("mnist"), "ylecun/mnist: columns picture, label")
