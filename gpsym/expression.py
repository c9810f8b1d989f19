"""Activations read from expressions: what a person writes, made the exact data of the family.

Everything is reduced to the signs of piecewise polynomials and to the algebra of `Activation`:

    max(f, g) = g + (f - g) 1(f > g),    min(f, g) = f - (f - g) 1(f > g),    abs(f) = f sign(f),

and cases e_1 if c_1, else e_2 if c_2, ... are e_1 1(c_1) + e_2 1(c_2) (1 - 1(c_1)) + ...  A sign changes at the
roots of odd multiplicity, which are found exactly.  Where it is not known, reading stops: nothing is guessed.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cmp_to_key, reduce
from typing import Any

import sympy as sp

from gpsym.activation import Activation
from gpsym.formula import Q1, Q2, RHO, SIGMA_B2, SIGMA_W2, THETA, Q, X, Y, exact
from gpsym.limits import CHARACTERS, DEGREE, KNOTS, TERMS, budget, shown, spend
from gpsym.members import identity
from gpsym.parsing import INERT, as_number, read, require_size
from gpsym.piecewise import merged

__all__ = ["from_sympy", "parse_activation"]

_RESERVED = {str(s) for s in (Q, Q1, Q2, RHO, THETA, SIGMA_W2, SIGMA_B2, X, Y)}
# Budget of an expression, and the cost of its operations, in steps of some 10 microseconds.
_STEPS, _PIECE, _SIGN = 100_000, 100, 300
_FACTORED = 48  # terms up to which a polynomial is factored to see its sign
_DIGITS = 60  # to which a number is computed for its sign; one below half of them counts as open
_LANGUAGE = "x, real numbers and symbols, + - * /, powers, Piecewise, Max, Min, Abs, sign and Heaviside"


class _Refusal(Exception):
    """A sentence with a place for the expression at fault, in the symbols that stand in for the caller's."""

    def __init__(self, sentence: str, expression: Any):
        super().__init__(sentence, expression)
        self.sentence, self.expression = sentence, expression


def _undecided(expression: Any) -> _Refusal:
    primitive = sp.factor_terms(expression).as_coeff_Mul()[1]
    return _Refusal(
        "need the sign of {0}, got symbols that leave it open; declare them so that it is known, "
        "or assume it, by assume=['{0} > 0'] (--assume '{0} > 0').",
        -primitive if primitive.could_extract_minus_sign() else primitive,
    )


def from_sympy(expression: Any, x: sp.Symbol = X, assume: Iterable[Any] | str = ()) -> Activation:
    """The activation x -> expression.

    Arguments
      expression  made of x, real numbers (a float is the rational that it is), symbols declared real, + - *, division
                  by what is free of x, powers 0, 1, 2, ..., Max, Min, Abs, sign, Heaviside, and Piecewise under
                  relations of such expressions, And, Or and Not.
      x           the variable, a symbol declared real.
      assume      relations between the other symbols, such as tau >= 0 or "a < b".  They decide orders and signs.
                  The activation keeps them as its `conditions` as far as its knots depend on them.

    Values at single points are ignored: Eq(x, 0) never holds and Ne(x, 0) always does.

    Raises ValueError, naming the sub-expression, for anything else, for a sign that nothing decides, for cases that
    leave part of the line out, and for assumptions that contradict each other, bound a symbol more than twice or
    cannot be solved for one, such as a b > 1.

    >>> str(from_sympy(sp.sign(X) * sp.Max(0, abs(X) - 1)).pieces)
    '((1, 1), (), (-1, 1))'
    >>> tau = sp.Symbol("tau", real=True)
    >>> from_sympy(sp.Piecewise((0, abs(X) < tau), (X, True)), assume=["tau >= 0"]).conditions
    (tau,)
    """
    if isinstance(expression, str):
        raise ValueError(f"activation: need a SymPy expression, got {expression!r}; read text with parse_activation.")
    if not isinstance(expression, sp.Basic):
        expression = exact(expression, "activation")
    exactly = {f: sp.Rational(f) for f in expression.atoms(sp.Float)} | ({} if x == X else {x: X})
    expression = expression.xreplace(exactly)
    original: dict[Any, Any] = {}
    try:
        with budget("activation", _STEPS, "write fewer and simpler functions, or give numbers for parameters"):
            _check_symbols(expression, x)
            stand_ins = _stand_ins(assume, expression, original)
            return _restored(_function(expression.xreplace(stand_ins), _constant(1)), original)
    except _Refusal as refusal:
        came = refusal.expression.xreplace(original).xreplace({X: x})
        raise ValueError("activation: " + refusal.sentence.format(shown(came))) from None
    except RecursionError:
        raise ValueError("activation: need an expression of moderate depth, got a deeper one; simplify it.") from None


