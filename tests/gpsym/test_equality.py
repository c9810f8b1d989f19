"""Identities of the maps, decided; and what the decision rests on: every normal form has its expression's value."""

import pytest
import sympy as sp

from gpsym import maps
from gpsym.equality import Different, Equal, Undecided, equal, normal_form
from gpsym.formula import Q1, Q2, RHO, SIGMA_W2, TAU, M, Q, X
from gpsym.laurent import lattice
from gpsym.members import MEMBERS, absolute, clipped_relu, hard_tanh, relu, shifted_relu, soft_threshold, squared_relu
from gpsym.special import BivariateTail, TailMoment, density, joint_density, tail

ALL = [make() for make in MEMBERS.values()]
CONTINUOUS = [phi for phi in ALL if not phi.jumps()]
PIECEWISE_LINEAR = [phi for phi in CONTINUOUS if phi.degree <= 1]
POSITIVE_TAU = sp.Symbol("tau", positive=True)
U = sp.Symbol("u", real=True)
P = sp.Symbol("p", positive=True)
H, K = sp.symbols("h k", real=True)
L = BivariateTail


def named(activations):
    return pytest.mark.parametrize("phi", activations, ids=lambda phi: phi.name)


def assert_equal(left, right=0):
    assert equal(left, right) == Equal()


def assert_different(left, right=0):
    """Different, and the witness is one: the values there differ by what it says, to its five digits."""
    verdict = equal(left, right)
    assert isinstance(verdict, Different), verdict
    symbols = {str(s): s for s in left.free_symbols | sp.sympify(right).free_symbols}
    point = {symbols[name]: sp.Rational(value) for name, value in verdict.witness.items()}
    assert point.keys() == set(symbols.values())
    for symbol, number in point.items():
        assert number.is_positive or not symbol.is_positive
        assert abs(number) < 1 or symbol != RHO
    difference = left.xreplace(point).evalf(30) - sp.sympify(right).xreplace(point).evalf(30)
    assert abs(sp.Float(verdict.difference) / difference - 1) < sp.Float("1e-4")


# Variance.


def clip_terms(phi, sign=1):
    """sigma_w2 E[phi phi''] with phi'' = sum of c_k delta(x - t_k): V' - chi_1, as V' = sigma_w2 E[(phi^2)''] / 2."""
    at = {lower: piece for lower, _, piece in phi.intervals}
    values = ((c, t, sum(a * t**n for n, a in enumerate(at[t]))) for t, c in phi.jumps(1))
    return sign * SIGMA_W2 * sp.Add(*(c * value * density(t, Q) for c, t, value in values))


@named(PIECEWISE_LINEAR)
def test_slope_is_chi_1_plus_clip_terms(phi):
    slope, chi_1 = maps.slope(phi).expression, maps.chi_1(phi).expression
    assert_equal(slope, chi_1 + clip_terms(phi))
    if clip_terms(phi) != 0:
        assert_different(slope, chi_1 + clip_terms(phi, sign=-1))


@named(CONTINUOUS)
def test_slope_and_curvature_are_derivatives_of_the_variance(phi):
    variance, slope, curvature = (f(phi).expression for f in (maps.variance_map, maps.slope, maps.curvature))
    assert_equal(sp.diff(variance, Q), slope)
    assert_equal(sp.diff(slope, Q), curvature)
    assert_different(sp.diff(variance, Q), slope * sp.Rational(101, 100))


@named([relu(), absolute(), squared_relu(), shifted_relu(POSITIVE_TAU), soft_threshold(POSITIVE_TAU), hard_tanh()])
def test_second_moment_is_what_sympy_integrates(phi):
    pieces = ((lower, upper, sum(c * X**n for n, c in enumerate(p))) for lower, upper, p in phi.intervals if p)
    integral = sum(sp.integrate(sp.expand(f**2) * density(X, Q), (X, *ends)) for *ends, f in pieces)
    assert_equal(maps.second_moment(phi).expression, integral)
    assert_different(maps.second_moment(phi).expression, integral + Q / 1000)


