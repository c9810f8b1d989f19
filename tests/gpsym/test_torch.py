import copy
import math
import pickle

import pytest
import torch
from torch import nn

import gpsym.torch as gt
from gpsym import Activation, edge_of_chaos, member, shifted_relu
from gpsym.branches import branches
from gpsym.members import MEMBERS, hard_swish, sign, squared_relu

DESIGNS = {
    "relu": edge_of_chaos("relu"),
    "shifted-relu": edge_of_chaos("relu-tau", sparsity=0.7),
    "soft-threshold": edge_of_chaos("st", sparsity=0.7),
    "clipped-relu": edge_of_chaos("crelu", sparsity=0.85, slope=0.7),
    "clipped-soft-threshold": edge_of_chaos("cst", sparsity=0.85, slope=0.7),
}
FUNCTIONS = {
    "shifted-relu": gt.functional.shifted_relu,
    "soft-threshold": gt.functional.soft_threshold,
    "clipped-relu": gt.functional.clipped_relu,
    "clipped-soft-threshold": gt.functional.clipped_soft_threshold,
}


def reference(design, x):
    """The activation by its definition in theory, apart from clamp terms."""
    tau, m = design.tau or 0.0, math.inf if design.m is None else design.m
    if design.activation in ("soft-threshold", "clipped-soft-threshold"):
        return x.sign() * (x.abs() - tau).clamp(0, m)
    return (x - tau).clamp(0, m)


def parameters(design):
    return [p for p in (design.tau, design.m) if p is not None]