def parse_activation(text: str, assume: Iterable[str] | str = ()) -> Activation:
    """The activation that a line of text describes, such as "max(0, x - tau)"; nothing in it is executed.

    Arguments
      text    Python's notation with the functions Piecewise, where(condition, a, b), Max, Min, Abs, sign, Heaviside,
              relu, clip(x, low, high), sqrt of a number, And, Or, Not, max, min and abs, with a if condition else b,
              and pi.  Comparisons chain and combine by and, or, not, &, | and ~; where a number is due, one is 1 or 0.
              x is the variable, every other name a real parameter, and a decimal is the fraction that it says.
      assume  relations between the parameters, such as "tau >= 0", as `from_sympy` takes them; "m > 0" declares m
              positive, so that it may be divided by.

    Raises ValueError for what it cannot read, for what `from_sympy` refuses, and for what does not depend on x.

    >>> str(parse_activation("min(max(0, x), 0.1)").knots)
    '(0, 1/10)'
    >>> parse_activation("Piecewise((0, abs(x) <= tau), (x, True))", assume=["tau >= 0"]).conditions
    (tau,)
    """
    assumptions = (assume,) if isinstance(assume, str) else tuple(assume)
    if sum(map(len, assumptions)) > CHARACTERS:
        raise ValueError(f"activation: need assumptions of at most {CHARACTERS} characters, got more; leave some out.")
    positive = (name for given in assumptions for name in re.findall(r"^\s*([^\W\d]\w*)\s*>\s*0\s*$", given))
    symbols = {name: sp.Symbol(name, positive=True) for name in positive}  # which may be divided by
    expression = as_number(read(text, {**symbols, "x": X}))
    names = ", ".join(sorted(str(symbol) for symbol in expression.free_symbols))
    if not expression.has(X):
        others = f"got {shown(text)} in {shown(names)}; write x for it" if names else f"got {shown(text)}; use x"
        raise ValueError(f"activation: need an expression in the variable x, {others}.")
    activation = from_sympy(expression, assume=assumptions)
    if not (activation.knots or activation.degree):
        constant = next(iter(activation.pieces[0]), 0)
        raise ValueError(
            f"activation: need a function that depends on x, got {shown(text)}, which is {shown(constant)} everywhere; "
            "write another."
        )
    return activation


def _check_symbols(expression: Any, x: sp.Symbol) -> None:
    for symbol in sorted({x} | expression.free_symbols, key=str):
        if not symbol.is_real:
            raise _Refusal("need symbols declared real, got {0}; write sympy.Symbol('{0}', real=True).", symbol)
        if str(symbol) in _RESERVED and symbol not in (x, X):
            raise _Refusal("need a parameter of another name, got {0}, which the formulas use; rename it.", symbol)


def _restored(f: Activation, original: dict[Any, Any]) -> Activation:
    """The activation in the caller's symbols."""
    back = [[e.xreplace(original) for e in part] for part in (f.knots, *f.pieces)]
    for number in (e for part in back for e in part):
        _constant(number)
    return Activation(back[0], back[1:])


# Expressions, from the leaves up.


