"""Checking a derived formula against the meaning of its quantity, by a route that shares nothing with the derivation.

shapes      an activation at numbers: which piece, Horner's rule, derivatives, jumps
panels      integrals in Arb, cut at the knots
quadrature  expectations of one normal variable
pairs       expectations of two
quantities  what each quantity means, by its name: a table of expectations
points      where formulas break, and points spread over the domain
forms       expression, stable form and limits, each as a function of a point
compare     each form of a formula and what arrays give against the meaning
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpsym.activation import Activation
from gpsym.formula import Formula
from gpsym.maps import QUANTITIES, derive
from gpsym.verdicts import Refuted, Undecided, Verified
from gpsym.verify.compare import Verdict
from gpsym.verify.compare import verify as _verify

__all__ = ["Check", "Refuted", "Undecided", "Verdict", "Verified", "verify_activation", "verify_formula"]


@dataclass(frozen=True)
class Check:
    """A verdict on one formula of one activation."""

    activation: str
    quantity: str
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """The check as plain JSON types."""
        kind = type(self.verdict).__name__
        return {"activation": self.activation, "quantity": self.quantity, "verdict": kind, **vars(self.verdict)}


def verify_activation(
    activation: Activation,
    quantities: Sequence[str] = (),
    *,
    digits: int = 50,
    points: int = 100,
    seed: int = 0,
) -> list[Check]:
    """A verdict on each quantity that `maps.derive` knows by these names, at the same points.

    quantities  those of `maps.QUANTITIES` if none is given; other arguments and errors are those of `verify_formula`.
    """
    formulas = [derive(activation, name) for name in quantities or QUANTITIES]
    verdicts = _verify(formulas, digits, points, seed)
    return [Check(activation.name, f.name, verdict) for f, verdict in zip(formulas, verdicts, strict=True)]


def verify_formula(formula: Formula, *, digits: int = 50, points: int = 100, seed: int = 0) -> Verdict:
    """Whether each form of the formula agrees with the meaning of its quantity at points of its domain.

    digits  significant digits to agree on, 1 to 100; where the parts of the value cancel, of 1e-30 of the parts.
    points  number of points, 1 to 100000, of which up to half are corners of the domain and the rest are spread over
            it: see `gpsym.verify.points`.  A formula of one input is compared to 12 digits at 13 times as many more.
    seed    shifts the spread points; 0 to 2^32 - 1.

    The forms are `expression`, `stable`, the limits `at_rho` of two inputs, and what `gpsym.lambdify` computes in
    float64.  The verdict `Verified` names the domain, the forms and the digits; `Refuted` names the form and the point;
    a quantity whose meaning is not known here is `Undecided`.

    Agreement at points is strong evidence, not a proof: that is the business of proofs/.

    Raises ValueError for numbers out of these ranges.
    """
    return _verify([formula], digits, points, seed)[0]
