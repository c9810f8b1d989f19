import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpsym import Activation, edge_of_chaos, evaluate, maps, member, relu
from gpsym.kernel import diagonals, kernels
from gpsym.numeric import pairs
from gpsym.numeric.tables import Surrogate, table
from gpsym.testing import activations, clipped_designs

DESIGN = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
NAMED = {
    "clipped-relu": DESIGN.phi,
    "clipped-soft-threshold": member("cst", tau=1.44, m=1),
    "shifted-relu": member("relu-tau", tau=-0.5),
    "relu": relu(),
    "abs": member("abs"),
    "hard-sigmoid": member("hard-sigmoid"),
    "identity": member("identity"),
    "constant": Activation((), ((3,),)),
}
WEIGHTS = {"sigma_w2": 1.5, "sigma_b2": 0.25}


def data(n, features=5, normalised=False, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, features))
    return x * np.sqrt(features) / np.linalg.norm(x, axis=1, keepdims=True) if normalised else x


def exact(phi, x, depth, sigma_w2, sigma_b2):
    """NNGP and NTK of two inputs by the formulas of gpsym.maps, evaluated in mpmath; the covariances are float64."""
    value, slope = maps.kernel(phi), maps.correlation_slope(phi)
    nngp = ntk = sigma_w2 * (x @ x.T) / x.shape[1] + sigma_b2
    for _ in range(depth):
        values, slopes = np.empty((2, 2)), np.empty((2, 2))
        for i, j in ((0, 0), (0, 1), (1, 1)):
            q1, q2 = nngp[i, i], nngp[j, j]
            point = {"q1": q1, "q2": q2, "rho": nngp[i, j] / math.sqrt(q1 * q2) if i != j else 1, "sigma_w2": 1}
            values[i, j] = values[j, i] = evaluate(value, point)
            slopes[i, j] = slopes[j, i] = evaluate(slope, point)
        nngp = sigma_w2 * values + sigma_b2
        ntk = nngp + sigma_w2 * slopes * ntk
    return nngp, ntk


