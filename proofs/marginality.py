"""Theorem 2, marginality.

For ReLU, ReLU_tau (tau real) and ST_tau (tau >= 0), V'(q) = chi_1(q) for all q > 0.  At the edge of chaos,
where chi_1(q*) = 1, the variance map therefore has slope 1: q* is marginal whatever the parameters.
"""

from __future__ import annotations

from gpsym import maps, member
from proofs.decide import Verdict, zero

TITLE = "marginality"
CLAIM = "V'(q) = chi_1(q) for all q > 0"
DOMAINS = {"relu": "q > 0", "shifted-relu": "q > 0, tau real", "soft-threshold": "q > 0, tau >= 0"}


def prove(activation: str) -> Verdict:
    """The difference of the two formulas is identically zero."""
    phi = member(activation)
    return zero(maps.slope(phi).expression - maps.chi_1(phi).expression)
