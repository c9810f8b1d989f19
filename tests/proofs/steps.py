"""Proofs as lists of steps in text, which both programs are given: the rules of the prover, and the checker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from proofs.checker import FORMAT, check, digest
from proofs.logic import balls, rules
from proofs.logic.statements import Open, Proof, domain

VERSIONS = {"certificate": FORMAT, "gpsym": "0", "sympy": "0", "python-flint": "0"}
CLAIMS = {
    "identity": "equal",
    "vanishes": "vanishing",
    "increasing": "crossing",
    "multiple": "crossing",
    "valley": "crossing",
    "hump": "crossing",
    "root": "root",
}


@dataclass(frozen=True)
class Step:
    """One application of a rule, as a certificate has it; premises are places of earlier steps.

    The equation of an identity is expression = 0.
    """

    rule: str
    expression: str
    domain: Mapping[str, str]
    premises: Sequence[int] = ()
    variable: str | None = None
    end: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    claim: str = "positive"

    @property
    def node(self) -> dict[str, Any]:
        """The step in a certificate."""
        named = {"variable": self.variable, "end": self.end}
        equation = {"left": self.expression, "right": "0"}
        return {
            "claim": CLAIMS.get(self.rule, self.claim),
            **(equation if self.rule == "identity" else {"expression": self.expression}),
            "domain": dict(self.domain),
            "rule": self.rule,
            "premises": list(self.premises),
            "data": dict(self.data),
            **{key: value for key, value in named.items() if value is not None},
        }


def check_steps(steps: Sequence[Step]) -> None:
    """The checker's verdict on a certificate of these steps; raises Rejected."""
    check(certificate_of(*(step.node for step in steps)))


def certificate_of(*nodes: Mapping[str, Any], claims: Mapping[str, int] | None = None) -> dict[str, Any]:
    """The certificate of a theorem that claims these nodes, the last one by default."""
    proofs = [{"activation": "a", "domain": "d", "claims": claims or {"last": len(nodes) - 1}}]
    content = {"theorem": "t", "words": "w", "versions": VERSIONS, "proofs": proofs, "nodes": list(nodes)}
    return {**content, "digest": digest(content)}


def prove_steps(steps: Sequence[Step], symbols: Mapping[str, Any] | None = None) -> Proof:
    """The proof of the last step by the prover's rules, each applied to the proofs before it; raises Open.

    symbols  by name; others are real.
    """
    proofs: list[Proof] = []
    for step in steps:
        proofs.append(_Texts(step, symbols or {}).apply([proofs[k] for k in step.premises]))
    return proofs[-1]


@dataclass(frozen=True)
class _Texts:
    """The texts of a step as SymPy objects."""

    step: Step
    symbols: Mapping[str, Any]

    def symbol(self, name: str) -> Any:
        return self.symbols.get(name, sp.Symbol(name, real=True))

    def read(self, text: str) -> Any:
        names = ("x", "y", "z", "rho", "a")
        return sp.sympify(text, locals={name: self.symbol(name) for name in names})

    def apply(self, premises: Sequence[Proof]) -> Proof:
        step, where = self.step, domain({self.symbol(name): i for name, i in self.step.domain.items()})
        data, e = step.data, self.read(step.expression)
        variable = None if step.rule == "root" else self.symbol(step.variable or data.get("variable", "x"))
        rule: Callable[..., Proof] = getattr(balls if step.rule in ("on_boxes", "root") else rules, step.rule)
        if step.rule == "combination":
            terms = list(zip(map(self.read, data["coefficients"]), premises, strict=True))
            return rule(where, e, terms, self.read(data["rest"]))
        if step.rule == "instance":
            values = {self.symbol(name): self.read(value) for name, value in data["values"].items()}
            return _of(e, rule(premises[0], where, values))
        if step.rule == "root":
            return rule(where, e, self.read(str(step.variable)))
        arguments: dict[str, tuple[Any, ...]] = {
            "identity": (sp.S.Zero,),
            "vanishes": (variable, self.read(step.end or "oo")),
            "from_end": (variable, self.read(data.get("end", "0")), *premises),
            "increasing": (variable, *premises),
            "multiple": (self.read(data.get("factor", "1")), *premises),
        }
        return rule(where, e, *arguments.get(step.rule, premises))


def _of(expression: Any, proof: Proof) -> Proof:
    if sp.expand(proof.expression - expression) != 0:
        raise Open(f"{expression} was claimed, {proof.expression} proved")
    return proof
