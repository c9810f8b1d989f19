"""What feeds the layers of a model, found in the graph that a batch leaves for backpropagation.

Needs torch and the standard library only: `gpsym export` writes this very code into a file of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from gpsym.torch.keeping import unmoved
from gpsym.torch.sites import is_norm

__all__ = ["ATTENTION", "MOVES", "Graph", "Place", "call", "quiet", "tensors_in", "trace"]

# Nodes that move numbers, or leave some out, and change none.  What is not known to be such counts as an activation.
MOVES = frozenset(
    f"{name}Backward"
    for name in (
        "View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "T", "Unsqueeze", "Squeeze", "Expand", "Clone",
        "Alias", "Slice", "Select", "Split", "Unbind", "AsStrided", "ToCopy", "Cat", "Stack",
    )
)  # fmt: skip
ATTENTION = ("Softmax", "ScaledDotProduct")  # in the names of nodes, such as SafeSoftmaxBackward0


@dataclass(frozen=True)
class Place:
    """Where a layer stands in the network.

    role         first       no other layer before it
                 readout     no other layer behind it
                 normalized  normalizations feed it and nothing else, without an activation
                 attention   softmax lies between it and the layers before it
                 linear      nothing but other layers feed it, without an activation
                 hidden      otherwise
    mean_square  E[x^2] of its input, over batch and features; of two inputs, the product; of several calls, the
                 mean.  If normalized, what its normalization makes of normal numbers: the weights in front, which are
                 to change, do not count.
    branches     number of layers and normalizations that feed it.
    before_norm  whether its output goes to normalizations alone, and nothing else to them.
    after_norm   whether it is hidden and only normalizations are in front of its activation.
    calls        number of times that the model called it.
    """

    role: str
    mean_square: float
    branches: int
    before_norm: bool
    after_norm: bool
    calls: int


def trace(model: nn.Module, layers: Iterable[nn.Module], batch: Any) -> dict[nn.Module, Place]:
    """The places of those layers that the model calls for the batch.

    batch  a tensor, a tuple of arguments, or a mapping of keyword arguments.

    The model runs once, with a graph for backpropagation, in evaluation mode but for batch normalization; modes and
    buffers are as before afterwards, while lazy modules take on their shapes.

    Raises ValueError if no output depends on a layer by the graph, as under torch.no_grad.
    """
    graph = Graph(set(layers), {module for module in model.modules() if is_norm(module)}, set())
    with quiet(model), graph.recording(), torch.enable_grad():
        output = call(model, batch)
    if not graph.finish(output):
        raise ValueError(
            "init_: need a batch whose output depends on a layer, got one without a graph, as under torch.no_grad; "
            "name first_layers and readout_layers instead."
        )
    return {layer: graph.place(layer) for layer in graph.layers if layer in graph.inputs}


def call(model: nn.Module, batch: Any) -> Any:
    """The output of the model for a tensor, a tuple of arguments, or a mapping of keyword arguments."""
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, but for batch normalization, which there would not normalize; everything restored behind."""
    lazy = [m for m in model.modules() if isinstance(m, LazyModuleMixin) and is_norm(m)]
    fast_attention = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # it would pass by the layers that the hooks sit on
        with unmoved(model) as kept:
            for module in kept.modes:
                module.training = isinstance(module, nn.modules.batchnorm._NormBase)
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)
    for module in lazy:
        if isinstance(module, nn.modules.batchnorm._NormBase) and not isinstance(module, LazyModuleMixin):
            module.reset_running_stats()  # it took on its shape, and the statistics of the batch


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in nested containers and in objects such as the outputs of Hugging Face models."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, Mapping):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
    elif hasattr(value, "__dataclass_fields__"):
        yield from tensors_in(list(vars(value).values()))


def _as_normal(arguments: Any) -> Any:
    """The arguments of a call with normal numbers in place of the first."""
    names = list(arguments) if isinstance(arguments, dict) else list(range(len(arguments)))
    tensor = arguments[names[0]]
    generator = torch.Generator(tensor.device).manual_seed(0)  # not the caller's
    normal = torch.randn(tensor.shape, dtype=tensor.dtype, device=tensor.device, generator=generator)
    if isinstance(arguments, dict):
        return {**arguments, names[0]: normal}
    return (normal, *arguments[1:])


def _mean_square(tensor: Tensor) -> float:
    return tensor.detach().double().square().mean().item()


