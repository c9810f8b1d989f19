"""What the file of a theorem holds, and how its verdict is found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import final

from gpsym.verdicts import Undecided
from proofs.logic.refute import Refuted, refute
from proofs.logic.rules import identity, vanishes
from proofs.logic.statements import Open, Proof, Statement

__all__ = ["Proved", "Result", "Row", "Theorem", "Undecided", "Verdict", "row_by_form", "settle"]


@final
@dataclass(frozen=True)
class Row:
    """A theorem for one activation, or for a class of them.

    statements  what is claimed, by name.
    prove       derives it: a proof for each of the names; raises `Open`.
    witness     finds what refutes it, where the points that `refute` tries do not.
    """

    activation: str
    domain: str
    statements: Mapping[str, Statement]
    prove: Callable[[], Mapping[str, Proof]]
    witness: Callable[[], Refuted] | None = None


@final
@dataclass(frozen=True)
class Theorem:
    """A theorem: its name, what it says in formulas, and its rows."""

    name: str
    words: str
    rows: Callable[[], tuple[Row, ...]]


def row_by_form(activation: str, domain: str, statements: Mapping[str, Statement]) -> Row:
    """The row of equations and of limits 0 that their normal forms show."""
    return Row(activation, domain, statements, lambda: {label: _by_form(s) for label, s in statements.items()})


def _by_form(statement: Statement) -> Proof:
    if statement.claim == "equal":
        return identity(statement.domain, *statement.expression.args)
    return vanishes(statement.domain, statement.expression, statement.variable, statement.end)


@dataclass(frozen=True)
class Proved:
    """The statements hold on their whole domains."""

    proofs: Mapping[str, Proof]

    @property
    def method(self) -> str:
        """The rules of all nodes, each once, premises first."""
        return ", ".join(dict.fromkeys(rule for proof in self.proofs.values() for rule in _rules(proof)))


Verdict = Proved | Refuted | Undecided


@final
@dataclass(frozen=True)
class Result:
    """A row with its verdict."""

    theorem: Theorem
    row: Row
    verdict: Verdict
    seconds: float


def settle(theorem: Theorem) -> Iterator[Result]:
    """Each row of the theorem with its verdict."""
    for row in theorem.rows():
        started = time.perf_counter()
        verdict = _verdict(row)
        yield Result(theorem, row, verdict, time.perf_counter() - started)


def _verdict(row: Row) -> Verdict:
    try:
        proofs = row.prove()
    except Open as obstacle:
        if row.witness is not None:
            return row.witness()
        witnesses = (refute(statement) for statement in row.statements.values())
        return next((found for found in witnesses if found), Undecided(str(obstacle)))
    for name in row.statements.keys() | proofs.keys():
        claimed, proved = row.statements.get(name), proofs.get(name)
        if claimed is None or proved is None or claimed != proved.statement:
            return Undecided(f"{name}: claimed {claimed}, proved {proved and proved.statement}")
        if claimed.claim == "positive" and not claimed.carried_out.free_symbols:
            return Undecided(f"{name}: {claimed.expression} > 0 says nothing, it is about a number")
    return Proved(proofs)


def _rules(proof: Proof) -> Iterator[str]:
    for premise in proof.premises:
        yield from _rules(premise)
    yield proof.rule
