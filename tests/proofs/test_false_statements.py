"""False statements next to true ones: the prover leaves each open, and the checker rejects a certificate of each.

The true ones are proved by both.  Each is changed: its sign, its size, a factor that is 0 inside, an end that is closed
or moved, and terms that are 0 wherever they are defined, with a pole, a root or an essential singularity inside.
A change counts if a point at 30 digits, found without either program, shows that the new statement is false.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import mpmath
import pytest
import sympy as sp

from proofs.checker import Rejected
from proofs.logic.statements import Open
from tests.proofs.steps import CLAIMS, Step, check_steps, prove_steps

LINE, WHOLE, CLOSED, UNIT, AROUND = ({"x": i} for i in ("(0, oo)", "(-oo, oo)", "[0, oo)", "(0, 1)", "(-1, 1)"))
PLANE = {"x": "(0, oo)", "y": "[0, 1]"}


def by_form(expression: str, where: Mapping[str, str], rest: str | None = None) -> Step:
    return Step("combination", expression, where, data={"rest": rest or expression, "coefficients": []})


def from_end(expression: str, where: Mapping[str, str], end: str, limit: str, premises: Sequence[int] = (0,)) -> Step:
    return Step("from_end", expression, where, premises, data={"variable": "x", "end": end, "limit": limit})


def shape(rule: str, expression: str, where: Mapping[str, str], end: str, limit: str, premises: Any) -> Step:
    return Step(rule, expression, where, premises, "x", data={"end": end, "limit": limit})


def ridge(expression: str, where: Mapping[str, str], end: str, premises: Sequence[int]) -> Step:
    data = {"variable": "x", "end": end, "limit": "0", "start": "0"}
    return Step("ridge", expression, where, premises, data=data)


def crossing(expression: str, slope: str, where: Mapping[str, str]) -> tuple[Step, Step]:
    return by_form(slope, where), Step("increasing", expression, where, (0,), "x")


def multiple(expression: str, where: Mapping[str, str], factor: str) -> Step:
    return Step("multiple", expression, where, (1,), "x", data={"factor": factor})


def instance(expression: str, where: Mapping[str, str], x: str, claim: str = "positive") -> Step:
    return Step("instance", expression, where, (0,), data={"values": {"x": x}}, claim=claim)


def vanishing(expression: str, where: Mapping[str, str], end: str) -> Step:
    return Step("vanishes", expression, where, variable="x", end=end)


def boxes(expression: str, low: str, high: str, value: Sequence[str]) -> Step:
    data = {"boxes": [{"x": [low, high], "value": list(value)}]}
    return Step("on_boxes", expression, {"x": f"[{low}, {high}]"}, data=data)


HILL = (*crossing("x - 1", "1", LINE), multiple("(x - 1)*exp(-x)", LINE, "exp(-x)"))
LATE = (*crossing("x - 3", "1", LINE), multiple("(x - 3)*exp(-x)", LINE, "exp(-x)"))
FALL, FAR_FALL = vanishing("x*exp(-x)", LINE, "oo"), vanishing("(x - 2)*exp(-x)", LINE, "oo")

TRUE: dict[str, list[tuple[Step, ...]]] = {
    "identity": [
        (Step("identity", "exp(x)*erfc(-x) + exp(x)*erfc(x) - 2*exp(x)", WHOLE),),
        (Step("identity", "(x**2 - 1)/(x + 1) - x + 1", LINE),),
        (Step("identity", "sqrt(x**3 + 2*x**2 + x)**2 - x*(x + 1)**2", LINE),),
        (Step("identity", "y*sqrt(x**2 + x)/(x + 1) - y*x/sqrt(x**2 + x)", PLANE),),
    ],
    "combination": [
        (by_form("x + x**2*exp(-x)", LINE),),
        (by_form("x**2 + 1/10**6", WHOLE),),
        (by_form("(1 - x)*(1 + x)", AROUND),),
        (
            by_form("exp(x) - 1", LINE),
            Step("combination", "y*exp(x) - y + x", PLANE, (0,), data={"rest": "x", "coefficients": ["y"]}),
        ),
    ],
    "instance": [
        (by_form("exp(x) - 1", LINE), instance("exp(x**2 + 1) - 1", WHOLE, "x**2 + 1")),
        (by_form("1/x", LINE), instance("(1 + x)/x", LINE, "x/(1 + x)")),
        (by_form("(1 - x)*(1 + x)", AROUND), instance("(1 - x**2)*(1 + x**2)", UNIT, "x**2")),
    ],
    "vanishes": [
        (vanishing("x**3*exp(-x) + 1/x", LINE, "oo"),),
        (vanishing("x*exp(-1/x)", UNIT, "0"),),
        (vanishing("y*erfc(x)*x**2", PLANE, "oo"),),
        (vanishing("exp(-1/x)/x", LINE, "0"),),
    ],
    "from_end": [
        (by_form("exp(x) - 1", LINE), from_end("exp(x) - x - 1", LINE, "0", "0")),
        (by_form("1", UNIT), from_end("1 - x", UNIT, "1", "0")),
        (by_form("1 + y", PLANE), from_end("x + y*x", PLANE, "0", "0")),
        (
            by_form("2*exp(-x**2)/sqrt(pi)", LINE),
            vanishing("erfc(x)", LINE, "oo"),
            from_end("erfc(x)", LINE, "oo", "0", (0, 1)),
        ),
    ],
    "increasing": [
        crossing("x - 1", "1", LINE),
        crossing("x - exp(-x)", "1 + exp(-x)", WHOLE),
        crossing("-1/(2*x) + 3", "1/(2*x**2)", LINE),
        crossing("x*(1 + y) - 1", "1 + y", PLANE),
    ],
    "multiple": [
        (*crossing("x - 1", "1", LINE), multiple("x**2 - x", LINE, "x")),
        (*crossing("x", "1", WHOLE), multiple("x*exp(x)", WHOLE, "exp(x)")),
        (*crossing("x - 1/2", "1", UNIT), multiple("(x - 1/2)/(1 - x)", UNIT, "1/(1 - x)")),
    ],
    "valley": [
        (*crossing("2*x - 1", "2", LINE), shape("valley", "x**2 - x", LINE, "0", "0", (1,))),
        (*crossing("2*x - 1", "2", CLOSED), shape("valley", "x**2 - x - 1", CLOSED, "0", "-1", (1,))),
        (*crossing("exp(x) - 2", "exp(x)", LINE), shape("valley", "exp(x) - 2*x - 1", LINE, "0", "0", (1,))),
    ],
    "hump": [
        (*LATE, FAR_FALL, shape("hump", "(x - 2)*exp(-x)", LINE, "oo", "0", (2, 3))),
        (*crossing("2*x - 1", "2", UNIT), shape("hump", "x - x**2", UNIT, "1", "0", (1,))),
        (*crossing("-1/x**2", "2/x**3", LINE), shape("hump", "-1/x", LINE, "oo", "0", (1,))),
    ],
    "ridge": [
        (*HILL, FALL, ridge("x*exp(-x)", LINE, "oo", (2, 3))),
        (*crossing("2*x - 1", "2", UNIT), ridge("x - x**2", UNIT, "1", (1,))),
    ],
    "on_boxes": [
        (boxes("x**2", "1", "2", ("1", "4")),),
        (boxes("exp(x) + 1", "0", "1", ("19/10", "39/10")),),
        (boxes("sqrt(x) + 1", "1", "4", ("19/10", "31/10")),),
    ],
}
ALL_TRUE = [pytest.param(steps, id=f"{rule} {k}") for rule, found in TRUE.items() for k, steps in enumerate(found)]


@pytest.mark.parametrize("steps", ALL_TRUE)
def test_the_true_neighbours_are_proved_by_both(steps):
    prove_steps(steps)
    check_steps(steps)


# Changes, at a place c inside.

PLANTS = (
    "(x**2 - {c}**2)/(x - {c}) - x - {c}",  # a pole
    "(sqrt(x - {c}) + 1)**2 + (sqrt(x - {c}) - 1)**2 - 2*x + 2*{c} - 2",  # a root of what is < 0 on one side
    "(exp(1/(x - {c})) + 1)*(exp(1/({c} - x)) + 1) - exp(1/(x - {c})) - exp(1/({c} - x)) - 2",
    "Piecewise((0, x < {c}), (-9, True))",
    "exp(I*(x - {c})) - 1",
)
SIZES = ("-({e}) - 1/10**6", "({e}) - 10", "({e}) + 10", "({e})*(x - {c})")
WIDER = ("(-oo, oo)", "[0, oo)", "[0, 1]", "(-1, 2)")


def _changed(last: Step) -> Iterator[Step]:
    c = {"(0, 1)": "(1/3)", "(-1, 1)": "(1/2)"}.get(last.domain["x"], "(3/2)")
    for text in PLANTS + SIZES:
        added = f"{last.expression} + ({text})" if text in PLANTS else text
        yield replace(last, expression=added.format(c=c, e=last.expression))
    for wider in WIDER:
        yield replace(last, domain={**last.domain, "x": wider})


@pytest.mark.parametrize("steps", ALL_TRUE)
def test_changed_statements_that_are_false_are_refused_by_both(steps):
    found = [last for last in _changed(steps[-1]) if is_false(last)]
    assert len(found) >= 4
    for last in found:
        moved = [replace(step, domain=last.domain) for step in steps[:-1]]
        for premises in (steps[:-1], moved) if last.domain != steps[-1].domain else (steps[:-1],):
            with pytest.raises(Open):
                prove_steps((*premises, last))
            for step in _limits(last):
                with pytest.raises(Rejected):
                    check_steps((*premises, step))


def _limits(last: Step) -> Iterator[Step]:
    """The step with each limit that it might claim."""
    if "limit" not in last.data:
        yield last
        return
    for limit in sorted({last.data["limit"], "0", "1", "-1", "10", "-10"}):
        yield replace(last, data={**last.data, "limit": limit})


# Rules whose data are undefined, and limits on a bounded interval.

OUTSIDE = {
    "rest": (by_form("2*x - 7", {"x": "(0, 10)"}, "(sqrt(x - 5) + 1)**2 + (sqrt(x - 5) - 1)**2 + 1"),),
    "factor": (
        *crossing("x", "1", {"x": "(0, 10)"}),
        multiple("(2*x - 7)*x", {"x": "(0, 10)"}, "(sqrt(x - 5) + 1)**2 + (sqrt(x - 5) - 1)**2 + 1"),
    ),
    "limit": (vanishing("x*exp(1/x**2 - 1/x)", UNIT, "0"),),
    "leading coefficient": (vanishing("exp(x/(x*y + 1))/x", PLANE, "oo"),),
    "correlation": (
        Step("identity", "sqrt(rho**3 + 3*rho**2 - 9*rho + 5) - (1 - rho)*sqrt(rho + 5)", {"rho": "(2, 3)"}),
    ),
    "tan": (by_form("tan(x)**2 + 1", {"x": "(0, 3)"}), from_end("tan(x)", {"x": "(0, 3)"}, "0", "0")),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_rules_outside_their_conditions_are_refused_by_both(name):
    with pytest.raises(Open):
        prove_steps(OUTSIDE[name])
    with pytest.raises(Rejected):
        check_steps(OUTSIDE[name])


@pytest.mark.parametrize("declared", ["negative", "integer", "imaginary", "prime", "infinite", "zero"])
def test_declarations_that_intervals_do_not_say_are_refused(declared):
    symbol = sp.Symbol("x", **{declared: True})
    with pytest.raises(Open, match="declared otherwise than"):
        prove_steps((by_form("x + 1", LINE),), {"x": symbol})


def test_a_name_belongs_to_one_symbol():
    same = {"x": sp.Symbol("x", real=True), "y": sp.Symbol("x", positive=True)}
    with pytest.raises(Open, match="one symbol of each name"):
        prove_steps((by_form("y + 1", {"x": "(-oo, oo)", "y": "(0, oo)"}),), same)


# What is false, by numbers.


def is_false(step: Step) -> bool:
    """Whether numbers show that the last statement of a step fails, or is about what is undefined."""
    with mpmath.workdps(30):
        lines = [list(_values(step, others)) for others in itertools.product(*_others(step))]
    claim = CLAIMS.get(step.rule, step.claim)
    return any(None in line or _fails(claim, step, line) for line in lines)


def _fails(claim: str, step: Step, line: Sequence[Any]) -> bool:
    if claim == "equal":
        return any(abs(value) > 1e-12 for value in line)
    if claim == "positive":
        return any(value < -1e-20 or value == 0 for value in line)
    if claim == "crossing":
        seen = [value > 0 for value in line if abs(value) > 1e-20]
        return seen != sorted(seen)
    ends = line[:2] if step.end == "0" else line[-2:]
    return min(map(abs, ends)) > 0.1


def _values(step: Step, others: Sequence[tuple[str, Any]]) -> Iterator[Any]:
    """Along x, None where the expression is undefined."""
    x = sp.Symbol("x", real=True)
    symbols = {name: sp.Symbol(name, real=True) for name in step.domain}
    expression = sp.sympify(step.expression, locals=symbols)
    value = sp.lambdify(x, expression.subs({symbols[name]: number for name, number in others}), "mpmath")
    for point in _points(step.domain["x"]):
        try:
            found = value(point)
        except (ZeroDivisionError, ValueError):
            yield None
            continue
        yield found.real if mpmath.isfinite(found) and abs(mpmath.im(found)) < 1e-20 else None


def _others(step: Step) -> Iterator[list[tuple[str, Any]]]:
    yield from ([(name, p) for p in _points(i)] for name, i in step.domain.items() if name != "x")


def _points(interval: str) -> list[Any]:
    """Ends that belong to the interval, places near those that do not, and places inside."""
    low, high = interval[1:-1].split(", ")
    start = mpmath.mpf(-20 if low == "-oo" else low)
    end = mpmath.mpf(40 if high == "oo" else high)
    edge = mpmath.mpf(10) ** -8
    first, last = (start if interval[0] == "[" else start + edge), (end if interval[-1] == "]" else end - edge)
    inside = [mpmath.mpf(n) / 12 for n in (-36, -12, -6, 0, 1, 3, 4, 6, 8, 12, 15, 18, 21, 24, 36, 60, 120)]
    return [first, *(p for p in inside if first < p < last), last]
