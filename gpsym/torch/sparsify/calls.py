"""Where a model applies activations: in modules, in attributes that hold a function, and in forwards."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from types import FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from gpsym.torch.modules import (
    ClippedReLU,
    ClippedSoftThreshold,
    PiecewisePolynomial,
    ShiftedReLU,
    SoftThreshold,
)
from gpsym.torch.sites import Skipped, find_sites, is_norm
from gpsym.torch.sparsify.forwards import Forward, forward_of

__all__ = ["Call", "Found", "find_calls"]

# Names in lower case without underscores, of classes and of functions.
_HIDDEN = frozenset(
    {"relu", "relu6", "leakyrelu", "rrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish"}
    | {"softshrink", "hardshrink", "tanhshrink", "threshold"}
)
_EITHER = frozenset(["tanh", "hardtanh", "softsign", "softplus"])  # hidden, or the range of an output or of a gate
_NEVER = frozenset(["sigmoid", "hardsigmoid", "logsigmoid", "softmax", "softmin", "softmax2d", "logsoftmax"])
_GATES = frozenset(["glu"])
_FOREIGN = re.compile("elu|silu|swish|mish")  # in the names of classes of other libraries
_OURS = (ClippedReLU, ClippedSoftThreshold, PiecewisePolynomial, ShiftedReLU, SoftThreshold)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def _short(name: str) -> str:
    return name.lower().replace("_", "")


_NAMES = {
    name
    for space in (F, torch)
    for name in dir(space)
    if not name.startswith("_") and _short(name) in _HIDDEN | _EITHER
}
# Function -> its name; methods of tensors have the same names.
_FUNCTIONS: dict[Any, str] = {
    getattr(space, name): name for name in _NAMES for space in (torch, F) if callable(getattr(space, name, None))
}


@dataclass(frozen=True, eq=False)
class Call:
    """An activation that a model applies.

    name    of the module or attribute; of a call in a forward, the name of the module and that of the call.
    kind    class of the module, or name of the function.
    rule    hidden by its kind; either, where its place decides; given by the caller.
    places  (module, attribute) wherever it is held; one (module, node) for a call in a forward.
    forward that of the call, None for a module or attribute.
    old     the module; None for a function.
    """

    name: str
    kind: str
    rule: str
    places: tuple[tuple[nn.Module, str], ...]
    forward: Forward | None = None
    old: nn.Module | None = None


@dataclass(frozen=True)
class Found:
    """What `find_calls` found: activations that may be swapped, gates, and what stays with the reason."""

    calls: list[Call] = field(default_factory=list)
    gates: list[Skipped] = field(default_factory=list)
    left: list[Skipped] = field(default_factory=list)


def find_calls(model: nn.Module, leave: str | Iterable[str] = (), swap: str | Iterable[str] = ()) -> Found:
    """All activations of the model, in the order of its modules.

    leave  names, or patterns such as "*.act", of what stays as it is, with all inside.
    swap   names or patterns of modules to take for hidden activations, of whatever class.

    Raises ValueError for a name or pattern that fits nothing.
    """
    search = _Search(model, _Names(leave), _Names(swap))
    for name, module in model.named_modules():
        search.visit(name, module)
    search.leave.require_used("leave")
    search.swap.require_used("swap")
    return search.found


class _Names:
    """Names and patterns, and which of them have been used."""

    def __init__(self, names: str | Iterable[str]):
        self.unused = dict.fromkeys([names] if isinstance(names, str) else names)
        self.patterns = tuple(self.unused)

    def __contains__(self, name: str) -> bool:
        fit = [pattern for pattern in self.patterns if fnmatchcase(name, pattern)]
        for pattern in fit:
            self.unused.pop(pattern, None)
        return bool(fit)

    def covers(self, name: str) -> bool:
        """Whether the name, or that of a module around it, is among them."""
        parts = name.split(".")
        return any(".".join(parts[:n]) in self for n in range(1, len(parts) + 1))

    def require_used(self, option: str) -> None:
        if self.unused:
            raise ValueError(
                f"sparsify_: need names of modules in {option}, got {next(iter(self.unused))!r}, which fits none; see "
                "model.named_modules()."
            )


class _Search:
    """Visits modules one by one."""

    def __init__(self, model: nn.Module, leave: _Names, swap: _Names):
        self.leave, self.swap, self.found = leave, swap, Found()
        self.holders: dict[nn.Module, list[tuple[nn.Module, str]]] = {}
        for module in model.modules():
            for attribute, child in module._modules.items():
                if child is not None:
                    self.holders.setdefault(child, []).append((module, attribute))
        sites, _ = find_sites(model)
        self.plain = {site.module for site in sites}  # weight layers, which apply no activation
        self.closed: set[nn.Module] = set()  # what lies in activations

    def visit(self, name: str, module: nn.Module) -> None:
        if module in self.closed or module in self.plain or is_norm(module):
            return
        kind = type(module).__name__
        if name in self.swap:
            self._add(name, module, "given")
            return
        rule = _rule(module)
        if rule is None:
            if isinstance(module, _RECURRENT):
                self._leave(name, kind, "its activations are inside one call of torch")
            else:
                self._attributes(name, module)
                self._functions(name, module)
            return
        self.closed |= set(module.modules())
        if rule == "never":
            self._leave(name, kind, "a gate or a probability, no hidden activation")
        elif self.leave.covers(name):
            self._leave(name, kind, "as leave says")
        elif rule == "gate":
            self.found.gates.append(Skipped(name, kind, "multiplies one half of its input with a gate of the other"))
        elif next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
            self._leave(name, kind, "its parameters would go from the state_dict; name it in swap to drop them")
        else:
            self._add(name, module, rule)

    def _leave(self, name: str, kind: str, why: str) -> None:
        self.found.left.append(Skipped(name, kind, why))

    def _add(self, name: str, module: nn.Module, rule: str) -> None:
        self.closed |= set(module.modules())
        places = tuple(self.holders.get(module, ()))
        if not places:
            raise ValueError(
                f"sparsify_: need a model that holds its activations, got {type(module).__name__}, an activation; "
                "gpsym.torch.activation_module(design) is the one to put in its place."
            )
        self.found.calls.append(Call(name, type(module).__name__, rule, places, old=module))

    def _attributes(self, name: str, module: nn.Module) -> None:
        """Functions that the module holds, such as the activation of nn.TransformerEncoderLayer."""
        for attribute, function in _held(module).items():
            self._function(f"{name}.{attribute}" if name else attribute, function, ((module, attribute),))

    def _functions(self, name: str, module: nn.Module) -> None:
        """Calls of functions in the module's own forward."""
        if type(module).__module__.startswith("torch.") or not _mentions(module, _NAMES):
            return
        try:
            with _opaque(module, _held(module)):
                forward = forward_of(module)
        except ValueError as error:
            if _mentions(module, _NAMES - module._modules.keys()):  # a child of such a name is called as a module
                self._leave(name or "(model)", type(module).__name__, f"calls activations, but {error}")
            return
        for node, target in forward.calls().items():
            function = target if isinstance(target, str) and target in _NAMES else _function_name(target)
            if function is not None:
                self._function(f"{name}.{node}" if name else node, function, ((module, node),), forward)

    def _function(
        self, where: str, function: str, places: tuple[tuple[nn.Module, str], ...], forward: Forward | None = None
    ) -> None:
        if self.leave.covers(where):
            self._leave(where, function, "as leave says")
        elif function == "prelu":
            self._leave(where, function, "its slopes are learned")
        else:
            rule = "hidden" if _short(function) in _HIDDEN else "either"
            self.found.calls.append(Call(where, function, rule, places, forward))


