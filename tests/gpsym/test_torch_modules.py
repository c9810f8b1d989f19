"""What the activation modules owe PyTorch: derivatives, low precision, transforms, compilers, learned parameters."""

import copy
import math
import pickle
from importlib.util import find_spec

import pytest
import torch
from torch import nn

import gpsym.torch as gt
from gpsym import Activation, member
from gpsym.torch import functional

MAKE = {
    "shifted-relu": lambda **o: gt.ShiftedReLU(1.036, **o),
    "soft-threshold": lambda **o: gt.SoftThreshold(1.44, **o),
    "clipped-relu": lambda **o: gt.ClippedReLU(1.036, 1.17, **o),
    "clipped-soft-threshold": lambda **o: gt.ClippedSoftThreshold(1.44, 1.002, **o),
}
TWO_SIDED = ("soft-threshold", "clipped-soft-threshold")
FOUR = pytest.mark.parametrize("name", MAKE)
# Also where the output alone is kept for the gradient, which is for large tensors.
ALL_SIZES = pytest.mark.parametrize("large", [1, 2**18], ids=["as-large", "as-small"])


def sample(n=64, dtype=torch.float64, seed=0):
    return 2 * torch.randn(n, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@ALL_SIZES
@FOUR
@pytest.mark.filterwarnings("ignore:There is a performance drop", "ignore:Converting a tensor with requires_grad")
def test_derivatives_forward_backward_twice_and_in_batches(name, large, monkeypatch):
    monkeypatch.setattr(functional, "LARGE", large)
    module, x = MAKE[name](), sample().requires_grad_()
    checks = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
    assert torch.autograd.gradcheck(module, (x,), **checks)
    assert torch.autograd.gradgradcheck(lambda x: module(x) ** 3, (x,))


@ALL_SIZES
@FOUR
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_torch_func(name, large, monkeypatch):
    monkeypatch.setattr(functional, "LARGE", large)
    module, rows = MAKE[name](), sample(60).reshape(3, 20)

    def loss(x):
        return module(x).pow(3).sum()

    linear = (module(rows) != 0) & (module(rows).abs() < (module.m or math.inf))
    gradient = torch.func.vmap(torch.func.grad(loss))(rows)
    torch.testing.assert_close(gradient, 3 * module(rows) ** 2 * linear)
    hessian = torch.func.vmap(torch.func.hessian(loss))(rows)
    torch.testing.assert_close(hessian, torch.diag_embed(6 * module(rows) * linear))
    value, tangent = torch.func.jvp(module, (rows,), (torch.ones_like(rows),))
    assert torch.equal(value, module(rows))
    assert torch.equal(tangent, linear.double())


@ALL_SIZES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("m", [1.17, 1.002, 1.0, 3e-3])
@pytest.mark.parametrize("name", ["clipped-relu", "clipped-soft-threshold"])
def test_zeros_and_saturation_are_exact_and_end_the_gradient(name, m, dtype, large, monkeypatch):
    monkeypatch.setattr(functional, "LARGE", large)
    module = type(MAKE[name]())(1.44, m)
    x = sample(4000).to(dtype).requires_grad_()
    y = module(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    top = torch.tensor(m).to(dtype) if dtype != torch.float64 else m
    assert y.abs().max() == top
    assert torch.equal(gradient, ((y != 0) & (y.abs() < top)).to(dtype))
    assert torch.equal(
        y == 0, (x.abs() if name in TWO_SIDED else x) <= torch.tensor(1.44, dtype=torch.float64).to(dtype)
    )


@ALL_SIZES
@FOUR
def test_the_gradient_at_a_knot_is_zero(name, large, monkeypatch):
    monkeypatch.setattr(functional, "LARGE", large)
    module = type(MAKE[name]())(*[1.0, 2.0][: 2 if MAKE[name]().m else 1])
    knots = torch.tensor([1.0, 3.0, -1.0, -3.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(module(knots).sum(), knots)
    clipped, odd = module.m is not None, name in TWO_SIDED
    assert gradient.tolist() == [0, 0 if clipped else 1, 0, 1 if odd and not clipped else 0]


BENT = [
    *(member(name) for name in ("leaky-relu", "abs", "hard-tanh")),
    member("prelu", a=-0.5),
    member("clipped-soft-threshold", tau=1, m=2),
    Activation((-2, -1, 0, 1, 3), ((2,), (0, -1), (2, 1), (2, 3), (4, 1), (10, -1)), name="zigzag"),
    Activation((0, 1, 2), ((0, "1/2"), (0, 2), (1, 1), (-3, 3)), name="bends"),
]


@pytest.mark.parametrize("phi", BENT, ids=lambda phi: phi.name)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_at_a_knot_is_the_number_nearest_to_zero_between_the_slopes(phi, dtype):
    knots = torch.tensor([float(t) for t in phi.knots], dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(gt.PiecewisePolynomial(phi)(knots).sum(), knots)
    slope = phi.derivative().function
    torch.testing.assert_close(gradient, torch.tensor([float(slope(t)) for t in phi.knots], dtype=dtype))


@pytest.mark.parametrize("name", ["clipped-relu", "clipped-soft-threshold"])
def test_the_output_alone_is_kept_for_the_gradient(name):
    x = sample(2**18, torch.float32).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = MAKE[name]()(x * 1.0)
    assert [t.untyped_storage().data_ptr() for t in kept] == [y.untyped_storage().data_ptr()]


@FOUR
@pytest.mark.parametrize("learnable", [False, True])
def test_compiled_whole_with_the_same_numbers(name, learnable):
    """Traced and differentiated by the compiler's front, and run by torch's kernels, which needs no C++ compiler."""
    torch._dynamo.reset()
    module = MAKE[name](learnable=learnable)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
    x = sample(1000, torch.float32).requires_grad_()
    assert torch.equal(compiled(x), module(x))
    wanted = [x, *module.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(compiled(x).sum(), wanted), torch.autograd.grad(module(x).sum(), wanted), strict=True
    ):
        assert torch.equal(ours, theirs)


@FOUR
@pytest.mark.parametrize("strict", [True, False])
def test_torch_export_gives_few_plain_operations(name, strict):
    model = nn.Sequential(nn.Linear(4, 3), MAKE[name]())
    exported = torch.export.export(
        model, (torch.randn(5, 4),), dynamic_shapes=({0: torch.export.Dim("n")},), strict=strict
    )
    x = sample(28, torch.float32).reshape(7, 4)
    assert torch.equal(exported.module()(x), model(x))
    operations = {str(node.target).split(".")[1] for node in exported.graph.nodes if node.op == "call_function"}
    assert operations <= {"linear", "sub", "relu_", "relu", "hardtanh", "softshrink"}


@FOUR
@pytest.mark.parametrize("learnable", [False, True])
def test_torch_fx_traces_it(name, learnable):
    model = nn.Sequential(nn.Linear(4, 3), MAKE[name](learnable=learnable))
    x = sample(28, torch.float32).reshape(7, 4)
    assert torch.equal(torch.fx.symbolic_trace(model)(x), model(x))


@FOUR
@pytest.mark.skipif(
    not all(map(find_spec, ("onnx", "onnxscript"))), reason="torch.onnx needs the packages onnx and onnxscript"
)
@pytest.mark.filterwarnings("ignore")
def test_onnx_export(name):
    from onnx.reference import ReferenceEvaluator

    module, x = MAKE[name](), sample(50, torch.float32)
    model = torch.onnx.export(module, (torch.zeros(50),), dynamo=True, verbose=False).model_proto
    (y,) = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x.numpy()})
    assert torch.equal(torch.from_numpy(y), module(x))


# Learned thresholds and clip levels


@FOUR
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_learnable_ones_begin_as_the_fixed_ones(name, dtype):
    fixed, learnable = MAKE[name](), MAKE[name](learnable=True).to(dtype)
    x = sample(500, dtype)
    # The parameters are made in float32, whose eps is 1.2e-7.
    torch.testing.assert_close(learnable(x), fixed(x), rtol=0, atol=5e-7)
    assert torch.equal(learnable(x) == 0, fixed(x) == 0)
    assert {p.rpartition("_")[2] for p in learnable.state_dict()} == set(fixed._numbers)
    assert learnable(x.bfloat16()).dtype == torch.bfloat16
    assert "learnable=True" in repr(learnable)


@FOUR
def test_gradients_of_tau_and_m(name):
    module = MAKE[name](learnable=True).double()
    x = sample().requires_grad_()
    torch.autograd.gradcheck(module, (x,))
    torch.autograd.gradgradcheck(lambda x: module(x) ** 2, (x,))
    names = [n for n, _ in module.named_parameters()]

    def at(*values):
        return torch.func.functional_call(module, dict(zip(names, values, strict=True)), (x.detach(),))

    torch.autograd.gradcheck(at, tuple(module.parameters()))


@FOUR
def test_learned_numbers_stay_in_their_domain(name):
    module = MAKE[name](learnable=True)
    for step in (-1e3, 1e3):
        for parameter in module.parameters():
            parameter.data.fill_(step)
        for number in (module.tau, module.m):
            assert number is None or 0 < number < math.inf
    optimizer = torch.optim.SGD(module.parameters(), lr=100.0)
    for _ in range(5):
        optimizer.zero_grad()
        (module(sample(500, torch.float32)) - 1).square().mean().backward()
        optimizer.step()
    assert module.tau > 0
    assert module.m is None or module.m > 0


def test_learned_numbers_travel():
    module = MAKE["clipped-relu"](learnable=True)
    module.raw_m.data.fill_(0.5)
    other = MAKE["clipped-relu"](learnable=True)
    other.load_state_dict(module.state_dict())
    for copied in (other, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert copied.m == module.m != MAKE["clipped-relu"]().m


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="ShiftedReLU: need tau > 6e-08 to learn it, got tau = 0"):
        gt.ShiftedReLU(0.0, learnable=True)
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="clipped_relu: need m > 0, got m = 0"):
        functional.clipped_relu(x, 1.0, 0.0)
    with pytest.raises(ValueError, match="clipped_soft_threshold: need tau >= 0, got tau = -1"):
        functional.clipped_soft_threshold(x, -1.0, 1.0)
    with pytest.raises(ValueError, match="soft_threshold: need tau >= 0, got tau = nan"):
        functional.soft_threshold(x, math.nan)
