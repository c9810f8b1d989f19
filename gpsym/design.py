"""From a wish (sparsity, variance, slope) to an initialization at the edge of chaos.

At the edge of chaos the target variance q* is a fixed point of the variance map and gradients keep their
size, V(q*) = q* and chi_1(q*) = 1, which fixes the two variances once phi is known:

    sigma_w2 = 1 / E[phi'(sqrt(q*) Z)^2],   sigma_b2 = q* - sigma_w2 E[phi(sqrt(q*) Z)^2].

tau is the threshold at which P(phi = 0) is the wanted sparsity, and m the clip level at which V'(q*) is the
wanted slope: V'(q*) grows strictly from 0 to 1 with m, so there is exactly one.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mpmath
import sympy as sp

from gpsym import maps
from gpsym.activation import MEMBERS, Activation, member
from gpsym.formula import SIGMA_W2, TAU, Formula, M, Q, exact, require
from gpsym.numeric import precise

__all__ = ["CriticalInit", "edge_of_chaos"]


@dataclass(frozen=True)
class CriticalInit:
    """An activation with the weight and bias variances that put it at the edge of chaos at variance q_star.

    phi         the activation, with numbers for its knots.
    tau, m      threshold and clip level; None where the activation has none.
    sigma_w2    weight variance times fan-in.
    sigma_b2    bias variance.
    q_star      fixed point of the variance map: the pre-activation variance of every hidden layer.
    sparsity    P(phi(sqrt(q_star) Z) = 0), the expected fraction of zeros in every hidden layer.
    slope       V'(q_star); below 1 the variance returns to q_star after a perturbation.
    curvature   V''(q_star).
    chi_1       mean squared singular value of a layer's Jacobian, 1 at the edge of chaos.
    """

    phi: Activation
    tau: float | None
    m: float | None
    sigma_w2: float
    sigma_b2: float
    q_star: float
    sparsity: float
    slope: float
    curvature: float
    chi_1: float

    @property
    def activation(self) -> str:
        """Name of the activation."""
        return self.phi.name

    def to_dict(self) -> dict[str, Any]:
        """The design as plain JSON types; an activation that is no named member is written out in pieces."""
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "phi"}
        parts = ("knots", "slopes", "intercepts")
        pieces = {} if self.activation in MEMBERS else {p: [str(n) for n in getattr(self.phi, p)] for p in parts}
        return {"activation": self.activation, **numbers, **pieces}

    def to_json(self) -> str:
        """The design as a JSON object; every float64 digit is kept."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CriticalInit:
        """The design that `to_dict` wrote.  Raises ValueError naming a field that is missing or not a number."""
        names = [f.name for f in dataclasses.fields(cls) if f.name != "phi"]
        missing = [n for n in ("activation", *names) if n not in data]
        if missing:
            raise ValueError(f"CriticalInit: need the field {missing[0]!r}, got {', '.join(data)}; add it.")
        for n in names:
            if not (isinstance(data[n], int | float) or (n in ("tau", "m") and data[n] is None)):
                raise ValueError(f"CriticalInit: need a number for {n!r}, got {data[n]!r}; correct it.")
        if "knots" in data:
            phi = Activation(data["knots"], data["slopes"], data["intercepts"], name=data["activation"])
        else:
            phi = member(data["activation"], tau=data["tau"], m=data["m"])
        return cls(phi, **{n: data[n] for n in names})

    @classmethod
    def from_json(cls, text: str) -> CriticalInit:
        """The design that `to_json` wrote."""
        return cls.from_dict(json.loads(text))

    def __str__(self) -> str:
        meanings = {
            "activation": "",
            "tau": "threshold",
            "m": "clip level",
            "sigma_w2": "weight variance x fan-in",
            "sigma_b2": "bias variance",
            "q_star": "pre-activation variance, V(q*) = q*",
            "sparsity": "expected fraction of zeros",
            "slope": "V'(q*), stable below 1",
            "curvature": "V''(q*)",
            "chi_1": "gradient factor per layer",
        }
        cells = [(n, "-" if (v := getattr(self, n)) is None else v, meaning) for n, meaning in meanings.items()]
        shown = [(n, v if isinstance(v, str) else f"{v:.12g}", meaning) for n, v, meaning in cells]
        width = max(len(v) for _, v, _ in shown)
        return "\n".join(f"{n:<10}  {v:<{width}}  {meaning}".rstrip() for n, v, meaning in shown)


