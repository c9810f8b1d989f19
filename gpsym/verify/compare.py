"""Every form of a formula against the quantity's meaning, at points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sympy as sp
from flint import arb, ctx

from gpsym.formula import Q1, RHO, Formula
from gpsym.limits import shown
from gpsym.numeric import Mpf, context, lambdify
from gpsym.verdicts import Refuted, Undecided, Verified
from gpsym.verify.forms import Form, forms_of
from gpsym.verify.points import domain, points
from gpsym.verify.quantities import meaning
from gpsym.verify.shapes import Point, fraction
from gpsym.verify.values import Excluded, Unknown, Value

__all__ = ["Verdict", "verify"]

Verdict = Verified | Refuted | Undecided
# The ranges of what may be asked for.
_DIGITS, _POINTS, _SEEDS = (1, 100), (1, 10**5), (0, 2**32 - 1)

_Found = tuple[Mapping[sp.Symbol, Any], Value]  # a point, and the value there by its meaning

# A value that has lost more than this many digits to cancellation between the parts of its meaning (V'' next to its
# zero) is compared to digits + _CANCELLATION digits of those parts instead.
_CANCELLATION = 30
# Digits after the point: what is smaller counts as 0.  At 40 deviations the density is 1e-348, and there are factors
# down to 1e-16; tails take long to compute to more digits, and bivariate ones to so many.
_NOTHING, _NOTHING_OF_PAIRS = 450, 150

# Further points for formulas of one input, at which the expression is compared to fewer digits.
_MORE, _FEWER_DIGITS = 13, 12

# The bound of lambdify, next to the parts; for two inputs it holds up to so many deviations.
_FLOATS, _FLOATS_REACH = 1e-12, 12.0
_LEAST = 1e-280  # next to underflow


def verify(
    formulas: Sequence[Formula], digits: int, number: int, seed: int, more_for_each: int = _MORE
) -> list[Verdict]:
    """A verdict on each formula, at points that they share, and at more for each of them where there is one input."""
    for name, given, (least, most) in (
        ("digits", digits, _DIGITS), ("points", number, _POINTS), ("seed", seed, _SEEDS)
    ):  # fmt: skip
        if not least <= given <= most:
            raise ValueError(f"verify: need {name} from {least} to {most}, got {shown(given)}; pass such a number.")
    symbols = tuple(dict.fromkeys(v for formula in formulas for v in formula.variables))
    conditions = tuple(dict.fromkeys(c for formula in formulas for c in formula.conditions))
    fixed = _fixed_lengths(formulas)
    few = points(symbols, conditions, fixed, number, seed)
    if not few:
        why = f"no point was found that meets {', '.join(f'{c} >= 0' for c in conditions)}"
        return [Undecided(why) for _ in formulas]
    more = [] if RHO in symbols else points(symbols, conditions, fixed, more_for_each * number, seed, corners=False)
    checks = [_Check(formula) for formula in formulas]
    for point in few:  # all quantities of one point share its panels
        for check in checks:
            check.at(point, digits)
    for point in more:
        for check in checks:
            check.at(point, min(digits, _FEWER_DIGITS), more=True)
    return [check.verdict(digits, len(more)) for check in checks]


def _fixed_lengths(formulas: Sequence[Formula]) -> tuple[float, ...]:
    """The sizes of the knots that are numbers other than 0."""
    knots = (t for formula in formulas for phi in formula.activations for t in phi.knots if t.is_number and t)
    return tuple(dict.fromkeys(abs(float(t)) for t in knots))


class _Check:
    """The checks of one formula, point by point, until one fails."""

    def __init__(self, formula: Formula):
        self._formula = formula
        self._forms = list(forms_of(formula))
        self._worst, self._compared = 0.0, 0
        self._found: list[_Found] = []  # what the formula means at the points
        self._excluded: dict[str, Point] = {}  # what is lost, and where
        self._failed: Refuted | Undecided | None = None

    def at(self, point: Point, digits: int, more: bool = False) -> None:
        """Compare every form at the point, or the expression alone at one more."""
        point = {v: point[v] for v in self._formula.variables}
        for form in self._forms[:1] if more else self._forms:
            if self._failed is None:
                self._compare(form, point, digits, more)

    def _compare(self, form: Form, point: Point, digits: int, more: bool) -> None:
        try:
            found = _compared(self._formula, form, point, digits)
        except Excluded as reason:
            self._excluded.setdefault(str(reason), point)
            return
        except Unknown as reason:
            self._failed = Undecided(f"{form.name}: {reason}", _shown(point))
            return
        if isinstance(found, Refuted | Undecided):
            self._failed = found
            return
        difference, value = found
        if not more:
            self._worst = max(self._worst, difference)
            self._compared += form is self._forms[0]
        if form.rho is not None and RHO in self._formula.variables:
            self._found.append(({**point, RHO: form.rho}, value))
        elif form is self._forms[0]:
            self._found.append((point, value))

    def verdict(self, digits: int, more: int) -> Verdict:
        """The verdict on all forms, arrays included."""
        failed = self._failed or _floats_refuted(self._formula, self._found)
        if failed:
            return failed
        if not self._compared:
            return Undecided(f"at every point phi has fewer {', '.join(self._excluded)} than elsewhere")
        return Verified(digits, self._compared, self._worst, "; ".join(self._extent(min(digits, _FEWER_DIGITS), more)))

    def _extent(self, fewer_digits: int, more: int) -> Iterator[str]:
        """What was compared, and where."""
        ranges = domain(self._formula.variables, _fixed_lengths([self._formula]))
        yield f"{ranges}, to {_nothing(self._formula)} digits after the point at most"
        yield ", ".join(form.name for form in self._forms)
        if more:
            yield f"expression to {fewer_digits} digits at {more} further points"
        reach = f", knots to {_FLOATS_REACH:g} deviations" if Q1 in self._formula.variables else ""
        yield f"lambdify to {_FLOATS:g} of the parts{reach}"
        for reason, point in self._excluded.items():
            where = ", ".join(f"{symbol} = {value}" for symbol, value in _shown(point).items())
            yield f"not where phi has fewer {reason} than elsewhere, as at {where}"


# One form at one point.


def _compared(formula: Formula, form: Form, point: Point, digits: int) -> tuple[float, Value] | Refuted | Undecided:
    """The relative difference, if it is small enough, and the value by its meaning.

    The working precision grows until quadrature can tell.
    """
    if form.rho is not None:
        point = {symbol: value for symbol, value in point.items() if symbol != RHO}
    error = arb(0)
    for lost in (0, _CANCELLATION):
        with ctx.workprec(math.ceil((digits + lost + 4) * math.log2(10)) + 32):
            defined = meaning(formula, point, form.rho)
            if found := _told(form, point, digits, _nothing(formula), defined):
                return found
            error = defined.ball.rad()
    return Undecided(f"the quadrature error is {error.str(3, radius=False)} ({form.name})", _shown(point))


def _told(form: Form, point: Point, digits: int, nothing: int, defined: Value) -> tuple[float, Value] | Refuted | None:
    """The same, at one precision; None where the balls are too wide to tell."""
    if defined.ball.is_nan():
        return None
    least = (defined.mass * arb(10) ** -_CANCELLATION).mid()
    scale = abs(defined.ball.mid()).max(least) + arb(10) ** (digits - nothing)
    finite = defined.ball.is_finite()
    closed = _ball(form.value(point, digits + 3, _to_mpf(scale) if finite else 0))
    if not (finite and closed.is_finite()):
        same = not finite and str(defined.ball) == str(closed)
        return (0.0, defined) if same else _refuted(form.name, point, closed, defined)
    difference, tolerance = abs(closed - defined.ball), scale * arb(10) ** -digits
    if difference > tolerance:
        return _refuted(form.name, point, closed, defined)
    return (float(difference.mid() / scale), defined) if difference < tolerance else None


def _nothing(formula: Formula) -> int:
    return _NOTHING_OF_PAIRS if formula.rho is not None or RHO in formula.variables else _NOTHING


def _refuted(form: str, point: Mapping[sp.Symbol, Any], closed: arb, defined: Value) -> Refuted:
    return Refuted(_shown(point), closed.str(20, radius=False), defined.ball.str(20, radius=False), form)


def _ball(number: Any) -> arb:
    """A number of mpmath, exactly; a ball as it is."""
    if isinstance(number, arb):
        return number
    sign, mantissa, exponent, _ = number._mpf_
    if mantissa:
        return (-1) ** sign * arb(int(mantissa)) * arb(2) ** exponent
    return arb(str(number).replace("+", ""))  # 0, infinite or NaN


def _to_mpf(ball: arb) -> Mpf:
    mantissa, exponent = ball.mid().man_exp()
    plain = context(64)
    return plain.ldexp(plain.mpf(int(mantissa)), int(exponent))


def _shown(point: Mapping[sp.Symbol, Any]) -> dict[str, str]:
    return {str(symbol): repr(float(value)) for symbol, value in point.items()}


# Arrays.


def _floats_refuted(formula: Formula, found: Sequence[_Found]) -> Refuted | None:
    """The first point at which the function of arrays is off by more than its bound, if there is one."""
    finite = [(p, value) for p, value in found if value.ball.is_finite() and _within_reach(formula, p)]
    if not finite:
        return None
    arrays = [np.array([float(point[v]) for point, _ in finite]) for v in formula.variables]
    terms: Any = sp.Add.make_args(sp.expand_mul(formula.stable))
    got, sizes = (_of_arrays(formula, e, arrays) for e in (formula.stable, sp.Add(*map(sp.Abs, terms))))
    for (point, value), number, size in zip(finite, got, sizes, strict=True):
        bound = _FLOATS * max(float(value.mass), size) + _LEAST
        if not abs(number - float(value.ball)) <= bound:
            return _refuted("lambdify", point, arb(float(number)), value)
    return None


def _of_arrays(formula: Formula, expression: sp.Expr, arrays: Sequence[Any]) -> Any:
    """An expression in the formula's variables as `lambdify` computes it; its memos tell formulas apart by that."""
    function = lambdify(replace(formula, expression=expression, stably=None))
    return np.broadcast_to(function(*arrays), len(arrays[0]))


def _within_reach(formula: Formula, point: Mapping[sp.Symbol, Any]) -> bool:
    if Q1 not in formula.variables:
        return True
    least = math.sqrt(min(float(point[v]) for v in formula.variables[:2]))
    knots = (float(fraction(t, point)) for phi in formula.activations for t in phi.knots)
    return all(abs(t) <= _FLOATS_REACH * least for t in knots)
