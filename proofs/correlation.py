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
   h != k, so R'' sqrt(eps) -> A, as sqrt(eps) ~ sqrt(2) r; integrate twice from rho = 1.
   So eps_l^(-1/2) grows by 2 A / 3 per layer in the limit: 1 - rho_l ~ (3 / (2 A))^2 / l^2.

For each activation: its R'' and A as derived are those of 1 and 3.
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from gpsym import Activation, maps, member
from gpsym.formula import RHO, SIGMA_W2, Q
from gpsym.special import BivariateTail, density
from proofs.logic.statements import Domain, Statement, domain, equation
from proofs.logic.theorem import Row, Theorem, row_by_form
from proofs.quantities import FAMILY, family

H, K = sp.symbols("h k", real=True)
GAP, R = sp.symbols("d r", positive=True)
TOGETHER = (1 + R**2) * sp.exp(-(H**2) * (1 + R**2) / 2) / (4 * sp.pi)  # r f(h, h; rho)


def rows() -> tuple[Row, ...]:
    """The class; the activations of the family."""
    return (_class(), *(_named(name, *family(name, least="(0, oo)")) for name in FAMILY))


def f(h: Any, k: Any, rho: Any) -> Any:
    """The standard bivariate normal density."""
    return sp.exp(-(h**2 - 2 * rho * h * k + k**2) / (2 * (1 - rho**2))) / (2 * sp.pi * sp.sqrt(1 - rho**2))


def _class() -> Row:
    inside = domain({H: "(-oo, oo)", K: "(-oo, oo)", RHO: "(-1, 1)"})
    line, near = domain({H: "(-oo, oo)"}), domain({H: "(-oo, oo)", R: "(0, oo)"})
    two = (*near, *domain({GAP: "(0, oo)"}))
    angle = (1 - R**2) / (1 + R**2)
    # f at this rho, with sqrt(1 - rho^2) = 2 r / (1 + r^2) put in.
    distance = GAP**2 * (1 + R**2) ** 2 / (8 * R**2) + H * (H + GAP) * (1 + R**2) / 2
    apart = (1 + R**2) * sp.exp(-distance) / (4 * sp.pi)
    density_at = f(H, K, RHO)
    statements = {
        "df/drho = d^2 f / dh dk": equation(inside, sp.Derivative(density_at, RHO), sp.Derivative(density_at, H, K)),
        "f(h, k; 0) = p(h) p(k)": equation(inside, sp.Subs(density_at, RHO, 0), density(H, 1) * density(K, 1)),
        "r f(h, h + d; rho)": equation(two, R * sp.Subs(density_at, (K, RHO), (H + GAP, angle)), apart),
        "r f(h, h; rho)": equation(near, R * sp.Subs(density_at, (K, RHO), (H, angle)), TOGETHER),
        "r f(h, h; rho) -> exp(-h^2 / 2) / (4 pi)": equation(
            line, sp.Subs(TOGETHER, R, 0), sp.exp(-(H**2) / 2) / (4 * sp.pi)
        ),
        "r f(h, h + d; rho) -> 0": Statement("vanishing", apart, two, R, sp.S.Zero),
    }
    return row_by_form("continuous piecewise linear", "all knots and slopes", statements)


def _named(name: str, where: Domain, parameters: str) -> Row:
    phi, weighted = member(name), (*where, *domain({SIGMA_W2: "(0, oo)"}))
    curvature = maps.correlation_curvature(phi, variances=(Q, Q)).expression
    along, tails = _along_rho(maps.correlation_slope(phi, variances=(Q, Q)).expression)
    inside = (*weighted, *domain({RHO: "(-1, 1)", **dict.fromkeys(tails, "(-oo, oo)")}))
    statements = {
        "dR'/drho = R''": equation(inside, along, curvature),
        "dR'/drho = sum c_i c_j f(t_i, t_j; rho)": equation(inside, along, bend(phi)),
        "A = sum c_k^2 p(t_k) / (2 sqrt pi)": equation(weighted, maps.correlation_rate(phi).expression, rate(phi)),
    }
    return row_by_form(name, parameters, statements)


def with_symbols_for_tails(*expressions: Any) -> tuple[list[Any], dict[Any, Any]]:
    """The expressions with a symbol for each tail L(h, k; rho) in them, and what these symbols stand for.

    L(0, 0; rho) = 1/4 + asin(rho) / (2 pi): there the symbol stands for asin(rho).
    """
    found = set().union(*(e.atoms(BivariateTail, sp.asin) for e in expressions))
    names = {tail: sp.Symbol(f"L{k}", real=True) for k, tail in enumerate(sorted(found, key=sp.default_sort_key))}
    return [e.subs(names) for e in expressions], {symbol: tail for tail, symbol in names.items()}


def _along_rho(e: Any) -> tuple[Any, dict[Any, Any]]:
    """(de/drho, tails) by the chain rule, where rho is in tails alone."""
    (named,), tails = with_symbols_for_tails(e)
    return sum(sp.Derivative(named, symbol) * _slope(tail) for symbol, tail in tails.items()), tails


def _slope(tail: Any) -> Any:
    """dL(h, k; rho)/drho = f(h, k; rho), by theorem 1, at the correlation rho or -rho; or that of asin(rho)."""
    if isinstance(tail, sp.asin):
        return sp.diff(tail, RHO)
    return f(*tail.args) * sp.diff(tail.args[2], RHO)


def bend(phi: Activation) -> Any:
    """R'' = sigma_w2 sum c_i c_j f(t_i / sqrt q, t_j / sqrt q; rho)."""
    kinks, root = phi.jumps(1), sp.sqrt(Q)
    return SIGMA_W2 * sum(c * d * f(s / root, t / root, RHO) for s, c in kinks for t, d in kinks)


def rate(phi: Activation) -> Any:
    """A, the limit of sqrt(eps) R'', from that of r f(h, h; rho) at r = 0, where sqrt(eps) ~ sqrt(2) r."""
    squares = (c**2 * sp.Subs(TOGETHER, (H, R), (t / sp.sqrt(Q), 0)) for t, c in phi.jumps(1))
    return SIGMA_W2 * sp.sqrt(2) * sum(squares)


THEOREM = Theorem(
    "correlation",
    "R is convex on [0, 1], R(rho) > rho on (-1, 1), 1 - R(rho) = eps - (4/3) A eps^(3/2) + o(eps^(3/2))",
    rows,
)
