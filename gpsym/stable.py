"""The expectations of `gpsym.gaussian` as sums over pieces, for floating-point arithmetic.

    IntervalMoment(n, t, w, q)  M_n(t, w; q) = E[(U - t)^n; t < U < t + w]

    RectangleMoment(i, t1, w1, j, t2, w2, q1, q2, rho)
                                M_ij = E[(U - t1)^i (V - t2)^j; t1 < U < t1 + w1, t2 < V < t2 + w2]

    JointDensity(x, y, q1, q2, rho)  of (U, V) at (x, y)

U and V are centred normal with variances q (q1, q2) and correlation rho; widths may be infinite.

A closed form is a sum of tails and densities that cancel: of all digits where a clip level is small or a threshold
large.  Here each piece is written in powers of the distance from its end next to 0, where the density is greatest,
and contributes its moments: a sum of positive terms for functions such as phi^k.  `gpsym.numeric` computes the
moments themselves to nearly the last digit.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import sympy as sp
from mpmath.libmp import prec_to_dps
from sympy.core.function import ArgumentIndexError

from gpsym.gaussian import expectation, pair_expectation
from gpsym.piecewise import Element, Piecewise, ring_of
from gpsym.special import density, joint_density

__all__ = ["IntervalMoment", "JointDensity", "RectangleMoment", "stable_expectation", "stable_pair_expectation"]

Variances = tuple[sp.Expr, sp.Expr]


class _Moment(sp.Function):
    """What both moments have in common."""

    def _eval_evalf(self, prec: int) -> sp.Expr:
        if not all(argument.is_number and argument.is_extended_real for argument in self.args):
            return self
        return self.rewrite(sp.erfc).evalf(prec_to_dps(prec))

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return all(argument.is_extended_real for argument in self.args) or None

    @classmethod
    def _require_orders(cls, *orders: Any) -> None:
        for n in orders:
            if n.is_integer is False or n.is_negative:
                raise ValueError(f"{cls.__name__}: need an order n = 0, 1, 2, ..., got {n}; pass one.")


class IntervalMoment(_Moment):
    """M_n(t, w; q) = E[(U - t)^n; t < U < t + w], U ~ N(0, q), n = 0, 1, 2, ..., w >= 0 or infinite, q > 0.

    >>> tau, m, q = sp.symbols("tau m q", positive=True)
    >>> IntervalMoment(0, tau, m, q).rewrite(sp.erfc)
    erfc(sqrt(2)*tau/(2*sqrt(q)))/2 - erfc(sqrt(2)*(m + tau)/(2*sqrt(q)))/2
    >>> IntervalMoment(2, tau, m, q).diff(m)
    sqrt(2)*m**2*exp(-(m + tau)**2/(2*q))/(2*sqrt(pi)*sqrt(q))
    """

    nargs = 4

    @classmethod
    def eval(cls, *args: Any) -> Any:
        n, _, width, _ = args
        cls._require_orders(n)
        return sp.S.Zero if width.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        n, t, width, q = cast(tuple[Any, ...], self.args)
        at_end = width**n * density(t + width, q) if width != sp.oo else sp.S.Zero
        at_start = density(t, q) if n.is_zero else n * IntervalMoment(n - 1, t, width, q)
        if argindex == 2:
            return at_end - at_start
        if argindex == 3:
            return at_end
        if argindex == 4:  # homogeneous of degree n in t, w and sqrt(q)
            return (n * self + t * at_start - (0 if width == sp.oo else (t + width) * at_end)) / (2 * q)
        raise ArgumentIndexError(self, argindex)

    def _eval_rewrite_as_erfc(self, n: Any, t: Any, width: Any, q: Any, **_: Any) -> sp.Expr:
        ring, ends = ring_of([t] if width == sp.oo else [t, t + width])
        return expectation(_power_on_interval(ring, ends, int(n)), q)

    def _pretty(self, printer: Any) -> Any:
        return printer._helper_print_function(self.func, self.args[1:], func_name=f"M_{self.args[0]}")

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        n, t, width, q = map(printer.doprint, self.args)
        return rf"M_{{{n}}}{'' if exp is None else f'^{{{exp}}}'}\left({t}, {width}; {q}\right)"


class RectangleMoment(_Moment):
    """M_ij = E[(U - t1)^i (V - t2)^j; t1 < U < t1 + w1, t2 < V < t2 + w2], abs(rho) < 1.

    With i = j = 0 the probability of a rectangle; with infinite widths the bivariate tail L and the kernel K.

    >>> rho = sp.Symbol("rho", real=True)
    >>> RectangleMoment(0, 0, sp.oo, 0, 0, sp.oo, 1, 1, rho).rewrite(sp.erfc)
    asin(rho)/(2*pi) + 1/4
    """

    nargs = 9

    @classmethod
    def eval(cls, *args: Any) -> Any:
        i, t1, w1, j, t2, w2, q1, q2, rho = args
        cls._require_orders(i, j)
        if w1.is_zero or w2.is_zero:
            return sp.S.Zero
        if sp.default_sort_key((i, t1, w1, q1)) > sp.default_sort_key((j, t2, w2, q2)):
            return cls(j, t2, w2, i, t1, w1, q2, q1, rho)
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        i, t1, w1, j, t2, w2, q1, q2, rho = cast(tuple[Any, ...], self.args)
        if argindex in (5, 6, 8):  # those of the other variable
            mirrored: Any = RectangleMoment(j, t2, w2, i, t1, w1, q2, q1, rho, evaluate=False)
            return mirrored.fdiff({5: 2, 6: 3, 8: 7}[argindex])
        f, g = self._factors()
        if argindex == 9:  # Price's theorem
            derivatives = stable_pair_expectation(f.derivative(), g.derivative(), (q1, q2), rho)
            return sp.sqrt(q1) * sp.sqrt(q2) * derivatives
        start = -stable_pair_expectation(f.derivative(), g, (q1, q2), rho)
        end = sp.S.Zero if w1 == sp.oo else w1**i * _on_edge(t1 + w1, q1, (j, t2, w2, q2), rho)
        if argindex == 2:
            return start
        if argindex == 3:
            return end
        if argindex == 7:  # homogeneous of degree i in t1, w1 and sqrt(q1)
            return (i * self - t1 * start - (0 if w1 == sp.oo else w1 * end)) / (2 * q1)
        raise ArgumentIndexError(self, argindex)

    def _factors(self) -> tuple[Piecewise, Piecewise]:
        """The functions of U and of V whose product it is the expectation of."""
        i, t1, w1, j, t2, w2 = cast(tuple[Any, ...], self.args[:6])
        ends, others = ([t] if w == sp.oo else [t, t + w] for t, w in ((t1, w1), (t2, w2)))
        ring, elements = ring_of([*ends, *others])
        return (
            _power_on_interval(ring, elements[: len(ends)], int(i)),
            _power_on_interval(ring, elements[len(ends) :], int(j)),
        )

    def _eval_rewrite_as_erfc(self, *args: Any, **_: Any) -> sp.Expr:
        q1, q2, rho = args[6:]
        return pair_expectation(*self._factors(), (q1, q2), rho)

    def _pretty(self, printer: Any) -> Any:
        i, t1, w1, j, t2, w2, *rest = self.args
        return printer._helper_print_function(self.func, (t1, w1, t2, w2, *rest), func_name=f"M_{i}{j}")

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        i, t1, w1, j, t2, w2, q1, q2, rho = map(printer.doprint, self.args)
        power = "" if exp is None else f"^{{{exp}}}"
        return rf"M_{{{i}{j}}}{power}\left({t1}, {w1}, {t2}, {w2}; {q1}, {q2}, {rho}\right)"


class JointDensity(sp.Function):
    """`gpsym.special.joint_density` by name: written out, its exponent loses its digits as rho tends to -1 or 1.

    >>> rho = sp.Symbol("rho", real=True)
    >>> JointDensity(0, 0, 1, 1, rho).rewrite(sp.exp)
    1/(2*pi*sqrt(1 - rho**2))
    """

    nargs = 5

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        arguments = sp.symbols("x y", real=True), sp.symbols("q1 q2", positive=True), sp.Symbol("rho", real=True)
        (x, y), (q1, q2), rho = arguments
        exponent = (x**2 / q1 + y**2 / q2 - 2 * rho * x * y / sp.sqrt(q1 * q2)) / (2 * (1 - rho**2))
        logarithm = -exponent - sp.log(q1 * q2 * (1 - rho**2)) / 2
        symbols = (x, y, q1, q2, rho)
        if not 1 <= argindex <= len(symbols):
            raise ArgumentIndexError(self, argindex)
        return self * sp.diff(logarithm, symbols[argindex - 1]).subs(dict(zip(symbols, self.args, strict=True)))

    def _eval_rewrite_as_exp(self, x: Any, y: Any, q1: Any, q2: Any, rho: Any, **_: Any) -> sp.Expr:
        return joint_density(x, y, rho, (q1, q2))

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return self.rewrite(sp.exp).evalf(prec_to_dps(prec))

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        x, y, q1, q2, rho = map(printer.doprint, self.args)
        return rf"p_2{'' if exp is None else f'^{{{exp}}}'}\left({x}, {y}; {q1}, {q2}, {rho}\right)"


def _on_edge(place: Any, variance: Any, interval: tuple[Any, ...], rho: Any) -> Any:
    """E[delta(U - place) (V - t)^n; t < V < t + w]: given U = place, V is normal."""
    n, t, width, q = interval
    mean = rho * place * sp.sqrt(q) / sp.sqrt(variance) if q != variance else rho * place
    return density(place, variance) * IntervalMoment(n, t - mean, width, q * (1 - rho**2))


def _power_on_interval(ring: Any, ends: list[Element], n: int) -> Piecewise:
    """(x - start)^n from start to end, or to infinity; 0 elsewhere."""
    line = Piecewise.function(ring, (), ((-ends[0], ring.one),)) ** n
    return Piecewise.function(ring, ends, ((), *line.pieces, ())[: len(ends) + 1])


def stable_expectation(f: Piecewise, variance: sp.Expr) -> sp.Expr:
    """E[f(sqrt(variance) X)] as a sum over pieces; atoms as `expectation` has them."""
    parts = (c * IntervalMoment(n, t, w, variance) for _, n, t, w, c in _powers(f))
    return sp.Add(*parts, expectation(f.singular_part, variance))


def stable_pair_expectation(f: Piecewise, g: Piecewise, variances: Variances, rho: sp.Expr) -> sp.Expr:
    """E[f(U) g(V)] as a sum over pairs of pieces and atoms, abs(rho) < 1.

    With atoms of higher orders it is what `pair_expectation` gives.
    """
    if any(len(weights) > 1 for h in (f, g) for weights in h.atoms):
        return pair_expectation(f, g, variances, rho)
    q1, q2 = variances
    atoms, other_atoms = _deltas(f), _deltas(g)
    total = [
        c * d * RectangleMoment(i, t, w, j, s, v, q1, q2, side * other_side * rho)
        for side, i, t, w, c in _powers(f)
        for other_side, j, s, v, d in _powers(g)
    ]
    total += [
        c * d * _on_edge(side * place, q1, (n, t, w, q2), rho) for place, c in atoms for side, n, t, w, d in _powers(g)
    ]
    total += [
        c * d * _on_edge(side * place, q2, (n, t, w, q1), rho)
        for place, d in other_atoms
        for side, n, t, w, c in _powers(f)
    ]
    total += [c * d * JointDensity(x, y, *variances, rho) for x, c in atoms for y, d in other_atoms]
    return sp.Add(*total)


@cache
def _powers(f: Piecewise) -> tuple[tuple[Any, ...], ...]:
    """(side, order, start, width, coefficient) of all powers in its pieces."""
    return tuple(
        (side, n, start.as_expr(), width, c.as_expr())
        for side, start, width, polynomial in f.outward
        for n, c in enumerate(polynomial)
        if c
    )


def _deltas(f: Piecewise) -> list[tuple[sp.Expr, sp.Expr]]:
    """(place, weight) of its atoms of order 0."""
    return [(t.as_expr(), w[0].as_expr()) for t, w in zip(f.knots, f.atoms, strict=True) if w]
