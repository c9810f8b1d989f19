"""Layers that skip zeros against dense ones."""

import copy

import pytest
import torch
from torch import nn

from gpsym.design import edge_of_chaos
from gpsym.torch import activation_module, inference, init_
from gpsym.torch.inference import SkippingLinear, skip_zeros_

DESIGN = edge_of_chaos("cst", sparsity=0.85, slope=0.7)


def sparse(*shape, zeros=0.85, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator)
    return torch.where(torch.rand(*shape, generator=generator) < zeros, 0.0, x).to(dtype)


def network(width=64):
    phi = lambda: activation_module(DESIGN)  # noqa: E731
    model = nn.Sequential(nn.Linear(20, width), phi(), nn.Linear(width, width), phi(), nn.Linear(width, 5))
    init_(model, DESIGN, generator=torch.Generator().manual_seed(1))
    return model


@pytest.mark.parametrize("shape", [(30,), (1, 30), (7, 30), (2, 3, 30), (0, 30)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_dense_layer(shape, bias):
    dense = nn.Linear(30, 11, bias=bias, dtype=torch.float64)
    x = sparse(*shape, dtype=torch.float64)
    assert SkippingLinear(dense)(x).shape == dense(x).shape
    assert SkippingLinear(dense)(x) == pytest.approx(dense(x).detach(), abs=1e-14)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_precisions(dtype, tolerance):
    """Sums of about 15 terms of size 1 / sqrt(100)."""
    dense, x = nn.Linear(100, 40, dtype=dtype), sparse(5, 100, dtype=dtype)
    y = SkippingLinear(dense)(x)
    assert y.dtype == dtype
    exact = nn.functional.linear(x.double(), dense.weight.double(), dense.bias.double())
    assert (y.double() - exact).abs().max() < tolerance


@pytest.mark.parametrize("active", [0, 1, 2, 3, 7, 30])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_one_row(active, threads, monkeypatch):
    """Each active column is in one share, whatever their number."""
    monkeypatch.setattr(inference, "_SHARED", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    bags = []
    added = inference.F.embedding_bag
    monkeypatch.setattr(
        inference.F, "embedding_bag", lambda c, w, o, **k: (bags.append(len(o)), added(c, w, o, **k))[1]
    )
    dense, x = nn.Linear(30, 11, dtype=torch.float64), torch.zeros(1, 30, dtype=torch.float64)
    x[0, torch.randperm(30, generator=torch.Generator().manual_seed(0))[:active]] = 1.5
    assert SkippingLinear(dense)(x) == pytest.approx(dense(x).detach(), abs=1e-14)
    assert bags == [min(threads, max(active, 1))]


@pytest.mark.parametrize("rows", [[], [0], [2], [0, 1, 2]])
def test_rows_of_zeros_give_the_bias(rows):
    dense, x = nn.Linear(10, 4), sparse(3, 10, zeros=0.2)
    x[rows] = 0
    y = SkippingLinear(dense)(x)
    assert torch.allclose(y, dense(x), atol=1e-6)
    assert all(torch.equal(y[row], dense.bias) for row in rows)


def test_a_whole_network_keeps_its_outputs():
    model = network()
    x = torch.randn(6, 20, generator=torch.Generator().manual_seed(2))
    expected = model(x).detach()
    report = skip_zeros_(model, x, always=True)
    assert [layer.name for layer in report] == ["2", "4"]
    assert [type(model[k]) for k in (0, 2, 4)] == [nn.Linear, SkippingLinear, SkippingLinear]
    assert all(abs(layer.zeros - 0.85) < 0.15 for layer in report)
    assert torch.allclose(model(x), expected, atol=1e-5)
    assert not model.training
    assert torch.allclose(copy.deepcopy(model)(x), expected, atol=1e-5)


@pytest.mark.parametrize("faster", [True, False])
def test_what_is_faster_stays(faster, monkeypatch):
    """Times made up: the dense layer takes 2 s, the other 1 s or 3 s."""

    def seconds(layer, _):
        return 2.0 if isinstance(layer, nn.Linear) else (1.0 if faster else 3.0)

    monkeypatch.setattr(inference, "seconds_of", seconds)
    model = network()
    report = skip_zeros_(model, torch.randn(2, 20))
    assert all(layer.replaced == faster for layer in report)
    assert isinstance(model[2], SkippingLinear) == faster
    assert ("left dense" in str(report)) != faster


def test_a_network_without_zeros_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="need a linear layer with zeros in its input, got none of 2"):
        skip_zeros_(model, torch.randn(3, 4))


def test_hooks_are_gone_after_an_error():
    model = network()
    with pytest.raises(RuntimeError):
        skip_zeros_(model, torch.randn(3, 7))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_it_says_what_it_is():
    assert repr(SkippingLinear(nn.Linear(3, 2))) == "SkippingLinear(in_features=3, out_features=2, bias=True)"
