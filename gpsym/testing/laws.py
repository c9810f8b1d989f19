"""Laws of formulas that every activation meets: closed forms against definitions, identities, and each other.

Whatever is named "decided" compares closed forms exactly (`gpsym.equality`); the others compare with quadratures that
share nothing with the derivation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import mpmath
import sympy as sp

from gpsym import maps
from gpsym.activation import Activation, common
from gpsym.formula import Q1, Q2, RHO, SIGMA_W2, Q
from gpsym.gaussian import expectation, pair_expectation
from gpsym.members import identity
from gpsym.numeric import Mpf, at_precision, context, evaluate, lambdify, precise, to_mpf
from gpsym.piecewise import Piecewise
from gpsym.stable import JointDensity
from gpsym.testing.assertions import assert_equal, assert_verified, numbers, specimen

__all__ = ["LAWS", "ONE_INPUT_LAWS", "TWO_INPUT_LAWS", "Law"]

Law = Callable[[Activation], None]  # raises AssertionError that says what came instead


# Laws of one input, U = sqrt(q) Z.


def moments_match_quadrature(phi: Activation) -> None:
    """E[phi(U)^k] for k = 0, 1, 2, 3 and the variance of phi(U) agree with their integrals to 30 digits."""
    assert_verified(phi, *(maps.moment(phi, k) for k in range(4)), maps.output_variance(phi))


def derivatives_match_quadrature(phi: Activation) -> None:
    """V', V'', chi_1, E[phi phi'], for continuous phi E[phi phi''], E[phi phi'''], match quadrature to 30 digits."""
    orders = (1,) if phi.jumps() else (1, 2, 3)
    products = (maps.derivative_moment(phi, 0, order) for order in orders)
    assert_verified(phi, maps.slope(phi), maps.curvature(phi), maps.chi_1(phi), *products)


def hermite_coefficients_match_quadrature(phi: Activation) -> None:
    """E[phi(U) h_n(Z)], n = 0, ..., 7, agree with their integrals to 30 digits."""
    assert_verified(phi, *(maps.hermite_coefficient(phi, n) for n in range(8)))


def sparsity_matches_quadrature(phi: Activation) -> None:
    """P(phi(U) = 0) agrees with its integral to 30 digits, each knot being of the size of U at some of the points."""
    assert_verified(phi, maps.sparsity(phi), points=2 * (1 + len(phi.knots)))


def absolute_value(phi: Activation) -> None:
    """abs(phi)^2 = phi^2, abs(phi)(x) = |phi(x)| at 49 x off the knots, and E|phi(U)| matches quadrature."""
    phi = specimen(phi)
    size = abs(phi)
    assert size**2 == phi**2, f"abs(phi)^2 is phi^2, got {size}"
    for x in (sp.Rational(n, 4) for n in range(-24, 25)):
        assert x in phi.knots or size(x) == abs(phi(x)), f"abs(phi)({x}) is {abs(phi(x))}, got {size(x)}"
    assert_verified(phi, maps.mean(size))


def heat_equation(phi: Activation) -> None:
    """dV/dq = V', dV'/dq = V'', and d/dq E phi(U) = E[phi''(U)] / 2, decided."""
    variance, slope, curvature = (
        quantity(phi).expression for quantity in (maps.variance_map, maps.slope, maps.curvature)
    )
    assert_equal("dV/dq = V'", sp.diff(variance, Q), slope)
    assert_equal("dV'/dq = V''", sp.diff(slope, Q), curvature)
    (f,) = common(phi)
    assert_equal("d/dq E phi = E phi'' / 2", sp.diff(expectation(f, Q), Q), expectation(f.derivative(2), Q) / 2)


def chi_1_and_slope(phi: Activation) -> None:
    """V' = chi_1 + sigma_w2 E[phi(U) phi''(U)] for continuous phi, decided; chi_1 is infinite where phi jumps."""
    chi_1 = maps.chi_1(phi).expression
    if phi.jumps():
        assert chi_1 == sp.oo, f"chi_1 of a function that jumps is infinite, got {chi_1}"
        return
    rest = SIGMA_W2 * maps.derivative_moment(phi, 0, 2).expression
    assert_equal("V' = chi_1 + sigma_w2 E[phi phi'']", maps.slope(phi).expression, chi_1 + rest)


def stein(phi: Activation) -> None:
    """E[U f(U)] = q E[f'(U)] and E[(U^2 - q) f(U)] = q^2 E[f''(U)] for f = phi, phi', phi'', phi''', decided."""
    x, phi_ = common(identity(), phi)
    f = phi_
    for order in range(4):
        first, second = f * x, f * x**2
        assert_equal(f"E[U f] = q E f', f = phi^({order})", expectation(first, Q), Q * expectation(f.derivative(), Q))
        assert_equal(
            f"E[(U^2 - q) f] = q^2 E f'', f = phi^({order})",
            expectation(second, Q) - Q * expectation(f, Q),
            Q**2 * expectation(f.derivative(2), Q),
        )
        f = f.derivative()


def chain_rule(phi: Activation) -> None:
    """The n-th derivatives of phi(c x) and of phi(-x) are c^n phi^(n)(c x) and (-1)^n phi^(n)(-x), decided."""
    (f,), (c, inverse, zero) = common(phi, also=(_SCALE, 1 / _SCALE, sp.S.Zero))
    for n in range(1, 4):
        for name, factor, change in (
            ("c", _SCALE, lambda g: g.composed(c, zero, inverse)),
            ("-1", sp.S.NegativeOne, Piecewise.mirrored),
        ):
            outside, inside = (expectation(g, Q) for g in (change(f).derivative(n), change(f.derivative(n))))
            assert_equal(f"derivative {n} of phi({name} x)", outside, factor**n * inside)


def product_rule(phi: Activation) -> None:
    """E[(phi f)'] = E[phi' f] + E[phi f'] for f = phi, x^3, decided."""
    f, cube = common(phi, identity() ** 3)
    for name, g in (("phi", f), ("x^3", cube)):
        by_parts = expectation(f.derivative() * g, Q) + expectation(f * g.derivative(), Q)
        assert_equal(f"(phi f)' = phi' f + phi f', f = {name}", expectation((f * g).derivative(), Q), by_parts)


def mirror(phi: Activation) -> None:
    """phi(-x) has the moments of phi, and its Hermite coefficients up to (-1)^n, decided."""
    mirrored = phi.affine(-1)
    for k in range(1, 4):
        assert_equal(f"E phi(-U)^{k}", maps.moment(mirrored, k).expression, maps.moment(phi, k).expression)
    for n in range(4):
        there, here = (maps.hermite_coefficient(f, n).expression for f in (mirrored, phi))
        assert_equal(f"Hermite coefficient {n} of phi(-x)", there, (-1) ** n * here)


def affine_argument(phi: Activation) -> None:
    """phi.affine(c, b) at x is phi(c x + b), for c > 0 and c < 0, at a point of every piece."""
    phi = specimen(phi)
    ends = (phi.knots[0] - 2, *phi.knots, phi.knots[-1] + 2) if phi.knots else (-sp.S.One, sp.S.One)
    for slope in (_SCALE, -_SCALE):
        changed = phi.affine(slope, _SHIFT)
        for place in ((left + right) / 2 for left, right in pairwise(ends)):
            got, expected = changed((place - _SHIFT) / slope), phi(place)
            assert got == expected, f"phi({slope} x + {_SHIFT}) = phi({place}): got {got}, expected {expected}"


def scale(phi: Activation) -> None:
    """phi(c x) at variance q is phi at c^2 q, c > 0: moments, sparsity and q V'(q), decided."""
    scaled = phi.affine(_SCALE)
    quantities: tuple[Callable[[Activation], Any], ...] = (
        lambda f: maps.mean(f).expression,
        lambda f: maps.second_moment(f).expression,
        lambda f: maps.sparsity(f).expression,
        lambda f: Q * maps.slope(f).expression,
    )
    for quantity in quantities:
        rescaled: Any = quantity(phi).subs(Q, _SCALE**2 * Q)
        assert_equal("phi(c x) at q", quantity(scaled), rescaled)


def linearity(phi: Activation) -> None:
    """E[c phi(U) + psi(U)] = c E phi(U) + E psi(U) for psi = phi^2, and others without symbols, decided."""
    for psi in _companions(phi):
        total, first, second = (maps.mean(f).expression for f in (_SCALE * phi + psi, phi, psi))
        assert_equal("E[c phi + psi]", total, _SCALE * first + second)


def stable_forms_are_equal(phi: Activation) -> None:
    """Sums over pieces, of which arrays are computed, are the closed forms: moments, V', V'', sparsity, decided."""
    formulas = [maps.moment(phi, k) for k in (1, 2, 3)] + [maps.hermite_coefficient(phi, n) for n in (1, 3, 4)]
    formulas += [quantity(phi) for quantity in (maps.slope, maps.curvature, maps.sparsity, maps.chi_1)]
    for formula in formulas:
        if formula.expression.is_finite is not False:
            assert_equal(f"stable {formula.name}", formula.stable.rewrite(sp.erfc), formula.expression)


def arrays_match_closed_forms(phi: Activation) -> None:
    """V and V' of arrays, at 9 variances from 1e-4 to 1e4, to 1e-12 of E phi^2 and of V' + E phi^2 / q."""
    phi = specimen(phi)
    variances = [sp.Rational(10) ** n for n in range(-4, 5)]
    arguments = {"q": [float(q) for q in variances], "sigma_w2": 1.0, "sigma_b2": 0.0}
    for formula in (maps.variance_map(phi), maps.slope(phi)):
        got = lambdify(formula)(**{str(v): arguments[str(v)] for v in formula.variables})
        for q, value in zip(variances, got, strict=True):
            point = {"q": q, "sigma_w2": 1, "sigma_b2": 0}
            exact, size = (evaluate(f, point) for f in (formula, maps.second_moment(phi)))
            scale = size if formula.name == "variance" else abs(exact) + size / float(q)
            assert abs(value - exact) <= 1e-12 * scale + _LEAST, (
                f"{formula.name} at q = {q}: got {value}, expected {exact}"
            )


# Laws of two inputs, U = sqrt(q1) X and V = sqrt(q2) Y of correlation rho.


def kernel_matches_quadrature(phi: Activation) -> None:
    """E[phi(U) phi(V)] agrees with its double integral to 20 digits."""
    assert_verified(phi, maps.kernel(phi), digits=20, points=1)


def ntk_matches_quadrature(phi: Activation) -> None:
    """sigma_w2 E[phi(U) phi(V)] + sigma_b2 + theta sigma_w2 E[phi'(U) phi'(V)] agrees with its integrals."""
    assert_verified(phi, maps.ntk(phi), digits=20, points=1)


def kernel_is_symmetric(phi: Activation) -> None:
    """E[phi(U) phi(V)] stays the same when q1 and q2 change places, decided."""
    kernel = maps.kernel(phi).expression
    assert_equal("kernel(q2, q1) = kernel(q1, q2)", kernel.subs({Q1: Q2, Q2: Q1}, simultaneous=True), kernel)


def kernel_at_independence(phi: Activation) -> None:
    """(d/drho)^n E[phi(U) phi(V)] = n! a_n(q1) a_n(q2) at rho = 0, n = 0, 1, 2, a_n Hermite coefficients, decided."""
    kernel = maps.kernel(phi).expression
    for n in range(3):
        coefficient: Any = maps.hermite_coefficient(phi, n).expression
        product = coefficient.subs(Q, Q1) * coefficient.subs(Q, Q2)
        assert_equal(f"derivative {n} at rho = 0", sp.diff(kernel, RHO, n).subs(RHO, 0), sp.factorial(n) * product)
    means: Any = maps.mean(phi).expression
    assert_equal("kernel at rho = 0", maps.kernel(phi, rho=0).expression, means.subs(Q, Q1) * means.subs(Q, Q2))


def kernel_at_the_ends(phi: Activation) -> None:
    """E[phi(U) phi(V)] at rho = -1, 1 is the integral over one Z to 20 digits; so it is where q1 = q2 is one symbol."""
    (f,), at = common(phi), numbers(phi)
    member = phi.subs(at)
    # The outermost knot is where the density is not small.
    q, other = (v * sp.Rational(max([1.0, *(float(t) ** 2 for t in member.knots)])) for v in _VARIANCES)
    point = {Q1: q, Q2: other, Q: q, **at}
    for rho in (sp.S.NegativeOne, sp.S.One):
        apart, same = maps.kernel(phi, rho=rho).expression, pair_expectation(f, f, (Q, Q), rho)
        for name, expression, ends in (("q1 != q2", apart, (q, other)), ("q1 = q2", same, (q, q))):
            value, size = _line_integral(member, *ends, int(rho))
            _assert_close(f"kernel at rho = {rho}, {name}", precise(expression, point, _DIGITS), value, size)


def stable_kernels_are_equal(phi: Activation) -> None:
    """Sums over pairs of pieces are the closed forms: kernel, R' and R'', decided."""
    for quantity in (maps.kernel, maps.correlation_slope, maps.correlation_curvature):
        formula = quantity(phi)
        stable: Any = formula.stable.replace(sp.Piecewise, lambda *branches: branches[-1][0])
        closed = stable.rewrite(sp.erfc).rewrite(JointDensity, sp.exp)
        assert_equal(f"stable {formula.name}", closed, formula.expression)


def kernels_of_arrays_match_closed_forms(phi: Activation) -> None:
    """E[phi(U) phi(V)] of arrays to 1e-12 of the root mean squares, at correlations from -1 to 1 and next to them."""
    phi = specimen(phi)
    kernel, second = maps.kernel(phi), maps.second_moment(phi)
    q1, q2 = _VARIANCES
    correlations = [-1.0, -0.9, 0.0, 1e-9, 0.02, 0.7, 0.99999, 1.0]
    got = lambdify(kernel)(q1=float(q1), q2=float(q2), rho=correlations)
    scale = mpmath.sqrt(evaluate(second, {"q": q1}) * evaluate(second, {"q": q2}))
    for rho, value in zip(correlations, got, strict=True):
        exact = evaluate(kernel, {"q1": float(q1), "q2": float(q2), "rho": rho})
        assert abs(value - exact) <= 1e-12 * scale + _LEAST, f"kernel at rho = {rho}: got {value}, expected {exact}"


def price_theorem(phi: Activation) -> None:
    """dR/drho = R' and dR'/drho = R'', decided."""
    correlation, slope, curvature = (
        quantity(phi).expression
        for quantity in (maps.correlation_map, maps.correlation_slope, maps.correlation_curvature)
    )
    assert_equal("dR/drho = R'", sp.diff(correlation, RHO), slope)
    assert_equal("dR'/drho = R''", sp.diff(slope, RHO), curvature)


def kernel_at_equal_variances(phi: Activation) -> None:
    """With one symbol for q1 and q2: the kernel there, and q^n E[phi^(n)(U) phi^(n)(V)] its derivatives, decided."""
    (f,) = common(phi)
    kernel, first, second = (pair_expectation(f.derivative(n), f.derivative(n), (Q, Q), RHO, Q**n) for n in range(3))
    general: Any = maps.kernel(phi).expression
    assert_equal("kernel(q, q)", kernel, general.subs({Q1: Q, Q2: Q}))
    assert_equal("d kernel / drho", sp.diff(kernel, RHO), first)
    assert_equal("d^2 kernel / drho^2", sp.diff(first, RHO), second)


def kernel_heat_equation(phi: Activation) -> None:
    """d/dq1 E[phi(U) phi(V)] = E[phi''(U) phi(V)] / 2 + rho sqrt(q2 / q1) E[phi'(U) phi'(V)] / 2, decided.

    The second summand is there because rho, and not the covariance, stays fixed.
    """
    (f,) = common(phi)
    first, second = (
        pair_expectation(f.derivative(i), f.derivative(2 - i), (Q1, Q2), RHO, factor)
        for i, factor in ((2, sp.Rational(1, 2)), (1, RHO * sp.sqrt(Q2) / sp.sqrt(Q1) / 2))
    )
    assert_equal("d kernel / dq1", sp.diff(maps.kernel(phi).expression, Q1), first + second)


def correlation_rate_is_a_limit(phi: Activation) -> None:
    """sqrt(1 - rho) R''(rho) -> A as rho -> 1 for q1 = q2, to 12 digits at 1 - rho = 1e-60; infinite if phi jumps."""
    rate, phi = maps.correlation_rate(phi).expression, specimen(phi)
    if phi.jumps():
        assert rate == sp.oo, f"the rate of a function that jumps is infinite, got {rate}"
        return
    q, gap = _VARIANCES[0], sp.Rational(1, 10**60)
    scaled = sp.sqrt(gap) * maps.correlation_curvature(phi).expression
    near = precise(scaled, {Q1: q, Q2: q, RHO: 1 - gap, SIGMA_W2: sp.S.One}, _DIGITS)
    limit = precise(maps.correlation_rate(phi).expression, {Q: q, SIGMA_W2: sp.S.One}, _DIGITS)
    assert abs(near - limit) <= (1 + limit) * mpmath.mpf(10) ** -12, f"sqrt(1 - rho) R'': got {limit}, tends to {near}"


def kernel_of_mirrored(phi: Activation) -> None:
    """E[phi(-U) phi(-V)] = E[phi(U) phi(V)], and E[phi(U) phi(-V)] is that at -rho, decided."""
    mirrored, kernel = phi.affine(-1), maps.kernel(phi).expression
    assert_equal("E[phi(-U) phi(-V)]", maps.kernel(mirrored).expression, kernel)
    assert_equal("E[phi(U) phi(-V)]", maps.kernel(phi, mirrored).expression, kernel.subs(RHO, -RHO))


def kernel_is_bilinear(phi: Activation) -> None:
    """E[(c phi(U) + U) phi(V)] = c E[phi(U) phi(V)] + rho sqrt(q1 q2) E phi'(V), decided."""
    (f,) = common(phi)
    mean_slope = expectation(f.derivative(), Q2)
    assert_equal(
        "E[(c phi(U) + U) phi(V)]",
        maps.kernel(_SCALE * phi + identity(), phi).expression,
        _SCALE * maps.kernel(phi).expression + RHO * sp.sqrt(Q1) * sp.sqrt(Q2) * mean_slope,
    )


def cauchy_schwarz(phi: Activation) -> None:
    """E[phi(U) phi(V)]^2 <= E[phi(U)^2] E[phi(V)^2], at a point."""
    phi = specimen(phi)
    second = maps.second_moment(phi).expression
    one, other = (precise(second, {Q: q}, _DIGITS) for q in _VARIANCES)
    point = {Q1: _VARIANCES[0], Q2: _VARIANCES[1], RHO: _CORRELATION}
    kernel = precise(maps.kernel(phi).expression, point, _DIGITS)
    excess = kernel**2 - one * other  # 0 for constants, up to rounding
    assert excess <= one * other * mpmath.mpf(10) ** (2 - _DIGITS), f"kernel {kernel}, moments {one} and {other}"


ONE_INPUT_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        moments_match_quadrature,
        derivatives_match_quadrature,
        hermite_coefficients_match_quadrature,
        sparsity_matches_quadrature,
        absolute_value,
        heat_equation,
        chi_1_and_slope,
        stein,
        chain_rule,
        product_rule,
        mirror,
        affine_argument,
        scale,
        linearity,
        stable_forms_are_equal,
        arrays_match_closed_forms,
    )
}
TWO_INPUT_LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        kernel_matches_quadrature,
        ntk_matches_quadrature,
        kernel_is_symmetric,
        kernel_at_independence,
        kernel_at_the_ends,
        kernel_at_equal_variances,
        price_theorem,
        kernel_heat_equation,
        correlation_rate_is_a_limit,
        kernel_of_mirrored,
        kernel_is_bilinear,
        cauchy_schwarz,
        stable_kernels_are_equal,
        kernels_of_arrays_match_closed_forms,
    )
}
LAWS = {**ONE_INPUT_LAWS, **TWO_INPUT_LAWS}

