"""Certificates: proofs as JSON, which a program that shares no code with this one can check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import sympy as sp

from proofs.checker import FORMAT
from proofs.logic.statements import Domain, Proof, Statement
from proofs.logic.theorem import Proved, Result, Row, Theorem

__all__ = ["certificate", "claims", "nodes", "statement_text"]


def statement_text(statement: Statement) -> dict[str, Any]:
    """A statement with every expression as text; of an equation both sides."""
    return {
        "claim": statement.claim,
        **_expression_text(statement),
        "domain": _domain_text(statement.domain),
        **({} if statement.variable is None else {"variable": _text(statement.variable)}),
        **({} if statement.end is None else {"end": _text(statement.end)}),
    }


def _expression_text(statement: Statement) -> dict[str, str]:
    if statement.claim != "equal":
        return {"expression": _text(statement.expression)}
    return {"left": _text(statement.expression.lhs), "right": _text(statement.expression.rhs)}


def claims(theorem: Theorem) -> dict[str, Any]:
    """What a certificate of the theorem has to claim: `proofs.checker.claims` of it is the same."""
    rows = [
        {**_place(row), "claims": {label: statement_text(s) for label, s in row.statements.items()}}
        for row in theorem.rows()
    ]
    return {**_head(theorem), "proofs": rows}


def nodes(proofs: Mapping[str, Proof]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """(nodes, places): the proofs and all below them, premises first and each once; and the place of each one named.

    A node is its statement, the rule, the places of its premises, and the data of the rule.
    """
    found: list[dict[str, Any]] = []
    places: dict[int, int] = {}

    def place(proof: Proof) -> int:
        if id(proof) not in places:
            premises = [place(premise) for premise in proof.premises]
            places[id(proof)] = len(found)
            data = {name: _data(value) for name, value in proof.data.items()}
            found.append({**statement_text(proof.statement), "rule": proof.rule, "premises": premises, "data": data})
        return places[id(proof)]

    return found, {name: place(proof) for name, proof in proofs.items()}


def _data(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_data(item) for item in value]
    return _text(value)


def _text(expression: Any) -> str:
    return sp.sstr(sp.sympify(expression))


def _domain_text(domain: Domain) -> dict[str, str]:
    return {
        symbol.name: f"{'(['[not i.left_open]}{_text(i.start)}, {_text(i.end)}{')]'[not i.right_open]}"
        for symbol, i in domain
    }


def certificate(theorem: Theorem, results: Sequence[Result]) -> dict[str, Any]:
    """The certificate of a theorem all of whose rows are proved, without its digest."""
    named: dict[str, Proof] = {}
    for k, result in enumerate(results):
        assert isinstance(result.verdict, Proved), "only what is proved has a certificate"
        named |= {f"{k} {label}": proof for label, proof in result.verdict.proofs.items()}
    found, places = nodes(named)
    rows = [
        {**_place(result.row), "claims": {label: places[f"{k} {label}"] for label in result.row.statements}}
        for k, result in enumerate(results)
    ]
    return {**_head(theorem), "proofs": rows, "nodes": found}


def _head(theorem: Theorem) -> dict[str, Any]:
    versions = {name: version(name) for name in ("gpsym", "sympy", "python-flint")}
    return {"theorem": theorem.name, "words": theorem.words, "versions": {"certificate": FORMAT, **versions}}


def _place(row: Row) -> dict[str, str]:
    return {"activation": row.activation, "domain": row.domain}
