"""Plausible statements that are false, each refuted by a witness.

They are settled as the theorems are; that the answer is Refuted, and not Undecided, shows that the machinery sees
false statements.  All at the edge of chaos at q* = 1.
"""

from __future__ import annotations

from dataclasses import replace

import mpmath
import sympy as sp

from gpsym import maps, member
from gpsym.formula import RHO, SIGMA_W2, TAU, M, Q
from proofs.logic.refute import Refuted
from proofs.logic.rules import combination
from proofs.logic.statements import Domain, Open, Statement, carried_out, domain
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import CLIPPED, clipped_domain, quantities, unclipped_domain


def _falsehood(name: str, words: str, *rows: Row) -> Theorem:
    return Theorem(name, words, lambda: rows)


def _row(activation: str, parameters: str, expression: sp.Expr, where: Domain) -> Row:
    """The expression said to be > 0."""
    statement = Statement("positive", expression, where)
    return Row(activation, parameters, {"as said": statement}, lambda: {"as said": combination(where, expression)})


def _ordered(activation: str, above: Domain) -> Row:
    """q chi_1 < V said to hold above q*, where it says chi_1 < 1 of fixed points; refuted by a fixed point."""
    found = quantities(activation)
    expression = found.excess - Q * (found.gradient - found.gradient.subs(Q, 1))

    def witness() -> Refuted:
        point = {TAU: sp.Rational(3, 2), M: sp.S(2)}
        gradient = found.gradient.subs(point)
        variance_map = sp.lambdify(Q, (carried_out(found.excess).subs(point) / gradient.subs(Q, 1) + Q), "mpmath")
        with mpmath.workdps(60):
            q = mpmath.mpf(4)
            while abs(variance_map(q) - q) > mpmath.mpf(10) ** -55:
                q = variance_map(q)
            chi_1 = sp.lambdify(Q, gradient / gradient.subs(Q, 1), "mpmath")(q)
        if not (q > 1 and chi_1 > 1):
            raise Open(f"V(q) = q = {q} has chi_1 = {chi_1}")
        return Refuted({"tau": "3/2", "m": "2", "q": str(mpmath.nstr(q, 50))}, f"chi_1 = {mpmath.nstr(chi_1, 15)}")

    row = _row(activation, "tau >= 0, m > 0", expression, above)
    return replace(row, witness=witness)


def falsehoods() -> tuple[Theorem, ...]:
    """All of them."""
    at_edge = clipped_domain()[1:]  # tau >= 0, m > 0
    above, above_unclipped = clipped_domain(q="(1, oo)"), unclipped_domain(q="(1, oo)")
    positive_tau = clipped_domain("(0, oo)")
    of = {name: quantities(name) for name in ("shifted-relu", *CLIPPED)}
    curvature = maps.correlation_curvature(member("clipped-soft-threshold"), variances=(Q, Q)).expression.subs(
        SIGMA_W2, 1
    )
    return (
        _falsehood(
            "slope below 0.9",
            "V'(q*) < 0.9 for all clipped designs",
            *(
                _row(n, "tau >= 0, m > 0", (sp.Rational(9, 10) * of[n].gradient - of[n].slope).subs(Q, 1), at_edge)
                for n in CLIPPED
            ),
        ),
        _falsehood(
            "unclipped and stable",
            "V(q) < q for q > q*, ReLU_tau",
            _row("shifted-relu", "q > 1, tau > 0", -of["shifted-relu"].excess, above_unclipped),
        ),
        _falsehood(
            "two fixed points",
            "at most two fixed points; as V < q next to q* and for large q, this says V <= q above q*",
            *(_row(n, "q > 1, tau >= 0, m > 0", -of[n].excess, above) for n in CLIPPED),
        ),
        _falsehood(
            "ordered above q*",
            "chi_1(q) < 1 wherever V(q) = q > q*",
            *(_ordered(n, above) for n in CLIPPED),
        ),
        _falsehood(
            "left of zero",
            "an edge of chaos exists, sigma_b2 >= 0, for all tau < 0",
            _row("shifted-relu", "q > 0, tau < 0", of["shifted-relu"].surplus, unclipped_domain("(-oo, 0)")),
            _row("clipped-relu", "q, m > 0, tau < 0", of["clipped-relu"].surplus, clipped_domain("(-oo, 0)")),
        ),
        _falsehood(
            "concave",
            "V'' < 0 for all tau > 0",
            *(_row(n, "q, tau, m > 0", -of[n].curvature, positive_tau) for n in CLIPPED),
        ),
        _falsehood(
            "convex correlation map",
            "R'' > 0 on (-1, 1)",
            _row("clipped-soft-threshold", "tau, m > 0", curvature, (*positive_tau, *domain({RHO: "(-1, 1)"}))),
        ),
    )
