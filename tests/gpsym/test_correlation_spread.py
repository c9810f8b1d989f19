"""The spread of the correlation of two inputs against random networks with all their weights."""

import math

import numpy as np
import pytest
import torch

from gpsym.design import edge_of_chaos
from gpsym.finite_width.correlation import correlation_spread
from tests.gpsym.layers.networks import Networks

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7, q_star=2.0)
CST = edge_of_chaos("cst", sparsity=0.7, slope=0.6)


@pytest.mark.parametrize(("design", "correlation"), [(CRELU, 0.2), (CST, -0.4), (edge_of_chaos("relu"), 0.0)])
def test_random_networks_have_this_spread(design, correlation):
    """To four standard errors and what is beyond leading order."""
    width, depth, count = 256, 8, 600
    networks = Networks(design, width=width, networks=count)
    found = correlation_spread(design, width=width, depth=depth, correlation=correlation)
    inputs = networks.first(correlation)
    for layer in range(depth):
        # What the next layer is drawn with, rather than what its n units happen to have.
        a, b = (networks.phi(h).double() for h in inputs)
        uu, vv, uv = (design.sigma_b2 + design.sigma_w2 * (x * y).mean(1) for x, y in ((a, a), (b, b), (a, b)))
        rho = uv / torch.sqrt(uu * vv)
        sd = float(found.sd[layer])
        beyond = sd / math.sqrt(width)  # of the size of the next order
        assert abs(float(rho.std()) - sd) < 4 * sd / math.sqrt(2 * count) + beyond
        assert abs(float(rho.mean()) - found.correlation[layer]) < 4 * sd / math.sqrt(count) + beyond
        inputs = networks.layer(*inputs)


def test_the_spread_falls_as_one_over_the_root_of_the_width():
    narrow, wide = (correlation_spread(CRELU, width=n, depth=5, correlation=0.5) for n in (100, 400))
    assert narrow.sd == pytest.approx(2 * wide.sd, rel=1e-12)
    assert np.array_equal(narrow.correlation, wide.correlation)


def test_one_input_does_not_spread_from_itself():
    found = correlation_spread(CRELU, width=10, depth=6, correlation=1.0)
    assert found.correlation == pytest.approx(1.0, abs=1e-12)
    assert found.sd == pytest.approx(0.0, abs=1e-6)  # a root of rounding


def test_the_scale_changes_nothing():
    small, large = (edge_of_chaos("cst", sparsity=0.8, slope=0.5, q_star=q) for q in (1e-3, 1e3))
    one, other = (correlation_spread(d, width=50, depth=10, correlation=0.3) for d in (small, large))
    assert one.correlation == pytest.approx(other.correlation, rel=1e-10)
    assert one.sd == pytest.approx(other.sd, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"correlation": 1.5}, r"need a correlation in \[-1, 1\], got 1.5"),
        ({"correlation": math.nan}, r"got nan"),
        ({"width": 0}, "need a whole width"),
        ({"depth": 0}, "need a whole depth"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        correlation_spread(CRELU, **({"width": 10, "depth": 2, "correlation": 0.0} | change))
