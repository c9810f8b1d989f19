"""One forward and one backward pass through a model, which is left as it was, and what they show of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gpsym.torch.sites import Site, find_sites, is_norm
from gpsym.torch.tracing import Graph, Place, call, quiet, tensors_in

__all__ = ["Loss", "Seen", "passed"]

Loss = Callable[[Any], Tensor]


@dataclass(frozen=True)
class Seen:
    """A weight layer in the passes.

    name        of the module that is called, and site, its weight; of attention, one of its weights.
    x, h        the first tensor that it was called with, and its output, as they then were.
    gradient    of the loss by h; None where the loss does not depend on it.
    place       where it stands, sources what feeds it, and consumers what it feeds: layers and normalizations.
    ends        whether the output of the model depends on it other than through these.
    """

    name: str
    site: Site
    x: Tensor
    h: Tensor
    gradient: Tensor | None
    place: Place
    sources: frozenset[nn.Module]
    consumers: frozenset[nn.Module]
    ends: bool

    @property
    def dim(self) -> int:
        """The dimension of the units, or channels."""
        return 1 if isinstance(self.site.owner, nn.Conv1d | nn.Conv2d | nn.Conv3d) else -1

    @property
    def units(self) -> int:
        """Their number."""
        return self.h.shape[self.dim]


def passed(model: nn.Module, batch: Any, loss: Loss | None) -> dict[nn.Module, Seen]:
    """What the passes show of each weight layer that the model calls, in the order of the first calls.

    loss  from the output to a number; a random combination of all outputs if left out.

    Raises ValueError as `gpsym.torch.diagnose` does for models, batches and losses.
    """
    sites = _sites(model)
    names = {module: name for name, module in model.named_modules()}
    graph = Graph(set(sites), {module for module in model.modules() if is_norm(module)}, set())
    met: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def watch(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        x, h = next(tensors_in([args, kwargs]), None), next(tensors_in(output), None)
        if x is None or h is None or module in met:
            return None
        met[module] = x.detach(), h
        # Activations that work in place then do so on a copy.
        return h.clone() if isinstance(output, Tensor) else None

    with torch.inference_mode(False), torch.enable_grad(), quiet(model):
        with graph.recording(), _watched(sites, watch):
            output = call(model, batch)
        if not met:
            raise ValueError("diagnose: need a weight layer that the model calls, got none; see gpsym.torch.init_.")
        if not graph.finish(output):
            raise ValueError("diagnose: need an output that depends on a layer by the graph, got none; see no_grad.")
        first, (_, h) = next(iter(met.items()))
        _require_pair(names[first], h)
        gradients = torch.autograd.grad(_total(loss, output), [h for _, h in met.values()], allow_unused=True)
    return {
        module: Seen(
            name=names[module],
            site=sites[module],
            x=x,
            h=h.detach(),
            gradient=gradient,
            place=graph.place(module),
            sources=frozenset(graph.sources[module]),
            consumers=frozenset(graph.consumers[module]),
            ends=module in graph.outputs,
        )
        for (module, (x, h)), gradient in zip(met.items(), gradients, strict=True)
    }


def _sites(model: nn.Module) -> dict[nn.Module, Site]:
    sites = {site.module: site for site in find_sites(model)[0]}
    for site in sites.values():
        if site.is_lazy:
            raise ValueError(f"diagnose: need the shape of {site.name!r}, got a lazy layer; run a batch through first.")
    return sites


def _require_pair(name: str, h: Tensor) -> None:
    if h.ndim < 2 or len(h) < 2:
        raise ValueError(
            f"diagnose: need two inputs or more, which make a pair, got {tuple(h.shape)} behind {name!r}; pass more, "
            "along the first dimension."
        )


@contextmanager
def _watched(modules: Iterable[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    handles = [module.register_forward_hook(hook, with_kwargs=True) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _total(loss: Loss | None, output: Any) -> Tensor:
    total = (loss or _random_combination)(output)
    if not isinstance(total, Tensor):
        found = type(total).__name__
    elif total.numel() == 1 and total.requires_grad:
        return total.sum()
    else:
        found = f"a tensor of shape {tuple(total.shape)}, {'with' if total.requires_grad else 'without'} a graph"
    raise ValueError(f"diagnose: need a loss that gives one number with a graph, got {found}; sum it.")


def _random_combination(output: Any) -> Tensor:
    """The sum of all outputs times independent normal numbers, the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    parts = [t for t in tensors_in(output) if t.requires_grad]
    return torch.stack([(torch.randn(t.shape, generator=generator).to(t) * t).sum() for t in parts]).sum()
