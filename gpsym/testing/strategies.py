"""Hypothesis strategies for activations, designs and variances; imports hypothesis."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from gpsym.activation import Activation
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.members import clipped_relu, shifted_relu

__all__ = ["activations", "clipped_designs", "dead_zones", "piecewise_polynomials", "unclipped_designs", "variances"]

_SMALL = st.fractions(min_value=-4, max_value=4, max_denominator=16)


def variances() -> SearchStrategy[float]:
    """Variances from 1e-3 to 1e3, evenly spread in the logarithm."""
    return st.floats(min_value=-3, max_value=3).map(lambda exponent: 10.0**exponent)


@st.composite
def piecewise_polynomials(draw: st.DrawFn, *, max_knots: int = 6, max_degree: int = 3) -> Activation:
    """Piecewise polynomials with up to max_knots knots, rational and in [-4, 4], and coefficients in [-4, 4].

    As a rule they jump at every knot; some pieces are zero.
    """
    knots = sorted(draw(st.sets(_SMALL, max_size=max_knots)))
    piece = st.lists(_SMALL, max_size=max_degree + 1)
    return Activation(knots, [draw(piece) for _ in range(len(knots) + 1)])


@st.composite
def activations(draw: st.DrawFn, *, max_knots: int = 4, zero_at_knots: bool = False) -> Activation:
    """Continuous piecewise-linear functions with rational knots in [-4, 4] and slopes in [-4, 4].

    zero_at_knots  only functions that vanish at every knot at which their slope jumps, such as ReLU_tau, ST_tau.
    """
    knots = sorted(draw(st.sets(_SMALL, min_size=1, max_size=max_knots)))
    slopes = [draw(_SMALL) for _ in range(len(knots) + 1)]
    height = draw(_SMALL)
    if zero_at_knots:
        # Between two zeros a line is zero; only the two ends are free.
        slopes, height = [slopes[0], *[Fraction(0)] * (len(knots) - 1), slopes[-1]], Fraction(0)
    intercepts = [height - slopes[0] * knots[0]]
    for knot, (left, right) in zip(knots, pairwise(slopes), strict=True):
        intercepts.append(intercepts[-1] + (left - right) * knot)
    return Activation(knots, list(zip(intercepts, slopes, strict=True)))


@st.composite
def dead_zones(draw: st.DrawFn) -> Activation:
    """0 up to a threshold in [0, 4], then linear with a slope in [-4, 4] on each side, then perhaps constant."""
    tau, width = draw(_SMALL.map(abs)), draw(_SMALL.map(abs).filter(bool) | st.none())
    right, left = draw(st.tuples(_SMALL, _SMALL).filter(any))
    side = shifted_relu(tau) if width is None else clipped_relu(tau, width)
    return right * side + left * side.affine(-1)


def unclipped_designs() -> SearchStrategy[CriticalInit]:
    """Shifted ReLU and soft thresholding with tau > 0 at the edge of chaos, zeros up to 1 - 1e-9."""
    return st.builds(
        lambda name, fraction, q: edge_of_chaos(name, sparsity=_least_sparsity(name, fraction), q_star=q),
        st.sampled_from(["shifted-relu", "soft-threshold"]),
        st.floats(min_value=1e-6, max_value=1 - 1e-9),
        variances(),
    )


def clipped_designs() -> SearchStrategy[CriticalInit]:
    """The clipped activations at the edge of chaos, slopes from 1e-6 to 1 - 1e-6; tau is 0 or far above underflow."""
    return st.builds(
        lambda name, fraction, slope, q: edge_of_chaos(
            name, sparsity=_least_sparsity(name, fraction), slope=slope, q_star=q
        ),
        st.sampled_from(["clipped-relu", "clipped-soft-threshold"]),
        st.just(0.0) | st.floats(min_value=1e-100, max_value=1 - 1e-9),
        st.floats(min_value=1e-6, max_value=1 - 1e-6),
        variances(),
    )


def _least_sparsity(name: str, fraction: float) -> float:
    """The sparsity this fraction of the way from the least one, that at tau = 0, to 1."""
    return 0.5 + fraction / 2 if name in ("shifted-relu", "clipped-relu") else fraction
