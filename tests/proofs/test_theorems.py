"""Every theorem is proved, and what it states holds where it is tried by other means."""

import random
from dataclasses import replace
from functools import cache

import mpmath
import pytest
import sympy as sp

from gpsym import Undecided, edge_of_chaos, maps
from gpsym.formula import TAU, M
from gpsym.stability import fixed_points
from proofs import calculus
from proofs.cli import THEOREMS
from proofs.correlation import H, K
from proofs.curvature import LEVELS, SPARSITY, level
from proofs.falsehoods import falsehoods
from proofs.fold import FOLDS, fold
from proofs.logic.refute import Refuted
from proofs.logic.rules import combination, identity, vanishes
from proofs.logic.statements import Open, Statement, carried_out, domain
from proofs.logic.theorem import Proved, Row, Theorem, settle
from proofs.quantities import CLIPPED, clipped_domain, quantities, unclipped_domain


@cache
def results(name):
    return tuple(settle(THEOREMS[name]))


@pytest.mark.parametrize("name", THEOREMS)
def test_every_row_is_proved(name):
    assert [result.verdict for result in results(name) if not isinstance(result.verdict, Proved)] == []
    assert results(name)


def test_each_theorem_has_a_row_for_each_activation_and_class_that_it_speaks_of():
    rows = [(name, row.activation) for name, theorem in THEOREMS.items() for row in theorem.rows()]
    assert len(rows) >= 40
    named = {"shifted-relu", "soft-threshold", "clipped-relu", "clipped-soft-threshold"}
    for name in ("calculus", "existence", "correlation", "scale"):
        assert named <= {activation for theorem, activation in rows if theorem == name}
    for name in ("marginality", "correlation", "scale"):
        assert (name, "continuous piecewise linear") in rows


