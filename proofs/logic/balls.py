"""The rules that rest on ball arithmetic: signs on boxes, and roots of systems."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any

import sympy as sp
from flint import arb, arb_mat, ctx, fmpq

from gpsym.numeric.balls import image
from proofs.logic.signs import elementary
from proofs.logic.statements import Domain, Open, Proof, Statement, carried_out

__all__ = ["on_boxes", "root", "rounding"]

_BITS = 128  # of all balls here: 38 digits, enough for boxes as small as 10^-15
_MOST_BOXES = 20_000  # that wait at a time
_MOST_HALVINGS = 100


def on_boxes(domain: Domain, expression: Any) -> Proof:
    """expression > 0 on a closed box, because it is so on each of the boxes into which it is halved.

    Boxes are halved along their relatively longest side until the ball of the expression is positive.
    """
    _require_boxes(domain, expression)
    with ctx.workprec(_BITS):
        boxes = list(_positive_boxes(domain, carried_out(expression)))
    return Proof(Statement("positive", expression, domain), "on_boxes", (), {"boxes": boxes})


def _positive_boxes(domain: Domain, expression: Any) -> Iterator[dict[str, Any]]:
    waiting = deque([(domain, 0)])
    while waiting:
        box, depth = waiting.popleft()
        ball = image(expression, {symbol: _ball(interval) for symbol, interval in box})
        if ball > 0:
            yield {**{symbol.name: _ends(interval) for symbol, interval in box}, "value": _outer(ball)}
            continue
        middle = image(expression, {symbol: _exact((side.start + side.end) / 2) for symbol, side in box})
        if not middle > 0 or len(waiting) > _MOST_BOXES or depth > _MOST_HALVINGS:
            raise Open(f"{expression} is {ball} for " + ", ".join(f"{s} in {i}" for s, i in box))
        waiting.extend((half, depth + 1) for half in _halves(box))


def _halves(box: Domain) -> tuple[Domain, Domain]:
    widest = max(range(len(box)), key=lambda k: box[k][1].measure / (1 + abs(box[k][1].start)))
    symbol, interval = box[widest]
    middle = (interval.start + interval.end) / 2
    halves = (sp.Interval(interval.start, middle), sp.Interval(middle, interval.end))
    first, second = ((*box[:widest], (symbol, half), *box[widest + 1 :]) for half in halves)
    return first, second


def root(domain: Domain, equations: Any, unknowns: Sequence[sp.Symbol]) -> Proof:
    """Exactly one zero of the equations in the closed box of the unknowns, for all values of the other symbols.

    Krawczyk 1969: with the box X around x, the Jacobian J on all of it, and any matrix Y, a map that sends X into
    its inside, x - Y f(x) + (1 - Y J)(X - x), has exactly one zero of f there.
    """
    _require_boxes(domain, *equations)
    box = dict(domain)
    if not unknowns or len({*unknowns}) != len(unknowns) or len(unknowns) != len(equations) or {*unknowns} - box.keys():
        raise Open(f"need one equation for each unknown of the box, got {len(equations)} for {unknowns}")
    try:
        with ctx.workprec(_BITS):
            inside = _krawczyk(domain, list(map(carried_out, equations)), unknowns)
    except ZeroDivisionError:  # the Jacobian is singular
        inside = False
    if not inside:
        raise Open("no single root was seen for " + ", ".join(f"{s} in {i}" for s, i in domain))
    return Proof(Statement("root", sp.Tuple(*equations), domain, sp.Tuple(*unknowns)), "root")


def rounding(digits: Mapping[Any, str]) -> Domain:
    """The box of the points that round to decimals: each symbol's is at most half a unit in the last place away.

    >>> rounding({sp.Symbol("x"): "1.414"})
    ((x, Interval(2827/2000, 2829/2000)),)
    """
    return tuple((symbol, _rounding(decimal)) for symbol, decimal in digits.items())


def _require_boxes(domain: Domain, *expressions: Any) -> None:
    """Sides are closed and rational, and expressions analytic wherever their balls are finite."""
    for symbol, side in domain:
        if side.left_open or side.right_open or not (side.start.is_Rational and side.end.is_Rational):
            raise Open(f"need a closed interval with rational ends for {symbol}, got {side}")
    for expression in expressions:
        if not elementary(carried_out(expression), domain):
            raise Open(f"that {expression} is smooth wherever it is defined was not seen")


def _rounding(decimal: str) -> Any:
    half = sp.Rational(1, 2 * 10 ** len(decimal.partition(".")[2]))
    return sp.Interval(sp.Rational(decimal) - half, sp.Rational(decimal) + half)


def _krawczyk(domain: Domain, equations: Any, unknowns: Sequence[sp.Symbol]) -> bool:
    wide = {symbol: _ball(interval) for symbol, interval in domain}
    middle = {symbol: ball.mid() for symbol, ball in wide.items()}
    parameters = [symbol for symbol in wide if symbol not in unknowns]
    if not all(image(equation, wide).is_finite() for equation in equations):
        return False
    jacobian = sp.Matrix(list(equations)).jacobian(list(unknowns))
    inverse = arb_mat([[entry.mid() for entry in row] for row in _matrix(jacobian, middle).inv().table()])
    box = arb_mat([[wide[symbol] - middle[symbol]] for symbol in unknowns])
    one = arb_mat([[int(i == j) for j in unknowns] for i in unknowns])
    moved = -(inverse * _matrix(sp.Matrix(list(equations)), middle)) + (one - inverse * _matrix(jacobian, wide)) * box
    if parameters:
        # f at the middle of the unknowns, by the mean value theorem in the parameters.
        along = _matrix(sp.Matrix(list(equations)).jacobian(parameters), wide | {s: middle[s] for s in unknowns})
        moved -= inverse * along * arb_mat([[wide[s] - middle[s]] for s in parameters])
    return all(abs(moved[k, 0]) < box[k, 0].rad() for k in range(len(unknowns)))


def _matrix(entries: Any, box: Mapping[Any, arb]) -> arb_mat:
    return arb_mat([[image(entry, box) for entry in row] for row in entries.tolist()])


def _ball(interval: Any) -> arb:
    return _exact(interval.start).union(_exact(interval.end))


def _exact(number: Any) -> arb:
    return arb(fmpq(int(number.p), int(number.q)))


def _ends(interval: Any) -> list[sp.Rational]:
    return [interval.start, interval.end]


def _outer(ball: arb) -> list[sp.Rational]:
    """Ends of an interval that contains the ball, with few decimals."""
    return [_decimal(ball.lower().fmpq(), ROUND_FLOOR), _decimal(ball.upper().fmpq(), ROUND_CEILING)]


def _decimal(number: fmpq, rounding: str) -> Any:
    with localcontext(prec=15, rounding=rounding):
        return sp.Rational(str(Decimal(int(number.p)) / Decimal(int(number.q))))
