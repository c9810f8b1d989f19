"""Theorem 12, residual layers.

h' = sqrt(1 - alpha^2) h + alpha (W phi(h) + b), 0 < alpha <= 1.  W and b are independent of h and have mean 0, so the
products of skip and branch vanish in mean, and variances, covariances and J J^T, J = sqrt(1 - alpha^2) 1 + alpha W D
the Jacobian, are mixed with weights 1 - alpha^2 and alpha^2.  For these mixtures, all phi of the family and all
sigma_w2 > 0, sigma_b2 >= 0:

1. V_alpha - q = alpha^2 (V - q): the same fixed points, in number and kind of crossing.
2. V_alpha' = dV_alpha/dq = 1 - alpha^2 (1 - V') and V_alpha'' = alpha^2 V''.
3. chi_1,alpha = 1 - alpha^2 (1 - chi_1): at the edge of chaos 1, for every alpha.
4. R_alpha(1) = V_alpha / q, R_alpha'(1) = chi_1,alpha, R_alpha' = 1 - alpha^2 (1 - R'), so R_alpha'' = alpha^2 R''.
   These determine R_alpha, and with theorem 8 the rate A_alpha = alpha^2 A: 1 - rho_l ~ (3 / (2 alpha^2 A))^2 / l^2.
5. The unclipped stay marginal: V_alpha' = chi_1,alpha.  The clipped stay stable: 0 < V_alpha' < chi_1,alpha, and at the
   edge of chaos this is 0 < V_alpha'(q*) < 1; nearer to 1, as V_alpha' > V' there.

What the named formulas of `gpsym.layers.residual` say is compared with the plain maps; that those are the expectations
which define them is theorem 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy as sp

from gpsym import maps, member
from gpsym.formula import ALPHA, RHO, SIGMA_B2, SIGMA_W2, Formula, M, Q
from gpsym.layers import residual
from proofs.correlation import rate, with_symbols_for_tails
from proofs.logic.rules import combination, from_end
from proofs.logic.statements import Domain, Proof, Statement, difference, domain, equation
from proofs.logic.theorem import Row, Theorem, row_by_form
from proofs.quantities import CLIPPED, FAMILY, clipped_domain, family, quantities

MIXED = domain({ALPHA: "(0, 1]"})
WEIGHTS = domain({SIGMA_W2: "(0, oo)", SIGMA_B2: "[0, oo)"})
SKIP = (1 - ALPHA) * (1 + ALPHA)


def rows() -> tuple[Row, ...]:
    """The family; stability of the clipped."""
    return (*(_identities(name, *family(name, least="(0, oo)")) for name in FAMILY), *map(_stability, CLIPPED))


def _identities(name: str, where: Domain, parameters: str) -> Row:
    everywhere = (*where, *MIXED, *WEIGHTS)
    statements = {label: equation(everywhere, *sides) for label, sides in _of_one_input(name)}
    statements["R_alpha' = 1 - alpha^2 (1 - R')"] = _of_two_inputs(name, everywhere)
    return row_by_form(name, f"{parameters}, all alpha", statements)


def _of_one_input(name: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Labels, and the two sides that are equal."""
    phi, found = member(name), quantities(name)
    v, slope, chi = (_expression(formula(phi)) for formula in (residual.variance_map, residual.slope, residual.chi_1))
    chi_1 = 1 - ALPHA**2 * (1 - SIGMA_W2 * found.gradient)
    yield "V_alpha - q = alpha^2 (V - q)", (v - Q, ALPHA**2 * (SIGMA_W2 * found.second + SIGMA_B2 - Q))
    yield "dV_alpha/dq = V_alpha'", (sp.Derivative(v, Q), slope)
    yield "V_alpha' = 1 - alpha^2 (1 - V')", (slope, 1 - ALPHA**2 * (1 - SIGMA_W2 * sp.Derivative(found.second, Q)))
    yield "d^2V_alpha/dq^2 = alpha^2 V''", (sp.Derivative(v, (Q, 2)), ALPHA**2 * SIGMA_W2 * found.curvature)
    yield "chi_1,alpha = 1 - alpha^2 (1 - chi_1)", (chi, chi_1)
    yield "R_alpha(1) = V_alpha / q", (Q * _at_one(residual.correlation_map(phi)), v)
    yield "R_alpha'(1) = chi_1,alpha", (_at_one(residual.correlation_slope(phi)), chi_1)
    yield "A_alpha = alpha^2 A", (_expression(residual.correlation_rate(phi)), ALPHA**2 * rate(phi))
    if name not in CLIPPED:
        yield "dV_alpha/dq = chi_1,alpha", (sp.Derivative(v, Q), chi)


def _of_two_inputs(name: str, everywhere: Domain) -> Statement:
    phi = member(name)
    mixed, plain = residual.correlation_slope(phi), maps.correlation_slope(phi, variances=(Q, Q))
    named, tails = with_symbols_for_tails(_expression(mixed), _expression(plain))
    where = (*everywhere, *domain({RHO: "(-1, 1)", **dict.fromkeys(tails, "(-oo, oo)")}))
    return equation(where, named[0], 1 - ALPHA**2 * (1 - named[1]))


def _expression(formula: Formula) -> Any:
    return formula.expression


def _at_one(formula: Formula) -> Any:
    """Its value at rho = 1."""
    assert formula.at_rho is not None
    return formula.at_rho(sp.S.One)


def _stability(name: str) -> Row:
    """At the edge of chaos, sigma_w2 = 1 / E phi'^2, times E phi'^2 > 0."""
    where, found = (*clipped_domain(), *MIXED), quantities(name)
    slope = SKIP * found.gradient + ALPHA**2 * found.slope
    statements = {
        "V_alpha'(q*) > 0": Statement("positive", slope, where),
        "V_alpha'(q*) < 1": Statement("positive", difference(found.gradient, slope), where),
        "V_alpha'(q*) > V'(q*) for alpha < 1": Statement("positive", difference(slope, found.slope), _below_one(where)),
    }

    def prove() -> dict[str, Proof]:
        plain = clipped_domain()
        rising = combination(plain, sp.Derivative(found.slope, M))
        steep = from_end(plain, found.slope, M, sp.S.Zero, rising)
        below = combination(plain, difference(found.gradient, found.slope))
        proofs = (
            combination(where, slope, ((sp.S.One, steep), (SKIP, below)), rest=sp.S.Zero),
            combination(where, difference(found.gradient, slope), ((ALPHA**2, below),), rest=sp.S.Zero),
            combination(_below_one(where), difference(slope, found.slope), ((SKIP, below),), rest=sp.S.Zero),
        )
        return dict(zip(statements, proofs, strict=True))

    return Row(name, "m > 0, tau >= 0, all alpha; at q*", statements, prove)


def _below_one(where: Domain) -> Domain:
    return tuple((symbol, sp.Interval.open(0, 1) if symbol == ALPHA else i) for symbol, i in where)


THEOREM = Theorem(
    "residual",
    "V_alpha - q = alpha^2 (V - q), V_alpha' = 1 - alpha^2 (1 - V'), chi_1,alpha = 1 - alpha^2 (1 - chi_1), "
    "A_alpha = alpha^2 A",
    rows,
)
