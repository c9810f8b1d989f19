"""Normalisation before the activation: h = W phi(z) + b with z = sqrt(q*) h' / rms(h').

RMSNorm with gain sqrt(q*) makes the mean square of z exactly q*, for every input, width and layer before: variance map
z to z is constant, so q* attracts at once, there is no fold, no basin and no escape.  LayerNorm subtracts the mean over
the units first, which tends to 0 as the width grows, because weights have mean 0: in wide networks it is the same.

What is left, with q = q*, h of variance V = sigma_w2 E phi^2 + sigma_b2, and G = q E phi'^2 - E phi^2:

    chi_1  = sigma_w2 q E phi'^2 / V       z to z: the norm divides by V / q, and its projection off h counts 1 / n
    R(rho) = (sigma_w2 E[phi phi] + sigma_b2) / V
    edge of chaos  sigma_b2 / sigma_w2 = G: the ratio alone, any common factor does

so a design at q* of `gpsym.edge_of_chaos` is at the edge of chaos here as well, with the same R and A; sparsity is that
of the design in every layer; and the depth at which inputs become indistinguishable is unchanged.  Slope and clip level
no longer matter to stability.  Without bias chi_1 = 1 + G / E phi^2 > 1 for sparse activations: normalised networks
are then chaotic, and gradients grow.  At finite width the gradient still gains variance in each layer; that part of it
which comes of fluctuations of q is gone.

Not covered: BatchNorm, which couples the inputs of a batch and whose gradients grow at every initialization without
residual branches (Yang et al. 2019); normalisation after the activation; learned gains other than sqrt(q*).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from gpsym import maps
from gpsym.activation import Activation
from gpsym.formula import SIGMA_B2, Formula, Q

__all__ = ["chi_1", "correlation_map"]

_SAME = (Q, Q)


@cache
def chi_1(activation: Activation) -> Formula:
    """chi_1(q) q / V(q), the growth of squared gradients per layer; 1 exactly if sigma_b2 = sigma_w2 G(q)."""
    return _divided(maps.chi_1(activation), maps.variance_map(activation), r"\chi_1(q)\,q / V(q)")


@cache
def correlation_map(activation: Activation) -> Formula:
    """R(rho) = (sigma_w2 E[phi phi] + sigma_b2) / V(q), for two normalised inputs."""
    plain = maps.correlation_map(activation, variances=_SAME)
    return _divided(plain, maps.variance_map(activation), r"K(q, q, \rho) / V(q)")


def _divided(plain: Formula, variance: Formula, meaning: str) -> Formula:
    """plain q / V(q)."""

    def divided(above: Any, below: Any) -> Any:
        return above * Q / below

    def at_rho(rho: Any) -> Any:
        assert plain.at_rho is not None
        return divided(plain.at_rho(rho), variance.expression)

    return Formula(
        name=f"normalised_{plain.name}",
        notation=plain.notation,
        meaning=meaning,
        variables=tuple(dict.fromkeys((*plain.variables, SIGMA_B2))),
        conditions=plain.conditions,
        definition=divided(plain.definition, variance.definition),
        expression=divided(plain.expression, variance.expression),
        reference="gpsym",
        at_rho=at_rho if plain.at_rho else None,
        stably=lambda: divided(plain.stable, variance.stable),
        activations=plain.activations,
    )
