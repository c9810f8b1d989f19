"""A normal form of trees, and the test whether a tree is 0 that rests on it.

A tree becomes a sum of terms: rational coefficients, times rational powers of atoms, times one exponential.  Atoms
are symbols, pi, primes (of roots), erfc of sums, and sums that stand under negative or fractional powers.  All that
is used of them is true wherever the tree is defined: exponents add up, exponentials merge, sqrt(2)^2 = 2,
erfc(-x) = 2 - erfc(x), and [P]^(n + f) = P^n [P]^f for a sum P.  A sum whose terms cancel is 0; one that is 0 for
another reason is not seen to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from itertools import product
from typing import Any, final

from proofs.checker.trees import PI, Rejected, Tree, add, call, multiply, number, power, symbol

__all__ = [
    "Normal",
    "Polynomial",
    "Signs",
    "Term",
    "as_tree",
    "is_zero",
    "minus_polynomial",
    "times",
    "without_denominators",
]

Signs = Mapping[str, frozenset[int]]  # the signs a symbol may have, of -1, 0 and 1

# A term is a pair: the powers of its atoms, {(atom, exponent)}, and the exponent of its exponential, the set of the
# items of a polynomial.  Atoms are ("symbol", name), ("prime", p), ("pi",), ("erfc", items) and ("sum", items).
Term = tuple[frozenset[tuple[Any, Fraction]], frozenset[Any]]
Polynomial = dict[Term, Fraction]

_CONSTANT: Term = (frozenset(), frozenset())
_MOST_TERMS = 4_000
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
                return _constant(tree.value)
            case "pi":
                return _atom(("pi",))
            case "symbol":
                return _atom(("symbol", tree.value))
            case "sum":
                return _sum(self.form(part) for part in tree.parts)
            case "product":
                result = _constant(Fraction(1))
                for part in tree.parts:
                    result = times(result, self.form(part))
                return result
            case "power":
                return self._power(self.form(tree.parts[0]), tree.value)
            case "exp":
                return {(frozenset(), frozenset(self.form(tree.parts[0]).items())): Fraction(1)}
            case "erfc":
                return self._erfc(self.form(tree.parts[0]))
        raise AssertionError(tree.kind)

    def _power(self, base: Polynomial, exponent: Fraction) -> Polynomial:
        if exponent >= 0 and exponent.denominator == 1:
            return _whole_power(base, int(exponent))
        if not base:
            if exponent < 0:
                raise Rejected("a sum that is 0 stands under a negative power")
            return {}
        if exponent.denominator != 1:
            base = _over_denominators(base)
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
            return _constant(Fraction(1))
        negative = minus_polynomial({}, argument)
        for known in self._arguments:
            if known == argument or vanishes(minus_polynomial(known, argument)):
                return _atom(("erfc", frozenset(known.items())))
            if known == negative or vanishes(minus_polynomial(known, negative)):
                return _sum([_constant(Fraction(2)), minus_polynomial({}, _atom(("erfc", frozenset(known.items()))))])
        self._arguments.append(argument)
        return _atom(("erfc", frozenset(argument.items())))


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


def without_denominators(polynomial: Polynomial, positive: Callable[[Polynomial], bool]) -> Polynomial:
    """The terms, times powers of those sums below them that are seen to be positive."""
    while loose := [atom for atom in _sums(polynomial) if min(_exponents(polynomial, atom), default=0) < 0]:
        seen = [atom for atom in loose if positive(dict(atom[1]))]
        if not seen:
            break
        polynomial = _lifted(polynomial, max(seen, key=_depth))
    return polynomial


def _over_denominators(polynomial: Polynomial) -> Polynomial:
    """The terms over a common denominator, if that leaves one: 1 - (1 - x)^2/(1 + x)^2 is 4 x/(1 + x)^2."""
    above, below = polynomial, _constant(Fraction(1))
    while loose := [atom for atom in _sums(above) if min(_exponents(above, atom), default=0) < 0]:
        atom = max(loose, key=_depth)
        below = times(below, {(frozenset({(atom, min(_exponents(above, atom)))}), frozenset()): Fraction(1)})
        above = _lifted(above, atom)
    return times(above, below) if len(above) == 1 else polynomial


def _lifted(polynomial: Polynomial, atom: Any) -> Polynomial:
    """The terms times [P]^k, with the least k >= 0 that leaves no negative power of P; whole powers multiplied out."""
    least = min(*_exponents(polynomial, atom), Fraction(0))
    result: Polynomial = {}
    for (powers, exponential), coefficient in polynomial.items():
        exponent = dict(powers).get(atom, Fraction(0)) - least
        whole = exponent.numerator // exponent.denominator
        left = {(atom, exponent - whole)} if exponent != whole else set()
        rest = frozenset({p for p in powers if p[0] != atom} | left)
        _add_to(result, times({(rest, exponential): coefficient}, _whole_power(dict(atom[1]), whole)))
    return result


def _sums(polynomial: Polynomial) -> set[Any]:
    """Sums under powers in the terms, those within erfc and exp too."""
    found: set[Any] = set()
    for powers, exponential in polynomial:
        found |= {atom for atom, _ in powers if atom[0] == "sum"}
        inner = [atom[1] for atom, _ in powers if atom[0] == "erfc"]
        if exponential or inner:
            found |= {a for items in (exponential, *inner) for a in _sums(dict(items))}
    return found


def _exponents(group: Polynomial, atom: Any) -> list[Fraction]:
    return [exponent for powers, _ in group for other, exponent in powers if other == atom]


def _depth(atom: Any) -> int:
    return 1 + max((_depth(inner) for inner in _sums(dict(atom[1]))), default=0)


def times(left: Polynomial, right: Polynomial) -> Polynomial:
    """The product of two sums of terms."""
    if len(left) * len(right) > 50 * _MOST_TERMS:
        raise Rejected(f"an expression has more than {_MOST_TERMS} terms")
    result: Polynomial = {}
    for (a, x), (b, y) in product(left.items(), right.items()):
        term, coefficient = _term(a, b)
        _increase(result, term, coefficient * x * y)
    return result


def minus_polynomial(left: Polynomial, right: Polynomial) -> Polynomial:
    """left - right."""
    result = dict(left)
    for term, coefficient in right.items():
        _increase(result, term, -coefficient)
    return result


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
        powers[atom] = powers.get(atom, Fraction(0)) + exponent
    for atom, exponent in list(powers.items()):
        if atom[0] == "prime":
            coefficient *= _reduced(powers, atom, exponent)
    return (frozenset((atom, e) for atom, e in powers.items() if e), exponential), coefficient


def _reduced(powers: dict[Any, Fraction], prime: Any, exponent: Fraction) -> Fraction:
    """The prime's power is left with an exponent in [0, 1); the rest of it is returned."""
    whole = exponent.numerator // exponent.denominator
    powers[prime] = exponent - whole
    return Fraction(prime[1]) ** whole