def assert_close(found, expected, tolerance=1e-13):
    """Equal up to this part of the largest entry, which is on the diagonal or as large."""
    for matrix, other in zip(found, map(np.asarray, expected), strict=True):
        assert np.abs(np.asarray(matrix) - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize("name", NAMED)
def test_matrices_are_the_recursion_of_the_formulas(name):
    x = data(2)
    assert_close(kernels(x, NAMED[name], depth=2, **WEIGHTS), exact(NAMED[name], x, 2, **WEIGHTS))


@settings.get_profile("two-inputs")
@given(phi=activations(max_knots=3))
def test_matrices_of_any_activation_are_the_recursion_of_the_formulas(phi):
    x = data(2, seed=1)
    assert_close(kernels(x, phi, depth=1, **WEIGHTS), exact(phi, x, 1, **WEIGHTS))


def arc_cosine(x, depth):
    """NNGP and NTK of ReLU networks with sigma_w2 = 2, sigma_b2 = 0: Cho and Saul 2009, eq. 3 and 6."""
    nngp = ntk = 2 * x @ x.T / x.shape[1]
    for _ in range(depth):
        scale = np.sqrt(np.outer(nngp.diagonal(), nngp.diagonal()))
        theta = np.arccos(np.clip(nngp / scale, -1, 1))
        np.fill_diagonal(theta, 0)
        nngp = scale * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / np.pi
        ntk = nngp + ntk * (1 - theta / np.pi)
    return nngp, ntk


@pytest.mark.parametrize("normalised", [False, True])
def test_relu_is_the_arc_cosine_kernel(normalised):
    x = data(150, normalised=normalised)
    assert_close(kernels(x, relu(), depth=4, sigma_w2=2.0), arc_cosine(x, 4), 2e-13)


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("name", NAMED)
def test_what_is_read_from_polynomials_is_what_the_integrals_are(name, normalised, monkeypatch):
    x = data(90, 30, normalised=normalised)
    found = kernels(x, NAMED[name], depth=3, **WEIGHTS)
    monkeypatch.setattr("gpsym.kernel._TABLE_FROM", math.inf)
    assert_close(found, kernels(x, NAMED[name], depth=3, **WEIGHTS))


def test_polynomials_serve_the_usual_pairs_alone():
    """Those next to correlation 1 are integrated; so are all where the norms differ too much."""
    served = [w for w in (0.01, 0.1, 0.2, 0.24, 0.28, 0.32, 0.36, 0.4, 0.5, 1.0, 9.0) if polynomials_serve(1 + w)]
    assert {0.01, 0.1, 0.2} <= set(served) <= {0.01, 0.1, 0.2, 0.24, 0.28, 0.32, 0.36}


def polynomials_serve(ratio):
    """Whether they do for deviations from 1 to this; then they must be right."""
    deviations, y = np.linspace(1, ratio, 9), np.linspace(0.6, 1.4, 81).reshape(9, 9)
    y[2, 3] = 3.0
    knots = pairs.Knots.of(DESIGN.phi, y)
    found = Surrogate(knots, deviations, deviations, y).integrals(np, y, slice(9), slice(9))
    if found is None:
        return False
    *integrals, wanting = found
    assert np.argwhere(wanting).tolist() == [[2, 3]]
    expected = knots.integrals(np, y.ravel(), deviations.repeat(9), np.tile(deviations, 9), 3.0)
    for ours, theirs in zip(integrals, expected, strict=True):
        assert np.abs(ours - theirs.reshape(9, 9))[~wanting].max() < 3e-14 * np.abs(theirs).max()
    return True


def test_tables_are_refused_where_they_would_be_wrong():
    """A ramp of 1e-4 deviations bends the expectations within angles of that size."""
    ramp = member("crelu", tau=1, m=1e-4)
    assert table(pairs.Knots.of(ramp, np.ones(1)), 1.0, (1e-8, 1e-4)) is None


@pytest.mark.parametrize("normalised", [False, True])
def test_torch_is_numpy(normalised):
    x, y = data(80, normalised=normalised), data(70, normalised=normalised, seed=1)
    for other in (None, y):
        ours = kernels(x, DESIGN, depth=2, other=other)
        theirs = kernels(torch.tensor(x), DESIGN, depth=2, other=None if other is None else torch.tensor(other))
        assert all(isinstance(matrix, torch.Tensor) and matrix.dtype == torch.float64 for matrix in theirs)
        assert_close(theirs, ours)
    found = diagonals(torch.tensor(x), DESIGN, depth=2)
    assert_close(found, diagonals(x, DESIGN, depth=2))
    assert isinstance(found.ntk, torch.Tensor)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_tiles_make_no_difference(block):
    x, y = data(40), data(30, seed=1)
    assert_close(kernels(x, DESIGN, depth=2, block=block), kernels(x, DESIGN, depth=2))
    assert_close(kernels(x, DESIGN, depth=2, other=y, block=block), kernels(x, DESIGN, depth=2, other=y))


@pytest.mark.parametrize("normalised", [False, True])
def test_rectangles_are_parts_of_the_square(normalised):
    """Equal rows have correlation 1 exactly, or the NTK would be 1e-8 off."""
    x = data(150, 30, normalised)
    whole = kernels(x, DESIGN, depth=3)
    part = kernels(x[:100], DESIGN, depth=3, other=x[60:])
    assert_close(part, (matrix[:100, 60:] for matrix in whole))


@settings.get_profile("two-inputs")
@given(design=clipped_designs(), normalised=st.booleans(), depth=st.integers(0, 4))
def test_square_matrices_are_symmetric_positive_and_have_the_diagonal(design, normalised, depth):
    x = data(130, 3, normalised) * math.sqrt(design.q_star)
    found = kernels(x, design, depth=depth, input_mean_square=design.q_star)
    for matrix, diagonal in zip(found, diagonals(x, design, depth=depth, input_mean_square=design.q_star), strict=True):
        assert np.array_equal(matrix, matrix.T)
        assert np.array_equal(matrix.diagonal(), diagonal)
        assert np.linalg.eigvalsh(matrix).min() >= -1e-12 * len(x) * diagonal.max()


@pytest.mark.parametrize("n", [5, 100])
def test_equal_and_opposite_inputs(n):
    """Correlations 1 and -1, with and without a table: the rows of x, again, mirrored and doubled."""
    x = data(n, 30, normalised=True)
    again = np.concatenate([x, x[::-1], -x, 2 * x])
    for name, phi in NAMED.items():
        square = kernels(x, phi, depth=3, sigma_w2=1.5)
        same = kernels(x, phi, depth=3, sigma_w2=1.5, other=again[: 3 * n])
        for matrix, expected in zip(same, square, strict=True):
            scale = expected.diagonal().max()
            assert np.abs(matrix[:, :n] - expected).max() <= 1e-13 * scale
            assert np.abs(matrix[:, n : 2 * n] - expected[:, ::-1]).max() <= 1e-13 * scale
            if name in ("clipped-soft-threshold", "identity"):  # odd
                assert np.abs(matrix[:, 2 * n :] + expected).max() <= 1e-13 * scale
    doubled = kernels(x, relu(), depth=3, sigma_w2=2.0, other=again[3 * n :])
    assert_close(doubled, (2 * matrix for matrix in kernels(x, relu(), depth=3, sigma_w2=2.0)))


def test_inputs_of_zeros():
    phi = Activation((0,), ((1, -1), (1, 2)))  # phi(0) = 1, a knot at 0
    x = np.vstack([np.zeros((2, 3)), data(2, 3)])
    nngp, ntk = kernels(x, phi, depth=1, sigma_w2=2.0)
    means = [float(evaluate(maps.mean(phi), {"q": 2 * q})) for q in (x[2:] ** 2).mean(1)]
    assert np.array_equal(nngp[:2, :2], np.full((2, 2), 2.0))
    assert nngp[0, 2:] == pytest.approx([2 * mean for mean in means], rel=1e-14)
    assert np.array_equal(ntk[:2], nngp[:2])
    for network in (relu(), NAMED["clipped-soft-threshold"]):
        assert not np.any(kernels(x, network, depth=3, sigma_w2=2.0).ntk[:2])
    x = x[1:3]
    assert_close(kernels(x, DESIGN, depth=2), exact(DESIGN.phi, x, 2, DESIGN.sigma_w2, DESIGN.sigma_b2))


def test_no_rows_and_no_layers():
    assert [matrix.shape for matrix in kernels(np.zeros((0, 3)), DESIGN, depth=2)] == [(0, 0), (0, 0)]
    assert kernels(np.zeros((0, 3)), DESIGN, depth=2, other=data(4, 3)).ntk.shape == (0, 4)
    x = data(6)
    for matrix in kernels(x, DESIGN, depth=0):
        assert matrix == pytest.approx(DESIGN.sigma_w2 * x @ x.T / 5 + DESIGN.sigma_b2, rel=1e-14)


def test_the_first_layer_of_a_design_brings_data_to_q_star():
    x = 3 * data(100, normalised=True)
    found = diagonals(x, DESIGN, depth=5, input_mean_square=9.0)
    assert found.nngp == pytest.approx(np.full(100, DESIGN.q_star), rel=1e-13)
    assert found.ntk == pytest.approx(np.full(100, 6 * DESIGN.q_star), rel=1e-13)  # chi_1 = 1: one more for each layer


def test_correlations_next_to_1_in_deep_networks():
    """1 - rho is about 9 pi^2 / (2 l^2) in layer l of a ReLU network; its NTK magnifies rounding l^2-fold."""
    x = data(100, normalised=True)
    assert_close(kernels(x, relu(), depth=100, sigma_w2=2.0), arc_cosine(x, 100), 1e-11)


CONVERSIONS = {
    "list": np.ndarray.tolist,
    "float32": np.float32,
    "tensor": torch.from_numpy,
    "parameter": lambda x: torch.nn.Parameter(torch.from_numpy(x), requires_grad=False),
}


@pytest.mark.parametrize("kind", CONVERSIONS)
def test_other_numbers_become_float64(kind):
    x = data(3).astype(np.float32).astype(float)
    assert_close(kernels(CONVERSIONS[kind](x), DESIGN, depth=1), kernels(x, DESIGN, depth=1), 0)


X = np.ones((2, 3))
BAD = {
    "need x of shape (n, features), got (3,)": {"x": np.ones(3)},
    "got (2, 0); reshape it": {"x": np.ones((2, 0))},
    "need finite x, got NaN or infinity": {"x": np.array([[math.nan]])},
    "need squares of x within float64": {"x": np.array([[1e200]])},
    "requires no gradient": {"x": torch.ones(2, 3, requires_grad=True)},
    "need x and other alike, got numpy": {"other": torch.ones(2, 3)},
    "and numpy cpu with 2 features": {"other": np.ones((2, 2))},
    "need a depth 0, 1, 2, ..., got -1": {"depth": -1},
    "need a depth 0, 1, 2, ..., got 1.5": {"depth": 1.5},
    "need numbers for tau of soft-threshold": {"network": member("st")},
    "need a continuous activation, got sign, which jumps by 2 at 0": {"network": member("sign")},
    "got squared-relu, of degree 2": {"network": member("squared-relu")},
    "need an Activation or a design, got 'relu'": {"network": "relu"},
    "need sigma_w2 with relu, got none": {"sigma_w2": None},
    "need sigma_w2 > 0, got sigma_w2 = -1.0": {"sigma_w2": -1.0},
    "need sigma_b2 >= 0, got sigma_b2 = -1.0": {"sigma_b2": -1.0},
    "need no sigma_w2 and sigma_b2 with a design": {"network": DESIGN},
    "need a design for input_mean_square": {"input_mean_square": 1.0},
    "need input_mean_square > 0, got 0.0": {"network": DESIGN, "sigma_w2": None, "input_mean_square": 0.0},
    "need a block of 1 row or more, got 0": {"block": 0},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused_in_one_sentence(message):
    arguments = {"x": X, "network": relu(), "depth": 1, "sigma_w2": 2.0, **BAD[message]}
    with pytest.raises(ValueError, match=r"^kernels: ") as error:
        kernels(arguments.pop("x"), arguments.pop("network"), **arguments)
    assert message in str(error.value)


def test_matrices_that_exceed_the_memory_are_refused(monkeypatch):
    def no_memory(_like):
        raise MemoryError

    monkeypatch.setattr(np, "empty_like", no_memory)
    with pytest.raises(
        ValueError, match=r"^kernels: need memory for two matrices of 3 by 2 numbers, got too little; pass"
    ):
        kernels(data(3), relu(), depth=1, sigma_w2=2.0, other=data(2))


def test_kernels_need_no_torch():
    code = "import sys, gpsym.kernel; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
