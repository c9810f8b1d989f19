"""Classes and their probabilities by the network that a run kept."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gpsym import CriticalInit
from gpsym.files import read_array
from gpsym.torch import activation_module
from training import data, models, records
from training.config import RunConfig
from training.optimisation import input_factor

__all__ = ["Prediction", "predict", "trained_network"]


@dataclass(frozen=True)
class Prediction:
    """For each input the probabilities of the classes, (inputs, classes), and its label where it is known."""

    probabilities: np.ndarray
    labels: np.ndarray | None = None

    @property
    def classes(self) -> np.ndarray:
        """The most probable class of each input."""
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> float | None:
        """Fraction of inputs whose class is the label; None where labels are not known."""
        return None if self.labels is None else float((self.classes == self.labels).mean())


def trained_network(folder: Path) -> nn.Sequential:
    """The network of a run with the weights in its model.pt, in evaluation mode on the CPU.

    Raises ValueError for a folder without a run or without weights, and for weights of another network.
    """
    values = records.read_config(folder)
    config = RunConfig.from_dict(values)
    design = CriticalInit.from_dict(values["design"])
    network = models.build(
        config.model, values["input_shape"], values["classes"], width=config.width, depth=config.depth,
        activation=lambda: activation_module(design), alpha=config.alpha,
        input_factor=input_factor(config.input_scale, design, values["input_mean_square"]),
    )  # fmt: skip
    path = folder / records.WEIGHTS
    if not path.is_file():
        raise ValueError(f"predict: need weights in {path}, got none; the run has not come to its first epoch.")
    try:
        network.load_state_dict(torch.load(io.BytesIO(path.read_bytes()), weights_only=True))
    except Exception as error:  # whatever a damaged file makes of the unpickler
        raise ValueError(f"predict: need weights of the run in {path}, got others ({error}); train again.") from error
    return network.eval()


def predict(folder: Path, file: Path | None = None, *, batch_size: int = 2000) -> Prediction:
    """What the network of a run makes of the rows of a .npy file, or of the test split of its data set.

    file  rows as the data set of the run stores them, before normalisation: (inputs, *shape) or (inputs, features).

    Raises ValueError for a folder, a file or rows that do not serve.
    """
    network, values = trained_network(folder), records.read_config(folder)
    labels = None
    if file is None:
        test = data.load(values["data"], data_dir=values["data_dir"], seed=values["seed"]).test
        x, labels = test.x, test.y.numpy()
    else:
        x = _rows(file, tuple(values["input_shape"]), values["input_mean"], values["input_std"])
    with torch.no_grad():
        probabilities = torch.cat([network(rows).double().softmax(1) for rows in x.split(batch_size)])
    return Prediction(probabilities.numpy(), labels)


def _rows(file: Path, shape: tuple[int, ...], mean: float, std: float) -> Tensor:
    """The rows of a file, normalised as the run's training split was."""
    rows = read_array(file)
    if rows.ndim < 2 or not len(rows) or rows.shape[1:] not in (shape, (int(np.prod(shape)),)):
        raise ValueError(f"predict: need rows of shape {shape} in {file}, got {rows.shape}; save (inputs, *shape).")
    if not np.isfinite(rows).all():
        raise ValueError(f"predict: need finite numbers in {file}, got some that are not; remove their rows.")
    normalised = ((rows.reshape(len(rows), *shape) - np.float32(mean)) / np.float32(std)).astype(np.float32)
    return torch.from_numpy(normalised)
