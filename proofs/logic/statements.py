"""Statements about one expression on a box of parameters, and proofs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

import sympy as sp

__all__ = ["Claim", "Domain", "Open", "Proof", "Statement", "domain"]

Claim = Literal["zero", "positive", "crossing", "vanishing", "root"]
Domain = tuple[tuple[Any, Any], ...]  # (symbol, interval) pairs


class Open(Exception):
    """A condition of a rule was not seen to hold; the message says which, and where."""


@final
@dataclass(frozen=True)
class Statement:
    """What is claimed of `expression` for all values of the symbols in the domain, a product of intervals.

    zero       it is 0.
    positive   it is > 0.
    crossing   along `variable`, the others fixed, it is < 0 up to some place and > 0 beyond; the place may be either
               end of the interval.
    vanishing  it tends to 0 as `variable` tends to `end`, the others fixed.
    root       it is a tuple of equations, with exactly one zero in the box of the tuple `variable`, for all values of
               the others.  Where digits are claimed, the box is that of the points that round to them.
    """

    claim: Claim
    expression: Any
    domain: Domain
    variable: Any = None
    end: Any = None

    def __post_init__(self) -> None:
        for symbol, interval in self.domain:
            least = sp.Interval.open(0, sp.oo) if symbol.is_positive else sp.Interval(0, sp.oo)
            if symbol.is_nonnegative and not interval.is_subset(least):
                raise Open(f"{symbol} is declared to lie in {least}, which does not contain {interval}")

    @property
    def sympy(self) -> Any:
        """The statement as a SymPy object; crossing and vanishing as functions of the name."""
        where = sp.And(*(sp.Contains(symbol, interval, evaluate=False) for symbol, interval in self.domain))
        if self.claim == "zero":
            return sp.Implies(where, sp.Eq(self.expression, 0, evaluate=False))
        if self.claim == "positive":
            return sp.Implies(where, sp.Gt(self.expression, 0, evaluate=False))
        rest = () if self.end is None else (self.end,)
        return sp.Implies(where, sp.Function(self.claim)(self.expression, self.variable, *rest), evaluate=False)

    def interval(self, symbol: sp.Symbol) -> Any:
        """The interval of one symbol."""
        return dict(self.domain)[symbol]


@final
@dataclass(frozen=True)
class Proof:
    """A statement with the rule that gives it from the premises; made by the rules only.

    data  what the rule needs besides, as expressions.
    """

    statement: Statement
    rule: str
    premises: tuple[Proof, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def expression(self) -> Any:
        """What the statement speaks of."""
        return self.statement.expression


def domain(intervals: Mapping[sp.Symbol, str]) -> Domain:
    """A box from intervals as text.

    >>> domain({sp.Symbol("q"): "(0, oo)", sp.Symbol("tau"): "[sqrt(3), oo)"})
    ((q, Interval.open(0, oo)), (tau, Interval(sqrt(3), oo)))
    """
    return tuple((symbol, _interval(text)) for symbol, text in intervals.items())


def _interval(text: str) -> Any:
    start, end = text[1:-1].split(",")
    return sp.Interval(sp.sympify(start), sp.sympify(end), text[0] == "(", text[-1] == ")")
