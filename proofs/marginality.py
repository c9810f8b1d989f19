"""Theorem 2, marginality.

For ReLU, ReLU_tau (tau real) and ST_tau (tau >= 0), V'(q) = chi_1(q) for all q > 0.  At the edge of chaos,
where chi_1(q*) = 1, the variance map therefore has slope 1: q* is marginal whatever the parameters.

For the class, phi(x) = alpha + beta x + sum_k c_k (x - t_k)_+ :

    V'(q) = chi_1(q) + sigma_w2 sum_k c_k phi(t_k) p_q(t_k),   p_q the density of N(0, q),

so that V' = chi_1 where phi vanishes at every knot.  Both sides are quadratic in phi: it is enough to show
d/dq E[f g] = E[f' g'] + sum over the knots t of f and of g of (jump of f') g(t) p_q(t) / 2 for each pair f, g of
1, x, (x - s)_+ and (x - t)_+ with s < t (the case s = t is f = g).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Any

import sympy as sp

from gpsym import Activation, maps
from gpsym.formula import Q
from proofs.logic.rules import identity
from proofs.logic.statements import Domain, Statement, domain
from proofs.logic.theorem import Row, Theorem
from proofs.quantities import UNCLIPPED, family, p, quantities

S = sp.Symbol("s", real=True)  # a knot
GAP = sp.Symbol("d", positive=True)  # how far the other lies to the right


def rows() -> tuple[Row, ...]:
    """ReLU and the unclipped activations; the class."""
    return (*map(_named, ("relu", *UNCLIPPED)), _class())


def _named(name: str) -> Row:
    found = quantities(name)
    where, parameters = family(name, least="[0, oo)")
    return _identities(name, parameters, where, {"V' = chi_1": found.slope - found.gradient})


def _class() -> Row:
    where = domain({Q: "(0, oo)", S: "(-oo, oo)", GAP: "(0, oo)"})
    return _identities("continuous piecewise linear", "q > 0, all knots and slopes", where, dict(_differences()))


def _identities(name: str, parameters: str, where: Domain, differences: dict[str, Any]) -> Row:
    statements = {label: Statement("zero", e, where) for label, e in differences.items()}
    return Row(name, parameters, statements, lambda: {label: identity(where, e) for label, e in differences.items()})


def _differences() -> Iterator[tuple[str, Any]]:
    """d/dq E[f g] less what it should be, for each pair of atoms."""
    for label, (f, f_knot, f_slope), (g, g_knot, g_slope) in pairs():
        knots = sum(_value(other, knot) * p(knot) for other, knot in ((g, f_knot), (f, g_knot)) if knot is not None)
        expected = maps.mean(f_slope * g_slope).expression + knots / 2
        yield f"E[{label}]", sp.diff(maps.mean(f * g).expression, Q) - expected


Atom = tuple[Activation, Any, Activation]  # the function, its knot or None, its derivative


def pairs() -> Iterator[tuple[str, Atom, Atom]]:
    """(name, f, g) for each pair of 1, x, (x - s)_+ and (x - t)_+, t = s + d."""
    right = S + GAP
    atoms: dict[str, Atom] = {
        "1": (Activation((), ((1,),)), None, Activation((), ((),))),
        "x": (Activation((), ((0, 1),)), None, Activation((), ((1,),))),
        "(x - s)+": (ramp(S), S, step(S)),
        "(x - t)+": (ramp(right), right, step(right)),
    }
    for first, second in combinations_with_replacement(atoms, 2):
        yield f"{first} {second}", atoms[first], atoms[second]


def ramp(knot: Any) -> Activation:
    """(x - knot)_+"""
    return Activation((knot,), ((), (-knot, 1)))


def step(knot: Any) -> Activation:
    """1 for x > knot, else 0."""
    return Activation((knot,), ((), (1,)))


def _value(atom: Activation, x: Any) -> Any:
    """The atom at a knot, by the sign of x less the atom's own knot."""
    right = not atom.knots or (x - atom.knots[0]).is_nonnegative
    return sum(c * x**n for n, c in enumerate(atom.pieces[-1 if right else 0]))


THEOREM = Theorem("marginality", "V'(q) = chi_1(q) for all q > 0", rows)
