"""Maps of one input, Z ~ N(0, 1) and q > 0 the variance of its pre-activations.

Sources: Poole et al. 2016 (variance map), Schoenholz et al. 2017 (chi_1), Price et al. 2024 (sparsity).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any

import sympy as sp

from gpsym.activation import Activation, common
from gpsym.formula import SIGMA_B2, SIGMA_W2, Formula, Q, X
from gpsym.gaussian import expectation
from gpsym.limits import ORDER, shown
from gpsym.piecewise import Piecewise
from gpsym.special import density
from gpsym.stable import stable_expectation

__all__ = [
    "chi_1",
    "curvature",
    "derivative_moment",
    "hermite_coefficient",
    "mean",
    "moment",
    "output_variance",
    "second_moment",
    "slope",
    "sparsity",
    "variance_map",
]


# True is 1 and 3.0 is 3 as a key, but neither is an order.
_cache_by_type = lru_cache(maxsize=None, typed=True)


@_cache_by_type
def moment(activation: Activation, order: int) -> Formula:
    """E[phi(sqrt(q) Z)^order], order >= 0."""
    power = _core(activation) ** _natural("moment", order)
    return Formula(
        name=f"moment_{order}",
        notation=rf"\mu_{{{order}}}(q)",
        meaning=rf"\mathbb{{E}}\left[\phi(\sqrt{{q}}\,Z)^{{{order}}}\right]",
        variables=(Q, *activation.parameters),
        conditions=activation.conditions,
        definition=_integral(power, density(X, Q)),
        expression=expectation(power, Q),
        reference="definition",
        stably=lambda: stable_expectation(power, Q),
        activations=(activation,),
    )


def mean(activation: Activation) -> Formula:
    """E[phi(sqrt(q) Z)]."""
    return moment(activation, 1).renamed("mean")


def second_moment(activation: Activation) -> Formula:
    """E[phi(sqrt(q) Z)^2]."""
    return moment(activation, 2).renamed("second_moment")


@cache
def output_variance(activation: Activation) -> Formula:
    """Var[phi(sqrt(q) Z)] = E phi^2 - (E phi)^2, the variance of the activations."""
    second, first = second_moment(activation), mean(activation)
    return Formula(
        name="output_variance",
        notation="v(q)",
        meaning=r"\mathbb{E}\left[\phi(\sqrt{q}\,Z)^2\right] - \mathbb{E}\left[\phi(\sqrt{q}\,Z)\right]^2",
        variables=second.variables,
        conditions=second.conditions,
        definition=second.definition - first.definition**2,
        expression=second.expression - first.expression**2,
        reference="definition",
        activations=(activation,),
    )


@cache
def variance_map(activation: Activation) -> Formula:
    """V(q) = sigma_w2 E[phi(sqrt(q) Z)^2] + sigma_b2, the variance of a pre-activation one layer on."""
    second = second_moment(activation)
    return Formula(
        name="variance",
        notation="V(q)",
        meaning=r"\sigma_w^2\,\mathbb{E}\left[\phi(\sqrt{q}\,Z)^2\right] + \sigma_b^2",
        variables=(*second.variables, SIGMA_W2, SIGMA_B2),
        conditions=second.conditions,
        definition=SIGMA_W2 * second.definition + SIGMA_B2,
        expression=SIGMA_W2 * second.expression + SIGMA_B2,
        reference="Poole et al. 2016, eq. 3",
        stably=lambda: SIGMA_W2 * second.stable + SIGMA_B2,
        activations=(activation,),
    )


@cache
def slope(activation: Activation) -> Formula:
    """V'(q); equal to chi_1 for all q if phi is continuous and vanishes at every knot at which phi' jumps."""
    return _derivative(activation, "slope", "V'(q)", 1)


@cache
def curvature(activation: Activation) -> Formula:
    """V''(q); its sign at a marginal fixed point (V' = 1) decides from which side it repels."""
    return _derivative(activation, "curvature", "V''(q)", 2)


@cache
def chi_1(activation: Activation) -> Formula:
    """chi_1(q) = sigma_w2 E[phi'(sqrt(q) Z)^2]; 1 at the edge of chaos, infinity if phi jumps."""
    gradient = derivative_moment(activation, 1, 1)
    return Formula(
        name="chi_1",
        notation=r"\chi_1(q)",
        meaning=r"\sigma_w^2\,\mathbb{E}\left[\phi'(\sqrt{q}\,Z)^2\right]",
        variables=(*gradient.variables, SIGMA_W2),
        conditions=gradient.conditions,
        definition=SIGMA_W2 * gradient.definition,
        expression=SIGMA_W2 * gradient.expression,
        reference="Schoenholz et al. 2017, eq. 5",
        stably=lambda: SIGMA_W2 * gradient.stable,
        activations=(activation,),
    )


@_cache_by_type
def derivative_moment(activation: Activation, j: int, k: int) -> Formula:
    """E[phi^(j)(sqrt(q) Z) phi^(k)(sqrt(q) Z)], derivatives with their atoms.

    An atom meets the mean of the one-sided limits of the other factor, so that (f g)' = f' g + f g'.  The square of
    an atom makes the expectation of a square (j = k) infinite.

    Raises ValueError for orders below 0, and for j != k where the product is no distribution.
    """
    f, g = (_core(activation).derivative(_natural("derivative_moment", order)) for order in (j, k))
    infinite = j == k and f.has_atoms
    product = None if infinite else f * g
    return Formula(
        name=f"derivative_moment_{j}_{k}",
        notation=rf"\mu_{{{j},{k}}}(q)",
        meaning=rf"\mathbb{{E}}\left[\phi^{{({j})}}(\sqrt{{q}}\,Z)\,\phi^{{({k})}}(\sqrt{{q}}\,Z)\right]",
        variables=(Q, *activation.parameters),
        conditions=activation.conditions,
        definition=_integral(product, density(X, Q)) if product else sp.oo,
        expression=expectation(product, Q) if product else sp.oo,
        reference="definition",
        stably=lambda: stable_expectation(product, Q) if product else sp.oo,
        activations=(activation,),
    )


@_cache_by_type
def hermite_coefficient(activation: Activation, order: int) -> Formula:
    """E[phi(sqrt(q) Z) h_n(Z)], h_n = He_n / sqrt(n!) the orthonormal Hermite polynomials of Z.

    So E[phi(sqrt(q) X) phi(sqrt(q) Y)] = sum over n of its square times rho^n.  By parts it is
    q^(n/2) E[phi^(n)] / sqrt(n!).
    """
    n = _natural("hermite_coefficient", order)
    core, norm = _core(activation), sp.sqrt(sp.factorial(n))
    polynomial = sp.expand(sp.hermite_prob(n, X / sp.sqrt(Q)) / norm)
    return Formula(
        name=f"hermite_{n}",
        notation=rf"a_{{{n}}}(q)",
        meaning=rf"\mathbb{{E}}\left[\phi(\sqrt{{q}}\,Z)\,\mathrm{{He}}_{{{n}}}(Z)\right] / \sqrt{{{n}!}}",
        variables=(Q, *activation.parameters),
        conditions=activation.conditions,
        definition=_integral(core, density(X, Q), polynomial),
        expression=expectation(core.derivative(n), Q, Q ** sp.Rational(n, 2) / norm),
        reference="O'Donnell 2014, section 11.2",
        stably=lambda: Q ** sp.Rational(n, 2) / norm * stable_expectation(core.derivative(n), Q),
        activations=(activation,),
    )


@cache
def sparsity(activation: Activation) -> Formula:
    """s(q) = P(phi(sqrt(q) Z) = 0), the expected fraction of exact zeros among the activations."""
    core = _core(activation)
    zeros = Piecewise.function(core.ring, core.knots, [() if p else (core.ring.one,) for p in core.pieces])
    return Formula(
        name="sparsity",
        notation="s(q)",
        meaning=r"\mathbb{P}\left[\phi(\sqrt{q}\,Z) = 0\right]",
        variables=(Q, *activation.parameters),
        conditions=activation.conditions,
        definition=_integral(zeros, density(X, Q)),
        expression=expectation(zeros.joined(), Q),
        reference="Price et al. 2024, section 3",
        stably=lambda: stable_expectation(zeros.joined(), Q),
        activations=(activation,),
    )


# (d/dq)^n of the density of N(0, q) at x, divided by the density.
_RATE = X**2 / (2 * Q**2) - 1 / (2 * Q)
_RATES = {1: _RATE, 2: _RATE**2 - X**2 / Q**3 + 1 / (2 * Q**2)}


def _derivative(activation: Activation, name: str, notation: str, order: int) -> Formula:
    """A derivative of the variance map: d/dq E f = E f'' / 2 for f = phi^2, by the heat equation.

    Its definition differentiates the density under the integral.
    """
    square = _core(activation) ** 2
    operator = r"\frac{d}{dq}" if order == 1 else rf"\frac{{d^{order}}}{{dq^{order}}}"
    return Formula(
        name=name,
        notation=notation,
        meaning=rf"\sigma_w^2\,{operator}\,\mathbb{{E}}\left[\phi(\sqrt{{q}}\,Z)^2\right]",
        variables=(Q, *activation.parameters, SIGMA_W2),
        conditions=activation.conditions,
        definition=SIGMA_W2 * _integral(square, density(X, Q), _RATES[order]),
        expression=SIGMA_W2 * expectation(square.derivative(2 * order), Q, sp.Rational(1, 2**order)),
        reference="Price et al. 2024, section 3",
        stably=lambda: SIGMA_W2 * _stable_derivative(square, order),
        activations=(activation,),
    )


def _stable_derivative(f: Piecewise, order: int) -> sp.Expr:
    """(d/dq)^n E f = E[f^(2 n)] / 2^n with all derivatives, but one if f is continuous, moved to the density.

    E[f^(j + k)] = E[f^(j) He_k(Z)] / q^(k/2) by parts: so no atoms are left, whose differences cancel.
    """
    moved = 2 * order - (1 if f.is_continuous else 0)
    polynomial = sp.Poly(sp.hermite_prob(moved, X), X)
    x = Piecewise.function(f.ring, (), ((f.ring.zero, f.ring.one),))
    terms = (
        coefficient * Q ** sp.Rational(moved - n, 2) * stable_expectation(f.derivative(2 * order - moved) * x**n, Q)
        for (n,), coefficient in polynomial.terms()
    )
    return sp.Add(*terms) / (2**order * Q**moved)


def _core(activation: Activation) -> Piecewise:
    return common(activation)[0]


def _natural(name: str, order: Any) -> int:
    if not isinstance(order, int) or isinstance(order, bool) or not 0 <= order <= ORDER:
        raise ValueError(f"{name}: need an order 0, 1, 2, ..., {ORDER}, got {shown(order)}; pass one.")
    return order


def _integral(f: Piecewise, weight: sp.Expr, factor: sp.Expr = sp.S.One) -> sp.Expr:
    """The integral of f(x) factor(x) weight(x), one for each piece, plus what the atoms contribute."""
    return sp.Add(*_integrals(f, weight, factor), *_atoms(f, weight * factor))


def _integrals(f: Piecewise, weight: sp.Expr, factor: sp.Expr) -> Iterable[sp.Expr]:
    ends = (-sp.oo, *(t.as_expr() for t in f.knots), sp.oo)
    for lower, upper, piece in zip(ends, ends[1:], f.pieces, strict=False):
        if piece:
            polynomial = sp.Add(*(c.as_expr() * X**n for n, c in enumerate(piece)))
            yield sp.Integral(polynomial * factor * weight, (X, lower, upper))


def _atoms(f: Piecewise, weight: sp.Expr) -> Iterable[sp.Expr]:
    """The integral of delta^(n)(x - t) weight(x) is (-1)^n weight^(n)(t)."""
    for knot, atoms in zip(f.knots, f.atoms, strict=True):
        for n, atom in enumerate(atoms):
            if atom:
                yield (-1) ** n * atom.as_expr() * sp.diff(weight, X, n).subs(X, knot.as_expr())
