"""Models that `init_` and `sparsify_` refuse: after a refusal all is as it was."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gpsym.design import edge_of_chaos
from gpsym.torch import init_, skip_zeros_, sparsify_

DESIGN = edge_of_chaos("crelu", sparsity=0.85, slope=0.7)
X = torch.linspace(-2, 2, 32).reshape(4, 8)


def plain(*, lazy=False):
    """Three layers with all that a refusal could disturb: dropout, batch normalization, a frozen layer."""
    hidden = nn.LazyLinear(8) if lazy else nn.Linear(8, 8)
    model = nn.Sequential(
        nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), hidden, nn.ReLU(), nn.Linear(8, 8), nn.ReLU(),
        nn.Linear(8, 2),
    )  # fmt: skip
    model[6].requires_grad_(False)
    model[3].eval()
    return model


def with_weight(weight):
    model = plain()
    model[4].weight = nn.Parameter(weight, requires_grad=weight.is_floating_point())
    return model


class Unwritable(Tensor):
    """A kind of tensor that can be read alone, as those that a library has packed."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (Tensor.copy_, Tensor.normal_):
            raise NotImplementedError("packed numbers cannot be written")
        return super().__torch_function__(func, types, args, kwargs or {})


def inference_weight():
    with torch.inference_mode():
        return with_weight(torch.randn(8, 8))


def overlapping():
    model, memory = plain(), torch.randn(100)
    model[0].weight = nn.Parameter(memory[:64].view(8, 8))
    model[4].weight = nn.Parameter(memory[36:].view(8, 8))
    return model


def over_a_frozen_one():
    model = plain()
    model[4].weight = nn.Parameter(model[6].weight.data)
    return model


class Failing(nn.Module):
    """A layer that raises from the n-th call on."""

    def __init__(self, calls=0):
        super().__init__()
        self.calls = calls

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("planted")
        return x


class Noisy(nn.Module):
    """Draws random numbers, replaces a buffer, counts in another, and then fails."""

    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        self.last = torch.rand(())
        raise RuntimeError("planted")


def parametrized():
    model = plain()
    parametrize.register_parametrization(model[4], "weight", nn.Identity())
    parametrize.register_parametrization(model[4], "weight", RefusesToBeAssigned())
    return model


class RefusesToBeAssigned(nn.Module):
    """A parametrization without an inverse."""

    def forward(self, x):
        return x


def with_module(module, place=6, **options):
    model = plain(**options)
    model[place] = nn.Sequential(module, model[place])
    return model


def hooked(calls):
    model, fail = plain(), Failing(calls)
    model[8].register_forward_hook(lambda *_: fail(None))
    return model


def compiled(function, *arguments):
    """What torch makes of a model in a way that it deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def scripted():
    return compiled(torch.jit.script, plain())


def traced():
    return compiled(torch.jit.trace, plain().eval(), X)


def quantized():
    return compiled(torch.ao.quantization.quantize_dynamic, plain().eval(), {nn.Linear})


def exported():
    return torch.export.export(plain().eval(), (X,)).module()


def holding_a_scripted_layer():
    return with_module(compiled(torch.jit.script, nn.Linear(8, 8)))


@dataclass(frozen=True)
class Bad:
    """A model, what the refusal says, and with which arguments."""

    model: Callable[[], nn.Module]
    message: str
    options: dict[str, Any] = field(default_factory=dict)
    error: type[Exception] = ValueError


BATCH = {"batch": X}
COMPILED = "which has none that can be changed; call {door} on the model before "
BAD = {
    "expanded": Bad(lambda: with_weight(torch.randn(8, 1).expand(8, 8)), "need a place in memory for each number"),
    "overlapping itself": Bad(
        lambda: with_weight(torch.randn(64).as_strided((8, 8), (4, 1))), "the weight of '4', got one that"
    ),
    "overlapping another": Bad(overlapping, "the weight of '0' and the weight of '4' share"),
    "overlapping a frozen one": Bad(over_a_frozen_one, "the weight of '4' and 6.weight share"),
    "inference": Bad(inference_weight, "call init_ before what makes it so, outside of torch.inference_mode"),
    "packed": Bad(lambda: with_weight(torch.randn(8, 8).as_subclass(Unwritable)), "packed numbers cannot be written"),
    "sparse": Bad(lambda: with_weight(torch.randn(8, 8).to_sparse()), "got Parameter: the layout torch.sparse_coo"),
    "integers": Bad(lambda: with_weight(torch.ones(8, 8, dtype=torch.int64)), "need real floating-point numbers"),
    "meta": Bad(lambda: with_weight(torch.empty(8, 8, device="meta")), "call model.to_empty"),
    "parametrization": Bad(parametrized, "need a parametrization in '4' that keeps the weights"),
    "noisy forward": Bad(lambda: with_module(Noisy()), "planted", BATCH, RuntimeError),
    "hook": Bad(lambda: hooked(0), "planted", BATCH, RuntimeError),
    "batch": Bad(plain, "shape", {"batch": X[:, :5]}, RuntimeError),
    "lazy, and a batch": Bad(lambda: with_module(Noisy(), lazy=True), "planted", BATCH, RuntimeError),
    "lazy": Bad(lambda: plain(lazy=True), "got a lazy layer"),
    "scripted": Bad(scripted, f"got a module of torch.jit, {COMPILED}torch.jit.script"),
    "scripted, and a batch": Bad(scripted, f"got a module of torch.jit, {COMPILED}torch.jit.script", BATCH),
    "traced": Bad(traced, f"got a module of torch.jit, {COMPILED}torch.jit.script or torch.jit.trace"),
    "scripted inside": Bad(holding_a_scripted_layer, "got a module of torch.jit at '6.0'"),
    "quantized": Bad(quantized, f"got a quantized Linear at '0', {COMPILED}it is quantized"),
    "exported": Bad(exported, f"got an exported graph, {COMPILED}torch.export.export"),
    "exported, and a batch": Bad(exported, f"got an exported graph, {COMPILED}torch.export.export", BATCH),
}


def contents(model, generator):
    """All that a refusal leaves: objects, values, flags, classes, attributes, hooks, random numbers."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    lazy = nn.parameter.is_lazy
    values = {name: None if lazy(t) or t.is_meta else t.detach().to_dense().clone() for name, t in tensors.items()}
    return {
        "objects": {name: id(tensor) for name, tensor in tensors.items()},
        "values": values,
        "kinds": {name: (type(tensor), tensor.requires_grad) for name, tensor in tensors.items()},
        "modules": {name: (id(m), type(m), m.training) for name, m in model.named_modules()},
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "random": [torch.get_rng_state(), generator.get_state()],
    }