@pytest.mark.parametrize("n", range(7))
def test_tail_moments(n):
    moment = TailMoment(n, H)
    assert_equal(sp.diff(moment.rewrite(sp.erfc), H), sp.diff(moment, H))
    assert_equal(sp.diff(-TailMoment(n + 1, H).rewrite(sp.erfc) / (n + 1), H), moment)
    if n > 1:
        assert_equal(moment, (n - 1) * TailMoment(n - 2, H) - H * TailMoment(n - 1, H))
    assert_different(moment, TailMoment(n, -H))


# Two inputs.


@named(CONTINUOUS)
def test_derivatives_of_the_kernel_in_the_correlation(phi):
    kernel, slope, curvature = (
        f(phi).expression for f in (maps.kernel, maps.correlation_slope, maps.correlation_curvature)
    )
    assert_equal(SIGMA_W2 * sp.diff(kernel, RHO), sp.sqrt(Q1 * Q2) * slope)
    assert_equal(sp.diff(slope, RHO), curvature)


@named(ALL)
def test_kernel_is_symmetric(phi):
    kernel = maps.kernel(phi).expression
    assert_equal(kernel, kernel.subs({Q1: Q2, Q2: Q1}, simultaneous=True))


@named(ALL)
def test_kernel_of_uncorrelated_inputs_is_the_product_of_means(phi):
    mean = maps.mean(phi).expression
    product = mean.subs(Q, Q1) * mean.subs(Q, Q2)
    assert_equal(maps.kernel(phi).expression.subs(RHO, 0), product)
    assert_equal(maps.kernel(phi, rho=0).expression, product)


@named([phi for phi in ALL if not phi.conditions])
def test_kernel_of_equal_inputs_is_the_second_moment(phi):
    kernel = maps.kernel(phi, rho=1).expression.subs({Q1: Q, Q2: Q})
    assert_equal(kernel, maps.second_moment(phi).expression)
    assert_different(kernel, maps.second_moment(phi).expression + RHO)


@named([phi for phi in ALL if phi.affine(-1) == -phi])
def test_kernel_of_odd_activations_is_odd(phi):
    kernel = maps.kernel(phi).expression
    assert_equal(kernel, -kernel.subs(RHO, -RHO))
    assert_different(kernel, kernel.subs(RHO, -RHO))


def ramp_kernel(rho):
    """E[(X - h)_+ (Y - k)_+]."""
    s = sp.sqrt(1 - rho**2)
    single = K * density(H) * tail((K - rho * H) / s) + H * density(K) * tail((H - rho * K) / s)
    return (rho + H * K) * L(H, K, rho) - single + s**2 * joint_density(H, K, rho)


def test_ramp_kernel_and_its_derivatives():
    assert_equal(sp.diff(ramp_kernel(RHO), RHO), L(H, K, RHO))
    assert_equal(sp.diff(ramp_kernel(RHO), H, K), L(H, K, RHO))
    assert_different(sp.diff(ramp_kernel(RHO), H), L(H, K, RHO))


BIVARIATE = {
    "complement in k": (L(H, K, RHO) + L(H, -K, -RHO), tail(H)),
    "complement in both": (L(-H, -K, RHO), 1 - tail(H) - tail(K) + L(H, K, RHO)),
    "symmetry": (L(H / sp.sqrt(2), K, RHO), L(K, sp.sqrt(2) * H / 2, RHO)),
    "zero threshold": (L(0, K, RHO) + L(K, 0, -RHO), tail(K)),
    "opposite thresholds": (L(H - K, K - H, RHO) + L(K - H, K - H, -RHO), tail(K - H)),
    "density": (sp.diff(L(H, K, RHO), H, K), joint_density(H, K, RHO)),
    "Plackett": (sp.diff(L(H, K, RHO), RHO), sp.diff(L(H, K, RHO), H, K)),
    "heat": (sp.diff(joint_density(H, K, RHO), RHO), sp.diff(joint_density(H, K, RHO), H, K)),
    "derivative of the complement": (sp.diff(L(H, K, RHO), H), -sp.diff(L(-H, K, -RHO), H)),
}


