"""Theorem 10, the fold: where a design has one fixed point, and where three.

CReLU_{tau,m} and CST_{tau,m} at the edge of chaos at q* = 1 (by scaling, any q*), N(q, m) = (V(q) - q) / sigma_w2.
Fixed points above q* are zeros of N on q > 1; by theorem 7 there are at most two, none of them if N < 0 on q > 1.

1. For each q > 1, N is < 0 up to some m and > 0 beyond.  So the clip levels with N(q, m) > 0 for some q > 1 are all
   those beyond one, m_f(tau): the design has exactly one fixed point for m < m_f and three for m > m_f.
   In the slope x, which increases with m (theorem 6), the same: one below the fold x_f(sparsity), three above it.
   For N(q, 0) = 0, and with b = tau + m, Q_q and p_q of N(0, q), D = Q_q(b) - Q_1(b): dN/dm = sides p_1(b) u,
   u = 2 m D / p_1(b) - (q - 1), and du/dm = 2 (D + m E) / p_1(b) > 0, because both D and
   E = b D - p_q(b) + p_1(b) are 0 at q = 1 and increase in q.
2. 0 < m_f, as D < (q - 1) b / (2 sqrt(2 pi)) makes u < 0 for all q > 1 when m b < sqrt(2 pi) p_1(b).
3. m_f < oo for tau > 0, as N tends to that without a clip when m -> oo, which is > 0 by theorem 3.  For tau = 0,
   m_f = oo: V is concave by theorem 7.
4. The fold at the sparsities of the table: the one zero of N, dN/dq, the equations of sparsity and slope, in a box of
   10 digits (Krawczyk).  A double zero of N above q* is the fold: for m < m_f there is no zero, and for m > m_f
   there are q* and two more already, where V - q has at most three with their multiplicities.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import sympy as sp

from gpsym import bifurcation, edge_of_chaos
from gpsym.formula import TAU, M, Q
from proofs.logic.balls import root_near
from proofs.logic.rules import combination, from_end, increasing, multiple, valley, vanishes
from proofs.logic.statements import Open, Proof, Statement, difference
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import CLIPPED, UNCLIPPED, Quantities, clipped_domain, p, quantities, tail

SLOPE = sp.Symbol("x", positive=True)  # V'(q*)
DIGITS = 10
ABOVE = clipped_domain(q="(1, oo)")
B: Any = TAU + M
D: Any = tail(B) - sp.Subs(tail(B), Q, 1)

SPARSITIES = {
    "clipped-relu": ("0.6", "0.65", "0.7", "0.75", "0.8", "0.85", "0.9", "0.95", "0.99"),
    "clipped-soft-threshold": ("0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.85", "0.9", "0.95", "0.99"),
}


def rows() -> tuple[Row, ...]:
    """CReLU and CST."""
    return tuple(_row(name) for name in CLIPPED)


def _row(name: str) -> Row:
    found = quantities(name)
    clip = difference(found.excess, quantities(UNCLIPPED[found.sides - 1]).excess)
    small = difference(_bound(), D)
    region = {
        "N < 0, then > 0, as m grows": Statement("crossing", found.excess, ABOVE, M),
        "D < (q - 1) b / (2 sqrt(2 pi))": Statement("positive", small, ABOVE),
        "N -> that without a clip as m -> oo": Statement("vanishing", clip, ABOVE, M, sp.oo),
    }
    folds = {
        f"the fold at sparsity {s}": Statement("root", _equations(found, s), (), _UNKNOWNS, sp.Integer(DIGITS))
        for s in SPARSITIES[name]
    }

    def prove() -> dict[str, Proof]:
        proofs = (
            _one_level(found),
            _small(small),
            vanishes(ABOVE, clip, M, sp.oo),
            *(fold(name, s) for s in SPARSITIES[name]),
        )
        return dict(zip({**region, **folds}, proofs, strict=True))

    return Row(name, "q > 1, m > 0, tau >= 0; q* = 1", {**region, **folds}, prove)


def _one_level(found: Quantities) -> Proof:
    at_1 = p(B).subs(Q, 1)
    mass = from_end(ABOVE, D, Q, sp.S.One, combination(ABOVE, sp.Derivative(D, Q)))
    e = B * D - p(B) + at_1
    growth = p(B) / (2 * Q) * (B**2 * (Q - 1) / Q + 1)
    both = from_end(ABOVE, e, Q, sp.S.One, combination(ABOVE, sp.Derivative(e, Q), rest=growth))
    u = 2 * M * D / at_1 - (Q - 1)
    rising = increasing(ABOVE, u, M, combination(ABOVE, sp.Derivative(u, M), [(2 / at_1, mass), (2 * M / at_1, both)]))
    return valley(ABOVE, found.excess, multiple(ABOVE, sp.Derivative(found.excess, M), found.sides * at_1, rising))


def _bound() -> Any:
    return (Q - 1) * B / (2 * sp.sqrt(2 * sp.pi))


def _small(small: Any) -> Proof:
    """dD/dq = b p_q(b) / (2 q), and sqrt(2 pi) p_q(b) / q = q^(-3/2) exp(-b^2 / (2 q)) < 1."""
    power, decay = Q ** sp.Rational(-3, 2), sp.exp(-(B**2) / (2 * Q))
    below_1 = from_end(ABOVE, 1 - power, Q, sp.S.One, combination(ABOVE, sp.Derivative(1 - power, Q)))
    unit = B / (2 * sp.sqrt(2 * sp.pi))
    rest = unit * power * decay * (sp.exp(B**2 / (2 * Q)) - 1)
    falls = combination(ABOVE, sp.Derivative(small, Q), [(unit, below_1)], rest=rest)
    return from_end(ABOVE, small, Q, sp.S.One, falls)


_UNKNOWNS = sp.Tuple(TAU, M, Q, SLOPE)


def _equations(found: Quantities, sparsity: str) -> sp.Tuple:
    zeros, slope, gradient = (sp.Subs(e, Q, 1) for e in (found.zeros, found.slope, found.gradient))
    return sp.Tuple(
        zeros - sp.Rational(sparsity),
        found.excess,
        sp.Derivative(found.excess, Q),
        SLOPE * gradient - slope,
    )


@cache
def fold(name: str, sparsity: str) -> Proof:
    """The fold of an activation at a sparsity, a decimal: tau, m, q and the slope in boxes of 10 digits, q* = 1."""
    near = bifurcation.fold(name, float(Fraction(sparsity)))
    if near is None:
        raise Open(f"no fold was seen at sparsity {sparsity}")
    tau = edge_of_chaos(name, sparsity=float(Fraction(sparsity)), m=near.m).tau
    assert tau is not None, "a clipped activation has a threshold"
    start = {TAU: tau, M: near.m, Q: near.q, SLOPE: near.slope}
    return root_near(_equations(quantities(name), sparsity), start, DIGITS)


THEOREM = Theorem(
    "fold", "at the edge of chaos, one fixed point for slopes below x_f(sparsity), three for slopes above", rows
)
