"""What is around the activations of a model: gates, normalizations, and layers that no activation feeds.

Found in the graph that a batch leaves for backpropagation, as the roles of `init_` are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from gpsym.torch.layers import Mixture
from gpsym.torch.rules import Rule
from gpsym.torch.sites import find_sites, is_norm
from gpsym.torch.tracing import ATTENTION, MOVES, Graph, call, quiet, tensors_in

__all__ = ["Sum", "Surroundings", "look_around", "measure"]

_PRODUCTS = ("Mul", "Bmm", "Mm", "Addcmul", "Addbmm", "Baddbmm", "Dot", "Mv")  # begin the names of nodes
_SCALED_SUMS = MOVES | {"AddBackward", "MulBackward"}


@dataclass(frozen=True)
class Sum:
    """What is added up just before an activation.

    nodes  of the outputs of normalizations; norms  these, of the same order.
    rest   alone where nothing else is added, activations where only what they feed without a layer between is, other.
    """

    nodes: tuple[Any, ...]
    norms: tuple[nn.Module, ...]
    rest: str

    @classmethod
    def before(cls, graph: Graph, node: Any) -> Sum:
        """The sum that the node ends; without any norms where it is none."""
        nodes, rest, stack = [], [], [node]
        while stack:
            one = stack.pop()
            if one in graph.marks and graph.marks[one] in graph.norms:
                nodes.append(one)
            elif one is not None and one not in graph.marks and one.name().startswith("AddBackward"):
                stack += [parent for parent, _ in one.next_functions]
            else:
                rest.append(one)
        others, _ = graph.walk(rest)
        kind = "alone" if not rest else "activations" if others and others <= graph.others else "other"
        return cls(tuple(nodes), tuple(graph.marks[mark] for mark in nodes), kind)


class Surroundings(Graph):
    """The graph with activations marked as well."""

    def __init__(self, model: nn.Module, activations: set[nn.Module], sums: set[Mixture]):
        sites, _ = find_sites(model)
        norms = {module for module in model.modules() if is_norm(module)}
        super().__init__({site.module for site in sites}, norms, activations)
        self.names = {site.module: site.name for site in sites if not site.is_attention}
        self.mixtures = sums
        self.skips: list[Any] = []  # nodes of the skip connections of mixtures
        self.roots: list[Any] = []  # nodes of the output

    @contextmanager
    def recording(self) -> Iterator[None]:
        """As of Graph, with the skip connections."""
        handles = [mixture.register_forward_pre_hook(self._record_skip) for mixture in self.mixtures]
        try:
            with super().recording():
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _record_skip(self, _: nn.Module, args: tuple[Tensor, Tensor]) -> None:
        self.skips.append(args[0].grad_fn)

    def finish(self, output: Any) -> bool:
        """As of Graph."""
        self.roots = [tensor.grad_fn for tensor in tensors_in(output)]
        return super().finish(output)

    def _nodes(self) -> Iterator[Any]:
        seen: set[Any] = set()
        stack = list(self.roots)
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack += [parent for parent, _ in node.next_functions]
                yield node

    def _marks_behind(self, node: Any) -> set[Any]:
        """The nodes of the nearest marked outputs; empty for parameters and what is computed of them alone."""
        found, seen, stack = set(), set(), [node]
        while stack:
            one = stack.pop()
            if one is None or one in seen:
                continue
            seen.add(one)
            if one in self.marks:
                found.add(one)
            else:
                stack += [parent for parent, _ in one.next_functions]
        return found

    def gated(self) -> set[nn.Module]:
        """The activations whose output is multiplied with another branch."""
        found = set()
        for node in self._nodes():
            if node in self.marks or not node.name().startswith(_PRODUCTS):
                continue
            factors = [self._marks_behind(parent) for parent, _ in node.next_functions]
            for one in factors:
                if any(other and other != one for other in factors):
                    found |= {self.marks[mark] for mark in one} & self.others
        return found

    def why_not_hidden(self, activation: nn.Module) -> str:
        """Why an activation is no hidden one; empty if it is."""
        if activation not in self.sources:
            return "not called for the batch"
        if not self.sources[activation]:
            return "no weight layer or normalization in front: its input is data"
        return "" if self.reaches_a_layer(activation) else "no weight layer behind it: an output"

    def has_active_skip(self) -> bool:
        """Whether a skip connection of a mixture carries the output of an activation."""
        return any(self.marks[mark] in self.others for node in self.skips for mark in self._marks_behind(node))

    def sums(self) -> dict[nn.Module, list[Sum]]:
        """Activation -> the sums that it is called with, those that have a normalization."""
        found = {a: [Sum.before(self, node) for node in self.inputs.get(a, ())] for a in self.others}
        return {a: sums for a, every in found.items() if (sums := [one for one in every if one.norms])}

    def rules(self) -> dict[str, Rule]:
        """Rules for the layers whose place `init_` cannot know, as activations are not marked there.

        W ~ N(0, 1 / fan_in), b = 0 for those that feed attention alone, and those that sums without an activation
        feed: the mean square of their input, of which all theory for a skip connection speaks, stays.
        """
        return {name: Rule(1.0, 0.0) for layer, name in self.names.items() if self._keeps(layer)}

    def fed_otherwise(self, layer: nn.Module) -> bool:
        """Whether neither activations nor layers alone feed a layer, but what is left: other activations, products."""
        return layer in self.sources and self.place(layer).role == "hidden" and not self.sources[layer] & self.others

    def _keeps(self, layer: nn.Module) -> bool:
        sources = self.sources.get(layer, set())
        if not self.reaches_a_layer(layer) or not self.layers_behind(sources) or sources & self.others:
            return False
        consumers = self.consumers[layer]
        attended = all(any(part in name for name in self.operations[c] for part in ATTENTION) for c in consumers)
        kinds = {name.rstrip("0123456789") for name in self.operations[layer] if not name.endswith("AccumulateGrad")}
        summed = bool(sources & self.layers) and "AddBackward" in kinds and kinds <= _SCALED_SUMS
        return summed or (bool(consumers) and attended)


def look_around(model: nn.Module, activations: set[nn.Module], sums: set[Mixture], batch: Any) -> Surroundings:
    """Run the model once and find what is around its activations.

    activations  modules of the model, new ones.
    sums         the mixtures put in place of residual sums.
    batch        as of `init_`.

    Raises ValueError if no output depends on a layer by the graph.
    """
    graph = Surroundings(model, activations, sums)
    with quiet(model), graph.recording(), torch.enable_grad():
        output = call(model, batch)
    if not graph.finish(output):
        raise ValueError(
            "sparsify_: need a batch whose output depends on a layer, got one without a graph, as under torch.no_grad; "
            "leave the batch out."
        )
    return graph


@torch.no_grad()
def measure(model: nn.Module, activations: Iterable[nn.Module], batch: Any) -> dict[nn.Module, tuple[float, float]]:
    """Activation -> (fraction of zeros in its output, mean square of its input), of those that the batch reaches.

    In evaluation mode but for batch normalization, as while tracing; the mean over calls.
    """
    found: dict[nn.Module, list[tuple[float, float]]] = {}

    def record(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        (u,) = tensors_in([args, kwargs])
        found.setdefault(module, []).append(((output == 0).double().mean().item(), u.double().square().mean().item()))

    handles = [module.register_forward_hook(record, with_kwargs=True) for module in activations]
    try:
        with quiet(model):
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return {module: (fmean(z for z, _ in both), fmean(q for _, q in both)) for module, both in found.items()}
