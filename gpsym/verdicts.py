"""What a check can answer: one set of verdicts for formulas, equalities and theorems.

Verified   formula and definition agree where they were compared       gpsym.verify
Refuted    they differ at a witness                                    gpsym.verify
Equal      two closed forms are one function                           gpsym.equality
Different  they differ at a witness                                    gpsym.equality
Undecided  the check could not tell                                    all, theorems of proofs/ included
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

__all__ = ["Different", "Equal", "Refuted", "Undecided", "Verified"]


@final
@dataclass(frozen=True)
class Verified:
    """Formula and definition agree to `digits` significant digits at all `points` points of the domain.

    domain  the ranges that the points come from, the forms that were compared, and to how many digits each.
    worst   the largest relative difference.
    """

    digits: int
    points: int
    worst: float
    domain: str = ""


@final
@dataclass(frozen=True)
class Refuted:
    """A form of the formula differs from its definition at the witness by far more than the quadrature's error.

    form  the form that is wrong: "expression", "stable", "at_rho(1)" or "lambdify".
    """

    witness: Mapping[str, str]
    formula: str
    definition: str
    form: str = "expression"


@final
@dataclass(frozen=True)
class Equal:
    """The difference has normal form zero: the two agree wherever both are real and finite."""


@final
@dataclass(frozen=True)
class Different:
    """They differ at the witness, by the difference left - right there."""

    witness: Mapping[str, str]
    difference: str


@final
@dataclass(frozen=True)
class Undecided:
    """The check could not tell; `where` is the point at which it could not, if there is one."""

    why: str
    where: Mapping[str, str] = field(default_factory=dict)
