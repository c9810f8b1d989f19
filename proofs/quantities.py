"""The quantities that the theorems speak of, for sigma_w2 = 1, with names as in the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import sympy as sp

from gpsym import maps, member
from gpsym.formula import SIGMA_W2, TAU, M, Q
from gpsym.special import density
from gpsym.special import tail as standard_tail
from proofs.logic.statements import Domain, difference, domain

__all__ = [
    "CLIPPED",
    "FAMILY",
    "UNCLIPPED",
    "Quantities",
    "clipped_domain",
    "family",
    "p",
    "quantities",
    "tail",
    "unclipped_domain",
]

CLIPPED = ("clipped-relu", "clipped-soft-threshold")
UNCLIPPED = ("shifted-relu", "soft-threshold")
FAMILY = ("relu", *UNCLIPPED, *CLIPPED)


@final
@dataclass(frozen=True)
class Quantities:
    """Of one activation at sigma_w2 = 1, as functions of q, tau and m.

    second    E phi^2, so that V = sigma_w2 second + sigma_b2.
    gradient  E phi'^2 = chi_1 / sigma_w2.
    slope     V' / sigma_w2.
    curvature V'' / sigma_w2.
    zeros     the sparsity, P(phi = 0).
    sides     1 for what is 0 left of the threshold, 2 for odd functions.
    """

    second: Any
    gradient: Any
    slope: Any
    curvature: Any
    zeros: Any
    sides: int

    @property
    def surplus(self) -> Any:
        """G = q E phi'^2 - E phi^2, at the edge of chaos sigma_b2 / sigma_w2; chi_1 q - V = sigma_w2 (G(q) - G(q*))."""
        return difference(Q * self.gradient, self.second)

    @property
    def lack(self) -> Any:
        """-G = E phi^2 - q E phi'^2."""
        return difference(self.second, Q * self.gradient)

    @property
    def excess(self) -> Any:
        """(V(q) - q) / sigma_w2 at the edge of chaos at q* = 1, where sigma_w2 = 1 / E phi'^2(1) and V(1) = 1."""
        return self.second - sp.Subs(self.second, Q, 1) - (Q - 1) * sp.Subs(self.gradient, Q, 1)


def quantities(name: str) -> Quantities:
    """The quantities of a named activation."""
    phi = member(name)
    wanted = (maps.second_moment, maps.chi_1, maps.slope, maps.curvature, maps.sparsity)
    found = (sp.expand(quantity(phi).expression.subs(SIGMA_W2, 1)) for quantity in wanted)
    return Quantities(*found, sides=2 if phi.affine(-1) == -phi else 1)


def family(name: str, least: str) -> tuple[Domain, str]:
    """(domain, text): q > 0 and all parameters of an activation; `least` is the interval of tau for odd ones."""
    phi = member(name)
    odd = phi.affine(-1) == -phi
    words = {Q: "q > 0", TAU: f"tau {'>=' if least[0] == '[' else '>'} 0" if odd else "tau real", M: "m > 0"}
    intervals = {Q: "(0, oo)", TAU: least if odd else "(-oo, oo)", M: "(0, oo)"}
    symbols = (Q, *phi.parameters)
    return domain({s: intervals[s] for s in symbols}), ", ".join(words[s] for s in symbols)


def clipped_domain(tau: str = "[0, oo)", **others: str) -> Domain:
    """q, m > 0 and tau in an interval; others give q and m other intervals."""
    return domain({Q: others.get("q", "(0, oo)"), TAU: tau, M: others.get("m", "(0, oo)")})


def unclipped_domain(tau: str = "(0, oo)", q: str = "(0, oo)") -> Domain:
    """q and tau in intervals."""
    return domain({Q: q, TAU: tau})


def p(t: Any) -> Any:
    """The density of N(0, q) at t."""
    return density(t, Q)


def tail(t: Any) -> Any:
    """P(sqrt(q) Z > t)."""
    return standard_tail(t / sp.sqrt(Q))
