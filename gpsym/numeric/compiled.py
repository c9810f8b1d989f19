"""Stable forms as code for arrays of numpy and tensors of torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import sympy as sp

from gpsym.formula import Formula
from gpsym.numeric import moments, rectangles
from gpsym.numeric.doubles import accurate_sum
from gpsym.numeric.printing import call_source, function_source
from gpsym.special import BivariateTail, TailMoment
from gpsym.stable import IntervalMoment, JointDensity, RectangleMoment

__all__ = ["array_function", "stable_function"]


@cache
def array_function(formula: Formula, backend: str) -> Callable[..., Any]:
    """The stable form of a formula as a function of float64 arrays of any shapes, differentiable in torch."""
    return stable_function(formula.name, formula.variables, formula.stable, backend)


def stable_function(name: str, variables: Sequence[sp.Symbol], expression: sp.Expr, backend: str) -> Callable[..., Any]:
    """An expression with moments of `gpsym.stable` as a function of arrays."""
    choices: Any = expression.atoms(sp.Piecewise)
    if not choices:
        return _compiled(name, tuple(variables), expression, backend)
    ((_, condition), _) = next(iter(choices)).args
    branches = [expression.xreplace({choice: choice.args[k][0] for choice in choices}) for k in (0, 1)]
    here, there = (_compiled(name, tuple(variables), branch, backend) for branch in branches)
    holds = sp.lambdify(tuple(variables), condition, [{}])
    return _choice(here, there, holds, backend)


def _choice(here: Callable, there: Callable, holds: Callable, backend: str) -> Callable[..., Any]:
    """The branch that counts at each place: tensors need both, arrays are cut."""
    if backend == "torch":
        import torch

        return lambda *values: torch.where(holds(*values), here(*values), there(*values))

    def function(*values: Any) -> Any:
        arrays = np.broadcast_arrays(*values)
        mask = np.asarray(holds(*arrays))
        cases = [
            (mask, lambda at: [here(*(v[at] for v in arrays))]),
            (~mask, lambda at: [there(*(v[at] for v in arrays))]),
        ]
        return moments.by_cases(np, 1, cases)[0]

    return function


@cache
def _compiled(name: str, variables: tuple[sp.Symbol, ...], expression: sp.Expr, backend: str) -> Callable[..., Any]:
    expression = _without_integrals(expression.replace(TailMoment, _tail_moment).replace(BivariateTail, _tail_of_pair))
    calls, expression = _named_moments(expression, backend)
    code = function_source(name, variables, expression, backend, prelude=tuple(calls))
    namespace = {**_functions(backend), "accurate_sum": accurate_sum, "inf": math.inf}
    text = "\n".join([*(f"import {module}" for module in _MODULES[backend]), code])
    exec(compile(text, f"<gpsym {name} {backend}>", "exec"), namespace)
    return namespace[name]


_MODULES = {"numpy": ("numpy", "scipy.special"), "torch": ("torch",)}


def _functions(backend: str) -> Mapping[str, Any]:
    if backend == "numpy":
        found = (moments.interval_moments, rectangles.rectangle_moments, rectangles.joint_density)
        return {function.__name__: partial(function, np) for function in found}
    from gpsym.torch import special

    return {name: getattr(special, name) for name in ("interval_moments", "rectangle_moments", "joint_density")}


def _tail_moment(n: Any, h: Any) -> Any:
    return IntervalMoment(n, h, sp.oo, 1)


def _tail_of_pair(h: Any, k: Any, rho: Any) -> Any:
    return RectangleMoment(0, h, sp.oo, 0, k, sp.oo, 1, 1, rho)


def _without_integrals(expression: Any) -> Any:
    """Integrals over the correlation from 0 on as Gauss-Legendre sums: they are short, see `gpsym.maps.two_inputs`."""

    def quadrature(integrand: Any, limits: Any) -> Any:
        r, _, rho = limits
        nodes: Any = moments.gauss_legendre(_NODES)
        return sp.Mul(rho, sp.Add(*(w * integrand.subs(r, rho * x) for x, w in nodes)))

    return expression.replace(sp.Integral, quadrature)


# With a knot at 12 deviations the derivative of a kernel changes like exp(144 rho), rho up to 1 / 32: by a factor of
# 90, for which 8 nodes have a relative error of 4.5^16 (8!)^4 / (17 (16!)^3) = 5e-16.
_NODES = 8


def _named_moments(expression: sp.Expr, backend: str) -> tuple[list[str], Any]:
    """Lines that compute the moments, those of one place together, and the expression in their names."""
    groups: dict[Any, list[Any]] = {}
    atoms: Any = expression.atoms(IntervalMoment, RectangleMoment, JointDensity)
    for atom in sorted(atoms, key=sp.default_sort_key):
        orders, place = _orders_and_place(atom)
        groups.setdefault((atom.func, place), []).append((orders, atom))
    names: dict[Any, Any] = {}
    lines = []
    for k, ((function, place), members) in enumerate(groups.items()):
        symbols = [sp.Symbol(f"moment_{k}_{i}", real=True) for i in range(len(members))]
        names |= {atom: symbol for (_, atom), symbol in zip(members, symbols, strict=True)}
        call = _call(function, [orders for orders, _ in members], place, backend)
        target = str(symbols[0]) if function is JointDensity else f"[{', '.join(map(str, symbols))}]"
        lines.append(f"{target} = {call}")
    return lines, expression.xreplace(names)


def _orders_and_place(atom: Any) -> tuple[Any, tuple[Any, ...]]:
    if atom.func is IntervalMoment:
        return int(atom.args[0]), atom.args[1:]
    if atom.func is RectangleMoment:
        i, t1, w1, j, t2, w2, *rest = atom.args
        return (int(i), int(j)), (t1, w1, t2, w2, *rest)
    return None, atom.args


def _call(function: Any, orders: list[Any], place: tuple[Any, ...], backend: str) -> str:
    show = partial(call_source, backend=backend)
    if function is IntervalMoment:
        t, w, q = place
        return f"interval_moments({tuple(orders)}, {_exactly(t, show)}, {show(w)}, {show(q)})"
    if function is RectangleMoment:
        t1, w1, t2, w2, q1, q2, rho = place
        first, second = (f"({_exactly(t, show)}, {show(w)}, {show(q)})" for t, w, q in ((t1, w1, q1), (t2, w2, q2)))
        return f"rectangle_moments({tuple(orders)}, {first}, {second}, {show(rho)})"
    x, y, q1, q2, rho = place
    return f"joint_density({_exactly(x, show)}, {_exactly(y, show)}, {show(q1)}, {show(q2)}, {show(rho)})"


def _exactly(place: sp.Expr, show: Callable[[Any], str]) -> str:
    """A knot in double-double: the sum of its terms, of which numbers have two floats."""
    terms = []
    for term in sp.Add.make_args(place):
        if term.is_number:
            high = float(term)
            low = float((term - sp.Rational(high)).evalf(30))
            terms += [repr(high), *([repr(low)] if low else [])]
        else:
            terms.append(show(term))
    return f"accurate_sum(({', '.join(terms)},))"