@pytest.mark.parametrize("name", BIVARIATE)
def test_bivariate_tail(name):
    left, right = BIVARIATE[name]
    assert_equal(left, right)
    assert_different(left, right.subs(RHO, RHO / 2) + RHO / 100)


# The normal form.

SAME = {
    "rational function": ((U**2 - 1) / (U - 1), U + 1),
    "root in a denominator": (1 / (1 + sp.sqrt(2)), sp.sqrt(2) - 1),
    "three roots": (1 / (sp.sqrt(2) + sp.sqrt(3) + sp.sqrt(P)), sp.radsimp(1 / (sp.sqrt(2) + sp.sqrt(3) + sp.sqrt(P)))),
    "root of a square": (sp.sqrt(P**2 + 2 * P + 1), P + 1),
    "rational powers": (
        (1 - RHO**2) ** sp.Rational(3, 2) * P ** sp.Rational(-5, 2),
        (1 - RHO) * (1 + RHO) * sp.sqrt(1 - RHO) * sp.sqrt(1 + RHO) / (P**2 * sp.sqrt(P)),
    ),
    "root of a sum": (sp.sqrt(P + U**2) ** 3 / sp.sqrt(4 * P + 4 * U**2), (P + U**2) / 2),
    "root of unknown sign": (sp.sqrt(U - 1) * sp.sqrt(2 * U - 2), sp.sqrt(2) * (U - 1)),
    "erfc": (
        sp.erfc(sp.sqrt(2) * (K - RHO * H) / (2 * sp.sqrt(1 - RHO**2))),
        2 - sp.erfc((RHO * H - K) * sp.sqrt(1 - RHO**2) / (sp.sqrt(2) * (1 - RHO**2))),
    ),
    "erf of roots": (sp.erf(1 / (1 + sp.sqrt(P))), 1 - sp.erfc((1 - sp.sqrt(P)) / (1 - P))),
    "sum of exponents": (
        sp.exp(-((TAU + M) ** 2) / (2 * Q)),
        sp.exp(-(TAU**2) / (2 * Q)) * sp.exp(-(2 * M * TAU + M**2) / (2 * Q)),
    ),
    "partial fractions in exponents": (sp.exp(P / (P + 1)), sp.E * sp.exp(-1 / (P + 1))),
    "commensurable exponents": (sp.exp(U / 2) ** 2 * sp.exp(U / 3) ** 3 / sp.exp(U / 6), sp.exp(11 * U / 6)),
    "exponentials below": ((sp.exp(U) - sp.exp(-U)) / (sp.exp(U) + sp.exp(-U)), 1 - 2 / (1 + sp.exp(2 * U))),
    "asin": (sp.asin(U - 1) + sp.acos(U - 1) + sp.asin(1 - U), sp.pi / 2 - sp.asin(U - 1)),
    "opaque": (sp.Max(U, (H + K) ** 2), sp.Max(H**2 + 2 * H * K + K**2, U)),
    "unevaluated": (
        sp.Integral(sp.exp(-(X**2)), (X, 0, U)) * (H + 1) ** 2,
        sp.Integral(sp.exp(-(X**2)), (X, 0, U)) * (1 + 2 * H + H**2),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_equal_forms(name):
    left, right = SAME[name]
    assert_equal(left, right)
    assert normal_form(left - right) == 0
    if name != "unevaluated":
        assert_different(left, right * sp.Rational(101, 100) + sp.Rational(1, 1000))


@named(ALL)
@pytest.mark.parametrize("quantity", ["variance", "slope", "kernel", "correlation", "hermite_3"])
def test_normal_form_has_the_value_of_its_expression(phi, quantity):
    expression = maps.derive(phi, quantity).expression
    numbers = (sp.Rational(n, 7) for n in (3, 5, 11, 2, 9, 4, 8))
    point = dict(zip(sorted(expression.free_symbols, key=str), numbers, strict=False)) | {RHO: sp.Rational(-2, 7)}
    value, normal = (e.xreplace(point).evalf(20) for e in (expression, normal_form(expression)))
    # Twenty digits, of which the sums lose some.
    assert abs(value - normal) < sp.Float("1e-15") * (1 + abs(value))


PLANTED = {
    "constant": (maps.slope(clipped_relu()).expression, sp.pi, sp.Rational(22, 7)),
    "sign of an exponent": (density(TAU, Q), sp.exp(-(TAU**2) / (2 * Q)), sp.exp(TAU**2 / (2 * Q))),
    "argument": (maps.chi_1(clipped_relu()).expression, M + TAU, M + 2 * TAU),
    "correlation": (maps.kernel(shifted_relu()).expression, RHO, -RHO),
    "last digit": (tail(TAU), sp.Rational(1, 2), sp.Rational(1, 2) + sp.Rational(1, 10**12)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_errors_are_different(name):
    right, old, new = PLANTED[name]
    assert_different(right.subs(old, new), right)


def test_roots_of_squares_are_not_taken_where_the_sign_is_unknown():
    assert_different(sp.sqrt(U**2 + 2 * U + 1), U + 1)
    assert_different(sp.sqrt(U**2 + 2 * U + 1) ** 3, (U + 1) ** 3)
    assert_different(sp.sqrt(1 - 2 * P + P**2), P - 1)
    assert_different(sp.sqrt((RHO + 2 * RHO**2 + RHO**3) / 4), (1 + RHO) * sp.sqrt(RHO) / 3)
    assert_equal(sp.sqrt((RHO + 2 * RHO**2 + RHO**3) / 4), (1 + RHO) * sp.sqrt(RHO) / 2)


def test_roots_of_quotients_with_negative_factors_below():
    q = sp.Symbol("q", positive=True)
    assert_equal(sp.sqrt(1 - (1 - q**2) ** 2 / (1 + q**2) ** 2), 2 * q / (1 + q**2))


def test_small_differences_are_seen_next_to_large_summands():
    assert_different(1 + sp.exp(-50), sp.S.One)
    assert_different(U + sp.Rational(1, 10**20) * sp.sin(U) - sp.sin(U), U - sp.sin(U))


@pytest.mark.parametrize(
    ("left", "right", "why"),
    [
        (sp.asin(sp.Rational(3, 5)) + sp.asin(sp.Rational(4, 5)), sp.pi / 2, "no difference is seen"),
        (sp.sin(U) ** 2 + sp.cos(U) ** 2, 1, "no difference is seen"),
        (sp.Max(U, H), (U + H + sp.Abs(U - H)) / 2, "no difference is seen"),
        (sp.Integral(X, (X, 0, U)), U**2 / 2, "Integral is not evaluated"),
        (sp.Derivative(sp.erf(U), U), 0, "Derivative is not evaluated"),
        (U / sp.Float(2), U / 2, "exact finite numbers"),
        (U + sp.oo, U, "exact finite numbers"),
        (1 / ((U + 1) ** 2 - U**2 - 2 * U - 1), 1, "division by zero"),
        (1 / (sp.sqrt(U) * sp.sqrt(H) - sp.sqrt(U * H)), 1, "division by what may be zero"),
        (sp.sqrt(-(U**2) - 1) * U, 1, "no difference is seen"),  # not real anywhere
        (sp.nan, sp.nan, "exact finite numbers"),
    ],
)
def test_outside_the_class_is_undecided(left, right, why):
    verdict = equal(left, right)
    assert isinstance(verdict, Undecided)
    assert why in verdict.why


# Hidden zeros; the normal form sees none of them.
HIDDEN = sp.sqrt(3 + 2 * sp.sqrt(2)) - 1 - sp.sqrt(2)
NUMBER = sp.asin(sp.Rational(3, 5)) + sp.asin(sp.Rational(4, 5)) - sp.pi / 2
FUNCTION = sp.cos(U) ** 2 + sp.sin(U) ** 2 - 1
JUMPS = {
    "sign": (sp.sign, 0),
    "step": (sp.Heaviside, sp.Rational(1, 2)),
    "floor": (lambda z: sp.floor(z + 1), 1),
    "ceiling": (lambda z: sp.ceiling(z + 2), 2),
    "fraction": (lambda z: sp.frac(z + 1), 0),
    "equality": (lambda z: sp.Piecewise((1, sp.Eq(z, 0)), (0, True)), 1),
    "strict order": (lambda z: sp.Piecewise((1, z > 0), (2, z < 0), (3, True)), 3),
    "both conditions": (lambda z: sp.Piecewise((1, (z >= 0) & (z <= 0)), (0, True)), 1),
    "nested": (lambda z: sp.sign(sp.Heaviside(z) - sp.Rational(1, 2)), 0),
    "largest": (lambda z: sp.sign(sp.Max(U * z, 0)), 0),
    "size": (lambda z: sp.Abs(z) * 10**80, 0),
    "remainder": (lambda z: sp.Mod(z + 3, 3), 0),
    "amplified": (lambda z: sp.exp(10**200 * z), 1),
}


@pytest.mark.parametrize("zero", [HIDDEN, NUMBER, FUNCTION], ids=["algebraic", "number", "function"])
@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_at_a_hidden_zero_is_equal_or_undecided(jump, zero):
    function, value = JUMPS[jump]
    verdict = equal(P * function(zero), P * value)
    assert isinstance(verdict, Equal | Undecided), verdict


@pytest.mark.parametrize("jump", ["sign", "floor", "ceiling", "strict order"])
def test_a_jump_at_an_algebraic_zero_is_decided(jump):
    function, value = JUMPS[jump]
    assert_equal(U * function(HIDDEN), U * value)
    assert_different(U + function(HIDDEN), U + value + 1)


@pytest.mark.parametrize("small", [sp.Rational(1, 10**60), sp.Rational(1, 10**300)])
def test_a_small_number_is_no_zero(small):
    assert isinstance(equal(U + small, U), Different)
    assert isinstance(equal(sp.sign(P * small), 0), Different)
    near = sp.sqrt(2) - sp.floor(sp.sqrt(2) / small) * small  # between 0 and it
    assert not isinstance(equal(U * near, 0), Equal)
    assert not isinstance(equal(sp.sign(near, evaluate=False), 0), Equal)
    assert not isinstance(equal(sp.sign(NUMBER - small, evaluate=False), 0), Equal)
    assert not isinstance(equal(sp.floor(1 + NUMBER - small, evaluate=False), 1), Equal)


def test_a_jump_at_one_place_is_seen_at_others():
    assert_different(sp.sign(U), 1)
    assert_different(sp.Heaviside(U - 1), sp.Heaviside(U + 1))
    assert_different(sp.Piecewise((U, U > 0), (0, True)), U)
    assert_different(sp.floor(U), U)


def test_infinite_quantities_are_equal_only_as_written():
    assert_equal(maps.chi_1(MEMBERS["sign"]()).expression, sp.oo)


def test_what_is_no_expression_is_refused():
    with pytest.raises(ValueError, match="equal: need SymPy expressions or numbers, got u < 1"):
        equal(U < 1)


def test_lattice_of_exponents():
    vectors = [{0: 6, 1: 4}, {0: 10}, {1: -6, 2: 9}, {2: 15, 0: 1}, {}, {0: 4, 1: 4}]
    basis, coordinates = lattice(vectors)
    assert len(basis) == 3
    for vector, row in zip(vectors, coordinates, strict=True):
        total = {place: sum(n * basis[j].get(place, 0) for j, n in row.items()) for place in range(3)}
        assert total == {place: vector.get(place, 0) for place in range(3)}
    # The group itself, not a larger one: its index in Z^3 is the greatest common divisor of the minors.
    minors = [
        sp.Matrix(3, 3, lambda i, j, c=c: vectors[c[i]].get(j, 0)).det()
        for c in sp.utilities.iterables.subsets(range(6), 3)
    ]
    index = abs(sp.Matrix(3, 3, lambda i, j: basis[i].get(j, 0)).det())
    assert index == sp.igcd(*minors)


def test_the_root_of_a_fourth_power_is_a_square():
    x, y = sp.symbols("x y", real=True)
    assert equal(sp.sqrt(sp.expand((x - y) ** 4)), (x - y) ** 2) == Equal()
