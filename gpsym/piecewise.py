"""Piecewise polynomials with atoms, exact: the arithmetic beneath activations, their products and derivatives.

A function with jumps has a derivative with atoms: delta(x - t), delta'(x - t), ...  With

    r_n(x) = x^n / n! for x > 0 and 0 for x < 0   (n >= 0),      r_(-1) = delta,   r_(-2) = delta', ...

so that r_n' = r_(n-1) for every integer n, each such function or distribution is a polynomial plus a sum of
ramps, weight * r_n(side x - knot).  Gaussian expectations are computed ramp by ramp (gpsym.gaussian).

Numbers are elements of one polynomial ring over the rationals, which `ring_of` chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from math import comb, factorial
from typing import Any, NamedTuple

import sympy as sp
from sympy.polys.rings import PolyRing, sring

from gpsym.limits import length, spend

__all__ = ["SCALES", "Element", "Outward", "Piecewise", "Polynomial", "Ramp", "merged", "ring_of"]

Element = Any  # of a polynomial ring
Polynomial = tuple[Element, ...]  # coefficients of 1, x, x^2, ...; the last one is not 0

# Generators that every ring has for what Gaussian expectations bring in: the inverses of two standard deviations,
# their correlation rho, and w = 1 / (1 - rho^2).
SCALES: tuple[Any, ...] = sp.symbols("a b rho w", cls=sp.Dummy)


class Ramp(NamedTuple):
    """weight * r_order(side x - knot); side is 1 or -1."""

    side: int
    knot: Element
    order: int
    weight: Element


class Outward(NamedTuple):
    """sum of coefficients[n] s^n for s = side x - start from 0 to width, which may be infinite, and 0 elsewhere."""

    side: int
    start: Element
    width: sp.Expr
    coefficients: Polynomial


def ring_of(expressions: Sequence[sp.Expr]) -> tuple[PolyRing, list[Element]]:
    """A ring that holds the expressions and `SCALES`, and the expressions as its elements.

    Whatever is no polynomial in symbols, such as 1/m or sqrt(2), becomes a generator of its own.
    """
    small, elements = sring([sp.expand(e) for e in expressions]) if expressions else (PolyRing((), sp.QQ), [])
    ring = PolyRing((*SCALES, *small.symbols), sp.QQ)
    return ring, [element.set_ring(ring) for element in elements]


@dataclass(frozen=True)
class Piecewise:
    """pieces[k] between knots[k-1] and knots[k], plus atoms at the knots.

    atoms[k] holds the weights of delta(x - knots[k]), delta'(x - knots[k]), ...  Values at the knots are left open.
    """

    ring: PolyRing
    knots: tuple[Element, ...]
    pieces: tuple[Polynomial, ...]
    atoms: tuple[tuple[Element, ...], ...]

    @classmethod
    def function(cls, ring: PolyRing, knots: Iterable[Element], pieces: Iterable[Iterable[Element]]) -> Piecewise:
        """The function without atoms."""
        knots = tuple(knots)
        return cls(ring, knots, tuple(map(_trimmed, pieces)), ((),) * len(knots))

    @property
    def has_atoms(self) -> bool:
        """Whether it is no function."""
        return any(self.atoms)

    def joined(self) -> Piecewise:
        """The same function without empty pieces and without knots at which nothing changes."""
        ends = (*self.knots, None)
        # An empty piece is dropped in favour of the one right of it, at the same knot.
        kept = [k for k in range(len(self.pieces)) if not 0 < k < len(self.knots) or ends[k] != ends[k - 1]]
        new = [k for place, k in enumerate(kept) if not place or self.pieces[k] != self.pieces[kept[place - 1]]]
        return Piecewise.function(self.ring, [ends[k - 1] for k in new[1:]], [self.pieces[k] for k in new])

    def jump(self, k: int) -> Polynomial:
        """The jumps at knots[k] of the function and of its derivatives, right minus left."""
        difference = _sum(self.pieces[k + 1], _scaled(self.pieces[k], -1))
        jumps = _derivatives(difference, self.knots[k])
        if all(generator.is_Symbol for generator in self.ring.symbols):
            return jumps
        # The ring does not know that m times its generator 1/m is 1.
        return _trimmed(self.ring.zero if _vanishes(jump) else jump for jump in jumps)

    def __add__(self, other: Piecewise) -> Piecewise:
        f, g = _refined(self, other)
        atoms = tuple(_sum(a, b) for a, b in zip(f.atoms, g.atoms, strict=True))
        return replace(f, pieces=tuple(_sum(p, r) for p, r in zip(f.pieces, g.pieces, strict=True)), atoms=atoms)

    def __mul__(self, other: Piecewise) -> Piecewise:
        """The product; an atom takes the mean of the one-sided limits of what it meets (Volpert's product).

        That is the rule with which (f g)' = f' g + f g' holds for functions with jumps.
        Raises ValueError for what has no product: atoms at one place, or delta' times a function that jumps.
        """
        f, g = _refined(self, other)
        atoms = tuple(_sum(_atoms_times(f.atoms[k], g, k), _atoms_times(g.atoms[k], f, k)) for k in range(len(f.knots)))
        return replace(f, pieces=tuple(_product(p, r) for p, r in zip(f.pieces, g.pieces, strict=True)), atoms=atoms)

    @property
    def is_continuous(self) -> bool:
        """Whether it has neither jumps nor atoms."""
        return not self.has_atoms and not any(any(self.jump(k)[:1]) for k in range(len(self.knots)))

    def singular_product(self, other: Piecewise) -> sp.Expr | None:
        """Infinity, with its sign, where the product holds squares of delta at common knots; None where it does not.

        Raises ValueError where the sign is open, or atoms of higher order meet.
        """
        meeting = [
            (f_atoms, other.atoms[other.knots.index(knot)])
            for knot, f_atoms in zip(self.knots, self.atoms, strict=True)
            if f_atoms and knot in other.knots and other.atoms[other.knots.index(knot)]
        ]
        if not meeting:
            return None
        signs = {(f[0] * g[0]).as_expr().is_positive if len(f) == len(g) == 1 else None for f, g in meeting}
        if len(signs) > 1 or None in signs:
            raise ValueError("activation: need atoms whose product has a sign, got atoms at one place; there is none.")
        return sp.oo if signs == {True} else -sp.oo

    def has_order_with(self, other: Piecewise) -> bool:
        """Whether the order of the knots of both is known."""
        try:
            _refined(self, other)
        except ValueError:
            return False
        return True

    def __pow__(self, exponent: int) -> Piecewise:
        result = self.constant(1)
        for _ in range(exponent):
            result = result * self
        return result

    def constant(self, number: Any) -> Piecewise:
        """The constant function over the same ring."""
        return Piecewise.function(self.ring, (), ((self.ring(number),),))

    def composed(self, slope: Element, shift: Element, inverse: Element) -> Piecewise:
        """f(slope x + shift); inverse = 1 / slope, which must be positive."""
        knots = tuple((knot - shift) * inverse for knot in self.knots)
        pieces = tuple(_composed(p, slope, shift) for p in self.pieces)
        atoms = tuple(_trimmed(w * inverse ** (n + 1) for n, w in enumerate(ws)) for ws in self.atoms)
        return replace(self, knots=knots, pieces=pieces, atoms=atoms)

    def mirrored(self) -> Piecewise:
        """f(-x)."""
        pieces = tuple(tuple((-1) ** n * c for n, c in enumerate(p)) for p in reversed(self.pieces))
        atoms = tuple(tuple((-1) ** n * w for n, w in enumerate(ws)) for ws in reversed(self.atoms))
        return replace(self, knots=tuple(-t for t in reversed(self.knots)), pieces=pieces, atoms=atoms)

    def derivative(self, order: int = 1) -> Piecewise:
        """The derivative, with an atom at every jump."""
        if order == 0:
            return self
        pieces = tuple(tuple(n * c for n, c in enumerate(p))[1:] for p in self.pieces)
        atoms = tuple(
            _trimmed((self.jump(k)[:1] or (self.ring.zero,)) + weights) for k, weights in enumerate(self.atoms)
        )
        return replace(self, pieces=pieces, atoms=atoms).derivative(order - 1)

    @cached_property
    def ramps(self) -> tuple[Polynomial, tuple[Ramp, ...]]:
        """(polynomial, ramps) whose sum this is.

        Ramps rise away from zero: those at a knot written with minus signs, as -tau - m, point left.
        """
        middle, ramps = self._middle, []
        for k, knot in enumerate(self.knots):
            side = -1 if k < middle else 1
            weights = {n: side ** (n + 1) * jump for n, jump in enumerate(self.jump(k))}
            weights |= {-1 - n: side**n * weight for n, weight in enumerate(self.atoms[k])}
            ramps += [Ramp(side, side * knot, n, weight) for n, weight in weights.items() if weight]
        return self.pieces[middle], tuple(ramps)

    @property
    def singular_part(self) -> Piecewise:
        """The atoms alone."""
        return replace(self, pieces=((),) * len(self.pieces))

    @cached_property
    def outward(self) -> tuple[Outward, ...]:
        """The pieces that are not zero, in powers of the distance from the end next to zero.

        Pieces left of the knots at which `ramps` rise to the right are mirrored; the one that holds zero is cut there,
        if its ends are known to lie on both sides.
        """
        ends = (None, *self.knots, None)
        parts = []
        for k, piece in enumerate(self.pieces):
            lower, upper = ends[k], ends[k + 1]
            if k == self._middle and _is_sign(lower, -1) and _is_sign(upper, 1):
                parts += [_outward(1, self.ring.zero, upper, piece), _outward(-1, self.ring.zero, lower, piece)]
            elif k < self._middle or lower is None:
                parts.append(_outward(-1, upper, lower, piece))
            else:
                parts.append(_outward(1, lower, upper, piece))
        return tuple(part for part in parts if part.coefficients)

    @property
    def _middle(self) -> int:
        """The index of the piece between the knots that are written with minus signs and the others."""
        return next((k for k, t in enumerate(self.knots) if not _points_left(t)), len(self.knots))


def _is_sign(end: Element | None, sign: int) -> bool:
    """Whether the end of an interval is known to be infinite, zero or of this sign."""
    return end is None or bool((sign * end.as_expr()).is_nonnegative)


def _outward(side: int, start: Element, end: Element | None, piece: Polynomial) -> Outward:
    width = sp.oo if end is None else (side * (end - start)).as_expr()
    return Outward(side, side * start, width, _composed(piece, side, start))


def merged(f: Sequence[Any], g: Sequence[Any], precedes: Callable[[Any, Any], bool]) -> list[Any]:
    """The union of two sequences in increasing order; what both hold serves as a mile post."""
    union: list[Any] = []
    f, g = list(f), list(g)
    while f and g:
        if f[0] == g[0]:
            union.append(f.pop(0))
            g.pop(0)
        else:
            first = f if g[0] in f or (f[0] not in g and precedes(f[0], g[0])) else g
            union.append(first.pop(0))
    return union + f + g


def _precedes(a: Element, b: Element) -> bool:
    gap = (b - a).as_expr()
    if gap.is_nonnegative is None and gap.is_nonpositive is None:
        raise ValueError(
            f"activation: need to know whether {a.as_expr()} or {b.as_expr()} is greater, got no order; "
            f"give the symbols assumptions that decide it, or write one as the other plus a positive symbol."
        )
    return bool(gap.is_nonnegative)


def _refined(f: Piecewise, g: Piecewise) -> tuple[Piecewise, Piecewise]:
    """Both with the knots of both."""
    if f.knots == g.knots:
        return f, g
    knots = tuple(merged(f.knots, g.knots, _precedes))
    return _with_knots(f, knots), _with_knots(g, knots)


def _with_knots(f: Piecewise, knots: tuple[Element, ...]) -> Piecewise:
    atoms = dict(zip(f.knots, f.atoms, strict=True))
    counts = [sum(t in f.knots for t in knots[:k]) for k in range(len(knots) + 1)]
    return Piecewise(f.ring, knots, tuple(f.pieces[k] for k in counts), tuple(atoms.get(t, ()) for t in knots))


def _points_left(knot: Element) -> bool:
    """Whether every term is written with a minus sign."""
    return bool(knot) and all(coefficient < 0 for coefficient in knot.coeffs())


def _atoms_times(weights: tuple[Element, ...], g: Piecewise, k: int) -> tuple[Element, ...]:
    """The atoms of (sum of weights[n] delta^(n)(x - t)) g(x), where t = g.knots[k]:

    delta^(n) g = sum_i (-1)^i C(n, i) g^(i)(t) delta^(n-i).
    """
    if not weights:
        return ()
    place = g.knots[k]
    left, right = (_derivatives(p, place) for p in g.pieces[k : k + 2])
    values = list(zip_longest(left, right, fillvalue=g.ring.zero))
    order = len(weights) - 1  # g^(i) must be continuous for all i below it
    if g.atoms[k] or any(low != high for low, high in values[:order]):
        raise ValueError(
            f"activation: need factors without a common singularity, got an atom and a jump or atom at "
            f"{place.as_expr()}; their product is no distribution."
        )
    product = [g.ring.zero] * len(weights)
    for n, weight in enumerate(weights):
        for i, (low, high) in enumerate(values[: n + 1]):
            product[n - i] += (-1) ** i * comb(n, i) * weight * (low + high) / 2
    return _trimmed(product)


_DIGITS = 60  # of a number that is compared to 0; one below half of them, relative to its terms, is cancelled
_CANCEL = 1000  # steps for each term of what is cancelled


def _vanishes(element: Element) -> bool:
    """Whether the element is 0 for all symbols, though not as a polynomial in its ring's generators."""
    symbols = sorted(element.as_expr().free_symbols, key=sp.default_sort_key)
    point = {symbol: sp.Rational(2 * k + 3, 2 * k + 2) for k, symbol in enumerate(symbols)}
    values = [g.xreplace(point).evalf(_DIGITS) for g in element.ring.symbols]
    terms = [c * sp.Mul(*(v**n for v, n in zip(values, powers, strict=True) if n)) for powers, c in element.terms()]
    total, size = sp.Add(*terms), sp.Add(*map(abs, terms))
    if total.is_Float and abs(total) > size * sp.Float(10) ** (_DIGITS // -2):
        return False
    spend(_CANCEL * len(terms))
    return sp.cancel(element.as_expr()) == 0


# Polynomials as tuples of coefficients.


def _trimmed(coefficients: Iterable[Element]) -> Polynomial:
    kept = list(coefficients)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)


def _sum(p: Polynomial, r: Polynomial) -> Polynomial:
    return _trimmed(a + b for a, b in zip_longest(p, r, fillvalue=0))


def _scaled(p: Polynomial, factor: Any) -> Polynomial:
    return _trimmed(factor * c for c in p)


def _product(p: Polynomial, r: Polynomial) -> Polynomial:
    if not (p and r):
        return ()
    spend(sum(map(length, p)) * sum(map(length, r)))
    return _trimmed(
        sum(p[i] * r[n - i] for i in range(len(p)) if 0 <= n - i < len(r)) for n in range(len(p) + len(r) - 1)
    )


def _composed(p: Polynomial, slope: Element, shift: Element) -> Polynomial:
    """p(slope x + shift), by Horner's rule."""
    result: Polynomial = ()
    for coefficient in reversed(p):
        result = _sum(_product(result, (shift, slope)), (coefficient,))
    return result


def _derivatives(p: Polynomial, x: Element) -> Polynomial:
    """p(x), p'(x), p''(x), ..."""
    return tuple(factorial(i) * c for i, c in enumerate(_composed(p, 1, x)))
