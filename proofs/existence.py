"""Theorem 4, existence of an edge of chaos.

At q* the conditions chi_1(q*) = 1 and V(q*) = q* ask for sigma_w2 = 1 / E phi'^2 and sigma_b2 = sigma_w2 G(q*) with
G(q) = q E phi'^2 - E phi^2.  So an edge of chaos exists at q* if and only if G(q*) >= 0.

For tau >= 0 it always does.  G = 0 for ReLU, which is ReLU_tau at tau = 0; it is > 0 for the clipped activations, and
for ReLU_tau and ST_tau with tau > 0.  For G -> 0 as q -> 0, and with p the density of N(0, q) and b = tau + m it
increases:
G' = sides [tau (p(tau) - p(b)) + m p(b)] / 2, without a clip G' = sides tau p(tau) / 2.

For tau < 0 it depends on the clip.  With Q the tail of N(0, q), h(x) = q p(x) - x Q(x) is > 0 for all x, as it
falls to 0, h' = -Q.  ReLU_tau has no edge of chaos at any q*: G = tau h(tau) < 0.  CReLU_{tau,m} has one for clip
levels m up to some finite level and none beyond: as m grows from 0, G, which is 0 at m = 0, first rises and then
falls below 0, to the value without a clip.  For dG/dm = u = q p(b) - 2 m Q(b) is > 0 first and < 0 beyond: -u first
rises and then falls to 0, because u' = p(b) v with v = m - tau - 2 Q(b) / p(b), and v' = 1 + 2 h(b) / (q p(b)) > 0.

For the class, phi continuous and piecewise linear: 2 q G' = G + E (phi - U phi')^2, U = sqrt(q) Z, so that G / sqrt q
never falls: an edge of chaos exists exactly for q* from some q_0 in [0, oo] on.  Both sides are quadratic in phi: it is
enough to show it for all phi with two knots, as in theorem 2.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym import Activation, maps
from gpsym.formula import TAU, M, Q, X
from proofs.logic.rules import (
    combination,
    from_end,
    hump,
    increasing,
    instance,
    multiple,
    valley,
    vanishes,
)
from proofs.logic.statements import Domain, Proof, Statement, difference, domain, equation
from proofs.logic.theorem import Row, Theorem, row_by_form
from proofs.marginality import class_domain, two_knots
from proofs.quantities import CLIPPED, UNCLIPPED, clipped_domain, p, quantities, tail, unclipped_domain

EXISTS, NOWHERE = "sigma_b2 > 0", "sigma_b2 < 0"
NEGATIVE = "(-oo, 0)"


def rows() -> tuple[Row, ...]:
    """tau >= 0 for all; tau < 0 for the one-sided."""
    clipped = (_growing(name, "q, m > 0, tau >= 0", clipped_domain()) for name in CLIPPED)
    unclipped = (_growing(name, "q > 0, tau > 0", unclipped_domain()) for name in UNCLIPPED)
    return (_relu(), *unclipped, *clipped, _left_of_zero(), _clipped_left_of_zero(), _class())


def growth(name: str, where: Domain) -> Proof:
    """G' > 0."""
    found = quantities(name)
    if name in CLIPPED:
        b = TAU + M
        form = TAU * p(b) * (sp.exp((b**2 - TAU**2) / (2 * Q)) - 1) + M * p(b)
    else:
        form = TAU * p(TAU)
    return combination(where, sp.Derivative(found.surplus, Q), rest=sp.Rational(found.sides, 2) * form)


def _relu() -> Row:
    surplus = quantities("shifted-relu").surplus
    balanced = equation(domain({Q: "(0, oo)"}), sp.Subs(surplus, TAU, 0), 0)
    return row_by_form("relu", "q > 0", {"sigma_b2 = 0": balanced})


def _growing(name: str, parameters: str, where: Domain) -> Row:
    surplus = quantities(name).surplus

    def prove() -> dict[str, Proof]:
        at_zero = vanishes(where, surplus, Q, sp.S.Zero)
        return {EXISTS: from_end(where, surplus, Q, sp.S.Zero, growth(name, where), at_zero)}

    return Row(name, parameters, {EXISTS: Statement("positive", surplus, where)}, prove)


def _left_of_zero() -> Row:
    where = unclipped_domain(NEGATIVE)
    lack = quantities("shifted-relu").lack

    def prove() -> dict[str, Proof]:
        return {NOWHERE: combination(where, lack, [(-TAU, instance(_mills(), where, {X: TAU}))])}

    return Row("shifted-relu", "q > 0, tau < 0", {NOWHERE: Statement("positive", lack, where)}, prove)


def _clipped_left_of_zero() -> Row:
    where = clipped_domain(NEGATIVE)
    found, b = quantities("clipped-relu"), TAU + M
    growth: Any = Q * p(b) - 2 * M * tail(b)
    at_zero = sp.Subs(growth, M, 0)
    clip = difference(found.surplus, quantities("shifted-relu").surplus)
    statements = {
        "sigma_b2 > 0 up to some m, < 0 beyond": Statement("crossing", found.lack, where, M),
        "> 0 near m = 0": Statement("positive", at_zero, unclipped_domain(NEGATIVE)),
        "the limit m -> oo is that without a clip": Statement("vanishing", clip, where, M, sp.oo),
    }

    def prove() -> dict[str, Proof]:
        ratio = M - TAU - 2 * tail(b) / p(b)
        rising = combination(where, sp.Derivative(ratio, M), [(2 / (Q * p(b)), instance(_mills(), where, {X: b}))])
        bend = multiple(where, sp.Derivative(growth, M), p(b), increasing(where, ratio, M, rising))
        fall = hump(where, -growth, bend, vanishes(where, -growth, M, sp.oo))
        proofs = (
            valley(where, found.lack, multiple(where, sp.Derivative(found.lack, M), sp.S.One, fall)),
            combination(unclipped_domain(NEGATIVE), at_zero),
            vanishes(where, clip, M, sp.oo),
        )
        return dict(zip(statements, proofs, strict=True))

    return Row("clipped-relu", "q, m > 0, tau < 0", statements, prove)


def _class() -> Row:
    """phi - x phi' is a, a - u s and a - u s - v t on the pieces."""
    phi = two_knots()
    slope = phi.derivative().function
    rest = Activation(phi.knots, [piece[:1] for piece in phi.pieces])
    mean, mean_slope, square = (maps.mean(f**2).expression for f in (phi, slope, rest))
    surplus = difference(Q * mean_slope, mean)
    growing = equation(class_domain(), 2 * Q * sp.Derivative(surplus, Q), surplus + square)
    words = "2 q G' = G + E (phi - U phi')^2"
    return row_by_form("continuous piecewise linear", "q > 0, all knots and slopes", {words: growing})


def _mills() -> Proof:
    """q p(x) - x Q(x) > 0 for all x."""
    where = domain({Q: "(0, oo)", X: "(-oo, oo)"})
    h = Q * p(X) - X * tail(X)
    return from_end(where, h, X, sp.oo, combination(where, -sp.Derivative(h, X)), vanishes(where, h, X, sp.oo))


THEOREM = Theorem("existence", "sigma_b2 = q* - sigma_w2 E phi^2 > 0 at the edge of chaos, at every q* > 0", rows)