def _held(module: nn.Module) -> dict[str, str]:
    """Attribute -> the function of activation that it holds."""
    functions = {name: value.func if isinstance(value, partial) else value for name, value in vars(module).items()}
    return {attribute: name for attribute, value in functions.items() if (name := _function_name(value)) is not None}


@contextmanager
def _opaque(module: nn.Module, attributes: Iterable[str]) -> Iterator[None]:
    """Children in place of functions, so that a graph calls the attribute, whatever it will hold."""
    saved = {attribute: getattr(module, attribute) for attribute in attributes}
    try:
        for attribute in saved:
            setattr(module, attribute, nn.Identity())
        yield
    finally:
        for attribute, function in saved.items():
            delattr(module, attribute)
            setattr(module, attribute, function)


def _rule(module: nn.Module) -> str | None:
    """hidden, either, never or gate; None for what is no activation."""
    name = _short(type(module).__name__).removesuffix("activation")
    if isinstance(module, _OURS):
        return "hidden"
    for rule, names in (("hidden", _HIDDEN), ("either", _EITHER), ("never", _NEVER), ("gate", _GATES)):
        if name in names and (type(module).__module__.startswith("torch.nn.") or _is_elementwise(module)):
            return rule
    return "hidden" if _FOREIGN.search(name) and _is_elementwise(module) else None


def _is_elementwise(module: nn.Module) -> bool:
    """Whether a module without children maps each number by itself."""
    if any(True for _ in module.children()):
        return False
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)  # kernels of vectors and of numbers round differently
    try:
        with torch.no_grad():
            y = module(x)
            return y.shape == x.shape and all(torch.allclose(module(x[i]), y[i]) for i in range(len(x)))
    except Exception:  # whatever a module that is no activation raises for this input
        return False


def _function_name(value: Any) -> str | None:
    return _FUNCTIONS.get(value) if inspect.isroutine(value) else None


def _mentions(module: nn.Module, wanted: Set[str]) -> bool:
    """Whether the code of its forward, or of the methods and functions that this names, has one of the names."""
    kind, seen, stack = type(module), set(), [type(module).forward]
    while stack:
        function = inspect.unwrap(stack.pop())
        if not isinstance(function, FunctionType) or function in seen or f"{function.__module__}.".startswith("torch."):
            continue
        seen.add(function)
        names = set(_code_names(function.__code__))
        known = [function.__globals__.get(name) for name in names]
        if names & wanted or any(_function_name(value) in wanted for value in known):
            return True
        stack += [
            value for value in (*known, *(getattr(kind, name, None) for name in names)) if inspect.isroutine(value)
        ]
    return False


def _code_names(code: Any) -> Iterator[str]:
    """The names of globals and attributes that the code reads, that of functions in it included."""
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _code_names(constant)
