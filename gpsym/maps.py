"""From an activation to its Gaussian-process maps, each a `Formula` with its definition and its closed form.

The layer is h = W phi(h') + b with W_ij ~ N(0, sigma_w2 / fan_in), b_i ~ N(0, sigma_b2), and Z ~ N(0, 1):

    second_moment   E[phi(sqrt(q) Z)^2]
    variance        V(q) = sigma_w2 E[phi(sqrt(q) Z)^2] + sigma_b2
    slope           V'(q)
    curvature       V''(q)
    chi_1           sigma_w2 E[phi'(sqrt(q) Z)^2], mean squared singular value of a layer's Jacobian
    sparsity        P(phi(sqrt(q) Z) = 0)

Sources: Poole et al. 2016 (variance map), Schoenholz et al. 2017 (chi_1), Price et al. 2024 (sparsity).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import sympy as sp

from gpsym.activation import Activation, Piece
from gpsym.formula import SIGMA_B2, SIGMA_W2, Formula, Q, X
from gpsym.gaussian import collect_generators, density, expectation

__all__ = ["QUANTITIES", "chi_1", "curvature", "derive", "second_moment", "slope", "sparsity", "variance_map"]


@cache
def second_moment(activation: Activation) -> Formula:
    """E[phi(sqrt(q) Z)^2], q > 0."""
    return Formula(
        name="second_moment",
        notation=r"E\,\phi^2",
        meaning=r"\mathbb{E}\left[\phi(\sqrt{q}\,Z)^2\right]",
        variables=(Q, *activation.parameters),
        conditions=activation.conditions,
        definition=_integral(activation, _phi_squared, density(X, Q)),
        expression=_expectation(activation, _phi_squared),
        reference="Poole et al. 2016",
    )


@cache
def variance_map(activation: Activation) -> Formula:
    """V(q) = sigma_w2 E[phi(sqrt(q) Z)^2] + sigma_b2, the variance of a pre-activation one layer on."""
    moment = second_moment(activation)
    return Formula(
        name="variance",
        notation="V(q)",
        meaning=r"\sigma_w^2\,\mathbb{E}\left[\phi(\sqrt{q}\,Z)^2\right] + \sigma_b^2",
        variables=(*moment.variables, SIGMA_W2, SIGMA_B2),
        conditions=activation.conditions,
        definition=SIGMA_W2 * moment.definition + SIGMA_B2,
        expression=SIGMA_W2 * moment.expression + SIGMA_B2,
        reference="Poole et al. 2016, eq. 3",
    )


@cache
def slope(activation: Activation) -> Formula:
    """V'(q); equal to chi_1 exactly where phi vanishes at every knot at which phi' jumps."""
    return _derivative(activation, "slope", "V'(q)", 1)


@cache
def curvature(activation: Activation) -> Formula:
    """V''(q); its sign at a marginal fixed point (V' = 1) decides from which side it repels."""
    return _derivative(activation, "curvature", "V''(q)", 2)


@cache
def chi_1(activation: Activation) -> Formula:
    """chi_1(q) = sigma_w2 E[phi'(sqrt(q) Z)^2]; 1 at the edge of chaos."""
    return Formula(
        name="chi_1",
        notation=r"\chi_1(q)",
        meaning=r"\sigma_w^2\,\mathbb{E}\left[\phi'(\sqrt{q}\,Z)^2\right]",
        variables=(Q, *activation.parameters, SIGMA_W2),
        conditions=activation.conditions,
        definition=SIGMA_W2 * _integral(activation, _slope_squared, density(X, Q)),
        expression=SIGMA_W2 * _expectation(activation, _slope_squared),
        reference="Schoenholz et al. 2017, eq. 5",
    )


@cache
def sparsity(activation: Activation) -> Formula:
    """s(q) = P(phi(sqrt(q) Z) = 0), the expected fraction of exact zeros among the activations."""
    return Formula(
        name="sparsity",
        notation="s(q)",
        meaning=r"\mathbb{P}\left[\phi(\sqrt{q}\,Z) = 0\right]",
        variables=(Q, *activation.parameters),
        conditions=activation.conditions,
        definition=_integral(activation, _is_zero, density(X, Q)),
        expression=_expectation(activation, _is_zero),
        reference="Price et al. 2024, section 3",
    )


QUANTITIES: dict[str, Callable[[Activation], Formula]] = {
    "variance": variance_map,
    "slope": slope,
    "curvature": curvature,
    "chi_1": chi_1,
    "sparsity": sparsity,
}


def derive(activation: Activation, quantity: str) -> Formula:
    """The formula of one of `QUANTITIES`; the command line's spelling chi-1 is accepted.

    Raises ValueError for an unknown quantity.
    """
    name = quantity.replace("-", "_")
    if name not in QUANTITIES:
        raise ValueError(f"derive: unknown quantity {quantity!r}; choose from {', '.join(QUANTITIES)}.")
    return QUANTITIES[name](activation)


def _derivative(activation: Activation, name: str, notation: str, order: int) -> Formula:
    """The derivative of the variance map; its definition differentiates the density under the integral."""
    closed = second_moment(activation).expression
    for _ in range(order):
        closed = collect_generators(sp.diff(closed, Q))
    operator = r"\frac{d}{dq}" if order == 1 else rf"\frac{{d^{order}}}{{dq^{order}}}"
    return Formula(
        name=name,
        notation=notation,
        meaning=rf"\sigma_w^2\,{operator}\,\mathbb{{E}}\left[\phi(\sqrt{{q}}\,Z)^2\right]",
        variables=(Q, *activation.parameters, SIGMA_W2),
        conditions=activation.conditions,
        definition=SIGMA_W2 * _integral(activation, _phi_squared, sp.diff(density(X, Q), Q, order)),
        expression=SIGMA_W2 * closed,
        reference="Price et al. 2024, section 3",
    )


# What is averaged, as a polynomial in x on each piece of phi.


def _phi_squared(piece: Piece) -> sp.Expr:
    return (piece.slope * X + piece.intercept) ** 2


def _slope_squared(piece: Piece) -> sp.Expr:
    return piece.slope**2


def _is_zero(piece: Piece) -> sp.Expr:
    return sp.S.One if piece.slope == 0 == piece.intercept else sp.S.Zero


def _expectation(activation: Activation, integrand: Callable[[Piece], sp.Expr]) -> sp.Expr:
    pieces = ((p.lower, p.upper, sp.Poly(integrand(p), X)) for p in activation.pieces if integrand(p) != 0)
    return expectation(pieces, Q)


def _integral(activation: Activation, integrand: Callable[[Piece], sp.Expr], weight: sp.Expr) -> sp.Expr:
    pieces = (p for p in activation.pieces if integrand(p) != 0)
    return sp.Add(*(sp.Integral(integrand(p) * weight, (X, p.lower, p.upper)) for p in pieces))
