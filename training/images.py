"""Labelled images from Parquet files and folders that nobody vouches for.

From a Parquet file only the bytes of its images are read: paths and addresses in it are not followed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gpsym.reading import open_regular, reading, require_unpacked_size

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FORMATS", "MOST_BYTES", "class_names", "from_table", "read_images", "read_parquet"]

# What PIL may decode. For other formats it would start programs, as for EPS.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")

# Most bytes of the decoded images of one split.
MOST_BYTES = 2**32

# Modes of PIL whose numbers are read as they are, one channel for each letter or one of more bits, ...
_NUMBERS = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16L", "I;16B", "F")
# ... and those for which another mode says the same: black and white, and the entries of a palette.
_SAME = {"1": "L", "P": "RGB"}

_ROWS = 64  # decoded together
_LONGEST = 2**25  # most bytes of an encoded image

Labelled = tuple[np.ndarray, np.ndarray]


def read_parquet(path: Path) -> Labelled:
    """Images, (examples, channels, height, width), and labels of a Parquet file with columns image or img, and label.

    Raises ValueError for files that do not have these.
    """
    from pyarrow import parquet

    need = "data: need a Parquet file of images of one size and whole labels"
    with reading(need, path, "write it anew"), open_regular(path) as file:
        size = file.seek(0, io.SEEK_END)
        table = parquet.ParquetFile(file)
        groups = range(table.num_row_groups)
        require_unpacked_size(sum(table.metadata.row_group(group).total_byte_size for group in groups), size)
        rows = table.metadata.num_rows
        if rows > size:
            raise ValueError(f"{rows} rows in {size} bytes")
        column = _image_column(table.schema_arrow)
        return _stacked(_rows(table.iter_batches(batch_size=_ROWS, columns=[column, "label"]), column, rows), rows)


def from_table(table: Any) -> Labelled:
    """The same of a table of pyarrow."""
    column, rows = _image_column(table.schema), table.num_rows
    return _stacked(_rows(table.select([column, "label"]).to_batches(max_chunksize=_ROWS), column, rows), rows)


def _image_column(schema: Any) -> str:
    import pyarrow as pa

    column = next((name for name in ("image", "img") if name in schema.names), None)
    if column is None or "label" not in schema.names:
        raise ValueError(f"columns {', '.join(schema.names)[:100]} in place of image or img, and label")
    if not pa.types.is_integer(schema.field("label").type):
        raise ValueError(f"labels of type {str(schema.field('label').type)[:100]}")
    return column


def _rows(batches: Iterable[Any], column: str, count: int) -> Iterator[tuple[np.ndarray, int]]:
    """Image and label of each of `count` rows."""
    for batch in batches:
        if batch.column("label").null_count:
            raise ValueError("a row without a label")
        for content, label in zip(_encoded(batch.column(column)), batch.column("label").to_pylist(), strict=True):
            yield _decoded(content, count), label


def _encoded(column: Any) -> Iterator[bytes]:
    import pyarrow as pa

    content = column.field("bytes") if pa.types.is_struct(column.type) else column
    if not (pa.types.is_binary(content.type) or pa.types.is_large_binary(content.type)):
        raise ValueError(f"images of type {str(column.type)[:100]}")
    if column.null_count or content.null_count:
        raise ValueError("a row without the bytes of an image")
    for value in content:
        yield value.as_py()


def class_names(folder: Path) -> tuple[str, ...]:
    """The names of the class folders in a folder, sorted.  Raises ValueError if there are fewer than two."""
    with reading("data: need images in class folders, two or more", folder, "sort the images into folders"):
        classes = tuple(entry.name for entry in _folders(folder))
        if len(classes) < 2:
            raise ValueError(f"{len(classes)} class folders")
        return classes


def read_images(folder: Path, classes: Sequence[str]) -> Labelled:
    """Images, (examples, channels, height, width), in the folders of their classes, and labels: the classes' places.

    Raises ValueError for a folder of another class or without images; for images outside of the class folders or in
    folders inside them; for images of several sizes; and for images that do not decode.
    """
    need = f"data: need images of one size in folders of the {len(classes)} classes"
    with reading(need, folder, "sort and resize the images"):
        if loose := _images(folder):
            raise ValueError(f"the image {loose[0].name} outside of the class folders")
        if others := [entry.name for entry in _folders(folder) if entry.name not in classes]:
            raise ValueError(f"the folder {others[0]}, which is none of them")
        files = [(file, classes.index(entry.name)) for entry in _folders(folder) for file in _images_of_class(entry)]
        return _stacked(((_image(file, len(files)), label) for file, label in files), len(files))


def _image(file: Path, count: int) -> np.ndarray:
    with reading("data: need a whole image", file, "restore, convert or remove it"), open_regular(file) as opened:
        return _decoded(opened.read(_LONGEST + 1), count)


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    visible = (file for file in folder.iterdir() if not file.name.startswith("."))
    return sorted(file for file in visible if file.suffix.lower() in _suffixes())


@cache
def _suffixes() -> frozenset[str]:
    """Those of all images, such that one of another format is refused and not passed over."""
    from PIL import Image

    return frozenset(Image.registered_extensions())


def _images_of_class(folder: Path) -> list[Path]:
    images, inside = _images(folder), _folders(folder)
    if inside or not images:
        raise ValueError(f"the folder {inside[0].name} inside {folder.name}" if inside else f"none in {folder.name}")
    return images


def _decoded(content: bytes, count: int) -> np.ndarray:
    """The pixels of an encoded image, one of `count`: (height, width) or (height, width, channels)."""
    from PIL import Image, ImageOps

    if len(content) > _LONGEST:
        raise ValueError(f"an image of more than {_LONGEST} bytes")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"no image of the formats {', '.join(FORMATS)}") from error
    with image:
        _require_plain(image)
        _require_room(image, count)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return np.asarray(image.convert(_SAME[image.mode]) if image.mode in _SAME else image)


def _require_plain(image: Image.Image) -> None:
    """Raise ValueError for an image whose pixels are not all, or not what the file holds."""
    if image.mode not in (*_NUMBERS, *_SAME) or (image.mode == "P" and "transparency" in image.info):
        kind = "P with transparency" if image.mode == "P" else image.mode
        raise ValueError(f"an image of PIL's mode {kind}, which is neither grey nor RGB nor these with alpha")
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError("an image that moves, or of several pages")
    if image.mode.startswith(("LA", "RGB")) and any(_is_deep(tile) for tile in getattr(image, "tile", ())):
        raise ValueError("an image of more than eight bits for each of its colours, of which PIL reads eight")


def _is_deep(tile: Any) -> bool:
    """Whether a part of a colour image has sixteen bits, or in PPM a largest number above 255."""
    return ";16" in str(tile.args) or (tile.codec_name.startswith("ppm") and tile.args[1] > 255)


def _require_room(image: Image.Image, count: int) -> None:
    """Raise ValueError if `count` such images take too many bytes."""
    from PIL import ImageMode

    width, height = image.size
    mode = ImageMode.getmode(_SAME.get(image.mode, image.mode))
    size = count * width * height * len(mode.bands) * np.dtype(mode.typestr).itemsize
    if size > MOST_BYTES:
        raise ValueError(f"{count} images of {width} by {height} that take {size} bytes, more than {MOST_BYTES}")


def _stacked(examples: Iterator[tuple[np.ndarray, int]], count: int) -> Labelled:
    """The images as (examples, channels, height, width), and the labels."""
    x, y, found = np.empty(0), np.empty(count, np.int64), 0
    for found, (image, label) in enumerate(examples, start=1):
        if found == 1:
            x = np.empty((count, *image.shape), image.dtype)
        if found > count:
            raise ValueError(f"more than {count} images, which are announced")
        if (image.shape, image.dtype) != (x.shape[1:], x.dtype):
            raise ValueError(f"images of shape {x.shape[1:]} and {image.shape}, {x.dtype} and {image.dtype}")
        x[found - 1], y[found - 1] = image, label
    if found != count or not found:
        raise ValueError(f"{found} images in place of {max(count, 1)}")
    return x[:, None] if x.ndim == 3 else np.moveaxis(x, -1, 1), y
