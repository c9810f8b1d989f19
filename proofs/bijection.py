"""Theorem 6, the design is a bijection.

For tau >= 0 and q* > 0 fixed, the slope at the edge of chaos, x(m) = V'(q*) / chi_1(q*), increases strictly in m,
from 0 as m -> 0 to 1 as m -> oo: every slope in (0, 1) belongs to exactly one clip level.

With p the density and Q the tail of N(0, q), b = tau + m and D = Q(tau) - Q(b), x = 1 - m p(b) / D, and x' has the sign
of F = m p(b) - (1 - m b / q) D.  F is 0 at m = 0, and F' = (b + m) D / q > 0.  Near m = 0 both V' and chi_1
vanish, V' with its derivative, chi_1 without: x -> 0.  As m -> oo, chi_1 - V' -> 0, and chi_1 does not: x -> 1.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym.formula import TAU, M, Q
from proofs.logic.rules import combination, from_end, identity, vanishes
from proofs.logic.statements import Proof, Statement, difference, equation
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import CLIPPED, clipped_domain, p, quantities, tail, unclipped_domain

WHERE = clipped_domain()
AT_ZERO = unclipped_domain("[0, oo)")


def rows() -> tuple[Row, ...]:
    """CReLU and CST."""
    return tuple(_row(name) for name in CLIPPED)


def _row(name: str) -> Row:
    found, b = quantities(name), TAU + M
    slope, gradient = found.slope, found.gradient
    steeper, wider = sp.Derivative(slope, M), sp.Derivative(gradient, M)
    rise, clip = difference(steeper * gradient, slope * wider), difference(gradient, slope)
    at_zero = {
        "V' = 0 at m = 0": equation(AT_ZERO, sp.Subs(slope, M, 0), 0),
        "chi_1 = 0 at m = 0": equation(AT_ZERO, sp.Subs(gradient, M, 0), 0),
        "dV'/dm = 0 at m = 0": equation(AT_ZERO, sp.Subs(steeper, M, 0), 0),
    }
    statements = {
        "x'(m) > 0, times chi_1^2": Statement("positive", rise, WHERE),
        **at_zero,
        "dchi_1/dm > 0": Statement("positive", wider, WHERE),
        "dchi_1/dm > 0 at m = 0": Statement("positive", sp.Subs(wider, M, 0), AT_ZERO),
        "chi_1 - V' -> 0 as m -> oo": Statement("vanishing", clip, WHERE, M, sp.oo),
    }

    def prove() -> dict[str, Proof]:
        between: Any = tail(TAU) - tail(b)
        numerator = M * p(b) - (1 - M * b / Q) * between
        mass = from_end(WHERE, between, M, sp.S.Zero, combination(WHERE, sp.Derivative(between, M)))
        rising = combination(WHERE, sp.Derivative(numerator, M), [((b + M) / Q, mass)])
        positive = from_end(WHERE, numerator, M, sp.S.Zero, rising)
        proofs = (
            combination(WHERE, rise, [(found.sides**2 * p(b), positive)]),
            *(identity(AT_ZERO, *s.expression.args) for s in at_zero.values()),
            combination(WHERE, wider),
            combination(AT_ZERO, sp.Subs(wider, M, 0)),
            vanishes(WHERE, clip, M, sp.oo),
        )
        return dict(zip(statements, proofs, strict=True))

    return Row(name, "q, m > 0, tau >= 0", statements, prove)


THEOREM = Theorem("bijection", "V'(q*) at the edge of chaos increases strictly in m from 0 to 1", rows)
