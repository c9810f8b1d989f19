"""Data sets as tensors in three splits, train, validation and test: bytes as they are, other numbers normalised."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpsym.files import shown
from gpsym.reading import read_arrays, reading
from training.images import class_names, from_table, read_images, read_parquet

__all__ = ["HUB", "Data", "Split", "load", "normalised"]

# Names on the Hugging Face hub; a local folder holds NAME/train.parquet and NAME/test.parquet of the same schema.
HUB = {"mnist": "ylecun/mnist", "fashion_mnist": "zalando-datasets/fashion_mnist", "cifar10": "uoft-cs/cifar10"}

_TEST_FRACTION = 0.2  # of data sets that come without a test set
_VALIDATION_FRACTION = 0.1  # of the training set
_FEWEST = 10  # examples of a split

_CHUNK = 2000  # inputs that are normalised together where all would take much memory


@dataclass(frozen=True)
class Split:
    """Inputs, (examples, channels, height, width) or (examples, features), and their labels, whole numbers.

    inputs     bytes as they were stored, a quarter of the memory of float32, or float32 that is normalised.
    mean, std  of the training split before it was normalised.
    """

    inputs: Tensor
    y: Tensor
    mean: float
    std: float

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.inputs.shape[1:])

    @property
    def x(self) -> Tensor:
        """All inputs, normalised."""
        return self.normalised(self.inputs)

    def normalised(self, inputs: Tensor) -> Tensor:
        """Some of the inputs as float32 of mean 0 and mean square 1 over the training split, on their device."""
        return (inputs.float() - self.mean) / self.std if inputs.dtype == torch.uint8 else inputs

    def first(self, count: int) -> Split:
        """The first examples, at most that many."""
        return replace(self, inputs=self.inputs[:count], y=self.y[:count])

    def to(self, device: torch.device) -> Split:
        """The same examples on the device."""
        return replace(self, inputs=self.inputs.to(device), y=self.y.to(device))


@dataclass(frozen=True)
class Data:
    """Three disjoint splits; as x_train, ... their inputs of mean 0 and mean square 1 over the training split."""

    train: Split
    validation: Split
    test: Split
    classes: int

    @property
    def x_train(self) -> Tensor:
        return self.train.x

    @property
    def y_train(self) -> Tensor:
        return self.train.y

    @property
    def x_validation(self) -> Tensor:
        return self.validation.x

    @property
    def y_validation(self) -> Tensor:
        return self.validation.y

    @property
    def x_test(self) -> Tensor:
        return self.test.x

    @property
    def y_test(self) -> Tensor:
        return self.test.y

    @property
    def input_mean_square(self) -> float:
        """E[x^2] over the training split: 1 up to rounding."""
        return self._mean(torch.square)

    @property
    def input_mean_absolute(self) -> float:
        """E|x| over the training split."""
        return self._mean(torch.abs)

    def _mean(self, function: Callable[[Tensor], Tensor]) -> float:
        """The mean of a function of x over the training split."""
        chunks = self.train.inputs.split(_CHUNK)
        means = [function(self.train.normalised(chunk)).mean().item() for chunk in chunks]
        return fmean(means, weights=[len(chunk) for chunk in chunks])

    def to(self, device: torch.device) -> Data:
        """The same data on the device."""
        return replace(self, train=self.train.to(device), validation=self.validation.to(device),
                       test=self.test.to(device))  # fmt: skip


def load(name: str, *, data_dir: str | None = None, seed: int = 0) -> Data:
    """The data set `name`, to be normalised by one mean and one standard deviation, those of its training split.

    name      digits (ships with scikit-learn), mnist, fashion_mnist or cifar10; or the path of a .npz file with
              x_train, y_train, x_test, y_test (or x, y, from which a fifth is held out for testing), or of an
              ImageFolder (one folder per class, below train/ and test/ where there are those).
    data_dir  folder with NAME/train.parquet and NAME/test.parquet; the environment's GPSYM_DATA_DIR if None,
              the Hugging Face hub if there is none.
    seed      chooses the validation split, a tenth of the training set.

    Raises ValueError for an unknown name, and where files are missing or malformed.
    """
    x, y, x_test, y_test = _raw(name, data_dir or os.environ.get("GPSYM_DATA_DIR") or None)
    place = shown(Path(name))
    for part, inputs, labels in (("train", x, y), ("test", x_test, y_test)):
        if problem := _problem(inputs, labels):
            raise ValueError(f"data: need {problem} in the {part} split of {place}; correct the data.")
    if x.shape[1:] != x_test.shape[1:]:
        raise ValueError(
            f"data: need test inputs of the shape of the training inputs, got {x_test.shape[1:]} and {x.shape[1:]} "
            f"in {place}; correct the data."
        )
    classes, examples = int(max(y.max(), y_test.max())) + 1, len(y) + len(y_test)
    if classes > examples:  # Each class takes memory: it is an output of the network.
        raise ValueError(
            f"data: need labels below the number of examples, {examples}, got {classes - 1} in {place}; number the "
            "classes from 0."
        )
    order = np.random.default_rng(seed).permutation(len(x))
    held_out = max(1, round(_VALIDATION_FRACTION * len(x)))
    validation, train = order[:held_out], order[held_out:]
    with np.errstate(over="ignore", invalid="ignore"):
        moments = x[train].mean(dtype=np.float64), x[train].std(dtype=np.float64)
        mean, std = (float(np.float32(moment)) for moment in moments)
    if not 0 < std < math.inf:
        raise ValueError(
            f"data: need inputs that vary, by a standard deviation that float32 holds, got {std} in {place}; scale "
            "them."
        )

    def split(inputs: np.ndarray, labels: np.ndarray) -> Split:
        kept = torch.from_numpy(inputs) if inputs.dtype == np.uint8 else normalised(inputs, mean, std)
        return Split(kept, torch.from_numpy(labels.astype(np.int64)), mean, std)

    data = Data(split(x[train], y[train]), split(x[validation], y[validation]), split(x_test, y_test), classes)
    if not all(bool(part.inputs.isfinite().all()) for part in (data.train, data.validation, data.test)):
        raise ValueError(f"data: need inputs that are finite when normalised, got others in {place}; scale them.")
    return data


def normalised(inputs: np.ndarray, mean: float, std: float) -> Tensor:
    """(inputs - mean) / std as float32; numbers that are too large for it become infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return torch.from_numpy(((inputs - np.float32(mean)) / np.float32(std)).astype(np.float32))


