"""Theorem 11, the curvature at the edge of chaos.

V''(q*) bends the map down (< 0) or up (> 0) at q*: where V''(q*) <= 0, V is concave above q*, by theorem 7, and q* is
the only fixed point.  For CReLU_{tau,m} and CST_{tau,m}, q* = 1 by scaling, V''(1) has the sign of
f(m) = tau (exp(c) - 1) - m (tau + m)^2, c = m (2 tau + m) / 2:

1. For 0 < tau < sqrt(3), V''(q*) is < 0 for clip levels up to one, m_0(tau), and > 0 beyond.  f is 0 at m = 0;
   f' = (tau + m) u with u = tau exp(c) - (tau + 3 m), 0 at m = 0; u' = tau (tau + m) exp(c) - 3 increases in m.
   It is < 0 first, u'(0) = tau^2 - 3; and at m = 8 / tau, by exp(c) > 1 + c + c^2 / 2, f > 0.
2. For tau >= sqrt(3), V''(q*) > 0 for all m: sparsities of at least P(phi = 0) there, 0.958... one-sided, 0.916...
   two-sided, leave no design with V''(q*) <= 0.  For tau = 0, V''(q*) < 0 for all m (theorem 7).
3. The slope x_0 at which V''(q*) = 0 falls strictly from 1 to 0 as the sparsity grows to that of tau = sqrt(3): each
   slope first has V'' = 0 at exactly one sparsity.  With r = m / tau, f = 0 reads (exp(c) - 1) / c = g(r) with
   g(r) = 2 (1 + r)^2 / (2 + r); both sides increase from 1 (c, r -> 0) to oo, so that c, and tau^2 = 2 c / (r (2 + r)),
   are functions of r.  At q* = 1, 1 / (1 - x) = int_0^1 exp(c (1 - v) (1 + k v)) dv with k = r / (2 + r), which
   increases in c and k, and both increase in r: x increases in r.  Since by 1 each tau in (0, sqrt(3)) has one r, and
   each r has one tau, r falls (r -> 0 has tau -> sqrt(3)) as tau grows, and x with it.
4. The sparsity at which slopes of the table have V''(q*) = 0, to 10 digits: the equations have one zero among the
   points that round to these (Krawczyk).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import sympy as sp

from gpsym.formula import TAU, M, Q
from proofs.logic.balls import root, rounding
from proofs.logic.rules import combination, from_end, increasing, instance, multiple, valley
from proofs.logic.statements import Domain, Proof, Statement, domain
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import CLIPPED, Quantities, quantities
from proofs.shape import Y, exponential

R, V, C, K = sp.symbols("r v c k", positive=True)
SPARSITY = sp.Symbol("s", positive=True)
# For each slope tau, m and the sparsity at which V''(q*) = 0, rounded.
LEVELS: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    "clipped-relu": {
        "0.1": ("1.653004640", "0.1195952821", "0.9508350403"),
        "0.3": ("1.479302230", "0.3898916501", "0.9304702214"),
        "0.5": ("1.273649143", "0.7242980660", "0.8986061061"),
        "0.6": ("1.151231941", "0.9315840843", "0.8751815860"),
        "0.7": ("1.007388430", "1.184072911", "0.8431259254"),
        "0.8": ("0.8280874854", "1.514727120", "0.7961895218"),
        "0.9": ("0.5766015066", "2.019014480", "0.7178956594"),
        "0.95": ("0.3857246276", "2.453681551", "0.6501496892"),
    },
    "clipped-soft-threshold": {
        "0.1": ("1.653004640", "0.1195952821", "0.9016700807"),
        "0.3": ("1.479302230", "0.3898916501", "0.8609404428"),
        "0.5": ("1.273649143", "0.7242980660", "0.7972122123"),
        "0.6": ("1.151231941", "0.9315840843", "0.7503631720"),
        "0.7": ("1.007388430", "1.184072911", "0.6862518508"),
        "0.8": ("0.8280874854", "1.514727120", "0.5923790437"),
        "0.9": ("0.5766015066", "2.019014480", "0.4357913188"),
        "0.95": ("0.3857246276", "2.453681551", "0.3002993785"),
    },
}

BELOW, BEYOND = domain({TAU: "(0, sqrt(3))", M: "(0, oo)"}), domain({TAU: "[sqrt(3), oo)", M: "(0, oo)"})
POSITIVE = domain({TAU: "(0, oo)", M: "(0, oo)"})
EXPONENT: Any = M * (2 * TAU + M) / 2
F: Any = TAU * (sp.exp(EXPONENT) - 1) - M * (TAU + M) ** 2
U: Any = TAU * sp.exp(EXPONENT) - (TAU + 3 * M)


def rows() -> tuple[Row, ...]:
    """CReLU and CST."""
    return tuple(_row(name) for name in CLIPPED)


def _row(name: str) -> Row:
    found = quantities(name)
    bend: Any = sp.Subs(found.curvature, Q, 1)
    rise = C**2 * sp.Derivative((sp.exp(C) - 1) / C, C)
    wider = sp.Derivative(2 * (1 + R) ** 2 / (2 + R), R)
    falls_first = -sp.Subs(sp.Derivative(U, M), M, 0)
    mixed = domain({C: "(0, oo)", K: "(0, oo)", V: "(0, 1)"})
    exponent = C * (1 - V) * (1 + K * V)
    along_c, along_r = domain({C: "(0, oo)"}), domain({R: "(0, oo)"})
    signs = {
        "V'' < 0, then > 0, as m grows": Statement("crossing", bend, BELOW, M),
        "u' < 0 at m = 0": Statement("positive", falls_first, domain({TAU: "(0, sqrt(3))"})),
        "f > 0 at m = 8 / tau": Statement("positive", sp.Subs(F, M, 8 / TAU), domain({TAU: "(0, oo)"})),
        "V'' > 0 for tau >= sqrt(3)": Statement("positive", bend, BEYOND),
        "(exp(c) - 1) / c increases": Statement("positive", rise, along_c),
        "g increases": Statement("positive", wider, along_r),
        "the exponent increases in c": Statement("positive", sp.Derivative(exponent, C), mixed),
        "the exponent increases in k": Statement("positive", sp.Derivative(exponent, K), mixed),
        "k increases in r": Statement("positive", sp.Derivative(R / (2 + R), R), along_r),
    }
    zeros = {
        f"V''(q*) = 0 at slope {x}": Statement("root", _equations(found, x), _place(name, x), sp.Tuple(*_UNKNOWNS))
        for x in LEVELS[name]
    }

    def prove() -> dict[str, Proof]:
        proofs = (
            multiple(BELOW, bend, _factor(found), _one_level()),
            combination(domain({TAU: "(0, sqrt(3))"}), falls_first, rest=(sp.sqrt(3) - TAU) * (sp.sqrt(3) + TAU)),
            _rises_at_last(),
            combination(BEYOND, bend, [(_factor(found), _bends_up())]),
            _grows(along_c, rise),
            combination(along_r, wider),
            combination(mixed, sp.Derivative(exponent, C), rest=(1 - V) * (1 + K * V)),
            combination(mixed, sp.Derivative(exponent, K), rest=C * V * (1 - V)),
            combination(along_r, sp.Derivative(R / (2 + R), R)),
            *(level(name, x) for x in LEVELS[name]),
        )
        return dict(zip({**signs, **zeros}, proofs, strict=True))

    return Row(name, "m > 0, tau > 0; q* = 1", {**signs, **zeros}, prove)


def _factor(found: Quantities) -> Any:
    """V''(1) / f."""
    return sp.Rational(found.sides, 2) * sp.exp(-((TAU + M) ** 2) / 2) / sp.sqrt(2 * sp.pi)


def _grows(along_c: Domain, rise: Any) -> Proof:
    """c^2 d/dc (exp(c) - 1) / c > 0: it is c exp(c) - exp(c) + 1, 0 at c = 0, with the derivative c exp(c)."""
    form: Any = C * sp.exp(C) - sp.exp(C) + 1
    positive = from_end(along_c, form, C, sp.S.Zero, combination(along_c, sp.Derivative(form, C)))
    return combination(along_c, rise, [(sp.S.One, positive)], rest=sp.S.Zero)


def _one_level() -> Proof:
    convex = combination(POSITIVE, sp.Derivative(U, (M, 2)), rest=TAU * sp.exp(EXPONENT) * (1 + (TAU + M) ** 2))
    bend = increasing(POSITIVE, sp.Derivative(U, M), M, convex)
    return valley(POSITIVE, F, multiple(POSITIVE, sp.Derivative(F, M), TAU + M, valley(POSITIVE, U, bend)))


def _rises_at_last() -> Proof:
    where, m = domain({TAU: "(0, oo)"}), 8 / TAU
    c = EXPONENT.subs(M, m)
    beyond = instance(exponential(3), where, {Y: c})
    rest = sp.expand(TAU * c + TAU * c**2 / 2 - m * (TAU + m) ** 2)
    return combination(where, sp.Subs(F, M, m), [(TAU, beyond)], rest=rest)


def _bends_up() -> Proof:
    """f > 0 for tau >= sqrt(3): u' = tau (tau + m) (exp(c) - 1) + tau^2 - 3 + tau m > 0."""
    rest = TAU * (TAU + M) * (sp.exp(EXPONENT) - 1) + (TAU**2 - 3) + TAU * M
    rises = from_end(BEYOND, U, M, sp.S.Zero, combination(BEYOND, sp.Derivative(U, M), rest=rest))
    return from_end(BEYOND, F, M, sp.S.Zero, combination(BEYOND, sp.Derivative(F, M), [(TAU + M, rises)]))


_UNKNOWNS = (TAU, M, SPARSITY)


def _equations(found: Quantities, slope: str) -> sp.Tuple:
    zeros, rise, gradient = (sp.Subs(e, Q, 1) for e in (found.zeros, found.slope, found.gradient))
    return sp.Tuple(F, rise - sp.Rational(slope) * gradient, zeros - SPARSITY)


def _place(name: str, slope: str) -> Domain:
    """The points that round to the digits of the table."""
    return rounding(dict(zip(_UNKNOWNS, LEVELS[name][slope], strict=True)))


@cache
def level(name: str, slope: str) -> Proof:
    """Where V''(q*) = 0 at a slope of the table: it rounds to the digits there."""
    return root(_place(name, slope), _equations(quantities(name), slope), _UNKNOWNS)


THEOREM = Theorem(
    "curvature",
    "V''(q*) < 0 below one clip level and > 0 above it for tau < sqrt(3 q*), > 0 for all beyond; "
    "each slope has V''(q*) = 0 at one sparsity",
    rows,
)
