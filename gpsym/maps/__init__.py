"""From an activation to its Gaussian-process maps, each a `Formula` with its definition and its closed form.

The layer is h = W phi(h') + b with W_ij ~ N(0, sigma_w2 / fan_in), b_i ~ N(0, sigma_b2).  `one_input` holds the maps of
one input's variance, `two_inputs` those of two inputs' covariance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from gpsym.activation import Activation
from gpsym.formula import Formula
from gpsym.limits import shown
from gpsym.maps.one_input import (
    chi_1,
    curvature,
    derivative_moment,
    hermite_coefficient,
    mean,
    moment,
    output_variance,
    second_moment,
    slope,
    sparsity,
    variance_map,
)
from gpsym.maps.two_inputs import (
    correlation_curvature,
    correlation_map,
    correlation_rate,
    correlation_slope,
    kernel,
    nngp,
    ntk,
)

__all__ = [
    "ONE_INPUT",
    "QUANTITIES",
    "TWO_INPUTS",
    "chi_1",
    "correlation_curvature",
    "correlation_map",
    "correlation_rate",
    "correlation_slope",
    "curvature",
    "derivative_moment",
    "derive",
    "hermite_coefficient",
    "kernel",
    "mean",
    "moment",
    "nngp",
    "ntk",
    "output_variance",
    "second_moment",
    "slope",
    "sparsity",
    "variance_map",
]

# The standard ones, of which a person asks first.
QUANTITIES: dict[str, Callable[[Activation], Formula]] = {
    "variance": variance_map,
    "slope": slope,
    "curvature": curvature,
    "chi_1": chi_1,
    "sparsity": sparsity,
}

# Every one that `derive` knows; N, J and K stand for orders 0, 1, 2, ...
ONE_INPUT: dict[str, Callable[..., Formula]] = {
    **QUANTITIES,
    "second_moment": second_moment,
    "mean": mean,
    "output_variance": output_variance,
    "moment_K": moment,
    "hermite_N": hermite_coefficient,
    "derivative_moment_J_K": derivative_moment,
    "correlation_rate": correlation_rate,
}
TWO_INPUTS: dict[str, Callable[..., Formula]] = {
    "correlation": correlation_map,
    "correlation_slope": correlation_slope,
    "correlation_curvature": correlation_curvature,
    "kernel": kernel,
    "nngp": nngp,
    "ntk": ntk,
}


_DIGITS = 12  # of an order; one with more is too large anyway


def derive(activation: Activation, quantity: str, **at: Any) -> Formula:
    """The formula of one of `ONE_INPUT` or `TWO_INPUTS`, with numbers for orders, as in "moment_4".

    quantity  its name; hyphens may stand for underscores.
    at        of a quantity of two inputs: rho, the correlation -1, 0 or 1, and variances, a pair.

    Raises ValueError for an unknown quantity, and for a rho that is another or has nothing to do with it.
    """
    name = quantity.replace("-", "_")
    if name in TWO_INPUTS:
        return TWO_INPUTS[name](activation, **at)
    if at:
        raise ValueError(
            f"derive: need a quantity of two inputs for {' and '.join(at)}, got {shown(quantity)}; "
            f"choose from {_spelled(TWO_INPUTS)}."
        )
    for known, function in ONE_INPUT.items():
        if match := re.fullmatch(re.sub(r"_[JKN](?=_|$)", r"_(\\d+)", known), name):
            return function(activation, *(int(digits[:_DIGITS]) for digits in match.groups()))
    raise ValueError(
        f"derive: unknown quantity {shown(quantity, repr)}; choose from {_spelled(ONE_INPUT)}, {_spelled(TWO_INPUTS)}."
    )


def _spelled(names: Iterable[str]) -> str:
    return ", ".join(name.replace("_", "-") for name in names)
