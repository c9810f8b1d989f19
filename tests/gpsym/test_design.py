import dataclasses
import json
import math
import re

import mpmath
import pytest
import sympy as sp

from gpsym import Activation, CriticalInit, edge_of_chaos, evaluate, maps, member, shifted_relu
from gpsym.design import Stability
from gpsym.formula import TAU, M
from gpsym.stability import basin, fixed_points

WISHES = [
    {"activation": "relu"},
    {"activation": "relu", "sparsity": 0.5, "q_star": 3.0},
    {"activation": "relu-tau", "sparsity": 0.5},
    {"activation": "relu-tau", "sparsity": 0.85},
    {"activation": "st", "sparsity": 0.0},
    {"activation": "st", "sparsity": 0.95, "q_star": 1e-6},
    {"activation": "crelu", "sparsity": 0.85, "slope": 0.7},
    {"activation": "crelu", "sparsity": 0.5, "slope": 1e-9},
    {"activation": "crelu", "sparsity": 1 - 1e-15, "slope": 0.5},
    {"activation": "cst", "sparsity": 0.0, "slope": 1 - 1e-12, "q_star": 1e6},
    {"activation": "cst", "sparsity": 0.9, "slope": 0.9},
    {"activation": "crelu", "tau": 1.0, "m": 1.0},
    {"activation": "cst", "tau": 1.0, "slope": 0.5},
    {"activation": "crelu", "sparsity": 0.7, "m": 2.0},
    {"activation": "crelu", "sparsity": 0.5, "slope": 1e-60},
    {"activation": "crelu", "sparsity": 0.5, "slope": 1e-300},
    {"activation": "cst", "sparsity": 1e-280, "slope": 0.5},
    {"activation": "crelu", "tau": 1.0, "m": 1e-30},
    {"activation": "crelu", "sparsity": 0.85, "slope": 0.7, "q_star": 1e100},
    {"activation": "crelu", "sparsity": 0.85, "slope": 0.7, "q_star": 1e-300},
    {"activation": "crelu", "tau": 1e-300, "m": 1e-300},
    {"activation": "crelu", "tau": 0.0, "m": 1e300},
]


