"""Points of checks: inside the domain, at its corners, and spread over it."""

import math

import pytest
import sympy as sp

from gpsym.formula import ALPHA, Q1, Q2, RHO, SIGMA_B2, SIGMA_W2, TAU, THETA, M, Q
from gpsym.verify.points import domain, points

NONNEGATIVE = sp.Symbol("c", nonnegative=True)
SYMBOLS = (Q, TAU, M, SIGMA_W2, SIGMA_B2)


def floats(found):
    return [{s: float(value) for s, value in point.items()} for point in found]


def ratios(found, length, variance=Q):
    return [point[length] / math.sqrt(point[variance]) for point in floats(found)]


def test_every_point_lies_in_the_domain():
    found = points((*SYMBOLS, NONNEGATIVE, ALPHA, THETA), (), (), 400, 0)
    assert len(found) == 400
    assert all(1e-9 < p[Q] < 1e9 and p[M] > 0 and p[NONNEGATIVE] >= 0 <= p[SIGMA_B2] for p in floats(found))
    assert all(0 < p[ALPHA] <= 1 and abs(p[THETA]) <= 1.01e8 for p in floats(found))
    assert all(abs(r) <= 40.01 for r in ratios(found, TAU))
    assert all(0.99e-8 <= r <= 1.01e8 for r in ratios(found, M))


@pytest.mark.parametrize("corners", [True, False])
def test_points_reach_the_ends(corners):
    found = points(SYMBOLS, (), (), 300, 0, corners)
    q, m, tau = [p[Q] for p in floats(found)], ratios(found, M), ratios(found, TAU)
    assert min(q) < 2e-8
    assert max(q) > 5e7
    assert min(m) < 2e-8
    assert max(m) > 5e7
    assert min(tau) < -38
    assert max(tau) > 38
    assert 0 in tau
    assert 0 < min(abs(t) for t in tau if t) < 1e-6


def test_half_of_the_spread_points_are_ordinary():
    found = points((Q, TAU), (), (), 400, 0, corners=False)
    assert 0.4 < sum(0.1 <= p[Q] <= 10 for p in floats(found)) / 400 < 0.65
    assert 0.5 < sum(abs(t) <= 4 for t in ratios(found, TAU)) / 400 < 0.85


def test_two_inputs():
    found = floats(points((Q1, Q2, RHO), (), (), 200, 0))
    assert 0.1 < sum(p[Q1] == p[Q2] for p in found) / 200 < 0.8
    assert min(p[Q2] / p[Q1] for p in found) < 1e-3
    assert max(p[Q2] / p[Q1] for p in found) > 1e3
    rho = [p[RHO] for p in found]
    assert max(rho) == pytest.approx(1 - 1e-9, abs=1e-12)
    assert min(rho) == pytest.approx(1e-9 - 1, abs=1e-12)
    assert 0 in rho


def test_lengths_coincide_at_some_points():
    found = points((Q, TAU, M), (), (), 300, 0)
    assert sum(p[TAU] == p[M] for p in found) >= 10
    assert any(p[TAU] == p[M] for p in points((Q, TAU, M), (), (), 300, 0, corners=False))


def test_corners_alternate_with_spread_points():
    few = floats(points((Q,), (), (), 6, 0))
    assert {1e-8, 1e8} <= {p[Q] for p in few}


def seen(symbols, ratio, number=200):
    """The values of one symbol, or of a ratio, at points of which two thirds are corners."""
    return [ratio(point) for point in floats(points(symbols, (), (), number, 0))]


def times(values, expected):
    return sum(value == pytest.approx(expected, rel=1e-9) for value in values)


@pytest.mark.parametrize(
    ("symbols", "ratio", "corners"),
    [
        ((Q,), lambda p: p[Q], (1, 1e-8, 1e8, 1 / 144, 1 / 1600)),
        ((Q1, Q2), lambda p: p[Q1], (1, 1e-8, 1e8, 1 / 144, 1 / 1600)),
        ((Q1, Q2), lambda p: p[Q2] / p[Q1], (1, 2, 1e-4, 1e4)),
        ((RHO,), lambda p: p[RHO], (0.375, 0, 1 - 1e-9, 1e-9 - 1)),
        ((SIGMA_W2,), lambda p: p[SIGMA_W2], (1.5, 1e-8, 1e8)),
        ((SIGMA_B2,), lambda p: p[SIGMA_B2], (0.25, 0, 1e-8, 1e8)),
        ((THETA,), lambda p: p[THETA], (0.5, 0, -1e8, 1e8)),
        ((ALPHA,), lambda p: p[ALPHA], (0.5, 1, 1e-8)),
        ((Q, TAU), lambda p: p[TAU] / p[Q] ** 0.5, (0.75, 0, 40, -40, 12, -12, 1e-8, -1e-8)),
        ((Q, M), lambda p: p[M] / p[Q] ** 0.5, (1, 1e-8, 1e8, 1e-4, 1e4)),
    ],
)
def test_corners_are_where_formulas_break(symbols, ratio, corners):
    values = seen(symbols, ratio)
    for corner in corners:
        assert times(values, corner) >= 10, corner


def test_the_edge_of_a_condition_is_allowed():
    assert 0 in [p[TAU] for p in floats(points((Q, TAU), (TAU,), (), 30, 0))]


def test_conditions_are_met():
    found = points((Q, TAU), (TAU, 1 - TAU), (), 30, 0)
    assert len(found) == 30
    assert all(0 <= p[TAU] <= 1 for p in found)
    assert points((Q,), (-Q,), (), 5, 0) == []


def test_numbers_among_the_knots_are_units():
    found = floats(points((Q, TAU), (), (1e6,), 40, 0))
    near = [p for p in found if 1e10 <= p[Q] <= 1e14]
    assert len(near) >= 10
    assert all(abs(p[TAU]) <= 41 * math.sqrt(p[Q]) for p in found)
    two = floats(points((Q1, Q2, RHO, SIGMA_W2), (), (1e6,), 40, 0))
    assert max(p[Q2] / p[Q1] for p in two) <= 1.01e4
    assert max(p[SIGMA_W2] for p in two) <= 1.01e8


def test_seeds_shift_the_points():
    first, again, other = (points(SYMBOLS, (), (), 5, seed) for seed in (0, 0, 1))
    assert first == again != other


def test_the_domain_in_words():
    assert domain((Q, TAU, M, NONNEGATIVE), ()) == (
        "q 1e-8 to 1e8, tau/sqrt(q) 0 and +-1e-8 to 40, m/sqrt(q) 1e-8 to 1e8, c/sqrt(q) 0 and 1e-8 to 40"
    )
    assert domain((Q1, Q2, RHO, M, SIGMA_B2, THETA, ALPHA), (2.0,)) == (
        "q1 1e-8 to 1e8 times 1, 2^2, q2/q1 1e-4 to 1e4, rho -1 + 1e-9 to 1 - 1e-9, m/sqrt(q1) 1e-8 to 1e8, "
        "sigma_b2 0 and 1e-8 to 1e8, theta 0 and +-1e-8 to 1e8, alpha 1e-8 to 1"
    )
