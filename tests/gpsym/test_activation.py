import math
import operator

import pytest
import sympy as sp

from gpsym.activation import Activation, Atom
from gpsym.formula import TAU, A, M, X
from gpsym.maps import second_moment
from gpsym.members import (
    ALIASES,
    MEMBERS,
    absolute,
    clipped_relu,
    clipped_soft_threshold,
    hard_shrink,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    identity,
    jump_relu,
    leaky_relu,
    member,
    prelu,
    relu,
    relu6,
    shifted_relu,
    sign,
    soft_threshold,
    squared_relu,
)

NUMBERS = {"tau": 0.75, "m": 1.5, "a": -0.25}
POINTS = [-5, -2.25, -1, -0.75, -0.25, 0, 0.5, 0.75, 1, 2.25, 4, 7]

BY_HAND = {
    "relu": lambda x: max(0.0, x),
    "shifted-relu": lambda x: max(0.0, x - 0.75),
    "soft-threshold": lambda x: math.copysign(max(0.0, abs(x) - 0.75), x),
    "clipped-relu": lambda x: min(max(0.0, x - 0.75), 1.5),
    "clipped-soft-threshold": lambda x: math.copysign(min(max(0.0, abs(x) - 0.75), 1.5), x),
    "identity": lambda x: x,
    "abs": abs,
    "sign": lambda x: (x > 0) - (x < 0),
    "leaky-relu": lambda x: x if x > 0 else x / 100,
    "prelu": lambda x: x if x > 0 else -x / 4,
    "hard-tanh": lambda x: min(max(x, -1), 1),
    "relu6": lambda x: min(max(x, 0), 6),
    "hard-sigmoid": lambda x: min(max(x + 3, 0), 6) / 6,
    "hard-swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "squared-relu": lambda x: max(x, 0) ** 2,
    "hard-shrink": lambda x: x if abs(x) > 0.75 else 0.0,
    "jump-relu": lambda x: x if x > 0.75 else 0.0,
}
CLAMPED = [name for name, make in MEMBERS.items() if make().is_sum_of_clamps]


def numeric(name: str) -> Activation:
    parameters = {str(p): NUMBERS[str(p)] for p in MEMBERS[name]().parameters}
    return member(name, **parameters)


