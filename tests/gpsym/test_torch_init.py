"""init_ on any module tree: what is drawn, from which fan-in, and what is left alone."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import gpsym.torch as gt
from gpsym import edge_of_chaos
from gpsym.torch.sites import find_sites

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
CST = edge_of_chaos("cst", sparsity=0.85, slope=0.7)
PHI = {design: gt.activation_module(design) for design in (CRELU, CST)}
DTYPES = [torch.float32, torch.float64]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=DTYPES, ids=str)
def both_precisions(request):
    """Layers and batches are made in float32, then in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(before)


in_both_precisions = pytest.mark.usefixtures("both_precisions")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(*widths):
    layers = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), PHI[CRELU]]
    return nn.Sequential(*layers[:-1])


def rows(report):
    return {layer.name: layer for layer in report}


def why(report):
    return {skipped.name: skipped.why for skipped in report.skipped}


# Fan-in

LAYERS = [
    nn.Linear(7, 3), nn.Bilinear(4, 5, 2),
    nn.Conv1d(6, 4, 5, padding=2, padding_mode="circular"),
    nn.Conv2d(6, 4, (3, 5), padding=(1, 2), padding_mode="circular", groups=2),
    nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular", groups=6),
    nn.Conv3d(4, 4, 3, padding=1, padding_mode="circular", dilation=1, stride=2),
    nn.ConvTranspose1d(6, 4, 6, stride=3), nn.ConvTranspose1d(6, 4, 5, stride=3, dilation=2),
    nn.ConvTranspose1d(6, 4, 2, stride=3, output_padding=1), nn.ConvTranspose2d(6, 4, (4, 3), stride=(2, 1), groups=2),
    nn.ConvTranspose2d(6, 6, 3, stride=2, groups=6, dilation=2), nn.ConvTranspose3d(4, 2, 4, stride=2, padding=1),
]  # fmt: skip


@in_both_precisions
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_fan_in_is_the_number_of_inputs_that_add_up(layer):
    """With ones for inputs and weights, each output is that number; of a transposed convolution, in the middle."""
    layer = layer.to(torch.get_default_dtype())
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.zero_()
        if isinstance(layer, nn.Bilinear):
            y = layer(torch.ones(1, 4), torch.ones(1, 5))
        elif isinstance(layer, nn.Linear):
            y = layer(torch.ones(1, 7))
        else:
            y = layer(torch.ones(1, layer.in_channels, *[12] * len(layer.kernel_size)))
            if layer.transposed:
                for axis, (kernel, stride, dilation) in enumerate(
                    zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
                ):
                    reach = (kernel - 1) * dilation + 1
                    periods = (y.shape[axis + 2] - 2 * reach) // stride
                    y = y.narrow(axis + 2, reach, periods * stride)
    (site,), _ = find_sites(layer)
    assert y.numel() > 0
    assert site.fan_in == pytest.approx(y.mean().item(), rel=1e-6)  # float32


