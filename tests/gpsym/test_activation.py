import math

import pytest
import sympy as sp

from gpsym.activation import ALIASES, MEMBERS, Activation, clipped_relu, clipped_soft_threshold, member, shifted_relu
from gpsym.formula import TAU, M

NUMBERS = {"tau": 0.75, "m": 1.5}

BY_HAND = {
    "relu": lambda x: max(0.0, x),
    "shifted-relu": lambda x: max(0.0, x - 0.75),
    "soft-threshold": lambda x: math.copysign(max(0.0, abs(x) - 0.75), x),
    "clipped-relu": lambda x: min(max(0.0, x - 0.75), 1.5),
    "clipped-soft-threshold": lambda x: math.copysign(min(max(0.0, abs(x) - 0.75), 1.5), x),
}


def numeric(name: str) -> Activation:
    parameters = {str(p): NUMBERS[str(p)] for p in MEMBERS[name]().parameters}
    return member(name, **parameters)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("x", [-5, -2.25, -1, -0.75, -0.25, 0, 0.5, 0.75, 1, 2.25, 4])
def test_members_are_the_functions_of_their_names(name, x):
    assert float(numeric(name)(x)) == BY_HAND[name](x)


@pytest.mark.parametrize("name", MEMBERS)
def test_clamp_terms_are_the_activation(name):
    offset, terms = numeric(name).clamp_terms()
    for k in range(-40, 41):
        x = k / 8
        value = offset + sum(slope * min(max(x - shift, low), high) for slope, shift, low, high in terms)
        assert value == BY_HAND[name](x)


def test_clamp_terms_without_knots_and_without_zero_piece():
    assert Activation((), (2,), (1,)).clamp_terms() == (1.0, ((2.0, 0.0, -math.inf, math.inf),))
    leaky = Activation((0,), ("1/10", 1), (0, 0))
    offset, terms = leaky.clamp_terms()
    assert offset + sum(s * min(max(-3 - t, low), high) for s, t, low, high in terms) == pytest.approx(-0.3)


def test_aliases_name_members():
    assert {alias: member(alias).name for alias in ALIASES} == ALIASES


def test_a_float_is_the_rational_that_it_is():
    assert shifted_relu(0.1).knots[0] == sp.Rational(*(0.1).as_integer_ratio())


def test_merged_knots_and_equal_neighbours_are_joined():
    assert clipped_soft_threshold(0, 1) == Activation((-1, 1), (0, 1, 0), (-1, 0, 1))
    assert Activation((0, 1), (1, 1, 2), (0, 0, -1)) == Activation((1,), (1, 2), (0, -1))


def test_undecided_order_becomes_a_condition():
    assert clipped_soft_threshold().conditions == (TAU,)
    assert clipped_relu().conditions == ()
    assert clipped_relu().parameters == (TAU, M)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0,), (0,), (0,)), "one slope and one intercept more than knots"),
        (((1, 0), (0, 1, 0), (0, 0, 0)), "knots in increasing order"),
        (((0,), (0, 1), (0, 1)), "need a continuous function, got a jump of 1 at 0"),
        (((math.nan,), (0, 1), (0, 0)), "finite real numbers"),
        (((0,), (0, math.inf), (0, 0)), "finite real numbers"),
        (((sp.Symbol("t"),), (0, 1), (0, 0)), "symbols declared real"),
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
        ("st", {"tau": -1}, "soft-threshold: need tau >= 0, got tau = -1"),
        ("crelu", {"tau": 1, "m": 0}, "clipped-relu: need m > 0, got m = 0"),
        ("crelu", {"tau": math.nan}, "need a finite real tau, got tau = nan"),
        ("cst", {"tau": 1, "m": math.inf}, "need a finite real m, got m = inf"),
    ],
)
def test_bad_parameters_are_refused(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        member(name, **parameters)
