"""Gaussian expectations of one normal variable."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from flint import arb, ctx, fmpq

from gpsym.verify.panels import Total, add_panels, applied, density, mesh, panel_ends
from gpsym.verify.shapes import Shape, horner
from gpsym.verify.values import INFINITE, Unknown, Value

__all__ = ["expectation", "hermite", "line_integral", "meeting", "piece_at", "product_expectation"]


def expectation(shape: Shape, q: fmpq, integrand: Callable[[Sequence[arb], arb, arb], Any]) -> Value:
    """E[integrand(piece, U, Z)] for U = sqrt(q) Z, where `piece` holds the coefficients of the piece that U is in."""
    total = Total()
    for piece, (panels, beyond) in zip(shape.pieces, mesh(shape.knots, q, ctx.prec), strict=True):
        function = partial(integrand, [arb(c) for c in piece])
        for panel in panels:
            total.add(*(applied(rule, function) for rule in panel))
        total.error += applied(beyond, function)[1]
    return total.result()


def product_expectation(f: Shape, g: Shape, q: fmpq) -> Value:
    """E[f(U) g(U)], U = sqrt(q) Z; an atom meets the mean of the one-sided limits of the other factor.

    Infinite if atoms of order 0 meet whose product is positive.  Raises Unknown where other atoms meet.
    """
    if any(a.place == b.place for a in f.atoms for b in g.atoms):
        return INFINITE if f == g else meeting([(a.weight * b.weight, a.order + b.order) for a in f.atoms
                                                 for b in g.atoms if a.place == b.place])  # fmt: skip
    sigma = arb(q).sqrt()
    total = line_integral(f, g, sigma, sigma, 1)
    for atom, other in [*((a, g) for a in f.atoms), *((b, f) for b in g.atoms)]:
        total = total + _against_density(atom, other, sigma)
    return total


def meeting(products: Sequence[tuple[fmpq, int]]) -> Value:
    if all(weight > 0 and order == 0 for weight, order in products):
        return INFINITE
    raise Unknown("atoms meet whose product has no sign")


def _against_density(atom: Any, g: Shape, sigma: arb) -> Value:
    """The integral of an atom times g times the density of U: (-1)^n (g density)^(n), by Leibniz's rule."""
    z, n = arb(atom.place) / sigma, atom.order
    terms = [
        math.comb(n, i)
        * arb(sum((horner(side, atom.place, i) for side in g.sides(atom.place)), fmpq(0)) / 2)
        * (-1) ** (n - i)
        * hermite(n - i, z)
        / sigma ** (n - i)
        for i in range(n + 1)
    ]
    factor = (-1) ** n * arb(atom.weight) * density(z) / sigma
    return Value(factor * sum(terms, arb(0)), abs(factor) * sum(map(abs, terms), arb(0)))


def hermite(n: int, x: Any) -> Any:
    """He_n(x)."""
    before, here = 0, 1
    for k in range(n):
        before, here = here, x * here - k * before
    return here


def line_integral(f: Shape, g: Shape, sigma: arb, other: arb, sign: int) -> Value:
    """E[f(sigma Z) g(sign other Z)] without the atoms."""
    knots = sorted([*(arb(t) / sigma for t in f.knots), *(sign * arb(t) / other for t in g.knots)], key=float)
    total = Total()
    for lower, upper in pairwise([None, *knots, None]):
        middle = _between(lower, upper)
        left, right = piece_at(f, sigma * middle), piece_at(g, sign * other * middle)
        if left and right:
            add_panels(
                total,
                lambda z, p=left, r=right: horner(p, sigma * z) * horner(r, sign * other * z),
                panel_ends(lower, upper),
            )
    return total.result()


def _between(lower: arb | None, upper: arb | None) -> arb:
    if lower is None or upper is None:
        return arb(0) if lower is upper else upper - 1 if lower is None else lower + 1  # type: ignore[operator]
    return (lower + upper) / 2


def piece_at(shape: Shape, x: arb) -> list[arb]:
    return [arb(c) for c in shape.pieces[sum(bool(arb(t) < x) for t in shape.knots)]]
