"""Laws of what single layers show, against chi-square laws, random chains, and the numbers of whole networks."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import binom, chi2

from gpsym.design import edge_of_chaos
from gpsym.finite_width import Start, by_layer, finite_width, variance_quantiles
from gpsym.finite_width.by_layer import log_gradient_moments, mean_square_quantiles

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
CST = edge_of_chaos("cst", sparsity=0.85, slope=0.9)
RELU = edge_of_chaos("relu")
P = (1e-5, 0.01, 0.5, 0.99, 1 - 1e-5)


@pytest.mark.parametrize("width", [1, 30, 1000])
def test_the_first_layer_is_chi_square(width):
    found = mean_square_quantiles(CRELU, P, widths=[width], start=Start((0.8,)))
    assert found[0] == pytest.approx(0.8 * chi2.ppf(P, width) / width, rel=2e-3)  # a fraction of the grid's step


@pytest.mark.parametrize("p", [0.01, 0.3, 0.5, 0.9, 0.999])
def test_two_linear_layers_multiply(p):
    """Of 6 units each: P(m_2 <= x) = E F(x / q), F the distribution function of chi^2_6 / 6, which q has too."""
    (place,) = mean_square_quantiles(edge_of_chaos("identity"), (p,), widths=[6, 6])[1]
    expected = quad(lambda q: chi2.pdf(6 * q, 6) * 6 * chi2.cdf(6 * place / q, 6), 0, math.inf, epsabs=1e-10)[0]
    # The masses of a step of the grid, 0.014, sit in its middle.
    assert (expected if p <= 0.5 else 1 - expected) == pytest.approx(min(p, 1 - p), rel=4e-3)


@pytest.mark.parametrize("design", [CRELU, CST, RELU], ids=lambda d: d.activation)
def test_a_wide_layer_shows_its_variance(design):
    """With 100000 units at the end its chi-square adds (3.2e-3)^2 to the relative variance of the chain's own law."""
    found = mean_square_quantiles(design, (0.05, 0.5, 0.95), widths=[40, 40, 100_000])
    expected = variance_quantiles(design, (0.05, 0.5, 0.95), width=40, depth=2)[-1]
    assert found[-1] == pytest.approx(expected, rel=5e-3)


def test_widths_that_differ_against_random_chains():
    """Shares of 40000 chains below each quantile are binomial; the chain is that of `gpsym.finite_width`."""
    rng, widths, samples = np.random.default_rng(0), (12, 60, 25, 40), 40_000
    assert CRELU.tau is not None
    assert CRELU.m is not None
    quantiles = mean_square_quantiles(CRELU, (0.01, 0.3, 0.99), widths=widths, start=Start((0.7, 1.4), (0.25, 0.75)))
    q = rng.choice([0.7, 1.4], samples, p=[0.25, 0.75])
    for n, row in zip(widths, quantiles, strict=True):
        h = np.sqrt(q)[:, None] * rng.standard_normal((samples, n))
        for p, place in zip((0.01, 0.3, 0.99), row, strict=True):
            below = int(((h**2).mean(axis=1) <= place).sum())
            assert binom.ppf(1e-5, samples, p) <= below <= binom.ppf(1 - 1e-5, samples, p)
        q = CRELU.sigma_b2 + CRELU.sigma_w2 * (np.clip(h - CRELU.tau, 0, CRELU.m) ** 2).mean(axis=1)


def test_what_the_grid_cuts_off_is_no_quantile():
    """Narrow deep ReLU networks leave a factor of 1000 on both sides; in shallow ones nothing is cut off."""
    deep = mean_square_quantiles(RELU, P, widths=[8] * 20)
    assert deep[-1, 0] == 0
    assert deep[-1, -1] == math.inf
    assert np.isfinite(deep[0]).all()
    assert (deep[0] > 0).all()


@pytest.mark.parametrize(("design", "limit"), [(CRELU, None), (CST, finite_width(CST, width=64, depth=1).limit)])
def test_gradients_are_those_of_whole_networks(design, limit):
    """From the first layer to the last, where no interpolation is; between, sums over layers are monotone."""
    moments = log_gradient_moments(design, widths=[64] * 21, limit=limit)
    whole = finite_width(design, width=64, depth=20)
    assert moments is not None
    assert moments[0] == pytest.approx([whole.log_gradient_mean, whole.log_gradient_sd], rel=1e-9)
    assert moments[-1].tolist() == [0, 0]
    assert (np.diff(moments[:, 1]) < 0).all()


def test_gradients_between_the_knots(monkeypatch):
    """Interpolated as computed: what is about linear, the mean and the square of the deviation, loses little."""
    moments = log_gradient_moments(CRELU, widths=[100] * 60)
    monkeypatch.setattr(by_layer, "_GROWTH", 1.0)
    every = log_gradient_moments(CRELU, widths=[100] * 60)
    assert moments is not None
    assert every is not None
    assert (moments != every).any()
    assert moments[:, 0] == pytest.approx(every[:, 0], rel=0.01)
    assert moments[:, 1] == pytest.approx(every[:, 1], rel=0.004)


def test_gradients_at_different_widths_spread_by_the_sum_of_1_over_n():
    """To leading order; what is beyond is of relative size 1 / (n P), P = 0.136 of units being in the linear range."""
    mixed, one = (log_gradient_moments(CRELU, widths=w) for w in ([200, 800] * 8 + [50], [320] * 17))
    assert mixed is not None
    assert one is not None
    assert mixed[0] == pytest.approx(one[0], rel=1e-3)
    assert mixed[1, 1] ** 2 - mixed[2, 1] ** 2 == pytest.approx((one[1, 1] ** 2 - one[2, 1] ** 2) * 320 / 800, rel=0.05)


def test_activations_of_several_slopes_have_no_gradient_moments():
    assert log_gradient_moments(edge_of_chaos("leaky-relu"), widths=[64] * 5) is None
    assert log_gradient_moments(CRELU, widths=[2] * 5) is None  # less than one unit in the linear range


@pytest.mark.parametrize(("widths", "message"), [([], "at least one hidden layer, got none"), ([8, 0], "whole width")])
def test_widths_out_of_range(widths, message):
    with pytest.raises(ValueError, match=message):
        mean_square_quantiles(CRELU, P, widths=widths)
    with pytest.raises(ValueError, match=message):
        log_gradient_moments(CRELU, widths=widths)
