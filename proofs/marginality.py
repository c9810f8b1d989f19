"""Theorem 2, marginality.

For ReLU, ReLU_tau (tau real) and ST_tau (tau >= 0), V'(q) = chi_1(q) for all q > 0.  At the edge of chaos,
where chi_1(q*) = 1, the variance map therefore has slope 1: q* is marginal whatever the parameters.

For the class, phi(x) = alpha + beta x + sum_k c_k (x - t_k)_+ :

    V'(q) = chi_1(q) + sigma_w2 sum_k c_k phi(t_k) p_q(t_k),   p_q the density of N(0, q),

so that V' = chi_1 where phi vanishes at every knot.  Both sides are quadratic in phi, and each of their terms belongs
to a pair of knots at most: it is enough to show the equation for all phi with two knots s < t.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym import Activation, maps
from gpsym.formula import Q
from proofs.logic.statements import Domain, domain, equation
from proofs.logic.theorem import Row, Theorem, row_by_form
from proofs.quantities import UNCLIPPED, family, p, quantities

S = sp.Symbol("s", real=True)  # a knot
GAP = sp.Symbol("d", positive=True)  # how far the other lies to the right
ALPHA, BETA, JUMP_S, JUMP_T = sp.symbols("a b u v", real=True)  # of phi(x) = a + b x + u (x - s)_+ + v (x - t)_+


def rows() -> tuple[Row, ...]:
    """ReLU and the unclipped activations; the class."""
    return (*map(_named, ("relu", *UNCLIPPED)), _class())


def _named(name: str) -> Row:
    found = quantities(name)
    where, parameters = family(name, least="[0, oo)")
    marginal = equation(where, sp.Derivative(found.second, Q), found.gradient)
    return row_by_form(name, parameters, {"V' = chi_1": marginal})


def _class() -> Row:
    phi, right = two_knots(), S + GAP
    at_s, at_t = ALPHA + BETA * S, ALPHA + BETA * right + JUMP_S * GAP
    clips = JUMP_S * at_s * p(S) + JUMP_T * at_t * p(right)
    variance, gradient = (maps.mean(f**2).expression for f in (phi, phi.derivative().function))
    slope = equation(class_domain(), sp.Derivative(variance, Q), gradient + clips)
    return row_by_form("continuous piecewise linear", "q > 0, all knots and slopes", {"V' = chi_1 + clips": slope})


def class_domain() -> Domain:
    """q > 0, knots s and s + d, any coefficients."""
    reals = dict.fromkeys((S, ALPHA, BETA, JUMP_S, JUMP_T), "(-oo, oo)")
    return domain({Q: "(0, oo)", GAP: "(0, oo)", **reals})


def two_knots(scale: Any = 1) -> Activation:
    """c phi(x / c) for the scale c > 0 and phi(x) = a + b x + u (x - s)_+ + v (x - t)_+, t = s + d."""
    s, t = scale * S, scale * (S + GAP)
    middle = (scale * ALPHA - JUMP_S * s, BETA + JUMP_S)
    last = (middle[0] - JUMP_T * t, middle[1] + JUMP_T)
    return Activation((s, t), ((scale * ALPHA, BETA), middle, last))


def ramp(knot: Any) -> Activation:
    """(x - knot)_+"""
    return Activation((knot,), ((), (-knot, 1)))


THEOREM = Theorem("marginality", "V'(q) = chi_1(q) for all q > 0", rows)
