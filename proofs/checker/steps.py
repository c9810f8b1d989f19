"""Statements, the steps that lead to them, and the conditions that several rules put on a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from proofs.checker import parse
from proofs.checker.domains import Domain, interior, require_covered, same_end, symbol_signs
from proofs.checker.limits import require_vanishing
from proofs.checker.normal import is_zero
from proofs.checker.signs import require_defined, require_smooth, signs
from proofs.checker.trees import Rejected, Tree, add, derivative, minus, multiply, number, substitute, symbols, text

__all__ = [
    "Statement",
    "Step",
    "defined_tree",
    "end_of",
    "named_variable",
    "own_variable",
    "premise_expression",
    "require_end",
    "require_expression_defined",
    "require_limit",
    "require_slope",
    "require_zero",
]


@final
@dataclass(frozen=True)
class Statement:
    """What is claimed of the expression for all values of the symbols in the domain.

    equal      the two `sides` are equal.
    positive   it is > 0.
    crossing   along `variable` there is a place, which may be an end, such that it is < 0 before and > 0 beyond.
    vanishing  it tends to 0 as `variable` tends to `end`, 0 from above or oo (None).
    root       `equations` have exactly one zero in the box of the `unknowns`, for all values of the others.
    """

    claim: str
    domain: Domain
    expression: Tree | None = None
    variable: str | None = None
    end: Tree | None = None
    equations: tuple[Tree, ...] = ()
    unknowns: tuple[str, ...] = ()
    sides: tuple[Tree, ...] = ()


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
        return defined_tree(self.data[key], self.domain if domain is None else domain)


def require_slope(step: Step, name: str, direction: int, claim: str) -> None:
    """The first premise makes its claim of the derivative along x, times the direction, inside the interval of x."""
    inside = interior(step.domain, name)
    require_smooth(step.expression, inside)
    slope = premise_expression(step.premises[0], claim, inside, name)
    require_zero(minus(multiply(number(direction), derivative(step.expression, name)), slope), inside)


def require_limit(
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
        vanishing = premise_expression(premises[0], "vanishing", interior(step.domain, name), name)
        if not same_end(premises[0].end, end):
            raise Rejected(f"the premise's limit is not the one at the {side} end of {name}")
        require_zero(minus(step.expression, add(vanishing, limit)), step.domain)
    elif end is None:
        require_vanishing(minus(step.expression, limit), name, None, step.domain)
    else:
        closed = replace(interval, **{f"{side}_open": False})
        require_defined(step.expression, {**step.domain, name: closed})
        require_zero(minus(substitute(step.expression, {name: end}), limit), rest)
    if not signs(limit, rest) <= ({0, sign} if is_open else {sign}):
        raise Rejected(f"the limit {text(limit)} may have another sign than {'+' if sign > 0 else '-'}")


def require_end(step: Step, name: str, side: str) -> None:
    """The end that the data name is the low or the high one of the interval."""
    own = step.domain[name].low if side == "low" else step.domain[name].high
    if not same_end(own, end_of(step.data["end"])):
        raise Rejected(f"{step.data['end']} is not the {side} end of the interval of {name}")


def end_of(value: object) -> Tree | None:
    """A number of a text, or None for oo."""
    return None if value == "oo" else defined_tree(value, {})


def named_variable(step: Step) -> str:
    """The variable that the data name."""
    name = parse.name(step.data["variable"])
    if name not in step.domain:
        raise Rejected(f"{name} has no interval")
    return name


def own_variable(step: Step) -> str:
    """The variable of the statement."""
    assert step.statement.variable is not None
    return step.statement.variable


def premise_expression(premise: Statement, claim: str, domain: Domain, name: str | None = None) -> Tree:
    """The expression of a premise that makes the claim, along x if it has a variable, on a domain that covers this."""
    if premise.claim != claim or premise.expression is None:
        raise Rejected(f"need a premise that claims {claim}, got {premise.claim}")
    own = set() if premise.variable is None else {premise.variable}
    if not own <= {name}:
        raise Rejected(f"the premise is {claim} along {premise.variable}, not {name}")
    require_covered(domain, premise.domain, symbols(premise.expression) | own)
    return premise.expression


def require_expression_defined(step: Step) -> None:
    """The expression is defined on the domain."""
    require_defined(step.expression, step.domain)


def defined_tree(value: object, domain: Domain) -> Tree:
    """The tree of a text, which must be defined on the domain."""
    tree = parse.expression(value)
    require_defined(tree, domain)
    return tree


def require_zero(tree: Tree, domain: Domain) -> None:
    """The tree is 0 on the domain, by its normal form."""
    if not is_zero(tree, symbol_signs(domain)):
        raise Rejected(f"that {text(tree)} = 0 was not seen")
