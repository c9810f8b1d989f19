"""The doors by name: a module for each kind of data."""

from __future__ import annotations

from tests.fuzz.doors import certificates, data, designs, expressions, outputs, runs
from tests.fuzz.harness import Door

__all__ = ["DOORS"]

_ALL: tuple[Door, ...] = (
    *certificates.DOORS, *data.DOORS, *designs.DOORS, *expressions.DOORS, *outputs.DOORS, *runs.DOORS,
)  # fmt: skip

DOORS: dict[str, Door] = {door.name: door for door in _ALL}
