"""Laws applied to an activation, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from gpsym.activation import Activation
from gpsym.testing.assertions import Inapplicable, Undetermined
from gpsym.testing.laws import LAWS, Law
from gpsym.testing.theorems import THEOREM_LAWS

__all__ = ["LawCheck", "check_laws"]


@dataclass(frozen=True)
class LawCheck:
    """What a law says of an activation.

    verdict  "Verified" where it holds, "Refuted", "Undecided", or "Inapplicable" where it says nothing.
    why      the witness, what was not decided, or the condition that fails; empty if verified.
    """

    activation: str
    law: str
    verdict: Literal["Verified", "Refuted", "Undecided", "Inapplicable"]
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the activation."""
        return self.verdict in ("Verified", "Inapplicable")

    def to_dict(self) -> dict[str, str]:
        """The check as plain JSON types."""
        return asdict(self)

    def __str__(self) -> str:
        verdict = "does not apply" if self.verdict == "Inapplicable" else self.verdict
        return f"{verdict} ({self.why})" if self.why else verdict


def check_laws(phi: Activation) -> Iterator[LawCheck]:
    """Every law of formulas, then every theorem, one by one.

    Raises ValueError without assertions, as under python -O: laws could not fail.
    """
    if not __debug__:
        raise ValueError("laws: need assertions, got an interpreter without; leave out -O and PYTHONOPTIMIZE.")
    for name, law in {**LAWS, **THEOREM_LAWS}.items():
        yield _checked(phi, name, law)


def _checked(phi: Activation, name: str, law: Law) -> LawCheck:
    try:
        law(phi)
    except Inapplicable as reason:
        return LawCheck(phi.name, name, "Inapplicable", str(reason))
    except (Undetermined, ValueError) as doubt:  # ValueError: what the law needs cannot be had, such as numbers
        return LawCheck(phi.name, name, "Undecided", str(doubt))
    except AssertionError as failure:
        return LawCheck(phi.name, name, "Refuted", str(failure))
    return LawCheck(phi.name, name, "Verified")
