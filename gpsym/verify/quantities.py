"""What each quantity means: the expectations that define it, by the quantity's name.

Z is standard normal, U = sqrt(q) Z a pre-activation, (U, V) those of two inputs with variances q1, q2 and correlation
rho.  Derivatives in q and rho are taken of the density, under the integral: (d/dq)^n of the density of N(0, q) is
He_(2n)(Z) / (2 q)^n times the density.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp
from flint import arb, fmpq

from gpsym.formula import ALPHA, Q1, Q2, RHO, SIGMA_B2, SIGMA_W2, THETA, Formula, Q
from gpsym.verify.pairs import joint_expectation
from gpsym.verify.quadrature import expectation, hermite, product_expectation
from gpsym.verify.shapes import Point, Shape, fraction, horner, lost, shape_at
from gpsym.verify.values import INFINITE, Excluded, Unknown, Value, power

__all__ = ["meaning"]


@dataclass(frozen=True)
class _Layer:
    """A layer at one point: expectations over its pre-activations; `psi` is the second activation of a pair."""

    phi: Shape
    psi: Shape
    point: Point
    rho: sp.Expr | None
    lost: frozenset[str]  # what phi has for nearly all parameters and not at this point

    def number(self, symbol: sp.Symbol) -> fmpq:
        """The value of a symbol; sigma_w2 is 1 where the quantity does not depend on it."""
        return fraction(self.point.get(symbol, sp.S.One), {})

    @property
    def w(self) -> arb:
        return arb(self.number(SIGMA_W2))

    @property
    def b(self) -> arb:
        return arb(self.number(SIGMA_B2))

    @property
    def q(self) -> arb:
        return arb(self.number(Q))

    @property
    def variances(self) -> tuple[fmpq, fmpq]:
        """(q1, q2), or (q, q)."""
        first, second = (Q1, Q2) if Q1 in self.point else (Q, Q)
        return self.number(first), self.number(second)

    @property
    def root(self) -> arb:
        """sqrt(q1 q2)."""
        q1, q2 = self.variances
        return arb(q1).sqrt() * arb(q2).sqrt()

    def of(self, shape: Shape) -> _Layer:
        """The same with this activation in place of both."""
        return replace(self, phi=shape, psi=shape)

    def require(self, *names: str) -> None:
        """Raise Excluded where the quantity is not continuous in the parameters, as one of these is lost."""
        if missing := self.lost.intersection(names):
            raise Excluded(" and ".join(sorted(missing)))

    def power(self, k: int, rate: int = 0) -> Value:
        """(d/dq)^rate E[phi(U)^k]."""
        scale = (2 * self.q) ** rate
        return (
            expectation(self.phi, self.number(Q), lambda p, x, z: power(horner(p, x), k) * hermite(2 * rate, z)) / scale
        )

    def hermite(self, n: int) -> Value:
        """E[phi(U) He_n(Z)] / sqrt(n!)."""
        found = expectation(self.phi, self.number(Q), lambda p, x, z: horner(p, x) * hermite(n, z))
        return found / arb(math.factorial(n)).sqrt()

    def product(self, j: int, k: int) -> Value:
        """E[phi^(j)(U) phi^(k)(U)]."""
        if j and k:  # infinite where phi jumps
            self.require("jumps")
        return product_expectation(self.phi.derivative(j), self.phi.derivative(k), self.number(Q))

    def zeros(self) -> Value:
        """P(phi(U) = 0): phi is 0 on a piece where it is at more places than its degree."""
        self.require("pieces")
        places = [fmpq(n) for n in range(self.phi.degree + 1)]
        indicator = tuple((fmpq(all(horner(p, x) == 0 for x in places)),) for p in self.phi.pieces)
        return expectation(Shape(self.phi.knots, indicator), self.number(Q), lambda p, x, z: horner(p, x))

    def pair(self, n: int) -> Value:
        """E[phi^(n)(U) psi^(n)(V)]."""
        q1, q2 = self.variances
        rho = fraction(self.point.get(RHO, sp.S.One if self.rho is None else self.rho), {})
        if n and abs(rho) == 1:
            self.require("knots", "jumps")
        found = joint_expectation(self.phi, self.psi, q1, q2, rho, n)
        # The natural size of an expectation of a product, which it is far below where both factors are small apart.
        first, second = (
            expectation(f, q, lambda p, x, z: power(horner(p, x), 2)).ball for f, q in ((self.phi, q1), (self.psi, q2))
        )
        return Value(found.ball, found.mass.max((first * second).sqrt() / self.root**n))

    def bends(self) -> Value:
        """sum_k c_k^2 p(t_k / sqrt(q)) / (2 sqrt(pi)), c_k the jump of phi' at t_k; infinite if phi jumps.

        Where knots coincide their jumps add up before they are squared.
        """
        self.require("knots", "jumps")
        atoms = self.phi.derivative(2).atoms
        if any(atom.order for atom in atoms):
            return INFINITE
        terms = [arb(c) ** 2 * (-(arb(t) ** 2) / (2 * self.q)).exp() for t, _, c in atoms]
        value = sum(terms, arb(0)) / (2 * arb.pi() * arb(2).sqrt())
        return Value(value, value)


Rule = Callable[..., Value]

_PLAIN: dict[str, Rule] = {
    "moment_K": _Layer.power,
    "mean": lambda e: e.power(1),
    "second_moment": lambda e: e.power(2),
    "output_variance": lambda e: e.power(2) - e.power(1) * e.power(1),
    "variance": lambda e: e.w * e.power(2) + e.b,
    "slope": lambda e: e.w * e.power(2, rate=1),
    "curvature": lambda e: e.w * e.power(2, rate=2),
    "chi_1": lambda e: e.w * e.product(1, 1),
    "sparsity": _Layer.zeros,
    "hermite_N": _Layer.hermite,
    "derivative_moment_J_K": _Layer.product,
    "correlation_rate": lambda e: e.w * e.bends(),
    "kernel": lambda e: e.pair(0),
    "nngp": lambda e: e.w * e.pair(0) + e.b,
    "ntk": lambda e: e.w * e.pair(0) + e.b + e.w * arb(e.number(THETA)) * e.pair(1),
    "correlation": lambda e: (e.w * e.pair(0) + e.b) / e.root,
    "correlation_slope": lambda e: e.w * e.pair(1),
    "correlation_curvature": lambda e: e.w * e.root * e.pair(2),
}


def _gated(combine: Callable[..., Value]) -> Rule:
    """A rule from those of both factors: of a gated layer psi(u) phi(v), the activations are psi and phi."""
    return lambda e: combine(e, e.of(e.phi), e.of(e.psi))


_GATED: dict[str, Rule] = {
    "variance": _gated(lambda e, f, g: e.w * f.power(2) * g.power(2) + e.b),
    "slope": _gated(lambda e, f, g: e.w * (f.power(2, 1) * g.power(2) + f.power(2) * g.power(2, 1))),
    "curvature": _gated(
        lambda e, f, g: (
            e.w * (f.power(2, 2) * g.power(2) + 2 * f.power(2, 1) * g.power(2, 1) + f.power(2) * g.power(2, 2))
        )
    ),
    "chi_1": _gated(lambda e, f, g: e.w * (f.product(1, 1) * g.power(2) + f.power(2) * g.product(1, 1))),
    "sparsity": _gated(lambda e, f, g: 1 - (1 - f.zeros()) * (1 - g.zeros())),
    "correlation": _gated(lambda e, f, g: (e.w * f.pair(0) * g.pair(0) + e.b) / e.q),
    "correlation_slope": _gated(lambda e, f, g: e.w * (f.pair(1) * g.pair(0) + f.pair(0) * g.pair(1))),
    "correlation_rate": _gated(lambda e, f, g: e.w * (f.bends() * g.power(2) + f.power(2) * g.bends())),
}

_NORMALISED: dict[str, Rule] = {
    name: lambda e, rule=_PLAIN[name]: rule(e) * e.q / _PLAIN["variance"](e).ball for name in ("chi_1", "correlation")
}


def _mixed(rule: Rule, skip: Callable[[_Layer], Any]) -> Rule:
    """(1 - alpha^2) skip + alpha^2 rule, of a residual layer."""

    def mixed(e: _Layer) -> Value:
        share = arb(e.number(ALPHA)) ** 2
        return share * rule(e) + (1 - share) * skip(e)

    return mixed


def _rho(e: _Layer) -> arb:
    return arb(e.number(RHO)) if RHO in e.point else arb(fraction(e.rho, {}))  # type: ignore[arg-type]


_RESIDUAL: dict[str, Rule] = {
    name: _mixed(_PLAIN[name], skip)
    for name, skip in {
        "variance": lambda e: e.q,
        "slope": lambda e: arb(1),
        "curvature": lambda e: arb(0),
        "chi_1": lambda e: arb(1),
        "correlation": _rho,
        "correlation_slope": lambda e: arb(1),
        "correlation_curvature": lambda e: arb(0),
        "correlation_rate": lambda e: arb(0),
    }.items()
}

_RULES: dict[str, Rule] = {
    **_PLAIN,
    **{f"gated_{name}": rule for name, rule in _GATED.items()},
    **{f"normalised_{name}": rule for name, rule in _NORMALISED.items()},
    **{f"residual_{name}": rule for name, rule in _RESIDUAL.items()},
}
_PATTERNS = {re.compile(re.sub(r"_[JKN](?=_|$)", r"_(\\d+)", name)): rule for name, rule in _RULES.items()}


def meaning(formula: Formula, point: Point, rho: sp.Expr | None = None) -> Value:
    """The quantity at the point, from its meaning and its activations, at flint's precision.

    rho  the correlation, of a quantity of two inputs, where the point has none.

    Raises Unknown for a quantity that has no rule here, or no value, and Excluded where its formula does not hold, as
    the activation is of another kind there.
    """
    for pattern, rule in _PATTERNS.items():
        if (match := pattern.fullmatch(formula.name)) and formula.activations:
            shapes = [shape_at(activation, point) for activation in formula.activations]
            missing = frozenset().union(*(lost(activation, point) for activation in formula.activations))
            layer = _Layer(shapes[0], shapes[-1], point, formula.rho if rho is None else rho, missing)
            return rule(layer, *map(int, match.groups()))
    raise Unknown(f"verify has no meaning for {formula.name} of {len(formula.activations)} activations")
