"""Gated layers: h = W (psi(u) phi(v)) + b, where u and v, two pre-activations, come of independent weights.

With psi the identity this is the gated linear unit, ReGLU for phi = ReLU.  Given the layer before, all u and v of a
layer are independent N(0, q), so one variance is enough and the maps are products, P2 = E psi(sqrt(q) Z)^2 and
F2 = E phi(sqrt(q) Z)^2:

    V(q)   = sigma_w2 P2 F2 + sigma_b2
    chi_1  = sigma_w2 (E psi'^2 F2 + P2 E phi'^2)
    R(rho) = (sigma_w2 E[psi(u1) psi(u2)] E[phi(v1) phi(v2)] + sigma_b2) / q
    A      = F2 A_psi + P2 A_phi,  A_psi and A_phi those of plain layers with this sigma_w2
    zeros  = 1 - (1 - zeros of psi) (1 - zeros of phi)

For psi the identity: V = sigma_w2 q F2 + sigma_b2 and chi_1 = sigma_w2 (F2 + q E phi'^2).  Hence

* an edge of chaos exists at every q*, sigma_w2 = 1 / (F2 + q* E phi'^2), sigma_b2 = sigma_w2 q*^2 E phi'^2 > 0;
* V' = chi_1 + sigma_w2 q sum_k c_k phi(t_k) p(t_k), so the slope is 1 where phi vanishes at its knots, as for plain
  layers.  But V is more convex: for ReLU V - q = (q - q*)^2 / (2 q*), unstable from above, where the plain layer
  keeps every variance;
* a clip of phi makes V'(q*) < 1, but not V bounded: V / q -> sigma_w2 phi(oo)^2 / 2 (both sides added), `tail_slope`
  below.  Above 1, variances far enough above q* run away; a clipped psi bounds V.

At finite width the variances of one input form an exact Markov chain, as in plain layers, with phi replaced by the
product: q' = sigma_w2 mean(psi(u)^2 phi(v)^2) + sigma_b2.

What does not hold: gates that share the weights of u and v (u = v is an activation of its own, x phi(x), which
`Activation` expresses), and the closed forms of smooth gates, such as sigmoid or SiLU, which are no piecewise
polynomials.

Sources: Dauphin et al. 2017 (gated linear units), Shazeer 2020 (ReGLU).  Maps: gpsym.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy as sp

from gpsym import maps
from gpsym.activation import Activation
from gpsym.formula import RHO, SIGMA_B2, SIGMA_W2, Formula, Q, require
from gpsym.members import identity
from gpsym.numeric import precise

__all__ = [
    "GatedInit",
    "chi_1",
    "correlation_map",
    "correlation_rate",
    "correlation_slope",
    "curvature",
    "edge_of_chaos",
    "slope",
    "sparsity",
    "variance_map",
]

_SAME = (Q, Q)
Pair = tuple[Activation, Activation]  # psi, phi


@cache
def variance_map(phi: Activation, psi: Activation | None = None) -> Formula:
    """V(q) = sigma_w2 E psi^2 E phi^2 + sigma_b2; psi is the identity if left out."""
    return _formula(
        "variance",
        "V(q)",
        r"\sigma_w^2\,\mathbb{E}\left[\psi(\sqrt{q}\,Z)^2\right] \mathbb{E}\left[\phi(\sqrt{q}\,Z)^2\right]"
        r" + \sigma_b^2",
        (psi or identity(), phi),
        (SIGMA_B2,),
        (maps.second_moment,),
        lambda psi, phi: SIGMA_W2 * psi[0] * phi[0] + SIGMA_B2,
    )


@cache
def slope(phi: Activation, psi: Activation | None = None) -> Formula:
    """V'(q), by the product rule."""
    return _formula(
        "slope",
        "V'(q)",
        r"\sigma_w^2\,\frac{d}{dq}\,\mathbb{E}\left[\psi(\sqrt{q}\,Z)^2\right]"
        r" \mathbb{E}\left[\phi(\sqrt{q}\,Z)^2\right]",
        (psi or identity(), phi),
        (),
        (maps.second_moment, maps.slope),
        lambda psi, phi: SIGMA_W2 * (psi[1] * phi[0] + psi[0] * phi[1]),
    )


@cache
def curvature(phi: Activation, psi: Activation | None = None) -> Formula:
    """V''(q), by the product rule."""
    return _formula(
        "curvature",
        "V''(q)",
        r"\sigma_w^2\,\frac{d^2}{dq^2}\,\mathbb{E}\left[\psi(\sqrt{q}\,Z)^2\right]"
        r" \mathbb{E}\left[\phi(\sqrt{q}\,Z)^2\right]",
        (psi or identity(), phi),
        (),
        (maps.second_moment, maps.slope, maps.curvature),
        lambda psi, phi: SIGMA_W2 * (psi[2] * phi[0] + 2 * psi[1] * phi[1] + psi[0] * phi[2]),
    )


