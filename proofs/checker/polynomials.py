"""Sums of terms: rational coefficients, times rational powers of atoms, times one exponential.

Atoms are symbols, pi, primes (of roots), erfc of sums, and sums that stand under negative or fractional powers.  All
that is used of them is true wherever they are defined: exponents add up, exponentials merge, sqrt(2)^2 = 2, and
[P]^(n + f) = P^n [P]^f for a sum P.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import product
from typing import Any

from proofs.checker.budget import spend
from proofs.checker.trees import Rejected

__all__ = [
    "Polynomial",
    "Term",
    "bounded_degree",
    "constant",
    "minus_polynomial",
    "over_denominators",
    "reduced",
    "single",
    "times",
    "total",
    "vanishes",
    "whole_power",
    "without_denominators",
]

# A term is a pair: the powers of its atoms, {(atom, exponent)}, and the exponent of its exponential, the set of the
# items of a polynomial.  Atoms are ("symbol", name), ("prime", p), ("pi",), ("erfc", items) and ("sum", items).
Term = tuple[frozenset[tuple[Any, Fraction]], frozenset[Any]]
Polynomial = dict[Term, Fraction]

_CONSTANT: Term = (frozenset(), frozenset())
_MOST_TERMS = 4_000
_MOST_BITS = 2**14  # of a coefficient; those of proofs have 200
_MOST_DEGREE = 2**12


def times(left: Polynomial, right: Polynomial) -> Polynomial:
    """The product of two sums of terms."""
    if len(left) * len(right) > 50 * _MOST_TERMS:
        raise Rejected(f"an expression has more than {_MOST_TERMS} terms")
    spend(len(left) * len(right))
    result: Polynomial = {}
    for (a, x), (b, y) in product(left.items(), right.items()):
        term, coefficient = _term(a, b)
        _increase(result, term, coefficient * x * y)
    return result


def minus_polynomial(left: Polynomial, right: Polynomial) -> Polynomial:
    """left - right."""
    spend(len(left))
    result = dict(left)
    for term, coefficient in right.items():
        _increase(result, term, -coefficient)
    return result


def without_denominators(polynomial: Polynomial, positive: Callable[[Polynomial], bool]) -> Polynomial:
    """The terms, times powers of those sums below them that are seen to be positive."""
    while loose := [atom for atom in _sums(polynomial) if min(_exponents(polynomial, atom), default=0) < 0]:
        seen = [atom for atom in loose if positive(dict(atom[1]))]
        if not seen:
            break
        polynomial = _lifted(polynomial, max(seen, key=_depth))
    return polynomial


def over_denominators(polynomial: Polynomial) -> Polynomial:
    """The terms over a common denominator, if that leaves one: 1 - (1 - x)^2/(1 + x)^2 is 4 x/(1 + x)^2."""
    above, below = polynomial, constant(Fraction(1))
    while loose := [atom for atom in _sums(above) if min(_exponents(above, atom), default=0) < 0]:
        atom = max(loose, key=_depth)
        below = times(below, {(frozenset({(atom, min(_exponents(above, atom)))}), frozenset()): Fraction(1)})
        above = _lifted(above, atom)
    return times(above, below) if len(above) == 1 else polynomial


def vanishes(polynomial: Polynomial) -> bool:
    """Whether all terms cancel, after sums under negative and fractional powers are multiplied out."""
    groups: list[tuple[Polynomial, Polynomial]] = []
    for (powers, exponent), coefficient in polynomial.items():
        exponential = dict(exponent)
        for known, group in groups:
            if known == exponential or _same(known, exponential):
                _increase(group, (powers, frozenset()), coefficient)
                break
        else:
            groups.append((exponential, {(powers, frozenset()): coefficient}))
    return all(_cancels(group) for _, group in groups)


def _same(left: Polynomial, right: Polynomial) -> bool:
    """Whether two exponents are equal; without sums in them they would have been the same."""
    return any(_sums(p) for p in (left, right)) and vanishes(minus_polynomial(left, right))


def _cancels(group: Polynomial) -> bool:
    """Whether terms without exponentials cancel."""
    loose = [atom for atom in _sums(group) if any(e < 0 or e >= 1 for e in _exponents(group, atom))]
    if not loose:
        return not group
    # The deepest sum last: what it is made of comes out of it.
    return vanishes(_lifted(group, max(loose, key=_depth)))


def _lifted(polynomial: Polynomial, atom: Any) -> Polynomial:
    """The terms times [P]^k, with the least k >= 0 that leaves no negative power of P; whole powers multiplied out."""
    least = min(*_exponents(polynomial, atom), Fraction(0))
    result: Polynomial = {}
    for (powers, exponential), coefficient in polynomial.items():
        exponent = dict(powers).get(atom, Fraction(0)) - least
        whole = exponent.numerator // exponent.denominator
        left = {(atom, exponent - whole)} if exponent != whole else set()
        rest = frozenset({p for p in powers if p[0] != atom} | left)
        _add_to(result, times({(rest, exponential): coefficient}, whole_power(dict(atom[1]), whole)))
    return result


def _sums(polynomial: Polynomial) -> set[Any]:
    """Sums under powers in the terms, those within erfc and exp too."""
    found: set[Any] = set()
    spend(len(polynomial))
    for powers, exponential in polynomial:
        found |= {atom for atom, _ in powers if atom[0] == "sum"}
        inner = [atom[1] for atom, _ in powers if atom[0] == "erfc"]
        if exponential or inner:
            found |= {a for items in (exponential, *inner) for a in _sums(dict(items))}
    return found


def _exponents(group: Polynomial, atom: Any) -> list[Fraction]:
    spend(len(group))
    return [exponent for powers, _ in group for other, exponent in powers if other == atom]


def _depth(atom: Any) -> int:
    return 1 + max((_depth(inner) for inner in _sums(dict(atom[1]))), default=0)


def _term(a: Term, b: Term) -> tuple[Term, Fraction]:
    """(term, coefficient) of the product of two terms."""
    exponential = a[1] or b[1]
    if a[1] and b[1]:
        merged = dict(a[1])
        _add_to(merged, dict(b[1]))
        exponential = frozenset(merged.items())
    if not a[0] or not b[0]:
        return (a[0] or b[0], exponential), Fraction(1)
    powers, coefficient = dict(a[0]), Fraction(1)
    for atom, exponent in b[0]:
        powers[atom] = bounded_degree(powers.get(atom, Fraction(0)) + exponent)
    for atom, exponent in list(powers.items()):
        if atom[0] == "prime":
            coefficient *= reduced(powers, atom, exponent)
    return (frozenset((atom, e) for atom, e in powers.items() if e), exponential), coefficient


def bounded_degree(exponent: Fraction) -> Fraction:
    """The exponent of an atom, if a proof may need one of that size."""
    if max(abs(exponent.numerator), exponent.denominator) > _MOST_DEGREE:
        raise Rejected(f"need exponents of at most {_MOST_DEGREE} in terms, got {float(exponent):g}")
    return exponent


def reduced(powers: dict[Any, Fraction], prime: Any, exponent: Fraction) -> Fraction:
    """The prime's power is left with an exponent in [0, 1); the rest of it is returned."""
    whole = exponent.numerator // exponent.denominator
    powers[prime] = exponent - whole
    return Fraction(prime[1]) ** whole


