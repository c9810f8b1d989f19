"""Theorem 8, correlations.

For phi in the class, phi(x) = alpha + beta x + sum_k c_k (x - t_k)_+, not affine, at the edge of chaos at q*:

1. R''(rho) = sigma_w2 sum_ij c_i c_j f(t_i / sqrt q*, t_j / sqrt q*; rho), f the standard bivariate normal density.
   By Mehler f(h, k; rho) = sum_n rho^n He_n(h) He_n(k) f(h, k; 0) / n!, so R'' has coefficients
   (sum_k c_k He_n(t_k) p(t_k))^2 / n! >= 0: R is convex on [0, 1], and R = sum_n a_n^2 rho^n.
   Mehler's series holds because f is analytic in abs(rho) < 1 and df/drho = d^2 f / dh dk, so that its Taylor
   coefficients at rho = 0 are derivatives of p(h) p(k).
2. R(rho) > rho on (-1, 1): sum a_n^2 = R(1) = 1, sum n a_n^2 = R'(1) = 1, and rho^n >= 1 + n (rho - 1) (Bernoulli),
   > for n >= 2, where some a_n is not 0 as phi is not affine.  So all correlations increase to 1.
3. 1 - R(rho) = eps - (4/3) A eps^(3/2) + o(eps^(3/2)), eps = 1 - rho,
   A = sigma_w2 sum_k c_k^2 p(t_k / sqrt q*) / (2 sqrt pi), knots that merge counted once with the sum of their jumps.
   With rho = (1 - r^2) / (1 + r^2), as r -> 0, r f(h, h; rho) -> exp(-h^2 / 2) / (4 pi) and r f(h, k; rho) -> 0 for
   h != k, so R'' sqrt(eps) -> A; integrate twice from rho = 1.
   So eps_l^(-1/2) grows by 2 A / 3 per layer in the limit: 1 - rho_l ~ (3 / (2 A))^2 / l^2.

For each activation: its R'' and A as derived are those of 1 and 3.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym import maps, member
from gpsym.formula import RHO, SIGMA_W2, Q
from gpsym.special import density
from proofs.logic.rules import identity, vanishes
from proofs.logic.statements import Domain, Proof, Statement, domain
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import FAMILY, family

H, K = sp.symbols("h k", real=True)
GAP, R = sp.symbols("d r", positive=True)


def rows() -> tuple[Row, ...]:
    """The class; the activations of the family."""
    return (_class(), *(_named(name, *family(name, least="(0, oo)")) for name in FAMILY))


def f(h: Any, k: Any, rho: Any) -> Any:
    """The standard bivariate normal density."""
    return sp.exp(-(h**2 - 2 * rho * h * k + k**2) / (2 * (1 - rho**2))) / (2 * sp.pi * sp.sqrt(1 - rho**2))


def _class() -> Row:
    inside = domain({H: "(-oo, oo)", K: "(-oo, oo)", RHO: "(-1, 1)"})
    near = domain({H: "(-oo, oo)", GAP: "(0, oo)", R: "(0, oo)"})
    angle = (1 - R**2) / (1 + R**2)
    # f at this rho, with sqrt(1 - rho^2) = 2 r / (1 + r^2) put in.
    distance = GAP**2 * (1 + R**2) ** 2 / (8 * R**2) + H * (H + GAP) * (1 + R**2) / 2
    apart = (1 + R**2) * sp.exp(-distance) / (4 * sp.pi)
    together = apart.subs(GAP, 0)
    heat = sp.diff(f(H, K, RHO), RHO) - sp.diff(f(H, K, RHO), H, K)
    start = f(H, K, 0) - density(H, 1) * density(K, 1)
    statements = {
        "df/drho = d^2 f / dh dk": Statement("zero", heat, inside),
        "f(h, k; 0) = p(h) p(k)": Statement("zero", start, inside),
        "r f(h, h + d; rho)": Statement("zero", R * f(H, H + GAP, angle) - apart, near),
        "r f(h, h; rho) -> exp(-h^2 / 2) / (4 pi)": Statement(
            "zero", together.subs(R, 0) - sp.exp(-(H**2) / 2) / (4 * sp.pi), domain({H: "(-oo, oo)"})
        ),
        "r f(h, h + d; rho) -> 0": Statement("vanishing", apart, near, R, sp.S.Zero),
    }

    def prove() -> dict[str, Proof]:
        return {
            label: vanishes(s.domain, s.expression, R, sp.S.Zero)
            if s.claim == "vanishing"
            else identity(s.domain, s.expression)
            for label, s in statements.items()
        }

    return Row("continuous piecewise linear", "all knots and slopes", statements, prove)


def _named(name: str, where: Domain, parameters: str) -> Row:
    phi, where = member(name), (*where, *domain({RHO: "(-1, 1)"}))
    kinks = phi.jumps(1)
    root = sp.sqrt(Q)
    curvature = maps.correlation_curvature(phi, variances=(Q, Q)).expression
    expected = SIGMA_W2 * sum(c * d * f(s / root, t / root, RHO) for s, c in kinks for t, d in kinks)
    rate = SIGMA_W2 * sum(c**2 * density(t / root, 1) for t, c in kinks) / (2 * sp.sqrt(sp.pi))
    differences = {
        "R'' = sum c_i c_j f(t_i, t_j; rho)": curvature - expected,
        "A = sum c_k^2 p(t_k) / (2 sqrt pi)": maps.correlation_rate(phi).expression - rate,
    }
    differences = {label: sp.expand(e / SIGMA_W2) for label, e in differences.items()}
    statements = {label: Statement("zero", e, where) for label, e in differences.items()}
    return Row(name, parameters, statements, lambda: {label: identity(where, e) for label, e in differences.items()})


THEOREM = Theorem(
    "correlation",
    "R is convex on [0, 1], R(rho) > rho on (-1, 1), 1 - R(rho) = eps - (4/3) A eps^(3/2) + o(eps^(3/2))",
    rows,
)
