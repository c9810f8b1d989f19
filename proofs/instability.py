"""Theorem 3, instability without a clip.

For ReLU_tau and ST_tau with tau > 0, V'' > 0 everywhere.  So at the edge of chaos, where V(q*) = q* and, by
marginality, V'(q*) = 1, the graph of V lies above its tangent at q*, which is the diagonal: V(q) > q for every
q != q*.  Variances below q* grow towards it; from any variance above it they run away to infinity (the iterates
increase, and a finite limit would be a fixed point above q*).
"""

from __future__ import annotations

from gpsym import maps, member
from gpsym.formula import TAU
from proofs import marginality
from proofs.decide import Verdict, all_of, positive
from proofs.symbols import POSITIVE_TAU

TITLE = "instability"
CLAIM = "V''(q) > 0 for all q > 0, so V(q) > q for all q != q* at the edge of chaos"
DOMAINS = dict.fromkeys(("shifted-relu", "soft-threshold"), "q > 0, tau > 0")


def prove(activation: str) -> Verdict:
    """The slope is marginal, and the curvature is one product of positive factors."""
    curvature = maps.curvature(member(activation)).expression.subs(TAU, POSITIVE_TAU)
    return all_of(marginality.prove(activation), positive(curvature))
