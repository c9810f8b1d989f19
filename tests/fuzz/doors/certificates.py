"""Certificates through `python -m proofs check`: accepted is only what says the same as the one that lies here."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from proofs.checker import claims, digest, read
from proofs.cli import CERTIFICATES
from proofs.cli import main as proofs
from tests.fuzz.harness import Door, Outcome
from tests.fuzz.mutations import broken_bytes, broken_json, hostile_texts

__all__ = ["DOORS"]

_THEOREMS = ("curvature", "instability", "marginality", "stability")
_SAMPLES = {name: (CERTIFICATES / f"{name}.json").read_bytes() for name in _THEOREMS}


def _powers(base: str, times: int) -> str:
    return "(" * times + base + ")**64" * times


def _nested(function: str, times: int) -> str:
    return f"{function}(" * times + "m" + ")" * times


def _long(operation: str, length: int) -> str:
    return operation.join(f"(m{operation}{k})" for k in range(length))


_FORMULAS = st.one_of(
    hostile_texts,
    st.builds(
        _powers, st.sampled_from(("x + 1", "tau*m", "exp(x)", "erfc(q)", "tau + m + q", "sqrt(2)*m")), st.integers(1, 5)
    ),
    st.builds(_nested, st.sampled_from(("exp", "sqrt", "erfc", "-", "1/")), st.integers(1, 2000)),
    st.builds(_long, st.sampled_from("+*"), st.integers(1, 3000)),
)


@st.composite
def _changed(draw: DrawFn) -> tuple[str, bytes]:
    """(theorem, a certificate that differs): in its bytes, in its JSON, or with the digest that belongs to it."""
    name = draw(st.sampled_from(sorted(_SAMPLES)))
    sample = json.loads(_SAMPLES[name])
    match draw(st.sampled_from(("bytes", "JSON", "JSON", "formula", "formula", "swap"))):
        case "bytes":
            return name, draw(broken_bytes(_SAMPLES[name]))
        case "JSON":
            return name, _with_digest(draw(broken_json(sample)))
        case "formula":
            node = draw(st.sampled_from(sample["nodes"]))
            holder = draw(st.sampled_from((node, node["data"], node["domain"])))
            holder[draw(st.sampled_from((*holder, "rest")))] = draw(_FORMULAS)
            return name, _with_digest(json.dumps(sample))
    first, second = (draw(st.sampled_from(sample["nodes"])) for _ in range(2))
    key = draw(st.sampled_from(sorted(first)))
    first[key], second[key] = second.get(key), first[key]
    return name, _with_digest(json.dumps(sample))


def _with_digest(text: str) -> bytes:
    """The text, with the digest that belongs to it if it has one."""
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(text)
        if isinstance(found, dict):
            text = json.dumps({**found, "digest": digest(found)})
    return text.encode(errors="surrogatepass")


def _knock(value: tuple[str, bytes], folder: Path) -> Sequence[str]:
    name, content = value
    path = folder / f"{name}.json"
    path.write_bytes(content)
    return "check", str(path)


def _answer(value: tuple[str, bytes], _folder: Path, outcome: Outcome) -> None:
    name, content = value
    (line,) = outcome.out.splitlines()
    assert line.isascii(), line
    assert len(line) < 1000, line
    if outcome.status == 0:
        assert line.split() == [f"{name}.json", "accepted"]
        assert claims(read(content)) == claims(read(_SAMPLES[name]))
    else:
        assert line.split()[:2] == [f"{name}.json", "rejected:"], line


DOORS = (Door("certificates", "python -m proofs", proofs, _changed(), _knock, _answer),)
