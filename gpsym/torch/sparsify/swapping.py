"""Activations put in place of others in a model, until all is taken back."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from torch import nn

from gpsym.design import CriticalInit
from gpsym.torch.layers import Mixture
from gpsym.torch.modules import activation_module
from gpsym.torch.sparsify.calls import Call
from gpsym.torch.sparsify.forwards import Forward, forward_of
from gpsym.torch.sparsify.surroundings import Surroundings, look_around

__all__ = ["Swapping"]


class Swapping:
    """The activations of a model while they are swapped; `undo` takes all back."""

    def __init__(self, model: nn.Module, design: CriticalInit, alpha: float | None):
        self.model, self.design, self.alpha = model, design, alpha
        self.names = {module: name for name, module in model.named_modules()}
        self.phis: dict[Call, nn.Module] = {}
        self.mixtures: dict[str, Mixture] = {}
        self.notes: dict[nn.Module, str] = {}
        self.saved: dict[nn.Module, tuple[type, dict[str, Any], dict[str, Any]]] = {}
        self.scaled: set[nn.Module] = set()  # normalizations
        self.around: Surroundings | None = None

    def put(self, calls: Iterable[Call]) -> None:
        """Have these activations swapped, and no others."""
        self.undo()
        self.phis = {call: self.phis.get(call) or activation_module(self.design) for call in calls}
        self.mixtures = {}
        for call, phi in self.phis.items():
            for owner, attribute in call.places if call.forward is None else ():
                self._save(owner)
                if call.old is not None:
                    owner._modules[attribute] = phi.train(call.old.training)
                else:
                    setattr(owner, attribute, phi.train(owner.training))
        for forward in self._forwards():
            self._rewrite(forward)
        self._without_fast_path()

    def undo(self) -> None:
        """The modules as they were."""
        for module, (kind, attributes, children) in self.saved.items():
            module.__class__ = kind
            vars(module).clear()
            vars(module).update(attributes, _modules=children)
        self.saved, self.around = {}, None

    def _save(self, module: nn.Module) -> None:
        if module not in self.saved:
            self.saved[module] = (type(module), dict(vars(module)), dict(module._modules))

    def _forwards(self) -> list[Forward]:
        """Those with calls to swap, and if sums are to be mixed, those of all modules that hold an activation."""
        found = {call.forward.module: call.forward for call in self.phis if call.forward is not None}
        active = set(self.phis.values())
        for module in self.model.modules() if self.alpha is not None else ():
            own = not type(module).__module__.startswith(("torch.", "gpsym."))
            if own and module not in found and not active.isdisjoint(module.modules()):
                with suppress(ValueError):
                    found[module] = forward_of(module)
        return list(found.values())

    def _rewrite(self, forward: Forward) -> None:
        nodes = {call.places[0][1]: phi for call, phi in self.phis.items() if call.forward is forward}
        modules = set(self.phis.values())
        sums = {}
        if self.alpha is not None:
            sums = {node: Mixture(self.alpha) for node in forward.residual_sums(nodes.keys(), modules)}
        if nodes or sums:
            self._save(forward.module)
            forward.rewrite_(nodes, sums, modules)
            name = self.names[forward.module]
            self.mixtures |= {f"{name}.{node}" if name else node: mixture for node, mixture in sums.items()}

    def _without_fast_path(self) -> None:
        """Kernels of nn.TransformerEncoder for evaluation have ReLU or GELU inside, and would pass by the new ones."""
        phis = set(self.phis.values())
        for module in self.model.modules():
            if isinstance(module, nn.TransformerEncoderLayer) and module.activation in phis:
                self._save(module)
                module.activation_relu_or_gelu = 0
            if isinstance(module, nn.TransformerEncoder) and not phis.isdisjoint(module.modules()):
                self._save(module)
                module.use_nested_tensor = False

    def look_around(self, batch: Any) -> Surroundings:
        """What is around the new activations, for one and the same batch."""
        if self.around is None:
            self.around = look_around(self.model, set(self.phis.values()), set(self.mixtures.values()), batch)
        return self.around

    def gates(self) -> list[Call]:
        """The calls whose output the forward around them multiplies with another branch, where torch.fx tells."""
        found = []
        for owner in dict.fromkeys(owner for call in self.phis for owner, _ in call.places):
            calls = {call: phi for call, phi in self.phis.items() if any(holder is owner for holder, _ in call.places)}
            with suppress(ValueError):
                gated = forward_of(owner).gated(set(), set(calls.values()))
                found += [call for call, phi in calls.items() if phi in map(owner.get_submodule, gated)]
        return found

    def note(self, phi: nn.Module, text: str) -> None:
        """Say this of an activation, once."""
        if text not in self.notes.get(phi, ""):
            self.notes[phi] = "; ".join(filter(None, [self.notes.get(phi, ""), text]))
