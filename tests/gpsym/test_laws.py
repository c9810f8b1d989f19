"""Every law of `gpsym.testing` for every named member and for random ones, most with jumps or piecewise linear."""

import pytest
from hypothesis import given, settings

from gpsym.members import MEMBERS
from gpsym.testing import LAWS, ONE_INPUT_LAWS, TWO_INPUT_LAWS, activations, piecewise_polynomials


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_meets_every_law(name, law):
    LAWS[law](MEMBERS[name]())


@pytest.mark.parametrize("law", ONE_INPUT_LAWS)
@settings.get_profile("one-input")
@given(phi=piecewise_polynomials() | activations())
def test_any_piecewise_polynomial_meets_every_law_of_one_input(law, phi):
    LAWS[law](phi)


@settings.get_profile("two-inputs")
@given(phi=piecewise_polynomials() | activations())
def test_the_kernel_of_any_piecewise_polynomial_matches_quadrature(phi):
    LAWS["kernel_matches_quadrature"](phi)


@pytest.mark.parametrize("law", [law for law in TWO_INPUT_LAWS if law != "kernel_matches_quadrature"])
@settings.get_profile("two-inputs")
@given(phi=piecewise_polynomials(max_knots=2) | activations(max_knots=2))
def test_any_piecewise_polynomial_meets_every_law_of_two_inputs(law, phi):
    LAWS[law](phi)
