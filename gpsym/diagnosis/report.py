"""What was measured in the layers of a network, readings beside their bands, faults, and the table of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["QUANTITIES", "Diagnosis", "Layer", "Measured", "Reading"]

Array = NDArray[np.float64]

QUANTITIES = ("variance", "gain", "zeros", "gradient", "correlation")


@dataclass(frozen=True)
class Measured:
    """What was measured in a hidden layer of n units, for a batch of B inputs.

    positions    number of them in each input, 1 for a layer of a plain network.
    uncovered    why theory does not speak of the layer; empty if it does.
    variances    mean square of the pre-activations of each input, (B,).
    gain         as in the module; NaN where it has no meaning.
    zeros        share of zeros behind the activation; NaN where nothing follows.
    activated    whether what follows is the design's activation of the pre-activations; None where it is more or less.
    gradient     norm of the gradient, geometric mean over the inputs for which it is not 0; 0 if there are none.
    last         the same in the last hidden layer, over the same inputs.
    linked       whether nothing but the layers of the design lies between this layer and the last.
    correlation  of the pre-activations of two inputs, mean over pairs.
    finite       whether pre-activations and outputs are finite.
    """

    name: str
    units: int
    positions: int
    uncovered: str
    variances: Array
    gain: float
    zeros: float
    activated: bool | None
    gradient: float
    last: float
    linked: bool
    correlation: float
    finite: bool


@dataclass(frozen=True)
class Reading:
    """A measured number, and the one that theory expects with its band; None where there is none."""

    measured: float
    theory: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def side(self) -> int:
        """-1 below the band, 1 above it, else 0."""
        if self.low is None or self.high is None or not math.isfinite(self.measured):
            return 0
        return int(self.measured > self.high) - int(self.measured < self.low)


@dataclass(frozen=True)
class Layer:
    """A hidden layer: its readings, and what is wrong with it.

    faults  in the forward pass, the gravest first; backward_faults in the backward pass.
    note    why theory does not speak of it; empty if it does.
    """

    name: str
    units: int
    variance: Reading
    gain: Reading
    zeros: Reading
    gradient: Reading
    correlation: Reading
    faults: tuple[str, ...]
    backward_faults: tuple[str, ...]
    note: str

    @property
    def verdict(self) -> str:
        """The gravest fault; "no theory" or "ok" if there is none."""
        return next(iter(self.faults + self.backward_faults), "no theory" if self.note else "ok")

    @property
    def ok(self) -> bool:
        """Whether no fault was found."""
        return not (self.faults or self.backward_faults)


@dataclass(frozen=True)
class Diagnosis:
    """The hidden layers of a network in the order of the forward pass; prints as a table.

    risk  probability, at most, that a random network of the design shows any fault.
    """

    layers: tuple[Layer, ...]
    risk: float

    @property
    def ok(self) -> bool:
        """Whether no layer has a fault."""
        return self.first_bad is None

    @property
    def first_bad(self) -> Layer | None:
        """The layer where the network goes wrong: the first that the forward pass finds bad, else the backward pass."""
        forward = (layer for layer in self.layers if layer.faults)
        backward = (layer for layer in reversed(self.layers) if layer.backward_faults)
        return next(forward, None) or next(backward, None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; numbers that are not finite are None."""
        bad = self.first_bad
        rows = [
            {
                "name": layer.name,
                "units": layer.units,
                **{name: _plain(getattr(layer, name)) for name in QUANTITIES},
                "verdict": layer.verdict,
                "faults": [*layer.faults, *layer.backward_faults],
                "note": layer.note,
            }
            for layer in self.layers
        ]
        return {"ok": self.ok, "first_bad": bad and bad.name, "risk": self.risk, "layers": rows}

    def __str__(self) -> str:
        head = [("layer", "units", *QUANTITIES, "verdict")]
        rows = head + [
            (layer.name, str(layer.units), *(_shown(getattr(layer, name)) for name in QUANTITIES), _verdict(layer))
            for layer in self.layers
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*lines, "", self.conclusion])

    @property
    def conclusion(self) -> str:
        """One sentence."""
        bad = self.first_bad
        if bad is not None:
            place = f"{self.layers.index(bad) + 1} of {len(self.layers)}"
            return f"Goes wrong in {bad.name!r}, hidden layer {place}: {bad.verdict}."
        if all(layer.note for layer in self.layers):
            return "Theory speaks of no layer."
        if not any(layer.note for layer in self.layers):
            return f"As designed: all bands hold; a sound network leaves one with probability {self.risk:g} at most."
        return "No fault found where theory speaks."


def _plain(reading: Reading) -> dict[str, float | None]:
    numbers = {f.name: getattr(reading, f.name) for f in fields(reading)}
    return {name: x if x is not None and math.isfinite(x) else None for name, x in numbers.items()}


def _shown(reading: Reading) -> str:
    if math.isnan(reading.measured):
        return "-" if reading.low is None else "nan"
    mark = {-1: " <", 0: "", 1: " >"}[reading.side]
    if reading.low is None:
        return f"{reading.measured:.3g}"
    return f"{reading.measured:.3g}{mark} [{reading.low:.3g}, {reading.high:.3g}]"


def _verdict(layer: Layer) -> str:
    return f"{layer.verdict}: {layer.note}" if layer.note else layer.verdict