class Conv1D(nn.Module):
    """As in transformers: a linear layer with weight (in, out)."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.weight, self.bias = nf, nn.Parameter(torch.zeros(nx, nf)), nn.Parameter(torch.zeros(nf))

    def forward(self, x):
        return x @ self.weight + self.bias


@in_both_precisions
def test_the_linear_layer_of_hugging_face_has_its_inputs_first():
    report = gt.init_(nn.Sequential(Conv1D(12, 4), Conv1D(12, 12), Conv1D(3, 12)), CRELU)
    assert [layer.fan_in for layer in report] == [4, 12, 12]


# Weights, variance and sparsity, by standard errors

CIRCULAR = {"padding": 1, "padding_mode": "circular"}
NETWORKS = {
    "mlp": lambda: [nn.Linear(50, 200), *(nn.Linear(200, 200) for _ in range(5))],
    "cnn": lambda: [nn.Conv2d(3, 64, 3, **CIRCULAR), *(nn.Conv2d(64, 64, 3, **CIRCULAR) for _ in range(3))],
    "cnn 1d, strided": lambda: [nn.Conv1d(3, 64, 3, **CIRCULAR), nn.Conv1d(64, 64, 4, stride=2, **CIRCULAR)],
    "cnn 3d": lambda: [nn.Conv3d(3, 32, 3, **CIRCULAR), nn.Conv3d(32, 32, 3, **CIRCULAR)],
    "grouped": lambda: [nn.Conv2d(4, 64, 3, **CIRCULAR), *(nn.Conv2d(64, 64, 3, groups=4, **CIRCULAR) for _ in "12")],
    "depthwise": lambda: [nn.Conv2d(4, 99, 3, **CIRCULAR), nn.Conv2d(99, 99, 3, groups=99, **CIRCULAR)],
    "transposed": lambda: [nn.ConvTranspose2d(32, 32, 4, stride=2) for _ in range(3)],
    "transposed, grouped": lambda: [nn.ConvTranspose1d(64, 64, 6, stride=3, groups=groups) for groups in (1, 2)],
    "transposed 3d": lambda: [nn.ConvTranspose3d(16, 16, 2, stride=2), nn.ConvTranspose3d(16, 16, 4, stride=2)],
}


def pre_activations(layers, design, dtype, seed):
    """(mean square, fraction of zeros behind the activation) of each layer of one network."""
    phi = PHI[design]
    model = nn.Sequential(*layers, nn.Linear(1, 1)).to(dtype)
    gt.init_(model, design, input_mean_square=4.0, generator=seeded(seed))
    first = layers[0]
    spatial = [] if isinstance(first, nn.Linear) else [32 // 2 ** len(first.kernel_size)] * len(first.kernel_size)
    channels = first.in_features if isinstance(first, nn.Linear) else first.in_channels
    x = 2 * torch.randn(2, channels, *spatial, dtype=dtype, generator=seeded(1000 + seed))
    found = []
    with torch.no_grad():
        for layer in layers:
            h = layer(x)
            for axis, kernel in enumerate(getattr(layer, "kernel_size", ()) if getattr(layer, "transposed", 0) else ()):
                h = h.narrow(axis + 2, kernel, h.shape[axis + 2] - 2 * kernel)  # ends have fewer inputs
            x = phi(h)
            found.append((h.square().mean().item(), (x == 0).double().mean().item()))
    return found


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "design"), [*((name, CRELU) for name in NETWORKS), ("mlp", CST), ("cnn", CST)])
def test_every_layer_has_the_designed_variance_and_sparsity(name, design, dtype):
    """Within four standard errors over independent networks.

    The mean variance of the next layer is V(q) + V''(q) var(q) / 2: V'' is .023 for CReLU, .4 for CST at variances of
    q of a few hundredths, so what theory leaves out is well below a standard error.
    """
    networks = 40
    found = torch.tensor(
        [pre_activations(NETWORKS[name](), design, dtype, seed) for seed in range(networks)], dtype=torch.float64
    )  # (networks, layers, 2)
    errors = found.std(0) / math.sqrt(networks)
    target = torch.tensor([design.q_star, design.sparsity], dtype=torch.float64)
    assert errors.max() < 0.07  # a fan-in wrong by a factor of 2 would change the variance by .2 to .4 in each layer
    near = (found.mean(0) - target).abs() < 4 * errors
    assert near[:, 0].all(), (found.mean(0), errors)
    if name != "depthwise":  # of its nine inputs often none is active: it has its variance, and is far from normal
        assert near[:, 1].all(), (found.mean(0), errors)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_drawn_weights_have_the_reported_variance(layer, dtype):
    kind = type(layer)
    sizes = {nn.Linear: (200, 100), nn.Bilinear: (30, 20, 20)}.get(kind)
    wide = kind(*sizes) if sizes else kind(24, 24, 3, stride=2, groups=2)
    model = nn.ModuleList([nn.Linear(3, 3), wide.to(dtype), nn.Linear(3, 3)])
    report = rows(gt.init_(model, CRELU, generator=seeded()))["1"]
    n = wide.weight.numel()
    # The variance estimate of n normals has relative standard error sqrt(2 / n), their mean std / sqrt(n).
    assert wide.weight.square().mean().item() == pytest.approx(report.weight_std**2, rel=4 * math.sqrt(2 / n))
    assert abs(wide.weight.mean().item()) < 4 * report.weight_std / math.sqrt(n)
    assert wide.bias.square().mean().item() == pytest.approx(CRELU.sigma_b2, rel=4 * math.sqrt(2 / len(wide.bias)))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(20, 40), nn.Linear(20, 40)
        self.join = nn.Bilinear(40, 40, 30)
        self.head = nn.Linear(30, 1)
        self.phi = PHI[CRELU]

    def forward(self, x, y, activation=True):
        left, right = self.left(x), self.right(y)
        self.joined = self.join(self.phi(left), self.phi(right)) if activation else self.join(left, right)
        return self.head(self.phi(self.joined))


@in_both_precisions
@pytest.mark.parametrize("activation", [True, False])
def test_bilinear_layers_bring_products_to_the_designed_variance(activation):
    """Behind two activations, and behind two layers; four standard errors over independent networks."""
    found = []
    for seed in range(32):
        x, y = torch.randn(2, 4, 20, generator=seeded(1000 + seed))
        model = Pair()
        report = gt.init_(model, CRELU, batch=(x, y, activation), input_mean_square=1.0, generator=seeded(seed))
        model(x, y, activation)
        found.append(model.joined.square().mean().item())
    assert rows(report)["join"].role == ("hidden" if activation else "linear")
    found = torch.tensor(found)
    error = found.std() / math.sqrt(len(found))
    assert error < 0.12  # sigma_w2 for its square over q_star - sigma_b2 would change the variance 18-fold
    assert abs(found.mean() - 1) < 4 * error


def test_layers_with_few_active_inputs_say_so():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 32, 3), nn.Conv2d(32, 2, 1))
    notes = {name: row.note for name, row in rows(gt.init_(model, CRELU)).items()}
    assert notes["1"] == "about 1.2 active inputs: far from normal, the sparsity will differ"  # 9 / 7.33
    assert notes["2"] == "about 9.8 active inputs: far from normal, the sparsity will differ"
    wide = nn.Sequential(nn.Conv2d(3, 9, 3), nn.Conv2d(9, 8, 3), nn.Conv2d(8, 2, 1))
    assert rows(gt.init_(wide, CRELU))["1"].note == ""


def test_a_bilinear_first_layer_divides_by_both_mean_squares():
    design, model = CRELU, nn.ModuleList([nn.Bilinear(3, 5, 4), nn.Linear(4, 2)])
    first = gt.init_(model, design, input_mean_square=2.0)[0]
    assert first.weight_std == pytest.approx(math.sqrt((1 - design.sigma_b2) / (4 * 15)))


# Attention


@in_both_precisions
@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 10, "add_bias_kv": True}, {"bias": False}])
def test_the_projections_of_attention_keep_the_variance(options):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(64, 4, **options)
    tokens = None if attention.bias_k is None else attention.bias_k.clone()
    report = gt.init_(nn.ModuleList([nn.Linear(3, 3), attention, nn.Linear(3, 3)]), CRELU, generator=seeded())
    found = {name.removeprefix("1."): row for name, row in rows(report).items() if row.role == "attention"}
    fan_in = {"q_proj": 64, "k_proj": 6, "v_proj": 10} if "kdim" in options else {"in_proj": 64}
    assert {name: row.fan_in for name, row in found.items()} == {**fan_in, "out_proj": 64}
    for name, row in found.items():
        weight = attention.out_proj.weight if name == "out_proj" else getattr(attention, f"{name}_weight")
        assert row.weight_std == pytest.approx(1 / math.sqrt(row.fan_in))
        n = weight.numel()
        assert weight.square().mean().item() == pytest.approx(row.weight_std**2, rel=4 * math.sqrt(2 / n))
        assert "no fixed point for softmax" in row.note
    if attention.in_proj_bias is not None:
        assert not attention.in_proj_bias.any()
        assert not attention.out_proj.bias.any()
    if tokens is not None:
        assert attention.bias_k.equal(tokens)
        assert "learned tokens" in why(report)["1"]


# Lazy, meta, precisions


@in_both_precisions
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_lazy_layers_take_their_shapes_from_a_batch():
    def build():
        return nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), PHI[CRELU], nn.Flatten(), nn.LazyLinear(4))

    model, batch = build(), torch.randn(5, 2, 4, 4)
    with pytest.raises(ValueError, match="shape of '0', got a lazy layer; pass a batch, or run one through"):
        gt.init_(model, CRELU)
    report = gt.init_(model, CRELU, batch=batch, generator=seeded())
    assert [(layer.role, layer.fan_in) for layer in report] == [("first", 18), ("readout", 32)]
    assert not model[1].running_mean.any()
    assert model[1].num_batches_tracked == 0
    materialized = build()
    materialized(batch)
    gt.init_(materialized, CRELU, batch=batch, generator=seeded())
    assert materialized[0].weight.equal(model[0].weight)


@in_both_precisions
def test_on_the_meta_device_there_is_nothing_to_write():
    with torch.device("meta"):
        model = mlp(5, 6, 7)
    for batch in (None, torch.ones(2, 5)):  # which the model could not be called with
        with pytest.raises(ValueError, match=r"memory for '0', got the meta device; call model.to_empty"):
            gt.init_(model, CRELU, batch=batch)
    model.to_empty(device="cpu")
    gt.init_(model, CRELU, generator=seeded())
    assert_same(model, drawn(mlp(5, 6, 7)))


def drawn(model, **options):
    gt.init_(model, CRELU, generator=seeded(), **options)
    return model


def assert_same(one, other):
    pairs = list(zip(one.parameters(), other.parameters(), strict=True))
    assert pairs
    assert all(a.equal(b) for a, b in pairs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_float32_rounded(dtype):
    assert_same(drawn(mlp(50, 60, 7).to(dtype)), drawn(mlp(50, 60, 7)).to(dtype))


@in_both_precisions
def test_the_numbers_do_not_depend_on_the_memory_format():
    def build():
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 3))

    assert_same(drawn(build().to(memory_format=torch.channels_last)), drawn(build()))


def test_float64_is_drawn_in_float64():
    weight = drawn(mlp(50, 60, 7).double())[0].weight
    assert not weight.equal(weight.float().double())


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (torch.complex64, "torch.complex64, whose variance the real theory"),
        (torch.complex128, "torch.complex128, whose variance the real theory"),
        (torch.int8, "torch.int8, which cannot hold"),
    ],
)
def test_numbers_that_are_not_real_are_refused(dtype, message):
    model = mlp(3, 4, 2)
    model[0].weight = nn.Parameter(torch.zeros(4, 3, dtype=dtype), requires_grad=False)
    with pytest.raises(ValueError, match=f"real floating-point numbers in '0', got {message}"):
        gt.init_(model, CRELU)


@in_both_precisions
def test_only_the_given_generator_is_used():
    model, half = mlp(4, 5, 2), mlp(4, 5, 2).bfloat16()
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.LayerNorm(4), nn.Linear(4, 2))
    state = torch.get_rng_state()
    drawn(model, batch=torch.ones(3, 4))
    drawn(half, batch=torch.ones(3, 4).bfloat16())
    drawn(normed, batch=torch.ones(3, 4))
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(7)
    gt.init_(model, CRELU)
    weight = model[0].weight.clone()
    gt.init_(model, CRELU, generator=seeded(7))
    assert model[0].weight.equal(weight)


# Parametrizations and hooks


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x

    def right_inverse(self, x):
        return x / 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "layer", [nn.Linear(20, 30), nn.Conv2d(4, 6, 3), nn.ConvTranspose1d(6, 4, 4, stride=2)], ids=str
)
def test_weight_norm_has_the_weights_of_the_plain_layer(layer, dtype):
    def build(wrap):
        inner = type(layer)(*((20, 30) if isinstance(layer, nn.Linear) else (6, 6, 4)))
        return nn.ModuleList([nn.Linear(3, 3), wrap(inner), nn.Linear(3, 3)]).to(dtype)

    plain, normed = drawn(build(lambda inner: inner)), drawn(build(parametrizations.weight_norm))
    torch.testing.assert_close(normed[1].weight, plain[1].weight)  # up to rounding of norms
    assert normed[1].bias.equal(plain[1].bias)
    assert normed[2].weight.equal(plain[2].weight)
    g, v = normed[1].parametrizations.weight.original0, normed[1].parametrizations.weight.original1
    torch.testing.assert_close(g, v.flatten(1).norm(dim=1).reshape(g.shape))


@in_both_precisions
def test_parametrizations_that_keep_what_they_are_assigned_are_handled():
    model, plain = mlp(5, 6, 2), mlp(5, 6, 2)
    parametrize.register_parametrization(model[0], "weight", Doubled())
    parametrize.register_parametrization(model[2], "bias", Doubled())
    drawn(model), drawn(plain)
    assert model[0].weight.equal(plain[0].weight)  # halves and doubles are exact
    assert model[2].bias.equal(plain[2].bias)


def old_spectral_norm(layer):
    return nn.utils.spectral_norm(layer)


def symmetric(layer):
    class Symmetric(nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).mT

    parametrize.register_parametrization(layer, "weight", Symmetric())
    return layer


@in_both_precisions
@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (parametrizations.spectral_norm, "got _SpectralNorm, which fixes the largest singular value"),
        (parametrizations.orthogonal, "got _Orthogonal, which changes them"),
        (symmetric, r"got Symmetric \(without a right_inverse\), which changes them"),
        (old_spectral_norm, "got a tensor that a hook computes"),
        (lambda layer: prune.random_unstructured(layer, "weight", 0.5), "got a tensor that a hook computes"),
    ],
)
def test_what_would_not_keep_its_weights_is_refused_untouched(wrap, message):
    model = nn.Sequential(nn.Linear(4, 4), wrap(nn.Linear(4, 4)), nn.Linear(4, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        gt.init_(model, CRELU)
    after = model.state_dict()
    assert all(tensor.equal(after[name]) for name, tensor in before.items())
    report = gt.init_(model, CRELU, rules={"1": None})
    assert why(report)["1"] == "as rules say"
    assert all(tensor.equal(after[name]) for name, tensor in before.items() if name.startswith("1."))
    assert not before["0.weight"].equal(model[0].weight)


# Tied, frozen, and what has no rule


@in_both_precisions
def test_tied_weights_are_drawn_once():
    model, plain = mlp(5, 5, 5, 5), mlp(5, 5, 5, 5)
    model[4].weight = model[2].weight
    report = gt.init_(model, CRELU, generator=seeded())
    drawn(plain)
    assert model[2].weight.equal(plain[2].weight)
    assert rows(report)["4"].weight_std is None
    assert "weight tied to 2, drawn there" in rows(report)["4"].note
    assert not model[4].bias.any()  # its own, by the readout's rule
    model[4].bias = model[2].bias
    report = gt.init_(model, CRELU)
    assert why(report)["4"] == "tied to 2, drawn there"


@in_both_precisions
@pytest.mark.parametrize("embedding_first", [True, False])
def test_what_is_tied_to_an_embedding_is_left_alone_with_it(embedding_first):
    embedding, head = nn.Embedding(11, 6), nn.Linear(6, 11, bias=False)
    head.weight = embedding.weight
    ends = [embedding, head] if embedding_first else [head, embedding]
    model = nn.ModuleDict({"a": ends[0], "hidden": mlp(6, 6, 6), "b": ends[1]})
    before = embedding.weight.clone()
    report = gt.init_(model, CRELU)
    assert embedding.weight.equal(before)
    here, there = ("a", "b") if embedding_first else ("b", "a")
    assert why(report) == {here: "an embedding: its rows are inputs, not weights that add up",
                           there: f"tied to {here}, left alone"}  # fmt: skip


@in_both_precisions
def test_frozen_parameters_are_untouched():
    model = mlp(5, 5, 5, 5)
    model[0].requires_grad_(False)
    model[2].weight.requires_grad_(False)
    before = {name: p.clone() for name, p in model.named_parameters()}
    report = gt.init_(model, CRELU)
    changed = {name for name, p in model.named_parameters() if not p.equal(before[name])}
    assert changed == {"2.bias", "4.weight", "4.bias"}
    assert why(report) == {"0": "frozen"}
    assert rows(report)["2"].weight_std is None
    assert rows(report)["2"].note.endswith("weight frozen")
    normed = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3, bias=False)), nn.Linear(3, 3), nn.Linear(3, 3))
    normed[0].parametrizations.weight.original0.requires_grad_(False)
    weight = normed[0].weight.clone()
    assert why(gt.init_(normed, CRELU)) == {"0": "frozen"}
    assert normed[0].weight.equal(weight)


@in_both_precisions
def test_what_has_no_rule_is_left_alone_and_reported():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.EmbeddingBag(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.BatchNorm1d(4), nn.GroupNorm(2, 4), nn.RMSNorm(4),
        nn.LSTM(4, 4), nn.PReLU(), nn.Linear(4, 4), nn.ParameterList([torch.ones(3)]),
    )  # fmt: skip
    before = {name: p.clone() for name, p in model.named_parameters()}
    report = gt.init_(model, CRELU)
    changed = {name for name, p in model.named_parameters() if not p.equal(before[name])}
    assert changed == {"1.weight", "1.bias", "8.weight", "8.bias"}
    reasons = ["embedding", "normalization", "normalization", "normalization", "normalization", "no rule for LSTM",
               "no rule for PReLU", "no rule for ParameterList"]  # fmt: skip
    assert [reason in skipped.why for reason, skipped in zip(reasons, report.skipped, strict=True)] == [True] * 8


# Roles


class Shuffled(nn.Module):
    """Registered in another order than called; two inputs, two heads, functional activations, a norm and a join."""

    def __init__(self):
        super().__init__()
        self.head, self.value = nn.Linear(8, 3), nn.Linear(8, 1)
        self.body, self.narrow, self.widen = nn.Linear(8, 8), nn.Linear(8, 2), nn.Linear(2, 8)
        self.norm, self.after = nn.BatchNorm1d(8), nn.Linear(8, 8)
        self.image, self.text = nn.Linear(4, 8), nn.Linear(5, 8)
        self.unused = nn.Linear(2, 2)

    def forward(self, image, *, text):
        def phi(x):
            return gt.functional.clipped_relu(x, CRELU.tau, CRELU.m)

        x = phi(self.image(image)) + phi(self.text(text))
        x = phi(self.widen(self.narrow(phi(self.body(x)))))
        x = phi(self.after(self.norm(x).view(-1, 8)))
        return {"policy": self.head(x), "value": [self.value(x)]}


ROLES = {"head": "readout", "value": "readout", "body": "hidden", "narrow": "hidden", "widen": "linear",
         "after": "normalized", "image": "first", "text": "first", "unused": "hidden"}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_roles_follow_the_graph_of_a_batch(dtype):
    model = Shuffled().to(dtype).eval()
    model.requires_grad_(True)
    batch = {"image": 2 * torch.ones(16, 4, dtype=dtype), "text": torch.randn(16, 5, dtype=dtype)}
    found = rows(gt.init_(model, CRELU, batch=batch))
    assert {name: row.role for name, row in found.items()} == ROLES
    square = batch["text"].square().mean().item()
    data = 1 - CRELU.sigma_b2
    assert found["image"].weight_std == pytest.approx(math.sqrt(data / 4 / 4))
    assert found["text"].weight_std == pytest.approx(math.sqrt(data / 5 / square))
    # Batch normalization makes E[x^2] = v / (v + eps) of normal numbers, with v near 1 and eps = 1e-5.
    assert found["after"].weight_std == pytest.approx(math.sqrt(data / 8), rel=1e-4)
    assert found["widen"].rule == "N(0, 1/fan_in), b = 0"
    assert "joins 2 branches" in found["body"].note
    assert found["unused"].note.startswith("not called for the batch")
    assert "fed by normalization alone" in found["after"].note
    given_square = rows(gt.init_(model, CRELU, batch=batch, input_mean_square=9.0))
    assert given_square["text"].weight_std == pytest.approx(math.sqrt(data / 5 / 9))


@in_both_precisions
def test_a_trace_leaves_no_trace():
    model = Shuffled()
    model.norm.eval()
    model.requires_grad_(False)
    model.head.requires_grad_(True)
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = gt.init_(model, CRELU, batch={"image": torch.randn(6, 4), "text": torch.randn(6, 5)})
    assert {name: module.training for name, module in model.named_modules()} == modes
    changed = {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}
    assert changed == {"head.weight", "head.bias"}
    assert [(layer.name, layer.role) for layer in report] == [("head", "readout")]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


@in_both_precisions
def test_layers_of_a_transformer():
    """Attention by its convention, behind normalization the rule of the first layer; frozen and in eval mode too."""
    encoder = nn.TransformerEncoderLayer(16, 2, 64, batch_first=True, norm_first=True, activation=torch.relu)
    model = nn.Sequential(nn.Linear(3, 16), encoder, nn.Linear(16, 2)).eval()
    model[1].norm1.requires_grad_(False)
    found = rows(gt.init_(model, CRELU, batch=torch.randn(4, 5, 3)))
    roles = {"0": "first", "1.self_attn.in_proj": "attention", "1.self_attn.out_proj": "attention",
             "1.linear1": "normalized", "1.linear2": "hidden", "2": "readout"}  # fmt: skip
    assert {name: row.role for name, row in found.items()} == roles
    assert torch.backends.mha.get_fastpath_enabled()


class OwnAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x):
        x = self.norm(x)
        attended = nn.functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return self.head(torch.relu(self.out(attended)))


def test_what_follows_a_softmax_counts_as_attention():
    found = rows(gt.init_(OwnAttention(), CRELU, batch=torch.randn(4, 5, 8)))
    assert {name: row.role for name, row in found.items()} == {
        "q": "first", "k": "first", "v": "first", "out": "attention", "head": "readout"
    }  # fmt: skip


@in_both_precisions
def test_a_bias_may_be_missing_where_a_normalization_follows():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, bias=False),
        nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"need a bias in '0' .* or pass a batch if a normalization follows"):
        gt.init_(model, CRELU)
    report = rows(gt.init_(model, CRELU, batch=torch.randn(5, 3, 6, 6)))
    assert (report["0"].role, report["3"].role) == ("first", "hidden")
    assert "normalized before its activation: the rule holds for q_star = 1" in report["3"].note
    assert all("scale of W does not matter" in report[name].note for name in "03")
    assert report["3"].bias_std is None


@in_both_precisions
def test_first_and_last_layers_by_name():
    model = Shuffled()
    report = gt.init_(model, CRELU, first_layers=["image", "text"], readout_layers=("head", "value"))
    expected = dict.fromkeys(ROLES, "hidden") | {n: r for n, r in ROLES.items() if r in ("first", "readout")}
    assert {layer.name: layer.role for layer in report} == expected
    batch = {"image": torch.randn(6, 4), "text": torch.randn(6, 5)}
    named = rows(gt.init_(model, CRELU, batch=batch, readout_layers="value"))
    assert (named["head"].role, named["value"].role, named["text"].role) == ("hidden", "readout", "first")
    with pytest.raises(ValueError, match="names of weight layers, got 'nosuch'; choose from head, value"):
        gt.init_(model, CRELU, first_layers="nosuch")


@in_both_precisions
def test_rules_by_name_go_before_all_others():
    model = nn.Sequential(mlp(4, 4, 4), PHI[CRELU], mlp(4, 4, 4), nn.MultiheadAttention(4, 2))
    before = model[2][0].weight.clone()
    rules = {"0": gt.Rule(4.0, 1.0), "0.2": gt.Rule(16.0, 0.0), "2.0": None, "3.out_proj": gt.Rule(0.0, 0.0)}
    report = gt.init_(model, CRELU, rules=rules)
    found = {layer.name: (layer.role, layer.weight_std, layer.bias_std) for layer in report}
    assert found == {
        "0.0": ("given", 1.0, 1.0), "0.2": ("given", 2.0, 0.0), "2.2": ("readout", 0.5, 0.0),
        "3.in_proj": ("attention", 0.5, 0.0), "3.out_proj": ("given", 0.0, 0.0),
    }  # fmt: skip
    assert why(report) == {"2.0": "as rules say"}
    assert model[2][0].weight.equal(before)
    with pytest.raises(ValueError, match=r"names of modules in rules, got 'nosuch'; see model.named_modules"):
        gt.init_(model, CRELU, rules={"nosuch": None})


def test_a_batch_that_tells_nothing_is_refused():
    class Detached(nn.Sequential):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(ValueError, match="output depends on a layer, got one without a graph"):
        gt.init_(Detached(nn.Linear(3, 3), nn.Linear(3, 3)), CRELU, batch=torch.ones(2, 3))
    with pytest.raises(ValueError, match=r"reaches '0' with a finite mean square > 0, got 0\.0; pass another"):
        gt.init_(mlp(3, 3, 3), CRELU, batch=torch.zeros(2, 3))


def test_layers_that_are_called_more_than_once_say_so():
    layer = nn.Linear(4, 4)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 4))
    found = rows(gt.init_(model, CRELU, batch=torch.randn(3, 4)))
    assert "called 2 times" in found["2"].note
    assert list(found) == ["0", "2", "6"]


class Twins(nn.Module):
    """One first layer for two inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x, y):
        return self.head(PHI[CRELU](self.first(x)) - PHI[CRELU](self.first(y)))