def whole_power(base: Polynomial, exponent: int) -> Polynomial:
    """A power with a whole exponent >= 0, multiplied out."""
    result = constant(Fraction(1))
    for _ in range(exponent):
        result = times(result, base)
    return result


def total(polynomials: Iterable[Polynomial]) -> Polynomial:
    """The sum of several."""
    result: Polynomial = {}
    for polynomial in polynomials:
        _add_to(result, polynomial)
    return result


def _add_to(result: Polynomial, polynomial: Polynomial) -> None:
    for term, coefficient in polynomial.items():
        _increase(result, term, coefficient)


def _increase(result: Polynomial, term: Term, coefficient: Fraction) -> None:
    total = Fraction(result.get(term, 0) + coefficient)
    if total:
        bits = total.numerator.bit_length() + total.denominator.bit_length()
        if bits > _MOST_BITS:
            raise Rejected(f"need coefficients of at most {_MOST_BITS} bits, got one of {bits}")
        spend(1 + bits / 500)
        result[term] = total
    else:
        result.pop(term, None)
    if len(result) > _MOST_TERMS:
        raise Rejected(f"an expression has more than {_MOST_TERMS} terms")


def constant(value: Fraction) -> Polynomial:
    """A number."""
    return {_CONSTANT: value} if value else {}


def single(atom: Any) -> Polynomial:
    """One atom."""
    return {(frozenset({(atom, Fraction(1))}), frozenset()): Fraction(1)}
