"""diagnose: what it measures, how often it is wrong about sound networks, and what it finds in broken ones."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import nn

from gpsym import edge_of_chaos
from gpsym.diagnosis import QUANTITIES, Diagnosis, Reading
from gpsym.diagnosis.judge import judged
from gpsym.finite_width import Start
from gpsym.finite_width.by_layer import log_gradient_moments
from gpsym.plot import diagnosis_figure
from gpsym.torch import BorderScaled, Residual, ShiftedReLU, activation_module, diagnose, init_

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
CST = edge_of_chaos("cst", sparsity=0.85, slope=0.9)
RELU_TAU = edge_of_chaos("relu-tau", sparsity=0.85)


pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def inputs(*shape, seed=0):
    return torch.randn(shape, generator=seeded(seed))


X = inputs(16, 20)


def mlp(*widths, design=CRELU):
    layers = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), activation_module(design)]
    return nn.Sequential(*layers[:-1])


def cnn(channels=64, depth=6, **options):
    layers = []
    for fan_in in (3, *[channels] * (depth - 1)):
        layers += [nn.Conv2d(fan_in, channels, 3, padding=1, **options), activation_module(CRELU)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 25, 10))


IMAGES = inputs(4, 3, 5, 5)


def sound(model=None, seed=0, design=CRELU):
    model = model or mlp(20, *[200] * 8, 5, design=design)
    init_(model, design, input_mean_square=X.square().mean().item(), generator=seeded(seed))
    return model


def verdicts(diagnosis):
    return [layer.verdict for layer in diagnosis.layers]


def assert_between(count, trials, probability):
    """A count that a binomial variable leaves with probability 2e-4."""
    assert binom.ppf(1e-4, trials, probability) <= count <= binom.ppf(1 - 1e-4, trials, probability)


# Sound networks


@pytest.mark.parametrize(("risk", "networks"), [(0.01, 30), pytest.param(0.3, 30, marks=pytest.mark.deep)])
def test_sound_networks_of_100_layers_rarely_raise_an_alarm(risk, networks):
    """At most as often as the risk says: as it is a bound, there is no lower end."""
    model = mlp(20, *[64] * 100, 5)
    alarms = sum(not diagnose(sound(model, seed), X, CRELU, risk=risk).ok for seed in range(networks))
    assert alarms <= binom.ppf(1 - 1e-4, networks, risk)


def test_bands_of_variance_and_gain_are_as_wide_as_they_must_be():
    """Two equal inputs count as one, for which both laws are exact: a band is left with probability risk / 15."""
    model, x, networks, risk = mlp(20, 40, 24, 60, 5), X[:1].repeat(2, 1), 500, 0.9
    square = x.square().mean().item()
    sides = {"variance": [], "gain": []}
    for seed in range(networks):
        init_(model, CRELU, input_mean_square=square, generator=seeded(seed))
        layers = diagnose(model, x, CRELU, risk=risk).layers
        for name, found in sides.items():
            found.append([getattr(layer, name).side for layer in layers])
    for found in sides.values():
        for layer in np.array(found).T:
            assert_between((layer != 0).sum(), networks, risk / 15)
    gains = np.array(sides["gain"])
    for side in (-1, 1):  # of layers, which are independent here
        assert_between((gains == side).sum(), gains.size, risk / 30)


def test_zeros_are_binomial_at_the_measured_variance():
    """For one input in one layer of 200 units; whole numbers of zeros make the probability less than risk / 10."""
    model, x, networks, risk = mlp(20, 200, 5), X[:1].repeat(2, 1), 400, 0.9
    found = [diagnose(sound(model, seed), x, CRELU, risk=risk).layers[0].zeros for seed in range(networks)]
    assert all(reading.theory == pytest.approx(0.85, abs=0.12) for reading in found)
    outside = sum(reading.side != 0 for reading in found)
    # Given the mean square the zeros spread a little less than without: not by less than a half.
    assert binom.ppf(1e-4, networks, risk / 5 / 4) <= outside <= binom.ppf(1 - 1e-4, networks, risk / 5)


@pytest.mark.parametrize("design", [CRELU, edge_of_chaos("relu"), edge_of_chaos("cst", sparsity=0.7, slope=0.5)])
def test_sound_networks_of_other_shapes_pass(design):
    for widths in ((30, 100, 20, 300), (250,)):
        for seed in range(3):
            found = diagnose(sound(mlp(20, *widths, 5, design=design), seed, design), X, design)
            assert verdicts(found) == ["ok"] * len(widths), str(found)
            assert found.ok
            assert found.first_bad is None


@pytest.mark.parametrize("options", [{"padding_mode": "circular"}, {"padding_mode": "zeros"}, {"dilation": 1}])
def test_sound_convolutions_pass(options):
    for seed in range(5):
        model = cnn(**options)
        init_(model, CRELU, batch=IMAGES, generator=seeded(seed))
        found = diagnose(model, IMAGES, CRELU)
        assert found.ok, str(found)
        assert [layer.units for layer in found.layers] == [64] * 6


def test_a_convolution_of_equal_positions_is_a_layer_of_its_channels():
    """The widest case: on constant images with circular padding all bands are exact, as in a plain network."""
    model, networks, risk = cnn(24, 2, padding_mode="circular"), 400, 0.9
    x = inputs(1, 3, 1, 1).expand(2, 3, 5, 5)
    sides = []
    for seed in range(networks):
        init_(model, CRELU, batch=x, generator=seeded(seed))
        layers = diagnose(model, x, CRELU, risk=risk).layers
        sides.append([[layer.variance.side, layer.gain.side] for layer in layers])
    for outside in (np.array(sides) != 0).reshape(networks, 4).T:
        assert_between(outside.sum(), networks, risk / 10)


class Permuted(nn.Module):
    """Channels last."""

    def forward(self, x):
        return x.movedim(1, -1)


def test_outputs_may_be_reordered_on_the_way():
    model = nn.Sequential(
        nn.Conv1d(20, 60, 3), activation_module(CRELU), Permuted(), nn.Linear(60, 50), activation_module(CRELU),
        nn.Linear(50, 3),
    )  # fmt: skip
    init_(model, CRELU, batch=inputs(4, 20, 9), generator=seeded())
    found = diagnose(model, inputs(4, 20, 9), CRELU)
    assert verdicts(found) == ["ok", "ok"]
    assert [layer.units for layer in found.layers] == [60, 50]


def test_the_gain_of_a_padded_convolution_counts_its_taps():
    """Mean 1 over random networks, on images that are nearly all border; by standard errors."""
    model, x = cnn(8, 3), inputs(2, 3, 2, 2)
    model[-1] = nn.Linear(32, 3)
    gains = []
    for seed in range(300):
        init_(model, CRELU, batch=x, generator=seeded(seed))
        gains.append([layer.gain.measured for layer in diagnose(model, x, CRELU).layers])
    values = np.array(gains)
    error = np.nanstd(values, axis=0) / math.sqrt(len(values))
    assert (np.abs(np.nanmean(values, axis=0) - 1) < 4.5 * error).all()


def test_escapes_are_reported_where_they_happen():
    """Of slope 0.9 in 30 layers of 300 units, a good part of networks leaves the basin of q_star, 1.263."""
    model, escaped = mlp(20, *[300] * 30, 5, design=CST), 0
    for seed in range(12):
        found = diagnose(sound(model, seed, CST), X, CST)
        bad = found.first_bad
        if bad is not None:
            escaped += 1
            assert bad.verdict == "escaped"
            assert bad.variance.measured > 1.263
            assert bad.gain.side == 0
    assert escaped > 0


def test_unclipped_networks_run_away():
    found = diagnose(sound(mlp(20, *[300] * 30, 5, design=RELU_TAU), 0, RELU_TAU), X, RELU_TAU)
    assert found.first_bad is not None
    assert found.first_bad.verdict == "escaped"
    assert found.layers[-1].variance.measured > 100


# Broken networks

BAD = 6  # the name of the fourth hidden layer


@torch.no_grad()
def scaled(model, factor=4.0):
    model[BAD].weight.mul_(math.sqrt(factor))


@torch.no_grad()
def pruned(model):
    model[BAD].weight[:120] = 0


@torch.no_grad()
def without_a_bias(model):
    model[BAD].bias.zero_()


@torch.no_grad()
def units_dead(model):
    model[BAD].bias[:60] = -4


@torch.no_grad()
def dead(model):
    model[BAD].bias.fill_(-50)


@torch.no_grad()
def silent(model):
    model[BAD].weight.zero_()
    model[BAD].bias.zero_()


@torch.no_grad()
def not_a_number(model):
    model[BAD].weight[3, 4] = math.nan


@torch.no_grad()
def infinite(model):
    model[BAD].bias[2] = math.inf


def relu(model):
    model[BAD + 1] = nn.ReLU(inplace=True)


def unclipped(model):
    model[BAD + 1] = ShiftedReLU(CRELU.tau)


class Damped(nn.Module):
    """The identity, with a thousandth of its gradient."""

    def forward(self, x):
        return x.detach() + 1e-3 * (x - x.detach())


def damped(model):
    model[BAD + 1] = nn.Sequential(model[BAD + 1], Damped())


class Amplified(nn.Module):
    def forward(self, x):
        return x.detach() + 1e3 * (x - x.detach())


def amplified(model):
    model[BAD + 1] = nn.Sequential(model[BAD + 1], Amplified())


FAULTS = [
    (scaled, "weights too large"),
    (lambda model: scaled(model, 1.8), "weights too large"),
    (lambda model: scaled(model, 0.4), "weights too small"),
    (pruned, "weights too small"),
    (without_a_bias, "variance below the band"),
    (units_dead, "variance above the band"),
    (dead, "dead"),
    (silent, "weights too small"),
    (not_a_number, "not finite"),
    (infinite, "not finite"),
    (relu, "other activation"),
    (unclipped, "other activation"),
    (damped, "gradient too small"),
    (amplified, "gradient too large"),
]


@pytest.mark.parametrize(("breaks", "verdict"), FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_the_broken_layer_is_named(breaks, verdict, seed):
    model = sound(seed=seed)
    assert diagnose(model, X, CRELU).ok
    breaks(model)
    found = diagnose(model, X, CRELU)
    assert found.first_bad is not None
    assert (found.first_bad.name, found.first_bad.verdict) == (str(BAD), verdict), str(found)
    before = [layer for layer in found.layers if int(layer.name) < BAD]
    assert not any(layer.faults for layer in before)


def test_dead_units_change_the_zeros():
    model = sound()
    units_dead(model)
    (layer,) = (layer for layer in diagnose(model, X, CRELU).layers if layer.name == str(BAD))
    assert "zeros above the band" in layer.faults


def test_a_dead_layer_leaves_no_gradient_below_it():
    model = sound()
    dead(model)
    found = diagnose(model, X, CRELU)
    assert verdicts(found)[:4] == ["no gradient"] * 3 + ["dead"]
    assert [layer.gradient.measured for layer in found.layers[:4]] == [0] * 4
    assert all(math.isnan(layer.gain.measured) for layer in found.layers[4:5])


@pytest.mark.parametrize("draw", [nn.init.kaiming_normal_, nn.init.kaiming_uniform_])
def test_he_initialization_is_too_large_first_and_dies(draw):
    """2 / fan_in is 5 times what the first layer needs, whose biases are to bring most of q_star, and 0.27 of 7.3."""
    model = mlp(20, *[300] * 12, 5)
    for layer in model:
        if isinstance(layer, nn.Linear):
            draw(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    found = diagnose(model, X, CRELU)
    assert verdicts(found)[:3] == ["weights too large", "weights too small", "weights too small"]
    assert verdicts(found)[-1] == "dead"
    assert found.layers[1].gain.measured == pytest.approx(2 / CRELU.sigma_w2, rel=0.4)


@pytest.mark.parametrize("seed", range(3))
def test_xavier_initialization_is_found_in_the_first_layer(seed):
    torch.manual_seed(seed)
    model = mlp(20, *[300] * 12, 5)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    found = diagnose(model, X, CRELU)
    assert found.first_bad is found.layers[0]
    assert "variance below the band" in found.layers[0].faults
    assert verdicts(found)[1] == "weights too small"


def test_a_broken_convolution_is_named():
    for seed in range(3):
        model = cnn()
        init_(model, CRELU, batch=IMAGES, generator=seeded(seed))
        with torch.no_grad():
            model[4].weight.mul_(2)
        found = diagnose(model, IMAGES, CRELU)
        assert found.first_bad is not None
        assert (found.first_bad.name, found.first_bad.verdict) == ("4", "weights too large")


def test_bands_start_from_the_inputs_and_the_scale_that_the_weights_are_for():
    square = X.square().mean().item()
    found = diagnose(sound(), 3 * X, CRELU, input_mean_square=square)
    assert found.ok, str(found)
    large = CRELU.sigma_b2 + 9 * (CRELU.q_star - CRELU.sigma_b2)
    assert found.layers[0].variance.theory == pytest.approx(large, rel=0.2)  # a median, of inputs that differ
    assert found.layers[-1].variance.theory == pytest.approx(CRELU.q_star, rel=0.2)
    wrong = diagnose(sound(), 3 * X, CRELU)
    assert wrong.first_bad is wrong.layers[0]
    assert wrong.layers[0].verdict == "weights too large"
    assert wrong.layers[0].gain.measured == pytest.approx(9 * found.layers[0].gain.measured, rel=1e-5)


# What is measured


def by_hand(model, x, loss):
    """Pre-activations of the hidden layers, what follows them, and gradients, without hooks."""
    hidden, after, h = [], [], x
    for layer in model:
        if isinstance(layer, nn.Linear) and h is not x:
            after.append(h)
        h = layer(h)
        if isinstance(layer, nn.Linear):
            hidden.append(h)
    gradients = torch.autograd.grad(loss(h), hidden)
    return [t.detach() for t in hidden[:-1]], after, gradients[:-1]


def test_measured_numbers_are_those_worked_out_by_hand():
    model = sound(mlp(20, 30, 40, 5))
    found = diagnose(model, X, CRELU, loss=lambda y: y.square().sum())
    hidden, after, gradients = by_hand(model, X, lambda y: y.square().sum())
    norms = torch.stack([g.double().norm(dim=1) for g in gradients])
    for layer, h, a, norm in zip(found.layers, hidden, after, norms, strict=True):
        assert layer.variance.measured == pytest.approx(h.double().square().mean().item(), rel=1e-6)
        assert layer.zeros.measured == pytest.approx((a == 0).double().mean().item(), rel=1e-6)
        assert layer.gradient.measured == pytest.approx(norm[norm > 0].log().mean().exp().item(), rel=1e-5)
        cosines = nn.functional.cosine_similarity(h[::2], h[1::2]).mean().item()
        assert layer.correlation.measured == pytest.approx(cosines, rel=1e-5)
    weights = model[2].weight.double().detach()
    gain = (after[0].double() @ weights.T).square().mean() / (CRELU.sigma_w2 * after[0].double().square().mean())
    assert found.layers[1].gain.measured == pytest.approx(gain.item(), rel=1e-5)
    first = (X.double() @ model[0].weight.double().T).square().mean() / (CRELU.q_star - CRELU.sigma_b2)
    assert found.layers[0].gain.measured == pytest.approx(first.item(), rel=1e-5)
    assert found.layers[0].gradient.theory is not None
    assert found.layers[1].gradient.theory is None  # the layer that the others are counted from


def test_gradients_are_compared_over_the_inputs_that_have_one():
    """In a layer of 10 units some inputs have no gradient; the band follows the others up to the last layer."""
    model = sound(mlp(20, 10, 12, 5))
    found = diagnose(model, X, CRELU, loss=lambda y: y.square().sum())
    _, _, gradients = by_hand(model, X, lambda y: y.square().sum())
    first, last = (g.double().norm(dim=1) for g in gradients)
    living = first > 0
    assert 0 < living.sum() < (last > 0).sum()
    square = X.double().square()
    variances = CRELU.sigma_b2 + (CRELU.q_star - CRELU.sigma_b2) * square.mean(1) / square.mean()
    moments = log_gradient_moments(CRELU, widths=[10, 12], start=Start.of(variances.tolist()))
    assert moments is not None
    expected = last[living].log().mean().item() + moments[0, 0] / 2
    reading = found.layers[0].gradient
    assert reading.theory is not None
    assert math.log(reading.theory) == pytest.approx(expected, abs=1e-5)
    assert reading.measured == pytest.approx(first[living].log().mean().exp().item(), rel=1e-5)


def test_activations_that_work_in_place_change_nothing():
    model = sound(mlp(20, 50, 50, 5, design=edge_of_chaos("relu")), design=edge_of_chaos("relu"))
    plain, in_place = (
        nn.Sequential(*[nn.ReLU(inplace=inplace) if not isinstance(m, nn.Linear) else m for m in model])
        for inplace in (False, True)
    )
    relu = edge_of_chaos("relu")
    assert diagnose(plain, X, relu).to_dict() == diagnose(in_place, X, relu).to_dict()


def test_the_loss_is_the_same_every_time_and_scales_out_of_the_verdict():
    model = sound()
    assert diagnose(model, X, CRELU).to_dict() == diagnose(model, X, CRELU).to_dict()
    large = diagnose(model, X, CRELU, loss=lambda y: 1e6 * y.square().sum())
    small = diagnose(model, X, CRELU, loss=lambda y: y.square().sum())
    for one, other in zip(large.layers, small.layers, strict=True):
        assert one.gradient.measured == pytest.approx(1e6 * other.gradient.measured, rel=1e-4)
    assert large.ok
    assert small.ok


def test_batches_as_a_tuple_or_by_name():
    class Named(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *, x):
            return {"logits": self.inner(x), "other": None}

    model = sound()
    plain = diagnose(model, X, CRELU).to_dict()
    assert diagnose(model, (X,), CRELU).to_dict() == plain
    named = diagnose(Named(model), {"x": X}, CRELU).to_dict()
    assert [row["variance"] for row in named["layers"]] == [row["variance"] for row in plain["layers"]]
    assert named["layers"][0]["name"] == "inner.0"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype):
    model = sound().to(dtype)
    found = diagnose(model, X.to(dtype), CRELU)
    assert found.ok, str(found)


# Where theory does not speak


def test_residual_sums_have_no_theory():
    blocks = [Residual(nn.Sequential(activation_module(CRELU), nn.Linear(80, 80)), 0.5) for _ in range(3)]
    model = nn.Sequential(nn.Linear(20, 80), *blocks, activation_module(CRELU), nn.Linear(80, 5))
    init_(model, CRELU, batch=X, generator=seeded())
    found = diagnose(model, X, CRELU)
    assert verdicts(found) == ["ok", "ok", "no theory", "no theory"]
    assert [layer.note for layer in found.layers[2:]] == ["sum or union of 2 branches", "sum or union of 3 branches"]
    assert found.layers[2].variance.low is None
    assert found.layers[2].variance.measured == pytest.approx(1, rel=0.5)
    assert found.layers[0].gradient.low is None  # it feeds more than one
    assert found.conclusion == "No fault found where theory speaks."


def test_normalization_attention_and_pooling_have_no_theory():
    norm = nn.Sequential(
        nn.Linear(20, 40), nn.BatchNorm1d(40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 5)
    )
    assert {layer.note for layer in diagnose(norm, X, CRELU).layers} == {"normalized"}
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)
    found = diagnose(encoder, inputs(4, 5, 16), CRELU)
    assert set(verdicts(found)) == {"no theory"}
    assert found.conclusion == "Theory speaks of no layer."
    pool = nn.Sequential(
        nn.Conv1d(2, 30, 3), activation_module(CRELU), nn.MaxPool1d(2), nn.Conv1d(30, 30, 3), activation_module(CRELU),
        nn.Flatten(), nn.Linear(60, 3),
    )  # fmt: skip
    init_(pool, CRELU, batch=inputs(4, 2, 10), generator=seeded())
    first, second = diagnose(pool, inputs(4, 2, 10), CRELU).layers
    assert (first.note, second.note) == ("", "more than an activation before it")
    assert first.zeros.low is None  # pooling takes zeros away


def test_other_layers_have_no_theory():
    phi = activation_module(CRELU)
    grouped = nn.Sequential(nn.Conv1d(2, 8, 3), phi, nn.Conv1d(8, 8, 3, groups=2), phi, nn.Flatten(), nn.Linear(48, 3))
    assert [layer.note for layer in diagnose(grouped, inputs(4, 2, 10), CRELU).layers] == ["", "grouped"]
    linear = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 30), phi, nn.Linear(30, 3))
    assert [layer.note for layer in diagnose(linear, X, CRELU).layers] == ["", "no activation before it"]
    shared = nn.Linear(30, 30)
    twice = nn.Sequential(nn.Linear(20, 30), phi, shared, phi, shared, phi, nn.Linear(30, 3))
    assert diagnose(twice, X, CRELU).layers[1].note == "called 2 times"
    border = nn.Sequential(
        BorderScaled(nn.Conv1d(2, 8, 3, padding=1)), phi, nn.Conv1d(8, 8, 3), phi, nn.Conv1d(8, 2, 3)
    )
    notes = {layer.name: layer.note for layer in diagnose(border, inputs(4, 2, 10), CRELU).layers}
    assert notes == {"0.conv": "scaled at the border", "2": "behind what theory does not cover"}


# The model is left as it was


class Noisy(nn.Module):
    """Uses random numbers, a buffer and dropout, and may fail."""

    def __init__(self, fails=False):
        super().__init__()
        self.first, self.norm, self.drop = nn.Linear(20, 30), nn.BatchNorm1d(30), nn.Dropout(0.5)
        self.last, self.fails = nn.Linear(30, 4), fails
        self.hidden = nn.Linear(30, 30)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x))) + torch.randn(30)
        x = torch.relu(self.hidden(self.drop(x)))
        if self.fails:
            raise RuntimeError("as asked")
        return self.last(x)


def state(model):
    tensors = {name: (t, t.detach().clone(), t._version) for name, t in model.state_dict(keep_vars=True).items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    return tensors, gradients, hooks, [m.training for m in model.modules()], torch.get_rng_state()


def assert_same_state(one, other):
    assert one[0].keys() == other[0].keys()
    assert all(torch.equal(one[0][name][1], other[0][name][1]) for name in one[0])
    assert all(one[0][name][0].data_ptr() == other[0][name][0].data_ptr() for name in one[0])
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True))
    assert one[2:4] == other[2:4]
    assert torch.equal(one[4], other[4])


@pytest.mark.parametrize("with_gradients", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("loss", [None, lambda y: 1 / 0])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(with_gradients, training, loss, fails):
    model = Noisy(fails).train(training)
    model.drop.train(not training)
    if with_gradients:
        for p in model.parameters():
            p.grad = torch.randn_like(p)
    before, x = state(model), X.clone().requires_grad_()
    if fails or loss:
        with pytest.raises((RuntimeError, ZeroDivisionError)):
            diagnose(model, x, CRELU, loss=loss)
    else:
        diagnose(model, x, CRELU)
    assert_same_state(before, state(model))
    assert x.grad is None
    assert torch.equal(x, X)


def test_gradients_may_be_off():
    model = sound().requires_grad_(False)
    with torch.no_grad():
        found = diagnose(model, X, CRELU)
    assert found.ok
    with torch.inference_mode():
        assert diagnose(model, X, CRELU).to_dict() == found.to_dict()


# Bad input


class Ungraphed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = sound()

    @torch.no_grad()
    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear(20, 5), X), "need a hidden layer, got 1 weight layer"),
        ((nn.ReLU(), X), "need a weight layer that the model calls, got none"),
        ((sound(), X[:1]), r"need two inputs or more, which make a pair, got \(1, 200\) behind '0'"),
        ((sound(), X[0]), r"need two inputs or more, which make a pair, got \(200,\) behind '0'"),
        ((sound(), X / 0), "need finite inputs, got NaN or infinity"),
        ((sound(), 0 * X), "need inputs that are not all zero, got only zeros at '0'"),
        ((nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 2)), X), "need the shape of '0', got a lazy layer"),
        ((Ungraphed(), X), "need an output that depends on a layer by the graph, got none"),
    ],
)
def test_bad_models_and_batches(arguments, message):
    with pytest.raises(ValueError, match=f"^diagnose: {message}"):
        diagnose(*arguments, CRELU)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"risk": 0.0}, r"need risk in \(0, 1\), got 0.0"),
        ({"risk": 1.0}, r"need risk in \(0, 1\), got 1.0"),
        ({"risk": math.nan}, r"need risk in \(0, 1\), got nan"),
        ({"input_mean_square": 0.0}, "need input_mean_square > 0, got 0.0"),
        ({"input_mean_square": math.nan}, "need input_mean_square > 0, got nan"),
        (
            {"loss": lambda y: y},
            r"need a loss .* got a tensor of shape \(16, 5\), with a graph",
        ),
        ({"loss": lambda y: y.sum().item()}, "need a loss that gives one number with a graph, got float"),
        ({"loss": lambda y: y.sum().detach()}, r"need a loss .* got a tensor of shape \(\), without a graph"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=f"^diagnose: {message}"):
        diagnose(sound(), X, CRELU, **options)


# The report


@pytest.fixture(scope="module")
def broken() -> Diagnosis:
    model = sound()
    scaled(model)
    return diagnose(model, X, CRELU)


def test_the_table_has_a_line_for_each_layer_and_a_conclusion(broken):
    lines = str(broken).splitlines()
    assert lines[0].split() == ["layer", "units", *QUANTITIES, "verdict"]
    assert [line.split()[0] for line in lines[1:9]] == [layer.name for layer in broken.layers]
    assert lines[4].endswith("weights too large")
    assert " > [" in lines[4]
    assert lines[-1] == "Goes wrong in '6', hidden layer 4 of 8: weights too large."
    assert str(diagnose(sound(), X, CRELU)).endswith("leaves one with probability 0.01 at most.")


def test_json_has_the_numbers_of_the_table(broken):
    fields = json.loads(json.dumps(broken.to_dict(), allow_nan=False))
    assert (fields["ok"], fields["first_bad"], fields["risk"]) == (False, "6", 0.01)
    row, layer = fields["layers"][3], broken.layers[3]
    assert row["gain"] == {"measured": layer.gain.measured, "theory": 1, "low": layer.gain.low, "high": layer.gain.high}
    assert row["verdict"] == "weights too large"
    assert row["faults"] == [*layer.faults]


def test_json_has_no_number_that_is_none():
    model = sound()
    not_a_number(model)
    fields = json.loads(json.dumps(diagnose(model, X, CRELU).to_dict(), allow_nan=False))
    assert fields["layers"][3]["variance"] == {"measured": None, "theory": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("reading", "side"),
    [
        (Reading(1.0, 1.0, 0.5, 2.0), 0),
        (Reading(0.4, 1.0, 0.5, 2.0), -1),
        (Reading(2.5, 1.0, 0.5, 2.0), 1),
        (Reading(2.5), 0),
        (Reading(1e300, 1.0, 0.5, math.inf), 0),
        (Reading(math.nan, 1.0, 0.5, 2.0), 0),
    ],
)
def test_sides_of_a_band(reading, side):
    assert reading.side == side


def test_no_layers_that_theory_covers_need_no_chain():
    assert judged([], CRELU, (1.0,), 0.5, 0.01).layers == ()


# The figure


def drawn(axes) -> dict:
    return {line.get_label(): np.array(line.get_data(), dtype=float) for line in axes.get_lines()}


def test_the_figure_shows_readings_bands_and_the_bad_layer(broken):
    figure = diagnosis_figure(broken)
    figure.savefig("/dev/null", format="svg")
    for axes, name in zip(figure.axes, QUANTITIES, strict=False):
        curves, readings = drawn(axes), [getattr(layer, name) for layer in broken.layers]
        measured = np.array([r.measured for r in readings])
        shown = 1 - measured if name == "correlation" else measured
        assert curves["measured"].tolist() == [list(range(1, 9)), pytest.approx(shown.tolist())]
        assert curves["goes wrong here"][0].tolist() == [4, 4]
        outside = [k + 1 for k, r in enumerate(readings) if r.side]
        assert curves["outside"][0].tolist() == outside if outside else "outside" not in curves
        (band,) = (c for c in axes.collections if c.get_label() == "band of theory")
        corners = band.get_paths()[0].vertices
        ends = (readings[1].low, readings[1].high)
        for end in (1 - e for e in ends) if name == "correlation" else ends:
            assert np.isclose(corners, [2, end]).all(axis=1).any()
    assert figure.get_suptitle() == broken.conclusion
    assert {text.get_text() for text in figure.axes[-1].get_legend().get_texts()} == {
        "band of theory", "theory", "measured", "outside", "goes wrong here",
    }  # fmt: skip


@pytest.mark.parametrize("breaks", [dead, not_a_number, infinite, silent, lambda model: None])
def test_figures_of_any_network_are_drawn_without_a_warning(breaks):
    for model in (sound(), sound(mlp(20, 200, 200, 200, 200, 5)), sound(mlp(20, 30, 5))):
        if len(model) > BAD + 2:
            breaks(model)
        diagnosis_figure(diagnose(model, X, CRELU)).savefig("/dev/null", format="svg")


def test_zeros_and_infinite_ends_stay_in_the_figure():
    """Layers of zeros a decade below all else; bands without an end up to the edge."""
    model = mlp(20, *[200] * 6, 5)
    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, generator=seeded())
            nn.init.zeros_(layer.bias)
    axes = diagnosis_figure(diagnose(model, X, CRELU)).axes[0]
    assert axes.get_yscale() == "log"
    assert drawn(axes)["measured"][1].min() == pytest.approx(axes.get_ylim()[0])
    runaway = diagnose(sound(mlp(20, *[300] * 30, 5, design=RELU_TAU), 0, RELU_TAU), X, RELU_TAU)
    assert runaway.layers[-1].variance.high == math.inf
    figure = diagnosis_figure(runaway)
    figure.savefig("/dev/null", format="svg")
    (band,) = (c for c in figure.axes[0].collections if c.get_label() == "band of theory")
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(figure.axes[0].get_ylim()[1])
