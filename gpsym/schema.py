"""JSON from outside, checked against its schema before anything in it is used."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from gpsym.limits import shown

__all__ = ["json_schema", "read_json", "require_schema"]

_CHARACTERS = 2**20  # of a JSON text


@cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a design's JSON."""
    return json.loads(resources.files("gpsym").joinpath("design.schema.json").read_text(encoding="utf-8"))


def read_json(door: str, text: str | bytes) -> Any:
    """The value that a JSON text describes.

    Raises ValueError, beginning with `door`, for text that is no JSON, too long or too deep.
    """
    if len(text) > _CHARACTERS:
        raise ValueError(f"{door}: need JSON of at most {_CHARACTERS} characters, got {len(text)}; shorten it.")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{door}: need JSON of moderate depth, got a deeper one; correct it.") from None
    except ValueError as error:  # also text that is no UTF-8, and integers of thousands of digits
        raise ValueError(f"{door}: need JSON, got an error ({shown(error)}); correct it.") from None


def require_schema(door: str, value: Any, schema: Mapping[str, Any]) -> None:
    """Do nothing if the value meets the JSON Schema and all its numbers are finite.

    Raises ValueError, beginning with `door`, that says what must hold, what came and where.
    """
    # These take a tenth of a second to import.
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        error = best_match(Draft202012Validator(schema).iter_errors(value))
    except ValueError:  # jsonschema writes values into its messages, and Python no integers of thousands of digits
        raise ValueError(f"{door}: need numbers of moderate size, got thousands of digits; correct it.") from None
    if error is not None:
        raise ValueError(f"{door}: {_sentence(error)}")
    for place, number in _numbers(value, "the whole"):
        if not math.isfinite(number):
            raise ValueError(f"{door}: need a finite number for {place!r}, got {number!r}; correct it.")


# Keywords of JSON Schema, and what they ask for in words.
_WORDS = {
    "type": "{0}",
    "minimum": "a number >= {0}",
    "maximum": "a number <= {0}",
    "exclusiveMinimum": "a number > {0}",
    "minLength": "a text of at least {0} characters",
    "maxLength": "a text of at most {0} characters",
    "minItems": "a list of at least {0} entries",
    "maxItems": "a list of at most {0} entries",
    "pattern": "a text that matches {0}",
}
_KINDS = {"number": "a finite number", "string": "a text", "array": "a list", "object": "an object", "null": "null"}


def _sentence(error: Any) -> str:
    """What must hold, what came, and what to do about the error."""
    wanted, keyword, came = error.validator_value, error.validator, error.instance
    if keyword in ("required", "dependentRequired"):
        due = wanted if keyword == "required" else [n for given in wanted if given in came for n in wanted[given]]
        lacking = next(name for name in due if name not in came)
        return f"need the field {lacking!r}, got {shown(', '.join(came))}; add it."
    if keyword == "additionalProperties":
        unknown = next(name for name in came if name not in error.schema["properties"])
        return f"need fields of the schema only, got {shown(unknown, repr)}; leave it out."
    if keyword == "type":
        wanted = " or ".join(_KINDS[kind] for kind in ([wanted] if isinstance(wanted, str) else wanted))
    place = f" for {error.absolute_path[0]!r}" if error.absolute_path else ""
    return f"need {_WORDS[keyword].format(wanted)}{place}, got {shown(came, repr)}; correct it."


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    """All floats inside, each with the field that holds it."""
    if isinstance(value, float):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, place)
