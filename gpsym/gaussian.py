"""Gaussian expectations of piecewise polynomials in closed form; pure SymPy, no networks.

Z is standard normal throughout, p its density, and

    M_n(a, b) = E[Z^n; a < Z < b],   M_0 = P(a < Z < b),   M_1 = p(a) - p(b),
    M_n = (n - 1) M_(n-2) + a^(n-1) p(a) - b^(n-1) p(b)          (by parts, with p' = -z p).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sympy as sp

__all__ = ["collect_generators", "density", "expectation", "probability", "truncated_moment"]


def density(x: sp.Expr, variance: sp.Expr = sp.S.One) -> sp.Expr:
    """Density of N(0, variance) at x; 0 at the infinities."""
    if x in (sp.oo, -sp.oo):
        return sp.S.Zero
    return sp.exp(-(x**2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


def probability(lower: sp.Expr, upper: sp.Expr) -> sp.Expr:
    """P(lower < Z < upper), by erfc in the tails and by erf around zero, so that nothing small is 1 - large."""
    around_zero = lower == -upper or (lower.is_nonpositive and upper.is_nonnegative)
    if around_zero and upper != sp.oo and lower != -sp.oo:
        return (sp.erf(upper / sp.sqrt(2)) - sp.erf(lower / sp.sqrt(2))) / 2
    if lower == -sp.oo:
        return sp.erfc(-upper / sp.sqrt(2)) / 2
    return (sp.erfc(lower / sp.sqrt(2)) - sp.erfc(upper / sp.sqrt(2))) / 2


def truncated_moment(n: int, lower: sp.Expr, upper: sp.Expr) -> sp.Expr:
    """M_n(lower, upper) = E[Z^n; lower < Z < upper], n >= 0, by the recursion of the module docstring."""
    if n == 0:
        return probability(lower, upper)

    def boundary(t: sp.Expr) -> sp.Expr:
        return sp.S.Zero if t in (sp.oo, -sp.oo) else t ** (n - 1) * density(t)

    inner = (n - 1) * truncated_moment(n - 2, lower, upper) if n > 1 else sp.S.Zero
    return inner + boundary(lower) - boundary(upper)


def expectation(pieces: Iterable[tuple[sp.Expr, sp.Expr, sp.Poly]], variance: sp.Expr) -> sp.Expr:
    """E[f(sqrt(variance) Z)] for f(x) = polynomial(x) on lower < x < upper, summed over the pieces.

    pieces  (lower, upper, polynomial) triples that do not overlap; f = 0 elsewhere.
    """
    sigma = sp.sqrt(variance)
    total = sp.Add(
        *(
            coefficient * sigma**n * truncated_moment(n, lower / sigma, upper / sigma)
            for lower, upper, polynomial in map(_reflected, pieces)
            for (n,), coefficient in polynomial.terms()
        )
    )
    return collect_generators(total)


def _reflected(piece: tuple[sp.Expr, sp.Expr, sp.Poly]) -> tuple[sp.Expr, sp.Expr, sp.Poly]:
    """A piece left of zero as its mirror image, E f(Z) = E f(-Z), so that equal generators are written alike."""
    lower, upper, polynomial = piece
    if _points_left(lower) and _points_left(upper):
        return -upper, -lower, polynomial.compose(sp.Poly(-polynomial.gen, polynomial.gen))
    return piece


def _points_left(t: sp.Expr) -> bool:
    """Whether every term of t is written with a minus sign, as in -tau - m and -oo."""
    return all(term.as_coeff_Mul()[0].is_extended_negative for term in sp.Add.make_args(sp.expand(t)))


def collect_generators(expression: sp.Expr) -> sp.Expr:
    """The same expression, linear in its erf, erfc and exp generators, each with one factored coefficient.

    Only the coefficients are expanded: exp(-(tau + m)^2/(2 q)) stays one generator.
    """
    names = {g: sp.Dummy(positive=True) for g in sorted(expression.atoms(sp.erf, sp.erfc, sp.exp), key=str)}
    polynomial = sp.collect(sp.expand(expression.xreplace(names)), list(names.values()), evaluate=False)
    generators: dict[Any, Any] = {name: generator for generator, name in names.items()}
    assert all(name not in c.free_symbols for c in polynomial.values() for name in generators), "not linear"
    return sp.Add(*(sp.factor(c) * generators.get(name, name) for name, c in polynomial.items()))
