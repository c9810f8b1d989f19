"""Certificates: proofs as JSON, which a program that shares no code with this one can check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy as sp

from proofs.logic.statements import Domain, Proof, Statement

__all__ = ["nodes", "statement_text"]


def statement_text(statement: Statement) -> dict[str, Any]:
    """A statement with every expression as text."""
    return {
        "claim": statement.claim,
        "expression": _text(statement.expression),
        "domain": _domain_text(statement.domain),
        **({} if statement.variable is None else {"variable": _text(statement.variable)}),
        **({} if statement.end is None else {"end": _text(statement.end)}),
    }


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
