"""The network: its layers, its shape, and the fingerprint of its weights."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from training.digest import digest
from training.models import mlp


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
