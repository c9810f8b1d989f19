"""Roots of systems, by a contraction of a box into its inside."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from mpmath import MPContext

from proofs.checker.boxes import rational_ends
from proofs.checker.domains import Domain
from proofs.checker.intervals import BITS, bounds, context, enclosure, interval
from proofs.checker.trees import Rejected, Tree, derivative

__all__ = ["require_one_root"]

_NUMBERS = MPContext()
_NUMBERS.prec = BITS


def require_one_root(equations: Sequence[Tree], unknowns: Sequence[str], domain: Domain) -> None:
    """The equations have exactly one zero in the box of the unknowns, for all values of the domain's other symbols.

    Krawczyk 1969: let X be the box, x its middle, f be continuously differentiable on it with a Jacobian in J, and Y
    a matrix.  If x - Y f(x) + (1 - Y J)(X - x) lies in the inside of X, f has exactly one zero there, as the map
    x - Y f(x) contracts X.  J and f(x) are enclosed for all parameters at once, so that it is so for each.
    """
    if len(set(unknowns)) != len(unknowns) or not set(unknowns) <= domain.keys():
        raise Rejected(f"need unknowns of the domain, each once, got {', '.join(unknowns)}")
    if len(equations) != len(unknowns):
        raise Rejected(f"need as many equations as unknowns, got {len(equations)} and {len(unknowns)}")
    box = {name: rational_ends(domain, name) for name in domain}
    _require_contraction(equations, unknowns, box)


def _require_contraction(equations: Sequence[Tree], unknowns: Sequence[str], box: dict[str, Any]) -> None:
    wide = {name: interval(*ends) for name, ends in box.items()}
    middles = {name: (box[name][0] + box[name][1]) / 2 for name in unknowns}
    at_middle = {**wide, **{name: interval(x, x) for name, x in middles.items()}}
    everywhere: dict[Tree, Any] = {}
    for equation in equations:  # which has to be defined on all of the box
        enclosure(equation, wide, known=everywhere)
    slopes = [[derivative(equation, name) for name in unknowns] for equation in equations]
    jacobian = [[enclosure(slope, wide, known=everywhere) for slope in row] for row in slopes]
    here: dict[Tree, Any] = {}
    values = [enclosure(equation, at_middle, known=here) for equation in equations]
    inverse = _inverse(jacobian)
    n, iv = len(unknowns), context()
    offsets = [interval(box[name][0] - middles[name], box[name][1] - middles[name]) for name in unknowns]
    for k, name in enumerate(unknowns):
        moved = -sum((inverse[k][i] * values[i] for i in range(n)), iv.mpf(0))
        for j in range(n):
            product = sum((inverse[k][i] * jacobian[i][j] for i in range(n)), iv.mpf(0))
            moved += (int(k == j) - product) * offsets[j]
        low, high = bounds(moved)
        if not (box[name][0] - middles[name] < low and high < box[name][1] - middles[name]):
            raise Rejected(f"no single root was seen: {name} leaves [{_short(box[name][0])}, {_short(box[name][1])}]")


def _inverse(jacobian: list[list[Any]]) -> list[list[Any]]:
    """A matrix near the inverse of one in the Jacobian; any would do."""
    middle = _NUMBERS.matrix([[_NUMBERS.make_mpf(entry.mid._mpi_[0]) for entry in row] for row in jacobian])
    try:
        inverse = middle**-1
    except ZeroDivisionError as error:
        raise Rejected("no single root was seen: the Jacobian is singular") from error
    iv, n = context(), len(jacobian)
    return [[iv.make_mpf((inverse[i, j]._mpf_,) * 2) for j in range(n)] for i in range(n)]


def _short(x: Fraction) -> str:
    return f"{float(x):.17g}"
