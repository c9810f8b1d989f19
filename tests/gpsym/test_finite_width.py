"""The chain at finite width against quadrature, finer grids, limits, and random networks with all their weights."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma, ndtr, polygamma

from gpsym import finite_width as rooms
from gpsym.design import CriticalInit, edge_of_chaos
from gpsym.finite_width import (
    QUANTILES,
    FiniteWidth,
    Start,
    above_by_depth,
    backward,
    excursion_by_depth,
    excursion_probability,
    finite_width,
    variance_distribution,
    variance_quantiles,
)
from gpsym.finite_width.grid import Grid, cut_weights
from gpsym.finite_width.law import laws, moments, units
from gpsym.finite_width.simulation import simulated_variances
from gpsym.members import member

CST = edge_of_chaos("cst", sparsity=0.85, slope=0.9)
CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
DESIGNS = {
    "crelu": CRELU,
    "cst": CST,
    "sparser": edge_of_chaos("crelu", sparsity=0.95, slope=0.5),
    "st": edge_of_chaos("st", sparsity=0.7),
    "hard-tanh": edge_of_chaos("hard-tanh"),
}


def below(design: CriticalInit, q: float, t: float) -> float:
    """P(phi(sqrt(q) Z)^2 <= t) of a clipped design."""
    if t < 0 or design.m is None or design.tau is None:
        return 0.0
    if math.sqrt(t) >= design.m:
        return 1.0
    sides = 2 if design.activation == "clipped-soft-threshold" else 1
    return 1 - sides * float(ndtr(-(design.tau + math.sqrt(t)) / math.sqrt(q)))


def stays_twice(design: CriticalInit, limit: float) -> float:
    """P(q_1 <= limit, q_2 <= limit) for a single unit a layer, by quadrature over the first one."""
    assert design.tau is not None
    assert design.m is not None
    t = (limit - design.sigma_b2) / design.sigma_w2
    top = min(math.sqrt(t), design.m)
    node, weight = np.polynomial.legendre.leggauss(200)
    y = top * (node + 1) / 2
    sides = 2 if design.activation == "clipped-soft-threshold" else 1
    density = sides * np.exp(-((design.tau + y) ** 2) / 2) / math.sqrt(2 * math.pi)
    total = sum(
        w * top / 2 * p * below(design, design.sigma_b2 + design.sigma_w2 * x * x, t)
        for x, w, p in zip(y, weight, density, strict=True)
    )
    total += below(design, 1.0, 0.0) * below(design, design.sigma_b2, t)
    if top == design.m:
        saturated = sides * float(ndtr(-(design.tau + design.m)))
        total += saturated * below(design, design.sigma_b2 + design.sigma_w2 * design.m**2, t)
    return total


@pytest.mark.parametrize("name", ["crelu", "cst", "sparser"])
def test_a_single_unit_against_quadrature(name):
    """Atoms and edges at their worst: the law of one unit has a jump at 0 and an infinite density next to it."""
    found = finite_width(DESIGNS[name], width=1, depth=2)
    expected = 1 - stays_twice(DESIGNS[name], found.excursion_limit)
    assert found.error < 1e-4
    assert found.excursion_probability == pytest.approx(expected, abs=found.error)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("width", [2, 16, 300, 65536])
def test_laws_have_the_exact_moments(name, width):
    """Mean and variance of q' are V(q) and sigma_w2^2 Var phi^2 / n; of N > 0, what the binomial law gives."""
    design = DESIGNS[name]
    q = np.array([0.7, 1.0, 2.5])
    one = moments(units(design.phi), q)
    found = laws(units(design.phi), (design.sigma_w2, design.sigma_b2), width, q, 2048, gradients=True)
    mean = (found.every * found.places).sum(axis=1) + found.zeros * design.sigma_b2
    variance = (found.every * (found.places - mean[:, None]) ** 2).sum(axis=1)
    variance += found.zeros * (design.sigma_b2 - mean) ** 2
    assert found.zeros + found.every.sum(axis=1) == pytest.approx(1, abs=1e-12)
    # Windows leave out 1e-13 on either side, of values up to some 40 deviations away; few units ring around atoms.
    deviation = design.sigma_w2 * np.sqrt(one.variance / width)
    assert mean == pytest.approx(design.sigma_b2 + design.sigma_w2 * one.mean, abs=float(1e-6 * deviation.max()))
    assert variance == pytest.approx(deviation**2, rel=1e-4)
    assert 1 - found.living.sum(axis=1) == pytest.approx((1 - one.active) ** width, abs=1e-12)
    number = np.arange(1, width + 1)
    for k, p in enumerate(one.active):
        log_chance = (
            np.cumsum(np.log((width - number + 1) / number)) + number * np.log(p) + (width - number) * np.log1p(-p)
        )
        mean_log = digamma(number / 2) + math.log(2)
        assert found.log_1 is not None
        assert found.log_2 is not None
        expected = (
            float(np.exp(log_chance) @ mean_log),
            float(np.exp(log_chance) @ (mean_log**2 + polygamma(1, number / 2))),
        )
        # 16 Krawtchouk polynomials; all of them for 2 and 16 units.
        assert (found.log_1[k].sum(), found.log_2[k].sum()) == pytest.approx(expected, rel=1e-6)