def test_every_member_has_its_definition_here():
    assert BY_HAND.keys() == MEMBERS.keys()
    assert [make().name for make in MEMBERS.values()] == list(MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("x", POINTS)
def test_members_are_the_functions_of_their_names(name, x):
    # A few roundings of the definition by hand; phi itself is exact.
    assert float(numeric(name)(x)) == pytest.approx(BY_HAND[name](x), rel=1e-15, abs=0)


def test_the_value_at_a_jump_is_the_one_nearest_to_zero():
    assert [sign()(0), jump_relu(2)(2), hard_shrink(2)(-2)] == [0, 0, 0]
    assert Activation((1,), ((3,), (0, 2)))(1) == 2
    assert Activation((1,), ((-1,), (-4,)))(1) == -1


@pytest.mark.parametrize("name", CLAMPED)
def test_clamp_terms_are_the_activation(name):
    offset, terms = numeric(name).clamp_terms()
    for k in range(-40, 41):
        x = k / 8
        value = offset + sum(slope * min(max(x - shift, low), high) for slope, shift, low, high, *_ in terms)
        assert value == pytest.approx(BY_HAND[name](x), rel=1e-15, abs=1e-16)
        assert (value == 0) == (BY_HAND[name](x) == 0)


def test_clamp_terms_without_knots():
    assert Activation((), ((1, 2),)).clamp_terms() == (1.0, ((2.0, 0.0, -math.inf, math.inf, False, False),))
    assert Activation((), ((),)).clamp_terms() == (0.0, ())


def test_sums_of_clamps_are_the_continuous_piecewise_linear_ones():
    assert set(MEMBERS) - set(CLAMPED) == {"sign", "hard-swish", "squared-relu", "hard-shrink", "jump-relu"}
    assert Activation((), ((2,),)).is_sum_of_clamps
    with pytest.raises(AssertionError, match="no sum of clamps"):
        squared_relu().clamp_terms()


def test_aliases_name_members():
    assert {alias: member(alias).name for alias in ALIASES} == ALIASES


def test_a_float_is_the_rational_that_it_is():
    assert shifted_relu(0.1).knots[0] == sp.Rational(*(0.1).as_integer_ratio())


# Data.


def test_merged_knots_and_equal_neighbours_are_joined():
    assert clipped_soft_threshold(0, 1) == hard_tanh()
    assert Activation((0, 1), ((0, 1), (0, 1), (-1, 2))) == Activation((1,), ((0, 1), (-1, 2)))
    assert Activation((1, 1), ((0, 1), (5,), (2,))) == Activation((1,), ((0, 1), (2,)))
    assert Activation((1, 1), ((0, 1), (5,), (0, 1))) == identity()


def test_trailing_zeros_are_no_coefficients():
    assert Activation((0,), ((0, 0), (0, 1, 0))) == relu()
    assert relu().pieces == ((), (0, 1))
    assert (relu().degree, sign().degree, squared_relu().degree, Activation((), ((),)).degree) == (1, 0, 2, 0)


def test_equality_is_that_of_functions_whatever_the_name():
    assert relu() == Activation((0,), ((), (0, 1)), "other") == relu().named("a third")
    assert shifted_relu(0) == relu() != shifted_relu(1)
    assert leaky_relu(0) == relu()
    assert prelu() == leaky_relu(A)


def test_intervals_are_the_pieces_with_their_ends():
    assert clipped_relu().intervals == (
        (-sp.oo, TAU, ()),
        (TAU, M + TAU, (-TAU, 1)),
        (M + TAU, sp.oo, (M,)),
    )
    assert identity().intervals == ((-sp.oo, sp.oo, (0, 1)),)


def test_jumps_of_every_order():
    assert sign().jumps() == ((0, 2),)
    assert hard_shrink().jumps() == ((-TAU, TAU), (TAU, TAU))
    assert jump_relu().jumps(1) == ((TAU, 1),)
    assert relu().jumps() == ()
    assert squared_relu().jumps(1) == ()
    assert squared_relu().jumps(2) == ((0, 2),)
    assert squared_relu().jumps(7) == ()
    assert hard_swish().jumps(1) == ((-3, sp.Rational(-1, 2)), (3, sp.Rational(-1, 2)))


def test_quotients_that_cancel_are_no_jumps():
    """Ramps that begin and end smoothly, of height m: their coefficients hold 1/m and m (1/m)."""
    rising = [TAU**2 / (2 * M), -TAU / M, 1 / (2 * M)]
    falling = [M - (TAU + 2 * M) ** 2 / (2 * M), (TAU + 2 * M) / M, -1 / (2 * M)]
    ramp = Activation([TAU, TAU + M, TAU + 2 * M], [[], rising, falling, [M]])
    assert ramp.jumps() == ramp.jumps(1) == ()
    assert ramp.jumps(2) == ((TAU, 1 / M), (TAU + M, -2 / M), (TAU + 2 * M, 1 / M))
    assert not ramp.derivative().atoms


def test_undecided_order_becomes_a_condition():
    assert clipped_soft_threshold().conditions == (TAU,)
    assert clipped_relu().conditions == ()
    b, a = sp.symbols("b a", real=True)
    hat = Activation((a, b), ((), (1,), ()))
    assert hat.conditions == (b - a,)
    with pytest.raises(ValueError, match=r"need -a \+ b >= 0, got a = 2, b = 1"):
        hat.subs({a: 2, b: 1})


def test_parameters_come_in_one_order():
    assert clipped_relu().parameters == (TAU, M)
    assert Activation((TAU, TAU + M), ((), (A,), ())).parameters == (TAU, M, A)
    s = sp.Symbol("s", positive=True)
    phi = Activation((0,), ((0, s), (0, 1 / s, sp.sqrt(s))))
    assert phi.parameters == (s,)
    assert phi.subs({s: 4}) == Activation((0,), ((0, 4), (0, "1/4", 2)))


def test_symbols_take_values():
    assert prelu().subs({A: "1/10"}) == leaky_relu("1/10")
    assert clipped_soft_threshold().subs({TAU: 0, M: 1}) == hard_tanh()
    assert member("hard-shrink", tau=0) == identity()
    assert member("prelu").parameters == (A,)


# Algebra.

FUNCTIONS = [
    relu(), hard_tanh(), sign(), squared_relu(), hard_swish(), jump_relu("1/2"), soft_threshold(1),
    Activation((), ((1, 0, 2),)), Activation((-1, 0, 2), ((1,), (0, 0, 0, 1), (2,), (1, "-1/3"))),
]  # fmt: skip
# Off every knot of FUNCTIONS: values at jumps are those of no algebra.
PLACES = [sp.Rational(n, 7) for n in range(-30, 31, 3) if n % 7]


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.name)
@pytest.mark.parametrize("g", FUNCTIONS, ids=lambda f: f.name)
@pytest.mark.parametrize("operation", [operator.add, operator.sub, operator.mul])
def test_arithmetic_is_that_of_values(f, g, operation):
    result = operation(f, g)
    for x in PLACES:
        assert result(x) == operation(f(x), g(x))


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.name)
def test_numbers_negation_and_powers(f):
    for x in PLACES:
        assert (2 * f + 1)(x) == (1 + f * 2)(x) == 2 * f(x) + 1
        assert (3 - f)(x) == 3 - f(x)
        assert (-f)(x) == -f(x)
        for n in range(4):
            assert (f**n)(x) == f(x) ** n


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.name)
@pytest.mark.parametrize(("slope", "shift"), [(1, 0), (2, "1/3"), (-1, 0), ("-3/2", 1), (0, "1/3"), (1, -2)])
def test_affine_changes_the_argument(f, slope, shift):
    changed = f.affine(slope, shift)
    for x in PLACES:
        argument = sp.Rational(slope) * x + sp.Rational(shift)
        if argument not in f.knots:
            assert changed(x) == f(argument)


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.name)
def test_affine_changes_can_be_undone(f):
    assert f.affine(2, 3).affine("1/2", "-3/2") == f
    assert f.affine(-1).affine(-1) == f


