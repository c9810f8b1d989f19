"""sparsify_: which activations are swapped, what the model then computes, and which variances it has."""

import copy
import math
import pickle

import pytest
import torch
from scipy.stats import beta
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import gpsym.torch as gt
from gpsym import edge_of_chaos
from gpsym.layers import residual

CRELU = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
CST = edge_of_chaos("cst", sparsity=0.7, slope=0.7, q_star=4.0)


pytestmark = pytest.mark.usefixtures("one_thread")


def mlp(*activations, width=30):
    """A weight layer, then an activation and a weight layer for each."""
    pairs = [(activation, nn.Linear(width, width)) for activation in activations]
    return nn.Sequential(nn.Linear(width, width), *(module for pair in pairs for module in pair))


def names(report):
    return [swapped.name for swapped in report.swapped]


def why(report):
    return {skipped.name: skipped.why for skipped in report.left}


def assert_near(values, expected):
    """Within four standard errors of the mean over networks, (networks,) or (networks, layers)."""
    values = torch.as_tensor(values, dtype=torch.float64)
    error = values.std(0) / math.sqrt(len(values))
    assert ((values.mean(0) - expected).abs() < 4 * error).all(), (values.mean(0), error)
    assert (error < 0.05).all()


# Which activations

HIDDEN = [
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(), nn.RReLU(), nn.ELU(), nn.CELU(), nn.SELU(), nn.GELU(), nn.SiLU(), nn.Mish(),
    nn.Hardswish(), nn.Softshrink(), nn.Hardshrink(), nn.Tanhshrink(), nn.Threshold(0.1, 0), nn.ReLU(inplace=True),
    gt.ClippedReLU(1, 1), gt.SoftThreshold(1),
]  # fmt: skip
EITHER = [nn.Tanh(), nn.Hardtanh(), nn.Softsign(), nn.Softplus()]
NEVER = [nn.Sigmoid(), nn.Hardsigmoid(), nn.LogSigmoid(), nn.Softmax(-1), nn.LogSoftmax(-1), nn.Softmin(-1)]


@pytest.mark.parametrize("activation", [*HIDDEN, *EITHER], ids=str)
def test_hidden_activations_are_swapped(activation):
    model = mlp(activation)
    keys = list(model.state_dict())
    report = gt.sparsify_(model, CRELU, batch=torch.randn(8, 30))
    assert isinstance(model[1], gt.ClippedReLU)
    assert (model[1].tau, model[1].m) == (CRELU.tau, CRELU.m)
    assert [(s.name, s.old, s.new) for s in report.swapped] == [("1", type(activation).__name__, "ClippedReLU")]
    assert list(model.state_dict()) == keys
    assert repr(copy.deepcopy(model)) == repr(model)


@pytest.mark.parametrize("activation", EITHER, ids=str)
def test_without_a_batch_what_may_be_an_output_is_left(activation):
    report = gt.sparsify_(mlp(nn.ReLU(), activation), CRELU)
    assert (names(report), list(why(report))) == (["1"], ["3"])
    assert "pass a batch" in why(report)["3"]
    assert names(gt.sparsify_(mlp(nn.ReLU(), activation), CRELU, swap="3")) == ["1", "3"]


@pytest.mark.parametrize("activation", NEVER, ids=str)
def test_gates_and_probabilities_are_left(activation):
    report = gt.sparsify_(mlp(nn.ReLU(), activation), CRELU, batch=torch.randn(8, 30))
    assert (names(report), list(why(report))) == (["1"], ["3"])


class Swish(nn.Module):
    """As other libraries have it."""

    def forward(self, x):
        return x * torch.sigmoid(x)


class SiluAndMultiply(nn.Module):
    def forward(self, x):
        u, v = x.chunk(2, -1)
        return F.silu(u) * v


def test_classes_of_other_libraries_are_known_by_name_and_by_what_they_do():
    assert names(gt.sparsify_(mlp(Swish()), CRELU)) == ["1"]
    gated = nn.Sequential(nn.Linear(4, 8), SiluAndMultiply(), nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r"got '1.silu' \(silu\), whose output is multiplied with another branch"):
        gt.sparsify_(gated, CRELU)


