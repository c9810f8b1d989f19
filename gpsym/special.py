"""The special functions that name Gaussian expectations, as SymPy Functions.

    TailMoment(n, h)          H_n(h) = E[(Z - h)_+^n]
    BivariateTail(h, k, rho)  L(h, k; rho) = P(X > h, Y > k)

Z is standard normal; X and Y are, with correlation rho in [-1, 1].  h and k are real or infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import mpmath
import sympy as sp
from mpmath.libmp import from_man_exp, prec_to_dps
from sympy.core.function import ArgumentIndexError

from gpsym.limits import length, spend

__all__ = [
    "BivariateTail",
    "TailMoment",
    "bivariate_tail",
    "combined",
    "density",
    "joint_density",
    "ramp_moments",
    "tail",
]

_GUARD = 16  # bits of the quadrature beyond the precision asked for


@lru_cache(maxsize=1024)
def density(x: sp.Expr, variance: sp.Expr = sp.S.One, mean: sp.Expr = sp.S.Zero) -> sp.Expr:
    """Density of N(mean, variance) at x."""
    return sp.exp(-((x - mean) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


def joint_density(
    x: sp.Expr, y: sp.Expr, rho: sp.Expr, variances: tuple[sp.Expr, sp.Expr] = (sp.S.One, sp.S.One)
) -> sp.Expr:
    """Density of a centred normal pair of these variances and correlation rho at (x, y), abs(rho) < 1."""
    q1, q2 = variances
    s2 = 1 - rho**2
    if q1 == q2 and x == y:
        exponent = x**2 / (q1 * (1 + rho))
    elif q1 == q2:
        exponent = (x**2 - 2 * rho * x * y + y**2) / (2 * q1 * s2)
    else:
        exponent = (q2 * x**2 - 2 * rho * sp.sqrt(q1) * sp.sqrt(q2) * x * y + q1 * y**2) / (2 * q1 * q2 * s2)
    return sp.exp(-exponent) / (2 * sp.pi * sp.sqrt(q1) * sp.sqrt(q2) * sp.sqrt(s2))


def tail(h: sp.Expr) -> sp.Expr:
    """P(Z > h)."""
    return sp.erfc(h / sp.sqrt(2)) / 2


class TailMoment(sp.Function):
    """H_n(h) = E[(Z - h)_+^n], n = 0, 1, 2, ...

    H_0 is the tail probability, H_n = (n - 1) H_(n-2) - h H_(n-1) and dH_n/dh = -n H_(n-1); in the terms of
    Abramowitz and Stegun 7.2, H_n(h) = n! 2^(n/2 - 1) i^n erfc(h / sqrt 2).

    >>> TailMoment(2, sp.Symbol("h")).rewrite(sp.erfc)
    -sqrt(2)*h*exp(-h**2/2)/(2*sqrt(pi)) + (h**2 + 1)*erfc(sqrt(2)*h/2)/2
    >>> TailMoment(1, 0)
    sqrt(2)/(2*sqrt(pi))
    """

    nargs = 2

    @classmethod
    def eval(cls, *args: Any) -> Any:
        n, h = args
        if n.is_integer is False or n.is_negative:
            raise ValueError(f"TailMoment: need an order n = 0, 1, 2, ..., got {n}; pass one.")
        if h is sp.oo:
            return sp.S.Zero
        if h is -sp.oo:
            return sp.S.One if n.is_zero else sp.oo if n.is_positive else None
        if h.is_zero:
            return 2 ** (n / 2 - 1) * sp.gamma((n + 1) / 2) / sp.sqrt(sp.pi)
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        n, h = self.args
        if argindex != 2:
            raise ArgumentIndexError(self, argindex)
        return -n * TailMoment(n - 1, h) if n.is_positive else -density(h)  # type: ignore[arg-type]

    def _eval_rewrite_as_erfc(self, n: Any, h: Any, **_: Any) -> sp.Expr:
        if not n.is_Integer:
            return self
        at_tail, at_density = ramp_moments(h)(int(n))
        return sp.factorial(n) * (sp.factor(at_tail) * tail(h) + sp.factor(at_density) * density(h))

    def _eval_evalf(self, prec: int) -> sp.Expr:
        n, h = self.args
        if not (n.is_Integer and h.is_number and h.is_extended_real):
            return self
        # H_n is about h^-(2 n + 1) of its terms in the far tail, where a relative error of h grows by h^2.
        guard = (2 * int(n) + 3) * max(0, math.ceil(math.log2(abs(h) + 1)))  # type: ignore[arg-type, operator]
        return self.rewrite(sp.erfc).evalf(prec_to_dps(prec + guard) + 5).evalf(prec_to_dps(prec))

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return self.args[1].is_extended_real

    def _pretty(self, printer: Any) -> Any:
        return printer._helper_print_function(self.func, self.args[1:], func_name=f"H_{self.args[0]}")

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        n, h = map(printer.doprint, self.args)
        return rf"H_{{{n}}}{'' if exp is None else f'^{{{exp}}}'}\left({h}\right)"


def ramp_moments(h: Any) -> Callable[[int], tuple[Any, Any]]:
    """n -> E[r_n(Z - h)] as coefficients of P(Z > h) and of the density at h, for every integer n.

    r_n(x) is x^n / n! for x > 0 and 0 for x < 0, r_(-1) is Dirac's delta and r_n' = r_(n-1): so by parts
    n T_n = T_(n-2) - h T_(n-1).
    """

    @cache
    def t(n: int) -> tuple[Any, Any]:
        if n in (0, -1):
            return n + 1, -n
        if n > 0:
            return combined((sp.QQ(1, n), t(n - 2)), (-sp.QQ(1, n) * h, t(n - 1)))
        return combined((n + 2, t(n + 2)), (h, t(n + 1)))

    return t


def combined(*terms: tuple[Any, tuple]) -> tuple:
    """The sum of factor * coefficients over the terms."""
    spend(sum(length(factor) * length(c) for factor, coefficients in terms for c in coefficients))
    return tuple(map(sum, zip(*([factor * c for c in coefficients] for factor, coefficients in terms), strict=True)))


class BivariateTail(sp.Function):
    """L(h, k; rho) = P(X > h, Y > k), symmetric in h and k.

    dL/drho is the joint density (Plackett 1954), dL/dh = -p(h) P(Y > k given X = h).  It is elementary at rho = -1, 0
    and 1, at h = k = 0, and where h or k is infinite; otherwise it is written as an integral over the correlation,
    L = Q(h) Q(k) + int_0^rho joint density dr.

    >>> rho = sp.Symbol("rho", real=True)
    >>> BivariateTail(0, 0, rho), BivariateTail(1, -sp.oo, rho)
    (asin(rho)/(2*pi) + 1/4, erfc(sqrt(2)/2)/2)
    """

    nargs = 3

    @classmethod
    def eval(cls, *args: Any) -> Any:
        h, k, rho = args
        if rho.is_number and (abs(rho) > 1) == True:  # noqa: E712 (a SymPy truth value)
            raise ValueError(f"BivariateTail: need a correlation from -1 to 1, got {rho}; pass one.")
        for one, other in ((h, k), (k, h)):
            if one is sp.oo:
                return sp.S.Zero
            if one is -sp.oo:
                return tail(other)
        if rho.is_zero:
            return tail(h) * tail(k)
        if h.is_zero and k.is_zero:
            return sp.Rational(1, 4) + sp.asin(rho) / (2 * sp.pi)
        if rho is sp.S.One:
            return tail(sp.Max(h, k))
        if rho is sp.S.NegativeOne:
            return sp.S.Zero if (h + k).is_nonnegative else tail(h) - tail(sp.Max(h, -k))
        if sp.default_sort_key(k) < sp.default_sort_key(h):
            return cls(k, h, rho)
        return None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        h, k, rho = self.args
        if argindex == 3:
            return joint_density(h, k, rho)  # type: ignore[arg-type]
        if argindex == 2:
            h, k = k, h
        return -density(h) * tail((k - rho * h) / sp.sqrt(1 - rho**2))  # type: ignore[arg-type, operator]

    def _eval_rewrite_as_Integral(self, h: Any, k: Any, rho: Any, **_: Any) -> sp.Expr:
        r = sp.Dummy("r", real=True)
        return tail(h) * tail(k) + sp.Integral(joint_density(h, k, r), (r, 0, rho))

    def _eval_evalf(self, prec: int) -> sp.Expr:
        arguments: Any = self.args
        if not all(argument.is_number and argument.is_extended_real for argument in arguments):
            return self
        ctx = mpmath.MPContext()
        ctx.prec = prec + 10
        value = bivariate_tail(ctx, *(ctx.mpf(argument._to_mpmath(prec + 10)) for argument in arguments))
        return sp.Float._new(value._mpf_, prec)

    def _eval_is_extended_nonnegative(self) -> bool | None:
        return all(argument.is_extended_real for argument in self.args) or None

    def _pretty(self, printer: Any) -> Any:
        return printer._helper_print_function(self.func, self.args, func_name="L")

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        h, k, rho = map(printer.doprint, self.args)
        return rf"L{'' if exp is None else f'^{{{exp}}}'}\left({h}, {k}; {rho}\right)"


def bivariate_tail(ctx: Any, h: Any, k: Any, rho: Any) -> Any:
    """L(h, k; rho) for finite numbers of an mpmath context, to about its precision.

    L is the integral of the joint density over r, from 0 on for rho > 0 and from -1 on for rho < 0, and what L is
    there: two summands that are not negative, so nothing cancels.  With
    r = tanh(y), E = exp(2 y), A = (h - k)^2 and B = (h + k)^2 the integrand is exp(-(A (1 + E) + B (1 + 1 / E)) / 8) /
    (2 pi cosh y), which Gauss-Legendre panels in y resolve if narrow where A E and B / E are large.
    """
    if not -1 <= rho <= 1:
        return ctx.nan
    h_tail, k_tail = (ctx.erfc(t / ctx.sqrt(2)) / 2 for t in (h, k))
    if rho == 1:
        return min(h_tail, k_tail)
    least = h_tail * k_tail if rho >= 0 else _interval(ctx, h, -k)
    if rho in (-1, 0):
        return least
    a, b, end = (h - k) ** 2, (h + k) ** 2, ctx.atanh(rho)
    # The integrand counts where A E + B / E exceeds its least value by less than 8 prec.
    most = _least_sum(ctx, a, b, ctx.exp(2 * end)) + 8 * ctx.prec
    spread = ctx.sqrt(max(most**2 - 4 * a * b, ctx.zero))
    upper = min(end, ctx.log((most + spread) / (2 * a)) / 2) if a else end
    start = ctx.log(2 * b / (most + spread)) / 2 if b else upper - ctx.prec
    start = max(start, ctx.zero if rho > 0 else upper - ctx.prec)
    integral = ctx.zero
    while start < upper:
        e = ctx.exp(2 * start)
        narrow = 4 * abs(a * e - b / e) / ctx.prec + 2 * ctx.sqrt((a * e + b / e) / ctx.prec)
        radius = min(1 / (1 + narrow), upper - start) / 2
        integral += radius * ctx.make_mpf(_panel(ctx.prec, a, b, start, radius))
        start += 2 * radius
    return least + integral / ctx.pi


def _interval(ctx: Any, lower: Any, upper: Any) -> Any:
    """P(lower < Z < upper), by the tails that are smaller; 0 if lower > upper."""
    root = ctx.sqrt(2)
    if lower > upper:
        return ctx.zero
    if upper < 0:
        lower, upper = -upper, -lower
    if lower > 0:
        return (ctx.erfc(lower / root) - ctx.erfc(upper / root)) / 2
    return (ctx.erf(upper / root) - ctx.erf(lower / root)) / 2


def _least_sum(ctx: Any, a: Any, b: Any, e: Any) -> Any:
    """The least value of a E + b / E over 0 < E <= e."""
    return 2 * ctx.sqrt(a * b) if b < a * e * e else a * e + b / e


# In Arb: most of the time of a value at a high precision is spent here.
def _panel(precision: int, *numbers: Any) -> Any:
    """pi times the integral over y from start to start + 2 radius, divided by radius; as mpmath holds a number.

    numbers  A, B, start and radius.
    """
    from flint import arb, ctx

    with ctx.workprec(precision + _GUARD):
        a, b, start, radius = map(arb, numbers)
        total = arb(0)
        for x, w in _rule(precision):
            u = (start + radius * (1 + x)).exp()
            e = u * u
            total += w * u / (1 + e) * (-(a * (1 + e) + b * (1 + 1 / e)) / 8).exp()
        mantissa, exponent = total.mid().man_exp()
    return from_man_exp(int(mantissa), int(exponent), precision)


@lru_cache(maxsize=64)
def _rule(precision: int) -> list[tuple[Any, Any]]:
    """Gauss-Legendre nodes and weights on (-1, 1), one for every 3.7 bits.

    On a panel of width 1 the nearest pole is at a distance of pi / 2, for which each node adds
    2 log2(pi + sqrt(pi^2 - 1)) = 5.2 bits; on that ellipse the exponent grows by less than 0.35 bits per bit.
    """
    from flint import arb, ctx

    count = precision * 10 // 37 + 4
    with ctx.workprec(precision + _GUARD):
        return [arb.legendre_p_root(count, k, weight=True) for k in range(count)]