@pytest.mark.parametrize("name", DESIGNS)
def test_modules_are_their_activation_with_exact_zeros(name):
    design = DESIGNS[name]
    module = gt.activation_module(design)
    x = torch.linspace(-6, 6, 100_001, dtype=torch.float64)
    torch.testing.assert_close(module(x), reference(design, x), rtol=0, atol=1e-15)
    assert torch.equal(module(x) == 0, reference(design, x) == 0)
    assert module.state_dict() == {}
    assert copy.deepcopy(module)(x).equal(module(x))
    if name in FUNCTIONS:
        assert FUNCTIONS[name](x, *parameters(design)).equal(module(x))


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_modules_keep_shape_and_dtype(name, dtype):
    x = torch.randn(2, 3, 4).to(dtype)
    y = gt.activation_module(DESIGNS[name])(x)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert gt.activation_module(DESIGNS[name])(torch.zeros(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("name", DESIGNS)
def test_gradient_is_one_on_the_linear_range_and_zero_elsewhere(name):
    design = DESIGNS[name]
    x = torch.linspace(-6, 6, 1001, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(gt.activation_module(design)(x).sum(), x)
    y = reference(design, x.detach())
    m = math.inf if design.m is None else design.m
    assert torch.equal(gradient, ((y != 0) & (y.abs() < m)).double())


def test_not_a_number_stays_one():
    for design in DESIGNS.values():
        assert gt.activation_module(design)(torch.tensor([math.nan])).isnan().all()


def test_representations():
    assert repr(gt.ClippedReLU(1.0, 2.0)) == "ClippedReLU(tau=1.0, m=2.0)"
    assert repr(gt.SoftThreshold(0.5)) == "SoftThreshold(tau=0.5)"
    assert repr(gt.PiecewisePolynomial(shifted_relu(1))) == "PiecewisePolynomial(knots=[1.0], pieces=[[], [-1.0, 1.0]])"
    assert repr(gt.PiecewisePolynomial(sign())) == "PiecewisePolynomial(knots=[0.0], pieces=[[-1.0], [1.0]])"


def test_any_piecewise_linear_activation():
    hat = Activation((-1, 0, 1), ((), (2, 2), (2, -2), ()))
    assert gt.PiecewisePolynomial(hat)(torch.tensor([-2.0, -0.5, 0.0, 0.25, 3.0])).tolist() == [0, 1, 2, 1.5, 0]
    constant = Activation((), ((3,),))
    assert gt.PiecewisePolynomial(constant)(torch.zeros(2)).tolist() == [3, 3]


# Any activation, by gpsym's exact values.

ANY = {name: member(name, **{str(p): 0.75 for p in make().parameters}) for name, make in MEMBERS.items()} | {
    "cubic": Activation((-1, 0, 2), ((2,), (1, -1), (1, "1/3", 0, "1/5"), ("49/15",))),
    "jumps": Activation((-2, 0, 1, 3), ((1, 1), (3, 1), (-2, 1), (0, 0, 3), (0, 0, 1))),
    "polynomial": Activation((), ((1, -2, 0, 3),)),
    "constant": Activation((), ((3,),)),
}


@pytest.mark.parametrize("name", ANY)
def test_every_activation_has_its_exact_values_jumps_included(name):
    phi = ANY[name]
    places = sorted({*(k / 8 for k in range(-72, 73)), *(float(t) for t in phi.knots)})
    x = torch.tensor(places, dtype=torch.float64)
    expected = torch.tensor([float(phi(place)) for place in places], dtype=torch.float64)
    torch.testing.assert_close(gt.PiecewisePolynomial(phi)(x), expected, rtol=1e-15, atol=1e-15)
    assert torch.equal(gt.PiecewisePolynomial(phi)(x) == 0, expected == 0)


def test_the_value_at_a_jump_lies_nearest_to_zero():
    """Between 1 and -2 that is 0, between -1 and 3 too; of -1 and 1, of 3 and 1 the limit that is nearer."""
    phi = ANY["jumps"]
    got = gt.PiecewisePolynomial(phi)(torch.tensor([-2.0, 0.0, 1.0, 3.0]))
    assert got.tolist() == [0.0, 0.0, 0.0, 9.0] == [float(phi(t)) for t in phi.knots]
    assert len(branches(phi)) == 8


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_activation_keeps_shape_dtype_and_nan(name, dtype):
    module = gt.PiecewisePolynomial(ANY[name])
    x = torch.randn(2, 3, 4).to(dtype)
    assert (module(x).shape, module(x).dtype) == (x.shape, dtype)
    assert module(torch.zeros(0, 3)).shape == (0, 3)
    if name != "constant":
        assert module(torch.tensor([math.nan, 1.0], dtype=dtype)).isnan().tolist() == [True, False]
    assert copy.deepcopy(module)(x).equal(module(x))
    assert pickle.loads(pickle.dumps(module))(x).equal(module(x))
    assert module.state_dict() == {}


@pytest.mark.parametrize("name", [name for name in ANY if name != "constant"])
def test_gradient_is_that_of_the_pieces(name):
    phi = ANY[name]
    places = [k / 7 for k in range(-60, 61)]
    knots = [float(t) for t in phi.knots]
    inside = [place for place in places if place not in knots]
    x = torch.tensor(inside, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(gt.PiecewisePolynomial(phi)(x).sum(), x)
    derivative = phi.derivative().function
    expected = torch.tensor([float(derivative(place)) for place in inside], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, rtol=1e-14, atol=1e-14)


def test_second_derivatives_and_what_overflows_elsewhere():
    """Far left of the knot the square overflows in half precision; a gradient of 0 times infinity would be NaN."""
    x = torch.tensor([-60000.0, -1.0, 2.0], dtype=torch.float16, requires_grad=True)
    (first,) = torch.autograd.grad(gt.PiecewisePolynomial(squared_relu())(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert (first.tolist(), second.tolist()) == ([0, 0, 4], [0, 0, 2])
    quintic = Activation((0,), ((0, 0, 0, 0, 0, 1), (0, 1)))
    edges = torch.tensor([math.inf, 1e30], requires_grad=True)
    (gradient,) = torch.autograd.grad(gt.PiecewisePolynomial(quintic)(edges).sum(), edges)
    assert gradient.tolist() == [1, 1]
    swish = torch.tensor([-math.inf, math.inf], requires_grad=True)
    (gradient,) = torch.autograd.grad(gt.PiecewisePolynomial(hard_swish())(swish).sum(), swish)
    assert gradient.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "torch_module"),
    [
        ("leaky-relu", nn.LeakyReLU()), ("hard-tanh", nn.Hardtanh()), ("relu6", nn.ReLU6()),
        ("hard-sigmoid", nn.Hardsigmoid()), ("hard-swish", nn.Hardswish()), ("identity", nn.Identity()),
        ("hard-shrink", nn.Hardshrink(0.75)), ("jump-relu", nn.Threshold(0.75, 0.0)),
        ("soft-threshold", nn.Softshrink(0.75)),
    ],
)  # fmt: skip
def test_members_that_torch_has_are_torchs(name, torch_module):
    x = torch.linspace(-8, 8, 1025, dtype=torch.float64)
    torch.testing.assert_close(gt.PiecewisePolynomial(ANY[name])(x), torch_module(x), rtol=1e-14, atol=1e-15)


def test_modules_of_designs():
    """Named ones where there are, else the general one."""
    names = {"relu": "ReLU", "leaky-relu": "PiecewisePolynomial", "squared-relu": "PiecewisePolynomial"}
    for name, kind in names.items():
        assert type(gt.activation_module(edge_of_chaos(name))).__name__ == kind
    squared = gt.activation_module(edge_of_chaos("squared-relu"))
    assert squared(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [0, 0, 9]


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="need tau >= 0, got tau = -1"):
        gt.SoftThreshold(-1.0)
    with pytest.raises(ValueError, match="need numbers for tau, got symbols"):
        gt.PiecewisePolynomial(shifted_relu())


class Network(nn.Module):
    """One of each kind of layer; the grouped convolution has fan-in 8 / 4 * 3 * 3."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(3, 8, 5)
        self.grouped = nn.Conv2d(8, 16, 3, groups=4)
        self.volume = nn.Conv3d(4, 8, 2)
        self.norm = nn.LayerNorm(5)
        self.dense = nn.Linear(50, 40)
        self.readout = nn.Linear(40, 10, bias=False)


def test_every_layer_gets_its_rule():
    design = DESIGNS["clipped-relu"]
    model = Network()
    norm = model.norm.weight.clone()
    report = gt.init_(model, design, input_mean_square=4.0, generator=torch.Generator().manual_seed(0))
    fan_in = {"first": 15, "grouped": 18, "volume": 32, "dense": 50, "readout": 40}
    assert {layer.name: layer.fan_in for layer in report} == fan_in
    assert [layer.role for layer in report] == ["first", "hidden", "hidden", "hidden", "readout"]
    for layer in report:
        variance = {"first": (1 - design.sigma_b2) / 4, "hidden": design.sigma_w2, "readout": 1}[layer.role]
        assert layer.weight_std == pytest.approx(math.sqrt(variance / layer.fan_in))
        assert layer.bias_std == (None if layer.role == "readout" else pytest.approx(math.sqrt(design.sigma_b2)))
    assert model.norm.weight.equal(norm)


def test_drawn_numbers_have_the_reported_deviation():
    model = nn.Sequential(nn.Linear(400, 400), nn.Linear(400, 400), nn.Linear(400, 400))
    report = gt.init_(model, DESIGNS["clipped-soft-threshold"], generator=torch.Generator().manual_seed(1))
    for layer, module in zip(report, model, strict=True):
        n = module.weight.numel()
        # The variance estimate of n normals has relative standard error sqrt(2 / n); four of them.
        assert module.weight.square().mean().item() == pytest.approx(layer.weight_std**2, rel=4 * math.sqrt(2 / n))
    assert not model[-1].bias.any()


def test_the_generator_decides():
    def weights(seed):
        model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
        gt.init_(model, DESIGNS["relu"], generator=torch.Generator().manual_seed(seed))
        return model[0].weight

    assert weights(0).equal(weights(0))
    assert not weights(0).equal(weights(1))


def test_rules_can_be_overridden():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    report = gt.init_(model, DESIGNS["relu"], first=gt.Rule(5.0, 0.25), readout=gt.Rule(0.0, 4.0))
    assert [(r.weight_std, r.bias_std) for r in report] == [(1.0, 0.5), (0.0, 2.0)]
    assert not model[1].weight.any()


@pytest.mark.parametrize(("weight", "bias"), [(-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_bad_rules_are_refused(weight, bias):
    with pytest.raises(ValueError, match="0 and finite, got"):
        gt.Rule(weight, bias)


def test_a_name_alone_makes_no_module():
    other = edge_of_chaos(Activation((0,), ((0, "1/2"), (0, 1)), name="relu"))
    assert gt.activation_module(other)(torch.tensor([-2.0])).item() == -1


@pytest.mark.parametrize("name", DESIGNS)
def test_a_wide_deep_network_has_the_designed_sparsity_and_variance(name):
    """Theory section 7: the layer variance moves by sigma_w2 sd(phi^2) / sqrt(width) a layer around the map."""
    design, width, depth = DESIGNS[name], 1000, 5
    layers = [nn.Linear(100, width)]
    for _ in range(depth - 1):
        layers += [gt.activation_module(design), nn.Linear(width, width)]
    model = nn.Sequential(*layers, gt.activation_module(design), nn.Linear(width, 1))
    gt.init_(model, design, generator=torch.Generator().manual_seed(0))
    x = torch.randn(20, 100, generator=torch.Generator().manual_seed(1))
    x *= 10 / x.norm(dim=1, keepdim=True)  # every input has mean square 1
    z = torch.randn(10**6, dtype=torch.float64) * math.sqrt(design.q_star)
    step = design.sigma_w2 * reference(design, z).square().std().item() / math.sqrt(width)
    # Slopes at most 1: deviations of the layers at most add up in square; four standard errors, input layer included.
    allowed = 4 * math.sqrt(depth) * math.hypot(step, math.sqrt(2 / width))
    with torch.no_grad():
        for module in model[:-1]:
            y = module(x)
            if not isinstance(module, nn.Linear):
                assert x.square().mean().item() == pytest.approx(design.q_star, abs=allowed)
                assert (y == 0).double().mean().item() == pytest.approx(design.sparsity, abs=allowed)
            x = y


@pytest.mark.parametrize(
    ("build", "options", "message"),
    [
        (lambda: nn.Linear(3, 3), {}, "at least two Linear or Conv layers, got 1"),
        (
            lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3, bias=False), nn.Linear(3, 3)),
            {},
            "need a bias in '1'",
        ),
        (
            lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), nn.Linear(3, 3)),
            {},
            "parametrization in '0' that keeps the weights it is assigned, got _SpectralNorm, which fixes the largest",
        ),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 0)), {}, r"weights in '1', got the shape \(0, 3\)"),
        (lambda: nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 3)), {}, "shape of '0', got a lazy layer"),
        (lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)), {"input_mean_square": 0.0}, "input_mean_square > 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature", "ignore:Initializing zero-element tensors")
def test_what_cannot_be_initialized_is_refused_before_anything_is_written(build, options, message):
    model = build()
    before = [p.clone() for p in model.parameters() if not isinstance(p, nn.parameter.UninitializedParameter)]
    with pytest.raises(ValueError, match=message):
        gt.init_(model, DESIGNS["clipped-relu"], **options)
    after = [p for p in model.parameters() if not isinstance(p, nn.parameter.UninitializedParameter)]
    assert all(a.equal(b) for a, b in zip(before, after, strict=True))