@pytest.mark.parametrize("wishes", WISHES, ids=str)
def test_a_design_is_what_was_wished_at_the_edge_of_chaos(wishes):
    design = edge_of_chaos(**wishes)
    for wish in {"sparsity", "slope", "q_star", "tau", "m"} & wishes.keys():
        # Rounding tau and m to float64 moves the wish by about as much.
        assert getattr(design, wish) == pytest.approx(wishes[wish], rel=1e-14)
    phi = member(wishes["activation"])
    values = {"q": design.q_star, "tau": design.tau, "m": design.m,
              "sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2}  # fmt: skip
    assert float(evaluate(maps.variance_map(phi), values)) == pytest.approx(design.q_star, rel=1e-15)
    assert float(evaluate(maps.chi_1(phi), values)) == pytest.approx(1, rel=1e-15)
    assert design.chi_1 == 1
    assert design.sigma_b2 >= 0
    assert CriticalInit.from_json(design.to_json()) == design


def test_the_published_example():
    """The numbers of the theory note, section 5, which rounds them."""
    crelu, cst = (edge_of_chaos(name, sparsity=0.85, slope=0.7) for name in ("crelu", "cst"))
    shown = [[round(getattr(d, n), 3) for n in ("tau", "m", "sigma_w2", "sigma_b2", "curvature")] for d in (crelu, cst)]
    assert shown == [[1.036, 1.170, 7.335, 0.595, 0.023], [1.44, 1.002, 7.388, 0.699, 0.396]]


@pytest.mark.parametrize("sparsity", [0.5001, 0.55, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 0.999, 1 - 1e-9])
def test_tau_is_the_float64_nearest_to_the_quantile_of_the_sparsity(sparsity):
    with mpmath.workdps(40):
        s = mpmath.mpf(sparsity)
        one, two = (float(mpmath.sqrt(2) * mpmath.erfinv(level)) for level in (2 * s - 1, s))
    assert edge_of_chaos("relu-tau", sparsity=sparsity).tau == one
    assert edge_of_chaos("st", sparsity=sparsity).tau == two


def test_unclipped_designs_are_marginal_and_unstable():
    for name in ("relu-tau", "st"):
        design = edge_of_chaos(name, sparsity=0.85)
        assert (design.slope, design.m) == (1, None)
        assert design.curvature > 0


@pytest.mark.parametrize(
    ("wishes", "stability"),
    [
        ({"activation": "crelu", "sparsity": 0.85, "slope": 0.99}, "stable"),
        ({"activation": "hard-tanh"}, "stable"),
        ({"activation": "relu", "q_star": 3.7}, "marginal"),
        ({"activation": "abs"}, "marginal"),
        ({"activation": "relu-tau", "sparsity": 0.5}, "marginal"),
        ({"activation": "relu-tau", "sparsity": 0.7, "q_star": 0.3}, "unstable from above"),
        ({"activation": "st", "sparsity": 0.1}, "unstable from above"),
        ({"activation": "squared-relu"}, "unstable"),
        ({"activation": Activation((), ((0, 0, 0, 1),))}, "unstable"),
    ],
    ids=str,
)
def test_a_design_says_whether_its_variance_is_stable(wishes, stability):
    design = edge_of_chaos(**wishes)
    assert design.stability == stability
    assert f"stability   {stability}" in str(design)
    # The certain fixed points and basin agree.
    kind = next(point.kind for point in fixed_points(design) if point.q == design.q_star)
    low, high = basin(design)
    assert kind == {"stable": "attracting", "unstable": "repelling"}.get(stability, "marginal")
    assert (low < design.q_star) == (stability in ("stable", "unstable from above"))
    assert (high is None or high > design.q_star) == (stability == "stable")


def test_marginal_from_below():
    design = dataclasses.replace(edge_of_chaos("relu"), curvature=-1.0)
    assert design.stability is Stability.UNSTABLE_FROM_BELOW


@pytest.mark.parametrize(
    "wishes",
    [
        {"activation": "relu-tau", "sparsity": 0.85},
        {"activation": "st", "sparsity": 0.3, "q_star": 2.0},
        {"activation": "squared-relu"},
        {"activation": Activation((), ((0, 0, 0, 1),))},
    ],
    ids=str,
)
def test_the_stable_design_that_an_unstable_one_names(wishes):
    sentence = edge_of_chaos(**wishes).instability
    name, wish, value, slope = re.search(r"as (\S+) does with (\w+) (\S+) and slope (\S+)\.$", sentence).groups()
    q_star = wishes.get("q_star", 1.0)
    near = edge_of_chaos(name, **{wish: float(value)}, slope=float(slope), q_star=q_star)
    assert near.stability is Stability.STABLE
    assert near.instability is None


@pytest.mark.parametrize("q_star", [0.5, 1.0, 30.0])
@pytest.mark.parametrize("name", ["identity", "abs", "leaky-relu", "hard-tanh", "relu6", "squared-relu", "hard-swish"])
def test_members_without_parameters_have_a_design(name, q_star):
    design = edge_of_chaos(name, q_star=q_star)
    phi = member(name)
    values = {"q": q_star, "sigma_w2": design.sigma_w2, "sigma_b2": design.sigma_b2}
    assert float(evaluate(maps.variance_map(phi), values)) == pytest.approx(q_star, rel=1e-15)
    assert float(evaluate(maps.chi_1(phi), values)) == pytest.approx(1, rel=1e-15)
    assert float(evaluate(maps.slope(phi), values)) == pytest.approx(design.slope, rel=1e-14)
    assert design.sparsity == float(evaluate(maps.sparsity(phi), values))
    assert (design.tau, design.m, design.is_member) == (None, None, True)
    assert design.to_dict()["activation"] == name
    assert "pieces" not in design.to_dict()
    assert CriticalInit.from_json(design.to_json()) == design


def test_designs_known_by_hand():
    """E phi'^2 is (1 + a^2) / 2 for leaky ReLU and 2 q for squared ReLU, E phi^2 of the latter is 3 q^2 / 2."""
    leaky = edge_of_chaos(Activation((0,), ((0, "1/10"), (0, 1)), name="leaky"), q_star=2.0)
    assert leaky.sigma_w2 == pytest.approx(2 / (1 + 0.01), rel=1e-15)
    assert (leaky.sigma_b2, leaky.slope, leaky.tau) == (0, 1, None)
    squared = edge_of_chaos("squared-relu", q_star=0.5)
    assert (squared.sigma_w2, squared.sigma_b2, squared.slope, squared.curvature) == (1, 0.125, 1.5, 3)


@pytest.mark.parametrize(
    "phi",
    [
        Activation((0,), ((0, "1/10"), (0, 1)), name="leaky"),
        Activation((-1, "1/3"), ((), (1, 2, 1), ("64/27", "-16/9")), name="hump"),
        Activation((), ((0, 0.1),), name="a tenth"),
    ],
    ids=lambda phi: phi.name,
)
def test_a_design_of_no_member_writes_its_pieces(phi):
    design = edge_of_chaos(phi, q_star=10.0)
    fields = json.loads(design.to_json())
    assert fields["knots"] == [str(t) for t in phi.knots]
    assert fields["pieces"] == [[str(c) for c in piece] for piece in phi.pieces]
    assert not design.is_member
    assert CriticalInit.from_json(design.to_json()) == design


@pytest.mark.parametrize(
    ("name", "jump"), [("sign", "2 at 0"), ("jump-relu", "tau at tau"), ("hard-shrink", "tau at -tau")]
)
def test_activations_that_jump_have_none(name, jump):
    with pytest.raises(ValueError, match=f"need a continuous activation, got {name}, which jumps by {jump}: so chi_1"):
        edge_of_chaos(name)


def test_a_family_and_a_multiple_of_it_have_one_design():
    """Scaling phi by 2 m scales sigma_w2 by its inverse square: quotients of symbols or none."""
    m = M
    pieces = [[], [TAU**2, -2 * TAU, 1], [2 * m**2 - (TAU + 2 * m) ** 2, 2 * (TAU + 2 * m), -1], [2 * m**2]]
    knots = [TAU, TAU + m, TAU + 2 * m]
    scaled = edge_of_chaos(Activation(knots, pieces), sparsity=0.85, slope=0.7)
    design = edge_of_chaos(Activation(knots, [[c / (2 * m) for c in p] for p in pieces]), sparsity=0.85, slope=0.7)
    for name in ("tau", "m", "sigma_b2", "slope", "sparsity"):
        assert getattr(design, name) == pytest.approx(getattr(scaled, name), rel=1e-12)
    assert design.sigma_w2 == pytest.approx(scaled.sigma_w2 * (2 * design.m) ** 2, rel=1e-12)


def test_a_member_without_edge_of_chaos_is_refused():
    with pytest.raises(ValueError, match=r"need sigma_b2 >= 0, got -9\.02.* for hard-sigmoid"):
        edge_of_chaos("hard-sigmoid")


def test_a_design_prints_itself_as_a_table():
    lines = str(edge_of_chaos("crelu", sparsity=0.85, slope=0.7)).splitlines()
    assert lines[0].split() == ["activation", "clipped-relu"]
    assert any(line.split()[:2] == ["sparsity", "0.85"] for line in lines)
    assert str(edge_of_chaos("relu")).splitlines()[1].split()[:2] == ["tau", "-"]


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"activation": "relu", "sparsity": 0.6}, "no sparsity for relu, where it is always 0.5, got 0.6"),
        ({"activation": "relu", "slope": 0.6}, "no slope for relu, where it is always 1, got 0.6"),
        ({"activation": "relu", "tau": 1}, "relu has no tau, got tau = 1"),
        ({"activation": "st", "sparsity": 0.6, "slope": 0.5}, "no slope for soft-threshold"),
        ({"activation": "st", "sparsity": 0.6, "m": 1}, "soft-threshold has no m"),
        ({"activation": "crelu", "sparsity": 0.4, "slope": 0.5}, r"sparsity in \[0.5, 1\) for clipped-relu, got 0.4"),
        ({"activation": "cst", "sparsity": -0.1, "slope": 0.5}, r"sparsity in \[0, 1\) for clipped-soft-threshold"),
        ({"activation": "cst", "sparsity": 1, "slope": 0.5}, r"sparsity in \[0, 1\)"),
        ({"activation": "cst", "sparsity": math.nan, "slope": 0.5}, r"sparsity in \[0, 1\) .* got nan"),
        ({"activation": "cst", "sparsity": 0.8}, r"one of slope \(0, 1\) and m .* got neither"),
        ({"activation": "cst", "slope": 0.8}, r"one of sparsity \[0, 1\) and tau .* got neither"),
        ({"activation": "cst", "sparsity": 0.8, "slope": 0.5, "m": 1}, "one of slope .* got both"),
        ({"activation": "cst", "sparsity": 0.8, "slope": 1}, r"slope in \(0, 1\)"),
        ({"activation": "cst", "sparsity": 0.8, "slope": 0}, r"slope in \(0, 1\)"),
        ({"activation": "relu", "q_star": 0}, "need q_star > 0, got q_star = 0"),
        ({"activation": "relu", "q_star": math.inf}, "need a finite real q_star"),
        ({"activation": "relu-tau", "tau": -1}, "sigma_b2 >= 0, got -1.28.* no edge of chaos exists"),
        ({"activation": "st", "tau": -1}, "need tau >= 0"),
        ({"activation": "st", "tau": 40}, "need sigma_w2 within float64"),
        ({"activation": "crelu", "tau": 344, "slope": 0.5}, "need a threshold that pre-activations pass"),
        ({"activation": "st", "tau": 1e200}, r"need E phi'\^2 > 0, got 0"),
        ({"activation": "relu-tau", "sparsity": 0.5, "slope": 1.0}, "no slope for shifted-relu"),
        ({"activation": "prelu"}, "need numbers for a of prelu"),
        ({"activation": shifted_relu(sp.Symbol("t", real=True))}, "need numbers for t of shifted-relu"),
        ({"activation": "crelu", "tau": 1, "m": -1}, "need m > 0"),
        ({"activation": Activation((), (("1/10", 1),))}, "need sigma_b2 >= 0, got -0.01 "),
        ({"activation": Activation((), ((1,),))}, r"need E phi'\^2 > 0, got 0"),
    ],
    ids=str,
)
def test_impossible_wishes_are_refused(wishes, message):
    with pytest.raises(ValueError, match=message):
        edge_of_chaos(**wishes)


