"""Statements about one expression on a box of parameters, and proofs of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, final

import sympy as sp

__all__ = ["Claim", "Domain", "Open", "Proof", "Statement", "carried_out", "difference", "domain", "equation"]

Claim = Literal["equal", "positive", "crossing", "vanishing", "root"]
Domain = tuple[tuple[Any, Any], ...]  # (symbol, interval) pairs

_NAME = re.compile(
    r"(?!(Derivative|E|I|Subs|exp|erf|erfc|nan|oo|pi|sqrt|value|zoo)$)[A-Za-z][A-Za-z0-9_]*"
)  # reads back as a symbol
_SIGNS = {
    "positive": sp.Interval.open(0, sp.oo),
    "nonnegative": sp.Interval(0, sp.oo),
    "negative": sp.Interval.open(-sp.oo, 0),
    "nonpositive": sp.Interval(-sp.oo, 0),
}


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
               the others.  Where digits are claimed, the box is that of the points that round to them.

    The expression is as it was derived: derivatives (sp.Derivative), values at a point (sp.Subs) and differences
    (`difference`) stand in it, and who reads it carries them out.

    Raises Open where two symbols have one name, an interval is none, or a symbol is declared to be what not every
    number of its interval is, such as positive on (-1, 1), or an integer.
    """

    claim: Claim
    expression: Any
    domain: Domain
    variable: Any = None
    end: Any = None

    def __post_init__(self) -> None:
        names = [symbol.name for symbol, _ in self.domain]
        if len(set(names)) < len(names):
            raise Open(f"need one symbol of each name, got {', '.join(names)}")
        for symbol, interval in self.domain:
            _require_real_variable(symbol, interval)

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


def _require_real_variable(symbol: Any, interval: Any) -> None:
    """All that is declared of the symbol holds for every number of the interval."""
    if type(symbol) is not sp.Symbol or not _NAME.fullmatch(symbol.name):
        raise Open(f"need a symbol with a plain name, got {symbol}")
    if not isinstance(interval, sp.Interval) or not all(_is_end(end) for end in (interval.start, interval.end)):
        raise Open(f"need an interval between exact numbers for {symbol}, got {interval}")
    facts = _facts(interval)
    untrue = sorted(fact for fact, holds in symbol.assumptions0.items() if facts.get(fact) is not holds)
    if untrue:
        raise Open(f"{symbol} is declared otherwise than {interval} says: {', '.join(untrue)}")


def _is_end(end: Any) -> bool:
    return bool(end.is_infinite or (end.is_number and end.is_real and not end.has(sp.Float)))


@cache
def _facts(interval: Any) -> dict[str, bool]:
    """SymPy's facts that hold for every number of an interval."""
    known = {fact: True for fact, where in _SIGNS.items() if interval.is_subset(where)}
    if 0 not in interval:
        known["zero"] = False
    return sp.Dummy("x", real=True, **known).assumptions0


def domain(intervals: Mapping[sp.Symbol, str]) -> Domain:
    """A box from intervals as text.

    >>> domain({sp.Symbol("q"): "(0, oo)", sp.Symbol("tau"): "[sqrt(3), oo)"})
    ((q, Interval.open(0, oo)), (tau, Interval(sqrt(3), oo)))
    """
    return tuple((symbol, _interval(text)) for symbol, text in intervals.items())


def _interval(text: str) -> Any:
    start, end = text[1:-1].split(",")
    return sp.Interval(sp.sympify(start), sp.sympify(end), text[0] == "(", text[-1] == ")")
