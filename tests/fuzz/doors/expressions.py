"""Doors for expressions, their assumptions, names of quantities and numbers on the command line of gpsym."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

from gpsym.cli import cli
from tests.fuzz.growing import growing_texts
from tests.fuzz.harness import Door
from tests.fuzz.mutations import CODE, hostile_texts

__all__ = ["DOORS"]

_TEXTS = hostile_texts | growing_texts
_QUANTITIES = ("variance", "slope", "sparsity", "mean", "moment-3", "hermite-5", "kernel", "ntk", "correlation-rate")
_ASSUMED = st.lists(
    hostile_texts | st.sampled_from(("tau >= 0", "m > 0", "a < b", "0 < a < 1", "a == 1", "x > 0", "a*b > 1")),
    max_size=3,
)
_NUMBERS = st.sampled_from(
    ("0", "-1", "0.5", "1", "30", "1e-320", "1e308", "1e400", "1e999999999", "nan", "inf", "-inf", "", "x", "1_0",
     "1/2", "9**9**9", "9" * 400, "9" * 2000, "2147483648", "9223372036854775808", CODE)
) | st.floats().map(str) | st.integers().map(str)  # fmt: skip


def _derive(value: tuple[str, Sequence[str], str], _folder: Path) -> Sequence[str]:
    text, assumptions, quantity = value
    return ["derive", f"--expr={text}", *(f"--assume={a}" for a in assumptions), f"--quantity={quantity}"]


def _named(value: tuple[str, str], _folder: Path) -> Sequence[str]:
    name, quantity = value
    return ["derive", f"--quantity={quantity}", "--", name]


_ORDERED = st.sampled_from(("moment-", "hermite-", "derivative-moment-1-", ""))
_ORDERS = st.sampled_from(("3", "20", "64", "65", "100000", "9" * 2000, "-1", "1e3", "٣"))
_NAMED = st.tuples(
    st.sampled_from(("crelu", "cst", "relu", "hard-swish", CODE)) | hostile_texts,
    st.tuples(st.sampled_from(("moment-", "hermite-", "derivative-moment-1-", "")), _ORDERS | hostile_texts).map(
        "".join
    ),
)

# Sound options of each command; the door puts another number for one of them.
_SOUND = {
    "maps crelu": {"tau": "1", "m": "1", "q": "1", "sigma-w2": "2", "sigma-b2": "0"},
    "design crelu": {"sparsity": "0.85", "slope": "0.7", "q-star": "1"},
    "design cst": {"tau": "1", "m": "1"},
    "design prelu": {"a": "0.5", "q-star": "2"},
    "design relu": {"width": "64", "depth": "3", "risk": "0.5", "excursion": "9", "classes": "10"},
    "stability crelu": {"tau": "1", "slope": "0.5", "q-star": "1"},
    "stability st": {"tau": "1", "width": "64", "depth": "3", "alpha": "0.5"},
    "stability relu": {"width": "64", "depth": "3", "excursion": "9", "correlation": "0.5"},
    "verify relu --quantity=mean": {"digits": "20", "points": "5", "seed": "0"},
    "derive crelu --quantity=kernel": {"rho": "1"},
}


def _with_number(value: tuple[str, int, str], _folder: Path) -> Sequence[str]:
    command, place, number = value
    options = dict(_SOUND[command])
    options[list(options)[place % len(options)]] = number
    return [*command.split(), *(f"--{name}={text}" for name, text in options.items())]


DOORS = (
    Door("expression", "gpsym", cli, st.tuples(_TEXTS, st.just(()), st.sampled_from(_QUANTITIES)), _derive),
    Door(
        "assumption", "gpsym", cli,
        st.tuples(st.just("min(max(0, x - tau), m) + abs(x - a)"), _ASSUMED, st.just("mean")), _derive,
    ),
    Door("quantity", "gpsym", cli, _NAMED, _named),
    Door("number", "gpsym", cli, st.tuples(st.sampled_from(list(_SOUND)), st.integers(0, 9), _NUMBERS), _with_number),
)  # fmt: skip
