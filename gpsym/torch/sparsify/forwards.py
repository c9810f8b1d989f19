"""The forward of a module as a graph of torch.fx: which activations and sums it has, and others in their place.

Children are called as they are: the graph holds what the module itself does.
"""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

__all__ = ["Forward", "forward_of"]

_SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
_PRODUCTS = (operator.mul, operator.imul, operator.matmul, torch.mul, torch.multiply, torch.matmul, torch.bmm,
             torch.einsum, "mul", "mul_", "multiply", "matmul", "bmm")  # fmt: skip


class _Own(fx.Tracer):
    """Records what the forward of one module does, without looking into its children."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Forward:
    """What one module does.

    graphs  the graph in training mode and in evaluation mode; the nodes of both have the same names where they agree.
    """

    module: nn.Module
    graphs: Mapping[bool, fx.Graph]

    def calls(self) -> dict[str, Any]:
        """Node -> the function, or name of the method, that it calls."""
        return {node.name: node.target for graph in self.graphs.values() for node in graph.nodes if _is_call(node)}

    def residual_sums(self, nodes: Set[str], modules: Set[nn.Module]) -> list[str]:
        """The nodes that add a branch with an activation to a skip connection without one.

        nodes, modules  what applies activations: nodes of this graph, and modules at any depth.
        """
        sums = {
            node.name: None
            for graph in self.graphs.values()
            for node in graph.nodes
            if _skip_and_branch(node, self._active(graph, nodes, modules))
        }
        return list(sums)

    def gated(self, nodes: Set[str], modules: Set[nn.Module]) -> list[str]:
        """Those nodes, and children among the modules, whose output is multiplied with another branch of the graph."""
        found: dict[str, None] = {}
        for graph in self.graphs.values():
            active = {node for node in graph.nodes if node.name in nodes or self._child(node) in modules}
            for node in graph.nodes:
                if _is_call(node) and node.target in _PRODUCTS:
                    factors = [self._origins(source, active) for source in node.all_input_nodes]
                    for one in factors:
                        if any(other and other != one for other in factors):
                            found |= {_label(origin): None for origin in one & active}
        return list(found)

    def _child(self, node: fx.Node) -> nn.Module | None:
        """The module that the node calls; None for others, and where a function has taken its place."""
        try:
            return self.module.get_submodule(str(node.target)) if node.op == "call_module" else None
        except AttributeError:
            return None

    def _active(self, graph: fx.Graph, nodes: Set[str], modules: Set[nn.Module]) -> set[fx.Node]:
        """The nodes that apply an activation, themselves or in a child."""
        return {
            node
            for node in graph.nodes
            if node.name in nodes or ((child := self._child(node)) is not None and modules & set(child.modules()))
        }

    def _origins(self, node: fx.Node, active: set[fx.Node]) -> set[fx.Node]:
        """The nearest activations, arguments and children with parameters behind the node, itself included."""
        found, seen, stack = set(), set(), [node]
        while stack:
            one = stack.pop()
            if one in seen:
                continue
            seen.add(one)
            child = self._child(one)
            learned = child is not None and next(child.parameters(), None) is not None
            if learned or one in active or one.op == "placeholder":
                found.add(one)
            else:
                stack += one.all_input_nodes
        return found

    def rewrite_(
        self, activations: Mapping[str, nn.Module], sums: Mapping[str, nn.Module], modules: Set[nn.Module]
    ) -> None:
        """Call modules in place of those nodes: children of the module, under the names sparse_... .

        activations  node -> module of one argument.
        sums         node, as of `residual_sums`, -> module of two, the skip connection and the branch.
        modules      as there.

        The module takes on a class of its own, derived from its class, with the same name.
        """
        children = {node: f"sparse_{node}" for node in (*activations, *sums)}
        if taken := [child for child in children.values() if hasattr(self.module, child)]:
            raise ValueError(f"sparsify_: need no attribute {taken[0]!r} in {type(self.module).__name__}; rename it.")
        forwards = {}
        for training, graph in self.graphs.items():
            active = self._active(graph, activations.keys(), modules)
            summands = {node: _skip_and_branch(node, active) for node in graph.nodes if node.name in sums}
            forwards[training] = _compiled(_replaced(graph, children, summands))
        for node, module in {**activations, **sums}.items():
            self.module.add_module(children[node], module.train(self.module.training))
        kind = type(self.module)
        names = {"__module__": kind.__module__, "__doc__": kind.__doc__}
        self.module.__class__ = type(kind.__name__, (kind,), {**names, "forward": _by_mode(forwards, kind)})


def forward_of(module: nn.Module) -> Forward:
    """The graphs of a module.

    Raises ValueError where torch.fx cannot follow its forward, or would fix what the arguments decide.
    """
    if "forward" in vars(module):
        raise ValueError("its forward was replaced, as hooks of other libraries do")
    modes = {part: part.training for part in module.modules()}
    defaults = _defaults(module)
    try:
        graphs = {mode: _traced(module, mode) for mode in (True, False)}
        at_defaults = [_traced(module, mode, defaults) for mode in (True, False)] if defaults else graphs.values()
    except Exception as error:  # whatever the code of the forward raises when it meets a proxy
        first_line = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(f"torch.fx cannot follow its forward: {first_line}") from error
    finally:
        for part, mode in modes.items():
            part.training = mode
    # None would take the other way at each "if mask is not None", of which a graph holds one.
    if any(map(operator.ne, map(_steps, graphs.values()), map(_steps, at_defaults))):
        raise ValueError(f"what it does depends on whether {', '.join(defaults)} is given")
    return Forward(module, graphs)


def _traced(module: nn.Module, training: bool, constants: Mapping[str, Any] | None = None) -> fx.Graph:
    """The graph in a mode, with these constants for arguments and tensors for the others."""
    for part in module.modules():
        part.training = training
    return _Own().trace(module, concrete_args=None if constants is None else dict(constants))


def _defaults(module: nn.Module) -> dict[str, Any]:
    parameters = inspect.signature(type(module).forward).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}


def _steps(graph: fx.Graph) -> list[tuple[str, str]]:
    """What the graph calls, without the assertions that a trace with fixed arguments adds."""
    asserted = {source for node in graph.nodes if _asserts(node) for source in node.all_input_nodes}
    steps = [node for node in graph.nodes if node.op in ("call_function", "call_method", "call_module")]
    return [(node.op, str(node.target)) for node in steps if not _asserts(node) and node not in asserted]


def _asserts(node: fx.Node) -> bool:
    return node.op == "call_function" and "_assert" in getattr(node.target, "__name__", "")


def _is_call(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method")


def _label(node: fx.Node) -> str:
    """What `activations` call the node: by its child if it calls one."""
    return str(node.target) if node.op == "call_module" else node.name


def _behind(node: fx.Node) -> set[fx.Node]:
    found, stack = set(), [node]
    while stack:
        if (one := stack.pop()) not in found:
            found.add(one)
            stack += one.all_input_nodes
    return found


def _skip_and_branch(node: fx.Node, active: set[fx.Node]) -> list[fx.Node]:
    """The summands of a residual sum; empty for other nodes."""
    summands = [argument for argument in node.args if isinstance(argument, fx.Node)]
    if not (_is_call(node) and node.target in _SUMS and len(summands) == len(node.args) == 2 and not node.kwargs):
        return []
    one, other = map(_behind, summands)
    in_one, in_other = bool((one - other) & active), bool((other - one) & active)
    if not (one & other) or in_one == in_other:
        return []
    return summands if in_other else summands[::-1]


def _argument(node: fx.Node) -> Any:
    """What an activation is applied to."""
    return node.args[0] if node.args else node.kwargs["input"]


def _replaced(graph: fx.Graph, children: Mapping[str, str], sums: Mapping[fx.Node, list[fx.Node]]) -> fx.Graph:
    """A copy of the graph that calls children, by the names of nodes, in their place; of sums in the given order."""
    copied = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    copied.output(copied.graph_copy(graph, copies))
    for old in [node for node in graph.nodes if node.name in children]:
        node = copies[old]
        inputs = node.args[:: 1 if sums[old][0] is old.args[0] else -1] if old in sums else (_argument(node),)
        with copied.inserting_after(node):
            called = copied.call_module(children[old.name], inputs)
        node.replace_all_uses_with(called)
        if _in_place(node):
            nodes = list(copied.nodes)
            later = set(nodes[nodes.index(called) + 1 :])
            _argument(node).replace_all_uses_with(called, delete_user_cb=later.__contains__)
        copied.erase_node(node)
    return copied


def _in_place(node: fx.Node) -> bool:
    """Whether the call changes its first argument, so that later uses of that mean the result."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.endswith("_") or name == "iadd" or bool(node.kwargs.get("inplace"))


def _compiled(graph: fx.Graph) -> tuple[str, Callable]:
    """(source, function of the module and its arguments) of a graph."""
    graph.lint()
    code: Any = graph.python_code("self")
    names = dict(code.globals)
    exec(code.src, names)
    return code.src, names["forward"]


def _by_mode(forwards: Mapping[bool, tuple[str, Callable]], kind: type[nn.Module]) -> Callable:
    """One function of both modes."""
    (in_training, training), (in_evaluation, evaluation) = forwards[True], forwards[False]
    if in_training == in_evaluation:
        return functools.wraps(kind.forward)(training)

    @functools.wraps(kind.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (training if self.training else evaluation)(self, *args, **kwargs)

    return forward