@in_both_precisions
def test_a_layer_that_is_called_twice_measures_both_inputs():
    first = rows(gt.init_(Twins(), CRELU, batch=(torch.ones(2, 3), 3 * torch.ones(2, 3))))["first"]
    assert first.role == "first"
    assert first.weight_std == pytest.approx(math.sqrt((1 - CRELU.sigma_b2) / (3 * 5)))  # (1 + 9) / 2


@in_both_precisions
def test_the_report_prints_as_a_table():
    model = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 9), nn.LayerNorm(9), nn.Linear(9, 2))
    text = str(gt.init_(model, CRELU))
    lines = text.splitlines()
    assert lines[0].split() == ["layer", "kind", "role", "fan-in", "weight", "std", "bias", "std", "rule", "note"]
    assert lines[2].split()[:6] == ["2", "Linear", "hidden", "9", "0.902762", "0.771583"]
    assert "N(0, 7.33482/fan_in), b ~ N(0, 0.595341)" in lines[2]
    assert lines[-1] == "3           LayerNorm  a normalization: its scale and shift start at 1 and 0"
    assert len({line.index("N(0") for line in lines[1:4]}) == 1


def test_a_batch_sees_into_a_scaled_border():
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)]
    model = nn.Sequential()
    for convolution in convolutions:
        model.extend([gt.BorderScaled(convolution), gt.activation_module(CRELU)])
    model.extend([nn.Flatten(), nn.Linear(8 * 16, 3)])
    report = gt.init_(model, CRELU, batch=torch.randn(2, 1, 4, 4))
    roles = {layer.name: layer.role for layer in report}
    assert roles == {"0.conv": "first", "2.conv": "hidden", "5": "readout"}
