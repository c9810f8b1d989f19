"""Labelled images from Parquet files and folders that nobody vouches for.

Of a Parquet file only the bytes of its images are read: paths and addresses in it are not followed.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpsym.reading import open_regular, reading

__all__ = ["FORMATS", "MOST_BYTES", "from_table", "read_images", "read_parquet"]

# What PIL may decode; of other formats it would start programs, as for EPS.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp")

# Most bytes of the decoded images of one split.
MOST_BYTES = 2**32

_ROWS = 64  # decoded together
_LONGEST = 2**25  # most bytes of an encoded image

Labelled = tuple[np.ndarray, np.ndarray]


def read_parquet(path: Path) -> Labelled:
    """Images, (examples, channels, height, width), and labels of a Parquet file with columns image or img, and label.

    Raises ValueError for files that do not have these.
    """
    import pyarrow as pa
    from pyarrow import parquet

    need = "data: need a Parquet file of images of one size and whole labels"
    with reading(need, path, "write it anew", pa.lib.ArrowException), open_regular(path) as file:
        table = parquet.ParquetFile(file)
        column = _image_column(table.schema_arrow)
        batches = table.iter_batches(batch_size=_ROWS, columns=[column, "label"])
        return _labelled(batches, column, table.metadata.num_rows)


def from_table(table: Any) -> Labelled:
    """The same of a table of pyarrow."""
    column = _image_column(table.schema)
    return _labelled(table.select([column, "label"]).to_batches(max_chunksize=_ROWS), column, table.num_rows)


def _image_column(schema: Any) -> str:
    import pyarrow as pa

    column = next((name for name in ("image", "img") if name in schema.names), None)
    if column is None or "label" not in schema.names:
        raise ValueError(f"columns {', '.join(schema.names)[:100]} in place of image or img, and label")
    if not pa.types.is_integer(schema.field("label").type):
        raise ValueError(f"labels of type {schema.field('label').type}")
    return column


def _labelled(batches: Iterable[Any], column: str, rows: int) -> Labelled:
    labels: list[np.ndarray] = []

    def images() -> Iterator[np.ndarray]:
        for batch in batches:
            found = batch.column("label")
            if found.null_count:
                raise ValueError("a row without a label")
            labels.append(found.to_numpy(zero_copy_only=False))
            for content in _encoded(batch.column(column)):
                yield _decoded(content, rows)

    return _stacked(images(), rows), np.concatenate(labels)


def _encoded(column: Any) -> Iterator[bytes]:
    import pyarrow as pa

    content = column.field("bytes") if pa.types.is_struct(column.type) else column
    if not (pa.types.is_binary(content.type) or pa.types.is_large_binary(content.type)):
        raise ValueError(f"images of type {str(column.type)[:100]}")
    if column.null_count or content.null_count:
        raise ValueError("a row without the bytes of an image")
    for value in content:
        yield value.as_py()


def read_images(folder: Path) -> Labelled:
    """Images and labels of a folder of one folder per class; labels number these in the order of their names.

    Raises ValueError where there are fewer than two classes, or one without images; for images outside of the class
    folders or in folders inside them; and for images that do not decode.
    """
    need, remedy = "data: need images in class folders, two or more", "sort the images into folders"
    with reading(need, folder, remedy):
        classes = _folders(folder)
        if len(classes) < 2:
            raise ValueError(f"{len(classes)} class folders")
        if loose := _images(folder):
            raise ValueError(f"the image {loose[0].name} outside of the class folders")
        files = [(file, label) for label, entry in enumerate(classes) for file in _images_of_class(entry)]

    def images() -> Iterator[np.ndarray]:
        for file, _ in files:
            with reading("data: need a whole image", file, "restore or remove it"), open_regular(file) as opened:
                image = _decoded(opened.read(_LONGEST + 1), len(files))
            yield image

    with reading("data: need images of one size", folder, "resize them"):
        x = _stacked(images(), len(files))
    return x, np.array([label for _, label in files])


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)


def _images_of_class(folder: Path) -> list[Path]:
    images, inside = _images(folder), _folders(folder)
    if inside or not images:
        raise ValueError(f"the folder {inside[0].name} inside {folder.name}" if inside else f"none in {folder.name}")
    return images


def _decoded(content: bytes, count: int) -> np.ndarray:
    """The pixels of an encoded image, (height, width) or (height, width, channels), of which there are to be `count`."""
    from PIL import Image

    if len(content) > _LONGEST:
        raise ValueError(f"an image of more than {_LONGEST} bytes")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height * len(image.getbands()) * count > MOST_BYTES:
                raise ValueError(f"{count} images of {width} by {height}, more than {MOST_BYTES} bytes")
            return np.asarray(image)
    except Image.DecompressionBombError as error:
        raise ValueError("an image of more pixels than PIL decodes") from error


def _stacked(images: Iterator[np.ndarray], count: int) -> np.ndarray:
    """The images as (examples, channels, height, width)."""
    first = next(images, None)
    if first is None:
        raise ValueError("no images")
    x = np.empty((count, *first.shape), first.dtype)
    x[0] = first
    found = 1
    for found, image in enumerate(images, start=2):
        if found > count or (image.shape, image.dtype) != (first.shape, first.dtype):
            raise ValueError(f"images of shape {first.shape} and {image.shape}, {first.dtype} and {image.dtype}")
        x[found - 1] = image
    if found != count:
        raise ValueError(f"{found} images in place of {count}")
    return x[:, None] if x.ndim == 3 else np.moveaxis(x, -1, 1)
