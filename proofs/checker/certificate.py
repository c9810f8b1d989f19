"""The form of certificates: nodes, premises before what follows from them, and the claims that they prove."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from proofs.checker import parse
from proofs.checker.budget import allowance
from proofs.checker.domains import domain
from proofs.checker.rules import RULES
from proofs.checker.steps import Statement, Step
from proofs.checker.trees import Rejected, symbols
from proofs.checker.written import carried_out, require_content

__all__ = ["FORMAT", "MOST_BYTES", "check", "claims", "digest", "read"]

FORMAT = "2"  # of certificates: their keys, the grammar of their texts, the rules

_KEYS = frozenset({"theorem", "words", "versions", "digest", "proofs", "nodes"})
_PROOF_KEYS = frozenset({"activation", "domain", "claims"})
_NODE_KEYS = frozenset({"claim", "domain", "rule", "premises", "data"})
_STATEMENT_KEYS = ("claim", "left", "right", "expression", "domain", "variable", "end")
_CLAIM_KEYS: Mapping[str, tuple[frozenset[str], ...]] = {
    "equal": (frozenset({"left", "right"}),),
    "positive": (frozenset({"expression"}),),
    "crossing": (frozenset({"expression", "variable"}),),
    "vanishing": (frozenset({"expression", "variable", "end"}),),
    "root": (frozenset({"expression", "variable"}),),
}
_VERSIONS = frozenset({"certificate", "gpsym", "sympy", "python-flint"})
MOST_BYTES = 2**22  # of a certificate; the longest has 70,000
_MOST_NODES = 2_000


def read(content: bytes) -> dict[str, Any]:
    """The certificate of JSON in UTF-8 in which no key comes twice, and no number is fractional or not finite."""
    if len(content) > MOST_BYTES:
        raise Rejected(f"need a certificate of at most {MOST_BYTES} bytes")
    try:
        text = content.decode()
        found = json.loads(text, object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float)
    except (RecursionError, ValueError) as error:
        raise error if isinstance(error, Rejected) else Rejected(f"cannot read the certificate: {error}") from error
    return _mapping(found, "a certificate")


def digest(certificate: Mapping[str, Any]) -> str:
    """SHA-256 of the certificate without its digest, as JSON with sorted keys and no spaces, in hexadecimal."""
    content = {key: value for key, value in certificate.items() if key != "digest"}
    try:
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Rejected(f"the certificate is not JSON: {error}") from error
    return hashlib.sha256(canonical.encode()).hexdigest()


def claims(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """All that a certificate claims: theorem, words, versions, and the rows with each claim as its statement's texts.

    Nothing but `check` says that it is proved; that it is what the theorem says is left to the reader.
    """
    nodes = certificate["nodes"]

    def statement(place: int) -> dict[str, Any]:
        return {key: nodes[place][key] for key in _STATEMENT_KEYS if key in nodes[place]}

    rows = [
        {**proof, "claims": {label: statement(place) for label, place in proof["claims"].items()}}
        for proof in certificate["proofs"]
    ]
    return {**{key: certificate[key] for key in ("theorem", "words", "versions")}, "proofs": rows}


def check(certificate: Mapping[str, Any]) -> None:
    """Every node follows from those before it by its rule, and is used by a claim.

    Raises Rejected, with the node and its rule, for the first that does not, for what has another form, and for what
    takes more than the steps that `budget` allows.
    """
    with allowance():
        _check(certificate)


def _check(certificate: Mapping[str, Any]) -> None:
    _require_keys(certificate, "a certificate", _KEYS)
    if certificate["digest"] != digest(certificate):
        raise Rejected("the digest is not that of the certificate")
    _require_texts(certificate, "theorem", "words")
    versions = _require_keys(certificate["versions"], "versions", _VERSIONS)
    _require_texts(versions, *sorted(_VERSIONS))
    if versions["certificate"] != FORMAT:
        raise Rejected(f"need a certificate of version {FORMAT}, got {parse.quoted(versions['certificate'])}")
    nodes = _list(certificate["nodes"], "nodes")
    if len(nodes) > _MOST_NODES:
        raise Rejected(f"need at most {_MOST_NODES} nodes, got {len(nodes)}")
    proved: list[Statement] = []
    for place, node in enumerate(nodes):
        rule = node.get("rule") if isinstance(node, Mapping) else None
        try:
            proved.append(_proved(node, proved))
        except Rejected as error:
            raise Rejected(f"node {place} ({parse.quoted(rule)}): {error}") from error
        except (RecursionError, OverflowError, MemoryError) as error:
            raise Rejected(f"node {place} ({parse.quoted(rule)}): too large: {type(error).__name__}") from error
    claimed = _claimed(certificate, len(nodes))
    for place in claimed:
        about = proved[place].expression
        if about is not None and not symbols(about):
            raise Rejected(f"node {place} is claimed, and says nothing: it is about a number")
    _require_used(nodes, claimed)


def _proved(node: object, before: Sequence[Statement]) -> Statement:
    """The statement of a node, if it follows."""
    fields = _mapping(node, "a node")
    statement = _statement(fields)
    rule = RULES.get(fields["rule"]) if isinstance(fields["rule"], str) else None
    if rule is None:
        raise Rejected(f"need one of the rules {', '.join(RULES)}")
    if statement.claim not in rule.claims:
        raise Rejected(f"the rule does not conclude {statement.claim}")
    places = _list(fields["premises"], "premises")
    for place in places:
        if type(place) is not int or not 0 <= place < len(before):
            raise Rejected(f"need premises among the {len(before)} nodes before, got {parse.quoted(place)}")
    if rule.premises is not None and len(places) not in rule.premises:
        raise Rejected(f"need {' or '.join(map(str, rule.premises))} premises, got {len(places)}")
    data = _require_keys(fields["data"], "data", rule.data)
    rule.check(Step(statement, [before[place] for place in places], data))
    return statement


def _statement(node: Mapping[str, Any]) -> Statement:
    claim = node.get("claim")
    if not isinstance(claim, str) or claim not in _CLAIM_KEYS:
        raise Rejected(f"need one of the claims {', '.join(_CLAIM_KEYS)}, got {parse.quoted(claim)}")
    _require_keys(node, "a node", *(_NODE_KEYS | more for more in _CLAIM_KEYS[claim]))
    intervals = domain(node["domain"])
    if claim == "equal":
        left, right = parse.written(node["left"]), parse.written(node["right"])
        require_content(left, right)
        return Statement(claim, intervals, sides=(carried_out(left, intervals), carried_out(right, intervals)))
    if claim == "root":
        return Statement(
            claim,
            intervals,
            equations=tuple(carried_out(tree, intervals) for tree in parse.equations(node["expression"])),
            unknowns=parse.names(node["variable"]),
        )
    variable = parse.name(node["variable"]) if "variable" in node else None
    if variable is not None and variable not in intervals:
        raise Rejected(f"{variable} has no interval")
    end = parse.expression(node["end"]) if node.get("end", "oo") != "oo" else None
    return Statement(claim, intervals, carried_out(parse.written(node["expression"]), intervals), variable, end)


def _claimed(certificate: Mapping[str, Any], count: int) -> list[int]:
    """The places of the claimed nodes."""
    found: list[int] = []
    rows: set[tuple[str, str]] = set()
    labels: set[tuple[str, str]] = set()
    for proof in _list(certificate["proofs"], "proofs"):
        fields = _require_keys(proof, "a proof", _PROOF_KEYS)
        _require_texts(fields, "activation", "domain")
        row = fields["activation"], fields["domain"]
        if row in rows:
            raise Rejected(f"{parse.quoted(' for '.join(row))} is proved twice")
        rows.add(row)
        if not _mapping(fields["claims"], "claims"):
            raise Rejected(f"{parse.quoted(row[0])} has no claims")
        for label, place in fields["claims"].items():
            if type(place) is not int or not 0 <= place < count:
                raise Rejected(f"need a node for the claim {parse.quoted(label)}, got {parse.quoted(place)}")
            if (row[0], label) in labels:
                raise Rejected(f"{parse.quoted(label)} is claimed twice of {parse.quoted(row[0])}")
            labels.add((row[0], label))
            found.append(place)
    return found


def _require_used(nodes: Sequence[Mapping[str, Any]], claimed: Sequence[int]) -> None:
    used = set(claimed)
    for place in reversed(range(len(nodes))):
        if place not in used:
            raise Rejected(f"node {place} is used by no claim")
        used |= set(nodes[place]["premises"])


def _require_keys(value: object, what: str, *allowed: frozenset[str]) -> Mapping[str, Any]:
    found = _mapping(value, what)
    if found.keys() not in allowed:
        raise Rejected(f"need {what} of {sorted(allowed[-1])}, got {parse.quoted(found)}")
    return found


def _require_texts(fields: Mapping[str, Any], *keys: str) -> None:
    for key in keys:
        if not isinstance(fields[key], str):
            raise Rejected(f"need a text for {key}, got {parse.quoted(fields[key])}")


def _mapping(value: object, what: str) -> Any:
    if not isinstance(value, Mapping):
        raise Rejected(f"need {what} as a mapping, got {parse.quoted(value)}")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or (not value and what != "premises"):
        raise Rejected(f"need a list of {what}, got {parse.quoted(value)}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Rejected(f"a key comes twice among {parse.quoted([key for key, _ in pairs])}")
    return found


def _no_float(value: str) -> NoReturn:
    raise Rejected(f"numbers of a certificate are texts, got {parse.quoted(value)}")