def test_number_of_active_units_depends_on_the_next_variance():
    """E[log chi^2_N q'] against two million samples of layers."""
    design, width, q = CRELU, 64, 1.3
    found = laws(units(design.phi), (design.sigma_w2, design.sigma_b2), width, np.array([q]), 1024, gradients=True)
    random = np.random.default_rng(0)
    x = np.maximum(math.sqrt(q) * random.standard_normal((30_000, width)) - design.tau, 0)
    number = ((x > 0) & (x < design.m)).sum(axis=1)
    following = design.sigma_b2 + design.sigma_w2 * (np.minimum(x, design.m) ** 2).mean(axis=1)
    log = np.where(number > 0, digamma(np.maximum(number, 1) / 2) + math.log(2), 0)
    assert found.log_1 is not None
    for power in (1, 2):
        sample = log * following**power
        expected = float((found.log_1 * found.places**power).sum())
        assert abs(sample.mean() - expected) < 3 * sample.std() / math.sqrt(len(sample))


def test_cuts_integrate_up_to_the_end():
    """Sums of a normal density over places a quarter of a deviation apart, up to any end: relative error step^6."""
    step = 0.25
    places = np.arange(-10, 10, step)[None, :] + np.array([[0.0], [0.1]])
    masses = step * np.exp(-(places**2) / 2) / math.sqrt(2 * math.pi)
    for end in (-1.3, 0.0, 0.77, 2.0, 50.0, -50.0):
        assert (masses * cut_weights(places, end)).sum(axis=1) == pytest.approx(ndtr(end), abs=1e-6)


def test_measures_integrate_polynomials_of_degree_five():
    grid = Grid(0.5, 10.0, 40, 0.3)
    random = np.random.default_rng(0)
    places, masses = random.uniform(0.5, 10, (3, 50)), random.uniform(0, 1, (3, 50))
    weights = grid.measure(grid.placed(places), masses)
    for power in range(6):
        expected = (masses * np.log(places + 0.3) ** power).sum(axis=1)
        assert weights @ np.log(grid.nodes + 0.3) ** power == pytest.approx(expected, rel=1e-12)


@pytest.fixture
def twice_as_fine(monkeypatch):
    """`finite_width` on grids and lattices twice as fine."""

    def compute(design: CriticalInit, **arguments) -> FiniteWidth:
        rooms._chain.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(rooms, "_FINE", 2 * rooms._FINE)
            patch.setattr(rooms, "_COARSE", 2 * rooms._COARSE)
            return finite_width(design, **arguments)

    return compute


@pytest.mark.parametrize(
    ("name", "width", "depth"),
    [("crelu", 16, 50), ("crelu", 64, 100), ("cst", 300, 100), ("cst", 32, 20), ("st", 100, 10), ("hard-tanh", 20, 50)],
)
def test_errors_are_honoured_by_a_grid_twice_as_fine(name, width, depth, twice_as_fine):
    found = finite_width(DESIGNS[name], width=width, depth=depth)
    finer = twice_as_fine(DESIGNS[name], width=width, depth=depth)
    assert found.error < 2e-4
    for quantity in ("escape_by_depth", "excursion_by_depth", "outside_probability", "dead_probability"):
        assert getattr(found, quantity) == pytest.approx(getattr(finer, quantity), abs=found.error), quantity
    assert found.log_gradient_sd == pytest.approx(finer.log_gradient_sd, rel=2e-3)
    assert finer.error < found.error + 1e-12  # what rounding and windows leave is the same for both


