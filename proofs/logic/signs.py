"""Signs that an expression shows by its form, on a box of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial, reduce
from typing import Any, Literal

import sympy as sp
from flint import arb, ctx

from gpsym.equality import Equal, equal
from gpsym.numeric.balls import image
from proofs.logic.statements import Domain

__all__ = ["NOT_NEGATIVE", "NOT_POSITIVE", "defined", "direction", "elementary", "sign"]

Sign = Literal["+", "0+", "-", "0-", "0", "?"]

NOT_NEGATIVE = frozenset({"+", "0+", "0"})
NOT_POSITIVE = frozenset({"-", "0-", "0"})
_ANALYTIC = (sp.Add, sp.Mul, sp.exp, sp.erf, sp.erfc)  # functions that are real and analytic for all real arguments
_PRECISIONS = (128, 1024)  # bits; a constant that 1024 do not tell from 0 has a sign only if it is 0 by its normal form
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


def direction(domain: Domain) -> Callable[[Any], int]:
    """The signs on a domain as `gpsym.equal` takes them: 1 for >= 0, -1 for <= 0, 0 for not seen."""
    return partial(_direction, domain)


def _direction(domain: Domain, expression: Any) -> int:
    found = sign(expression, domain)
    return 1 if found in NOT_NEGATIVE else -1 if found in NOT_POSITIVE else 0


def elementary(expression: Any, domain: Domain) -> bool:
    """Whether the expression is made of rational numbers, pi, e, symbols of the domain, sums, products, rational
    powers, exp, erf and erfc: functions that are analytic wherever they are defined."""
    symbols = {symbol for symbol, _ in domain}
    return all(_is_elementary(part, symbols) for part in _parts(expression))


def defined(expression: Any, domain: Domain, smooth: bool = True) -> bool:
    """Whether the expression is seen to be elementary, and real and continuous on the domain: what stands under a
    negative power is not 0, and what stands under a root is not < 0; to be smooth, it is > 0."""
    return elementary(expression, domain) and all(
        sign(power.base, domain) in _allowed(power.exp, smooth) for power in expression.atoms(sp.Pow)
    )


def _is_elementary(part: Any, symbols: set[Any]) -> bool:
    if part.is_Pow:
        return part.exp.is_Rational
    return part in symbols or part.is_Rational or part in (sp.pi, sp.E) or part.func in _ANALYTIC


def _parts(expression: Any) -> Iterable[Any]:
    """The expression and everything in it, each once."""
    seen: set[Any] = set()
    waiting = [expression]
    while waiting:
        part = waiting.pop()
        if part not in seen:
            seen.add(part)
            waiting += part.args
            yield part


def _allowed(exponent: Any, smooth: bool) -> Iterable[str]:
    """The signs of a base for which a rational power of it is real and continuous, or smooth."""
    if exponent.is_Integer:
        return ("+", "-") if exponent < 0 else ("+", "-", "0+", "0-", "0", "?")
    return ("+",) if smooth or exponent < 0 else NOT_NEGATIVE


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
    if e.is_Rational:
        return "+" if e > 0 else "-" if e < 0 else "0"
    if not e.free_symbols:
        return _constant_sign(e)
    if isinstance(e, (sp.exp, sp.erfc)):
        return "+"
    if e.is_Mul:
        return reduce(_product, (_sign(factor, symbols) for factor in e.args), "+")
    if e.is_Pow:
        return _power(_sign(e.base, symbols), e.exp)
    if e.is_Add:
        return _sum(e, symbols)
    return "?"


@cache
def _constant_sign(e: Any) -> Sign:
    for bits in _PRECISIONS:
        with ctx.workprec(bits):
            ball = image(e, {}) if elementary(e, ()) else arb.nan()
        if ball > 0 or ball < 0:
            return "+" if ball > 0 else "-"
    return "0" if equal(e) == Equal() else "?"


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
