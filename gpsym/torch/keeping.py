"""A model and the random numbers as they were: modes, buffers, lazy modules, and the values of parameters.

Needs torch and the standard library only: `gpsym export` writes this very code into a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

__all__ = ["Kept", "undone_on_failure", "unmoved"]


class Kept:
    """The state of a model and of random numbers at one moment.

    parameters  those whose values are kept, too, by a copy in memory.
    generator   kept beside torch's global ones.
    """

    def __init__(self, model: nn.Module, parameters: Iterable[Tensor] = (), generator: torch.Generator | None = None):
        self.modes = {module: module.training for module in model.modules()}
        self.buffers = [
            (module._buffers, name, buffer, buffer.detach().clone())
            for module in self.modes
            for name, buffer in module._buffers.items()
            if buffer is not None and not nn.parameter.is_lazy(buffer)
        ]
        self.values = {parameter: parameter.detach().clone() for parameter in parameters}
        self.lazy = [_Lazy(module) for module in self.modes if isinstance(module, LazyModuleMixin)]
        devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
        self.generators = [(torch.default_generator, torch.get_rng_state())]
        self.generators += [(torch.cuda.default_generators[d.index], torch.cuda.get_rng_state(d)) for d in devices]
        if generator is not None:
            self.generators.append((generator, generator.get_state()))

    def restore(self) -> None:
        """Modes, buffers, random numbers, and the values that were kept."""
        for module, mode in self.modes.items():
            module.training = mode
        with torch.no_grad():
            for registered, name, buffer, value in self.buffers:
                registered[name] = buffer
                _put_back(buffer, value)
            for parameter, value in self.values.items():
                _put_back(parameter, value)
        for generator, state in self.generators:
            generator.set_state(state)

    def forget_shapes(self) -> None:
        """Lazy modules that took on their shapes since are lazy again."""
        for lazy in self.lazy:
            lazy.restore()


def _put_back(tensor: Tensor, value: Tensor) -> None:
    """Write the value where it is not there any more: an unchanged tensor may be one that cannot be written."""
    if not torch.allclose(tensor, value, rtol=0, atol=0, equal_nan=True):
        tensor.copy_(value)


class _Lazy:
    """A lazy module with its class, its attributes, and the registries among them."""

    def __init__(self, module: nn.Module):
        self.module, self.kind, self.attributes = module, type(module), dict(vars(module))
        # The registries of parameters, buffers and hooks stay the same objects, to which handles of hooks refer.
        self.registries = [(found, dict(found)) for found in self.attributes.values() if isinstance(found, dict)]
        tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        self.tensors = [(tensor, type(tensor)) for tensor in tensors if nn.parameter.is_lazy(tensor)]

    def restore(self) -> None:
        self.module.__class__ = self.kind
        vars(self.module).clear()
        vars(self.module).update(self.attributes)
        for registry, content in self.registries:
            registry.clear()
            registry.update(content)
        for tensor, kind in self.tensors:
            if not nn.parameter.is_lazy(tensor):
                tensor.data = tensor.new_empty(0)
                tensor.__class__ = kind


@contextmanager
def unmoved(model: nn.Module) -> Iterator[Kept]:
    """Modes, buffers and random numbers are as before behind it; after a failure lazy modules are lazy again."""
    kept = Kept(model)
    try:
        yield kept
    except BaseException:
        kept.restore()
        kept.forget_shapes()
        raise
    kept.restore()


@contextmanager
def undone_on_failure(model: nn.Module, parameters: Iterable[Tensor], generator: Any) -> Iterator[None]:
    """After a failure the model, these parameters of it and the random numbers are as before."""
    kept = Kept(model, parameters, generator)
    try:
        yield
    except BaseException:
        kept.restore()
        kept.forget_shapes()
        raise
