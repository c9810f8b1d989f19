"""Where the variance map of a layer leads: its fixed points, all of them, and from where it returns to the target.

Iterates q, V(q), V(V(q)), ... are the pre-activation variances of the layers of a wide network.  A fixed point
attracts them if |V'| < 1 and repels them if |V'| > 1; gradients keep their size there if chi_1 = 1.

V(q) - q = E[d(sqrt(q) Z)] with d(x) = sigma_w2 (phi(x)^2 + phi(-x)^2) / 2 + sigma_b2 - x^2: so `gpsym.zeros` finds all
fixed points for certain, and there are at most as many, with multiplicity, as d changes sign on x > 0: three for the
clipped activations with tau >= 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any, Literal, NamedTuple, Protocol

import sympy as sp
from flint import ctx

from gpsym import maps
from gpsym.activation import Activation
from gpsym.design import CriticalInit
from gpsym.formula import SIGMA_B2, SIGMA_W2, Q, exact, require
from gpsym.numeric import evaluate
from gpsym.numeric.balls import image
from gpsym.zeros import Even, isolated_zeros, nearest_zero, sign_at

__all__ = ["FixedPoint", "Layer", "WideLayer", "basin", "fixed_points", "gain_margin"]

Kind = Literal["attracting", "marginal", "repelling"]

# A design's own numbers are rounded to float64: so far may its q_star be from a fixed point, relatively.
_ROUNDING = 1e-12


class WideLayer(Protocol):
    """What `fixed_points` needs, such as a `gpsym.CriticalInit` or a `Layer`."""

    @property
    def phi(self) -> Activation: ...

    @property
    def sigma_w2(self) -> float: ...

    @property
    def sigma_b2(self) -> float: ...


@dataclass(frozen=True)
class Layer:
    """An activation with any variances of weights and biases.

    phi       the activation, with numbers for its knots; jumps are allowed.
    sigma_w2  weight variance times fan-in, > 0.
    sigma_b2  bias variance, >= 0.

    Raises ValueError for symbols in phi and for variances out of range.
    """

    phi: Activation
    sigma_w2: float
    sigma_b2: float

    def __post_init__(self) -> None:
        if self.phi.parameters:
            names = ", ".join(map(str, self.phi.parameters))
            raise ValueError(f"Layer: need numbers for {names} of {self.phi.name}, got symbols; use subs first.")
        require("Layer", {SIGMA_W2: self.sigma_w2, SIGMA_B2: self.sigma_b2}, ())


@dataclass(frozen=True)
class FixedPoint:
    """A variance that the variance map keeps, V(q) = q.

    q      the variance, > 0.
    slope  V'(q).
    chi_1  chi_1(q): above 1 inputs decorrelate and gradients grow from layer to layer; infinite where phi jumps.
    kind   "attracting" for |V'(q)| < 1, "repelling" for |V'(q)| > 1, "marginal" for |V'(q)| = 1: then variances
           come back from one side alone, or V is the identity.
    """

    q: float
    slope: float
    chi_1: float
    kind: Kind


def fixed_points(layer: WideLayer) -> tuple[FixedPoint, ...]:
    """All q > 0 with V(q) = q, in increasing order: their number is certain, and each q a float64 next to its root.

    Of a design at the edge of chaos the exact variances are taken, of which sigma_w2 and sigma_b2 are the rounded
    ones, so that q_star is one of the points, exactly and once.
    If V is the identity (ReLU at the edge of chaos) every q is fixed: a design's q_star alone is returned, as marginal.
    q = 0, which is fixed if sigma_b2 = 0 and phi(0) = 0, does not count.

    Raises ValueError where V is the identity of a layer without q_star, and where fixed points are too close to
    tell how many they are (at a fold, closer than 1e-600).
    """
    return tuple(_fixed_point(layer, q, kind) for q, kind in _search(layer)[1])


def basin(design: CriticalInit) -> tuple[float, float | None]:
    """The interval (low, high) from which iterates of the variance map converge to q_star; high None is infinity.

    It ends at the nearest fixed points on both sides, and at q_star itself on a side from which it repels:
    (0, q_star) for the unclipped activations, and (q_star, q_star) for ReLU, which keeps every variance.  The
    ends do not belong to it unless they are q_star.

    Raises ValueError if V decreases somewhere between the ends, and if q_star is no fixed point.
    """
    gap, found = _search(design)
    points = [q for q, _ in found]
    place = next((k for k, q in enumerate(points) if abs(q - design.q_star) <= _ROUNDING * q), None)
    if place is None:
        raise ValueError(f"basin: need a fixed point as q_star, got {design.q_star}; pass one of {points}.")
    low, high = _attracted(gap, points, place)
    # A design's own q_star stands for the point, of which it may be a rounding.
    low = design.q_star if low == points[place] else low
    high = design.q_star if high == points[place] else high
    _require_increasing(design, low, high)
    return low, high


def gain_margin(design: CriticalInit) -> float:
    """The largest factor of all weight variances under which the variance stays on the branch of q_star; may be inf.

    Training changes weights.  With weight variances multiplied by g the fixed points are the q with g = g(q),

        g(q) = (q - sigma_b2) / (V(q) - sigma_b2),    g(q_star) = 1,    g'(q_star) > 0 if V'(q_star) < 1,

    so that q_star moves up as g grows, to where g(q) first turns: there it meets a repelling fixed point, and variances
    jump to another far above, or to infinity.  Where g(q) has no turn there is no jump, and the margin is infinite.
    It is 1 where V'(q_star) >= 1, as for unclipped activations.  Clipped soft thresholding at sparsity 0.85 has an
    infinite margin at a slope of 0.75, 1.068 at 0.8 and 1.013 at 0.9; clipped ReLU an infinite one still at 0.9.

    The turns are zeros of G - (q - sigma_b2) G' for V = sigma_w2 G + sigma_b2, which q makes a Gaussian expectation, as
    q E f'(U) = E U f(U): so `gpsym.zeros` isolates them for certain.
    """
    if not design.slope < 1 - _ROUNDING:
        return 1.0
    turning = _gain_slope(design.phi, _weights(design).sigma_b2)
    turns = isolated_zeros(turning, above=design.q_star)
    if not turns:
        return math.inf
    q = nearest_zero(turning, turns[0])
    return (q - design.sigma_b2) / (design.sigma_w2 * float(evaluate(maps.second_moment(design.phi), {"q": q})))


def _search(layer: WideLayer) -> tuple[Even, list[tuple[float, Kind | int]]]:
    """d of the module's docstring; and the fixed points, each with its kind if marginal, else the sign of V(q) - q left
    of it."""
    weights = _weights(layer)
    gap = _gap(layer.phi, *weights)
    target = layer.q_star if isinstance(layer, CriticalInit) and weights.exact else None
    if gap.vanishes:
        if target is None:
            raise ValueError("fixed_points: need a variance map other than V(q) = q, got one that keeps every q.")
        return gap, [(target, "marginal")]
    found: list[tuple[float, Kind | int]] = []
    for zero in isolated_zeros(gap, target if target and _is_marginal(layer.phi) else None):
        q = target if target and zero.low <= target <= zero.high else nearest_zero(gap, zero)
        found.append((q, "marginal" if zero.double else sign_at(gap, zero.low)))
    return gap, found


class _Weights(NamedTuple):
    """The variances of a layer, exact; and whether they are those of a design rather than given floats."""

    sigma_w2: sp.Expr
    sigma_b2: sp.Expr
    exact: bool = False


def _weights(layer: WideLayer) -> _Weights:
    given = _Weights(exact(layer.sigma_w2), exact(layer.sigma_b2))
    if not isinstance(layer, CriticalInit) or layer.phi.jumps():
        return given
    q = exact(layer.q_star)
    moments = (maps.chi_1(layer.phi), maps.second_moment(layer.phi))
    at_target: list[Any] = [formula.expression.subs({Q: q, SIGMA_W2: 1}) for formula in moments]
    gradient, second = at_target
    edge = _Weights(1 / gradient, q - second / gradient, True)
    with ctx.workprec(2**12):  # sigma_b2 is what is left of q of a tiny tau
        same = all(
            abs(float(image(number, {}).mid()) - rounded) <= 2 * math.ulp(rounded)
            for number, rounded in ((edge.sigma_w2, layer.sigma_w2), (edge.sigma_b2, layer.sigma_b2))
        )
    return edge if same else given


def _even_square(phi: Activation) -> tuple[tuple[sp.Expr, ...], tuple[tuple[sp.Expr, ...], ...]]:
    """Knots and pieces of (phi(x)^2 + phi(-x)^2) / 2 on x > 0."""
    square = phi**2
    mean = (square + square.affine(-1)) * sp.Rational(1, 2)
    return tuple(t for t in mean.knots if t > 0), mean.pieces[sum(bool(t <= 0) for t in mean.knots) :]


def _gap(phi: Activation, sigma_w2: sp.Expr, sigma_b2: sp.Expr, _: bool) -> Even:
    """d with V(q) - q = E[d(sqrt(q) Z)]."""
    knots, pieces = _even_square(phi)
    constant = (sigma_b2, sp.S.Zero, sp.S.NegativeOne)
    return Even(
        knots,
        tuple(
            tuple(sigma_w2 * c + b for c, b in zip_longest(piece, constant, fillvalue=sp.S.Zero)) for piece in pieces
        ),
    )


def _gain_slope(phi: Activation, sigma_b2: sp.Expr) -> Even:
    """d with q (G(q) - (q - sigma_b2) G'(q)) = E[d(sqrt(q) Z)]: S the even part of phi^2, r(x) = x S'(x) / 2,

    d(x) = x int_0^x (S - r) + sigma_b2 r(x).
    """
    knots, squares = _even_square(phi)
    integrals: list[list[sp.Expr]] = []
    for k, piece in enumerate(squares):
        integral = [sp.S.Zero, *(c * sp.Rational(2 - n, 2 * (n + 1)) for n, c in enumerate(piece))]
        if k:  # continued from the piece before
            integral[0] = _value(integrals[-1], knots[k - 1]) - _value(integral, knots[k - 1])
        integrals.append(integral)
    bends = [[sigma_b2 * n * c / 2 for n, c in enumerate(piece)] for piece in squares]
    zero = sp.S.Zero
    return Even(
        knots,
        tuple(
            tuple(a + b for a, b in zip_longest([zero, *integral], bend, fillvalue=zero))
            for integral, bend in zip(integrals, bends, strict=True)
        ),
    )


def _value(coefficients: list[sp.Expr], x: sp.Expr) -> sp.Expr:
    return sum((c * x**n for n, c in enumerate(coefficients)), sp.S.Zero)


def _is_marginal(phi: Activation) -> bool:
    """Whether V' = chi_1 for every q: V' - chi_1 = sigma_w2 E[phi phi''] is 0 exactly."""
    return maps.derivative_moment(phi, 0, 2).expression == 0


def _fixed_point(layer: WideLayer, q: float, kind: Kind | int) -> FixedPoint:
    """kind  or the sign of V(q) - q left of the point: where it is positive V' < 1, and then the point attracts:
    2 q V'(q) = sigma_w2 E[phi(U)^2 (Z^2 - 1)] >= -V(q), so that V' >= -1/2 at fixed points."""
    values = {"q": q, "sigma_w2": layer.sigma_w2, "sigma_b2": layer.sigma_b2}
    slope, chi_1 = (float(evaluate(quantity(layer.phi), values)) for quantity in (maps.slope, maps.chi_1))
    if not isinstance(kind, str):
        kind = "attracting" if kind > 0 else "repelling"
    return FixedPoint(q, slope, chi_1, kind)


def _attracted(gap: Even, points: list[float], place: int) -> tuple[float, float | None]:
    """The ends of the basin of points[place] for an increasing V: on a side from which V brings q nearer, the next."""
    q = points[place]
    below = points[place - 1] if place else 0.0
    above = points[place + 1] if place + 1 < len(points) else None
    if gap.vanishes:
        return q, q
    rises = sign_at(gap, (below + q) / 2) > 0
    falls = sign_at(gap, 2 * q if above is None else (q + above) / 2) < 0
    return below if rises else q, above if falls else q


def _require_increasing(design: CriticalInit, low: float, high: float | None) -> None:
    for start, end in _decreasing(design.phi):
        left, right = max(low, start), min(math.inf if high is None else high, end)
        if left < right:
            raise ValueError(
                "basin: need a variance map that increases between its fixed points, got one that decreases from "
                f"q = {left:.6g} to {right:.6g} for {design.activation}; iterate the map from the variance in question."
            )


def _decreasing(phi: Activation) -> Iterator[tuple[float, float]]:
    """The intervals on which V decreases.  2 q V'(q) / sigma_w2 = E[U S'(U)], S the even part of phi^2."""
    knots, pieces = _even_square(phi)
    slope = Even(knots, tuple(tuple(n * c for n, c in enumerate(piece)) for piece in pieces))
    if slope.vanishes:
        return
    turns = [nearest_zero(slope, zero) for zero in isolated_zeros(slope)]
    for start, end in pairwise((0.0, *turns, math.inf)):
        inside = (start + end) / 2 if math.isfinite(end) else 2 * start or 1.0
        if sign_at(slope, inside) < 0:
            yield start, end
