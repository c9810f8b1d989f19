"""Statements about one expression on a box of parameters, and proofs of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, final

import sympy as sp

__all__ = ["Claim", "Domain", "Open", "Proof", "Statement", "carried_out", "difference", "domain", "equation"]

Claim = Literal["equal", "positive", "crossing", "vanishing", "root"]
Domain = tuple[tuple[Any, Any], ...]  # (symbol, interval) pairs


class Open(Exception):
    """A condition of a rule was not seen to hold; the message says which, and where."""


@final
@dataclass(frozen=True)
class Statement:
    """What is claimed of `expression` for all values of the symbols in the domain, a product of intervals.

    equal      it is an equation, and its two sides are equal (`equation`).
    positive   it is > 0.
    crossing   along `variable`, the others fixed, it is < 0 up to some place and > 0 beyond; the place may be either
               end of the interval.
    vanishing  it tends to 0 as `variable` tends to `end`, the others fixed.
    root       it is a tuple of equations, with exactly one zero in the box of the tuple `variable`, for all values of
               the others; each side of that box is at most 10^-end of its lower end, where an end is given.

    The expression is as it was derived: derivatives (sp.Derivative), values at a point (sp.Subs) and differences
    (`difference`) stand in it, and who reads it carries them out.
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
        if self.claim == "equal":
            return sp.Implies(where, self.expression)
        if self.claim == "positive":
            return sp.Implies(where, sp.Gt(self.expression, 0, evaluate=False))
        rest = () if self.end is None else (self.end,)
        return sp.Implies(where, sp.Function(self.claim)(self.expression, self.variable, *rest), evaluate=False)

    @property
    def carried_out(self) -> Any:
        """What must be 0, > 0, and so on: the expression, or left - right of an equation, carried out."""
        if self.claim == "equal":
            return carried_out(self.expression.lhs) - carried_out(self.expression.rhs)
        return carried_out(self.expression)

    def is_shown_by(self, proved: Statement) -> bool:
        """Whether they are the same; the box of a root, a result of its proof, is left out of what is claimed."""
        if self.claim != "root":
            return self == proved
        known = tuple((s, i) for s, i in proved.domain if s not in proved.variable)
        return self == replace(proved, domain=known)

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
        """What the statement speaks of, carried out."""
        return self.statement.carried_out


def equation(domain: Domain, left: Any, right: Any) -> Statement:
    """The statement that both sides are equal, with each side as it was derived."""
    return Statement("equal", sp.Eq(left, right, evaluate=False), domain)


def difference(left: Any, right: Any) -> Any:
    """left - right, without a cancellation between the two.

    >>> x = sp.Symbol("x")
    >>> difference(x + 1, x)
    -x + (x + 1)
    """
    return sp.Add(left, sp.Mul(-1, right, evaluate=False), evaluate=False)


@cache
def carried_out(expression: Any) -> Any:
    """The expression with its derivatives, values at points and differences carried out.

    >>> x = sp.Symbol("x")
    >>> carried_out(sp.Subs(sp.Derivative(x**2, x), x, 3) + difference(x, x))
    6
    """
    e: Any = sp.sympify(expression)
    inner: Any = e.args
    if isinstance(e, sp.Subs):
        return carried_out(inner[0]).subs(dict(zip(*inner[1:], strict=True)), simultaneous=True)
    if isinstance(e, sp.Derivative):
        return sp.diff(carried_out(e.expr), *e.variable_count)
    return e.func(*map(carried_out, inner)) if inner else e


def domain(intervals: Mapping[sp.Symbol, str]) -> Domain:
    """A box from intervals as text.

    >>> domain({sp.Symbol("q"): "(0, oo)", sp.Symbol("tau"): "[sqrt(3), oo)"})
    ((q, Interval.open(0, oo)), (tau, Interval(sqrt(3), oo)))
    """
    return tuple((symbol, _interval(text)) for symbol, text in intervals.items())


def _interval(text: str) -> Any:
    start, end = text[1:-1].split(",")
    return sp.Interval(sp.sympify(start), sp.sympify(end), text[0] == "(", text[-1] == ")")