def test_an_output_is_no_hidden_activation():
    report = gt.sparsify_(nn.Sequential(*mlp(nn.ReLU()), nn.ReLU()), CRELU, batch=torch.randn(8, 30))
    assert (names(report), why(report)) == (["1"], {"3": "no weight layer behind it: an output"})
    report = gt.sparsify_(nn.Sequential(nn.ReLU(), *mlp(nn.ReLU())), CRELU, batch=torch.randn(8, 30))
    assert list(why(report)) == ["0"]
    assert why(report)["0"].startswith("no weight layer or normalization in front")


def test_what_has_parameters_is_left_unless_named():
    model = mlp(nn.PReLU(), nn.ReLU(), gt.ClippedReLU(1, 1, learnable=True))
    report = gt.sparsify_(model, CRELU, batch=torch.randn(8, 30))
    assert (names(report), list(why(report))) == (["3"], ["1", "5"])
    assert "1.weight" in model.state_dict()
    assert names(gt.sparsify_(model, CRELU, batch=torch.randn(8, 30), swap=["1", "5"])) == ["1", "3", "5"]
    assert "1.weight" not in model.state_dict()


def test_recurrent_layers_are_left():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(6, 8), mlp(nn.ReLU(), width=8)

        def forward(self, x):
            return self.head(self.rnn(x)[0])

    report = gt.sparsify_(Recurrent(), CRELU, batch=torch.randn(3, 2, 6))
    assert (names(report), why(report)) == (["head.1"], {"rnn": "its activations are inside one call of torch"})


def test_one_activation_in_many_places_is_swapped_in_all():
    relu = nn.ReLU()
    model = mlp(relu, relu)
    model.again = relu
    report = gt.sparsify_(model, CRELU)
    assert names(report) == ["1"]
    assert model[1] is model[3] is model.again
    assert isinstance(model.again, gt.ClippedReLU)


def test_leave_and_swap_take_names_and_patterns():
    model = nn.Sequential(mlp(nn.ReLU()), mlp(nn.Identity()), mlp(nn.GELU(), nn.ReLU()))
    report = gt.sparsify_(model, CRELU, leave=["0", "*.3"], swap="1.1")
    assert (names(report), why(report)) == (["1.1", "2.1"], {"0.1": "as leave says", "2.3": "as leave says"})
    with pytest.raises(ValueError, match="need names of modules in leave, got 'zero', which fits none"):
        gt.sparsify_(model, CRELU, leave="zero")
    with pytest.raises(ValueError, match="need names of modules in swap, got '9', which fits none"):
        gt.sparsify_(model, CRELU, swap=["1.1", "9"])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(3, 3), "need a hidden activation to swap, got none; name"),
        (mlp(nn.PReLU()), r"got none but 1 \(PReLU\): its parameters would go"),
        (nn.ReLU(), "need a model that holds its activations, got ReLU"),
        (nn.Sequential(nn.Linear(4, 8), nn.GLU(), nn.Linear(4, 4)), r"got '1' \(GLU\), whose output is multiplied"),
        (mlp(nn.ReLU()).to("meta"), "need memory for the parameters, got the meta device"),
    ],
    ids=["none", "PReLU", "root", "GLU", "meta"],
)
def test_what_cannot_be_swapped_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        gt.sparsify_(model, CRELU)


def test_on_the_meta_device_activations_alone_can_be_swapped():
    model = mlp(nn.ReLU()).to("meta")
    assert names(gt.sparsify_(model, CRELU, initialise=False)) == ["1"]


# Functions


def act(x):
    return F.silu(x)


