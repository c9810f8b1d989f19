"""Theorem 5, stability by clipping.

For CReLU_{tau,m} and CST_{tau,m} with tau >= 0, m > 0: 0 < V'(q) < chi_1(q) for all q > 0.  At the edge of chaos,
where chi_1(q*) = 1, this is 0 < V'(q*) < 1: the variance returns to q* after a perturbation to either side.
Precisely, V'(q*) = 1 - m p(b) / (Q(tau) - Q(b)), with p the density and Q the tail of N(0, q*), and b = tau + m.

Upper bound: chi_1 - V' is a product of positive factors (the clip term).  Lower bound: as a function of m, V'
extends to m = 0, where it is 0, and its derivative in m is a product of positive factors.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym.formula import TAU, M
from proofs.logic.rules import combination, from_end, identity
from proofs.logic.statements import Proof, Statement, difference, equation
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import CLIPPED, clipped_domain, p, quantities, tail

WHERE = clipped_domain()


def rows() -> tuple[Row, ...]:
    """CReLU and CST."""
    return tuple(_row(name) for name in CLIPPED)


def _row(name: str) -> Row:
    found, b = quantities(name), TAU + M
    between: Any = tail(TAU) - tail(b)
    below = difference(found.gradient, found.slope)
    ratio = equation(WHERE, found.slope * between, found.gradient * (between - M * p(b)))
    statements = {
        "V' > 0": Statement("positive", found.slope, WHERE),
        "V' < chi_1": Statement("positive", below, WHERE),
        "V' / chi_1 = 1 - m p(b) / (Q(tau) - Q(b))": ratio,
    }

    def prove() -> dict[str, Proof]:
        rising = combination(WHERE, sp.Derivative(found.slope, M))
        proofs = (
            from_end(WHERE, found.slope, M, sp.S.Zero, rising),
            combination(WHERE, below),
            identity(WHERE, *ratio.expression.args),
        )
        return dict(zip(statements, proofs, strict=True))

    return Row(name, "q, m > 0, tau >= 0", statements, prove)


THEOREM = Theorem("stability", "0 < V'(q) < chi_1(q) for all q > 0; so 0 < V'(q*) < 1 at the edge of chaos", rows)
