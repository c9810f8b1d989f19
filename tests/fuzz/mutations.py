"""Hostile inputs: values that do not belong, JSON and bytes that differ from a sound sample, and text that grows."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from tests.fuzz.harness import CANARY

__all__ = ["CODE", "HOSTILE_PICKLE", "Pickled", "broken_bytes", "broken_json", "hostile_texts", "hostile_values"]

# Text that makes the canary wherever it is executed.
CODE = f"__import__('os').mkdir('{CANARY}')"


class Pickled:
    """An object that makes the canary when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(CANARY),)


HOSTILE_PICKLE = pickle.dumps(Pickled())

_NUMBERS = (0, -1, 1, 2, 0.5, -0.5, 1e-320, 1e308, 10**400, -(10**400), float("nan"), float("inf"), 2**63 - 1, 2**64)
_TEXTS = (
    "", " ", "x", "1/0", "1/3", "nan", "oo", "9**9**9", "2**-9**9", "1e999999999", "1e-999999999", "x**100000",
    "max(0, x)**3000", "sqrt(-1)", "\x00", "\ud7ff", "é" * 40, "a\nb", '"""', "../../etc", "9" * 5000, "(" * 500, CODE,
)  # fmt: skip
_SHAPES = ([], {}, [[]], [CODE], [[CODE]], {"a": CODE}, {CODE: 1}, [None], [True], [[["1"]]], [0] * 300)

hostile_values: SearchStrategy[Any] = st.one_of(
    st.sampled_from((None, True, False)),
    st.sampled_from(_NUMBERS),
    st.sampled_from(_TEXTS),
    st.sampled_from(_SHAPES),
    st.floats(),
    st.integers(),
    st.text(max_size=50),
)


@st.composite
def broken_json(draw: DrawFn, sample: Any) -> str:
    """JSON text that differs from the sample's in one to three places, by value, by key, or as text."""
    tree = copy.deepcopy(sample)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("value", "value", "remove", "add", "swap"))):
            case "value":
                holder[key] = copy.deepcopy(draw(hostile_values))  # the shapes are shared
            case "remove":
                del holder[key]
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(("extra", "", CODE)))] = copy.deepcopy(
                    draw(hostile_values)
                )  # the shapes are shared
            case _:
                other, place = draw(st.sampled_from(places))
                holder[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(holder[key])
    text = json.dumps(tree)
    if draw(st.integers(0, 9)):
        return text
    return draw(broken_bytes(text.encode())).decode(errors="replace")


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every value of a tree by its holder and key."""
    items = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    for key, value in items:
        yield tree, key
        yield from _places(value)


@st.composite
def broken_bytes(draw: DrawFn, sample: bytes) -> bytes:
    """Bytes that differ from the sample: one flipped, some cut out, repeated or put in, or an end cut off."""
    content = bytearray(sample)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, max(len(content) - 1, 0)))
        end = min(start + draw(st.sampled_from((1, 1, 1, 2, 8, 64))), len(content))
        match draw(st.sampled_from(("flip", "flip", "cut", "repeat", "insert", "end"))):
            case "flip" if content:
                content[start] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[start:end]
            case "repeat":
                content[start:start] = content[start:end] * draw(st.sampled_from((1, 2, 100)))
            case "insert":
                content[start:start] = draw(st.binary(max_size=16))
            case _:
                del content[start:]
    return bytes(content)


_ATOMS = st.sampled_from(
    ("x", "x", "x", "tau", "m", "0", "1", "2", "1/2", "0.1", "1e-9", "1e400", "pi", "z", "lambda", CODE, "9**9", "-3")
)


_BINARY = ("+", "-", "*", "/", "**", "<", ">=", "==", "!=", "&", "|", " and ", " or ", ",", " if ", "^", "//", "%")
_CALLS = (
    "max", "Min", "Abs", "sign", "sqrt", "Heaviside", "Piecewise", "relu", "clip", "exp", "Not", "where", "open",
)  # fmt: skip


def _grown(children: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.one_of(
        st.tuples(children, st.sampled_from(_BINARY), children).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
        st.tuples(st.sampled_from(_CALLS), st.lists(children, min_size=1, max_size=4)).map(
            lambda t: f"{t[0]}({', '.join(t[1])})"
        ),
        st.tuples(children, children).map(lambda t: f"Piecewise(({t[0]}, x < {t[1]}), (x, True))"),
        st.tuples(children, st.integers(2, 400)).map(lambda t: "(" * t[1] + t[0] + ")" * t[1]),
        st.tuples(children, st.integers(2, 3000)).map(lambda t: f"({t[0]})**{t[1]}"),
        st.tuples(children, st.sampled_from("-~+"), st.integers(1, 300)).map(lambda t: t[1] * t[2] + t[0]),
    )


# Expressions that are nearly sound, and some that are not text of expressions at all; up to 2,000 characters.
hostile_texts: SearchStrategy[str] = st.one_of(
    st.recursive(_ATOMS, _grown, max_leaves=12), st.sampled_from(_TEXTS), st.text(max_size=200)
).map(lambda text: text[:2000])