def assert_same(before, after):
    assert before["values"].keys() == after["values"].keys()
    for name, value in before["values"].items():
        now = after["values"][name]
        assert now is value or torch.equal(now, value), name
    assert all(map(torch.equal, before["random"], after["random"]))
    for aspect in ("objects", "kinds", "modules", "hooks"):
        assert before[aspect] == after[aspect], aspect


@pytest.mark.parametrize("door", [init_, sparsify_])
@pytest.mark.parametrize("name", BAD)
def test_after_a_refusal_all_is_as_it_was(name, door):
    bad = BAD[name]
    model, generator = bad.model(), torch.Generator().manual_seed(5)
    before = contents(model, generator)
    message = bad.message.format(door=door.__name__)
    with pytest.raises(bad.error, match=message if door is init_ else f"{message}|need memory for the parameters"):
        door(model, DESIGN, generator=generator, **bad.options)
    assert_same(before, contents(model, generator))


@pytest.mark.parametrize("calls", range(1, 4))
def test_a_pass_that_fails_after_others_takes_all_back(calls):
    """`sparsify_` runs the model four times, twice after weights were drawn; the hook raises in one of the passes."""
    model, generator = hooked(calls), torch.Generator().manual_seed(5)
    before = contents(model, generator)
    with pytest.raises(RuntimeError, match="planted"):
        sparsify_(model, DESIGN, batch=X, generator=generator)
    assert_same(before, contents(model, generator))


def test_sparsify_has_four_passes():
    """So the test above fails in each."""
    sparsify_(hooked(4), DESIGN, batch=X)


def tied():
    model = plain()
    model[4].weight = model[0].weight
    return model


REMEDIES = {
    "cloned": lambda: with_weight(torch.randn(8, 1).expand(8, 8).clone()),
    "tied": tied,
    "before scripting": plain,
}


@pytest.mark.parametrize("name", REMEDIES)
def test_what_refusals_advise_works(name):
    assert len(init_(REMEDIES[name](), DESIGN)) >= 3


def test_initialised_before_they_are_compiled_models_compute_the_same():
    model = plain().eval()
    init_(model, DESIGN)
    forms = [compiled(torch.jit.script, model), compiled(torch.jit.trace, model, X)]
    forms.append(torch.export.export(model, (X,)).module())
    assert all(torch.allclose(form(X), model(X), atol=1e-6) for form in forms)


def test_a_scripted_activation_has_no_weights_and_is_no_hindrance():
    model = nn.Sequential(nn.Linear(8, 8), compiled(torch.jit.script, nn.ReLU()), nn.Linear(8, 2))
    assert len(init_(model, DESIGN)) == 2


@pytest.mark.parametrize("door", [init_, sparsify_])
def test_what_is_no_module_is_named(door):
    program = torch.export.export(plain().eval(), (X,))
    for thing, name in ((program, "ExportedProgram"), (nn.Linear, "type"), (plain().state_dict(), "OrderedDict")):
        with pytest.raises(ValueError, match=rf"{door.__name__}: need a torch.nn.Module, got {name}; pass the model"):
            door(thing, DESIGN)


def test_skipping_refuses_compiled_models():
    with pytest.raises(ValueError, match=r"skip_zeros_: need layers of torch.nn, got a module of torch.jit, which"):
        skip_zeros_(scripted(), X)


def test_columns_of_one_memory_do_not_overlap():
    model, memory = plain(), torch.randn(8, 16)
    model[0].weight, model[4].weight = nn.Parameter(memory[:, :8]), nn.Parameter(memory[:, 8:])
    assert len(init_(model, DESIGN)) >= 3