@cache
def chi_1(phi: Activation, psi: Activation | None = None) -> Formula:
    """chi_1(q) = sigma_w2 (E psi'^2 E phi^2 + E psi^2 E phi'^2), the growth of squared gradients per layer."""
    return _formula(
        "chi_1",
        r"\chi_1(q)",
        r"\sigma_w^2\left(\mathbb{E}\left[\psi'^2\right] \mathbb{E}\left[\phi^2\right]"
        r" + \mathbb{E}\left[\psi^2\right] \mathbb{E}\left[\phi'^2\right]\right)",
        (psi or identity(), phi),
        (),
        (maps.second_moment, maps.chi_1),
        lambda psi, phi: SIGMA_W2 * (psi[1] * phi[0] + psi[0] * phi[1]),
    )


@cache
def sparsity(phi: Activation, psi: Activation | None = None) -> Formula:
    """P(psi(u) phi(v) = 0), the expected fraction of zeros of the product."""
    return _formula(
        "sparsity",
        "s(q)",
        r"\mathbb{P}\left[\psi(u)\,\phi(v) = 0\right]",
        (psi or identity(), phi),
        (),
        (maps.sparsity,),
        lambda psi, phi: 1 - (1 - psi[0]) * (1 - phi[0]),
        weighted=False,
    )


@cache
def correlation_map(phi: Activation, psi: Activation | None = None) -> Formula:
    """R(rho) = (sigma_w2 E[psi psi] E[phi phi] + sigma_b2) / q, for two inputs at a fixed point q of V."""
    return _formula(
        "correlation",
        r"R(\rho)",
        r"\left(\sigma_w^2\,\mathbb{E}\left[\psi(u_1)\,\psi(u_2)\right] \mathbb{E}\left[\phi(v_1)\,\phi(v_2)\right]"
        r" + \sigma_b^2\right) / q",
        (psi or identity(), phi),
        (SIGMA_B2,),
        (_kernel,),
        lambda psi, phi: (SIGMA_W2 * psi[0] * phi[0] + SIGMA_B2) / Q,
    )


@cache
def correlation_slope(phi: Activation, psi: Activation | None = None) -> Formula:
    """R'(rho) = sigma_w2 (E[psi' psi'] E[phi phi] + E[psi psi] E[phi' phi']); chi_1 at rho = 1."""
    return _formula(
        "correlation_slope",
        r"R'(\rho)",
        r"\sigma_w^2\left(\mathbb{E}\left[\psi'\psi'\right] \mathbb{E}\left[\phi\phi\right]"
        r" + \mathbb{E}\left[\psi\psi\right] \mathbb{E}\left[\phi'\phi'\right]\right)",
        (psi or identity(), phi),
        (),
        (_kernel, _kernel_slope),
        lambda psi, phi: SIGMA_W2 * (psi[1] * phi[0] + psi[0] * phi[1]),
    )


@cache
def correlation_rate(phi: Activation, psi: Activation | None = None) -> Formula:
    """A = E phi^2 A_psi + E psi^2 A_phi: where only one factor bends, the other is at its value for rho = 1."""
    return _formula(
        "correlation_rate",
        "A(q)",
        r"\lim_{\rho \to 1} \sqrt{1 - \rho}\,R''(\rho)",
        (psi or identity(), phi),
        (),
        (maps.second_moment, maps.correlation_rate),
        lambda psi, phi: SIGMA_W2 * (psi[1] * phi[0] + psi[0] * phi[1]),
    )


@dataclass(frozen=True)
class GatedInit:
    """Weight and bias variances that put gated layers at the edge of chaos at variance q_star.

    phi, psi    the activations, with numbers for their knots.
    sigma_w2    weight variance times fan-in, and
    sigma_b2    bias variance, of the layers that make u and v.
    q_star      variance of u and v in every hidden layer.
    sparsity    expected fraction of zeros of psi(u) phi(v).
    slope       V'(q_star); below 1 the variance returns to q_star after a small perturbation.
    curvature   V''(q_star).
    tail_slope  lim V(q) / q as q -> oo; above 1 variances far above q_star run away.

    `gpsym.torch.init_` takes it in place of a design.
    """

    phi: Activation
    psi: Activation
    sigma_w2: float
    sigma_b2: float
    q_star: float
    sparsity: float
    slope: float
    curvature: float
    tail_slope: float