def _problem(x: np.ndarray, y: np.ndarray) -> str | None:
    """What inputs and labels must be and are not, with what came; None if all is well."""
    if x.ndim < 2 or x.size == 0 or x.dtype.kind not in "buif":
        return f"real inputs of shape (examples, features...), got {x.dtype} of shape {x.shape}"
    if y.ndim != 1 or y.dtype.kind not in "bui":
        return f"one label 0, 1, 2, ... per example, got {y.dtype} of shape {y.shape}"
    if len(x) != len(y) or len(x) < _FEWEST:
        return f"as many labels as examples, at least {_FEWEST}, got {len(y)} for {len(x)}"
    if y.min() < 0:
        return f"labels 0, 1, 2, ..., got {y.min()}"
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        return f"finite inputs, got {x[~np.isfinite(x)][0]}"
    return None


Raw = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _raw(name: str, data_dir: str | None) -> Raw:
    """(x_train, y_train, x_test, y_test) as they are stored."""
    path = Path(name)
    if name == "digits":
        from sklearn.datasets import load_digits

        digits: Any = load_digits()
        return _hold_out(digits.data, digits.target)
    if name in HUB:
        return _parquet(name, data_dir)
    if path.suffix == ".npz" and os.path.isfile(path):
        return _npz(path)
    if os.path.isdir(path):  # where pathlib raises for a name that no file can have, os.path says no
        return _image_folder(path)
    raise ValueError(
        f"data: need digits, {', '.join(HUB)}, an existing .npz file or a folder of images, got {shown(path)}; "
        "pass one."
    )


def _hold_out(x: np.ndarray, y: np.ndarray) -> Raw:
    """A fifth held out for testing; always the same, whatever the seed of a run."""
    order = np.random.default_rng(0).permutation(len(x))
    cut = round(_TEST_FRACTION * len(x))
    return x[order[cut:]], y[order[cut:]], x[order[:cut]], y[order[:cut]]


def _npz(path: Path) -> Raw:
    x, y, *test = read_arrays(path, ("x_train", "y_train", "x_test", "y_test"), ("x", "y"))
    if test:
        return x, y, test[0], test[1]
    if problem := _problem(x, y):
        raise ValueError(f"data: need {problem} in {shown(path)}; correct the data.")
    return _hold_out(x, y)


def _parquet(name: str, data_dir: str | None) -> Raw:
    """The Hugging Face data set of this name, from the folder or from the hub."""
    if data_dir is None:
        return _from_hub(name)
    files = [Path(data_dir, name, f"{split}.parquet") for split in ("train", "test")]
    for file in files:
        if not os.path.exists(file):
            raise ValueError(f"data: need {shown(file)}, got no such file; pass the folder that holds {name}/.")
    (x, y), (x_test, y_test) = map(read_parquet, files)
    return x, y, x_test, y_test


def _from_hub(name: str) -> Raw:
    import datasets

    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(HUB[name])
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"data: need a copy of {name}, got no answer from the Hugging Face hub ({type(error).__name__}); "
            f"pass --data-dir FOLDER with {name}/train.parquet and {name}/test.parquet, or use digits."
        ) from error
    with reading("data: need images of one size and whole labels", Path(HUB[name]), "use digits"):
        (x, y), (x_test, y_test) = (from_table(found[split].data.table) for split in ("train", "test"))
    return x, y, x_test, y_test


def _image_folder(path: Path) -> Raw:
    train, test = path / "train", path / "test"
    if not train.is_dir():
        return _hold_out(*read_images(path, class_names(path)))
    classes = class_names(train)
    if not test.is_dir():
        return _hold_out(*read_images(train, classes))
    return (*read_images(train, classes), *read_images(test, classes))