class Graph:
    """Layers, normalizations and other modules, and which of them feed which, between recording and `place`."""

    def __init__(self, layers: set[nn.Module], norms: set[nn.Module], others: set[nn.Module]):
        self.layers, self.norms, self.others = layers, norms, others
        self.marks: dict[Any, nn.Module] = {}  # node of an output -> the module that it comes from
        self.inputs: dict[nn.Module, list[Any]] = {}  # module -> nodes of what it was called with
        # Layer -> E[x^2] of each call; normalization -> of normal input.
        self.squares: dict[nn.Module, list[float]] = {}
        self.calls: Counter[nn.Module] = Counter()
        self.sources: dict[nn.Module, set[nn.Module]] = {}
        self.consumers: dict[nn.Module, set[nn.Module]] = {module: set() for module in layers | norms | others}
        self.operations: dict[nn.Module, set[str]] = {}
        self.outputs: set[nn.Module] = set()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Hooks that record the calls of all modules."""
        handles = []
        for module in self.layers | self.norms | self.others:
            handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
            handles.append(module.register_forward_hook(self._after, with_kwargs=True))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        tensors = list(tensors_in([args, kwargs]))
        self.calls[module] += 1
        self.inputs.setdefault(module, []).extend(t.grad_fn for t in tensors if t.grad_fn is not None)
        if module in self.layers and tensors:
            used = tensors if isinstance(module, nn.Bilinear) else tensors[:1]
            self.squares.setdefault(module, []).append(math.prod(map(_mean_square, used)))

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if module in self.norms and module not in self.squares:
            probe = module.forward(*_as_normal(args), **(kwargs if args else _as_normal(kwargs)))
            self.squares[module] = [_mean_square(next(tensors_in(probe)))]
        return self._marked(module, output)

    def _marked(self, module: nn.Module, output: Any) -> Any:
        """The output with a node of its own, whether or not its parameters take gradients."""
        if isinstance(output, tuple):
            return (self._marked(module, output[0]), *output[1:])
        if not isinstance(output, Tensor):
            return output
        marked = output * torch.ones((), dtype=output.dtype, device=output.device, requires_grad=True)
        self.marks[marked.grad_fn] = module
        return marked

    def finish(self, output: Any) -> bool:
        """Whether the output depends on a layer; after it, `place` knows."""
        for module, nodes in self.inputs.items():
            self.sources[module], self.operations[module] = self.walk(nodes)
            for source in self.sources[module]:
                self.consumers[source].add(module)
        self.outputs, _ = self.walk([t.grad_fn for t in tensors_in(output) if t.grad_fn is not None])
        return bool(self.outputs)

    def walk(self, nodes: Iterable[Any]) -> tuple[set[nn.Module], set[str]]:
        """The nearest marked modules behind the nodes, and the operations between."""
        stack, seen, found, names = list(nodes), set(), set(), set()
        while stack:
            node = stack.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node in self.marks:
                found.add(self.marks[node])
            else:
                names.add(node.name())
                stack += [parent for parent, _ in node.next_functions]
        return found, names

    def layers_behind(self, modules: set[nn.Module]) -> bool:
        """Whether one of the modules is a layer, or another that a layer feeds, directly or by others."""
        return self._reaches(modules, self.sources)

    def reaches_a_layer(self, module: nn.Module) -> bool:
        """Whether the module feeds a layer, directly or by others."""
        return self._reaches(self.consumers[module], self.consumers)

    def _reaches(self, start: set[nn.Module], onward: Mapping[nn.Module, set[nn.Module]]) -> bool:
        seen: set[nn.Module] = set()
        stack = list(start)
        while stack:
            module = stack.pop()
            if module in self.layers:
                return True
            if module not in seen:
                seen.add(module)
                stack += onward.get(module, ())
        return False

    def place(self, layer: nn.Module) -> Place:
        """Where a layer that was called stands."""
        consumers = self.consumers[layer]
        alone = layer not in self.outputs and all(c in self.norms and self.sources[c] == {layer} for c in consumers)
        role, sources = self._role(layer), self.sources[layer]
        if role == "normalized":
            square = fmean(square for norm in sources for square in self.squares[norm])
        else:
            square = fmean(self.squares.get(layer, [math.nan]))
        after_norm = role == "hidden" and sources <= self.norms
        return Place(role, square, len(sources), bool(consumers) and alone, after_norm, self.calls[layer])

    def _role(self, layer: nn.Module) -> str:
        sources, names = self.sources[layer], self.operations[layer]
        if not self.reaches_a_layer(layer):
            return "readout"
        if not self.layers_behind(sources):
            return "first"
        moved = all(name.rstrip("0123456789") in MOVES or name.endswith("AccumulateGrad") for name in names)
        if moved and (sources <= self.norms or sources <= self.layers):
            return "normalized" if sources <= self.norms else "linear"
        return "attention" if any(part in name for name in names for part in ATTENTION) else "hidden"
