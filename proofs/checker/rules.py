"""The rules of proofs, and whether a statement follows by one of them from its premises.

A statement is about an expression on a product of intervals.  In the rules x is the `variable`; the other symbols are
fixed.  All expressions of a step must be defined on its domain, and so continuous; those that are differentiated
must have a derivative inside the interval of x.  At an end that belongs to the interval what is claimed there is
claimed of the end itself: where an open end may have a limit >= 0, a closed one needs a value > 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from proofs.checker import parse
from proofs.checker.boxes import require_positive_on_boxes
from proofs.checker.limits import require_vanishing
from proofs.checker.normal import is_zero
from proofs.checker.roots import require_one_root
from proofs.checker.signs import (
    NOT_NEGATIVE,
    POSITIVE,
    Domain,
    interior,
    require_covered,
    require_defined,
    require_smooth,
    same_end,
    signs,
    symbol_signs,
)
from proofs.checker.trees import Rejected, Tree, add, derivative, minus, multiply, number, substitute, symbols, text

__all__ = ["RULES", "Rule", "Statement", "Step"]


@final
@dataclass(frozen=True)
class Statement:
    """What is claimed of the expression for all values of the symbols in the domain.

    zero       it is 0.
    positive   it is > 0.
    crossing   along `variable` there is a place, which may be an end, such that it is < 0 before and > 0 beyond.
    vanishing  it tends to 0 as `variable` tends to `end`, 0 from above or oo (None).
    root       `equations` have exactly one zero in the box of the `unknowns`, for all values of the others; each
               side of the box is at most 10^-digits of its lower end, where digits are given.
    """

    claim: str
    domain: Domain
    expression: Tree | None = None
    variable: str | None = None
    end: Tree | None = None
    equations: tuple[Tree, ...] = ()
    unknowns: tuple[str, ...] = ()
    digits: int | None = None


@final
@dataclass(frozen=True)
class Step:
    """A statement, the premises from which it should follow, and what the rule needs besides, as texts."""

    statement: Statement
    premises: Sequence[Statement]
    data: Mapping[str, Any]

    @property
    def expression(self) -> Tree:
        """What the statement speaks of."""
        assert self.statement.expression is not None
        return self.statement.expression

    @property
    def domain(self) -> Domain:
        """The domain of the statement."""
        return self.statement.domain

    def tree(self, key: str, domain: Domain | None = None) -> Tree:
        """An expression of the data, which must be defined on the domain."""
        return _defined(self.data[key], self.domain if domain is None else domain)


@final
@dataclass(frozen=True)
class Rule:
    """What a rule concludes, from how many premises, with which data; `check` raises Rejected where it does not."""

    claims: frozenset[str]
    premises: tuple[int, ...] | None
    data: frozenset[str]
    check: Callable[[Step], None]


def _identity(step: Step) -> None:
    """expression = 0, by its normal form."""
    _require_defined(step)
    _require_zero(step.expression, step.domain)


def _combination(step: Step) -> None:
    """expression = sum of c_i e_i + rest > 0: the e_i are, c_i and rest are >= 0 by form, and one of them > 0."""
    _require_defined(step)
    texts = step.data["coefficients"]
    if not isinstance(texts, list) or len(texts) != len(step.premises):
        raise Rejected(f"need {len(step.premises)} coefficients, one for each premise, got {parse.quoted(texts)}")
    shown = [step.tree("rest"), *(_defined(t, step.domain) for t in texts)]
    known = [_expression(premise, "positive", step.domain) for premise in step.premises]
    products = [multiply(c, e) for c, e in zip(shown[1:], known, strict=True)]
    _require_zero(minus(step.expression, add(shown[0], *products)), step.domain)
    found = [signs(tree, step.domain) for tree in shown]
    for tree, sign in zip(shown, found, strict=True):
        if not sign <= NOT_NEGATIVE:
            raise Rejected(f"that {text(tree)} >= 0 was not seen")
    if POSITIVE not in found:
        raise Rejected("none of the rest and the coefficients was seen to be > 0")


def _instance(step: Step) -> None:
    """A premise, with expressions of the new domain, which lie in the symbols' intervals, for its symbols.

    A symbol without an expression stands for itself.
    """
    _require_defined(step)
    (lemma,) = step.premises
    texts = step.data["values"]
    if lemma.claim != step.statement.claim or lemma.expression is None:
        raise Rejected(f"need a premise that claims {step.statement.claim}, got {lemma.claim}")
    if not isinstance(texts, Mapping) or not texts.keys() <= lemma.domain.keys():
        raise Rejected(f"need values of the premise's symbols, got {parse.quoted(texts)}")
    values = {name: _defined(texts.get(name, name), step.domain) for name in lemma.domain}
    for name, value in values.items():
        interval = lemma.domain[name]
        for side, end, is_open in ((1, interval.low, interval.low_open), (-1, interval.high, interval.high_open)):
            if end is None:
                continue
            distance = signs(multiply(number(side), minus(value, end)), step.domain)
            if not distance <= (POSITIVE if is_open else NOT_NEGATIVE):
                raise Rejected(f"that {text(value)} lies in the premise's interval of {name} was not seen")
    _require_zero(minus(step.expression, substitute(lemma.expression, values)), step.domain)


def _vanishes(step: Step) -> None:
    """expression -> 0 as x tends to an end, because each of its terms does (`require_vanishing`)."""
    _require_defined(step)
    require_vanishing(step.expression, _variable(step), step.statement.end, step.domain)


def _from_end(step: Step) -> None:
    """expression > 0: it tends to a limit >= 0 at an end of x, and rises away from it; to one > 0 if the end is closed.

    The first premise says that its derivative, for the lower end, or minus that, for the upper, is > 0 inside.  The
    second one, if there is one, that expression - limit tends to 0.
    """
    _require_defined(step)
    name = _named(step)
    interval, end = step.domain[name], _end(step.data["end"])
    lower = interval.low is not None and end is not None and same_end(interval.low, end)
    if not lower and not same_end(interval.high, end):
        raise Rejected(f"{step.data['end']} is no end of the interval of {name}")
    _require_slope(step, name, 1 if lower else -1, "positive")
    _require_limit(step, name, "low" if lower else "high", 1, step.premises[1:])


def _increasing(step: Step) -> None:
    """expression crosses along x, because its derivative is > 0."""
    _require_defined(step)
    _require_slope(step, _variable(step), 1, "positive")


def _multiple(step: Step) -> None:
    """expression = factor e crosses along x, because e does, and factor > 0."""
    _require_defined(step)
    (premise,) = step.premises
    factor, crossing = step.tree("factor"), _crossing(premise, step.domain, _variable(step))
    _require_zero(minus(step.expression, multiply(factor, crossing)), step.domain)
    if signs(factor, step.domain) != POSITIVE:
        raise Rejected(f"that {text(factor)} > 0 was not seen")


def _valley(step: Step) -> None:
    """expression crosses along x: from a limit <= 0 at the lower end it falls first and rises then."""
    _require_defined(step)
    name = _variable(step)
    _require_slope(step, name, 1, "crossing")
    _require_end(step, name, "low")
    _require_limit(step, name, "low", -1, ())


def _hump(step: Step) -> None:
    """expression crosses along x: it rises first and falls then, to a limit >= 0 at the upper end."""
    _require_defined(step)
    name = _variable(step)
    _require_slope(step, name, -1, "crossing")
    _require_end(step, name, "high")
    _require_limit(step, name, "high", 1, step.premises[1:])


def _ridge(step: Step) -> None:
    """expression > 0: from a limit >= 0 at the lower end of x it rises first and falls then, to one >= 0."""
    _require_defined(step)
    name = _named(step)
    _require_slope(step, name, -1, "crossing")
    _require_end(step, name, "high")
    _require_limit(step, name, "high", 1, step.premises[1:])
    _require_limit(step, name, "low", 1, (), "start")


def _on_boxes(step: Step) -> None:
    """expression > 0, because it is on boxes that cover the domain."""
    require_positive_on_boxes(step.expression, step.domain, step.data["boxes"])


def _root(step: Step) -> None:
    """The equations have exactly one zero in a box, because a map contracts it (`require_one_root`)."""
    s = step.statement
    require_one_root(s.equations, s.unknowns, s.domain, s.digits)


def _rule(check: Callable[[Step], None], claims: str, premises: tuple[int, ...] | None, data: str = "") -> Rule:
    return Rule(frozenset(claims.split()), premises, frozenset(data.split()), check)


RULES: Mapping[str, Rule] = {
    "identity": _rule(_identity, "zero", (0,)),
    "combination": _rule(_combination, "positive", None, "rest coefficients"),
    "instance": _rule(_instance, "zero positive", (1,), "values"),
    "vanishes": _rule(_vanishes, "vanishing", (0,)),
    "from_end": _rule(_from_end, "positive", (1, 2), "variable end limit"),
    "increasing": _rule(_increasing, "crossing", (1,)),
    "multiple": _rule(_multiple, "crossing", (1,), "factor"),
    "valley": _rule(_valley, "crossing", (1,), "end limit"),
    "hump": _rule(_hump, "crossing", (1, 2), "end limit"),
    "ridge": _rule(_ridge, "positive", (1, 2), "variable end limit start"),
    "on_boxes": _rule(_on_boxes, "positive", (0,), "boxes"),
    "root": _rule(_root, "root", (0,)),
}


def _require_slope(step: Step, name: str, direction: int, claim: str) -> None:
    """The first premise makes its claim of the derivative along x, times the direction, inside the interval of x."""
    inside = interior(step.domain, name)
    require_smooth(step.expression, inside)
    premise = step.premises[0]
    slope = _crossing(premise, inside, name) if claim == "crossing" else _expression(premise, claim, inside)
    _require_zero(minus(multiply(number(direction), derivative(step.expression, name)), slope), inside)


def _require_limit(
    step: Step, name: str, side: str, sign: int, premises: Sequence[Statement], key: str = "limit"
) -> None:
    """The expression tends to the limit of the data at an end of x; that has the sign, or is 0 if the end is open.

    By a premise that the rest vanishes; else by the value at the end, where the expression is continuous there, or
    because the rest vanishes by form.
    """
    interval = step.domain[name]
    end, is_open = (interval.low, interval.low_open) if side == "low" else (interval.high, interval.high_open)
    rest = {other: i for other, i in step.domain.items() if other != name}
    limit = step.tree(key, rest)
    if end is None and side == "low":
        raise Rejected("limits at -oo are not defined")
    if premises:
        vanishing = _expression(premises[0], "vanishing", interior(step.domain, name), name)
        if premises[0].variable != name or not same_end(premises[0].end, end):
            raise Rejected(f"the limit is one of {premises[0].variable}, not of {name} at this end")
        _require_zero(minus(step.expression, add(vanishing, limit)), step.domain)
    elif end is None:
        require_vanishing(minus(step.expression, limit), name, None, step.domain)
    else:
        closed = replace(interval, **{f"{side}_open": False})
        require_defined(step.expression, {**step.domain, name: closed})
        _require_zero(minus(substitute(step.expression, {name: end}), limit), rest)
    if not signs(limit, rest) <= ({0, sign} if is_open else {sign}):
        raise Rejected(f"the limit {text(limit)} may have another sign than {'+' if sign > 0 else '-'}")


def _require_end(step: Step, name: str, side: str) -> None:
    own = step.domain[name].low if side == "low" else step.domain[name].high
    if not same_end(own, _end(step.data["end"])):
        raise Rejected(f"{step.data['end']} is not the {side} end of the interval of {name}")


def _end(value: object) -> Tree | None:
    return None if value == "oo" else _defined(value, {})


def _named(step: Step) -> str:
    """The variable that the data name."""
    name = parse.name(step.data["variable"])
    if name not in step.domain:
        raise Rejected(f"{name} has no interval")
    return name


def _variable(step: Step) -> str:
    """The variable of the statement."""
    assert step.statement.variable is not None
    return step.statement.variable


def _expression(premise: Statement, claim: str, domain: Domain, *names: str) -> Tree:
    """The expression of a premise that makes the claim on a domain that covers this one."""
    if premise.claim != claim or premise.expression is None:
        raise Rejected(f"need a premise that claims {claim}, got {premise.claim}")
    require_covered(domain, premise.domain, symbols(premise.expression).union(names))
    return premise.expression


def _crossing(premise: Statement, domain: Domain, name: str) -> Tree:
    expression = _expression(premise, "crossing", domain, name)
    if premise.variable != name:
        raise Rejected(f"the premise crosses along {premise.variable}, not {name}")
    return expression


def _require_defined(step: Step) -> None:
    require_defined(step.expression, step.domain)


def _defined(value: object, domain: Domain) -> Tree:
    tree = parse.expression(value)
    require_defined(tree, domain)
    return tree


def _require_zero(tree: Tree, domain: Domain) -> None:
    if not is_zero(tree, symbol_signs(domain)):
        raise Rejected(f"that {text(tree)} = 0 was not seen")
