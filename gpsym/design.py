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
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sympy as sp

from gpsym import maps
from gpsym.activation import Activation
from gpsym.formula import SIGMA_W2, TAU, M, Q, exact, require
from gpsym.limits import shown
from gpsym.members import MEMBERS, member
from gpsym.numeric import precise
from gpsym.schema import json_schema, read_json, require_schema

if TYPE_CHECKING:
    from gpsym.automatic import Demand

__all__ = ["CriticalInit", "DesignWarning", "Stability", "edge_of_chaos"]

# A slope well below 1, for advice.
_SAFE_SLOPE = 0.7


class DesignWarning(UserWarning):
    """A design was made as it was asked for, and random networks with it fail more often than the risk."""


class Stability(StrEnum):
    """What iterates of the variance map do next to q_star; `meaning` says it in words."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Stability:
        member = str.__new__(cls, value)
        member._value_, member.meaning = value, meaning
        return member

    STABLE = "stable", "variances near q* return to it"
    MARGINAL = "marginal", "variances near q* stay where they are"
    UNSTABLE_FROM_ABOVE = "unstable from above", "variances above q* move away from it"
    UNSTABLE_FROM_BELOW = "unstable from below", "variances below q* move away from it"
    UNSTABLE = "unstable", "variances on both sides of q* move away from it"


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

    @property
    def is_member(self) -> bool:
        """Whether the activation is the named member with this tau and m, not only of its name."""
        if self.activation not in MEMBERS:
            return False
        symbols = {str(symbol) for symbol in MEMBERS[self.activation]().parameters}
        given = {name for name in ("tau", "m") if getattr(self, name) is not None}
        return symbols == given and member(self.activation, tau=self.tau, m=self.m) == self.phi

    @property
    def stability(self) -> Stability:
        """What V' and V'' at q_star, correct to float64, say of variances next to it, to second order.

        At a fixed point V' >= -1/2, so that it attracts where V' < 1 and repels where V' > 1.  Where V' = 1 it
        repels from above if V'' > 0 (Price et al. 2024, for the unclipped activations), and from below if V'' < 0.
        """
        if self.slope != 1:
            return Stability.STABLE if self.slope < 1 else Stability.UNSTABLE
        if self.curvature == 0:
            return Stability.MARGINAL
        return Stability.UNSTABLE_FROM_ABOVE if self.curvature > 0 else Stability.UNSTABLE_FROM_BELOW

    @property
    def instability(self) -> str | None:
        """A sentence that says how q_star is unstable, and which stable design is near; None where it is not."""
        if self.stability in (Stability.STABLE, Stability.MARGINAL):
            return None
        clipped = "clipped-soft-threshold" if self.phi.pieces[0] or self.sparsity < 1 / 2 else "clipped-relu"
        zeros = f"sparsity {self.sparsity:.6g}" if self.tau is None else f"tau {self.tau:.6g}"
        return (
            f"edge_of_chaos: need V'(q*) < 1 for a stable q*, got V' = {self.slope:.4g} and V'' = "
            f"{self.curvature:.4g} for {self.activation}: {self.stability.meaning}; clip it, as {clipped} does with "
            f"{zeros} and slope {_SAFE_SLOPE}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The design as plain JSON types; an activation that is no named member is written out in pieces."""
        numbers = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "phi"}
        if self.is_member:
            return {"activation": self.activation, **numbers}
        pieces = [[str(c) for c in piece] for piece in self.phi.pieces]
        return {"activation": self.activation, **numbers, "knots": list(map(str, self.phi.knots)), "pieces": pieces}

    def to_json(self) -> str:
        """The design as a JSON object; every float64 digit is kept."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CriticalInit:
        """The design that `to_dict` wrote.

        Raises ValueError that names the field where the data do not meet `gpsym.schema.json_schema`, or are no
        activation.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"CriticalInit: need a JSON object, got {shown(data, repr)}; pass what to_dict writes.")
        require_schema("CriticalInit", dict(data), json_schema())
        numbers = {f.name: data[f.name] for f in dataclasses.fields(cls) if f.name != "phi"}
        if "knots" in data:
            phi = Activation(data["knots"], data["pieces"], name=data["activation"])
        else:
            phi = member(data["activation"], tau=data["tau"], m=data["m"])
        if phi.parameters:
            raise ValueError(f"CriticalInit: need a number for {phi.parameters[0]}, got none; add it.")
        return cls(phi, **numbers)

    @classmethod
    def from_json(cls, text: str) -> CriticalInit:
        """The design that `to_json` wrote.  Raises ValueError as `from_dict` does, and for what is no JSON."""
        return cls.from_dict(read_json("CriticalInit", text))

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
            "stability": self.stability.meaning,
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
    width: int | None = None,
    depth: int | None = None,
    risk: float | None = None,
    excursion: float | None = None,
) -> CriticalInit:
    """The initialization at the edge of chaos at variance q_star, with all float64 digits correct.

    activation  name of a member, or an `Activation` whose free symbols are among tau and m.
    sparsity    wanted fraction of zeros: [0.5, 1) one-sided, [0, 1) two-sided, 0.5 for ReLU.
    slope       wanted V'(q_star) in (0, 1); for the clipped activations only.
    q_star      pre-activation variance of the hidden layers, > 0.
    tau, m      threshold and clip level, each in place of the wish that it answers to.
    width, depth
                units of every layer, and layers after the first hidden one: in place of a slope, the greatest
                multiple of 1/1000 at which random networks of this size fail with probability `risk` at most.
    risk        in (0, 1); 0.01 if left out.
    excursion   multiple of q_star, > 1, that no variance may exceed; 2 if left out.

    A network fails if a variance of one of `depth` layers exceeds excursion x q_star or the basin of q_star, or if its
    gradient is exactly 0 (`gpsym.finite_width`).  Where the slope is not left to the risk, because slope or m is given
    or the activation has no clip level, a design whose networks fail more often comes with a `DesignWarning`.

    `CriticalInit.stability` says whether q_star is stable.

    Raises ValueError for a wish out of its range, missing or one too many, for a risk or an excursion without a size,
    where no slope bears the risk, with what would work, and where no edge of chaos exists: phi jumps, so that chi_1 is
    infinite, or sigma_b2 would be negative (for the named activations of Price et al. and tau >= 0 it never is).

    Source: the conditions are those of Price et al. 2024, section 3.

    >>> edge_of_chaos("relu").sigma_w2
    2.0
    """
    family = member(activation) if isinstance(activation, str) else activation
    if not {TAU, M}.issuperset(family.parameters):
        names = ", ".join(str(p) for p in family.parameters if p not in (TAU, M))
        raise ValueError(f"edge_of_chaos: need numbers for {names} of {family.name}, got symbols; use subs first.")
    if jumps := family.jumps():
        knot, jump = jumps[0]
        raise ValueError(
            f"edge_of_chaos: need a continuous activation, got {family.name}, which jumps by {jump} at {knot}: so "
            "chi_1 = infinity for every sigma_w2 > 0; choose a continuous one, such as soft-threshold."
        )
    demand = _demand(width, depth, risk, excursion)
    point = {Q: require("edge_of_chaos", {sp.Symbol("q_star", positive=True): q_star}, ()).popitem()[1]}
    sparsity, slope, tau, m = (
        _number(name, value) for name, value in (("sparsity", sparsity), ("slope", slope), ("tau", tau), ("m", m))
    )

    zeros = maps.sparsity(family).expression
    least = float(precise(zeros.subs(TAU, 0), point))
    tau = _settle(family, point, TAU, tau, _Wish("sparsity", sparsity, least, True, zeros, sp.S.One))

    chosen = demand is not None and slope is None and m is None and M in family.parameters
    if demand is not None and chosen:
        from gpsym.automatic import largest_slope  # rests on designs itself

        slope = largest_slope(family, tau, float(q_star), demand)
    slopes, gradients = maps.slope(family).expression, maps.chi_1(family).expression
    m = _settle(family, point, M, m, _Wish("slope", slope, 0.0, False, slopes / SIGMA_W2, gradients / SIGMA_W2))
    design = _critical(family, point, tau, m)
    if demand is not None and not chosen:
        from gpsym.automatic import shortfall

        if sentence := shortfall(family, design, demand):
            warnings.warn(sentence, DesignWarning, stacklevel=2)
    return design


