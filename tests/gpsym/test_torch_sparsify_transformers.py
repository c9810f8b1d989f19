"""sparsify_ on models of Hugging Face transformers, built from small configs."""

import copy
import math

import pytest
import torch
import transformers

import gpsym.torch as gt
from gpsym import edge_of_chaos

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0}


pytestmark = pytest.mark.usefixtures("one_thread")


def resnet(layer_type):
    config = transformers.ResNetConfig(
        embedding_size=32, hidden_sizes=[64, 128], depths=[2, 2], layer_type=layer_type, num_labels=5
    )
    return transformers.ResNetForImageClassification(config)


def vit():
    sizes = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 384}
    return transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, image_size=32, patch_size=8))


def convnext():
    config = transformers.ConvNextConfig(num_stages=2, hidden_sizes=[48, 96], depths=[2, 2])
    return transformers.ConvNextForImageClassification(config)


def gpt2():
    config = transformers.GPT2Config(n_layer=3, n_embd=96, n_head=4, vocab_size=300, n_positions=32, **SPECIAL)
    return transformers.GPT2LMHeadModel(config)


def bert():
    sizes = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 384}
    return transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, vocab_size=300))


def llama():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, vocab_size=300))


def images():
    return {"pixel_values": torch.randn(8, 3, 32, 32), "labels": torch.randint(2, (8,))}


def tokens():
    ids = torch.randint(300, (4, 32))
    return {"input_ids": ids, "labels": ids}


def sentences():
    return {"input_ids": torch.randint(300, (4, 32)), "labels": torch.randint(2, (4,))}


# (model, batch, classes of its activations; the last of BERT is that of its pooler, between two weight layers)
HANDLED = {
    "resnet, basic": (lambda: resnet("basic"), images, ["ReLU"] * 9),
    "resnet, bottleneck": (lambda: resnet("bottleneck"), images, ["ReLU"] * 13),
    "vit": (vit, images, ["GELUActivation"] * 3),
    "convnext": (convnext, images, ["GELUActivation"] * 4),
    "gpt2": (gpt2, tokens, ["NewGELUActivation"] * 3),
    "bert": (bert, sentences, [*["GELUActivation"] * 3, "Tanh"]),
}


@pytest.mark.parametrize("name", HANDLED)
def test_models_are_handled(name):
    """Zeros of the mean over activations within 0.04 of the design, of one small model: units are few and share biases.

    Batch normalization of convolutions of sparse, correlated inputs is not normal, which adds zeros.
    """
    build, make_batch, kinds = HANDLED[name]
    model, batch = build(), make_batch()
    keys = list(model.state_dict())
    report = gt.sparsify_(model, CRELU, batch=batch)
    assert [swapped.old for swapped in report.swapped] == kinds
    assert report.left == ()
    assert report.zeros == pytest.approx(CRELU.sparsity, abs=0.04)
    assert all(swapped.variance == pytest.approx(1.0, abs=0.25) for swapped in report.swapped)
    assert list(model.state_dict()) == keys
    for swapped in (model.train(), copy.deepcopy(model)):
        before = [parameter.detach().clone() for parameter in swapped.parameters()]
        optimizer = torch.optim.SGD(swapped.parameters(), 1e-2)
        loss = swapped(**batch).loss
        loss.backward()
        optimizer.step()
        assert math.isfinite(loss.item())
        assert any(not torch.equal(old, new) for old, new in zip(before, swapped.parameters(), strict=True))


def test_the_queries_and_keys_of_attention_are_drawn_without_a_bias():
    report = gt.sparsify_(vit(), CRELU, batch=images())
    attended = [layer for layer in report.init if layer.name.endswith(("q_proj", "k_proj", "v_proj"))]
    assert len(attended) == 9
    assert all(layer.bias_std == 0 and layer.weight_std == pytest.approx(96**-0.5) for layer in attended)


@pytest.mark.parametrize("batch", [tokens, lambda: None], ids=["batch", "no batch"])
def test_gated_models_are_refused_untouched(batch):
    model = llama()
    before = repr(model), {key: tensor.clone() for key, tensor in model.state_dict().items()}
    message = r"got 'model.layers.0.mlp.act_fn' \(SiLUActivation\) and 1 more, whose output is multiplied"
    with pytest.raises(ValueError, match=message):
        gt.sparsify_(model, CRELU, batch=batch())
    assert repr(model) == before[0]
    assert all(torch.equal(tensor, before[1][key]) for key, tensor in model.state_dict().items())


def test_saved_weights_load_into_a_model_that_is_swapped_again(tmp_path):
    model, batch = gpt2(), tokens()
    gt.sparsify_(model, CRELU, batch=batch)
    model.save_pretrained(tmp_path)
    loaded = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    gt.sparsify_(loaded, CRELU, initialise=False)
    torch.testing.assert_close(loaded.eval()(**batch).logits, model.eval()(**batch).logits)
