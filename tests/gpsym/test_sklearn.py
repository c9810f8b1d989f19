import importlib.util

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel

from gpsym import edge_of_chaos, relu
from gpsym.kernel import kernels
from gpsym.sklearn import NetworkKernel

DESIGN = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
X, Y = np.random.default_rng(0).standard_normal((2, 12, 3))


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_it_is_the_kernel_in_every_way_of_calling_it(kind):
    kernel = NetworkKernel(DESIGN, depth=2, kind=kind, input_mean_square=1.0)
    expected = kernels(X, DESIGN, depth=2, input_mean_square=1.0).kind(kind)
    assert np.array_equal(kernel(X), expected)
    assert np.array_equal(kernel.diag(X), expected.diagonal())
    assert np.array_equal(kernel(X, Y), kernels(X, DESIGN, depth=2, input_mean_square=1.0, other=Y).kind(kind))
    matrix, gradient = kernel(X, eval_gradient=True)
    assert np.array_equal(matrix, expected)
    assert gradient.shape == (12, 12, 0)
    assert not kernel.is_stationary()


def test_it_clones_and_has_no_hyperparameters():
    kernel = NetworkKernel(relu(), depth=1, sigma_w2=2.0)
    assert clone(kernel) == kernel != NetworkKernel(relu(), depth=2, sigma_w2=2.0)
    assert clone(kernel).set_params(depth=2) == NetworkKernel(relu(), depth=2, sigma_w2=2.0)
    assert len(kernel.theta) == 0
    assert repr(kernel) == "NetworkKernel(relu, depth=1, kind='nngp')"
    assert repr(NetworkKernel(DESIGN, 3, "ntk")) == "NetworkKernel(clipped-relu, depth=3, kind='ntk')"


def test_a_process_learns_a_scale_of_it():
    kernel = ConstantKernel(20.0) * NetworkKernel(DESIGN, depth=3)
    y = np.sin(X.sum(1))
    process = GaussianProcessRegressor(kernel, alpha=0.01).fit(X, y)
    assert process.log_marginal_likelihood_value_ > process.log_marginal_likelihood(kernel.theta) + 0.1
    scale = np.exp(process.kernel_.theta[0])
    square, rectangle = (scale * kernels(X, DESIGN, depth=3, other=other).nngp for other in (None, Y))
    expected = rectangle.T @ np.linalg.solve(square + 0.01 * np.eye(12), y)
    assert process.predict(Y) == pytest.approx(expected, rel=1e-9)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="kernels: unknown kind 'ntp'; choose from nngp, ntk"):
        NetworkKernel(DESIGN, depth=1, kind="ntp")(X)
    with pytest.raises(ValueError, match=r"kernels: need a depth 0, 1, 2, \.\.\., got -1"):
        NetworkKernel(DESIGN, depth=-1).diag(X)


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    spec = importlib.util.spec_from_file_location("without_sklearn", NetworkKernel.__init__.__code__.co_filename)
    with pytest.raises(ImportError, match=r"need scikit-learn, got no module sklearn; pip install 'gpsym\[gp\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
