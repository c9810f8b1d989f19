"""What the tests of training share: an environment of their own and one small finished run."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from training.trainer import RunConfig, train


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@dataclass(frozen=True)
class Run:
    """A finished run, read back from its files by a parser that refuses NaN and Infinity."""

    config: RunConfig
    folder: Path
    returned: dict[str, Any]

    def _json(self, text: str) -> dict[str, Any]:
        return json.loads(text, parse_constant=_not_json)

    @property
    def written_config(self) -> dict[str, Any]:
        return self._json((self.folder / "config.json").read_text())

    @property
    def summary(self) -> dict[str, Any]:
        return self._json((self.folder / "summary.json").read_text())

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [self._json(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    @property
    def timeless_metrics(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in self.metrics]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        return torch.load(self.folder / "model.pt", weights_only=True)


def _small_config(**changes: Any) -> RunConfig:
    """Trains for about a fifth of a second."""
    small = {"data": "digits", "activation": "crelu", "sparsity": 0.85, "slope": 0.7, "width": 32, "depth": 2,
             "epochs": 2, "batch_size": 32, "lr": 1e-3, "device": "cpu"}  # fmt: skip
    return RunConfig(**{**small, **changes})


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No data folder of the caller's, and denormal numbers as a run found them."""
    monkeypatch.delenv("GPSYM_DATA_DIR", raising=False)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def small_config() -> Callable[..., RunConfig]:
    """Makes the configuration of a small run, with the fields given in place of its own."""
    return _small_config


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Run]:
    """Trains a small network with the fields given, in a new folder."""

    def start(**changes: Any) -> Run:
        config = _small_config(**changes)
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return Run(config, folder, train(config, folder))

    return start


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One small run, for tests that only read."""
    config, folder = _small_config(), tmp_path_factory.mktemp("finished") / "run"
    return Run(config, folder, train(config, folder))
