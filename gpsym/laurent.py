"""Laurent polynomials with rational coefficients in numbered generators, and lattices of integer vectors.

A polynomial maps monomials to coefficients; a monomial is (generator, exponent) pairs in the order of the generators,
without exponents 0.  Factors and lowest terms are SymPy's.
"""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.polys.rings import PolyRing

__all__ = [
    "ONE",
    "Fraction",
    "Laurent",
    "Monomial",
    "add",
    "by_powers",
    "coprime",
    "factors",
    "from_ring",
    "in_ring",
    "lattice",
    "power",
    "product",
    "scaled",
]

Monomial = tuple[tuple[int, int], ...]
Laurent = dict[Monomial, Any]
Fraction = tuple[Laurent, Laurent]  # without negative exponents

ONE: Laurent = {(): sp.QQ(1)}


def add(*terms: Laurent) -> Laurent:
    total: Laurent = {}
    for term in terms:
        for monomial, c in term.items():
            total[monomial] = total.get(monomial, 0) + c
    return {monomial: c for monomial, c in total.items() if c}


def _times(a: Monomial, b: Monomial) -> Monomial:
    if not a or not b:
        return a or b
    powers = dict(a)
    for g, e in b:
        powers[g] = powers.get(g, 0) + e
    return tuple(sorted((g, e) for g, e in powers.items() if e))


def product(p: Laurent, r: Laurent) -> Laurent:
    total: Laurent = {}
    for a, c in p.items():
        for b, d in r.items():
            monomial = _times(a, b)
            total[monomial] = total.get(monomial, 0) + c * d
    return {monomial: c for monomial, c in total.items() if c}


def power(p: Laurent, n: int) -> Laurent:
    """p^n; n may be negative if p is one monomial."""
    if len(p) == 1:
        ((monomial, c),) = p.items()
        return {tuple((g, n * e) for g, e in monomial if n): c**n}
    half = power(p, n // 2) if n else ONE
    return product(product(half, half), p if n % 2 else ONE) if n else ONE


def scaled(p: Laurent, c: Any) -> Laurent:
    return {monomial: c * d for monomial, d in p.items()}


def by_powers(p: Laurent, g: int) -> dict[int, Laurent]:
    """The coefficients of p by powers of one generator."""
    parts: dict[int, Laurent] = {}
    for monomial, c in p.items():
        e = next((e for h, e in monomial if h == g), 0)
        parts.setdefault(e, {})[tuple(pair for pair in monomial if pair[0] != g)] = c
    return parts


def in_ring(*polynomials: Laurent) -> tuple[list[int], list[Any]]:
    """The generators in use, and the polynomials as elements of one SymPy ring in them."""
    used = sorted({g for p in polynomials for monomial in p for g, _ in monomial})
    ring = PolyRing([sp.Symbol(f"g{g}") for g in used] or [sp.Symbol("g")], sp.QQ)
    tuples = [{tuple(dict(m).get(g, 0) for g in used) or (0,): c for m, c in p.items()} for p in polynomials]
    return used, [ring.from_dict(t) for t in tuples]


def from_ring(element: Any, used: list[int]) -> Laurent:
    return {tuple((g, e) for g, e in zip(used, m, strict=False) if e): c for m, c in element.terms()}


def factors(p: Laurent) -> tuple[Any, list[tuple[Laurent, int]]]:
    used, (element,) = in_ring(p)
    c, factors = element.factor_list()
    return c, [(from_ring(f, used), e) for f, e in factors]


def coprime(fraction: Fraction) -> Fraction:
    """The quotient in lowest terms, the one form of it."""
    used, (numerator, denominator) = in_ring(*fraction)
    numerator, denominator = numerator.cancel(denominator)
    c = denominator.LC
    return from_ring(numerator / c, used), from_ring(denominator / c, used)


Vector = dict[Any, int]  # of integers, by place


def lattice(vectors: list[Vector]) -> tuple[list[Vector], list[dict[int, int]]]:
    """A basis of the group that integer vectors generate, in echelon form, and the coordinates of each in it."""
    basis: dict[Any, Vector] = {}
    for vector in vectors:
        v = vector
        while v:
            pivot = max(v)
            b = basis.get(pivot, {})
            while b and v.get(pivot):  # Euclid's algorithm on the two
                b, v = v, _minus(b, v, b[pivot] // v[pivot])
            basis[pivot] = b or v
            v = v if b else {}
    pivots = sorted(basis, reverse=True)
    return [basis[p] for p in pivots], [_coordinates(v, [(p, basis[p]) for p in pivots]) for v in vectors]


def _coordinates(v: Vector, basis: list[tuple[Any, Vector]]) -> dict[int, int]:
    row = {}
    for j, (pivot, b) in enumerate(basis):
        if pivot in v:
            row[j] = v[pivot] // b[pivot]
            v = _minus(v, b, row[j])
    assert not v, "a vector is outside the group that it generates"
    return row


def _minus(v: Vector, w: Vector, n: int) -> Vector:
    difference = {place: v.get(place, 0) - n * w.get(place, 0) for place in v.keys() | w.keys()}
    return {place: c for place, c in difference.items() if c}
