"""The networks: their layers and shapes, what they start with by design, and the fingerprint of their weights."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpsym import edge_of_chaos
from gpsym.torch import Residual, activation_module, init_
from training.digest import digest
from training.measure import measure
from training.models import build, cnn, image_shape, mlp, transformer
from training.start import Start, hidden_activations, layer_variances

# Each kind of network, with the shape of an input, for widths that 4 divides.
KINDS = [("mlp", (12,)), ("mlp", (3, 2, 2)), ("cnn", (3, 8, 8)), ("cnn", (1, 7, 9)), ("cnn", (64,)),
         ("transformer", (3, 8, 12)), ("transformer", (64,))]  # fmt: skip
ALPHAS = [None, 0.5, 1.0]


def built(name: str, shape: tuple[int, ...], *, width: int = 8, depth: int = 3, alpha: float | None = None, **options):
    options = {"activation": nn.Tanh, **options}
    return build(name, shape, 10, width=width, depth=depth, alpha=alpha, **options)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_depth_counts_hidden_layers_of_that_width(depth):
    model = mlp(12, 10, width=7, depth=depth, activation=nn.Tanh)
    linear = [layer for layer in model if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [*pairwise([12, *[7] * depth, 10])]
    assert len(linear) == depth + 1
    assert all(layer.bias is not None for layer in linear)


def test_every_hidden_layer_and_no_other_has_its_own_activation():
    model = mlp(12, 10, width=7, depth=3, activation=nn.Tanh)
    kinds = [type(layer) for layer in model]
    assert kinds == [nn.Flatten, *[nn.Linear, nn.Tanh] * 3, nn.Linear]
    assert len({id(layer) for layer in model}) == len(kinds)


@pytest.mark.parametrize("shape", [(3, 2, 2), (1, 4, 3), (12,)])
def test_logits_have_one_row_per_example_whatever_the_inputs_shape(shape):
    model = mlp(12, 10, width=7, depth=2, activation=nn.ReLU)
    x = torch.randn(5, *shape)
    assert model(x).shape == (5, 10)
    assert torch.equal(model(x), model(x.flatten(1)))


def test_digest_tells_any_two_sets_of_weights_apart():
    model = mlp(12, 10, width=7, depth=2, activation=nn.ReLU)
    digests = {digest(model)}
    for parameter in model.parameters():
        parameter.data.view(-1)[-1] += 1
        digests.add(digest(model))
    assert len(digests) == 1 + len(list(model.parameters()))


def test_digest_forgets_dtype_and_training_mode():
    model = mlp(12, 10, width=7, depth=2, activation=nn.ReLU)
    before = digest(model)
    assert digest(model.double().eval()) == before


# By name


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("name", "shape"), KINDS)
def test_every_network_has_as_many_activations_as_its_depth_and_ten_logits(name, shape, alpha):
    for depth in (1, 2, 4):
        model = built(name, shape, depth=depth, alpha=alpha)
        assert len(hidden_activations(model, nn.Tanh)) == depth
        assert model(torch.randn(5, *shape)).shape == (5, 10)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="need mlp, cnn or transformer, got rnn; pass one"):
        built("rnn", (12,))


@pytest.mark.parametrize("shape", [(12,), (2, 8), (1, 2, 3, 4)])
def test_what_is_no_image_is_refused_by_convolutions_and_patches(shape):
    for name in ("cnn", "transformer"):
        with pytest.raises(ValueError, match=r"need images .* got .*; use the model mlp"):
            built(name, shape)


@pytest.mark.parametrize(("width", "shape"), [(6, (1, 8, 8)), (8, (1, 8, 6)), (8, (1, 7, 8)), (8, (36,))])
def test_a_transformer_whose_sizes_four_does_not_divide_is_refused(width, shape):
    with pytest.raises(ValueError, match="that 4 divides, got width"):
        built("transformer", shape, width=width)


def test_features_are_the_rows_of_an_image():
    assert image_shape((3, 4, 5)) == (3, 4, 5)
    model, x = built("cnn", (64,)), torch.randn(2, 64)
    assert torch.equal(model(x), model[1:](x.reshape(2, 1, 8, 8)))


def test_convolutions_have_one_size_and_the_first_two_have_stride_two():
    model = cnn((3, 32, 32), 10, width=7, depth=5, activation=nn.Tanh)
    layers = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in layers] == [(3, 7), *[(7, 7)] * 4]
    assert [layer.stride for layer in layers] == [(2, 2), (2, 2), (1, 1), (1, 1), (1, 1)]
    assert {(layer.kernel_size, layer.padding, layer.padding_mode) for layer in layers} == {
        ((3, 3), (1, 1), "circular")
    }
    sizes = [layer(x).shape[-1] for layer in layers[:1] for x in [torch.randn(1, 3, 32, 32)]]
    assert sizes == [16]
    assert model[:-4](torch.randn(1, 3, 32, 32)).shape == (1, 7, 8, 8)


def test_shifting_an_image_by_both_strides_changes_nothing():
    """Circular padding and the mean over positions: logits do not know where an image begins."""
    model, x = built("cnn", (3, 16, 16)), torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(model(x.roll((4, 8), (2, 3))), model(x))
    assert not torch.allclose(model(x.roll(1, 2)), model(x))


@pytest.mark.parametrize(("name", "shape"), [("mlp", (12,)), ("cnn", (3, 8, 8))])
def test_residual_layers_mix_the_pre_activation_with_its_branch(name, shape):
    """h' = sqrt(1 - alpha^2) h + alpha W phi(h), layer by layer."""
    model, x = built(name, shape, depth=4, alpha=0.6), torch.randn(2, *shape)
    blocks = [layer for layer in model if isinstance(layer, Residual)]
    assert len(blocks) == {"mlp": 3, "cnn": 2}[name]  # all but the layers that change the shape
    h = model[: list(model).index(blocks[0])](x)
    weights = next(m for m in blocks[0].modules() if isinstance(m, nn.Linear | nn.Conv2d))
    torch.testing.assert_close(blocks[0](h), 0.8 * h + 0.6 * weights(torch.tanh(h)))


