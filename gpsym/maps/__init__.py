"""From an activation to its Gaussian-process maps, each a `Formula` with its definition and its closed form.

The layer is h = W phi(h') + b with W_ij ~ N(0, sigma_w2 / fan_in), b_i ~ N(0, sigma_b2).  `one_input` holds the maps of
one input's variance, `two_inputs` those of two inputs' covariance.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gpsym.activation import Activation
from gpsym.formula import Formula
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
    "ALL",
    "QUANTITIES",
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
ALL: dict[str, Callable[..., Formula]] = {
    **QUANTITIES,
    "second_moment": second_moment,
    "mean": mean,
    "output_variance": output_variance,
    "moment_K": moment,
    "hermite_N": hermite_coefficient,
    "derivative_moment_J_K": derivative_moment,
    "correlation": correlation_map,
    "correlation_slope": correlation_slope,
    "correlation_curvature": correlation_curvature,
    "correlation_rate": correlation_rate,
    "kernel": kernel,
    "nngp": nngp,
    "ntk": ntk,
}


def derive(activation: Activation, quantity: str) -> Formula:
    """The formula of one of `ALL`, with numbers for orders, as in "moment_4"; hyphens may stand for underscores.

    Raises ValueError for an unknown quantity.
    """
    words = quantity.replace("-", "_").split("_")
    orders = [int(word) for word in words if word.isdecimal()] if quantity not in QUANTITIES else []
    for name, function in ALL.items():
        pattern = re.sub(r"_[JKN](?=_|$)", r"_\\d+", name)
        if re.fullmatch(pattern, "_".join(words)):
            return function(activation, *(orders if pattern != name else ()))
    known = ", ".join(name.replace("_", "-") for name in ALL)
    raise ValueError(f"derive: unknown quantity {quantity!r}; choose from {known}.")
