import importlib.util

import gpytorch
import pytest
import torch

from gpsym import edge_of_chaos, relu
from gpsym.kernel import kernels
from gpsym.torch.gpytorch import NetworkKernel

DESIGN = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
X, Y = torch.randn(2, 12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_it_is_the_kernel_in_every_way_of_calling_it(kind):
    kernel = NetworkKernel(DESIGN, depth=2, kind=kind, input_mean_square=1.0)
    options = {"depth": 2, "input_mean_square": 1.0}
    square, rectangle = (kernels(X, DESIGN, other=other, **options).kind(kind) for other in (None, Y))
    assert kernel(X).to_dense().equal(square)
    assert kernel(X, Y).to_dense().equal(rectangle)
    assert kernel(X, diag=True).equal(square.diagonal())
    assert kernel(X, Y, diag=True).equal(rectangle.diagonal())
    batch = kernel(torch.stack([X, Y]), Y).to_dense()
    assert batch[0].equal(rectangle)
    assert batch[1].equal(kernel(Y).to_dense())
    single = kernel(X.float()).to_dense()
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, square.float())
    assert list(kernel.parameters()) == []


def test_a_process_learns_scale_and_noise_around_it():
    class Process(gpytorch.models.ExactGP):
        def __init__(self, x, y, likelihood):
            super().__init__(x, y, likelihood)
            self.mean = gpytorch.means.ConstantMean()
            self.kernel = gpytorch.kernels.ScaleKernel(NetworkKernel(DESIGN, depth=3))

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(self.mean(x), self.kernel(x))

    y = torch.sin(X.sum(1))
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    process = Process(X, y, likelihood).double()
    optimizer = torch.optim.Adam(process.parameters(), lr=0.1)
    evidence = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, process)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = -evidence(process(X), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    process.eval()
    with torch.no_grad():
        mean, scale, noise = process.mean.constant, process.kernel.outputscale, likelihood.noise
        square, rectangle = (scale * kernels(X, DESIGN, depth=3, other=other).nngp for other in (None, Y))
        expected = mean + rectangle.T @ torch.linalg.solve(square + noise * torch.eye(12), y - mean)
        torch.testing.assert_close(process(Y).mean, expected)


def test_bad_input_is_refused():
    kernel = NetworkKernel(relu(), depth=1, sigma_w2=2.0)
    with pytest.raises(ValueError, match=r"requires no gradient, got one that does; pass x\.detach"):
        kernel(X.clone().requires_grad_()).to_dense()
    with pytest.raises(ValueError, match="need all features at once, got last_dim_is_batch"):
        kernel.forward(X, X, last_dim_is_batch=True)
    with pytest.raises(ValueError, match="unknown kind 'ntp'"):
        NetworkKernel(DESIGN, depth=1, kind="ntp")(X).to_dense()


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    spec = importlib.util.spec_from_file_location("without_gpytorch", NetworkKernel.__init__.__code__.co_filename)
    with pytest.raises(ImportError, match=r"need GPyTorch, got no module gpytorch; pip install 'gpsym\[gp\]'"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
