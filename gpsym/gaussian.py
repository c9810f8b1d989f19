"""Gaussian expectations of piecewise polynomials and their derivatives, in closed form; knows no networks.

X and Y are standard normal with correlation rho, p is their density, and r_n is the ramp of `gpsym.piecewise`, for
which r_n' = r_(n-1) and x r_(n-1)(x) = n r_n(x) whatever the integer n.  So, by parts (E[X g] = E[g_x] + rho E[g_y]),

    T_n(h)     = E[r_n(X - h)]             n T_n  = T_(n-2) - h T_(n-1)
    T_ij(h, k) = E[r_i(X - h) r_j(Y - k)]  i T_ij = T_(i-2)j + rho T_(i-1)(j-1) - h T_(i-1)j

and the same with the roles of i and j exchanged.  Solved for the highest or the lowest order, this leads from any
orders to T_0(h) = P(X > h), T_(-1)(h) = p(h), and to the four generators of two variables:

    T_00 = P(X > h, Y > k), the bivariate tail, the only one that is not elementary;
    T_(-1)0 = p(h) P(Y > k given X = h),   T_0(-1) = p(k) P(X > h given Y = k),   T_(-1)(-1), the joint density.

The coefficients are polynomials in one ring until the very end.  k knots cost O(k) ring operations for one variable
and O(k^2) for two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import gcd, lcm
from typing import Any

import sympy as sp

from gpsym.limits import length, spend
from gpsym.piecewise import Element, Piecewise, ring_of
from gpsym.special import BivariateTail, combined, density, joint_density, ramp_moments, tail

__all__ = ["expectation", "pair_expectation"]


def expectation(f: Piecewise, variance: sp.Expr, factor: sp.Expr = sp.S.One) -> sp.Expr:
    """factor E[f(sqrt(variance) X)], atoms included."""
    polynomial, ramps = f.ramps
    total = _Total(f.ring, (variance,))
    (a,), powers = total.inverses, _powers(0)
    for n, coefficient in enumerate(polynomial):
        total.add((n,), coefficient, (_ONE,), (powers(n, 0),))
    for _, knot, n, weight in ramps:
        total.add((n,), weight, _marginal(0, knot), ramp_moments(knot * a)(n))
    total.use_erf()
    return total.expression(factor)


def pair_expectation(
    f: Piecewise, g: Piecewise, variances: tuple[sp.Expr, sp.Expr], rho: sp.Expr, factor: sp.Expr = sp.S.One
) -> sp.Expr:
    """factor E[f(U) g(V)], atoms included, for centred normal U, V of these variances and correlation rho.

    At rho = -1 and 1 it is the limit.
    Raises ValueError where that is infinite or depends on an order of knots that is not known.
    """
    if rho == 0:
        return factor * expectation(f, variances[0]) * expectation(g, variances[1])
    ends = rho in (-1, 1)
    if ends and variances[0] == variances[1]:
        g_of_u = g if rho == 1 else g.mirrored()
        if singular := f.singular_product(g_of_u):
            return factor * singular
        if f.has_order_with(g_of_u):
            return expectation(f * g_of_u, variances[0], factor)
    (p, f_ramps), (r, g_ramps) = f.ramps, g.ramps
    total = _Total(f.ring, variances, rho)
    (a, b), powers = total.inverses, _powers(total.rho)
    for i, c in enumerate(p):
        for j, d in enumerate(r):
            total.add((i, j), c * d, (_ONE,), (powers(i, j),))
        for side, s, j, d in g_ramps:
            total.add((i, j), c * d, _marginal(1, s), _mixed_moments(s * b, side * total.rho)(i, j))
    for side, t, i, c in f_ramps:
        for j, d in enumerate(r):
            total.add((i, j), c * d, _marginal(0, t), _mixed_moments(t * a, side * total.rho)(j, i))
        for g_side, s, j, d in g_ramps:
            sign = side * g_side
            if ends:
                overlap = _overlap((t, i), (s, j), variances, sign * rho)
                total.rest += (c * d).as_expr() * overlap
                continue
            moments = _pair_moments(t * a, s * b, sign * total.rho, total.w)
            total.add((i, j), c * d, _joint(t, s, sign), moments(i, j))
    return total.expression(factor)


def _overlap(
    left: tuple[Element, int], right: tuple[Element, int], variances: tuple[sp.Expr, sp.Expr], sign: Any
) -> sp.Expr:
    """E[r_i(sqrt(q1) Z - t) r_j(sign sqrt(q2) Z - s)]: a polynomial on the half line or interval where both rise."""
    (t, i), (s, j) = left, right
    if i < 0 or j < 0:
        raise ValueError(
            "pair_expectation: need equal variances and knots in a known order for the limit of derivatives with atoms "
            f"at rho = -1 and 1, got variances {variances[0]} and {variances[1]}; pass such, or rho inside (-1, 1)."
        )
    ratio = sp.sqrt(variances[1]) / sp.sqrt(variances[0])
    end = sign * s.as_expr() / ratio
    last = sp.Max(t.as_expr(), end)
    ring, (slope, low, other, cut) = ring_of([sign * ratio, t.as_expr(), s.as_expr(), last])
    rising, other_rising = (Piecewise.function(ring, (), (line,)) for line in ((-low, ring.one), (-other, slope)))
    (piece,) = (rising**i * other_rising**j).pieces
    zero: tuple = ()
    knots, pieces = ((cut,), (zero, piece)) if sign == 1 else ((low, cut), (zero, piece, zero))
    return expectation(Piecewise.function(ring, knots, pieces), variances[0]) / (sp.factorial(i) * sp.factorial(j))


# The recursions.  Each gives coefficients, one for each generator.


def _powers(rho: Any) -> Callable[[int, int], Any]:
    """(n, m) -> E[X^n Y^m]."""

    @cache
    def moment(n: int, m: int) -> Any:
        if n == 0:
            return int(sp.factorial2(m - 1)) if m % 2 == 0 else 0
        lower = (n - 1) * moment(n - 2, m) if n > 1 else 0
        return lower + (m * rho * moment(n - 1, m - 1) if m else 0)

    return moment


def _mixed_moments(k: Element, rho: Element) -> Callable[[int, int], tuple]:
    """(n, j) -> E[X^n r_j(Y - k)] in terms of P(Y > k) and p(k)."""
    t = ramp_moments(k)

    @cache
    def m(n: int, j: int) -> tuple:
        if n == 0:
            return t(j)
        lower = ((n - 1, m(n - 2, j)),) if n > 1 else ()
        return combined((rho, m(n - 1, j - 1)), *lower)

    return m


def _pair_moments(h: Element, k: Element, rho: Element, w: Element) -> Callable[[int, int], tuple]:
    """(i, j) -> T_ij(h, k) in terms of the four generators of the module's docstring; w = 1 / (1 - rho^2)."""
    generators = {(0, 0): (1, 0, 0, 0), (-1, 0): (0, 1, 0, 0), (0, -1): (0, 0, 1, 0), (-1, -1): (0, 0, 0, 1)}

    @cache
    def t(i: int, j: int) -> tuple:
        if (i, j) in generators:
            return generators[i, j]
        if i > 0:
            c = sp.QQ(1, i)
            return combined((c, t(i - 2, j)), (c * rho, t(i - 1, j - 1)), (-c * h, t(i - 1, j)))
        if j > 0:
            c = sp.QQ(1, j)
            return combined((c, t(i, j - 2)), (c * rho, t(i - 1, j - 1)), (-c * k, t(i, j - 1)))
        if i < -1:
            return combined((i + 2, t(i + 2, j)), (h, t(i + 1, j)), (-rho, t(i + 1, j - 1)))
        if i == 0:
            return combined((j + 2, t(i, j + 2)), (k, t(i, j + 1)), (-rho, t(i - 1, j + 1)))
        return combined((w * (j + 2), t(i, j + 2)), (w * (k - rho * h), t(i, j + 1)))

    return t


