"""The slope that a width and a depth allow: it keeps the risk, and the next one does not."""

import re

import pytest

from gpsym.design import edge_of_chaos
from gpsym.finite_width import finite_width


@pytest.mark.parametrize(
    ("activation", "sparsity", "q_star", "demand"),
    [
        ("crelu", 0.85, 1.0, {"width": 300, "depth": 100}),
        ("cst", 0.9, 4.0, {"width": 256, "depth": 30, "risk": 0.05}),
        ("cst", 0.95, 1.0, {"width": 1000, "depth": 50, "excursion": 1.5}),
        ("crelu", 0.5, 1.0, {"width": 64, "depth": 1000, "risk": 0.2}),
    ],
)
def test_the_largest_slope_that_keeps_the_risk(activation, sparsity, q_star, demand):
    design = edge_of_chaos(activation, sparsity=sparsity, q_star=q_star, **demand)
    assert design.slope == pytest.approx(round(design.slope, 3), abs=1e-15)  # a multiple of 1/1000
    risk = demand.pop("risk", 0.01)
    # The search computes risks to 1e-4.
    assert finite_width(design, **demand).excursion_probability <= risk + 1e-4
    steeper = edge_of_chaos(activation, sparsity=sparsity, q_star=q_star, slope=round(design.slope, 3) + 0.001)
    assert finite_width(steeper, **demand).excursion_probability > risk - 1e-4


def test_a_slope_or_clip_level_of_ones_own_stays():
    size = {"width": 50, "depth": 100}
    assert edge_of_chaos("crelu", sparsity=0.85, slope=0.9, **size) == edge_of_chaos("crelu", sparsity=0.85, slope=0.9)
    assert edge_of_chaos("crelu", sparsity=0.85, m=2.0, **size) == edge_of_chaos("crelu", sparsity=0.85, m=2.0)
    assert edge_of_chaos("st", sparsity=0.85, **size) == edge_of_chaos("st", sparsity=0.85)


def test_where_none_exists_what_would_work():
    """Hardly any variance above q_star is allowed: at the least slope, with a wider or a shallower network."""
    demand = {"excursion": 1.0011, "risk": 0.01}
    refused = (
        r"need a slope whose excursion probability is at most 0.01 at width 64 and depth 100, got none for "
        r"clipped-relu; what would work: width (\d+) or depth (\d+) or no lower sparsity\."
    )
    with pytest.raises(ValueError, match=refused) as refusal:
        edge_of_chaos("crelu", sparsity=0.95, width=64, depth=100, **demand)
    width, depth = map(int, re.search(refused, str(refusal.value)).groups())
    assert edge_of_chaos("crelu", sparsity=0.95, width=width, depth=100, **demand).slope == pytest.approx(0.001)
    assert edge_of_chaos("crelu", sparsity=0.95, width=64, depth=depth, **demand).slope == pytest.approx(0.001)
    for size in ({"width": width - 1, "depth": 100}, {"width": 64, "depth": depth + 1}):
        with pytest.raises(ValueError, match="need a slope"):
            edge_of_chaos("crelu", sparsity=0.95, **size, **demand)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 64}, r"need width and depth together, got width = 64 and depth = None"),
        ({"width": 64, "depth": 10, "risk": 1.0}, r"need a risk in \(0, 1\), got 1.0"),
        ({"width": 64, "depth": 10, "excursion": 0.5}, r"need excursion > 1, got 0.5"),
        ({"width": -1, "depth": 10}, r"need a whole width from 1 to 131072, got -1"),
    ],
)
def test_demands_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        edge_of_chaos("crelu", sparsity=0.85, **arguments)
