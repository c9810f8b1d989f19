"""Normalizations and layers brought to the design's variance by what a batch measures, where theory has no number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gpsym.torch.rules import Design
from gpsym.torch.sites import Site, is_norm
from gpsym.torch.sparsify.surroundings import Sum
from gpsym.torch.tracing import Graph, call, quiet, tensors_in

__all__ = ["Balance", "balance_", "scale_"]


@torch.no_grad()
def scale_(norms: Iterable[nn.Module], scale: float, shift: float = 0.0) -> float:
    """Give the normalizations this scale and shift; returns the sum of the shifts, 0 where they have none.

    Raises ValueError for one without a scale that may change, unless it is to be 1.
    """
    total = 0.0
    for norm in norms:
        bias = getattr(norm, "bias", None)
        if _has_scale(norm):
            norm.weight.fill_(scale)  # type: ignore[operator]
        elif not math.isclose(scale, 1.0, rel_tol=1e-6):  # float32
            raise ValueError(
                f"sparsify_: need a scale {scale:.6g} in {type(norm).__name__}, which feeds an activation, got one "
                "without a learned scale, or frozen; take a design with q_star = 1, or let it learn a scale."
            )
        if bias is not None and bias.requires_grad:
            bias.fill_(shift)
            total += shift
    return total


def _has_scale(norm: nn.Module) -> bool:
    weight = getattr(norm, "weight", None)
    return weight is not None and weight.requires_grad


@dataclass(frozen=True)
class Balance:
    """What a run over a batch changed.

    scales   activation -> scale of the normalizations in front of it; None where they stay.
    factors  name of a layer -> factor of its weights.
    """

    scales: dict[nn.Module, float | None]
    factors: dict[str, float]


class _Balancing(Graph):
    """A run that changes numbers on its way, so that what comes later sees them changed."""

    def __init__(self, model: nn.Module, activations: set[nn.Module], design: Design, layers: Mapping[nn.Module, Site]):
        super().__init__(set(layers), {module for module in model.modules() if is_norm(module)}, activations)
        self.sites, self.design = layers, design
        self.added: dict[Any, Tensor] = {}  # node -> output of a normalization
        self.done = Balance({}, {})

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        if module in self.others:
            (u,) = tensors_in([args, kwargs])
            return self._balanced(module, u)
        if module in self.sites and self.sites[module].name not in self.done.factors:
            self._scale(self.sites[module], next(tensors_in([args, kwargs])))
        return None

    def _scale(self, site: Site, x: Tensor) -> None:
        """Weights for the mean square of the input, in place of that of the activation, q - b = w E[phi^2]."""
        square = x.detach().double().square().mean().item()
        d = self.design
        factor = math.sqrt((d.q_star - d.sigma_b2) / (square * d.sigma_w2)) if square > 0 else 1.0
        with torch.no_grad():
            if site.weight.is_parametrized:
                setattr(site.owner, site.weight.name, site.weight.read() * factor)
            else:
                site.weight.read().mul_(factor)
        self.done.factors[site.name] = factor

    def _balanced(self, activation: nn.Module, u: Tensor) -> Any:
        """The input of the activation with its normalizations scaled; None where they stay."""
        found = Sum.before(self, u.grad_fn)
        if not found.norms or found.rest != "activations":
            return None
        added = torch.stack([self.added[node] for node in found.nodes]).sum(0)
        rest = (u.detach() - added).double()
        variance = rest.var(correction=0).item()
        self.done.scales[activation] = None
        if variance >= self.design.q_star or not all(map(_has_scale, found.norms)):
            return None
        before = math.sqrt(self.design.q_star / len(found.norms))
        scale = math.sqrt((self.design.q_star - variance) / len(found.norms))
        shift = scale_(found.norms, scale, -rest.mean().item() / len(found.norms))
        self.done.scales[activation] = scale
        return (u + (scale / before - 1) * added + shift,), {}

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        marked = self._marked(module, output)
        if module in self.norms:
            self.added[marked.grad_fn] = marked.detach().clone()  # y += x would change it
        return marked


@torch.no_grad()
def balance_(
    model: nn.Module, activations: set[nn.Module], design: Design, layers: Mapping[nn.Module, Site], batch: Any
) -> Balance:
    """Bring what theory does not know of to variance q_star, by its moments over the batch.

    Normalizations in sums with outputs of activations, as before the activation of a block x + norm(...) whose x is the
    output of an activation before: with mean m and variance v of x, the k normalizations get the scale
    sqrt((q_star - v) / k) and the shift -m / k; where v >= q_star they stay, at sqrt(q_star / k) and 0.

    Layers, of the hidden rule, that something else than the design's activation feeds: their weights are multiplied
    such that their variance is (q_star - sigma_b2) / (fan_in E[x^2]), as of a first layer.
    """
    run = _Balancing(model, activations, design, layers)
    with quiet(model), run.recording(), torch.enable_grad():
        call(model, batch)
    return run.done
