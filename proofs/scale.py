"""Theorem 9, scale.

(tau, m, q, sigma_b2) -> (c tau, c m, c^2 q, c^2 sigma_b2) with c > 0 multiplies V by c^2 and leaves V', q V'', chi_1,
the sparsity and R unchanged: q* matters at the edge of chaos only through tau / sqrt q*, m / sqrt q*, and the scale of
outputs and gradients.

For the class: phi -> c phi(x / c) moves the knots to c t_k and keeps their jumps, and with it E[f g] at c^2 q is c^2
times E[f g] at q, for each pair f, g of 1 (which becomes c), x, (x - s)_+ and (x - t)_+, s < t.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym import Activation, maps
from gpsym.formula import TAU, M, Q
from proofs.logic.rules import identity
from proofs.logic.statements import Domain, Statement, domain
from proofs.logic.theorem import Row, Theorem
from proofs.marginality import GAP, S, ramp
from proofs.quantities import CLIPPED, UNCLIPPED, clipped_domain, quantities, unclipped_domain

C = sp.Symbol("c", positive=True)
SCALE = domain({C: "(0, oo)"})


def rows() -> tuple[Row, ...]:
    """The named activations; the class."""
    named = (
        _named("relu", "c, q > 0", domain({Q: "(0, oo)"})),
        *(_named(name, "c, q > 0, tau >= 0", unclipped_domain("[0, oo)")) for name in UNCLIPPED),
        *(_named(name, "c, q, m > 0, tau >= 0", clipped_domain()) for name in CLIPPED),
    )
    return (*named, _class())


def _named(name: str, parameters: str, where: Domain) -> Row:
    found = quantities(name)
    powers = {
        "E phi^2": (found.second, 2),
        "chi_1": (found.gradient, 0),
        "V'": (found.slope, 0),
        "q V''": (Q * found.curvature, 0),
        "sparsity": (found.zeros, 0),
    }
    scaled = {Q: C**2 * Q, TAU: C * TAU, M: C * M}
    differences = {k: e.subs(scaled, simultaneous=True) - C**n * e for k, (e, n) in powers.items()}
    return _row(name, parameters, (*where, *SCALE), differences)


def _class() -> Row:
    where = domain({Q: "(0, oo)", S: "(-oo, oo)", GAP: "(0, oo)", C: "(0, oo)"})
    return _row("continuous piecewise linear", "c, q > 0, all knots and slopes", where, _pairs())


def _pairs() -> dict[str, Any]:
    def atoms(c: Any) -> dict[str, Activation]:
        one, line = Activation((), ((c,),)), Activation((), ((0, 1),))
        return {"1": one, "x": line, "(x - s)+": ramp(c * S), "(x - t)+": ramp(c * (S + GAP))}

    plain, moved = atoms(sp.S.One), atoms(C)
    return {
        f"E[{f} {g}]": maps.mean(moved[f] * moved[g]).expression.subs(Q, C**2 * Q)
        - C**2 * maps.mean(plain[f] * plain[g]).expression
        for k, f in enumerate(plain)
        for g in list(plain)[k:]
    }


def _row(name: str, parameters: str, where: Domain, differences: dict[str, Any]) -> Row:
    statements = {label: Statement("zero", e, where) for label, e in differences.items()}
    return Row(name, parameters, statements, lambda: {label: identity(where, e) for label, e in differences.items()})


THEOREM = Theorem(
    "scale", "V(c^2 q; c tau, c m, c^2 sigma_b2) = c^2 V(q; tau, m, sigma_b2); V', q V'', chi_1 as they are", rows
)