class Functional(nn.Module):
    """Activations as functions, as methods, in place, in a helper, held, and under control flow by the mode."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(20 if i == 0 else 90, 90 if i < 6 else 20) for i in range(7))
        self.held, self.p, self.scale = F.gelu, 0.5, nn.Parameter(torch.ones(90))

    def helper(self, x):
        return torch.tanh(x)

    def forward(self, x):
        x = F.relu(self.layers[0](x))
        x = self.layers[1](x).relu()
        x = self.layers[2](F.dropout(x, self.p, self.training))
        F.relu(x, inplace=True)
        x = self.layers[3](x)
        x = self.layers[4](self.helper(x))
        x = self.layers[5](act(x) * self.scale)
        return self.layers[6](self.held(x))


def by_hand(model, phi, x):
    """What the swapped model is to compute, without dropout."""
    for layer in model.layers[:-1]:
        x = phi(layer(x))
    return model.layers[-1](x)


def test_functions_are_swapped_wherever_they_are_called():
    model, x = Functional(), torch.randn(9, 20)
    keys, kind = list(model.state_dict()), type(model)
    report = gt.sparsify_(model, CRELU, batch=x)
    assert names(report) == ["held", "relu", "relu_1", "relu_2", "tanh", "silu"]
    assert all(swapped.zeros > 0.5 for swapped in report.swapped)
    assert (report.left, list(model.state_dict()), isinstance(model, kind)) == ((), keys, True)
    phi = gt.activation_module(CRELU)
    torch.testing.assert_close(model.eval()(x), by_hand(model, phi, x))
    copied = copy.deepcopy(model)
    with torch.no_grad():
        model.layers[0].weight.zero_()
    torch.testing.assert_close(copied(x), by_hand(copied, phi, x))
    assert not torch.equal(copied.train()(x), copied(x)), "dropout is random while training"
    assert gt.sparsify_(copied, CST, batch=x).swapped[0].old == "ClippedReLU"


def test_a_functional_model_compiles_and_refuses_to_be_pickled():
    model, x = Functional().eval(), torch.randn(9, 20)
    gt.sparsify_(model, CRELU, batch=x)
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(model)


class Optional(nn.Module):
    def __init__(self, by_argument):
        super().__init__()
        self.a, self.b, self.by_argument = nn.Linear(20, 20), nn.Linear(20, 20), by_argument

    def forward(self, x, mask=None):
        x = F.relu(self.a(x))
        if self.by_argument and mask is not None:
            x = x + mask
        return self.b(x)


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x) if len(x) > 3 else x


def test_forwards_that_cannot_be_followed_are_left_and_named():
    assert names(gt.sparsify_(Optional(False), CRELU)) == ["relu"]
    model = nn.Sequential(mlp(nn.ReLU(), width=20), Optional(True))
    report = gt.sparsify_(model, CRELU)
    assert names(report) == ["0.1"]
    assert why(report) == {"1": "calls activations, but what it does depends on whether mask is given"}
    torch.testing.assert_close(
        model[1](torch.ones(2, 20), torch.ones(20)), model[1].b(model[1].a(torch.ones(2, 20)).relu() + 1)
    )
    assert why(gt.sparsify_(nn.Sequential(mlp(Counted())), CRELU)) == {}, "it calls a child, which is swapped"
    model[1].forward = lambda x: x
    assert why(gt.sparsify_(model, CRELU))["1"].startswith("calls activations, but its forward was replaced")


def test_functions_can_be_left_by_name():
    report = gt.sparsify_(Functional(), CRELU, batch=torch.randn(9, 20), leave=["relu_1", "held"])
    assert names(report) == ["relu", "relu_2", "tanh", "silu"]
    assert why(report) == {"held": "as leave says", "relu_1": "as leave says"}


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", [F.relu, "gelu", nn.ReLU()], ids=["function", "name", "module"])
def test_a_transformer_encoder_computes_the_same_in_both_modes(activation, norm_first):
    """Its kernels for evaluation have ReLU or GELU built in, and must not be taken."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, activation, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    x = torch.randn(2, 5, 16)
    report = gt.sparsify_(model, CRELU, batch=x)
    assert names(report) == ["layers.0.activation", "layers.1.activation"]
    for swapped in (model, copy.deepcopy(model)):
        with torch.no_grad():
            for options in ({}, {"src_key_padding_mask": padding}):
                trained, evaluated = swapped.train()(x, **options), swapped.eval()(x, **options)
                torch.testing.assert_close(trained, evaluated)
    seen = []
    model.layers[0].activation.register_forward_hook(lambda *_: seen.append(1))
    model(x)
    assert seen


# Gates