def edge_of_chaos(
    activation: str | Activation,
    *,
    sparsity: float | None = None,
    slope: float | None = None,
    q_star: float = 1.0,
    tau: float | None = None,
    m: float | None = None,
) -> CriticalInit:
    """The initialization at the edge of chaos at variance q_star, with all float64 digits correct.

    activation  name of a member, or an `Activation` whose free symbols are among tau and m.
    sparsity    wanted fraction of zeros: [0.5, 1) one-sided, [0, 1) two-sided, 0.5 for ReLU.
    slope       wanted V'(q_star) in (0, 1); for the clipped activations only.
    q_star      pre-activation variance of the hidden layers, > 0.
    tau, m      threshold and clip level, each in place of the wish that it answers to.

    Raises ValueError for a wish out of its range, missing or one too many, and where no edge of chaos exists
    (sigma_b2 would be negative; for tau >= 0 it never is).

    Source: the conditions are those of Price et al. 2024, section 3.

    >>> edge_of_chaos("relu").sigma_w2
    2.0
    """
    family = member(activation) if isinstance(activation, str) else activation
    q = require("edge_of_chaos", {sp.Symbol("q_star", positive=True): q_star}, ()).popitem()[1]
    at_q: dict[Any, Any] = {Q: q}

    zeros = maps.sparsity(family).expression.subs(at_q)
    least = zeros.subs(TAU, 0)
    family, tau = _settle(family, TAU, tau, "sparsity", sparsity, zeros, f"[{float(least):g}, 1)", float(least))

    # V'(q*) at the edge of chaos: sigma_w2 cancels.
    slopes = (maps.slope(family).expression / maps.chi_1(family).expression).subs(at_q)
    family, m = _settle(family, M, m, "slope", slope, slopes, "(0, 1)", None)

    if family.parameters:
        raise ValueError(f"edge_of_chaos: need numbers for {', '.join(map(str, family.parameters))}; use subs first.")
    return _critical(family, tau, m, q)


def _settle(
    phi: Activation,
    symbol: sp.Symbol,
    given: float | None,
    wish: str,
    wanted: float | None,
    reached: sp.Expr,
    allowed: str,
    least: float | None,
) -> tuple[Activation, float | None]:
    """phi with its tau (its m) fixed, and that number: the one given, or the one at which the wish comes true.

    reached  the wished quantity as an increasing expression in the symbol, from `least` at 0 (attained unless
             None, which stands for an open end at 0) to 1.
    allowed  that range in words.
    """
    if wanted is not None and not (0 < wanted < 1 if least is None else least <= wanted < 1):
        raise ValueError(f"edge_of_chaos: need {wish} in {allowed} for {phi.name}, got {wanted}; choose one in it.")
    if symbol not in phi.parameters:
        if given is not None:
            raise ValueError(f"edge_of_chaos: {phi.name} has no {symbol}, got {symbol} = {given}; leave it out.")
        if wanted is not None and reached != exact(wanted):
            raise ValueError(
                f"edge_of_chaos: need no {wish} for {phi.name}, where it is always {reached}, got {wanted}; "
                f"leave it out, or choose an activation with {symbol}."
            )
        return phi, None
    if (given is None) == (wanted is None):
        came = "neither" if given is None else "both"
        raise ValueError(f"edge_of_chaos: need one of {wish} {allowed} and {symbol} for {phi.name}, got {came}; "
                         "pass one.")  # fmt: skip
    if given is not None:
        value = float(given)
    else:
        value = 0.0 if wanted == least else _increasing_root(reached - exact(wanted), symbol)
    return phi.subs({symbol: value}), value


def _increasing_root(expression: sp.Expr, symbol: sp.Symbol) -> float:
    """The float64 nearest to the root on (0, oo) of an expression that increases in its only symbol."""

    from scipy.optimize import brentq  # costs as much as the rest of gpsym to import

    def f(x: float) -> float:
        return float(precise(expression, {symbol: x}))  # its sign and its first 17 digits are exact

    low = high = 1.0
    while f(high) < 0:
        low, high = high, 2 * high
    while f(low) > 0:
        low, high = low / 2, low
    # Brent's method ends within a few units in the last place; exact signs tell which are the two neighbours.
    ends: dict[str, Any] = {"xtol": 1e-300, "rtol": 1e-15, "maxiter": 1000}
    below: Any = brentq(f, low, high, **ends)
    while f(below) > 0:
        below = math.nextafter(below, 0)
    while f(above := math.nextafter(below, math.inf)) <= 0:
        below = above
    return min(below, above, key=lambda x: abs(f(x)))


def _critical(phi: Activation, tau: float | None, m: float | None, q: sp.Expr) -> CriticalInit:
    """The design for an activation without free symbols: sigma_w2 and sigma_b2, and what they lead to."""
    at_q: dict[Any, Any] = {Q: q}
    gradient = maps.chi_1(phi).expression / SIGMA_W2  # E phi'^2
    if gradient.subs(at_q) == 0:
        raise ValueError(f"edge_of_chaos: need phi' not 0 everywhere, got {phi.name}; a constant has no chi_1 = 1.")
    variance = Q - maps.second_moment(phi).expression / gradient
    sigma_b2 = precise(variance, at_q)
    if sigma_b2 < 0:
        raise ValueError(
            f"edge_of_chaos: need sigma_b2 >= 0, got {mpmath.nstr(sigma_b2, 6)} for {phi.name}"
            f"{'' if tau is None else f' with tau = {tau}'}: no edge of chaos exists; the named activations have one "
            "for every tau >= 0."
        )

    def at_edge(quantity: Callable[[Activation], Formula]) -> float:
        return float(precise(quantity(phi).expression.subs(SIGMA_W2, 1 / gradient), at_q))

    return CriticalInit(
        phi=phi,
        tau=tau,
        m=m,
        sigma_w2=float(precise(1 / gradient, at_q)),
        sigma_b2=float(sigma_b2),
        q_star=float(q),
        sparsity=at_edge(maps.sparsity),
        slope=at_edge(maps.slope),
        curvature=at_edge(maps.curvature),
        chi_1=at_edge(maps.chi_1),
    )
