"""What any activation must meet: laws of its formulas, the theorems about it, and strategies that draw activations.

assertions  how a law answers; Inapplicable, Undetermined
laws        closed forms against definitions and identities, for every activation
conditions  the knots of a piecewise-linear activation, and what theorems ask of them
edges       its edges of chaos, exact
theorems    the theorems on which designs rest, as laws
verdicts    laws applied, as data: what `gpsym verify` prints
strategies  Hypothesis strategies (imports hypothesis)

To test a new activation, or what is built on the family:

    @pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
    def test_mine(law):
        law(my_activation())

A law raises AssertionError that says what came instead, and a theorem raises Inapplicable where it says nothing about
the activation.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gpsym.testing.assertions import Inapplicable, Undetermined
from gpsym.testing.laws import LAWS, ONE_INPUT_LAWS, TWO_INPUT_LAWS, Law
from gpsym.testing.theorems import THEOREM_LAWS
from gpsym.testing.verdicts import LawCheck, check_laws

if TYPE_CHECKING:
    from gpsym.testing.strategies import (
        activations,
        clipped_designs,
        dead_zones,
        piecewise_polynomials,
        unclipped_designs,
        variances,
    )

__all__ = [
    "LAWS",
    "ONE_INPUT_LAWS",
    "THEOREM_LAWS",
    "TWO_INPUT_LAWS",
    "Inapplicable",
    "Law",
    "LawCheck",
    "Undetermined",
    "activations",
    "check_laws",
    "clipped_designs",
    "dead_zones",
    "piecewise_polynomials",
    "unclipped_designs",
    "variances",
]

# Imported on first use: laws need no hypothesis.
_STRATEGIES = (
    "activations",
    "clipped_designs",
    "dead_zones",
    "piecewise_polynomials",
    "unclipped_designs",
    "variances",
)


def __getattr__(name: str) -> Any:
    if name not in _STRATEGIES:
        raise AttributeError(f"module 'gpsym.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module("gpsym.testing.strategies"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