def _function(expression: Any, where: Activation) -> Activation:
    """The expression as it is where the indicator `where` is 1; elsewhere cases may be left out, as SymPy does."""
    if expression == X:
        return identity()
    if expression.is_Symbol or expression.is_number:
        return _constant(expression)
    if expression.is_Pow:
        return _power(expression, where)
    if expression.func in (sp.Piecewise, INERT["Piecewise"]):
        return _cases(expression, where)
    if expression.func not in _FUNCTIONS:
        raise _Refusal(f"need a piecewise polynomial in x, got {{}}; write it with {_LANGUAGE}.", expression)
    return _FUNCTIONS[expression.func](*(_function(e, where) for e in expression.args))


def _constant(number: Any) -> Activation:
    if isinstance(number, sp.Expr) and not (number.is_extended_real and number.is_finite):
        sentence = "need finite real numbers, got {}; declare its symbols so that it is one, such as positive."
        raise _Refusal(sentence, number)
    return Activation((), ((number,),))


def _power(expression: Any, where: Activation) -> Activation:
    base, exponent = expression.args
    if exponent.is_Integer and exponent > DEGREE:
        raise _Refusal(f"need powers up to {DEGREE}, got {{}}; choose a smaller one.", expression)
    if exponent.is_Integer and exponent.is_nonnegative:
        return reduce(_times, [_function(base, where)] * int(exponent), _constant(1))
    if base.has(X) or not exponent.is_Rational:
        raise _Refusal("need powers 0, 1, 2, ... of functions of x, got {}; expand it or take it out.", expression)
    return _constant(_value(_function(base, where)) ** exponent)


def _value(f: Activation) -> sp.Expr:
    if f.degree or f.knots:
        shown = sum(c * X**n for n, c in enumerate(f.pieces[-1]))
        raise _Refusal("need Heaviside's value at 0 to be free of x, got {}; take x out of it.", shown)
    return next(iter(f.pieces[0]), sp.S.Zero)


def _cases(expression: Any, where: Activation) -> Activation:
    total, rest = _constant(0), where
    for value, condition in _pairs(expression):
        here = _times(rest, _indicator(condition, rest))
        total, rest = _plus(total, _times(here, _function(value, here))), _minus(rest, here)
    for lower, upper, piece in rest.intervals:
        if piece:
            place = sp.And(sp.Gt(X, lower), sp.Lt(X, upper))
            raise _Refusal("need cases that cover the line, got none for {}; end them with (value, True).", place)
    return total


def _pairs(expression: Any) -> Iterable[Any]:
    """(value, condition) of each case."""
    if expression.func is sp.Piecewise:
        return [case.args for case in expression.args]
    return zip(expression.args[::2], expression.args[1::2], strict=True)


def _indicator(condition: Any, where: Activation) -> Activation:
    """1 where the condition holds, 0 elsewhere."""
    if condition.func in _RELATIONS:
        difference = _minus(*(_function(e, where) for e in condition.args))
        return _by_sign(difference, *_RELATIONS[condition.func])
    if condition in (True, False):
        return _constant(int(bool(condition)))
    if isinstance(condition, sp.ITE):  # which SymPy writes for cases within a condition
        test = _times(where, _indicator(condition.args[0], where))
        parts = zip((test, _minus(where, test)), condition.args[1:], strict=True)
        return reduce(_plus, (_times(part, _indicator(c, part)) for part, c in parts))
    if condition.func not in _LOGIC:
        raise _Refusal("need conditions made of relations, And, Or and Not, got {}; compare it.", condition)
    return _LOGIC[condition.func](*(_indicator(c, where) for c in condition.args))


# Functions of activations.


