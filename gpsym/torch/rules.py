"""Which variances a layer is drawn with, by its place in the network.

Needs torch and the standard library only: `gpsym export` writes this very code into a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from gpsym.torch.sites import TRANSPOSED, Site
from gpsym.torch.tracing import Place

__all__ = ["Choice", "Design", "Rule", "find_roles", "given_rules", "why"]


class Design(Protocol):
    """What `init_` needs of a design: sigma_w2 and sigma_b2 put a hidden layer at variance q_star."""

    @property
    def sigma_w2(self) -> float: ...

    @property
    def sigma_b2(self) -> float: ...

    @property
    def q_star(self) -> float: ...


@dataclass(frozen=True)
class Rule:
    """Weights are drawn from N(0, weight / fan_in) and biases from N(0, bias); both finite and >= 0."""

    weight: float
    bias: float

    def __post_init__(self) -> None:
        for name, variance in (("weight", self.weight), ("bias", self.bias)):
            if not (math.isfinite(variance) and variance >= 0):
                raise ValueError(f"Rule: need {name} >= 0 and finite, got {variance}; pass a variance.")


@dataclass(frozen=True)
class Choice:
    """What the caller of `init_` chose: the design and what goes before it."""

    design: Design
    input_mean_square: float | None
    first: Rule | None
    readout: Rule | None

    def __post_init__(self) -> None:
        square = self.input_mean_square
        if not (square is None or (math.isfinite(square) and square > 0)):
            raise ValueError(f"init_: need input_mean_square > 0, got {square}; pass the mean of x**2.")

    def rule(self, site: Site, role: str, place: Place | None) -> Rule:
        """The rule of a site in its role, with what the trace measured there."""
        chosen = {"first": self.first, "readout": self.readout}.get(role)
        if chosen is not None:
            return chosen
        q, w, b = self.design.q_star, self.design.sigma_w2, self.design.sigma_b2
        inputs = 2 if isinstance(site.owner, nn.Bilinear) else 1  # of mean square (q - b) / w each, if hidden
        if role == "hidden":
            return Rule(w if inputs == 1 else w * w / (q - b), b)
        if role in ("first", "normalized"):
            return Rule((q - b) / self._mean_square(site, role, inputs, place), b)
        return _KEEP if role != "linear" or inputs == 1 else Rule(1 / q, 0.0)

    def _mean_square(self, site: Site, role: str, inputs: int, place: Place | None) -> float:
        if role == "first" and self.input_mean_square is not None:
            return self.input_mean_square**inputs
        if place is None:
            return 1.0
        if not (math.isfinite(place.mean_square) and place.mean_square > 0):
            raise ValueError(
                f"init_: need a batch that reaches {site.name!r} with a finite mean square > 0, "
                f"got {place.mean_square}; pass another."
            )
        return place.mean_square


_KEEP = Rule(1.0, 0.0)  # an output of the variance of the input's mean square


def given_rules(rules: Mapping[str, Rule | None], model: nn.Module, sites: Iterable[Site]) -> dict[str, Rule | None]:
    """The rule of each site by name that one is given for: of the longest key that names it, or a module around it."""
    names = [site.name for site in sites]
    known = {*dict(model.named_modules()), *names}
    if unknown := [key for key in rules if key not in known]:
        raise ValueError(f"init_: need names of modules in rules, got {unknown[0]!r}; see model.named_modules().")
    found = {name: [key for key in rules if key in ("", name) or name.startswith(f"{key}.")] for name in names}
    return {name: rules[max(keys, key=len)] for name, keys in found.items() if keys}


def find_roles(
    sites: list[Site],
    places: Mapping[nn.Module, Place] | None,
    first_layers: str | Iterable[str] | None,
    readout_layers: str | Iterable[str] | None,
) -> dict[str, str]:
    """The role of each site by name: from the trace if there was one, else by order, with names before both."""
    plain = [site for site in sites if not site.is_attention]
    if places is not None:
        found = {site.name: places[site.module].role if site.module in places else "hidden" for site in plain}
    else:
        if len(plain) < 2 and (first_layers is None or readout_layers is None):
            raise ValueError(
                f"init_: need at least two Linear or Conv layers, got {len(plain)}; one is the first, one the readout. "
                "Or pass a batch."
            )
        found = {site.name: "hidden" for site in plain}
        if plain:
            found |= {plain[0].name: "first", plain[-1].name: "readout"}
    for role, names in (("first", first_layers), ("readout", readout_layers)):
        if names is not None:
            found = _renamed(found, role, {names} if isinstance(names, str) else set(names))
    return found | {site.name: "attention" for site in sites if site.is_attention}


def _renamed(found: dict[str, str], role: str, names: set[str]) -> dict[str, str]:
    if unknown := sorted(names - found.keys()):
        raise ValueError(f"init_: need names of weight layers, got {unknown[0]!r}; choose from {', '.join(found)}.")
    others = {name: "hidden" if was == role else was for name, was in found.items()}
    return others | dict.fromkeys(names, role)


_WHY = {
    "first": "its input is data",
    "hidden": "",
    "readout": "no layer behind it",
    "normalized": "fed by normalization alone; variance q_star, chi_1 not controlled",
    "linear": "fed by layers without an activation; edge of chaos of the identity",
    "attention": "by convention: theory has no fixed point for softmax",
    "given": "by the caller's rules",
}
_BY_ORDER = {"first": "first in the order of registration", "readout": "last in the order of registration"}


_FEW = 10  # the variance of a unit then varies by about 1 / sqrt(10), a third of it


def why(site: Site, role: str, place: Place | None, traced: bool, sigma_w2: float) -> str:
    """The reason for the role, and what is particular about the site."""
    reasons = [_WHY[role] if traced or role in ("attention", "given") else _BY_ORDER.get(role, "")]
    if traced and place is None:
        reasons.append("not called for the batch")
    if place is not None:
        if role in ("first", "normalized"):
            reasons.append(f"E[x^2] = {place.mean_square:.6g} measured")
        if place.after_norm:
            reasons.append("normalized before its activation: the rule holds for q_star = 1 there")
        if role == "hidden" and place.branches > 1:
            reasons.append(f"its input joins {place.branches} branches: sums need a residual design")
        if place.before_norm:
            reasons.append("normalized behind: the scale of W does not matter forward")
        if place.calls > 1:
            reasons.append(f"called {place.calls} times: theory takes weights to be independent")
    active = site.fan_in / sigma_w2  # 1 / sigma_w2 = E phi'^2, the share of inputs that are not clipped or zero
    if role == "hidden" and active < _FEW:
        reasons.append(f"about {active:.2g} active inputs: far from normal, the sparsity will differ")
    owner = site.owner
    if isinstance(owner, TRANSPOSED) and any(k % s for k, s in zip(owner.kernel_size, owner.stride, strict=True)):
        reasons.append("stride does not divide the kernel: the variance differs among positions, q_star is its mean")
    return "; ".join(filter(None, reasons))
