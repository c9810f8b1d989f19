"""Signs that an expression shows by its form, on a box of parameters."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any, Literal

import sympy as sp

from proofs.logic.statements import Domain

__all__ = ["sign"]

Sign = Literal["+", "0+", "-", "0-", "0", "?"]

_OPPOSITE: dict[Sign, Sign] = {"+": "-", "-": "+", "0+": "0-", "0-": "0+", "0": "0", "?": "?"}


def sign(expression: Any, domain: Domain) -> Sign:
    """+ for > 0, 0+ for >= 0, - for < 0, 0- for <= 0, 0 for 0, and ? for not seen.

    Symbols are first counted from a finite end of their interval, in each factor from the one that shows a sign.  Then
    sums of one sign have it, products and powers follow from their factors, exp and erfc are positive, and
    exp(u) - 1 has the sign of u.
    """
    if expression.is_Mul:
        return reduce(_product, (sign(factor, domain) for factor in expression.args), "+")
    from_start = _counted(expression, domain, (False, True))
    return from_start if from_start != "?" else _counted(expression, domain, (True, False))


def _counted(expression: Any, domain: Domain, ends: tuple[bool, bool]) -> Sign:
    """The sign with symbols counted from the first of these ends (False: left) that is finite."""
    shifts, places = {}, {}
    for symbol, interval in domain:
        step = sp.Dummy(symbol.name, real=True)
        for right in ends:
            end = interval.end if right else interval.start
            if end.is_finite:
                shifts[symbol] = end - step if right else end + step
                places[step] = "+" if (interval.right_open if right else interval.left_open) else "0+"
                break
    return _sign(expression.subs(shifts) if shifts else expression, places)


def _sign(e: Any, symbols: dict[sp.Symbol, Sign]) -> Sign:
    if e.is_Symbol:
        return symbols.get(e, "?")
    if not e.free_symbols:
        return "0" if e.is_zero else "+" if e.is_positive else "-" if e.is_negative else "?"
    if isinstance(e, (sp.exp, sp.erfc)):
        return "+"
    if e.is_Mul:
        return reduce(_product, (_sign(factor, symbols) for factor in e.args), "+")
    if e.is_Pow:
        return _power(_sign(e.base, symbols), e.exp)
    if e.is_Add:
        return _sum(e, symbols)
    return "?"


def _product(left: Sign, right: Sign) -> Sign:
    if "0" in (left, right):
        return "0"
    if "?" in (left, right):
        return "?"
    size: Sign = "0+" if len(left + right) > 2 else "+"
    return size if left[-1] == right[-1] else _OPPOSITE[size]


def _power(base: Sign, exponent: Any) -> Sign:
    if not exponent.is_Rational:
        return "+" if base == "+" else "?"
    even = exponent.is_Integer and exponent % 2 == 0
    if base == "+" or (base == "-" and even):
        return "+"
    if exponent < 0:
        return base if base == "-" and exponent.is_Integer else "?"
    if even:
        return "0+"
    return base if exponent.is_Integer or base in ("0", "0+") else "?"


def _sum(e: Any, symbols: dict[sp.Symbol, Sign]) -> Sign:
    rest, exponential = (
        sp.Add(*(t for t in e.args if not isinstance(t, sp.exp))),
        [t for t in e.args if isinstance(t, sp.exp)],
    )
    if len(exponential) == 1 and rest == -1:
        return _sign(exponential[0].args[0], symbols)
    polynomials, others = sp.sift(e.args, lambda term: bool(term.is_polynomial(*e.free_symbols)), binary=True)
    expanded = (*sp.Add.make_args(sp.expand(sp.Add(*polynomials))), *others)
    as_it_is = _common(_sign(term, symbols) for term in e.args)
    return as_it_is if as_it_is != "?" else _common(_sign(term, symbols) for term in expanded)


def _common(signs: Iterable[Sign]) -> Sign:
    """The sign of a sum from those of its terms."""
    found = set(signs) - {"0"}
    if not found:
        return "0"
    if found <= {"+", "0+"}:
        return "+" if "+" in found else "0+"
    if found <= {"-", "0-"}:
        return "-" if "-" in found else "0-"
    return "?"