def _monomial_power(term: Term, coefficient: Fraction, exponent: Fraction) -> Polynomial:
    powers = frozenset((atom, e * exponent) for atom, e in term[0])
    exponential = frozenset((inner, c * exponent) for inner, c in term[1])
    # As a product, which brings powers of primes into range.
    return times(_number_power(coefficient, exponent), times({(powers, exponential): Fraction(1)}, _units(powers)))


def _units(powers: Iterable[tuple[Any, Fraction]]) -> Polynomial:
    """1, as a product of primes' powers 0 that makes `times` reduce those primes."""
    return {(frozenset((atom, Fraction(0)) for atom, _ in powers if atom[0] == "prime"), frozenset()): Fraction(1)}


def _number_power(base: Fraction, exponent: Fraction) -> Polynomial:
    if exponent.denominator == 1:
        return _constant(base ** int(exponent))
    if max(base.numerator, base.denominator) > _MOST_FACTORED:
        return {(frozenset({(("sum", frozenset(_constant(base).items())), exponent)}), frozenset()): Fraction(1)}
    result = _constant(Fraction(1))
    for prime, n in [*_factors(base.numerator), *((p, -n) for p, n in _factors(base.denominator))]:
        powers: dict[Any, Fraction] = {}
        whole = _reduced(powers, ("prime", prime), n * exponent)
        result = times(result, {(frozenset(p for p in powers.items() if p[1]), frozenset()): whole})
    return result


def _factors(n: int) -> list[tuple[int, int]]:
    found, p = [], 2
    while p * p <= n:
        k = 0
        while n % p == 0:
            n, k = n // p, k + 1
        found += [(p, k)] * (k > 0)
        p += 1
    return found + [(n, 1)] * (n > 1)


def _whole_power(base: Polynomial, exponent: int) -> Polynomial:
    result = _constant(Fraction(1))
    for _ in range(exponent):
        result = times(result, base)
    return result


def _sum(polynomials: Iterable[Polynomial]) -> Polynomial:
    result: Polynomial = {}
    for polynomial in polynomials:
        _add_to(result, polynomial)
    return result


def _add_to(result: Polynomial, polynomial: Polynomial) -> None:
    for term, coefficient in polynomial.items():
        _increase(result, term, coefficient)


def _increase(result: Polynomial, term: Term, coefficient: Fraction) -> None:
    total = result.get(term, 0) + coefficient
    if total:
        result[term] = Fraction(total)
    else:
        result.pop(term, None)
    if len(result) > _MOST_TERMS:
        raise Rejected(f"an expression has more than {_MOST_TERMS} terms")


def _constant(value: Fraction) -> Polynomial:
    return {_CONSTANT: value} if value else {}


def _atom(atom: Any) -> Polynomial:
    return {(frozenset({(atom, Fraction(1))}), frozenset()): Fraction(1)}


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