def test_damaged_json_is_refused():
    fields = edge_of_chaos("relu").to_dict()
    with pytest.raises(ValueError, match="need the field 'sigma_w2'"):
        CriticalInit.from_json(json.dumps({k: v for k, v in fields.items() if k != "sigma_w2"}))
    with pytest.raises(ValueError, match="need a finite number for 'slope', got 'steep'"):
        CriticalInit.from_dict({**fields, "slope": "steep"})


def test_a_name_alone_makes_no_member():
    other = Activation((0,), ((0, "1/2"), (0, 1)), name="relu")
    design = edge_of_chaos(other)
    assert not design.is_member
    assert CriticalInit.from_json(design.to_json()).phi == other != member("relu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma_w2": math.nan}, "need a finite number for 'sigma_w2'"),
        ({"q_star": -1.0}, "need a number > 0 for 'q_star', got -1.0"),
        ({"m": None}, "need a number for m"),
        ({"knots": ["__import__('os').getpid()"], "pieces": [[], ["0", "1"]]}, "unknown function __import__"),
        ({"knots": ["0"], "pieces": [[], ["__import__('os').getpid()"]]}, "unknown function __import__"),
        ({"knots": ["0"], "pieces": [[]]}, "need one piece more than knots"),
        ({"knots": ["0"]}, "need the field 'pieces'"),
        ({"activation": 5}, "need a text for 'activation', got 5"),
    ],
)
def test_design_files_are_read_and_not_believed(change, message):
    fields = edge_of_chaos("crelu", sparsity=0.85, slope=0.7).to_dict()
    with pytest.raises(ValueError, match=message):
        CriticalInit.from_dict({**fields, **change})