class Gate(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.u, self.v, self.w, self.act = nn.Linear(20, 20), nn.Linear(20, 20), nn.Linear(20, 20), nn.SiLU()
        self.scale, self.kind, self.drop = nn.Parameter(torch.ones(20)), kind, nn.Dropout()

    def forward(self, x):
        y = self.act(self.u(x))
        if self.kind == "product":
            y = self.drop(y) * self.v(x)
        elif self.kind == "attention":
            y = y @ (self.v(x).transpose(-1, -2) @ self.v(x))
        elif self.kind == "squeeze":
            y = y * torch.sigmoid(self.v(y.mean(-2, keepdim=True)))
        elif self.kind == "itself":
            y = y * torch.rsqrt(y.square().mean(-1, keepdim=True))
        elif self.kind == "scale":
            y = self.scale * y * 0.5
        elif self.kind == "both":
            y = self.act(self.v(x)) * y
        return self.w(y)


def state(model):
    return (
        repr(model),
        [type(module) for module in model.modules()],
        {k: v.clone() for k, v in model.state_dict().items()},
    )


def assert_unchanged(model, before):
    assert state(model)[:2] == before[:2]
    assert all(torch.equal(tensor, before[2][key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("batch", [True, False], ids=["batch", "no batch"])
@pytest.mark.parametrize("kind", ["product", "attention", "squeeze", "both"])
def test_gates_are_refused_and_nothing_is_changed(kind, batch):
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), Functional(), nn.BatchNorm1d(20), nn.ReLU(), Gate(kind))
    before = state(model)
    message = rf"got '{len(model) - 1}.act' \(SiLU\), whose output is multiplied with another branch: a gate"
    with pytest.raises(ValueError, match=message):
        gt.sparsify_(model, CRELU, batch=torch.randn(9, 20) if batch else None)
    assert_unchanged(model, before)
    assert names(gt.sparsify_(model, CRELU, batch=torch.randn(9, 20), leave="*.act"))[0] == "1"


@pytest.mark.parametrize("kind", ["itself", "scale"])
def test_scales_and_norms_of_an_activation_are_no_gates(kind):
    assert names(gt.sparsify_(Gate(kind), CRELU)) == ["act"]
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), Gate(kind))
    assert names(gt.sparsify_(model, CRELU, batch=torch.randn(9, 20))) == ["1", "2.act"]


def test_a_hyperbolic_gate_is_left():
    model = Gate("product")
    model.act = nn.Tanh()
    report = gt.sparsify_(nn.Sequential(mlp(nn.ReLU(), width=20), model), CRELU, batch=torch.randn(9, 20))
    assert why(report) == {"1.act": "multiplied with another branch: a gate"}


# Variances

CIRCULAR = {"padding": 1, "padding_mode": "circular"}
PLAIN = {
    "mlp": lambda: mlp(nn.GELU(), nn.ReLU(), nn.SiLU(), nn.ELU(), width=200),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(3, 64, 3, **CIRCULAR), nn.ReLU(), nn.Conv2d(64, 64, 3, **CIRCULAR), nn.GELU(), nn.Flatten(),
        nn.Linear(64**2, 5),
    ),
    "functional": lambda: nn.Sequential(nn.Linear(20, 200), Wide()),
}  # fmt: skip
INPUTS = {"mlp": (200,), "cnn": (3, 8, 8), "functional": (20,)}


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(200, 200), nn.Linear(200, 5)

    def forward(self, x):
        return self.b(F.relu(self.a(F.relu(x))))


@pytest.mark.parametrize("design", [CRELU, CST], ids=["crelu", "cst, q_star 4"])
@pytest.mark.parametrize("name", PLAIN)
def test_every_activation_has_the_zeros_and_the_variance_of_the_design(name, design):
    zeros, variances = [], []
    for seed in range(40):
        torch.manual_seed(seed)
        report = gt.sparsify_(PLAIN[name](), design, batch=torch.randn(4, *INPUTS[name]))
        zeros.append([swapped.zeros for swapped in report.swapped])
        variances.append([swapped.variance / design.q_star for swapped in report.swapped])
        assert report.zeros == pytest.approx(sum(zeros[-1]) / len(zeros[-1]))
    assert_near(zeros, design.sparsity)
    assert_near(variances, 1.0)


def test_what_is_reported_is_what_the_model_does():
    model, x = mlp(nn.ReLU(), nn.GELU(), width=100), torch.randn(16, 100)
    report = gt.sparsify_(model, CRELU, batch=x)
    for i, swapped in zip((1, 3), report.swapped, strict=True):
        assert swapped.zeros == pytest.approx((model[: i + 1](x) == 0).double().mean().item())
        assert swapped.variance == pytest.approx(model[:i](x).square().mean().item(), rel=1e-5)  # float32


