"""Theorem 5, stability by clipping.

For CReLU_{tau,m} and CST_{tau,m} with tau >= 0, m > 0: 0 < V'(q) < chi_1(q) for all q > 0.  At the edge of chaos,
where chi_1(q*) = 1, this is 0 < V'(q*) < 1: the variance returns to q* after a perturbation to either side.

Upper bound: chi_1 - V' is a product of positive factors (the clip term).  Lower bound: as a function of m, V'
extends to m = 0, where it is 0, and its derivative in m is a product of positive factors.
"""

from __future__ import annotations

import sympy as sp

from gpsym import maps, member
from gpsym.formula import TAU, M
from proofs.decide import Verdict, all_of, positive, zero
from proofs.symbols import NONNEGATIVE_TAU

TITLE = "stability"
CLAIM = "0 < V'(q) < chi_1(q) for all q > 0, so 0 < V'(q*) < 1 at the edge of chaos"
DOMAINS = dict.fromkeys(("clipped-relu", "clipped-soft-threshold"), "q > 0, tau >= 0, m > 0")


def prove(activation: str) -> Verdict:
    """The three steps of the module's docstring."""
    phi = member(activation)
    slope = maps.slope(phi).expression.subs(TAU, NONNEGATIVE_TAU)
    chi_1 = maps.chi_1(phi).expression.subs(TAU, NONNEGATIVE_TAU)
    return all_of(positive(chi_1 - slope), zero(slope.subs(M, 0)), positive(sp.diff(slope, M)))