def test_identities_of_members():
    assert relu() + relu().affine(-1) == absolute()
    assert relu() - relu().affine(-1) == identity()
    assert relu() ** 2 == squared_relu()
    assert sign() * absolute() == identity()
    assert sign() * sign() == Activation((), ((1,),))
    assert 6 * hard_sigmoid() == relu6().affine(1, 3)
    assert hard_swish() == identity() * hard_sigmoid()
    assert relu().affine(1, -TAU) == shifted_relu()
    tau = sp.Symbol("tau", positive=True)
    assert shifted_relu(tau) - shifted_relu(tau).affine(-1) == soft_threshold(tau)
    assert clipped_relu() == shifted_relu() - shifted_relu(TAU + M)
    assert relu() - relu() == Activation((), ((),))


def test_symbolic_scale_of_the_argument():
    s = sp.Symbol("s", positive=True)
    assert relu().affine(s) == s * relu()
    assert hard_tanh().affine(s).knots == (-1 / s, 1 / s)
    assert hard_tanh().affine(-s) == -hard_tanh().affine(s)
    assert hard_tanh().affine(s).subs({s: 2})("1/4") == sp.Rational(1, 2)


def test_knots_whose_order_is_unknown_are_refused():
    with pytest.raises(ValueError, match=r"need to know whether .* is greater, got no order"):
        shifted_relu(TAU) + shifted_relu(A)


def test_affine_refuses_a_slope_of_unknown_sign():
    with pytest.raises(ValueError, match="need a slope of known sign, got a; declare"):
        relu().affine(A)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("x", POINTS)
def test_the_absolute_value_is_that_of_values(name, x):
    phi = numeric(name)
    assert x in phi.knots or abs(phi)(x) == abs(phi(x))