# (normalization of n units, dimension of the sphere that it maps a group of numbers to)
NORMS = {
    "batch": (nn.BatchNorm1d, lambda rows, n: rows - 1),
    "layer": (nn.LayerNorm, lambda rows, n: n - 1),
    "rms": (nn.RMSNorm, lambda rows, n: n),
    "group": (lambda n: nn.GroupNorm(2, n), lambda rows, n: n // 2 - 1),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_normalization_before_an_activation_is_scaled_to_the_design(name):
    """Normal numbers become a point z on a sphere: z_i^2 / (q_star k) is Beta(1/2, (k - 1)/2), in k dimensions.

    For large k that is normal, and the sparsity that of the design; eps = 1e-5 is below the standard error.
    """
    norm, dimension = NORMS[name]
    zeros, rows, n = [], 100, 200
    for seed in range(40):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(n, n), norm(n), nn.ReLU(), nn.Linear(n, 5))
        report = gt.sparsify_(model, CST, batch=torch.randn(rows, n))
        (swapped,) = report.swapped
        assert swapped.variance == pytest.approx(CST.q_star, rel=1e-4)
        assert swapped.note == "normalized in front, with the scale 2"
        assert model[1].weight.eq(2).all()
        zeros.append(swapped.zeros)
    k = dimension(rows, n)
    expected = beta.cdf(CST.tau**2 / CST.q_star / k, 0.5, (k - 1) / 2)
    assert_near(zeros, expected)
    assert expected == pytest.approx(CST.sparsity, abs=0.005)


def test_a_normalization_without_a_scale_serves_q_star_one_only():
    def model():
        return nn.Sequential(nn.Linear(50, 200), nn.BatchNorm1d(200, affine=False), nn.ReLU(), nn.Linear(200, 5))

    assert gt.sparsify_(model(), CRELU, batch=torch.randn(64, 50)).zeros == pytest.approx(0.85, abs=0.03)
    behind = stack("behind", 1)
    behind[3].norm2 = nn.BatchNorm1d(200, affine=False)
    report = gt.sparsify_(behind, CRELU, batch=torch.randn(64, 200))
    assert report.swapped[1].note.endswith("added to an activation, the normalization in front stays")
    for refused, inputs in ((model(), 50), (behind, 200)):
        before = state(refused)
        with pytest.raises(ValueError, match="need a scale 2 in BatchNorm1d, which feeds an activation"):
            gt.sparsify_(refused, CST, batch=torch.randn(64, inputs))
        assert_unchanged(refused, before)


class Block(nn.Module):
    """A residual block with its activation in the branch, or behind the sum as in ResNets."""

    def __init__(self, n, kind):
        super().__init__()
        self.v, self.w, self.kind = nn.Linear(n, n), nn.Linear(n, n), kind
        self.act, self.norm1, self.norm2 = nn.ReLU(), nn.BatchNorm1d(n), nn.BatchNorm1d(n)

    def forward(self, x):
        if self.kind == "two layers":
            return x + self.w(self.act(self.v(x)))
        if self.kind == "one layer":
            return torch.add(self.w(F.relu(x)), x)
        y = self.norm2(self.w(self.act(self.norm1(self.v(x)))))
        y += x
        return self.act(y)


def stack(kind, depth, n=200):
    """Blocks between two layers; inputs are many, as with few their norms would differ."""
    head = [nn.Linear(n, n)] if kind != "behind" else [nn.Linear(n, n), nn.BatchNorm1d(n), nn.ReLU()]
    return nn.Sequential(*head, *(Block(n, kind) for _ in range(depth)), nn.Linear(n, 3))


@pytest.mark.parametrize("kind", ["one layer", "two layers"])
@pytest.mark.parametrize("design", [CRELU, CST], ids=["crelu", "cst, q_star 4"])
def test_mixed_residual_sums_keep_the_variance(kind, design):
    """6 layers that act as 2: every activation has the zeros of the design."""
    zeros, alpha = [], residual.mixing(6, 2)
    for seed in range(20):
        torch.manual_seed(seed)
        model = stack(kind, 6)
        report = gt.sparsify_(model, design, batch=torch.randn(4, 200), alpha=alpha)
        assert report.mixed == tuple(f"{i}.add" for i in range(1, 7))
        zeros.append([swapped.zeros for swapped in report.swapped])
    assert_near(zeros, design.sparsity)
    x = torch.randn(4, 200)
    h = model[0](x)
    branch = model[1].w(gt.activation_module(design)(h if kind == "one layer" else model[1].v(h)))
    torch.testing.assert_close(model[1](h), math.sqrt(1 - alpha**2) * h + alpha * branch)


def test_without_alpha_residual_sums_stay():
    """Each branch adds q_star, as long as the variance is near it: 1, 2."""
    found = []
    for seed in range(40):
        torch.manual_seed(seed)
        report = gt.sparsify_(stack("two layers", 2), CRELU, batch=torch.randn(4, 200))
        found.append([swapped.variance for swapped in report.swapped])
    assert_near(found, torch.tensor([1.0, 2.0], dtype=torch.float64))


@pytest.mark.parametrize("design", [CRELU, CST], ids=["crelu", "cst, q_star 4"])
def test_activations_behind_sums_get_their_variance_by_the_normalization_in_the_sum(design):
    """Mean 0 to rounding; mean square q_star but for the correlation of skip connection and branch, 1 %.

    The sum is not normal, and batch normalization makes units of different kurtosis: zeros within 0.04.
    """
    model, x, means = stack("behind", 3), torch.randn(256, 200), []
    report = gt.sparsify_(model, design, batch=x)
    assert len(report.swapped) == 4
    for swapped in report.swapped:
        assert swapped.variance == pytest.approx(design.q_star, rel=0.01)
    assert report.zeros == pytest.approx(design.sparsity, abs=0.04)
    assert "added to an activation" in report.swapped[1].note
    for block in model[3:6]:
        block.act.register_forward_pre_hook(lambda _, args: means.append(args[0].mean().item()))
    model(x)
    assert len(means) == 6
    assert max(map(abs, means)) < 1e-4


class Joined(nn.Module):
    """A sum of two normalized layers, as where the skip connection of a ResNet changes the width, or of one."""

    def __init__(self, both):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(200, 200), nn.Linear(200, 200), nn.Linear(200, 5)
        self.one, self.other = nn.BatchNorm1d(200), nn.BatchNorm1d(200) if both else nn.Identity()

    def forward(self, x):
        return self.c(F.relu(self.one(self.a(x)) + self.other(self.b(x))))


def test_normalizations_that_are_added_up_share_the_variance():
    """Mean square q_star but for the correlation of two random units over 500 rows, 1/sqrt(500 x 200) = 0.3 %."""
    model = Joined(True)
    (swapped,) = gt.sparsify_(model, CST, batch=torch.randn(500, 200)).swapped
    assert swapped.variance == pytest.approx(CST.q_star, rel=0.02)
    assert torch.equal(model.one.weight, model.other.weight)
    assert swapped.note == "normalized in front, with the scale 1.414"
    model = Joined(False)
    (swapped,) = gt.sparsify_(model, CST, batch=torch.randn(500, 200)).swapped
    assert swapped.note == "in front a normalization and other layers are added: the variance is not q_star"
    assert model.one.weight.eq(1).all()


def test_alpha_is_refused_where_no_theory_speaks_of_it():
    with pytest.raises(ValueError, match=r"need alpha in \(0, 1\], got 2"):
        gt.sparsify_(stack("one layer", 1), CRELU, alpha=2)
    with pytest.raises(ValueError, match="need a sum of a skip connection and a branch with an activation for alpha"):
        gt.sparsify_(mlp(nn.ReLU()), CRELU, alpha=0.5)
    model = stack("behind", 2)
    before = state(model)
    with pytest.raises(ValueError, match="got one that carries the output of an activation"):
        gt.sparsify_(model, CRELU, batch=torch.randn(9, 200), alpha=0.5)
    assert_unchanged(model, before)


def weight_normed(layer):
    return parametrizations.weight_norm(layer)


@pytest.mark.parametrize("wrap", [lambda layer: layer, weight_normed], ids=["plain", "weight_norm"])
def test_layers_that_a_left_activation_feeds_take_its_measured_mean_square(wrap):
    zeros, variances = [], []
    for seed in range(40):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(50, 200), nn.Sigmoid(), wrap(nn.Linear(200, 200)), nn.ReLU(), nn.Linear(200, 5))
        report = gt.sparsify_(model, CRELU, batch=torch.randn(4, 50))
        zeros.append(report.swapped[0].zeros)
        variances.append(model[2].weight.detach().square().mean().item() * 200)
        assert report.init[1].weight_std ** 2 * 200 == pytest.approx(variances[-1], rel=0.05)  # of 40000 numbers
    assert_near(zeros, CRELU.sparsity)


