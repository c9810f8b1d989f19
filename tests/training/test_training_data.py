"""Data sets: shapes, normalisation and splits of what ships, and of files made here in every format that is read."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from training.data import HUB, Data, load

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(50, 4))
SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def npz(tmp_path: Path) -> Callable[..., str]:
    """Writes a .npz file of the arrays given."""

    def write(**arrays: Any) -> str:
        np.savez(tmp_path / "data.npz", **arrays)
        return str(tmp_path / "data.npz")

    return write


@pytest.fixture
def numbered(npz) -> str:
    """A hundred examples whose label says which one it is, and whose input is three times that."""
    return npz(x=3.0 * np.arange(100)[:, None], y=np.arange(100))


@pytest.fixture
def save_images(tmp_path: Path) -> Callable[[str, np.ndarray], str]:
    """Writes images below `folder`, in turn to its classes a and b; returns the folder of all."""

    def save(folder: str, images: np.ndarray) -> str:
        for k, pixels in enumerate(images):
            file = tmp_path / "images" / folder / "ab"[k % 2] / f"{k:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        return str(tmp_path / "images")

    return save


@pytest.fixture
def mnist(tmp_path: Path) -> tuple[str, np.ndarray]:
    """A folder with mnist/train.parquet and mnist/test.parquet as the hub has them, and the images of the latter."""
    images = {"train": random_images(30, 5, 7), "test": random_images(20, 5, 7)}
    (tmp_path / "mnist").mkdir()
    for split, pixels in images.items():
        column = [{"bytes": png(p), "path": None} for p in pixels]
        table = pa.table({"image": column, "label": np.arange(len(pixels)) % 10})
        pq.write_table(table, tmp_path / "mnist" / f"{split}.parquet")
    return str(tmp_path), images["test"]


def random_images(count: int, *shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, *shape), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def inputs(data: Data, split: str) -> Tensor:
    return getattr(data, f"x_{split}")


def labels(data: Data, split: str) -> Tensor:
    return getattr(data, f"y_{split}")


def assert_normalised(data: Data) -> None:
    """Mean 0 and mean square 1 over the training split, to the rounding of float32 inputs."""
    x = data.x_train.double()
    assert x.dtype == torch.float64
    assert {inputs(data, split).dtype for split in SPLITS} == {torch.float32}
    assert x.mean().item() == pytest.approx(0, abs=1e-6)
    assert x.square().mean().item() == pytest.approx(1, abs=1e-6)


def assert_same_up_to_scale(x: Tensor, pixels: np.ndarray) -> None:
    """x is an increasing affine function of the pixels, example by example and pixel by pixel."""
    assert x.shape == pixels.shape
    slope, intercept = np.polyfit(pixels.ravel(), x.ravel().double().numpy(), 1)
    assert slope > 0
    np.testing.assert_allclose(x.numpy(), slope * pixels + intercept, atol=1e-5)


def assert_same_data(one: Data, other: Data) -> None:
    for split in SPLITS:
        assert torch.equal(inputs(one, split), inputs(other, split))
        assert torch.equal(labels(one, split), labels(other, split))


def test_digits_are_1797_normalised_rows_of_64_features_in_ten_classes():
    data = load("digits")
    assert_normalised(data)
    assert [inputs(data, split).shape for split in SPLITS] == [(1294, 64), (144, 64), (359, 64)]
    for split in SPLITS:
        assert labels(data, split).unique().tolist() == list(range(10))
        assert len(labels(data, split)) == len(inputs(data, split))
    assert data.classes == 10


def test_one_mean_and_one_deviation_normalise_all_splits(numbered):
    data = load(numbered)
    assert_normalised(data)
    raw = 3.0 * labels(data, "train").double()
    for split in SPLITS:
        expected = (3.0 * labels(data, split).double() - raw.mean()) / raw.std(correction=0)
        torch.testing.assert_close(inputs(data, split)[:, 0].double(), expected, atol=1e-6, rtol=0)


def test_splits_are_disjoint_and_together_hold_every_example(numbered):
    data = load(numbered)
    assert [len(labels(data, split)) for split in SPLITS] == [72, 8, 20]
    assert sorted(torch.cat([labels(data, split) for split in SPLITS]).tolist()) == list(range(100))


def test_same_seed_makes_the_same_splits(numbered):
    assert_same_data(load(numbered, seed=3), load(numbered, seed=3))


def test_another_seed_validates_on_others_and_tests_on_the_same(numbered):
    one, other = load(numbered, seed=0), load(numbered, seed=1)
    assert set(one.y_validation.tolist()) != set(other.y_validation.tolist())
    assert torch.equal(one.y_test, other.y_test)


def test_four_arrays_of_a_npz_file_keep_their_test_set(npz):
    x, y = RANDOM.normal(size=(60, 2, 3)), np.arange(60)
    data = load(npz(x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:]))
    assert_normalised(data)
    assert_same_up_to_scale(data.x_test, x[40:])
    assert data.y_test.tolist() == list(range(40, 60))
    assert sorted(torch.cat([data.y_train, data.y_validation]).tolist()) == list(range(40))
    assert data.classes == 60


def test_moving_data_keeps_everything_but_the_device(numbered):
    data = load(numbered)
    moved = data.to(torch.device("meta"))
    assert {inputs(moved, split).device.type for split in SPLITS} == {"meta"}
    assert [inputs(moved, split).shape for split in SPLITS] == [inputs(data, split).shape for split in SPLITS]
    assert moved.classes == data.classes


def test_grey_image_folder_without_test_folder_gives_up_a_fifth(save_images):
    data = load(save_images(".", random_images(50, 4, 6)))
    assert_normalised(data)
    assert [inputs(data, split).shape for split in SPLITS] == [(36, 1, 4, 6), (4, 1, 4, 6), (10, 1, 4, 6)]
    assert data.classes == 2


def test_colour_image_folder_with_test_folder_has_channels_first(save_images):
    test = random_images(20, 4, 6, 3)
    save_images("train", random_images(30, 4, 6, 3))
    data = load(save_images("test", test))
    assert_normalised(data)
    assert [len(inputs(data, split)) for split in SPLITS] == [27, 3, 20]
    # Files are read class by class: the even ones are in folder a, the odd ones in folder b.
    assert_same_up_to_scale(data.x_test, np.moveaxis(np.concatenate([test[::2], test[1::2]]), -1, 1))
    assert data.y_test.tolist() == [0] * 10 + [1] * 10


def assert_is_mnist(data: Data, test_images: np.ndarray) -> None:
    assert_normalised(data)
    assert [inputs(data, split).shape for split in SPLITS] == [(27, 1, 5, 7), (3, 1, 5, 7), (20, 1, 5, 7)]
    assert_same_up_to_scale(data.x_test, test_images[:, None])
    assert data.y_test.tolist() == [*range(10)] * 2


def test_parquet_files_are_read_from_data_dir(mnist, monkeypatch):
    folder, test_images = mnist
    monkeypatch.setenv("GPSYM_DATA_DIR", "/nowhere, for the argument goes first")
    assert_is_mnist(load("mnist", data_dir=folder), test_images)


def test_parquet_files_are_read_from_the_environments_folder(mnist, monkeypatch):
    folder, test_images = mnist
    monkeypatch.setenv("GPSYM_DATA_DIR", folder)
    assert_is_mnist(load("mnist"), test_images)


def test_without_folder_the_hub_is_asked_and_its_silence_explained(monkeypatch):
    asked = []

    def no_answer(name: str) -> None:
        asked.append(name)
        raise ConnectionError("no route to host")

    monkeypatch.setattr("datasets.load_dataset", no_answer)
    with pytest.raises(ValueError, match=r"no answer from the Hugging Face hub .*pass --data-dir FOLDER with cifar10/"):
        load("cifar10")
    assert asked == [HUB["cifar10"]]


def test_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"need digits, mnist, fashion_mnist, cifar10, .*got imagenet;"):
        load("imagenet")


def test_missing_npz_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"an existing \.npz file .*missing\.npz"):
        load(str(tmp_path / "missing.npz"))


def test_missing_parquet_file_is_named(mnist):
    folder, _ = mnist
    Path(folder, "mnist", "test.parquet").unlink()
    with pytest.raises(ValueError, match=r"need .*mnist/test\.parquet, got no such file"):
        load("mnist", data_dir=folder)


def test_npz_file_of_other_arrays_is_refused(npz):
    with pytest.raises(
        ValueError, match=r"with x_train, y_train, x_test, y_test or x, y, got .*: arrays images, targets;"
    ):
        load(npz(images=np.zeros((20, 4)), targets=np.arange(20)))


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_and_examples_of_different_length_are_refused(npz, split):
    arrays = {"x_train": RANDOM.normal(size=(20, 4)), "y_train": np.arange(20),
              "x_test": RANDOM.normal(size=(20, 4)), "y_test": np.arange(20)}  # fmt: skip
    with pytest.raises(ValueError, match=rf"got 19 for 20 in the {split} split"):
        load(npz(**{**arrays, f"y_{split}": np.arange(19)}))


def test_fewer_than_ten_examples_are_refused(npz):
    with pytest.raises(ValueError, match="at least 10, got 4 for 4 in the test split"):
        load(npz(x=RANDOM.normal(size=(20, 4)), y=np.arange(20)))


@pytest.mark.parametrize("value", [0.0, 255.0])
def test_inputs_that_do_not_vary_are_refused(npz, value):
    with pytest.raises(ValueError, match="need inputs that vary"):
        load(npz(x=np.full((50, 4), value), y=np.arange(50)))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.full((50, 4), np.nan), np.arange(50), "need finite inputs, got nan"),
        (np.full((50, 4), -np.inf, ">f2"), np.arange(50), "need finite inputs, got -inf"),
        (np.zeros((50, 4), complex), np.arange(50), "an array of complex128, which are no real numbers"),
        (np.zeros(50), np.arange(50), r"need real inputs .* got float64 of shape \(50,\)"),
        (np.array(1.0), np.arange(50), r"need real inputs .* got float64 of shape \(\)"),
        (np.zeros((0, 4)), np.arange(0), r"need real inputs .* got float64 of shape \(0, 4\)"),
        (np.zeros((50, 0)), np.arange(50), r"need real inputs .* got float64 of shape \(50, 0\)"),
        (ROWS, np.arange(49), "need as many labels as examples, at least 10, got 49 for 50"),
        (ROWS, np.arange(50) - 1, "need labels 0, 1, 2, ..., got -1"),
        (ROWS, np.arange(50) + 0.5, "need one label .* got float64"),
        (ROWS, np.full(50, np.nan), "need one label .* got float64"),
        (ROWS, np.eye(50, dtype=int), r"need one label .* of shape \(50, 50\)"),
        (ROWS, np.array(3), r"need one label .* of shape \(\)"),
        (ROWS, np.arange(50) + 10**8, "need labels below the number of examples, 50, got 1000000"),
        (ROWS, np.full(50, 2**63 - 1), "need labels below the number of examples, 50, got 9223372036854775807"),
        (ROWS, np.full(50, 2**64 - 1, np.uint64), "need labels below .*, 50, got 18446744073709551615"),
        (ROWS * 1e300, np.arange(50), "need inputs that vary, by a standard deviation that float32 holds, got inf"),
        (ROWS * 1e-60, np.arange(50), "need inputs that vary, by a standard deviation that float32 holds, got 0.0"),
    ],
)
def test_malformed_arrays_are_refused(npz, x, y, message):
    with pytest.raises(ValueError, match=rf"^data: .*{message}.*; .*\.$"):
        load(npz(x=x, y=y))


def test_one_test_input_out_of_the_range_of_float32_is_refused(npz):
    arrays = {
        "x_train": ROWS,
        "y_train": np.arange(50),
        "x_test": ROWS * [[1e300], *[[1]] * 49],
        "y_test": np.arange(50),
    }
    with pytest.raises(ValueError, match="need inputs that are finite when normalised, got others"):
        load(npz(**arrays))


@pytest.mark.parametrize("dtype", [">f8", ">f4", "f2", "i1", ">i4", "u2", ">u8", "g"])
@pytest.mark.parametrize("layout", [np.asfortranarray, np.ascontiguousarray, lambda x: np.flip(np.flip(x).copy())])
def test_types_and_layouts_of_the_same_numbers_load_as_the_same_data(npz, dtype, layout):
    rows, labels = RANDOM.integers(0, 100, (50, 2, 3)), np.arange(50) % 7
    expected = load(npz(x=rows.astype(np.float64), y=labels))
    found = load(npz(x=layout(rows.astype(dtype)), y=layout(labels[:, None].astype(dtype)[:, 0].astype(">i2"))))
    assert_same_data(found, expected)
    assert found.classes == 7


def test_a_name_that_no_file_can_have_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("a" * 5000, "a\0b.npz", "\x1b[2J\n", str(tmp_path / "pipe.npz")):
        with pytest.raises(
            ValueError, match=r"^data: need digits, .* or a folder of images, got .*; pass one\.$"
        ) as refusal:
            load(name)
        assert str(refusal.value).isprintable()
        assert len(str(refusal.value)) < 500


def test_a_broken_file_and_unequal_shapes_are_refused(npz, tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match="need an archive of numpy"):
        load(str(tmp_path / "broken.npz"))
    arrays = {"x_train": RANDOM.normal(size=(20, 4)), "y_train": np.arange(20), "y_test": np.arange(20)}
    with pytest.raises(ValueError, match="test inputs of the shape of the training inputs"):
        load(npz(**arrays, x_test=RANDOM.normal(size=(20, 5))))


# As stored


def test_bytes_stay_bytes_and_are_normalised_in_parts_as_in_whole(npz):
    images = random_images(60, 2, 4, 5)
    data = load(npz(x=images, y=np.arange(60)))
    floats = load(npz(x=images.astype(np.float64), y=np.arange(60)))
    assert data.train.inputs.dtype == torch.uint8
    assert data.train.shape == (2, 4, 5)
    for name in SPLITS:
        split = getattr(data, name)
        assert set(split.inputs.flatten().tolist()) <= set(images.flatten().tolist())
        parts = torch.cat([split.normalised(part) for part in split.inputs.split(7)])
        assert torch.equal(parts, inputs(data, name))
        # One mean and one deviation, rounded to float32, in arithmetic of 24 bits or 53.
        torch.testing.assert_close(inputs(data, name), inputs(floats, name), atol=1e-6, rtol=0)


def test_other_numbers_are_normalised_once_and_for_all(npz):
    data = load(npz(x=RANDOM.normal(3, 2, size=(60, 4)), y=np.arange(60)))
    assert data.train.inputs.dtype == torch.float32
    assert data.train.normalised(data.train.inputs) is data.train.inputs
    assert data.train.mean == pytest.approx(3, abs=0.6)  # five standard errors of 216 numbers
    assert data.train.std == pytest.approx(2, abs=0.5)


def test_the_first_examples_of_a_split_are_a_split(numbered):
    split = load(numbered).test
    assert split.first(3).y.tolist() == split.y[:3].tolist()
    assert torch.equal(split.first(3).x, split.x[:3])
    assert len(split.first(1000)) == len(split) == 20


def test_means_over_inputs_do_not_need_all_at_once(npz, monkeypatch):
    data = load(npz(x=random_images(90, 3, 4), y=np.arange(90)))
    whole, absolute = data.input_mean_square, data.input_mean_absolute
    monkeypatch.setattr("training.data._CHUNK", 7)
    assert whole == pytest.approx(1, abs=1e-6)
    assert data.input_mean_square == pytest.approx(whole, abs=1e-6)
    assert data.input_mean_absolute == pytest.approx(absolute, abs=1e-6)
    assert absolute == pytest.approx(data.x_train.abs().mean().item(), abs=1e-6)
