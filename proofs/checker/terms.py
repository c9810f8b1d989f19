"""Signs of sums of terms: sets of those of -1, 0 and 1 that are possible."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import product
from typing import Any, final

from proofs.checker.budget import spend
from proofs.checker.normal import Normal, Signs
from proofs.checker.polynomials import Polynomial, Term, minus_polynomial, without_denominators
from proofs.checker.trees import Tree

__all__ = ["ANY", "NOT_NEGATIVE", "POSITIVE", "Terms", "added", "multiplied", "negated", "raised"]

ANY = frozenset({-1, 0, 1})
POSITIVE = frozenset({1})
NOT_NEGATIVE = frozenset({0, 1})


@final
class Terms:
    """Signs of normal forms, for symbols of given signs."""

    def __init__(self, places: Signs) -> None:
        self._places = places
        self._normal = Normal(places)

    def of_tree(self, tree: Tree) -> frozenset[int]:
        """The signs of the sum of the tree's terms, after positive denominators are multiplied out."""
        return self._of(without_denominators(self._normal.form(tree), lambda p: self._of(p) == POSITIVE))

    def _of(self, polynomial: Polynomial) -> frozenset[int]:
        spend(5 * len(polynomial))
        found = added(self._term(term, c) for term, c in polynomial.items())
        if not {-1, 1} <= found:
            return found
        opposite = minus_polynomial({}, polynomial)
        return found & self._matched(polynomial) & negated(self._matched(opposite))

    def _term(self, term: Term, coefficient: Fraction | int) -> frozenset[int]:
        own = frozenset({1 if coefficient > 0 else -1})
        return multiplied([own, *(raised(self._atom(atom), exponent) for atom, exponent in term[0])])

    def _atom(self, atom: Any) -> frozenset[int]:
        if atom[0] == "symbol":
            return self._places.get(atom[1], ANY)
        return self._of(dict(atom[1])) if atom[0] == "sum" else POSITIVE

    def _matched(self, polynomial: Polynomial) -> frozenset[int]:
        """Signs of a sum in which positive terms outweigh the negative ones, each in parts; else any."""
        own = {term: self._term(term, c) for term, c in polynomial.items()}
        left = {term: c for term, c in polynomial.items() if -1 not in own[term]}
        pieces: list[frozenset[int]] = []
        for term in polynomial.keys() - left.keys():
            lack = abs(polynomial[term])
            spend(len(left))
            for other in [other for other in left if left[other] * polynomial[term] < 0]:
                piece = self._difference(other, term, left[other])
                if lack and piece <= NOT_NEGATIVE:
                    pieces.append(piece)
                    spend(len(left))
                    step = min(lack, abs(left[other]))
                    lack -= step
                    left[other] -= step if left[other] > 0 else -step
                    left = {t: c for t, c in left.items() if c}
            if lack or 1 in own[term]:
                return ANY
        return added([*pieces, *(own[term] for term in left)])

    def _difference(self, left: Term, right: Term, coefficient: Fraction) -> frozenset[int]:
        """The signs of coefficient (left - right).

        a (exp(u) - exp(v)) has the sign of a (u - v), and a (erfc(u) - erfc(v)) that of a (v - u).
        """
        if left[0] == right[0]:
            rise = self._of(minus_polynomial(dict(left[1]), dict(right[1])))
            return multiplied([self._term((left[0], frozenset()), coefficient), rise])
        own, other = left[0] - right[0], right[0] - left[0]
        if left[1] == right[1] and _is_tail(own) and _is_tail(other):
            fall = self._of(minus_polynomial(_argument(other), _argument(own)))
            return multiplied([self._term((left[0] & right[0], frozenset()), coefficient), fall])
        return ANY


def _is_tail(powers: frozenset[Any]) -> bool:
    """Whether the factors are one erfc, or none, which is erfc(0)."""
    return len(powers) <= 1 and all(atom[0] == "erfc" and exponent == 1 for atom, exponent in powers)


def _argument(powers: frozenset[Any]) -> Polynomial:
    return next((dict(atom[1]) for atom, _ in powers), {})


def negated(values: frozenset[int]) -> frozenset[int]:
    """The signs of -x."""
    return frozenset(-s for s in values)


def added(values: Iterable[frozenset[int]]) -> frozenset[int]:
    """The signs of a sum."""
    total = frozenset({0})
    for value in values:
        pairs = product(total, value)
        total = frozenset().union(*({a or b} if a * b != -1 else ANY for a, b in pairs))
    return total


def multiplied(values: Iterable[frozenset[int]]) -> frozenset[int]:
    """The signs of a product."""
    total = POSITIVE
    for value in values:
        total = frozenset(a * b for a, b in product(total, value))
    return total


def raised(base: frozenset[int], exponent: Fraction) -> frozenset[int]:
    """The signs of a power, where it is defined."""
    allowed = base - {0} if exponent < 0 else base
    if exponent.denominator != 1:
        return allowed - {-1}
    return frozenset(s ** abs(int(exponent)) for s in allowed)