@pytest.mark.parametrize(("name", "shape"), [("mlp", (12,)), ("cnn", (3, 8, 8))])
def test_alpha_one_is_the_network_without_skips(name, shape):
    plain, residual, x = built(name, shape), built(name, shape, alpha=1.0), torch.randn(3, *shape)
    weights = zip(residual.parameters(), plain.parameters(), strict=True)
    with torch.no_grad():
        for ours, theirs in weights:
            ours.copy_(theirs)
    torch.testing.assert_close(residual(x), plain(x))


def test_a_transformer_without_alpha_acts_as_one_layer():
    model = transformer((1, 8, 8), 10, width=8, depth=8, activation=nn.Tanh)
    alphas = [block.alpha for block in model if isinstance(block, Residual)]
    assert alphas == [0.25] * 16  # 16 alpha^2 = 1


def test_a_transformer_does_not_know_the_order_of_patches_until_it_has_learned_positions():
    model, x = built("transformer", (1, 8, 8)), torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(model(x.roll(4, 2)), model(x))
    tokens = model[0]
    with torch.no_grad():
        tokens.position.normal_()
    assert not torch.allclose(model(x.roll(4, 2)), model(x))


@pytest.mark.parametrize("alpha", [None, 0.5])
@pytest.mark.parametrize(("name", "shape"), KINDS)
def test_every_network_can_be_exported(name, shape, alpha):
    design = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
    model = built(name, shape, depth=2, alpha=alpha, activation=lambda: activation_module(design)).eval()
    x = torch.randn(3, *shape)
    with torch.no_grad():
        exported = torch.export.export(model, (x,)).module()
        torch.testing.assert_close(exported(x), model(x))


# What they start with


