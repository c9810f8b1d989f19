"""Residual layers that keep the variance, h' = sqrt(1 - alpha^2) h + alpha (W phi(h) + b), 0 < alpha <= 1.

The branch is a plain layer, independent of h in a wide network and uncorrelated with it at any width.  So variances and
covariances are mixed with weights 1 - alpha^2 and alpha^2, and each map M of the plain layer becomes

    M_alpha = (1 - alpha^2) M_skip + alpha^2 M,

    V_alpha(q)   = (1 - alpha^2) q + alpha^2 V(q)         V_alpha - q = alpha^2 (V - q): the same fixed points
    V_alpha'     = 1 - alpha^2 (1 - V')                   V_alpha''   = alpha^2 V''
    chi_1,alpha  = 1 - alpha^2 (1 - chi_1)                1 at the edge of chaos, for every alpha
    R_alpha(rho) = (1 - alpha^2) rho + alpha^2 R(rho)     A_alpha     = alpha^2 A

chi_1,alpha is E of the mean squared singular value of the Jacobian sqrt(1 - alpha^2) 1 + alpha W diag(phi'): the cross
term is linear in W.  alpha = 1 is the plain layer.

Fixed points, their number (fold) and, where V increases, their basins are those of V.  Attraction is slower: with
t = alpha^2 L, a perturbation of the variance decays by (1 - alpha^2 (1 - V'))^L -> exp(-(1 - V') t) as alpha -> 0, as
in (1 - V') t / log(1 / V') <= t plain layers, and correlations go as 1 - rho_L ~ (3 / (2 A t))^2: t plain layers to
leading order, 1 / alpha^4 times slower in L.  Depth enters through t alone: alpha^2 = t / L keeps every such effect
as L grows, and the spread of gradients at finite width (`gpsym.layers.fluctuation`).  The activation and the variances
that `gpsym.edge_of_chaos` gives serve for every alpha.

Sources: Yang and Schoenholz 2017 (mean-field theory of residual networks, without mixing: variances grow);
De and Smith 2020 and Hayou et al. 2021 (branches of size 1 / sqrt(L)).  Mixed maps and their rates: gpsym.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import sympy as sp

from gpsym import maps, stability
from gpsym.activation import Activation
from gpsym.formula import ALPHA, RHO, Formula, Q
from gpsym.stability import FixedPoint, WideLayer

__all__ = [
    "QUANTITIES",
    "chi_1",
    "correlation_curvature",
    "correlation_map",
    "correlation_rate",
    "correlation_slope",
    "curvature",
    "fixed_points",
    "mixing",
    "require_alpha",
    "slope",
    "variance_map",
]

_SAME = (Q, Q)  # two inputs at one fixed point


@cache
def variance_map(activation: Activation) -> Formula:
    """V_alpha(q) = (1 - alpha^2) q + alpha^2 V(q)."""
    return _mixed(maps.variance_map(activation), Q, r"V_\alpha(q)")


@cache
def slope(activation: Activation) -> Formula:
    """V_alpha'(q) = 1 - alpha^2 (1 - V'(q))."""
    return _mixed(maps.slope(activation), sp.S.One, r"V_\alpha'(q)")


@cache
def curvature(activation: Activation) -> Formula:
    """V_alpha''(q) = alpha^2 V''(q)."""
    return _mixed(maps.curvature(activation), sp.S.Zero, r"V_\alpha''(q)")


@cache
def chi_1(activation: Activation) -> Formula:
    """chi_1,alpha(q) = 1 - alpha^2 (1 - chi_1(q)), the mean squared singular value of a layer's Jacobian."""
    return _mixed(maps.chi_1(activation), sp.S.One, r"\chi_{1,\alpha}(q)")


@cache
def correlation_map(activation: Activation) -> Formula:
    """R_alpha(rho) = (1 - alpha^2) rho + alpha^2 R(rho), for two inputs at a fixed point q of V."""
    return _mixed(maps.correlation_map(activation, variances=_SAME), RHO, r"R_\alpha(\rho)")


