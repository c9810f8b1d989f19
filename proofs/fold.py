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
4. The fold at the sparsities of the table, to 10 digits: N, dN/dq and the equations of sparsity and slope have one
   zero among the points that round to these (Krawczyk).  A double zero of N above q* is the fold: for m < m_f there
   is no zero, and for m > m_f there are q* and two more already, where V - q has at most three with their
   multiplicities.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import sympy as sp

from gpsym.formula import TAU, M, Q
from proofs.logic.balls import root, rounding
from proofs.logic.rules import combination, from_end, increasing, multiple, valley, vanishes
from proofs.logic.statements import Domain, Proof, Statement, difference
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import CLIPPED, UNCLIPPED, Quantities, clipped_domain, p, quantities, tail

SLOPE = sp.Symbol("x", positive=True)  # V'(q*)
ABOVE = clipped_domain(q="(1, oo)")
B: Any = TAU + M
D: Any = tail(B) - sp.Subs(tail(B), Q, 1)

# At each sparsity tau, m, q and the slope of the fold, rounded.
FOLDS: Mapping[str, Mapping[str, tuple[str, str, str, str]]] = {
    "clipped-relu": {
        "0.6": ("0.2533471031", "3.239140756", "1.391176914", "0.9927407377"),
        "0.65": ("0.3853204664", "2.932541095", "1.461077221", "0.9863777811"),
        "0.7": ("0.5244005127", "2.656673700", "1.534598113", "0.9775184196"),
        "0.75": ("0.6744897502", "2.391276570", "1.617935326", "0.9651229643"),
        "0.8": ("0.8416212336", "2.123146566", "1.718973913", "0.9473413020"),
        "0.85": ("1.036433389", "1.838631791", "1.851687659", "0.9205192531"),
        "0.9": ("1.281551566", "1.516130378", "2.048390493", "0.8760196200"),
        "0.95": ("1.644853627", "1.101863282", "2.421000403", "0.7848344541"),
        "0.99": ("2.326347874", "0.5143968276", "3.508586189", "0.5316305499"),
    },
    "clipped-soft-threshold": {
        "0.2": ("0.2533471031", "3.239140756", "1.391176914", "0.9927407377"),
        "0.3": ("0.3853204664", "2.932541095", "1.461077221", "0.9863777811"),
        "0.4": ("0.5244005127", "2.656673700", "1.534598113", "0.9775184196"),
        "0.5": ("0.6744897502", "2.391276570", "1.617935326", "0.9651229643"),
        "0.6": ("0.8416212336", "2.123146566", "1.718973913", "0.9473413020"),
        "0.7": ("1.036433389", "1.838631791", "1.851687659", "0.9205192531"),
        "0.8": ("1.281551566", "1.516130378", "2.048390493", "0.8760196200"),
        "0.85": ("1.439531471", "1.327028129", "2.196924754", "0.8402517701"),
        "0.9": ("1.644853627", "1.101863282", "2.421000403", "0.7848344541"),
        "0.95": ("1.959963985", "0.8000215422", "2.848597370", "0.6798869476"),
        "0.99": ("2.575829304", "0.3598974917", "4.083661107", "0.4214248017"),
    },
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
        f"the fold at sparsity {s}": Statement("root", _equations(found, s), _place(name, s), sp.Tuple(*_UNKNOWNS))
        for s in FOLDS[name]
    }

    def prove() -> dict[str, Proof]:
        proofs = (
            _one_level(found),
            _small(small),
            vanishes(ABOVE, clip, M, sp.oo),
            *(fold(name, s) for s in FOLDS[name]),
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


_UNKNOWNS = (TAU, M, Q, SLOPE)


def _equations(found: Quantities, sparsity: str) -> sp.Tuple:
    zeros, slope, gradient = (sp.Subs(e, Q, 1) for e in (found.zeros, found.slope, found.gradient))
    return sp.Tuple(
        zeros - sp.Rational(sparsity),
        found.excess,
        sp.Derivative(found.excess, Q),
        SLOPE * gradient - slope,
    )


def _place(name: str, sparsity: str) -> Domain:
    """The points that round to the fold's digits."""
    return rounding(dict(zip(_UNKNOWNS, FOLDS[name][sparsity], strict=True)))


@cache
def fold(name: str, sparsity: str) -> Proof:
    """The fold of an activation at a sparsity of the table: it rounds to the digits there."""
    return root(_place(name, sparsity), _equations(quantities(name), sparsity), _UNKNOWNS)


THEOREM = Theorem(
    "fold", "at the edge of chaos, one fixed point for slopes below x_f(sparsity), three for slopes above", rows
)