def test_the_theory_notes_risks():
    """Section 7: P(q_L > 2) of CST 0.85/0.9 at width 300, simulated with 150 networks each."""
    for depth, simulated in ((10, 0.020), (30, 0.193), (100, 0.653)):
        risk = 1 - variance_distribution(CST, [2.0], width=300, depth=depth)[0]
        assert abs(risk - simulated) < 3 * math.sqrt(risk * (1 - risk) / 150)


def networks(design: CriticalInit, width: int, depth: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(largest variance, log(|g_0|^2 / |g_L|^2)) of random networks with all their weights, numpy alone."""
    random = np.random.default_rng(seed)
    largest, logs = np.empty(count), np.empty(count)
    sides = design.activation == "clipped-soft-threshold"
    for k in range(count):
        h = math.sqrt(design.q_star) * random.standard_normal(width)
        weights, slopes, top = [], [], 0.0
        for _ in range(depth):
            x = np.maximum((np.abs(h) if sides else h) - design.tau, 0)
            slopes.append((x > 0) & (x < design.m))
            a = np.minimum(x, design.m) * (np.sign(h) if sides else 1)
            weights.append(math.sqrt(design.sigma_w2 / width) * random.standard_normal((width, width)))
            top = max(top, design.sigma_b2 + design.sigma_w2 * (a @ a) / width)
            h = weights[-1] @ a + math.sqrt(design.sigma_b2) * random.standard_normal(width)
        x = (np.abs(h) if sides else h) - design.tau
        g = random.standard_normal(width) * ((x > 0) & (x < design.m))
        start = g @ g
        for matrix, slope in zip(reversed(weights), reversed(slopes), strict=True):
            g = slope * (g @ matrix)
        with np.errstate(divide="ignore"):
            largest[k], logs[k] = top, np.log(g @ g) - np.log(start)
    return largest, logs


@pytest.mark.parametrize(
    ("design", "width", "depth"),
    [
        (CRELU, 64, 60),
        (CST, 64, 20),
        (edge_of_chaos("crelu", sparsity=0.5, slope=0.95), 64, 60),
        (edge_of_chaos("cst", sparsity=0.85, slope=0.7), 100, 30),
    ],
)
def test_random_networks(design, width, depth):
    """Risks and dead fractions within 3 standard errors; the gradients' spread within those or 5 %."""
    count = 400
    largest, logs = networks(design, width, depth, count, seed=1)
    found = finite_width(design, width=width, depth=depth)
    for p, happened in (
        (found.excursion_probability, largest > found.excursion_limit),
        (found.dead_probability, np.isneginf(logs)),
    ):
        assert abs(happened.mean() - p) <= 3 * math.sqrt(max(p * (1 - p), 1 / count) / count)
    kept = logs[np.isfinite(logs) & (largest <= (found.limit or math.inf))]
    fourth = np.mean((kept - kept.mean()) ** 4) / kept.var() ** 2
    error = kept.std() * math.sqrt((fourth - 1) / len(kept)) / 2
    assert found.log_gradient_sd is not None
    assert found.log_gradient_mean is not None
    assert abs(kept.std() - found.log_gradient_sd) <= max(3 * error, 0.05 * found.log_gradient_sd)
    assert abs(kept.mean() - found.log_gradient_mean) <= 3 * kept.std() / math.sqrt(len(kept)) + 0.1 * kept.std()


slopes = st.floats(min_value=0.3, max_value=0.95)


@settings(max_examples=8)
@given(st.sampled_from(["crelu", "cst"]), slopes, st.floats(min_value=0.01, max_value=0.05))
def test_theorem_the_risk_grows_with_the_slope(activation, slope, step):
    risks = [
        excursion_probability(edge_of_chaos(activation, sparsity=0.85, slope=s), width=128, depth=30)
        for s in (slope, slope + step * (1 - slope))
    ]
    assert risks[0] <= risks[1] + 1e-6


@settings(max_examples=8)
@given(st.sampled_from(["crelu", "cst"]), slopes, st.integers(min_value=32, max_value=512))
def test_theorem_the_risk_falls_with_the_width(activation, slope, width):
    design = edge_of_chaos(activation, sparsity=0.85, slope=slope)
    wide, narrow = (excursion_probability(design, width=n, depth=30) for n in (width + width // 4, width))
    assert wide <= narrow + 1e-6


def test_risk_grows_with_depth_and_bounds_where_networks_end():
    found = finite_width(CST, width=200, depth=300)
    assert np.all(np.diff(found.escape_by_depth) >= 0)
    assert found.outside_probability < found.escape_probability
    assert found.excursion_probability == found.escape_probability  # the fixed point 1.26 is below twice q_star
    assert found.mean_exit_depth is not None
    survival = 1 - np.array(found.escape_by_depth)
    # E[T] = sum of P(T > l) over l >= 0, whose tail is geometric.
    ratio = survival[-1] / survival[-2]
    assert found.mean_exit_depth == pytest.approx(1 + survival.sum() + survival[-1] * ratio / (1 - ratio), rel=1e-6)


def test_an_excursion_is_a_variance_above_its_end():
    size = {"width": 100, "depth": 7}
    end = finite_width(CST, **size).excursion_limit
    assert np.array_equal(above_by_depth(CST, end, **size), excursion_by_depth(CST, **size))
    assert above_by_depth(CRELU, 2.0, **size) == pytest.approx(finite_width(CRELU, **size).excursion_by_depth, abs=1e-4)


def test_depths_compose():
    """What a spread-out start adds up to: the law after 3 layers started from that after 2 is the law after 5."""
    places = np.linspace(0.62, 4, 600)
    after_two = variance_distribution(CRELU, places, width=100, depth=2)
    weights = np.diff(after_two, prepend=0)
    start = Start(tuple(places), tuple(weights / weights.sum()))
    middle = np.array([0.8, 1.0, 1.4])
    found = variance_distribution(CRELU, middle, width=100, depth=3, start=start)
    # Places 0.006 apart stand for what lies between them.
    assert found == pytest.approx(variance_distribution(CRELU, middle, width=100, depth=5), abs=2e-3)


@pytest.mark.parametrize("name", ["crelu", "cst", "st"])
def test_quantiles_by_depth(name):
    """The last ones are those of `finite_width`, and the probabilities up to each are those asked for."""
    design, size = DESIGNS[name], {"width": 100, "depth": 12}
    quantiles = variance_quantiles(design, QUANTILES, **size)
    assert quantiles.shape == (12, len(QUANTILES))
    assert tuple(quantiles[-1]) == pytest.approx(finite_width(design, **size).quantiles, rel=1e-9)
    for depth in (1, 5):
        found = variance_distribution(design, quantiles[depth - 1], width=100, depth=depth)
        assert found == pytest.approx(QUANTILES, abs=2e-3)  # places are 0.3 % apart


def test_quantiles_of_probabilities_out_of_range():
    with pytest.raises(ValueError, match=r"need probabilities in \(0, 1\), got \[0.5, 1\]"):
        variance_quantiles(CST, [0.5, 1], width=10, depth=2)


@pytest.mark.parametrize("name", DESIGNS)
def test_simulated_variances_have_the_computed_law(name):
    """Shares of 4000 networks below the computed quantiles, to four standard errors."""
    design, size = DESIGNS[name], {"width": 64, "depth": 6}
    sample = simulated_variances(design, networks=4000, **size)
    for depth in (1, 6):
        places = variance_quantiles(design, QUANTILES, **size)[depth - 1]
        shares = (sample[depth - 1][:, None] <= places).mean(axis=0)
        expected = variance_distribution(design, places, width=64, depth=depth)
        error = np.sqrt(expected * (1 - expected) / 4000)
        assert (np.abs(shares - expected) <= 4 * error + 1e-3).all()


def test_a_spread_of_inputs_is_the_mean_over_inputs():
    spread = finite_width(CST, width=300, depth=20, start=Start.of([0.9, 1.2])).escape_probability
    alone = [finite_width(CST, width=300, depth=20, start=Start((q,))).escape_probability for q in (0.9, 1.2)]
    assert spread == pytest.approx(sum(alone) / 2, abs=1e-5)
    assert alone[0] < alone[1]


def test_wide_networks_settle_at_the_target():
    """The stationary variance of the linearized chain: sigma_w2^2 Var phi^2 / (n (1 - V'^2))."""
    design, width = CRELU, 2**16
    one = moments(units(design.phi), np.array([1.0]))
    found = finite_width(design, width=width, depth=10)
    expected = design.sigma_w2 * math.sqrt(one.variance[0] / width / (1 - design.slope**2))
    assert found.settled_deviation == pytest.approx(expected, rel=0.01)
    assert found.settled_mean == pytest.approx(1, abs=1e-3)
    assert found.excursion_probability == 0


def test_unclipped_networks_run_away():
    """Theorem 3 at width 300: the basin ends at q_star, so that most networks escape; few come far in 10 layers."""
    found = finite_width(edge_of_chaos("st", sparsity=0.85), width=300, depth=10)
    assert found.limit == 1.0
    assert found.escape_probability > 0.5
    assert found.excursion_limit == 2.0
    assert 0.1 < found.excursion_probability < 0.3


def test_a_relu_network_spreads_as_a_random_walk():
    """log q_l of ReLU is a sum of i.i.d. terms: E log(2 / n) chi^2_N / 2 ..., their variance 5 / n to first order."""
    found = finite_width(edge_of_chaos("relu"), width=1000, depth=20)
    quantiles = np.log(found.quantiles)
    spread = (quantiles[4] - quantiles[2]) / 1.34898  # of a normal law between its quartiles
    assert spread == pytest.approx(math.sqrt(5 * 20 / 1000), rel=0.01)
    assert found.log_gradient_sd == pytest.approx(math.sqrt(5 * 20 / 1000), rel=0.02)


def test_several_slopes_have_no_law_of_gradients():
    found = finite_width(edge_of_chaos(member("leaky-relu")), width=100, depth=5)
    assert found.log_gradient_sd is None
    assert found.log_gradient_mean is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0, "depth": 1}, r"need a whole width from 1 to 131072, got 0"),
        ({"width": 10, "depth": 0}, r"need a whole depth from 1 to 100000, got 0"),
        ({"width": True, "depth": 1}, r"need a whole width from 1 to 131072, got True"),
        ({"width": 10**5000, "depth": 1}, r"need a whole width from 1 to 131072, got int of thousands of digits"),
        ({"width": 10, "depth": 1.5}, r"need a whole depth from 1 to 100000, got 1.5"),
        ({"width": 10, "depth": 1, "excursion": 1.0}, r"need excursion > 1, got 1.0"),
    ],
)
def test_numbers_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        finite_width(CRELU, **arguments)


