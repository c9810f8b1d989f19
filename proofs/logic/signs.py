"""Signs that an expression shows by its form, on a box of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, Literal

import sympy as sp

from proofs.logic.statements import Domain

__all__ = ["defined", "sign"]

Sign = Literal["+", "0+", "-", "0-", "0", "?"]

_OPPOSITE: dict[Sign, Sign] = {"+": "-", "-": "+", "0+": "0-", "0-": "0+", "0": "0", "?": "?"}


def sign(expression: Any, domain: Domain) -> Sign:
    """+ for > 0, 0+ for >= 0, - for < 0, 0- for <= 0, 0 for 0, and ? for not seen; where the expression is defined.

    Sums of one sign have it, products and powers follow from their factors, exp and erfc are positive, and
    exp(u) - 1 has the sign of u.  Symbols are counted from an end of their interval, x = lo + t or hi - t with t > 0,
    or from both, x = (lo + hi t) / (1 + t), in each factor as it shows a sign.
    """
    if expression.is_Mul:
        return reduce(_product, (sign(factor, domain) for factor in expression.args), "+")
    for way in (_from_start, _from_end, _between):
        found = _counted(expression, domain, way)
        if found != "?":
            return found
    return "?"


def defined(expression: Any, domain: Domain) -> bool:
    """Whether the expression is seen to be real and smooth on the domain: its symbols have intervals there, what
    stands under a negative power is not 0, and what stands under a root is > 0."""
    return expression.free_symbols <= {symbol for symbol, _ in domain} and all(
        sign(power.base, domain) in (("+", "-") if power.exp.is_Integer else ("+",))
        for power in expression.atoms(sp.Pow)
        if power.exp.is_Rational and not (power.exp.is_Integer and power.exp > 0) and power.base.free_symbols
    )


def _from_start(interval: Any, step: sp.Dummy) -> tuple[Any, bool] | None:
    """(x in terms of the step, whether the step is not 0); None where the interval has no such end."""
    return (interval.start + step, interval.left_open) if interval.start.is_finite else _from_end(interval, step)


def _from_end(interval: Any, step: sp.Dummy) -> tuple[Any, bool] | None:
    if interval.end.is_finite:
        return interval.end - step, interval.right_open
    return (interval.start + step, interval.left_open) if interval.start.is_finite else None


def _between(interval: Any, step: sp.Dummy) -> tuple[Any, bool] | None:
    if not (interval.start.is_finite and interval.end.is_finite):
        return _from_start(interval, step)
    if not interval.right_open:
        return None
    return (interval.start + interval.end * step) / (1 + step), interval.left_open


def _counted(expression: Any, domain: Domain, way: Callable[[Any, sp.Dummy], tuple[Any, bool] | None]) -> Sign:
    shifts, places = {}, {}
    for symbol, interval in domain:
        step = sp.Dummy(symbol.name, real=True)
        found = way(interval, step)
        if found is not None:
            shifts[symbol], strict = found
            places[step] = "+" if strict else "0+"
    moved = expression.subs(shifts)
    return _sign(sp.factor(moved) if way is _between and moved.is_rational_function() else moved, places)


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
