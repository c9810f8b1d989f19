"""A normal form of trees, a sum of terms, and the test whether a tree is 0 that rests on it.

A sum whose terms cancel is 0; one that is 0 for another reason is not seen to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, final

from proofs.checker.budget import spend
from proofs.checker.polynomials import (
    Polynomial,
    Term,
    bounded_degree,
    constant,
    minus_polynomial,
    over_denominators,
    reduced,
    single,
    times,
    total,
    vanishes,
    whole_power,
)
from proofs.checker.trees import PI, Rejected, Tree, add, call, multiply, number, power, symbol

__all__ = ["Normal", "Signs", "as_tree", "is_zero"]

Signs = Mapping[str, frozenset[int]]  # the signs a symbol may have, of -1, 0 and 1

_MOST_FACTORED = 10**9  # of numbers under roots: primes up to 31623 are tried


def is_zero(tree: Tree, signs: Signs) -> bool:
    """Whether the tree is seen to be 0 for all values of symbols of those signs for which it is defined."""
    return vanishes(Normal(signs).form(tree))


@final
class Normal:
    """The normal forms of the trees of one test, which share atoms."""

    def __init__(self, signs: Signs) -> None:
        self._signs = signs
        self._known: dict[Tree, Polynomial] = {}
        self._arguments: list[Polynomial] = []

    def form(self, tree: Tree) -> Polynomial:
        """The terms of the tree."""
        if tree not in self._known:
            self._known[tree] = self._form(tree)
        return self._known[tree]

    def _form(self, tree: Tree) -> Polynomial:
        match tree.kind:
            case "number":
                return constant(tree.value)
            case "pi":
                return single(("pi",))
            case "symbol":
                return single(("symbol", tree.value))
            case "sum":
                return total(self.form(part) for part in tree.parts)
            case "product":
                result = constant(Fraction(1))
                for part in tree.parts:
                    result = times(result, self.form(part))
                return result
            case "power":
                return self._quotient(tree.parts[0], tree.value)
            case "exp":
                return {(frozenset(), frozenset(self.form(tree.parts[0]).items())): Fraction(1)}
            case "erfc":
                return self._erfc(self.form(tree.parts[0]))
        raise AssertionError(tree.kind)

    def _quotient(self, base: Tree, exponent: Fraction) -> Polynomial:
        """A power; below 1 products and whole powers stay apart, as what is multiplied out does not show its roots."""
        if exponent < 0 and exponent.denominator == 1:
            if base.kind == "product":
                return self.form(multiply(*(power(factor, exponent) for factor in base.parts)))
            if base.kind == "power" and base.value.denominator == 1:
                return self.form(power(base.parts[0], base.value * exponent))
        return self._power(self.form(base), exponent)

    def _power(self, base: Polynomial, exponent: Fraction) -> Polynomial:
        if exponent >= 0 and exponent.denominator == 1:
            return whole_power(base, int(exponent))
        if not base:
            if exponent < 0:
                raise Rejected("a sum that is 0 stands under a negative power")
            return {}
        if exponent.denominator != 1:
            base = over_denominators(base)
        if len(base) == 1 and (exponent.denominator == 1 or self._splits(*next(iter(base.items())))):
            return _monomial_power(*next(iter(base.items())), exponent)
        return {(frozenset({(("sum", frozenset(base.items())), exponent)}), frozenset()): Fraction(1)}

    def _splits(self, term: Term, coefficient: Fraction) -> bool:
        """Whether a root of a term is the product of its parts' roots: no part is negative."""
        return coefficient > 0 and all(self._not_negative(atom, exponent) for atom, exponent in term[0])

    def _not_negative(self, atom: Any, exponent: Fraction) -> bool:
        if atom[0] == "symbol":
            return -1 not in self._signs.get(atom[1], frozenset({-1}))
        return atom[0] != "sum" or exponent.denominator != 1 or self._has_no_negative_term(dict(atom[1]))

    def _has_no_negative_term(self, polynomial: Polynomial) -> bool:
        return all(
            c > 0 and all(e % 2 == 0 or self._not_negative(atom, e) for atom, e in powers)
            for (powers, _), c in polynomial.items()
        )

    def _erfc(self, argument: Polynomial) -> Polynomial:
        if not argument:
            return constant(Fraction(1))
        negative = minus_polynomial({}, argument)
        if sum(argument.values()) < 0:  # so that the arguments of tails are those that grow
            return total([constant(Fraction(2)), minus_polynomial({}, self._erfc(negative))])
        for known in self._arguments:
            spend(len(known) + len(argument))
            if known == argument or vanishes(minus_polynomial(known, argument)):
                return single(("erfc", frozenset(known.items())))
            if known == negative or vanishes(minus_polynomial(known, negative)):
                return total([constant(Fraction(2)), minus_polynomial({}, single(("erfc", frozenset(known.items()))))])
        self._arguments.append(argument)
        return single(("erfc", frozenset(argument.items())))


def _monomial_power(term: Term, coefficient: Fraction, exponent: Fraction) -> Polynomial:
    powers = frozenset((atom, bounded_degree(e * exponent)) for atom, e in term[0])
    exponential = frozenset((inner, c * exponent) for inner, c in term[1])
    # As a product, which brings powers of primes into range.
    return times(_number_power(coefficient, exponent), times({(powers, exponential): Fraction(1)}, _units(powers)))


def _units(powers: frozenset[tuple[Any, Fraction]]) -> Polynomial:
    """1, as a product of primes' powers 0 that makes `times` reduce those primes."""
    return {(frozenset((atom, Fraction(0)) for atom, _ in powers if atom[0] == "prime"), frozenset()): Fraction(1)}


def _number_power(base: Fraction, exponent: Fraction) -> Polynomial:
    if exponent.denominator == 1:
        return constant(base ** int(exponent))
    if max(base.numerator, base.denominator) > _MOST_FACTORED:
        return {(frozenset({(("sum", frozenset(constant(base).items())), exponent)}), frozenset()): Fraction(1)}
    result = constant(Fraction(1))
    for prime, n in [*_factors(base.numerator), *((p, -n) for p, n in _factors(base.denominator))]:
        powers: dict[Any, Fraction] = {}
        whole = reduced(powers, ("prime", prime), n * exponent)
        result = times(result, {(frozenset(p for p in powers.items() if p[1]), frozenset()): whole})
    return result


def _factors(n: int) -> list[tuple[int, int]]:
    found, p = [], 2
    while p * p <= n:
        spend(0.1)
        k = 0
        while n % p == 0:
            n, k = n // p, k + 1
        found += [(p, k)] * (k > 0)
        p += 1
    return found + [(n, 1)] * (n > 1)


def as_tree(polynomial: Polynomial) -> Tree:
    """The tree of a sum of terms."""
    return add(*(_term_tree(term, coefficient) for term, coefficient in polynomial.items()))


def _term_tree(term: Term, coefficient: Fraction) -> Tree:
    factors = [number(coefficient), *(power(_atom_tree(atom), exponent) for atom, exponent in term[0])]
    return multiply(*factors, *([call("exp", as_tree(dict(term[1])))] if term[1] else []))


def _atom_tree(atom: Any) -> Tree:
    match atom[0]:
        case "symbol":
            return symbol(atom[1])
        case "prime":
            return number(atom[1])
        case "pi":
            return PI
        case "erfc":
            return call("erfc", as_tree(dict(atom[1])))
    return as_tree(dict(atom[1]))