@pytest.mark.parametrize("q_star", [1e-300, 1e308])
def test_variances_next_to_the_ends_of_float64(q_star):
    with pytest.raises(ValueError, match=r"need variances from 1e-150 to 1e\+150, got 1e"):
        edge_of_chaos("crelu", sparsity=0.85, q_star=q_star, width=300, depth=30)


@pytest.mark.parametrize(
    ("variances", "weights", "message"),
    [
        ((), (), "as many weights as variances"),
        ((1.0,), (0.5, 0.5), "as many weights as variances"),
        ((0.0,), (1.0,), r"variances from 1e-150 to 1e\+150, got 0.0"),
        ((math.nan,), (1.0,), r"variances from 1e-150 to 1e\+150, got nan"),
        ((1.0, 2.0), (0.5, 0.6), r"sum to 1, got 1.1"),
    ],
)
def test_starts_out_of_range(variances, weights, message):
    with pytest.raises(ValueError, match=message):
        Start(variances, weights)


def test_scale_theorem():
    """Theorem 9: nothing depends on q_star but the scale of variances."""
    found = finite_width(CST, width=200, depth=30)
    scaled = finite_width(edge_of_chaos("cst", sparsity=0.85, slope=0.9, q_star=100.0), width=200, depth=30)
    assert scaled.escape_by_depth == pytest.approx(found.escape_by_depth, abs=1e-9)
    assert scaled.quantiles == pytest.approx(100 * np.array(found.quantiles), rel=1e-6)
    assert scaled.log_gradient_sd == pytest.approx(found.log_gradient_sd, rel=1e-6)


def test_gradients_grow_evenly_in_deep_networks(monkeypatch):
    """What is carried on once both moments grow evenly, against 3000 layers gone through one by one."""
    found = finite_width(CRELU, width=500, depth=3000)
    monkeypatch.setattr(backward, "_SETTLED", 0.0)
    stepped = finite_width(CRELU, width=500, depth=3000)
    assert found.log_gradient_sd == pytest.approx(stepped.log_gradient_sd, rel=1e-6)
    assert found.log_gradient_mean == pytest.approx(stepped.log_gradient_mean, rel=1e-6)
    half = finite_width(CRELU, width=500, depth=1500)
    assert half.log_gradient_sd is not None
    assert found.log_gradient_sd == pytest.approx(half.log_gradient_sd * math.sqrt(2), rel=0.01)