DESIGN = edge_of_chaos("crelu", sparsity=0.85, slope=0.7, q_star=2.0)
DRAWS = 32


def started(name: str, x: Tensor, *, width: int, depth: int, alpha: float | None) -> tuple[np.ndarray, np.ndarray]:
    """(sparsity, variance) of each layer on the inputs, (draws, depth) each, of networks with different weights."""
    square, seen = x.square().mean().item(), []
    for seed in range(DRAWS):
        model = built(name, tuple(x.shape[1:]), width=width, depth=depth, alpha=alpha,
                      activation=lambda: activation_module(DESIGN))  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        init_(model, DESIGN, input_mean_square=square, generator=generator, batch=x if name == "transformer" else None)
        seen.append(measure(model, hidden_activations(model, type(activation_module(DESIGN))), x,
                            torch.zeros(len(x), dtype=torch.long)))  # fmt: skip
    return np.array([m.layer_sparsity for m in seen]), np.array([m.layer_variance for m in seen])


def assert_mean(values: np.ndarray, expected: np.ndarray | float, least: float) -> None:
    """Each column's mean within 4 standard errors of what is expected, and these errors are small."""
    error = values.std(0, ddof=1) / math.sqrt(len(values))
    assert (error < least).all()
    assert (abs(values.mean(0) - expected) < 4 * error).all()


@pytest.mark.parametrize("alpha", [None, 0.7])
@pytest.mark.parametrize(("name", "shape", "width"), [("mlp", (400,), 300), ("cnn", (4, 12, 12), 150),
                                                      ("transformer", (4, 12, 12), 64)])  # fmt: skip
def test_networks_start_with_the_sparsity_of_their_design(name, shape, width, alpha):
    """Inputs of normal numbers; the spread of q at finite width moves the mean sparsity by less than a standard error
    (s'' Var(q) / 2, about 0.0005)."""
    x = torch.randn(30, *shape, generator=torch.Generator().manual_seed(0))
    sparsity, _ = started(name, x, width=width, depth=4, alpha=alpha)
    assert_mean(sparsity, DESIGN.sparsity, 0.01)


@pytest.mark.parametrize("alpha", [None, 0.7])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_scaled_inputs_have_the_same_network(small_config, model, alpha, tmp_path):
    """With the first layer's weights of the variance of hidden ones, sigma_w2 / fan-in."""
    images = np.random.default_rng(0).integers(0, 256, (200, 3, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(200) % 4)
    config = small_config(data=str(tmp_path / "images.npz"), model=model, width=100, depth=4, alpha=alpha)
    unit, scaled = Start.of(config), Start.of(replace(config, input_scale="hidden"))
    x = unit.data.x_test
    torch.testing.assert_close(scaled.network()(x), unit.network()(x), rtol=1e-3, atol=1e-4)
    first = next(p.detach() for p in scaled.network().parameters() if p.dim() > 1).flatten(1)
    assert first.square().mean().item() == pytest.approx(config.design.sigma_w2 / first.shape[1], rel=0.1)


@pytest.mark.parametrize("alpha", [None, 0.7])
@pytest.mark.parametrize(("name", "shape", "width"), [("mlp", (64,), 300), ("cnn", (2, 16, 16), 150),
                                                      ("cnn", (64,), 150), ("transformer", (1, 8, 8), 64)])  # fmt: skip
def test_networks_start_with_the_variances_of_theory(small_config, name, shape, width, alpha):
    """Inputs whose size differs among examples and positions, so that layers, strides and borders matter."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(0.1, 3, math.prod(shape)).reshape(shape) * torch.linspace(0.5, 2, 8).view(
        8, *[1] * len(shape)
    )
    x = scales * torch.randn(8, *shape, generator=generator)
    config = small_config(model=name, alpha=alpha, depth=4)
    theory = layer_variances(config, DESIGN, x, x.square().mean().item())
    _, variance = started(name, x, width=width, depth=4, alpha=alpha)
    assert_mean(variance, np.array(theory), 0.1)
