"""Limits that are 0 because each term of a normal form tends to it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from proofs.checker.domains import Domain, same_end, symbol_signs
from proofs.checker.normal import Normal, as_tree
from proofs.checker.polynomials import Polynomial, Term, minus_polynomial, times
from proofs.checker.signs import signs
from proofs.checker.terms import NOT_NEGATIVE, POSITIVE
from proofs.checker.trees import ZERO, Rejected, Tree, power, substitute, symbol, text

__all__ = ["require_vanishing"]

_NOT_POSITIVE = frozenset({-1, 0})


def require_vanishing(tree: Tree, name: str, end: Tree | None, domain: Domain) -> None:
    """The tree tends to 0 as x, the symbol of that name, tends to an end of its interval, 0 from above or oo (None).

    The others are fixed.  A term of the normal form is, with y = x or 1/x -> oo,
    C y^p exp(E) erfc(A_1)^n_1 ..., where C is free of y, E and A_i are sums of powers of y with coefficients that are,
    and n_i are whole.  As erfc <= 2, and erfc(A) <= exp(-A^2) for A >= 0, it is at most const y^p exp(F), with F = E or
    E - sum n_i A_i^2 over those A_i seen to be >= 0.  That vanishes if the coefficients of F's positive powers of y are
    <= 0 from the highest on until one is < 0; or if all are <= 0, and p < 0.
    A term with a factor s^e, e > 0, of another symbol s, whose interval begins with a closed 0, is 0 there; so that
    s > 0 may be supposed.
    The tree must be defined on the domain.
    """
    interval = domain[name]
    if end is None:
        if interval.high is not None:
            raise Rejected(f"{name} does not tend to oo in its interval")
        moved = tree
    else:
        if not same_end(end, ZERO) or interval.low is None or not same_end(interval.low, ZERO):
            raise Rejected(f"limits are defined at 0 from above and at oo, not at {text(end)}")
        moved = substitute(tree, {name: power(symbol(name), -1)})
    far = {**domain, name: replace(interval, low=ZERO, high=None, low_open=True, high_open=True)}
    # Near the end y > 0, wherever its interval begins.
    for term in Normal(symbol_signs(far)).form(moved):
        if not _term_vanishes(term, name, _without_zeros(term, far, name)):
            raise Rejected(f"a term was not seen to vanish as {name} -> {'oo' if end is None else text(end)}")


def _without_zeros(term: Term, domain: Domain, name: str) -> Domain:
    zeros = {atom[1] for atom, exponent in term[0] if atom[0] == "symbol" and exponent > 0} - {name}
    return {
        s: replace(i, low_open=True) if s in zeros and i.low is not None and same_end(i.low, ZERO) else i
        for s, i in domain.items()
    }


def _term_vanishes(term: Term, name: str, domain: Domain) -> bool:
    y, p = ("symbol", name), Fraction(0)
    tails: list[tuple[Polynomial, Fraction]] = []
    for atom, exponent in term[0]:
        if atom == y:
            p = exponent
        elif _holds({(frozenset({(atom, exponent)}), frozenset()): Fraction(1)}, y):
            if atom[0] != "erfc" or exponent < 0 or exponent.denominator != 1:
                return False
            tails.append((dict(atom[1]), exponent))
    growth = dict(term[1])
    squared = growth
    for argument, n in tails:
        if _is_not_negative(argument, y, domain):
            square = {t: c * n for t, c in times(argument, argument).items()}
            squared = minus_polynomial(squared, square)
    return any(_product_vanishes(f, p, y, domain) for f in (growth, squared))


def _product_vanishes(growth: Polynomial, p: Fraction, y: Any, domain: Domain) -> bool:
    coefficients = _by_power(growth, y)
    if coefficients is None:
        return False
    for k in sorted((k for k in coefficients if k > 0), reverse=True):
        sign = signs(as_tree(coefficients[k]), domain)
        if sign == {-1}:
            return True
        if not sign <= _NOT_POSITIVE:
            return False
    return p < 0


def _is_not_negative(argument: Polynomial, y: Any, domain: Domain) -> bool:
    """Whether the argument is >= 0 for large y: its leading coefficient is > 0, after such that are >= 0."""
    coefficients = _by_power(argument, y)
    if coefficients is None:
        return False
    found = [signs(as_tree(coefficients[k]), domain) for k in sorted(coefficients, reverse=True)]
    leading = next((k for k, sign in enumerate(found) if sign == POSITIVE), len(found))
    return all(sign <= NOT_NEGATIVE for sign in found[:leading])


def _by_power(polynomial: Polynomial, y: Any) -> dict[Fraction, Polynomial] | None:
    """The coefficients of the powers of y; None if y is anywhere else."""
    found: dict[Fraction, Polynomial] = {}
    for (powers, exponential), coefficient in polynomial.items():
        k = dict(powers).get(y, Fraction(0))
        rest = {(frozenset(p for p in powers if p[0] != y), exponential): coefficient}
        if _holds(rest, y):
            return None
        found.setdefault(k, {}).update(rest)
    return found


def _holds(polynomial: Polynomial, y: Any) -> bool:
    """Whether y is in the terms, at any depth."""
    return any(
        any(atom == y or (atom[0] in ("erfc", "sum") and _holds(dict(atom[1]), y)) for atom, _ in powers)
        or _holds(dict(exponential), y)
        for powers, exponential in polynomial
    )