STATEMENTS = [
    pytest.param(statement, id=f"{name} {row.activation} {label}")
    for name, theorem in THEOREMS.items()
    for row in theorem.rows()
    for label, statement in row.statements.items()
    if statement.claim in ("equal", "positive", "crossing")
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statements_are_sympy_objects(statement):
    stated = statement.sympy
    assert isinstance(stated, sp.Implies) or stated.func == sp.Implies
    assert stated.free_symbols == {symbol for symbol, _ in statement.domain}


def number_in(interval, rng):
    start, end = (float(e) if e.is_finite else None for e in (interval.start, interval.end))
    if start is not None and end is not None:
        return start + (end - start) * rng.uniform(0.01, 0.99)
    size = 10 ** rng.uniform(-0.5, 0.5)
    return start + size if start is not None else end - size if end is not None else rng.choice((-1, 1)) * size


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statements_hold_at_random_points(statement):
    """By mpmath, at points of the domain: no proof, but a false rule would show."""
    rng = random.Random(0)
    symbols = [symbol for symbol, _ in statement.domain]
    sides = statement.expression.args if statement.claim == "equal" else (statement.expression, sp.S.Zero)
    function, right = (sp.lambdify(symbols, carried_out(side), "mpmath") for side in sides)
    for _ in range(6):
        point = [mpmath.mpf(number_in(interval, rng)) for _, interval in statement.domain]
        with mpmath.workdps(200 if statement.claim == "equal" else 50):
            if statement.claim == "equal":
                # Far below any summand: at these points exp(-t^2 / (2 q)) > 10^-80.
                assert abs(function(*point) - right(*point)) < mpmath.mpf(10) ** -120
            elif statement.claim == "positive":
                assert function(*point) > 0
            else:
                place = symbols.index(statement.variable)
                line = [[*point[:place], x, *point[place + 1 :]] for x in mpmath.linspace(0.01, 12, 30)]
                interval = statement.interval(statement.variable)
                signs = [function(*p) > 0 for p in line if interval.contains(sp.Float(p[place]))]
                assert signs == sorted(signs)


@pytest.mark.parametrize("theorem", falsehoods(), ids=lambda theorem: theorem.name)
def test_falsehoods_are_refuted(theorem):
    assert all(isinstance(result.verdict, Refuted) for result in settle(theorem))


def test_nothing_is_proved_beyond_its_domain():
    unclipped, clipped = quantities("shifted-relu"), quantities("clipped-relu")
    for where, expression in (
        (unclipped_domain("(-oo, oo)"), unclipped.curvature),  # concave for tau < 0
        (unclipped_domain("[0, oo)"), unclipped.curvature),  # 0 for tau = 0
        (clipped_domain("(-oo, oo)"), sp.diff(clipped.slope, M)),
        (clipped_domain(), clipped.slope - clipped.gradient),
    ):
        with pytest.raises(Open):
            combination(where, expression)


def test_what_cannot_be_seen_is_undecided():
    (row,) = (r for r in THEOREMS["instability"].rows() if r.activation == "shifted-relu")
    stuck = Row(row.activation, row.domain, row.statements, _stuck)
    (result,) = settle(Theorem("stuck", "", lambda: (stuck,)))
    assert result.verdict == Undecided("it was not seen")


def _stuck():
    raise Open("it was not seen")


def test_a_claim_about_a_number_is_undecided():
    where = domain({M: "(0, oo)"})
    empty = Row("none", "", {"1 > 0": Statement("positive", sp.S.One, where)}, lambda: {"1 > 0": combination(where, 1)})
    (result,) = settle(Theorem("empty", "", lambda: (empty,)))
    assert result.verdict == Undecided("1 > 0: 1 > 0 says nothing, it is about a number")


def test_what_is_proved_must_be_what_is_claimed():
    rows = THEOREMS["stability"].rows()
    swapped = Row(rows[0].activation, rows[0].domain, rows[1].statements, rows[0].prove)
    (result,) = settle(Theorem("swapped", "", lambda: (swapped,)))
    assert isinstance(result.verdict, Undecided)
    assert "claimed" in result.verdict.why


def boxes(proof):
    return {symbol: (float(i.start), float(i.end)) for symbol, i in proof.statement.domain}


@pytest.mark.parametrize(("name", "sparsity"), [(n, s) for n in CLIPPED for s in FOLDS[n]])
def test_the_fold_parts_one_fixed_point_from_three(name, sparsity):
    """By scans of the variance map on both sides of the fold."""
    low, high = boxes(fold(name, sparsity))[M]
    tau = boxes(fold(name, sparsity))[TAU][0]
    assert high - low < 1e-9 * high
    for m, count in ((low * (1 - 1e-3), 1), (high * (1 + 1e-3), 3)):
        assert len(fixed_points(edge_of_chaos(name, tau=tau, m=m))) == count


@pytest.mark.parametrize(("name", "slope"), [(n, x) for n in CLIPPED for x in LEVELS[n]])
def test_the_curvature_changes_sign_where_it_is_said_to(name, slope):
    low, high = boxes(level(name, slope))[SPARSITY]
    signs = [
        edge_of_chaos(name, sparsity=s, slope=float(slope)).curvature > 0 for s in (low * (1 - 1e-9), high * (1 + 1e-9))
    ]
    assert signs == [False, True]


def test_the_kernel_and_its_tails_are_anchored_where_the_inputs_are_independent(monkeypatch):
    """Functions with the same derivatives are not the same."""
    kernel = maps.kernel

    def planted(*ramps):
        right = kernel(*ramps)
        return replace(right, expression=right.expression + H**2 + K**2)

    monkeypatch.setattr(maps, "kernel", planted)
    statements = calculus.rows()[-1].statements
    slope, start = statements["dK/drho = L"], statements["K = H_1(h) H_1(k) at rho = 0"]
    identity(slope.domain, *slope.expression.args)
    with pytest.raises(Open):
        identity(start.domain, *start.expression.args)


def anchored(label, wrong):
    """The statement of calculus about a tail, with a wrong function in the place of it."""
    statement = calculus.rows()[-1].statements[label]
    return replace(statement, expression=statement.expression + wrong)


@pytest.mark.parametrize(
    "label", ["L -> 0 as h -> oo at rho = 0", "L -> 0 as k -> oo at rho = 0", "H_1 -> 0 as h -> oo"]
)
def test_tails_vanish(label):
    s = anchored(label, sp.Rational(1, 10**9))
    with pytest.raises(Open):
        vanishes(s.domain, s.expression, s.variable, s.end)


@pytest.mark.parametrize("name", ["relu", *CLIPPED])
def test_the_probability_of_0_is_an_integral(name):
    (statements,) = (row.statements for row in calculus.rows() if row.activation == name)
    assert {"E phi^2", "E phi'^2", "E 1[phi = 0]"} < statements.keys()