def _piece_by_piece(operation: Callable[[Any, Any], Any]) -> Callable[[Activation, Activation], Activation]:
    def combined(f: Activation, g: Activation) -> Activation:
        knots = merged(f.knots, g.knots, _at_most)
        if len(knots) > KNOTS:
            raise _Refusal(f"need at most {KNOTS} knots, got more, such as {{}}; write fewer cases.", knots[-1])
        terms = 6 * _terms(f) * _terms(g) if operation is operator.mul else _terms(f) + _terms(g)
        spend((len(knots) + 1) * (_PIECE + terms))
        pieces = (operation(_piece(f, knots[:k]), _piece(g, knots[:k])).pieces[0] for k in range(len(knots) + 1))
        return _moderate(Activation(knots, pieces))

    return combined


def _terms(f: Activation) -> int:
    """The number of terms of its longest polynomial in x and the parameters."""
    return max(sum(len(sp.Add.make_args(c)) for c in piece) for piece in f.pieces)


def _moderate(f: Activation) -> Activation:
    if f.degree > DEGREE:
        raise _Refusal(f"need pieces of degree up to {DEGREE}, got {{}}; choose smaller powers.", X**f.degree)
    if _terms(f) > TERMS:
        coefficient = max((c for piece in f.pieces for c in piece), key=sp.count_ops)
        raise _Refusal(f"need pieces of at most {TERMS} terms, got {{}}; give numbers for symbols.", coefficient)
    return f


def _piece(f: Activation, passed: list[Any]) -> Activation:
    """The polynomial that f is right of the knots passed."""
    return Activation((), (f.pieces[sum(knot in f.knots for knot in passed)],))


_plus, _minus, _times = map(_piece_by_piece, (operator.add, operator.sub, operator.mul))


def _folded(operation: Callable[[Activation, Activation], Activation]) -> Callable[..., Activation]:
    return lambda *functions: reduce(operation, functions)


def _positive_part(f: Activation) -> Activation:
    return _times(f, _by_sign(f, 0, None, 1))


def _heaviside(f: Activation, at_zero: Activation) -> Activation:
    return _by_sign(f, 0, _value(at_zero), 1)


def _not(f: Activation) -> Activation:
    return _minus(_constant(1), f)


def _both(**meanings: Any) -> dict[Any, Any]:
    """Meanings by SymPy's class of the name, and by the inert one."""
    return {cls: meaning for name, meaning in meanings.items() for cls in (getattr(sp, name), INERT[name])}


_FUNCTIONS: dict[Any, Callable[..., Activation]] = {
    sp.Add: _folded(_plus),
    sp.Mul: _folded(_times),
    **_both(
        Max=_folded(lambda f, g: _plus(g, _positive_part(_minus(f, g)))),
        Min=_folded(lambda f, g: _minus(f, _positive_part(_minus(f, g)))),
        Abs=lambda f: _times(f, _by_sign(f, -1, None, 1)),
        sign=lambda f: _by_sign(f, -1, 0, 1),
        Heaviside=_heaviside,
    ),
}
_LOGIC: dict[Any, Callable[..., Activation]] = _both(
    And=_folded(_times),
    Or=lambda *conditions: _not(reduce(_times, map(_not, conditions))),
    Not=_not,
)
_RELATIONS: dict[Any, tuple[int, int, int]] = _both(  # truth where left - right is negative, zero, positive
    Lt=(1, 0, 0), Le=(1, 1, 0), Eq=(0, 1, 0), Ne=(1, 0, 1), Ge=(0, 1, 1), Gt=(0, 0, 1)
)


# Signs of polynomials.


def _by_sign(f: Activation, below: Any, at: Any, above: Any) -> Activation:
    """These values where f < 0, f = 0 and f > 0; None stands for any value."""
    knots: list[Any] = []
    pieces: list[tuple[Any]] = []
    for lower, upper, piece in f.intervals:
        leading = piece[-1] if piece else sp.S.Zero
        roots = [_clamped(root, lower, upper) for root in _sign_changes(piece)]
        values = [(below, at, above), (above, at, below)]
        pieces += [(_chosen(leading, values[count % 2]),) for count in range(len(roots), -1, -1)]
        knots += [*roots, upper]
    return Activation(knots[:-1], pieces)


