"""The rules by which one statement follows from others.

Each is a theorem of the calculus of one variable, given in its docstring; `variable` is called x there, lo and hi are
the ends of its interval, and the other symbols are fixed.  Every condition is decided when the rule is applied:
identities in normal form (`gpsym.equality`), signs by form (`proofs.logic.signs`).  What is stated, and all that a step
uses besides, must be seen to be defined: functions that may jump or have poles, such as floor, Piecewise and tan, are
not (`proofs.logic.signs.defined`).  Nothing but a symbol's interval says what its values are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import sympy as sp

from gpsym.equality import Equal, equal, normal_form
from proofs.logic.signs import NOT_NEGATIVE, NOT_POSITIVE, defined, direction, sign
from proofs.logic.statements import Claim, Domain, Open, Proof, Statement, carried_out, equation

__all__ = [
    "combination",
    "from_end",
    "hump",
    "identity",
    "increasing",
    "instance",
    "multiple",
    "ridge",
    "valley",
    "vanishes",
]


def identity(domain: Domain, left: Any, right: Any) -> Proof:
    """left = right, by the normal form of their difference.

    Each side is as it was derived.  Two sides that SymPy takes for the same before anything is carried out, and
    sides without symbols, say nothing, and are refused.
    """
    statement = equation(domain, left, right)
    _require_content(statement.expression)
    _require_zero(statement.carried_out, domain)
    return _proof(statement, "identity")


def combination(
    domain: Domain,
    expression: Any,
    terms: Sequence[tuple[Any, Proof]] = (),
    rest: Any | None = None,
) -> Proof:
    """expression = sum of c_i e_i + rest > 0, where e_i > 0 are proved, c_i >= 0 and rest >= 0 are seen, one strictly.

    rest  by default what is left, factored.
    """
    left = carried_out(expression) - sp.Add(*(c * premise.expression for c, premise in terms))
    shown = sp.factor(normal_form(left, direction(domain))) if rest is None else rest
    _require_zero(left - shown, domain)
    for _, premise in terms:
        _require_premise(premise, "positive", domain)
    parts = [_defined(part, domain) for part in (shown, *(c for c, _ in terms))]
    signs = [sign(part, domain) for part in parts]
    for part, its_sign in zip(parts, signs, strict=True):
        if its_sign not in NOT_NEGATIVE:
            raise Open(f"the sign of {part} is open")
    if "+" not in signs:
        raise Open(f"that {expression} may be 0 was not excluded")
    data = {"rest": shown, "coefficients": [c for c, _ in terms]}
    return _proof(Statement("positive", expression, domain), "combination", tuple(p for _, p in terms), data)


def instance(lemma: Proof, domain: Domain, values: Mapping[sp.Symbol, Any]) -> Proof:
    """A proved statement with expressions of the new domain for its symbols, which lie in their intervals."""
    if lemma.statement.claim != "positive":
        raise Open(f"an instance of a statement of {lemma.statement.claim} is not defined")
    if unknown := values.keys() - dict(lemma.statement.domain).keys():
        raise Open(f"{', '.join(map(str, unknown))} is no symbol of the lemma")
    for symbol, interval in lemma.statement.domain:
        _require_inside(_defined(values.get(symbol, symbol), domain), interval, domain)
    expression = lemma.expression.subs(dict(values), simultaneous=True)
    return _proof(Statement("positive", expression, domain), "instance", (lemma,), {"values": dict(values)})


def vanishes(domain: Domain, expression: Any, variable: sp.Symbol, end: Any) -> Proof:
    """expression -> 0 as x -> end, 0 or oo, because each of its terms does.

    A term is a product of powers of x, exponentials, erfc and what does not depend on x.  With y = x or 1/x, which
    tends to oo, let exp(-E) be its exponentials in one.  The term vanishes if E ~ c y^k with c > 0, k > 0; or if
    exp(-E) is bounded, because k <= 0 or E >= 0, and one erfc(E') in it has E' ~ c y^k with c > 0, k > 0, or the
    power of y is negative, as erfc <= 2.
    It is 0 where a symbol that is a factor is 0, so that such symbols count as > 0.
    """
    interval = _interval(domain, variable)
    if (interval.end if end == sp.oo else interval.start) != end or end in interval:
        raise Open(f"{end} is no open end of {interval}")
    _require_vanishing(domain, carried_out(expression), variable, end)
    return _proof(Statement("vanishing", expression, domain, variable, end), "vanishes")


def from_end(
    domain: Domain,
    expression: Any,
    variable: sp.Symbol,
    end: Any,
    slope: Proof,
    boundary: Proof | None = None,
) -> Proof:
    """expression > 0: it is >= 0 at one end of x, and moves up away from it.

    slope     proves that its derivative is > 0 (the end is lo), or that minus its derivative is (the end is hi).
    boundary  needed where the value at the end is a limit: proves that it is 0 (`vanishes`), or that the expression
              minus an expression free of x, which is >= 0 in form, tends to 0.  Else x = end is put in.
    """
    interval = _interval(domain, variable)
    away = 1 if end == interval.start else -1
    if end not in (interval.start, interval.end):
        raise Open(f"{end} is no end of {interval}")
    _require_premise(slope, "positive", domain)
    _require_zero(away * sp.diff(carried_out(expression), variable) - slope.expression, domain)
    premises, data = _boundary(domain, expression, variable, end, boundary, NOT_NEGATIVE)
    return _proof(
        Statement("positive", expression, domain), "from_end", (slope, *premises), {"variable": variable, **data}
    )


def increasing(domain: Domain, expression: Any, variable: sp.Symbol, slope: Proof) -> Proof:
    """expression crosses from - to + along x, because its derivative is > 0."""
    _interval(domain, variable)
    _require_premise(slope, "positive", domain)
    _require_zero(sp.diff(carried_out(expression), variable) - slope.expression, domain)
    return _proof(Statement("crossing", expression, domain, variable), "increasing", (slope,))


def multiple(domain: Domain, expression: Any, factor: Any, premise: Proof) -> Proof:
    """expression = factor * e crosses from - to + along x, because e does and factor > 0."""
    _require_crossing(premise, domain)
    _require_zero(carried_out(expression) - factor * premise.expression, domain)
    _require_positive(_defined(factor, domain), domain)
    statement = Statement("crossing", expression, domain, premise.statement.variable)
    return _proof(statement, "multiple", (premise,), {"factor": factor})


def valley(domain: Domain, expression: Any, slope: Proof) -> Proof:
    """expression crosses from - to + along x: it is <= 0 at lo, and falls first and rises then.

    slope  proves that its derivative crosses from - to +.
    """
    variable = _require_crossing(slope, domain)
    _require_zero(sp.diff(carried_out(expression), variable) - slope.expression, domain)
    end = _interval(domain, variable).start
    premises, data = _boundary(domain, expression, variable, end, None, NOT_POSITIVE)
    return _proof(Statement("crossing", expression, domain, variable), "valley", (slope, *premises), data)


def hump(domain: Domain, expression: Any, slope: Proof, boundary: Proof | None = None) -> Proof:
    """expression crosses from - to + along x: it rises first and falls then, to a value >= 0 at hi.

    slope  proves that minus its derivative crosses from - to +.
    """
    variable, premises, data = _falling_to(domain, expression, slope, boundary)
    return _proof(Statement("crossing", expression, domain, variable), "hump", (slope, *premises), data)


def ridge(domain: Domain, expression: Any, slope: Proof, boundary: Proof | None = None) -> Proof:
    """expression > 0: from a value >= 0 at lo it rises first and falls then, to a value >= 0 at hi.

    slope  proves that minus its derivative crosses from - to +.
    """
    variable, premises, data = _falling_to(domain, expression, slope, boundary)
    _, start = _boundary(domain, expression, variable, _interval(domain, variable).start, None, NOT_NEGATIVE)
    data |= {"variable": variable, "start": start["limit"]}
    return _proof(Statement("positive", expression, domain), "ridge", (slope, *premises), data)


def _proof(statement: Statement, rule: str, premises: tuple[Proof, ...] = (), data: dict | None = None) -> Proof:
    """What a rule concludes, where the expression is defined."""
    sides = statement.expression.args if statement.claim == "equal" else (statement.expression,)
    for side in sides:
        _defined(carried_out(side), statement.domain)
    return Proof(statement, rule, premises, data or {})


def _defined(given: Any, domain: Domain, smooth: bool = True) -> Any:
    """The expression, if it is seen to be defined."""
    expression = sp.sympify(given)
    if not defined(expression, domain, smooth):
        where = ", ".join(f"{symbol} in {interval}" for symbol, interval in domain)
        raise Open(f"that {expression} is defined and {'smooth' if smooth else 'continuous'} for {where} was not seen")
    return expression


def _interval(domain: Domain, variable: Any) -> sp.Interval:
    """The interval of one symbol."""
    if variable not in dict(domain):
        raise Open(f"{variable} has no interval here")
    return dict(domain)[variable]


def _require_vanishing(domain: Domain, expression: Any, variable: sp.Symbol, end: Any) -> None:
    # Near the end y > 0, wherever the interval begins.
    far = _with_interval(domain, variable, sp.Interval.open(0, sp.oo))
    for term in terms_at(expression, variable, end):
        if not _term_vanishes(term, variable, far):
            raise Open(f"that {term} vanishes as {variable} -> oo was not seen")


def _with_interval(domain: Domain, variable: sp.Symbol, interval: Any) -> Domain:
    return tuple((symbol, interval if symbol == variable else own) for symbol, own in domain)


def terms_at(expression: Any, variable: sp.Symbol, end: Any) -> tuple[Any, ...]:
    """The terms of the expression, as functions of y -> oo, where y = x or 1/x."""
    if end not in (0, sp.oo):
        raise Open(f"a limit at {end} is not defined; put the value in, or count from there")
    moved = expression.subs(variable, 1 / variable) if end == 0 else expression
    return sp.Add.make_args(sp.expand(moved))


def _falling_to(
    domain: Domain, expression: Any, slope: Proof, boundary: Proof | None
) -> tuple[sp.Symbol, tuple[Proof, ...], dict]:
    variable = _require_crossing(slope, domain)
    _require_zero(-sp.diff(carried_out(expression), variable) - slope.expression, domain)
    end = _interval(domain, variable).end
    return variable, *_boundary(domain, expression, variable, end, boundary, NOT_NEGATIVE)


def _boundary(
    domain: Domain,
    expression: Any,
    variable: sp.Symbol,
    end: Any,
    boundary: Proof | None,
    allowed: Set[str],
) -> tuple[tuple[Proof, ...], dict]:
    """The premises and data that show the value of the expression at an end of x to have an allowed sign.

    Where the end belongs to the interval that sign must be strict.
    """
    rest = tuple((s, i) for s, i in domain if s != variable)
    if boundary is None:
        limit = _value_at(domain, carried_out(expression), variable, end)
    else:
        statement = boundary.statement
        _require_premise(boundary, "vanishing", domain)
        if (statement.variable, statement.end) != (variable, end):
            raise Open(f"the limit is one of {statement.variable} -> {statement.end}, not of {variable} -> {end}")
        limit = normal_form(carried_out(expression) - boundary.expression, direction(domain))
        if variable in limit.free_symbols:
            raise Open(f"{limit} still depends on {variable}")
    if end in _interval(domain, variable):
        allowed = allowed - {"0+", "0", "0-"}  # there it is the value
    if sign(_defined(limit, rest, smooth=False), rest) not in allowed:
        raise Open(f"the sign of {limit}, at {variable} = {end}, is open")
    return () if boundary is None else (boundary,), {"end": end, "limit": limit}


def _value_at(domain: Domain, expression: Any, variable: sp.Symbol, end: Any) -> Any:
    """The limit at an end: the value there, where the expression is continuous up to it; at oo as terms show it."""
    interval, rest = _interval(domain, variable), tuple((s, i) for s, i in domain if s != variable)
    value = expression.subs(variable, end)
    if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
        raise Open(f"the value at {variable} = {end} is a limit; prove it")
    if end in (sp.oo, -sp.oo):
        _require_vanishing(domain, expression - value, variable, end)
    else:
        up_to_it = interval.union(sp.FiniteSet(end))
        _defined(expression, _with_interval(domain, variable, up_to_it), smooth=False)
    return sp.S.Zero if equal(value, 0, direction(rest)) == Equal() else value


def _term_vanishes(term: Any, y: sp.Symbol, domain: Domain) -> bool:
    # Where a factor is 0 the term is: what is left are the values of the symbol beyond 0.
    zeros = {f.as_base_exp()[0] for f in sp.Mul.make_args(term) if f.as_base_exp()[1].is_positive}
    domain = tuple((s, sp.Interval.open(0, i.end) if s in zeros and i.start == 0 else i) for s, i in domain)
    rest = tuple((s, i) for s, i in domain if s != y)
    power, decay, decays = sp.S.Zero, sp.S.Zero, False
    for factor in sp.Mul.make_args(term):
        base, exponent = factor.as_base_exp()
        if y not in factor.free_symbols:
            continue
        if isinstance(factor, sp.exp):
            decay -= factor.args[0]
        elif isinstance(base, sp.erfc) and exponent.is_Integer and exponent > 0:
            decays = decays or _grows(base.args[0], y, rest)
        elif base == y and exponent.is_Rational:
            power += exponent
        else:
            return False
    if _grows(decay, y, rest):
        return True
    bounded = _leading(decay, y, rest)[1] <= 0 or sign(decay, domain) in NOT_NEGATIVE
    return bounded and (decays or bool(power < 0))


def _grows(e: Any, y: sp.Symbol, rest: Domain) -> bool:
    """Whether e -> oo as y -> oo."""
    c, k = _leading(e, y, rest)
    return bool(k > 0) and sign(c, rest) == "+"


def _leading(e: Any, y: sp.Symbol, rest: Domain) -> tuple[Any, Any]:
    """(c, k) with e ~ c y^k as y -> oo, or slower where c is 0, for a quotient of sums of powers of y."""
    if e == 0:
        return sp.S.Zero, sp.S.Zero
    root = sp.Dummy("root", positive=True)
    above, below = sp.fraction(sp.together(e.subs(y, root**2)))
    try:
        over, under = sp.Poly(sp.expand(above), root), sp.Poly(sp.expand(below), root)
    except sp.PolynomialError as error:
        raise Open(f"how {e} grows was not seen") from error
    if sign(sp.LC(under), rest) not in ("+", "-"):
        raise Open(f"how {e} grows where {sp.LC(under)} is 0 was not seen")
    return sp.LC(over) / sp.LC(under), sp.Rational(over.degree() - under.degree(), 2)


def _require_content(equation: Any) -> None:
    """The sides differ as they are written, and speak of a symbol; no derivative and no value is idle."""
    if not equation.free_symbols:
        raise Open(f"{sp.sstr(equation)} says nothing: both sides are numbers")
    if equation.lhs - equation.rhs == 0:
        raise Open(f"{sp.sstr(equation)} says nothing: both sides are the same as they are written")
    for operation in equation.atoms(sp.Subs, sp.Derivative):
        if not set(operation.variables) <= carried_out(operation.expr).free_symbols:
            raise Open(f"{sp.sstr(operation)} says nothing: the expression has not all of {operation.variables}")


def _require_zero(expression: Any, domain: Domain) -> None:
    if equal(expression, 0, direction(domain)) != Equal():
        raise Open(f"{sp.sstr(expression)} was not seen to be 0")


def _require_positive(expression: Any, domain: Domain) -> None:
    if sign(expression, domain) != "+":
        raise Open(f"the sign of {expression} is open")


def _require_premise(premise: Proof, claim: Claim, domain: Domain) -> None:
    """The premise claims what it should, on a domain that contains this one."""
    if premise.statement.claim != claim:
        raise Open(f"need a proof that something is {claim}, got {premise.statement.claim}")
    given = dict(domain)
    for symbol, interval in premise.statement.domain:
        if symbol in given and not given[symbol].is_subset(interval):
            raise Open(f"{symbol} in {given[symbol]} is not covered by {interval}")
    unknown = premise.expression.free_symbols - given.keys()
    if unknown:
        raise Open(f"{', '.join(map(str, unknown))} has no interval here")


def _require_crossing(premise: Proof, domain: Domain) -> sp.Symbol:
    _require_premise(premise, "crossing", domain)
    variable = premise.statement.variable
    assert variable is not None
    if premise.statement.interval(variable) != _interval(domain, variable):
        raise Open(f"{variable} must have one interval, {premise.statement.interval(variable)}")
    return variable


def _require_inside(value: Any, interval: sp.Interval, domain: Domain) -> None:
    for end, open_end, distance in (
        (interval.start, interval.left_open, value - interval.start),
        (interval.end, interval.right_open, interval.end - value),
    ):
        allowed = {"+"} if open_end else NOT_NEGATIVE
        if end.is_finite and sign(distance, domain) not in allowed:
            raise Open(f"that {value} lies in {interval} was not seen")