# Points that are nothing special; the activations vary.
_SCALE: Any = sp.Rational(3, 2)
_SHIFT: Any = sp.Rational(5, 8)
_VARIANCES: tuple[Any, Any] = (sp.Rational(9, 5), sp.Rational(3, 4))
_CORRELATION: Any = sp.Rational(-4, 7)
_DIGITS = 20
_LEAST = 1e-300  # next to underflow


def _assert_close(what: str, got: Mpf, expected: Mpf, size: Mpf) -> None:
    """Equal to all but two of the digits of `size`, which is that of the parts where they cancel."""
    assert abs(got - expected) <= abs(size) * mpmath.mpf(10) ** (2 - _DIGITS), f"{what}: got {got}, expected {expected}"


def _companions(phi: Activation) -> tuple[Activation, ...]:
    """Functions to add to it; knots without a known order cannot be merged."""
    return (phi**2,) if phi.parameters else (phi**2, phi.affine(_SCALE), phi * phi.affine(-1))


def _line_integral(phi: Activation, q1: Any, q2: Any, rho: int) -> tuple[Mpf, Mpf]:
    """E[phi(sqrt(q1) Z) phi(rho sqrt(q2) Z)] by quadrature, and that of the absolute values."""
    ctx = context(128)
    scales = [ctx.sqrt(to_mpf(q1, 128)), rho * ctx.sqrt(to_mpf(q2, 128))]
    knots, *pieces = ([ctx.mpf(at_precision((), n, 128)()) for n in row] for row in (phi.knots, *phi.pieces))
    # Beyond 11 the density is below 1e-26; 1 apart, 12 Gauss-Legendre nodes give 20 digits.
    ends = sorted({*map(ctx.mpf, range(-11, 12)), *(t / s for t in knots for s in scales if abs(t) < 11 * abs(s))})

    def value(x: Mpf) -> Mpf:
        piece: Sequence[Any] = pieces[sum(t < x for t in knots)]
        return ctx.fsum(c * x**n for n, c in enumerate(piece))

    def integrand(z: Mpf) -> Mpf:
        return value(scales[0] * z) * value(scales[1] * z) * ctx.npdf(z)

    panels: list[Mpf] = [ctx.quad(integrand, panel, method="gauss-legendre", maxdegree=3) for panel in pairwise(ends)]
    return ctx.fsum(panels), ctx.fsum(map(abs, panels))