# Options


def test_weights_stay_if_they_are_wanted():
    model, x = mlp(nn.ReLU(), nn.ReLU()), torch.randn(8, 30)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    report = gt.sparsify_(model, CRELU, initialise=False, batch=x)
    assert report.init is None
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert [swapped.zeros for swapped in report.swapped] == [
        pytest.approx((model[:i](x) == 0).double().mean().item()) for i in (2, 4)
    ]
    with pytest.raises(ValueError, match="need initialise=True for generator, got False"):
        gt.sparsify_(model, CRELU, initialise=False, generator=torch.Generator())


def test_options_are_those_of_init_():
    one, other = mlp(nn.ReLU(), nn.GELU()), mlp(*[gt.activation_module(CRELU)] * 2)
    report = gt.sparsify_(
        one, CRELU, generator=torch.Generator().manual_seed(3), input_mean_square=4.0, rules={"2": None}
    )
    with torch.no_grad():
        other[2].load_state_dict(one[2].state_dict())
    expected = gt.init_(
        other, CRELU, generator=torch.Generator().manual_seed(3), input_mean_square=4.0, rules={"2": None}
    )
    assert report.init == expected
    assert all(map(torch.equal, one.parameters(), other.parameters()))


def test_rules_of_the_caller_go_before_others():
    model, x = stack("two layers", 2), torch.randn(4, 200)
    before = model[2].v.weight.detach().clone()
    report = gt.sparsify_(model, CRELU, batch=x, rules={"2": None})
    assert torch.equal(model[2].v.weight, before)
    assert [skipped.name for skipped in report.init.skipped if skipped.why == "as rules say"] == ["2.v", "2.w"]


