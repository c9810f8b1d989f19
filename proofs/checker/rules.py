"""The rules of proofs: whether a statement follows by one of them from its premises.

A statement is about an expression on a product of intervals.  In the rules x is the `variable`; the other symbols are
fixed.  All expressions of a step must be defined on its domain, and so continuous; those that are differentiated
must have a derivative inside the interval of x.  At an end that belongs to the interval what is claimed there is
claimed of the end itself: where an open end may have a limit >= 0, a closed one needs a value > 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

from proofs.checker import parse
from proofs.checker.boxes import require_positive_on_boxes
from proofs.checker.domains import same_end
from proofs.checker.limits import require_vanishing
from proofs.checker.roots import require_one_root
from proofs.checker.signs import require_defined, signs
from proofs.checker.steps import (
    Step,
    defined_tree,
    end_of,
    named_variable,
    own_variable,
    premise_expression,
    require_end,
    require_expression_defined,
    require_limit,
    require_slope,
    require_zero,
)
from proofs.checker.terms import NOT_NEGATIVE, POSITIVE
from proofs.checker.trees import Rejected, add, minus, multiply, number, substitute, text

__all__ = ["RULES", "Rule"]


@final
@dataclass(frozen=True)
class Rule:
    """What a rule concludes, from how many premises, with which data; `check` raises Rejected where it does not."""

    claims: frozenset[str]
    premises: tuple[int, ...] | None
    data: frozenset[str]
    check: Callable[[Step], None]


def _identity(step: Step) -> None:
    """Both sides are equal, by the normal form of their difference."""
    left, right = step.statement.sides
    for side in (left, right):
        require_defined(side, step.domain)
    require_zero(minus(left, right), step.domain)


def _combination(step: Step) -> None:
    """expression = sum of c_i e_i + rest > 0: the e_i are, c_i and rest are >= 0 by form, and one of them > 0."""
    require_expression_defined(step)
    texts = step.data["coefficients"]
    if not isinstance(texts, list) or len(texts) != len(step.premises):
        raise Rejected(f"need {len(step.premises)} coefficients, one for each premise, got {parse.quoted(texts)}")
    shown = [step.tree("rest"), *(defined_tree(t, step.domain) for t in texts)]
    known = [premise_expression(premise, "positive", step.domain) for premise in step.premises]
    products = [multiply(c, e) for c, e in zip(shown[1:], known, strict=True)]
    require_zero(minus(step.expression, add(shown[0], *products)), step.domain)
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
    require_expression_defined(step)
    (lemma,) = step.premises
    texts = step.data["values"]
    if lemma.claim != step.statement.claim or lemma.expression is None:
        raise Rejected(f"need a premise that claims {step.statement.claim}, got {lemma.claim}")
    if not isinstance(texts, Mapping) or not texts.keys() <= lemma.domain.keys():
        raise Rejected(f"need values of the premise's symbols, got {parse.quoted(texts)}")
    values = {name: defined_tree(texts.get(name, name), step.domain) for name in lemma.domain}
    for name, value in values.items():
        interval = lemma.domain[name]
        for side, end, is_open in ((1, interval.low, interval.low_open), (-1, interval.high, interval.high_open)):
            if end is None:
                continue
            distance = signs(multiply(number(side), minus(value, end)), step.domain)
            if not distance <= (POSITIVE if is_open else NOT_NEGATIVE):
                raise Rejected(f"that {text(value)} lies in the premise's interval of {name} was not seen")
    require_zero(minus(step.expression, substitute(lemma.expression, values)), step.domain)


def _vanishes(step: Step) -> None:
    """expression -> 0 as x tends to an end, because each of its terms does (`require_vanishing`)."""
    require_expression_defined(step)
    require_vanishing(step.expression, own_variable(step), step.statement.end, step.domain)


def _from_end(step: Step) -> None:
    """expression > 0: it tends to a limit >= 0 at an end of x, and rises away from it; to one > 0 if the end is closed.

    The first premise says that its derivative, for the lower end, or minus that, for the upper, is > 0 inside.  The
    second one, if there is one, that expression - limit tends to 0.
    """
    require_expression_defined(step)
    name = named_variable(step)
    interval, end = step.domain[name], end_of(step.data["end"])
    lower = interval.low is not None and end is not None and same_end(interval.low, end)
    if not lower and not same_end(interval.high, end):
        raise Rejected(f"{step.data['end']} is no end of the interval of {name}")
    require_slope(step, name, 1 if lower else -1, "positive")
    require_limit(step, name, "low" if lower else "high", 1, step.premises[1:])


def _increasing(step: Step) -> None:
    """expression crosses along x, because its derivative is > 0."""
    require_expression_defined(step)
    require_slope(step, own_variable(step), 1, "positive")


def _multiple(step: Step) -> None:
    """expression = factor e crosses along x, because e does, and factor > 0."""
    require_expression_defined(step)
    (premise,) = step.premises
    factor, crossing = step.tree("factor"), premise_expression(premise, "crossing", step.domain, own_variable(step))
    require_zero(minus(step.expression, multiply(factor, crossing)), step.domain)
    if signs(factor, step.domain) != POSITIVE:
        raise Rejected(f"that {text(factor)} > 0 was not seen")


def _valley(step: Step) -> None:
    """expression crosses along x: from a limit <= 0 at the lower end it falls first and rises then."""
    require_expression_defined(step)
    name = own_variable(step)
    require_slope(step, name, 1, "crossing")
    require_end(step, name, "low")
    require_limit(step, name, "low", -1, ())


def _hump(step: Step) -> None:
    """expression crosses along x: it rises first and falls then, to a limit >= 0 at the upper end."""
    require_expression_defined(step)
    name = own_variable(step)
    require_slope(step, name, -1, "crossing")
    require_end(step, name, "high")
    require_limit(step, name, "high", 1, step.premises[1:])


def _ridge(step: Step) -> None:
    """expression > 0: from a limit >= 0 at the lower end of x it rises first and falls then, to one >= 0."""
    require_expression_defined(step)
    name = named_variable(step)
    require_slope(step, name, -1, "crossing")
    require_end(step, name, "high")
    require_limit(step, name, "high", 1, step.premises[1:])
    require_limit(step, name, "low", 1, (), "start")


def _on_boxes(step: Step) -> None:
    """expression > 0, because it is on boxes that cover the domain."""
    require_positive_on_boxes(step.expression, step.domain, step.data["boxes"])


def _root(step: Step) -> None:
    """The equations have exactly one zero in a box, because a map contracts it (`require_one_root`)."""
    s = step.statement
    require_one_root(s.equations, s.unknowns, s.domain)


def _rule(check: Callable[[Step], None], claims: str, premises: tuple[int, ...] | None, data: str = "") -> Rule:
    return Rule(frozenset(claims.split()), premises, frozenset(data.split()), check)


RULES: Mapping[str, Rule] = {
    "identity": _rule(_identity, "equal", (0,)),
    "combination": _rule(_combination, "positive", None, "rest coefficients"),
    "instance": _rule(_instance, "positive", (1,), "values"),
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
