"""Laurent polynomials against SymPy's expressions, and lattices against the vectors that generate them."""

import itertools
import random

import pytest
import sympy as sp

from gpsym.laurent import (
    ONE,
    add,
    by_powers,
    coprime,
    factors,
    from_ring,
    in_ring,
    lattice,
    power,
    product,
    scaled,
)

G = sp.symbols("g0:4", positive=True)
HALF = sp.QQ(1, 2)
P = {((0, 1),): sp.QQ(2), ((1, -1), (3, 2)): -HALF, (): sp.QQ(3)}
R = {((0, -1), (1, 1)): sp.QQ(1), ((0, 1),): sp.QQ(-2)}
MONOMIAL = {((0, 2), (1, -1)): sp.QQ(3, 2)}


def expression(p):
    return sp.Add(*(sp.QQ.to_sympy(c) * sp.Mul(*(G[g] ** e for g, e in m)) for m, c in p.items()))


def assert_is(p, expected):
    """The polynomial is this expression, in its only form."""
    assert sp.expand(expression(p) - expected) == 0
    assert all(p.values())
    assert all(list(m) == sorted(m) and all(e for _, e in m) for m in p)


def test_sums():
    assert_is(add(P, R), expression(P) + expression(R))
    assert add(P, scaled(P, -1)) == {}
    assert_is(add(P, R, MONOMIAL), expression(P) + expression(R) + expression(MONOMIAL))
    assert add() == {}


def test_products():
    for p, r in itertools.product((P, R, MONOMIAL, ONE), repeat=2):
        assert_is(product(p, r), expression(p) * expression(r))
    assert product(P, {}) == {}
    conjugate = add(R, {((0, 1),): sp.QQ(4)})
    assert_is(product(R, conjugate), G[1] ** 2 / G[0] ** 2 - 4 * G[0] ** 2)  # the mixed terms cancel


@pytest.mark.parametrize("n", range(6))
def test_powers(n):
    assert_is(power(P, n), expression(P) ** n)
    assert_is(power(MONOMIAL, n), expression(MONOMIAL) ** n)
    assert_is(power(MONOMIAL, -n), expression(MONOMIAL) ** -n)


def test_multiples():
    assert_is(scaled(P, HALF), expression(P) / 2)


def test_coefficients_of_powers():
    parts = by_powers(add(P, R), 0)
    assert parts.keys() == {-1, 0}  # the first powers cancel
    parts = by_powers(P, 0)
    assert parts.keys() == {0, 1}
    assert parts[1] == {(): sp.QQ(2)}
    assert_is(add(*(product(c, {((0, e),) if e else (): sp.QQ(1)}) for e, c in parts.items())), expression(P))


POLYNOMIAL = {((1, 2),): sp.QQ(2), ((1, 1), (3, 1)): sp.QQ(-4), ((3, 2),): sp.QQ(2)}  # 2 (g1 - g3)^2


def test_rings_hold_what_they_are_made_of():
    used, elements = in_ring(POLYNOMIAL, ONE, {})
    assert used == [1, 3]
    assert [from_ring(e, used) for e in elements] == [POLYNOMIAL, ONE, {}]
    used, (three,) = in_ring(scaled(ONE, 3))
    assert (used, from_ring(three, used)) == ([], scaled(ONE, 3))


def test_factors():
    c, parts = factors(POLYNOMIAL)
    assert [e for _, e in parts] == [2]
    assert_is(scaled(power(parts[0][0], 2), c), expression(POLYNOMIAL))


def test_lowest_terms():
    difference = {((1, 1),): sp.QQ(3), ((3, 1),): sp.QQ(-3)}
    numerator, denominator = coprime((POLYNOMIAL, product(difference, {((0, 1),): sp.QQ(5)})))
    assert denominator == {((0, 1),): sp.QQ(1)}
    assert_is(numerator, sp.Rational(2, 15) * (G[1] - G[3]))
    assert coprime(({}, difference)) == ({}, ONE)
    assert coprime((scaled(POLYNOMIAL, -1), scaled(POLYNOMIAL, -2))) == ({(): HALF}, ONE)


def vector(places, numbers):
    return {place: n for place, n in zip(places, numbers, strict=True) if n}


def test_lattices_are_generated_by_a_basis_in_echelon_form():
    rng = random.Random(0)
    for _ in range(100):
        vectors = [vector("abc", [rng.randint(-6, 6) for _ in range(3)]) for _ in range(rng.randint(1, 4))]
        basis, coordinates = lattice(vectors)
        pivots = [max(b) for b in basis]
        assert pivots == sorted(set(pivots), reverse=True)
        assert len(coordinates) == len(vectors)
        for v, row in zip(vectors, coordinates, strict=True):
            total = {p: sum(n * basis[j].get(p, 0) for j, n in row.items()) for p in "abc"}
            assert {p: n for p, n in total.items() if n} == v
        rank = sp.Matrix([[v.get(p, 0) for p in "abc"] for v in vectors]).rank()
        assert len(basis) == rank


@pytest.mark.parametrize(
    ("numbers", "generator"), [((6, 10, 15), 1), ((4, 6), 2), ((-9,), 9), ((0, 7), 7), ((12, -18, 0), 6)]
)
def test_a_lattice_of_numbers_has_the_greatest_common_divisor(numbers, generator):
    (b,), coordinates = lattice([vector("a", [n]) for n in numbers])
    assert abs(b["a"]) == generator
    assert [row.get(0, 0) * b["a"] for row in coordinates] == list(numbers)


def test_the_basis_lies_in_the_lattice():
    """The determinant of independent vectors is that of the basis, up to sign: neither group is larger."""
    vectors = [[4, 2, 1], [6, 3, 5], [0, 8, 2]]
    basis, _ = lattice([vector("abc", v) for v in vectors])
    matrix = sp.Matrix([[b.get(p, 0) for p in "abc"] for b in basis])
    assert abs(matrix.det()) == abs(sp.Matrix(vectors).det()) != 0
