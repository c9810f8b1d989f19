"""Theorem 12, residual layers.

h' = sqrt(1 - alpha^2) h + alpha (W phi(h) + b), 0 < alpha <= 1.  W and b are independent of h and have mean 0, so the
products of skip and branch vanish in mean, and variances, covariances and J J^T, J = sqrt(1 - alpha^2) 1 + alpha W D
the Jacobian, are mixed with weights 1 - alpha^2 and alpha^2.  For these mixtures, all phi of the family and all
sigma_w2 > 0, sigma_b2 >= 0:

1. V_alpha - q = alpha^2 (V - q): the same fixed points, in number and kind of crossing.
2. V_alpha' = dV_alpha/dq = 1 - alpha^2 (1 - V') and V_alpha'' = alpha^2 V''.
3. chi_1,alpha = 1 - alpha^2 (1 - chi_1): at the edge of chaos 1, for every alpha.
4. R_alpha(1) = V_alpha / q, R_alpha'(1) = chi_1,alpha, and R_alpha'' is alpha^2 times that of the plain layer.  These
   three determine R_alpha, and with theorem 8 the rate A_alpha = alpha^2 A: 1 - rho_l ~ (3 / (2 alpha^2 A))^2 / l^2.
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
from proofs.logic.rules import combination, from_end, identity
from proofs.logic.statements import Domain, Proof, Statement, domain
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import CLIPPED, FAMILY, clipped_domain, family, quantities

MIXED = domain({ALPHA: "(0, 1]"})
WEIGHTS = domain({SIGMA_W2: "(0, oo)", SIGMA_B2: "[0, oo)"})
SKIP = (1 - ALPHA) * (1 + ALPHA)


def rows() -> tuple[Row, ...]:
    """The family; stability of the clipped."""
    return (*(_identities(name, *family(name, least="(0, oo)")) for name in FAMILY), *map(_stability, CLIPPED))


def _identities(name: str, where: Domain, parameters: str) -> Row:
    everywhere, apart = (*where, *MIXED, *WEIGHTS), (*where, *MIXED, *WEIGHTS, *domain({RHO: "(-1, 1)"}))
    statements = {label: Statement("zero", sp.expand(e), everywhere) for label, e in _of_one_input(name)}
    phi = member(name)
    bend = residual.correlation_curvature(phi).expression
    plain = maps.correlation_curvature(phi, variances=(Q, Q)).expression
    statements["R_alpha'' = alpha^2 R''"] = Statement("zero", sp.expand(bend - ALPHA**2 * plain), apart)
    return Row(
        name,
        f"{parameters}, all alpha",
        statements,
        lambda: {label: identity(s.domain, s.expression) for label, s in statements.items()},
    )


def _of_one_input(name: str) -> Iterator[tuple[str, Any]]:
    """Differences that are 0."""
    phi, found = member(name), quantities(name)
    v, slope, chi = (_expression(f(phi)) for f in (residual.variance_map, residual.slope, residual.chi_1))
    yield "V_alpha - q = alpha^2 (V - q)", v - Q - ALPHA**2 * (SIGMA_W2 * found.second + SIGMA_B2 - Q)
    yield "dV_alpha/dq = V_alpha'", sp.diff(v, Q) - slope
    yield "V_alpha' = 1 - alpha^2 (1 - V')", slope - 1 + ALPHA**2 * (1 - SIGMA_W2 * found.slope)
    yield "dV_alpha'/dq = alpha^2 V''", sp.diff(slope, Q) - ALPHA**2 * SIGMA_W2 * found.curvature
    yield "chi_1,alpha = 1 - alpha^2 (1 - chi_1)", chi - 1 + ALPHA**2 * (1 - SIGMA_W2 * found.gradient)
    yield "chi_1,alpha = 1 at the edge of chaos", chi.subs(SIGMA_W2, 1 / found.gradient) - 1
    yield "R_alpha(1) = V_alpha / q", Q * _at_one(residual.correlation_map(phi)) - v
    yield "R_alpha'(1) = chi_1,alpha", _at_one(residual.correlation_slope(phi)) - chi
    rate, plain = residual.correlation_rate(phi).expression, maps.correlation_rate(phi).expression
    yield "A_alpha = alpha^2 A", rate - ALPHA**2 * plain
    if name not in CLIPPED:
        yield "V_alpha' = chi_1,alpha", slope - chi


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
        "V_alpha'(q*) < 1": Statement("positive", found.gradient - slope, where),
        "V_alpha'(q*) > V'(q*) for alpha < 1": Statement("positive", slope - found.slope, _below_one(where)),
    }

    def prove() -> dict[str, Proof]:
        plain = clipped_domain()
        rising = combination(plain, sp.diff(found.slope, M))
        steep = from_end(plain, found.slope, M, sp.S.Zero, rising)
        below = combination(plain, found.gradient - found.slope)
        proofs = (
            combination(where, slope, ((sp.S.One, steep), (SKIP, below)), rest=sp.S.Zero),
            combination(where, found.gradient - slope, ((ALPHA**2, below),), rest=sp.S.Zero),
            combination(_below_one(where), slope - found.slope, ((SKIP, below),), rest=sp.S.Zero),
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