def edge_of_chaos(phi: Activation, psi: Activation | None = None, *, q_star: float = 1.0) -> GatedInit:
    """The gated layers with V(q*) = q* and chi_1(q*) = 1.

    phi, psi  continuous, with numbers for their symbols; psi is the identity if left out.
    q_star    variance of u and v, > 0.

    Raises ValueError for symbols, jumps (chi_1 is infinite), and where sigma_b2 would be negative, which for psi the
    identity never happens.

    >>> from gpsym import relu
    >>> found = edge_of_chaos(relu(), q_star=2.0)
    >>> found.sigma_w2, found.sigma_b2, found.slope, found.curvature
    (0.5, 1.0, 1.0, 0.5)
    """
    psi = psi or identity()
    for factor in (psi, phi):
        if factor.parameters or factor.jumps():
            raise ValueError(
                f"gated.edge_of_chaos: need a continuous activation with numbers for its symbols, got {factor.name}; "
                "use subs, or choose one without jumps, at which chi_1 is infinite."
            )
    point = {Q: require("gated.edge_of_chaos", {sp.Symbol("q_star", positive=True): q_star}, ()).popitem()[1]}
    gradient = chi_1(phi, psi).expression / SIGMA_W2
    if precise(gradient, point) == 0:
        raise ValueError(f"gated.edge_of_chaos: need chi_1 > 0, got 0 for {psi.name} and {phi.name} at {q_star:g}.")
    weight = 1 / gradient
    wanted = {
        "sigma_w2": weight,
        "sigma_b2": Q - variance_map(phi, psi).expression.subs({SIGMA_W2: weight, SIGMA_B2: 0}),
        "q_star": Q,
        "sparsity": sparsity(phi, psi).expression,
        "slope": slope(phi, psi).expression.subs(SIGMA_W2, weight),
        "curvature": curvature(phi, psi).expression.subs(SIGMA_W2, weight),
    }
    numbers = {name: float(precise(expression, point)) for name, expression in wanted.items()}
    if numbers["sigma_b2"] < 0:
        raise ValueError(
            f"gated.edge_of_chaos: need sigma_b2 >= 0, got {numbers['sigma_b2']:.6g} for {psi.name} and {phi.name} at "
            f"q_star = {q_star:g}; the identity for psi has an edge of chaos at every q_star."
        )
    return GatedInit(phi, psi, **numbers, tail_slope=numbers["sigma_w2"] * _growth(psi, phi))


def _growth(*factors: Activation) -> float:
    """lim E psi^2 E phi^2 / q as q -> oo: the outer pieces, c x^n and d (-x)^n, give q^n E[Z^(2n)] (c^2 + d^2) / 2."""
    degree, total = 0, 1.0
    for factor in factors:
        ends = factor.pieces[0], factor.pieces[-1]
        n = max(0, *(len(piece) - 1 for piece in ends))
        leading = sum(float(piece[n]) ** 2 for piece in ends if len(piece) == n + 1)
        degree, total = degree + n, total * leading * math.prod(range(1, 2 * n, 2)) / 2
    return total if degree == 1 else math.inf if degree > 1 and total else 0.0


def _kernel(activation: Activation) -> Formula:
    return maps.kernel(activation, variances=_SAME)


def _kernel_slope(activation: Activation) -> Formula:
    return maps.correlation_slope(activation, variances=_SAME)


def _formula(
    name: str,
    notation: str,
    meaning: str,
    pair: Pair,
    biases: tuple[sp.Symbol, ...],
    parts: tuple[Callable[[Activation], Formula], ...],
    combined: Callable[[list[Any], list[Any]], Any],
    weighted: bool = True,
) -> Formula:
    """combined(parts of psi, parts of phi), the parts with sigma_w2 = 1."""
    formulas = [[part(factor) for part in parts] for factor in pair]
    flat = [formula for factor in formulas for formula in factor]
    variables = dict.fromkeys(v for f in flat for v in f.variables if v not in (SIGMA_W2, SIGMA_B2))

    def assembled(read: Callable[[Formula], Any]) -> Any:
        return combined(*([read(f).subs(SIGMA_W2, 1) for f in factor] for factor in formulas))

    def at_rho(rho: sp.Expr) -> sp.Expr:
        return assembled(lambda f: f.at_rho(rho) if f.at_rho else f.expression)

    return Formula(
        name=f"gated_{name}",
        notation=notation,
        meaning=meaning,
        variables=(*variables, *((SIGMA_W2,) if weighted else ()), *biases),
        conditions=tuple(dict.fromkeys(c for f in flat for c in f.conditions)),
        definition=assembled(lambda f: f.definition),
        expression=assembled(lambda f: f.expression),
        reference="gpsym",
        at_rho=at_rho if RHO in variables else None,
        stably=lambda: assembled(lambda f: f.stable),
        activations=pair,
    )