@cache
def correlation_slope(activation: Activation) -> Formula:
    """R_alpha'(rho) = 1 - alpha^2 (1 - R'(rho)), for two inputs at a fixed point q of V."""
    return _mixed(maps.correlation_slope(activation, variances=_SAME), sp.S.One, r"R_\alpha'(\rho)")


@cache
def correlation_curvature(activation: Activation) -> Formula:
    """R_alpha''(rho) = alpha^2 R''(rho), for two inputs at a fixed point q of V."""
    return _mixed(maps.correlation_curvature(activation, variances=_SAME), sp.S.Zero, r"R_\alpha''(\rho)")


@cache
def correlation_rate(activation: Activation) -> Formula:
    """A_alpha = alpha^2 A; at the edge of chaos 1 - rho_l ~ (3 / (2 A_alpha))^2 / l^2."""
    return _mixed(maps.correlation_rate(activation), sp.S.Zero, r"A_\alpha(q)")


# Under the names that `gpsym.maps.derive` has for those of plain layers.
QUANTITIES: dict[str, Callable[[Activation], Formula]] = {
    "variance": variance_map,
    "slope": slope,
    "curvature": curvature,
    "chi_1": chi_1,
    "correlation": correlation_map,
    "correlation_slope": correlation_slope,
    "correlation_curvature": correlation_curvature,
    "correlation_rate": correlation_rate,
}


def fixed_points(layer: WideLayer, alpha: float) -> tuple[FixedPoint, ...]:
    """Those of `gpsym.stability.fixed_points`, at the same variances, with V_alpha' and chi_1,alpha.

    alpha  in (0, 1].

    Kinds stay, as V' >= -1/2 at fixed points.  Raises ValueError as it does, and for other alpha.
    """
    require_alpha("fixed_points", alpha)
    return tuple(
        replace(point, slope=1 - alpha**2 * (1 - point.slope), chi_1=1 - alpha**2 * (1 - point.chi_1))
        for point in stability.fixed_points(layer)
    )


def mixing(depth: int, plain_layers: float) -> float:
    """alpha = sqrt(plain_layers / depth), at which `depth` residual layers act as `plain_layers` plain ones.

    That is alpha^2 L = t: see the module for what this says of variances and correlations, and
    `gpsym.layers.fluctuation` for gradients at finite width.

    depth         number of residual layers, >= 1.
    plain_layers  t, in (0, depth].

    Raises ValueError for others.

    >>> mixing(400, 4)
    0.1
    """
    if not (isinstance(depth, int) and depth >= 1):
        raise ValueError(f"mixing: need a depth 1, 2, 3, ..., got {depth}; pass the number of residual layers.")
    if not 0 < plain_layers <= depth:
        raise ValueError(
            f"mixing: need plain_layers in (0, {depth}], got {plain_layers}; residual layers act as fewer plain ones."
        )
    return math.sqrt(plain_layers / depth)


def require_alpha(name: str, alpha: float) -> None:
    """Raises ValueError that begins with `name` unless 0 < alpha <= 1."""
    if not 0 < alpha <= 1:
        raise ValueError(f"{name}: need alpha in (0, 1], got {alpha}; 1 is a plain layer.")


def _mixed(plain: Formula, skip: sp.Expr, notation: str) -> Formula:
    """(1 - alpha^2) skip + alpha^2 plain, under the name of the plain formula with "residual_" before it."""

    def mixed(expression: Any, skip: Any = skip) -> Any:
        return (1 - ALPHA**2) * skip + ALPHA**2 * expression

    def at_rho(rho: sp.Expr) -> sp.Expr:
        assert plain.at_rho is not None
        return mixed(plain.at_rho(rho), skip.subs(RHO, rho))

    return Formula(
        name=f"residual_{plain.name}",
        notation=notation,
        meaning=rf"(1 - \alpha^2)\,{sp.latex(skip)} + \alpha^2 \left({plain.meaning}\right)",
        variables=(*plain.variables, ALPHA),
        conditions=(*plain.conditions, 1 - ALPHA),
        definition=mixed(plain.definition),
        expression=mixed(plain.expression),
        reference="gpsym",
        at_rho=at_rho if plain.at_rho else None,
        stably=lambda: mixed(plain.stable),
        activations=plain.activations,
    )