def _chosen(number: Any, values: tuple[Any, Any, Any]) -> Any:
    """The value for the sign of the number."""
    possible = {values[sign + 1] for sign in _signs(number)} - {None}
    if len(possible) > 1:
        raise _undecided(number)
    return possible.pop() if possible else values[2]


def _sign_changes(piece: tuple[sp.Expr, ...]) -> list[Any]:
    """The real roots of odd multiplicity in increasing order."""
    monic = [sp.cancel(c / piece[-1]) for c in piece]
    if not all(c.is_finite for c in monic):
        raise _undecided(piece[-1])
    if len(monic) == 3:
        return _square_root_changes(monic[0], monic[1])
    if len(monic) <= 2:
        return [-c for c in monic[:-1]]
    roots = _roots(sp.Poly(monic[::-1], X))
    return sorted((r for r, count in roots.items() if count % 2), key=cmp_to_key(lambda a, b: 1 - 2 * _at_most(a, b)))


def _square_root_changes(c: sp.Expr, b: sp.Expr) -> list[sp.Expr]:
    """Those of x^2 + b x + c; a double root is no change."""
    discriminant = sp.factor(b**2 - 4 * c)
    signs = _signs(discriminant)
    if signs <= {-1, 0}:
        return []
    if -1 in signs:
        raise _undecided(discriminant)
    root = sp.sqrt(discriminant)
    for unknown in root.atoms(sp.Abs):
        raise _undecided(unknown.args[0])
    return [sp.expand((-b - root) / 2), sp.expand((-b + root) / 2)]


def _roots(polynomial: sp.Poly) -> dict[Any, int]:
    """The real roots with their multiplicities."""
    if all(c.is_Rational for c in polynomial.all_coeffs()):
        return Counter(sp.real_roots(polynomial))
    roots = sp.roots(polynomial)
    if sum(roots.values()) < polynomial.degree() or any(root.is_real is None for root in roots):
        sentence = "need the real roots of {} in closed form, got none that is decided; factor it or give numbers."
        raise _Refusal(sentence, polynomial.as_expr())
    return {root: count for root, count in roots.items() if root.is_real}


def _clamped(root: sp.Expr, lower: sp.Expr, upper: sp.Expr) -> sp.Expr:
    if lower.is_finite is not False and _at_most(root, lower):
        return lower
    return upper if upper.is_finite is not False and _at_most(upper, root) else root


def _at_most(a: sp.Expr, b: sp.Expr) -> bool:
    """Whether a <= b."""
    signs = _signs(b - a)
    if signs == {-1, 0, 1} or signs == {-1, 1}:
        raise _undecided(b - a)
    return signs <= {0, 1}


def _signs(number: Any) -> set[int]:
    """The signs, of -1, 0 and 1, that the number can have as far as SymPy knows."""
    if not number.free_symbols and (value := _distinct(number)):
        return {1 if value > 0 else -1}
    if number.is_Rational:
        return {0}
    terms = require_size(number, "activation")
    spend(_SIGN * terms)
    signs = {-1, 0, 1}
    for form in (sp.expand, sp.factor) if terms <= _FACTORED else (sp.expand,):
        e = form(number)
        excluded = {-1: e.is_nonnegative, 0: e.is_nonzero, 1: e.is_nonpositive}
        signs -= {sign for sign, known in excluded.items() if known}
        if len(signs) == 1:
            return signs
    bounded = number.atoms(_Bounded)
    if bounded:
        signs &= _signs(number.xreplace({symbol: symbol.other for symbol in bounded}))
    return signs


