"""Domains of fields, and what a value outside of its domain is told: checked by pydantic, said in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

__all__ = ["MOST", "STRICT", "Domain", "checked"]

# No conversion of types, no field that is not declared, no NaN and no infinity.
STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

# Width, depth and counts beyond a million would not be trained in years; a larger number is a slip.
MOST = 10**6

# Characters of a wrong value that a message shows.
_SHOWN = 60


@dataclass(frozen=True)
class Domain:
    """What a field must be, in words, and what would work."""

    words: str
    advice: str


def checked(schema: type[BaseModel], values: Any, door: str, path: Any = None) -> BaseModel:
    """The values as the schema has them.

    door  the word that begins a message.
    path  file from which the values come, if any.

    Raises ValueError, of one sentence, that names the first field that is wrong.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=True)[0]
        raise ValueError(_sentence(schema, first, door, "" if path is None else f" in {path}")) from None


def _sentence(schema: type[BaseModel], error: ErrorDetails, door: str, where: str) -> str:
    if not error["loc"]:
        return f"{door}: need a JSON object{where}, got {_shown(error['input'])}; restore it."
    name, kind = str(error["loc"][0]), error["type"]
    if kind == "missing":
        return f"{door}: need the field {name}{where}, got none; add it."
    if kind == "extra_forbidden":
        return f"{door}: need the fields of a run{where}, got {_shown(name)}; remove it."
    domain = _domain(schema.model_fields[name]) if name in schema.model_fields else None
    if domain is None:
        got = f"{_shown(error['input'])} ({error['msg'].lower()})"
        return f"{door}: need {_shown(name)} that a run wrote{where}, got {got}; restore it."
    if kind == "less_than_equal" and domain.words.startswith(">="):
        domain = Domain(f"<= {error.get('ctx', {})['le']}", "pass a smaller whole number")
    return f"{door}: need {name} {domain.words}{where}, got {_shown(error['input'])}; {domain.advice}."


def _domain(field: Any) -> Domain | None:
    """The words of a field, which stand beside its type or in the type of an optional field; those of a choice."""
    if get_origin(field.annotation) is Literal:
        *names, last = get_args(field.annotation)
        return Domain(f"{', '.join(names)} or {last}", "pass one of them")
    optional = [part for member in get_args(field.annotation) for part in get_args(member)]
    return next((part for part in [*field.metadata, *optional] if isinstance(part, Domain)), None)


def _shown(value: Any) -> str:
    """The value as text, cut where it is long."""
    if isinstance(value, int) and abs(value) > 10**_SHOWN:
        return f"a whole number of {value.bit_length()} bits"
    shown = str(value) if not isinstance(value, Mapping) else f"{{{', '.join(map(str, value))}}}"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
