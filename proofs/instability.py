"""Theorem 3, instability without a clip.

For ReLU_tau and ST_tau with tau > 0, V'' > 0 everywhere.  So at the edge of chaos, where V(q*) = q* and, by
marginality, V'(q*) = 1, the graph of V lies above its tangent at q*, which is the diagonal: V(q) > q for every
q != q*.  Variances below q* grow towards it; from any variance above it they run away to infinity (the iterates
increase, and a finite limit would be a fixed point above q*).

By scaling (theorem 9) q* = 1.  With W = (V - q) / sigma_w2: W(1) = 0, W'(1) = 0 and W'' > 0.
"""

from __future__ import annotations

import sympy as sp

from gpsym.formula import Q
from proofs.logic.rules import combination, from_end
from proofs.logic.statements import Proof, Statement
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import UNCLIPPED, quantities, unclipped_domain

EVERYWHERE, ABOVE, BELOW = (unclipped_domain(q=q) for q in ("(0, oo)", "(1, oo)", "(0, 1)"))


def rows() -> tuple[Row, ...]:
    """ReLU_tau and ST_tau."""
    return tuple(_row(name) for name in UNCLIPPED)


def _row(name: str) -> Row:
    found = quantities(name)
    statements = {
        "V'' > 0": Statement("positive", found.curvature, EVERYWHERE),
        "V > q above q*": Statement("positive", found.excess, ABOVE),
        "V > q below q*": Statement("positive", found.excess, BELOW),
    }

    def prove() -> dict[str, Proof]:
        excess = found.excess
        convex = combination(EVERYWHERE, found.curvature)
        steeper = from_end(ABOVE, sp.Derivative(excess, Q), Q, sp.S.One, convex)
        flatter = from_end(BELOW, -sp.Derivative(excess, Q), Q, sp.S.One, convex)
        return {
            "V'' > 0": convex,
            "V > q above q*": from_end(ABOVE, excess, Q, sp.S.One, steeper),
            "V > q below q*": from_end(BELOW, excess, Q, sp.S.One, flatter),
        }

    return Row(name, "q > 0, tau > 0; q* = 1", statements, prove)


THEOREM = Theorem("instability", "V''(q) > 0 for all q > 0; at the edge of chaos V(q) > q for all q != q*", rows)