def _distinct(number: Any) -> Any:
    """A number that is rational, or seen to be other than 0, as far as its sign; 0 if it is not."""
    if number.is_Rational:
        return number
    value = number.evalf(_DIGITS)
    return value if value.is_Float and abs(value) > sp.Float(10) ** (_DIGITS // -2) else 0


# Assumptions.  low < high gives a symbol that it bounds an expression in a new positive symbol, high - low.


class _Bounded(sp.Dummy):
    """A symbol bounded from both sides: its assumptions tell of one end, the expression `other` of the other."""

    other: Any


def _stand_ins(assume: Iterable[Any] | str, expression: Any, original: dict[Any, Any]) -> dict[Any, Any]:
    """What to put for the caller's symbols; `original` is told how to put them back."""
    symbols = {str(s): s for s in expression.free_symbols}
    stand_ins: dict[Any, Any] = {}
    for given in (assume,) if isinstance(assume, (str, sp.Basic)) else assume:
        for part in sorted(_relations(given, symbols), key=sp.default_sort_key):
            replaced = _replacement(part, stand_ins, original)
            stand_ins = {s: sp.expand(e.xreplace(replaced)) for s, e in stand_ins.items()} | replaced
    return stand_ins


def _relations(given: Any, symbols: dict[str, sp.Symbol]) -> Iterable[Any]:
    """The relations that hold together by an assumption, as SymPy writes them."""
    if not isinstance(given, str | sp.Basic):
        raise ValueError(f"activation: need assumptions as text or SymPy relations, got {shown(given)}; write one.")
    waiting: list[Any] = [read(given, symbols) if isinstance(given, str) else given]
    found: list[Any] = []
    while waiting:
        relation = waiting.pop()
        if relation.func in (sp.And, INERT["And"]):
            waiting += relation.args
        elif relation.func in _WRITTEN:
            require_size(relation.args[0] - relation.args[1], "activation")
            found.append(_WRITTEN[relation.func](*relation.args))
        else:
            found.append(relation)
    return found


_WRITTEN = {INERT[name]: getattr(sp, name) for name in ("Lt", "Le", "Gt", "Ge", "Eq", "Ne")}


def _replacement(relation: Any, stand_ins: dict[Any, Any], original: dict[Any, Any]) -> dict[Any, Any]:
    if relation == sp.true:
        return {}
    if relation.has(X) or (relation.func not in (sp.Lt, sp.Le, sp.Gt, sp.Ge) and relation != sp.false):
        raise _Refusal("need assumptions with <, <=, > or >= and without x, got {}; write one as m > 0.", relation)
    low, high = (sp.S.Zero, sp.S.NegativeOne) if relation == sp.false else (relation.lts, relation.gts)
    strict = relation.func in (sp.Lt, sp.Gt)
    gap = (high - low).xreplace(stand_ins)
    require_size(gap, "activation")
    gap = sp.expand(gap)
    wanted, signs = {1} if strict else {0, 1}, _signs(gap)
    if not signs & wanted:
        raise _Refusal("need assumptions that can hold together, got {}, which cannot; leave it out.", relation)
    if signs <= wanted:
        return {}
    new = sp.Dummy("gap", positive=True) if strict else sp.Dummy("gap", nonnegative=True)
    original[new] = high - low
    return _solved(gap, new, original, relation)


def _solved(gap: Any, new: sp.Dummy, original: dict[Any, Any], relation: Any) -> dict[Any, Any]:
    """{symbol: expression} that makes the gap equal to the new symbol and keeps what the symbol declares."""
    solutions = {}
    for symbol in sorted(gap.free_symbols - gap.atoms(_Bounded), key=sp.default_sort_key):
        slope = gap.coeff(symbol)
        value = sp.expand(symbol + (new - gap) / slope) if slope.is_Rational and slope else symbol
        if not value.has(symbol):
            solutions[symbol] = value
    for symbol, value in solutions.items():
        if all(getattr(value, f"is_{fact}") for fact, holds in symbol.assumptions0.items() if holds):
            return {symbol: value}
    for symbol, value in solutions.items():
        bounded = _Bounded("bounded", **symbol.assumptions0)
        bounded.other, original[bounded] = value, symbol.xreplace(original)
        return {symbol: bounded}
    raise _Refusal("need assumptions that bound a symbol at most twice, got {}; leave out the weaker ones.", relation)