def _demand(width: int | None, depth: int | None, risk: float | None, excursion: float | None) -> Demand | None:
    """What networks of a size must bear; None without a size."""
    if (width is None) != (depth is None):
        raise ValueError(
            f"edge_of_chaos: need width and depth together, got width = {width} and depth = {depth}; pass both."
        )
    given = {name: value for name, value in (("risk", risk), ("excursion", excursion)) if value is not None}
    if width is not None and depth is not None:
        from gpsym.automatic import Demand

        return Demand(width, depth, **given)
    if given:
        name, value = next(iter(given.items()))
        raise ValueError(
            f"edge_of_chaos: need width and depth with {name}, got {name} = {value} alone; pass all three."
        )
    return None


def _number(name: str, value: Any) -> float | None:
    """The number as a float, if one is given; NaN is one, which no range holds."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return value
    return float(require("edge_of_chaos", {sp.Symbol(name, real=True): value}, ()).popitem()[1])


@dataclass(frozen=True)
class _Wish:
    """A number wanted of quantity / unit, which increases from `least` (if `attained`) to 1 with tau (with m)."""

    name: str
    wanted: float | None
    least: float
    attained: bool
    quantity: sp.Expr
    unit: sp.Expr

    @property
    def range(self) -> str:
        return f"{'[' if self.attained else '('}{self.least:g}, 1)"

    @property
    def in_range(self) -> bool:
        wanted = self.wanted
        return wanted is not None and (self.least < wanted < 1 or (self.attained and wanted == self.least))


def _settle(
    family: Activation, point: dict[Any, Any], symbol: sp.Symbol, given: float | None, wish: _Wish
) -> float | None:
    """tau (or m): the number given, or the one at which the wish comes true; None for a family without.

    The number joins the point, at which everything later is evaluated.
    """
    if symbol not in family.parameters:
        if given is not None:
            raise ValueError(f"edge_of_chaos: {family.name} has no {symbol}, got {symbol} = {given}; leave it out.")
        if wish.wanted is None:
            return None
        always = float(precise(wish.quantity / wish.unit, point))
        if not (wish.in_range and always == wish.wanted):
            raise ValueError(
                f"edge_of_chaos: need no {wish.name} for {family.name}, where it is always {always:g}, "
                f"got {wish.wanted}; leave it out, or choose an activation with {symbol}."
            )
        return None
    if wish.wanted is not None and not wish.in_range:
        raise ValueError(
            f"edge_of_chaos: need {wish.name} in {wish.range} for {family.name}, got {wish.wanted}; choose one in it."
        )
    if (given is None) == (wish.wanted is None):
        raise ValueError(
            f"edge_of_chaos: need one of {wish.name} {wish.range} and {symbol} for {family.name}, "
            f"got {'neither' if given is None else 'both'}; pass one."
        )
    if given is not None:
        value = given
    elif wish.wanted == wish.least:
        value = 0.0
    else:
        value = _increasing_root(wish.quantity / exact(wish.wanted) - wish.unit, symbol, point)
    family.subs({symbol: value})  # raises for a number outside the family's domain
    point[symbol] = exact(value)
    return value


def _increasing_root(expression: sp.Expr, symbol: sp.Symbol, point: dict[Any, Any]) -> float:
    """The float64 nearest to the root on (0, oo) of an expression that increases through zero in the symbol."""
    from scipy.optimize import brentq  # costs as much as the rest of gpsym to import

    def f(x: float) -> float:
        return float(precise(expression, {**point, symbol: x}))  # its sign and its first 17 digits are exact

    low, high = _factor_two_bracket(f, math.sqrt(point[Q]))  # sqrt(q) is the scale of tau and m
    if not low > sys.float_info.min:
        raise ValueError(f"edge_of_chaos: need a wish that a float64 {symbol} can meet, got {symbol} near {low:g}.")
    if f(math.nextafter(high, math.inf)) <= 0:  # all expectations are 0
        raise ValueError(
            "edge_of_chaos: need a threshold that pre-activations pass with a probability within float64, got less; "
            "choose a smaller tau or a larger q_star."
        )
    # Brent's method ends within a few units in the last place; exact signs tell which are the two neighbours.
    steps: dict[str, Any] = {"xtol": 1e-16, "rtol": 1e-15, "maxiter": 1000}
    root: Any = brentq(lambda t: f(low + t * (high - low)), 0, 1, **steps)
    below = low + root * (high - low)
    while f(below) > 0:
        below = math.nextafter(below, 0)
    while f(above := math.nextafter(below, math.inf)) <= 0:
        below = above
    return min(below, above, key=lambda x: abs(f(x)))


def _factor_two_bracket(f: Callable[[float], float], start: float) -> tuple[float, float]:
    """(low, high) with f(low) <= 0 <= f(high), high <= 2 low, for an increasing f; 0 or infinity if there is none."""
    low, high, factor = start, start, 2.0
    while f(high) < 0 and high < sys.float_info.max:
        low, high, factor = high, min(high * factor, sys.float_info.max), factor * factor
    while low > 0 and f(low) > 0:
        low, high, factor = low / factor, low, factor * factor
    while high > 2 * low > 0:
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = (middle, high) if f(middle) < 0 else (low, middle)
    return low, high


def _critical(family: Activation, point: dict[Any, Any], tau: float | None, m: float | None) -> CriticalInit:
    """The design at a point (q*, tau, m): sigma_w2 and sigma_b2, and what they lead to."""
    gradient = maps.chi_1(family).expression / SIGMA_W2  # E phi'^2
    if precise(gradient, point) == 0:
        raise ValueError(
            f"edge_of_chaos: need E phi'^2 > 0, got 0 for {family.name} at q_star = {float(point[Q]):g}; "
            "a function that is constant wherever the signal goes has no chi_1 = 1."
        )
    at_edge = {
        "sigma_w2": 1 / gradient,
        "sigma_b2": Q - maps.second_moment(family).expression / gradient,
        "q_star": Q,
        "sparsity": maps.sparsity(family).expression,
        "slope": maps.slope(family).expression.subs(SIGMA_W2, 1 / gradient),
        "curvature": maps.curvature(family).expression.subs(SIGMA_W2, 1 / gradient),
        "chi_1": sp.S.One,
    }
    numbers = {name: float(precise(expression, point)) for name, expression in at_edge.items()}
    where = f"{family.name}{'' if tau is None else f' with tau = {tau}'}"
    if numbers["sigma_b2"] < 0:
        raise ValueError(
            f"edge_of_chaos: need sigma_b2 >= 0, got {numbers['sigma_b2']:.6g} for {where}: no edge of chaos exists at "
            "this q_star; shifted-relu, soft-threshold and the clipped ones have one for every tau >= 0."
        )
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise ValueError(f"edge_of_chaos: need {name} within float64, got more for {where}; choose a smaller tau.")
    phi = family.subs({symbol: value for symbol, value in ((TAU, tau), (M, m)) if value is not None})
    return CriticalInit(phi=phi, tau=tau, m=m, **numbers)