_GENERATOR = 200  # steps that a generator and its printing cost
_FACTORED = 200  # terms up to which a coefficient is factored
_FACTOR = 5  # steps for each of its terms

# The generators as expressions of the standardized knots; a side mirrors the sign of rho.

_ONE: tuple = ("one",)


def _marginal(place: int, knot: Element) -> tuple[tuple, tuple]:
    return ("tail", place, knot), ("density", place, knot)


def _joint(t: Element, s: Element, sign: int) -> tuple[tuple, ...]:
    return tuple((kind, t, s, sign) for kind in ("pair tail", "left", "right", "joint density"))


def _stays(polynomial: Element) -> bool:
    """Whether a coefficient is not to be factored.

    It is one term, or two without common factor of which one has a generator in the first power, as most are; a
    factorization takes a millisecond.  Or it has so many terms that a factorization may take for ever.
    """
    monomials = polynomial.monoms()
    if len(monomials) > _FACTORED:
        return True
    linear = any(1 in exponents for exponents in zip(*monomials, strict=True))
    return len(monomials) == 1 or (
        len(monomials) == 2 and linear and all(0 in exponents for exponents in zip(*monomials, strict=True))
    )


class _Total:
    """A sum of coefficients times generators, collected by generators.

    Coefficients are polynomials in 1 / sqrt(variance), for each variance, in rho and w = 1 / (1 - rho^2), and in
    what the ring was made for.  Each summand is given per power of the standard deviations, its orders.
    """

    def __init__(self, ring: Any, variances: tuple[sp.Expr, ...], rho: sp.Expr = sp.S.Zero):
        self._ring = ring
        self.inverses, self.rho, self.w = ring.gens[: len(variances)], ring.gens[2], ring.gens[3]
        self._variances = variances
        self._deviations = [sp.sqrt(v) for v in variances]
        self._rho = rho
        self.rest: sp.Expr = sp.S.Zero  # what was found in another way
        self._sums: dict[tuple, dict[tuple[int, ...], Any]] = {}

    def add(self, orders: tuple[int, ...], weight: Element, generators: tuple[tuple, ...], coefficients: tuple) -> None:
        """Add weight * (product of deviations^orders) * (sum of coefficients * generators)."""
        for generator, coefficient in zip(generators, coefficients, strict=True):
            terms = self._sums.setdefault(generator, {})
            spend(length(weight) * length(coefficient))
            for monomial, number in self._ring(weight * coefficient).terms():
                powers = tuple(n - m for n, m in zip(orders, monomial, strict=False))
                key = (*powers, *monomial[len(orders) :])
                terms[key] = terms.get(key, 0) + number

    def expression(self, factor: sp.Expr) -> sp.Expr:
        """The sum times a factor, with each coefficient factored."""
        # One product each, as SymPy would expand a number times a sum.
        spend(_GENERATOR * len(self._sums) + sum(map(len, self._sums.values())))
        products = (
            sp.Mul(factor, *self._factors(terms), *sp.Mul.make_args(self._generator(*generator)))
            for generator, terms in self._sums.items()
        )
        return sp.Add(factor * self.rest, *products)

    def use_erf(self) -> None:
        """Write erfc as 1 - erf if no constant is left then, as in P(abs(X) < h)."""
        constant: dict[tuple[int, ...], Any] = {}
        tails = {g: terms for g, terms in self._sums.items() if g[0] == "tail"}
        for terms, share in ((self._sums.get(_ONE, {}), 1), *((terms, sp.QQ(1, 2)) for terms in tails.values())):
            for monomial, number in terms.items():
                constant[monomial] = constant.get(monomial, 0) + share * number
        if _ONE in self._sums and not any(constant.values()):
            del self._sums[_ONE]
            for (_, *at), terms in tails.items():
                self._sums["centre", *at] = {monomial: -number for monomial, number in terms.items()}
                del self._sums["tail", *at]

    def _factors(self, terms: dict[tuple[int, ...], Any]) -> list[sp.Expr]:
        terms = {monomial: number for monomial, number in terms.items() if number}
        if not terms:
            return [sp.S.Zero]
        symbols = [*self._ring.symbols[:2], self._rho, sp.S.One, *self._ring.symbols[4:]]
        factors = []
        for i, (variance, deviation) in enumerate(zip(self._variances, self._deviations, strict=True)):
            least = min(monomial[i] for monomial in terms)
            step = 2 if all((monomial[i] - least) % 2 == 0 for monomial in terms) else 1
            factors.append(deviation**least)
            symbols[i] = deviation if step == 1 else variance
            terms = {(*m[:i], (m[i] - least) // step, *m[i + 1 :]): number for m, number in terms.items()}
        content = sp.QQ(gcd(*(c.numerator for c in terms.values())), lcm(*(c.denominator for c in terms.values())))
        polynomial, power = self._over_s2(self._ring.from_dict({m: c / content for m, c in terms.items()}))
        spend(_FACTOR * len(polynomial))
        number, parts = (1, [(polynomial, 1)]) if _stays(polynomial) else polynomial.factor_list()
        factors += [part.as_expr(*symbols) ** exponent for part, exponent in parts]
        return [sp.sympify(content * number), (1 - self._rho**2) ** power, *factors]

    def _over_s2(self, polynomial: Element) -> tuple[Element, int]:
        """The polynomial without w = 1 / (1 - rho^2), and the power of 1 - rho^2 to multiply it with."""
        s2 = 1 - self.rho**2
        power = -polynomial.degree(self.w)
        if power:
            parts = ((m[3], self._ring.from_dict({(*m[:3], 0, *m[4:]): c})) for m, c in polynomial.terms())
            polynomial = sum((part * s2 ** (-power - n) for n, part in parts), start=self._ring.zero)
        while polynomial.degree(self.rho) >= 2 and not polynomial.rem([s2]):
            polynomial, power = polynomial.quo([s2])[0], power + 1
        return polynomial, power

    def _generator(self, kind: str, *at: Any) -> Any:
        if kind == "one":
            return sp.S.One
        if kind in ("tail", "density", "centre"):
            place, knot = at
            h = knot.as_expr() / self._deviations[place]
            return tail(h) if kind == "tail" else density(h) if kind == "density" else sp.erf(h / sp.sqrt(2)) / 2
        t, s, sign = at
        (x, y), (d1, d2), rho = (t.as_expr(), s.as_expr()), self._deviations, sign * self._rho
        if kind == "pair tail":
            return BivariateTail(x / d1, y / d2, rho)
        if kind == "joint density":
            return d1 * d2 * joint_density(x, y, rho, (d1**2, d2**2))
        (x, d1), (y, d2) = ((x, d1), (y, d2)) if kind == "left" else ((y, d2), (x, d1))
        beyond = (d1 * y - d2 * rho * x) / (d1 * d2) if d1 != d2 else (y - rho * x) / d1
        return density(x / d1) * tail(beyond / sp.sqrt(1 - rho**2))