def test_what_init_refuses_changes_nothing():
    model = nn.Sequential(nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 20, bias=False), nn.ReLU(), Functional())
    before = state(model)
    with pytest.raises(ValueError, match="init_: need a bias in '2'"):
        gt.sparsify_(model, CRELU, batch=torch.randn(9, 20))
    assert_unchanged(model, before)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        gt.sparsify_(model, CRELU, batch=torch.randn(9, 7))
    assert_unchanged(model, before)


def test_modes_and_buffers_stay():
    model = nn.Sequential(nn.Linear(20, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 20)).eval()
    gt.sparsify_(model, CRELU, batch=torch.randn(9, 20))
    assert not any(module.training for module in model.modules())
    assert model[1].num_batches_tracked == 0
    assert torch.equal(model[1].running_mean, torch.zeros(20))


def test_a_swapped_model_trains():
    model, x = nn.Sequential(Functional(), nn.ReLU(), Block(20, "two layers"), nn.Linear(20, 1)), torch.randn(64, 20)
    gt.sparsify_(model, CRELU, batch=x)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(100):
        loss = (model(x) - x[:, :1]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "norm" not in name)
    assert losses[-1] < 0.5 * losses[0]


def test_the_report_prints_as_tables():
    model = nn.Sequential(*mlp(nn.ReLU(), nn.Sigmoid(), width=20), Block(20, "two layers"), nn.Linear(20, 2))
    text = str(gt.sparsify_(model, CRELU, batch=torch.randn(9, 20), alpha=0.5))
    lines = text.splitlines()
    assert lines[0].split() == ["swapped", "was", "is", "zeros", "variance", "note"]
    assert lines[1].split()[:3] == ["1", "ReLU", "ClippedReLU"]
    assert lines[4].split() == ["design", "0.8500", "1.0000"]
    assert "3     Sigmoid  a gate or a probability, no hidden activation" in lines
    assert "5.add" in lines
    assert text.endswith(str(gt.sparsify_(model, CRELU, batch=torch.randn(9, 20)).init).splitlines()[-1])
