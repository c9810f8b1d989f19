"""The two kinds of step that a proof here may take, and its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sympy as sp

from gpsym.equality import Equal, equal, normal_form

__all__ = ["Proved", "Undecided", "Verdict", "all_of", "positive", "zero"]


@dataclass(frozen=True)
class Proved:
    """The statement holds on its whole domain."""

    method: str


@dataclass(frozen=True)
class Undecided:
    """A step could not be decided."""

    why: str


Verdict = Proved | Undecided


def zero(expression: sp.Expr) -> Verdict:
    """Whether the expression is identically zero, by its normal form.

    Undecided does not mean that it is not zero.
    """
    return Proved("identity") if equal(expression) == Equal() else Undecided(f"{expression} was not seen to be 0")


def positive(expression: sp.Expr) -> Verdict:
    """Whether the expression is positive on the domain that its symbols declare, by the signs of its factors."""
    product: Any = sp.factor(normal_form(expression))
    factors = sp.Mul.make_args(product)
    doubtful = [factor for factor in factors if not factor.is_positive]
    return Undecided(f"the sign of {doubtful[0]} is open") if doubtful else Proved("signs")


def all_of(*steps: Verdict) -> Verdict:
    """Proved if every step is, by all their methods; else the first step that is not."""
    open_steps = [step for step in steps if not isinstance(step, Proved)]
    methods = dict.fromkeys(step.method for step in steps if isinstance(step, Proved))
    return open_steps[0] if open_steps else Proved(" and ".join(methods))
