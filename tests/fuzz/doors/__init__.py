"""The doors by name: a module for each kind of data."""

from __future__ import annotations

from tests.fuzz.doors import certificates, designs, expressions, runs
from tests.fuzz.harness import Door

__all__ = ["DOORS"]

_ALL: tuple[Door, ...] = (*certificates.DOORS, *designs.DOORS, *expressions.DOORS, *runs.DOORS)

DOORS: dict[str, Door] = {door.name: door for door in _ALL}
