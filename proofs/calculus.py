"""Theorem 1, calculus: the closed forms are the integrals that define them, and the derivatives of each other.

One input, p the density and Q the tail of N(0, q):

1. E g(sqrt(q) Z) for g = phi^2 and phi'^2, by the fundamental theorem.  On a piece of g there is J with J' = g p,
   J = a p - b Q with a a polynomial in x and b free of x; on a piece that begins at -oo, J = a p + b (1 - Q).  So J
   is 0 at each infinite end, and the sum of J(right end) - J(left end) over the pieces is the closed form.
2. dV/dq is V', d^2V/dq^2 is V'', and dV/dq = chi_1 + sigma_w2 sum_k c_k phi(t_k) p(t_k), c_k the jump of phi' at t_k.

Two inputs, f the standard bivariate normal density, L(h, k; rho) = P(X > h, Y > k), K = E[(X - h)_+ (Y - k)_+]:

3. dL/dh = -p(h) Q((k - rho h) / s), s = sqrt(1 - rho^2), has the derivative f in k; and dL/drho = f, because f, and so
   d^2 L / dh dk, obeys df/drho = d^2 f / dh dk, and L -> 0 as h or k -> oo.
4. The closed form of K obeys d^2 K / dh dk = L and dK/drho = L.  L is a symbol there; its derivatives are those of 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import sympy as sp

from gpsym import Activation, maps, member
from gpsym.formula import Q1, Q2, RHO, Q, X
from gpsym.special import BivariateTail, density
from gpsym.special import tail as standard_tail
from proofs.correlation import H, K, f
from proofs.logic.statements import Domain, Statement, domain, equation
from proofs.logic.theorem import Row, Theorem, row_by_form
from proofs.marginality import ramp
from proofs.quantities import FAMILY, family, p, quantities, tail

L = sp.Symbol("L", real=True)
LINE, HALF_LINE = domain({Q: "(0, oo)", X: "(-oo, oo)"}), domain({Q: "(0, oo)", X: "(0, oo)"})


def rows() -> tuple[Row, ...]:
    """The activations of one input; the ramps of two."""
    return (*(_one_input(name, *family(name, least="[0, oo)")) for name in ("abs", *FAMILY)), _two_inputs())


def _one_input(name: str, where: Domain, parameters: str) -> Row:
    phi, found = member(name), quantities(name)
    clips = sum(jump * _value(phi, k) * p(t) for k, (t, jump) in enumerate(phi.jumps(1)))
    squares = {"phi^2": (phi**2, found.second), "phi'^2": (phi.derivative().function ** 2, found.gradient)}
    slope = sp.Derivative(found.second, Q)
    statements = {
        "dV/dq = V'": equation(where, slope, found.slope),
        "d^2V/dq^2 = V''": equation(where, sp.Derivative(found.second, (Q, 2)), found.curvature),
        "dV/dq = chi_1 + clips": equation(where, slope, found.gradient + clips),
    }
    for label, (square, closed) in squares.items():
        statements |= dict(_fundamental(label, square, closed, where))
    return row_by_form(name, parameters, statements)


def _fundamental(label: str, g: Activation, closed: Any, where: Domain) -> Iterator[tuple[str, Statement]]:
    """What shows that E g = closed."""
    total: Any = 0
    for k, (left, right, piece) in enumerate(_bounded_on_one_side(g)):
        if not piece:
            continue
        polynomial = sum(c * X**n for n, c in enumerate(piece))
        a, b = _antiderivative(piece)
        j = a * p(X) + b * (1 - tail(X)) if left == -sp.oo else a * p(X) - b * tail(X)
        place = f"{label}, piece {k + 1}"
        yield f"J' = g p: {place}", equation(_with_line(where), sp.Derivative(j, X), polynomial * p(X))
        if right == sp.oo:
            yield f"J(oo) = 0: {place}", Statement("vanishing", j, _with_half_line(where), X, sp.oo)
        else:
            total += sp.Subs(j, X, right)
        if left == -sp.oo:
            mirrored = sp.Subs(j, X, -X)
            yield f"J(-oo) = 0: {place}", Statement("vanishing", mirrored, _with_half_line(where), X, sp.oo)
        else:
            total -= sp.Subs(j, X, left)
    yield f"E {label}", equation(where, total, closed)


def _bounded_on_one_side(g: Activation) -> Iterator[tuple[Any, Any, Sequence[Any]]]:
    """The pieces of g with their ends; a piece that is the whole line is cut at 0."""
    for left, right, piece in g.intervals:
        cuts = (-sp.oo, sp.S.Zero, sp.oo) if (left, right) == (-sp.oo, sp.oo) else (left, right)
        yield from ((start, end, piece) for start, end in pairwise(cuts))


def _antiderivative(piece: Sequence[Any]) -> tuple[Any, Any]:
    """(a, b) with (a p - b Q)' = g p: x^n p = (n - 1) q x^(n-2) p - (q x^(n-1) p)', and p = -Q'."""
    coefficients, a = list(piece) or [sp.S.Zero], sp.S.Zero
    for n in range(len(coefficients) - 1, 0, -1):
        a -= coefficients[n] * Q * X ** (n - 1)
        if n >= 2:
            coefficients[n - 2] += (n - 1) * Q * coefficients[n]
    return a, coefficients[0]


def _value(phi: Activation, k: int) -> Any:
    """phi at its k-th knot."""
    return sum(c * phi.knots[k] ** n for n, c in enumerate(phi.pieces[k]))


def _with_line(where: Domain) -> Domain:
    return (*where, (X, sp.Interval(-sp.oo, sp.oo)))


def _with_half_line(where: Domain) -> Domain:
    return (*where, (X, sp.Interval.open(0, sp.oo)))


def _two_inputs() -> Row:
    where = domain({H: "(-oo, oo)", K: "(-oo, oo)", RHO: "(-1, 1)", L: "[0, 1]"})
    named = {BivariateTail(H, K, RHO): L, BivariateTail(K, H, RHO): L}
    closed = maps.kernel(ramp(H), ramp(K)).expression.subs({Q1: 1, Q2: 1}).subs(named)
    statements = {
        "d(dL/dh)/dk = f": (sp.Derivative(_conditional(H, K), K), f(H, K, RHO)),
        "df/drho = d^2 f / dh dk": (sp.Derivative(f(H, K, RHO), RHO), sp.Derivative(f(H, K, RHO), H, K)),
        "d^2 K / dh dk = L": (_along(_along(closed, H), K), L),
        "dK/drho = L": (_along(closed, RHO), L),
        "K(h, k) = K(k, h)": (closed, sp.Subs(closed, (H, K), (K, H))),
    }
    equations = {label: equation(where, *sides) for label, sides in statements.items()}
    return row_by_form("ramps of two inputs", "h, k real, -1 < rho < 1", equations)


def _conditional(h: Any, k: Any) -> Any:
    """dL/dh = -p(h) P(Y > k given X = h)."""
    return -density(h, 1) * standard_tail((k - RHO * h) / sp.sqrt(1 - RHO**2))


def _along(e: Any, x: sp.Symbol) -> Any:
    """The derivative along h, k or rho of what also depends on L(h, k; rho), by the chain rule."""
    slopes = {H: _conditional(H, K), K: _conditional(K, H), RHO: f(H, K, RHO)}
    return sp.Derivative(e, x) + sp.Derivative(e, L) * slopes[x]


THEOREM = Theorem("calculus", "E phi^2, E phi'^2, V', V'', and K as derived are what they should be", rows)
