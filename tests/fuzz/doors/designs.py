"""A door for the JSON of a design, which is read, written again, and exported to modules that must be sound Python."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from hypothesis import strategies as st

from gpsym import Activation, CriticalInit, edge_of_chaos
from gpsym.export import export_text
from tests.fuzz.growing import growing_texts
from tests.fuzz.harness import Door, Outcome
from tests.fuzz.mutations import broken_json, hostile_values

__all__ = ["DOORS"]

_MEMBER = edge_of_chaos("crelu", sparsity=0.85, slope=0.7).to_dict()
_BENT = edge_of_chaos(Activation((0, 1, "3/2"), ((0, "1/5"), (), (-1, 1), ("1/2",)), "bent")).to_dict()


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
def _read(path: Path) -> None:
    """Read a design, and print it as JSON and as modules."""
    design = CriticalInit.from_json(path.read_text(encoding="utf-8", errors="replace"))
    written = {framework: export_text(design, framework) for framework in ("json", "torch", "jax", "keras")}
    click.echo(json.dumps(written))


def _knock(text: str, folder: Path) -> Sequence[str]:
    path = folder / "design.json"
    path.write_text(text, encoding="utf-8", errors="replace")
    return [str(path)]


def _answer(_text: str, _folder: Path, outcome: Outcome) -> None:
    written = json.loads(outcome.out)
    assert CriticalInit.from_json(written["json"]).to_json() == written["json"].rstrip()
    for framework in ("torch", "jax", "keras"):
        names = [node.names[0].name for node in ast.parse(written[framework]).body if isinstance(node, ast.Import)]
        assert set(names) <= {"copy", "hashlib", "inspect", "math", "torch", "jax", "jax.numpy", "keras"}, names


def _with_entry(value: tuple[str, Any, Any]) -> str:
    """A sound design with hostile values among its pieces and knots."""
    name, knot, coefficient = value
    changed = {"activation": name, "knots": ["0", knot], "pieces": [["0"], [coefficient, "1"], ["1"]]}
    return json.dumps(_BENT | changed)


_TEXTS = hostile_values | growing_texts
DOORS = (
    Door(
        "design", "design", _read,
        broken_json(_MEMBER) | broken_json(_BENT)
        | st.tuples(st.sampled_from(("bent", "crelu")) | st.text(max_size=20), _TEXTS, _TEXTS).map(_with_entry),
        _knock, _answer,
    ),
)  # fmt: skip