def test_the_absolute_value_cuts_pieces_at_their_zeros():
    line, parabola = Activation((), ((-1, 2),)), Activation((), ((-2, 0, 1),))
    assert abs(line) == Activation(("1/2",), ((1, -2), (-1, 2)))
    assert abs(parabola).knots == (-sp.sqrt(2), sp.sqrt(2))
    assert abs(parabola) ** 2 == parabola**2
    assert abs(Activation((), ((1, -2, 1),))) == Activation((), ((1, -2, 1),))  # a double zero is no change of sign
    # Zeros of the cubic are those of x^3 - 3 x + 1, 2 cos(2 pi k / 9) for k = 1, 2, 4.
    cubic = Activation((), ((1, -3, 0, 1),))
    zeros = sorted(2 * math.cos(2 * math.pi * k / 9) for k in (1, 2, 4))
    assert [float(t) for t in abs(cubic).knots] == pytest.approx(zeros, rel=1e-15)
    irrational = Activation((), ((-1, 0, sp.sqrt(2)),))
    assert [float(t) for t in abs(irrational).knots] == pytest.approx([-(2**-0.25), 2**-0.25], rel=1e-15)


def test_the_absolute_value_of_symbols():
    assert abs(identity()) == absolute()
    assert abs(clipped_relu()) == clipped_relu()
    assert abs(clipped_soft_threshold()).pieces == ((M,), (-TAU, -1), (), (-TAU, 1), (M,))
    assert abs(Activation((), ((-M,),))) == Activation((), ((M,),))
    with pytest.raises(ValueError, match=r"abs: need pieces whose signs show, got a\*x between -oo and 0; put numbers"):
        abs(prelu())


# Derivatives.


@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.name)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivative_is_that_of_the_pieces_and_atoms_are_its_jumps(f, order):
    derivative = f.derivative(order)
    for lower, upper, piece in f.intervals:
        inside = (max(lower, -9) + min(upper, 9)) / 2
        polynomial = sum(c * X**n for n, c in enumerate(piece))
        assert derivative.function(inside) == sp.diff(polynomial, X, order).subs(X, inside)
    expected = {(knot, order - 1 - n, jump) for n in range(order) for knot, jump in f.jumps(n)}
    assert {tuple(atom) for atom in derivative.atoms} == expected


def test_derivatives_of_members():
    assert relu().derivative(1).function == Activation((0,), ((), (1,)))
    assert absolute().derivative().function == sign()
    assert absolute().derivative(2).atoms == (Atom(sp.S.Zero, 0, sp.Integer(2)),)
    assert sign().derivative(2).atoms == (Atom(sp.S.Zero, 1, sp.Integer(2)),)
    assert relu().derivative(0).function == relu()
    assert [atom.weight for atom in hard_shrink().derivative().atoms] == [TAU, TAU]


# Refusals.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0,), ((0,),)), "need one piece more than knots, got 1 knots and 1 pieces"),
        (((1, 0), ((), (1,), ())), "knots in increasing order, got 1 before 0; sort them"),
        (((math.nan,), ((), (0, 1))), "finite real numbers"),
        (((0,), ((), (0, math.inf))), "finite real numbers"),
        (((sp.Symbol("t"),), ((), (0, 1))), "symbols declared real"),
        (((0,), ((), (0, sp.I))), "finite real numbers"),
        (((0,), ((), (0, 1)), ""), "need a name of up to 100 letters"),
        (((0,), ((), (0, 1)), "<b>"), "need a name of up to 100 letters"),
    ],
)
def test_bad_data_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Activation(*arguments)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("gelu", {}, "unknown name 'gelu'; choose from relu"),
        ("relu", {"tau": 1}, "relu: takes no parameters, got tau = 1"),
        ("st", {"m": 1}, "soft-threshold: takes tau, got m = 1"),
        ("prelu", {"tau": 1}, "prelu: takes a, got tau = 1"),
        ("st", {"tau": -1}, "soft-threshold: need tau >= 0, got tau = -1"),
        ("hard-shrink", {"tau": -1}, "hard-shrink: need tau >= 0, got tau = -1"),
        ("crelu", {"tau": 1, "m": 0}, "clipped-relu: need m > 0, got m = 0"),
        ("crelu", {"tau": math.nan}, "need a finite real tau, got tau = nan"),
        ("cst", {"tau": 1, "m": math.inf}, "need a finite real m, got m = inf"),
    ],
)
def test_bad_parameters_are_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        member(name, **parameters)


def test_derived_formulas_of_combinations_carry_conditions():
    assert second_moment(hard_shrink()).conditions == (TAU,)
