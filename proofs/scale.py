"""Theorem 9, scale.

(tau, m, q, sigma_b2) -> (c tau, c m, c^2 q, c^2 sigma_b2) with c > 0 multiplies V by c^2 and leaves V', q V'', chi_1,
the sparsity and R unchanged: q* matters at the edge of chaos only through tau / sqrt q*, m / sqrt q*, and the scale of
outputs and gradients.

For ReLU chi_1, V' and the sparsity are 1/2, and V'' is 0, at every q: only E phi^2 is left to show.

For the class: phi -> c phi(x / c) moves the knots to c t_k and keeps their jumps, and with it E phi^2 at c^2 q is c^2
times E phi^2 at q.  Both are quadratic in phi: it is enough to show it for all phi with two knots, as in theorem 2.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym import maps
from gpsym.formula import TAU, M, Q
from proofs.logic.statements import Domain, domain, equation
from proofs.logic.theorem import Row, Theorem, row_by_form
from proofs.marginality import class_domain, two_knots
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
    everywhere = (*where, *SCALE)
    scaling = {k: equation(everywhere, _scaled(e), C**n * e) for k, (e, n) in powers.items() if e.has(Q)}
    return row_by_form(name, parameters, scaling)


def _scaled(e: Any) -> Any:
    """The expression at c^2 q, c tau and c m."""
    values = {Q: C**2 * Q, TAU: C * TAU, M: C * M}
    places = [symbol for symbol in values if e.has(symbol)]
    return sp.Subs(e, places, [values[symbol] for symbol in places])


def _class() -> Row:
    plain, moved = (maps.mean(two_knots(c) ** 2).expression for c in (1, C))
    scaling = equation((*class_domain(), *SCALE), sp.Subs(moved, Q, C**2 * Q), C**2 * plain)
    return row_by_form("continuous piecewise linear", "c, q > 0, all knots and slopes", {"E phi^2": scaling})


THEOREM = Theorem(
    "scale", "V(c^2 q; c tau, c m, c^2 sigma_b2) = c^2 V(q; tau, m, sigma_b2); V', q V'', chi_1 as they are", rows
)
