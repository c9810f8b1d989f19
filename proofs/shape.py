"""Theorem 7, the shape of a clipped variance map.

For CReLU_{tau,m} and CST_{tau,m} with tau, m > 0:

1. V'' is > 0 below one variance and < 0 above it; for tau = 0 it is < 0 everywhere.  With w = 1 / q and
   c = m (2 tau + m) / 2, V'' has the sign of f(w) = tau (exp(c w) - 1) - m (tau + m)^2 w, which is 0 at w = 0, convex,
   falls first, and is > 0 at w = 2 m (tau + m)^2 / (tau c^2), because exp(y) > 1 + y + y^2 / 2.
   So V(q) = q has at most three solutions: between four zeros of V - q, by Rolle, were three of V' - 1 and two of V''.
2. At the edge of chaos q* is the lowest: V(q) > q for q < q*.
3. At the edge of chaos q chi_1(q) > V(q) for q > q*: every fixed point above q* has chi_1 > 1, is chaotic.
4. The middle one of three is unstable and bounds the basin of q*, in words: by theorem 5, V' > 0 and V'(q*) < 1,
   so V < q between q* and the next fixed point q_1, and from every q in [0, q_1) the iterates, monotone, tend to q*.
   Where V crosses the diagonal upwards, as at the middle one, V' >= 1, and > 1 unless it is tangent.

For 2 and 3, with q* = 1 by scaling (theorem 9) and G of theorem 4, which increases in q: at sigma_w2 = 1 / E phi'^2(1),
(V(q) - q chi_1(q)) / sigma_w2 = G(1) - G(q).  Below 1, V > q chi_1 > q V' makes V / q fall, to 1 at q = 1.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym.formula import TAU, M, Q
from proofs.existence import growth
from proofs.logic.rules import combination, from_end, increasing, instance, multiple, valley
from proofs.logic.statements import Proof, Statement, difference, domain
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import CLIPPED, Quantities, clipped_domain, quantities

W = sp.Symbol("w", positive=True)  # 1 / q
Y = sp.Symbol("y", real=True)

EVERYWHERE = domain({W: "(0, oo)", TAU: "(0, oo)", M: "(0, oo)"})
SIDES = domain({TAU: "(0, oo)", M: "(0, oo)"})
BELOW, ABOVE = clipped_domain(q="(0, 1)"), clipped_domain(q="(1, oo)")
AT_ZERO = domain({Q: "(0, oo)", M: "(0, oo)"})


def rows() -> tuple[Row, ...]:
    """CReLU and CST."""
    return tuple(_row(name) for name in CLIPPED)


def _row(name: str) -> Row:
    found = quantities(name)
    map_at_edge = found.excess + Q * sp.Subs(found.gradient, Q, 1)  # V / sigma_w2, q* = 1
    chaotic = difference(Q * found.gradient, map_at_edge)
    falls_first = -sp.Subs(sp.Derivative(_f(), W), W, 0)
    concave = -sp.Subs(found.curvature, TAU, 0)
    statements = {
        "V''(1/w) < 0, then > 0, as w grows": Statement("crossing", _bend(found), EVERYWHERE, W),
        "f falls at w = 0": Statement("positive", falls_first, SIDES),
        "f > 0 at some w": Statement("positive", sp.Subs(_f(), W, _far()), SIDES),
        "V'' < 0 for tau = 0": Statement("positive", concave, AT_ZERO),
        "V > q below q*": Statement("positive", found.excess / Q, BELOW),
        "q chi_1 > V above q*": Statement("positive", chaotic, ABOVE),
    }

    def prove() -> dict[str, Proof]:
        proofs = (
            _one_inflection(found),
            combination(SIDES, falls_first, rest=M * (3 * TAU * M / 2 + M**2)),
            _rises_at_last(),
            combination(AT_ZERO, concave),
            _lowest(found),
            from_end(ABOVE, chaotic, Q, sp.S.One, growth(name, ABOVE)),
        )
        return dict(zip(statements, proofs, strict=True))

    return Row(name, "q, m > 0, tau > 0 (tau >= 0 in 2, 3)", statements, prove)


def _bend(found: Quantities) -> Any:
    return sp.Subs(found.curvature, Q, 1 / W)


def _f() -> Any:
    c = M * (2 * TAU + M) / 2
    return TAU * (sp.exp(c * W) - 1) - M * (TAU + M) ** 2 * W


def _far() -> Any:
    c = M * (2 * TAU + M) / 2
    return 2 * M * (TAU + M) ** 2 / (TAU * c**2)


def _one_inflection(found: Quantities) -> Proof:
    f = _f()
    convex = combination(EVERYWHERE, sp.Derivative(f, (W, 2)))
    crossing = valley(EVERYWHERE, f, increasing(EVERYWHERE, sp.Derivative(f, W), W, convex))
    factor = found.sides * W ** sp.Rational(3, 2) * sp.exp(-((TAU + M) ** 2) * W / 2) / sp.sqrt(8 * sp.pi)
    return multiple(EVERYWHERE, _bend(found), factor, crossing)


def _rises_at_last() -> Proof:
    c = M * (2 * TAU + M) / 2
    beyond = instance(exponential(3), SIDES, {Y: c * _far()})
    return combination(SIDES, sp.Subs(_f(), W, _far()), [(TAU, beyond)], rest=TAU * c * _far())


def exponential(terms: int) -> Proof:
    """exp(y) > the first terms of its series, for y > 0."""
    where = domain({Y: "(0, oo)"})
    proof = combination(where, sp.exp(Y), rest=sp.exp(Y))
    for n in range(terms):
        rest = sp.exp(Y) - sum(Y**k / sp.factorial(k) for k in range(n + 1))
        proof = from_end(where, rest, Y, sp.S.Zero, proof)
    return proof


def _lowest(found: Quantities) -> Proof:
    """V / q - 1, over sigma_w2, falls to 0 at q = 1: its slope is (q V' - V) / q^2."""
    more = difference(sp.Subs(found.surplus, Q, 1), found.surplus)
    beyond = from_end(BELOW, more, Q, sp.S.One, growth(CLIPPED[found.sides - 1], BELOW))
    clipped = combination(BELOW, difference(found.gradient, found.slope))
    falls = combination(BELOW, -sp.Derivative(found.excess / Q, Q), [(1 / Q**2, beyond), (1 / Q, clipped)])
    return from_end(BELOW, found.excess / Q, Q, sp.S.One, falls)


THEOREM = Theorem(
    "shape",
    "V is convex, then concave, with at most three fixed points; at the edge of chaos q* is the lowest, "
    "and those above it have chi_1 > 1",
    rows,
)
