"""The slope that a width and a depth allow: it keeps the risk, and the next one does not."""

import re

import pytest

from gpsym.design import DesignWarning, edge_of_chaos
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
    size = {"width": 3000, "depth": 3}
    for own in ({"slope": 0.7}, {"m": 1.5}):
        assert edge_of_chaos("crelu", sparsity=0.85, **own, **size) == edge_of_chaos("crelu", sparsity=0.85, **own)
    assert edge_of_chaos("st", sparsity=0.85, **size) == edge_of_chaos("st", sparsity=0.85)


def test_the_largest_slope_keeps_networks_alive():
    """The largest slope with few excursions leaves too many networks dead: a lower one keeps the risk of both."""
    size = {"width": 300, "depth": 100}
    design = edge_of_chaos("crelu", sparsity=0.95, **size)
    assert finite_width(design, **size).failure_probability <= 0.01 + 1e-4
    steeper = edge_of_chaos("crelu", sparsity=0.95, slope=round(design.slope, 3) + 0.001)
    found = finite_width(steeper, **size)
    assert found.failure_probability > 0.01 - 1e-4
    assert found.dead_probability > 1e-3


def _ways(message):
    """The wishes that a message names, each as arguments."""
    names = {"width": int, "depth": int, "sparsity": float, "slope": float}
    ways = re.search(r"what would work: (.*)\.$", message)[1].split(" or ")
    return [{name: names[name](value) for name, value in re.findall(r"([a-z]+) ([\d.]+)", way)} for way in ways]


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"activation": "crelu", "sparsity": 0.95, "width": 64, "depth": 50}, ["width", "sparsity"]),
        pytest.param(
            {"activation": "cst", "sparsity": 0.97, "width": 300, "depth": 200, "q_star": 4.0},
            ["width", "depth", "sparsity"],
            marks=pytest.mark.deep,
        ),
        ({"activation": "crelu", "tau": 1.0, "width": 1, "depth": 3, "risk": 0.2}, ["width"]),
        ({"activation": "crelu", "sparsity": 0.6, "width": 64, "depth": 100, "excursion": 1.1}, ["width"]),
    ],
    ids=str,
)
def test_where_no_slope_keeps_the_risk_each_wish_named_does(wish, named):
    with pytest.raises(ValueError, match="need a slope at which networks fail with at most probability") as refusal:
        edge_of_chaos(**wish)
    ways = _ways(str(refusal.value))
    assert {next(iter(way)) for way in ways} >= {*named}
    for way in ways:
        other = {**wish, **way}
        if "sparsity" in way:
            other.pop("tau", None)
        size = {name: other[name] for name in ("width", "depth", "excursion") if name in other}
        design = edge_of_chaos(**other)  # a warning is an error
        assert finite_width(design, **size).failure_probability <= wish.get("risk", 0.01) + 1e-4


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"activation": "crelu", "sparsity": 0.95, "slope": 0.7, "width": 64, "depth": 50}, ["width"]),
        ({"activation": "crelu", "sparsity": 0.85, "slope": 0.9, "width": 300, "depth": 100},
         ["slope", "width", "depth", "sparsity"]),
        ({"activation": "crelu", "tau": 1.0, "m": 3.0, "width": 64, "depth": 10}, ["slope"]),
        ({"activation": "relu-tau", "sparsity": 0.85, "width": 300, "depth": 10}, ["width", "depth"]),
        ({"activation": "relu", "width": 64, "depth": 50}, ["width", "depth"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_design_of_ones_own_whose_networks_fail_comes_with_a_warning(wish, named):
    with pytest.warns(DesignWarning, match="need networks that fail with at most probability 0.01") as caught:
        design = edge_of_chaos(**wish)
    assert design == edge_of_chaos(**{name: value for name, value in wish.items() if name not in ("width", "depth")})
    ways = _ways(str(caught[0].message))
    assert {next(iter(way)) for way in ways} >= {*named}
    for way in ways:
        other = {**wish, **way}
        for given, instead in (("tau", "sparsity"), ("m", "slope")):
            if instead in way:
                other.pop(given, None)
        edge_of_chaos(**other)  # a warning is an error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"risk": 0.1}, r"need width and depth with risk, got risk = 0.1 alone; pass all"),
        ({"slope": 0.5, "excursion": 3.0}, r"need width and depth with excursion, got excursion = 3.0 alone; pass all"),
        ({"width": 64, "depth": 10, "risk": 0.0}, r"need a risk in \(0, 1\), got 0.0"),
        ({"width": 64, "depth": 10**6}, r"need a whole depth from 1 to 100000, got 1000000"),
        ({"width": 64}, r"need width and depth together, got width = 64 and depth = None"),
        ({"width": 64, "depth": 10, "risk": 1.0}, r"need a risk in \(0, 1\), got 1.0"),
        ({"width": 64, "depth": 10, "excursion": 0.5}, r"need excursion > 1, got 0.5"),
        ({"width": -1, "depth": 10}, r"need a whole width from 1 to 131072, got -1"),
    ],
)
def test_demands_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        edge_of_chaos("crelu", sparsity=0.85, **arguments)
