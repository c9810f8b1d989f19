"""Classes and their probabilities by the network that a run kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gpsym import CriticalInit
from gpsym.files import read_array
from gpsym.torch import activation_module
from training import data, models, records, tensors
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

    Raises ValueError for a folder without a run or without weights, and for weights that are not finite or of another
    network.
    """
    described = records.read_config(folder)
    config, values = described.run, described.description
    path = folder / records.WEIGHTS
    if not path.is_file():
        raise ValueError(f"predict: need weights in {path}, got none; the run has not come to its first epoch.")
    design = CriticalInit.from_dict(values["design"])

    def network() -> nn.Sequential:
        return models.build(
            config.model, values["input_shape"], values["classes"], width=config.width, depth=config.depth,
            activation=lambda: activation_module(design), alpha=config.alpha,
            input_factor=input_factor(config.input_scale, design, values["input_mean_square"]),
        )  # fmt: skip

    with torch.device("meta"):  # allocates nothing, so that a wrong size is refused before it takes memory
        expected = network().state_dict()
    weights = tensors.read(path.open("rb"), expected, f"predict: need weights of the run in {path}")
    built = network()
    built.load_state_dict(weights)
    return built.eval()


def predict(folder: Path, file: Path | None = None, *, batch_size: int = 2000) -> Prediction:
    """What the network of a run makes of the rows of a .npy file, or of the test split of its data set.

    file  rows as the data set of the run stores them, before normalisation: (inputs, *shape) or (inputs, features).

    Raises ValueError for a folder, a file or rows that do not serve.
    """
    network, described = trained_network(folder), records.read_config(folder)
    config, values = described.run, described.description
    labels = None
    if file is None:
        test = data.load(config.data, data_dir=config.data_dir, seed=config.seed).test
        if list(test.shape) != values["input_shape"]:
            raise ValueError(
                f"predict: need inputs of shape {values['input_shape']} in {config.data}, got {list(test.shape)}; "
                "restore the data set of the run."
            )
        x, labels = test.x, test.y.numpy()
    else:
        x = _rows(file, tuple(values["input_shape"]), values["input_mean"], values["input_std"])
    with torch.no_grad():
        probabilities = torch.cat([network(rows).double().softmax(1) for rows in x.split(batch_size)])
    if not probabilities.isfinite().all():
        raise ValueError(f"predict: need finite outputs of {folder}, got some that are not; pass smaller inputs.")
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
