"""Theorem 1, calculus: the closed forms are the integrals that define them, and the derivatives of each other.

One input, p the density and Q the tail of N(0, q):

1. E g(sqrt(q) Z) for g = phi^2, phi'^2 and 1 where phi = 0, by the fundamental theorem.  On a piece of g there is J
   with J' = g p, J = a p - b Q with a a polynomial in x and b free of x; on a piece that begins at -oo,
   J = a p + b (1 - Q).  So J is 0 at each infinite end.  The sum of J(right end) - J(left end) over the pieces is
   the closed form.
2. dV/dq is V', d^2V/dq^2 is V'', and dV/dq = chi_1 + sigma_w2 sum_k c_k phi(t_k) p(t_k), c_k the jump of phi' at t_k.

Two inputs, f the standard bivariate normal density, L(h, k; rho) = P(X > h, Y > k), K = E[(X - h)_+ (Y - k)_+]:

3. dL/dh = -p(h) Q((k - rho h) / s), s = sqrt(1 - rho^2), has the derivative f in k; and dL/drho = f, because f, and so
   d^2 L / dh dk, obeys df/drho = d^2 f / dh dk, and L -> 0 as h or k -> oo.
4. The closed form of K obeys d^2 K / dh dk = L and dK/drho = L.  L is a symbol there; its derivatives are those of 3.
5. At rho = 0, where X and Y are independent, d^2 L / dh dk = p(h) p(k) and L -> 0 as h or k -> oo, so L = Q(h) Q(k);
   and K = H_1(h) H_1(k), H_1(h) = E (X - h)_+, as dH_1/dh = -Q and H_1 -> 0 as h -> oo.  So 3 and 4, which say how L
   and K change along rho, leave no other functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import sympy as sp

from gpsym import Activation, maps, member
from gpsym.formula import Q1, Q2, RHO, Q, X
from gpsym.special import BivariateTail, TailMoment, density
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
    expectations = {"phi^2": (phi**2, found.second), "phi'^2": (phi.derivative().function ** 2, found.gradient)}
    if found.zeros != 0:
        expectations["1[phi = 0]"] = _where_zero(phi), found.zeros
    slope = sp.Derivative(found.second, Q)
    statements = {
        "dV/dq = V'": equation(where, slope, found.slope),
        "d^2V/dq^2 = V''": equation(where, sp.Derivative(found.second, (Q, 2)), found.curvature),
        "dV/dq = chi_1 + clips": equation(where, slope, found.gradient + clips),
    }
    for label, (g, closed) in expectations.items():
        statements |= dict(_fundamental(label, g, closed, where))
    return row_by_form(name, parameters, statements)


def _where_zero(phi: Activation) -> Activation:
    """1 where phi = 0 on an interval, else 0."""
    return Activation(phi.knots, tuple(() if any(piece) else (1,) for piece in phi.pieces))


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
    named: dict[Any, Any] = {BivariateTail(H, K, RHO): L, BivariateTail(K, H, RHO): L}
    closed = maps.kernel(ramp(H), ramp(K)).expression.subs({Q1: 1, Q2: 1}).subs(named)
    statements = {
        "d(dL/dh)/dk = f": (sp.Derivative(_conditional(H, K), K), f(H, K, RHO)),
        "df/drho = d^2 f / dh dk": (sp.Derivative(f(H, K, RHO), RHO), sp.Derivative(f(H, K, RHO), H, K)),
        "d^2 K / dh dk = L": (_along(_along(closed, H), K), L),
        "dK/drho = L": (_along(closed, RHO), L),
        "K(h, k) = K(k, h)": (closed, sp.Subs(closed, (H, K), (K, H))),
    }
    equations = {label: equation(where, *sides) for label, sides in statements.items()}
    return row_by_form("ramps of two inputs", "h, k real, -1 < rho < 1", equations | _at_rho_0(closed))


def _conditional(h: Any, k: Any) -> Any:
    """dL/dh = -p(h) P(Y > k given X = h)."""
    return -density(h, 1) * standard_tail((k - RHO * h) / sp.sqrt(1 - RHO**2))


def _along(e: Any, x: sp.Symbol) -> Any:
    """The derivative along h, k or rho of what also depends on L(h, k; rho), by the chain rule."""
    slopes = {H: _conditional(H, K), K: _conditional(K, H), RHO: f(H, K, RHO)}
    return sp.Derivative(e, x) + sp.Derivative(e, L) * slopes[x]


def _at_rho_0(closed: Any) -> dict[str, Statement]:
    """L and K where X and Y are independent."""
    plane, line = domain({H: "(-oo, oo)", K: "(-oo, oo)"}), domain({H: "(-oo, oo)"})
    joint: Any = BivariateTail(H, K, 0)
    mean: Any = sp.sympify(TailMoment(1, H)).rewrite(sp.erfc)
    kernel = sp.Subs(closed, (RHO, L), (0, joint))
    equations = {
        "d^2 L / dh dk = p(h) p(k) at rho = 0": (plane, sp.Derivative(joint, H, K), density(H, 1) * density(K, 1)),
        "K = H_1(h) H_1(k) at rho = 0": (plane, kernel, mean * mean.subs(H, K)),
        "dH_1/dh = -Q": (line, sp.Derivative(mean, H), -standard_tail(H)),
    }
    limits = {
        "L -> 0 as h -> oo at rho = 0": (joint, H, domain({H: "(0, oo)", K: "(-oo, oo)"})),
        "L -> 0 as k -> oo at rho = 0": (joint, K, domain({H: "(-oo, oo)", K: "(0, oo)"})),
        "H_1 -> 0 as h -> oo": (mean, H, domain({H: "(0, oo)"})),
    }
    return {
        **{label: equation(*sides) for label, sides in equations.items()},
        **{label: Statement("vanishing", e, where, x, sp.oo) for label, (e, x, where) in limits.items()},
    }


THEOREM = Theorem(
    "calculus", "E phi^2, E phi'^2, P(phi = 0), V', V'', L and K as derived are what they should be", rows
)
