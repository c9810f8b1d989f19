"""Initialization of the weight layers of a PyTorch model at the edge of chaos.

Needs torch and the standard library only: `gpsym export` writes this very code into a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import nn

from gpsym.torch.drawing import draw_, require_same_on_all_ranks, require_writable, reshard_
from gpsym.torch.keeping import unmoved
from gpsym.torch.rules import Choice, Design, Rule, find_roles, given_rules, why
from gpsym.torch.sites import Part, Site, Skipped, find_sites, refusal, require_layers
from gpsym.torch.tracing import Place, trace

__all__ = ["InitReport", "LayerReport", "Rule", "Skipped", "aligned", "init_"]


@dataclass(frozen=True)
class LayerReport:
    """What was done to one layer.

    role        first, hidden, readout, normalized, linear, attention, or given by the caller.
    fan_in      number of inputs that add up in one output; a mean, where a transposed convolution has a stride.
    weight_std  standard deviation of the weights; None if they were left as they are.
    bias_std    of the biases; None if there are none, or they were left.
    rule        what was drawn.
    note        why this rule, and what is particular.
    kind        class of the module.
    """

    name: str
    role: str
    fan_in: float
    weight_std: float | None
    bias_std: float | None
    rule: str = ""
    note: str = ""
    kind: str = ""


@dataclass(frozen=True)
class InitReport(Sequence[LayerReport]):
    """What `init_` did: a sequence of the layers that it drew, and what it skipped; prints as a table."""

    layers: tuple[LayerReport, ...]
    skipped: tuple[Skipped, ...]

    def __len__(self) -> int:
        return len(self.layers)

    @overload
    def __getitem__(self, index: int) -> LayerReport: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[LayerReport, ...]: ...

    def __getitem__(self, index: int | slice) -> LayerReport | tuple[LayerReport, ...]:
        return self.layers[index]

    def __str__(self) -> str:
        head = ("layer", "kind", "role", "fan-in", "weight std", "bias std", "rule", "note")
        rows = [
            (r.name, r.kind, r.role, f"{r.fan_in:.6g}", *map(_shown, (r.weight_std, r.bias_std)), r.rule, r.note)
            for r in self.layers
        ]
        table = aligned([head, *rows])
        if not self.skipped:
            return table
        return (
            f"{table}\n\n{aligned([('left alone', 'kind', 'why'), *((s.name, s.kind, s.why) for s in self.skipped)])}"
        )


def _shown(std: float | None) -> str:
    return "-" if std is None else f"{std:.6g}"


def aligned(rows: list[tuple[str, ...]]) -> str:
    """The rows as lines with columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def _drawn(rule: Rule, weight_std: float | None, bias_std: float | None) -> str:
    drawn = "left alone" if weight_std is None else f"N(0, {rule.weight:.6g}/fan_in)"
    if bias_std is None:
        return drawn
    return f"{drawn}, b ~ N(0, {rule.bias:.6g})" if rule.bias else f"{drawn}, b = 0"


class _Planner:
    """Plans site after site, and knows which parameters are taken."""

    def __init__(self, choice: Choice, given: Mapping[str, Rule | None], others: Mapping[nn.Module, Skipped]):
        self.choice, self.given = choice, given
        self.plans: list[tuple[Site, LayerReport]] = []
        self.skipped = list(others.values())
        # Parameter -> why it is not drawn, if another module has it too.
        self.taken = {
            id(parameter): f"tied to {skipped.name}, left alone"
            for module, skipped in others.items()
            if not isinstance(module, nn.MultiheadAttention)  # of its own ones, only tokens are left alone
            for parameter in module.parameters(recurse=False)
        }

    def leave(self, site: Site) -> None:
        """Plan nothing for the site, nor for its parameters wherever else they are."""
        parameters = [parameter for part in site.parts for parameter in part.originals()]
        self.taken |= {id(parameter): f"tied to {site.name}, left alone" for parameter in parameters}
        self.skipped.append(site.skipped("as rules say"))

    def add(self, site: Site, role: str, place: Place | None, traced: bool) -> None:
        kept, *kept_bias = [self._kept(site, part) for part in site.parts]
        if kept and all(kept_bias):
            self.skipped.append(site.skipped(kept))
            return
        given = self.given.get(site.name)
        role, rule = ("given", given) if given else (role, self.choice.rule(site, role, place))
        if site.bias is None and rule.bias > 0 and not (place and place.before_norm):
            raise ValueError(
                f"init_: need a bias in {site.name!r} for its variance {rule.bias:.6g}, got bias=False; add one, or "
                "pass a batch if a normalization follows."
            )
        weight_std = None if kept else math.sqrt(rule.weight / site.fan_in)
        bias_std = math.sqrt(rule.bias) if kept_bias == [""] else None
        notes = [why(site, role, place, traced, self.choice.design.sigma_w2)]
        notes += [f"{part.name} {kept}" for part, kept in zip(site.parts, [kept, *kept_bias], strict=True) if kept]
        note = "; ".join(filter(None, notes))
        row = (role, site.fan_in, weight_std, bias_std, _drawn(rule, weight_std, bias_std), note, site.kind)
        self.plans.append((site, LayerReport(site.name, *row)))

    def _kept(self, site: Site, part: Part) -> str:
        """Why the tensor is not drawn; empty if it is, and no other site will draw it."""
        parameters = part.originals()
        if any(not parameter.requires_grad for parameter in parameters):
            return "frozen"
        for parameter in parameters:
            if reason := self.taken.get(id(parameter)):
                return reason
        self.taken |= {id(parameter): f"tied to {site.name}, drawn there" for parameter in parameters}
        return ""


@torch.no_grad()
def init_(
    model: nn.Module,
    design: Design,
    *,
    input_mean_square: float | None = None,
    first: Rule | None = None,
    readout: Rule | None = None,
    batch: Any = None,
    first_layers: str | Iterable[str] | None = None,
    readout_layers: str | Iterable[str] | None = None,
    rules: Mapping[str, Rule | None] | None = None,
    generator: torch.Generator | None = None,
) -> InitReport:
    """Draw the weights and biases of the model afresh, in place.

    hidden      W ~ N(0, sigma_w2 / fan_in), b ~ N(0, sigma_b2): pre-activations of variance q_star.
    first       W ~ N(0, (q_star - sigma_b2) / (fan_in E[x^2])), b ~ N(0, sigma_b2): its input is data, not an
                activation, so this weight variance brings its output to variance q_star.
    readout     W ~ N(0, 1 / fan_in), b = 0.
    normalized  the rule of the first, with E[x^2] as the normalization makes it of normal numbers: where the output
                goes to an activation it has variance q_star.  chi_1 = 1 is not claimed: the
                normalization has a gradient of its own.
    linear      W ~ N(0, 1 / fan_in), b = 0: the edge of chaos of the identity, V(q) = q.
    attention   W ~ N(0, 1 / fan_in), b = 0, for nn.MultiheadAttention and what follows a softmax.  A convention: theory
                has no fixed point for softmax; queries and keys of an input of mean square 1 have variance 1.

    fan_in is in_features; in_channels / groups times the kernel's size, for transposed convolutions divided by the
    strides; in1_features in2_features for Bilinear.  Of Bilinear both inputs are taken to be independent and alike, so
    E[x^2] is squared: hidden W ~ N(0, sigma_w2^2 / ((q_star - sigma_b2) fan_in)), linear W ~ N(0, 1 / (q_star fan_in)).

    Drawn are Linear, Conv1d to 3d, ConvTranspose1d to 3d, Bilinear, MultiheadAttention and the Conv1D of Hugging Face
    transformers, also under a parametrization that keeps what it is assigned, such as weight_norm, whose sizes then
    are the norms of the drawn weights.  A tied parameter is drawn once, by its first owner's rule.  Frozen parameters
    (requires_grad=False), embeddings and what is tied to one, normalizations and other modules are left alone.

    Without a batch, the first and the last weight layer in the order of registration take the rules of the same name,
    and the others are hidden, attention apart.  With one, the model runs once and roles follow the graph: all layers
    without a layer before (behind) are first (readout); normalized and linear exist only so.  A sum of branches, as
    in a residual network, counts as hidden: sigma_w2 and sigma_b2 must then come from a design for residual layers.

    Arguments
      model              any module; without a batch or names, with at least two weight layers.
      design             has sigma_w2, sigma_b2 and q_star, such as a `gpsym.CriticalInit`.
      input_mean_square  E[x^2] of the input per feature, > 0; measured if left out and there is a batch, else 1.
      first, readout     rules in place of the two above; Rule(design.sigma_w2, design.sigma_b2) is the hidden one.
      batch              a tensor, tuple of arguments or mapping of keyword arguments to call the model with; gives lazy
                         layers their shapes.  Of a sharded model the same on all ranks.
      first_layers, readout_layers
                         names of modules in place of those found, as in model.named_modules().
      rules              rules of modules and all in them by name, before all others; None leaves them alone.
      generator          source of the random numbers, torch's global one if None.  The numbers are the same for all
                         devices of the parameters, for sharded parameters (DTensor, FSDP2) and whole ones, and for
                         half precision and float32 rounded to it.

    Returns what was done, layer by layer, and what was not.

    Raises ValueError, before anything is written and with all as it was, for a bias that is missing though its rule has
    variance and no normalization follows; layers that are lazy, empty or on the meta device; complex and integer
    weights; weights that a hook computes; expanded weights, and others that share a place in memory; weights that
    cannot be written, such as those made under torch.inference_mode; modules of torch.jit and torch.export, and
    quantized ones; parametrizations that change what they are assigned (spectral_norm: its largest singular value is
    always 1); unknown names; and ranks of a sharded model whose generators or batches differ.

    Source: Price et al. 2024 for the hidden layers, at the edge of chaos V(q*) = q*, chi_1(q*) = 1; the fan-in is that
    of He et al. 2015, section 2.2.
    """
    require_layers("init_", model)
    with unmoved(model):
        planner = _planned(model, Choice(design, input_mean_square, first, readout), batch, first_layers,
                           readout_layers, rules)  # fmt: skip
        plans = planner.plans
        reshard_(model)
        require_writable(model, [(site.name, part) for site, row in plans for part, _ in _draws(site, row)])
        tensors = [tensor for site, _ in plans for tensor in site.weight.originals()]
        require_same_on_all_ranks(tensors, [(row.name, row.weight_std, row.bias_std) for _, row in plans], generator)
    for site, row in plans:
        for part, std in _draws(site, row):
            draw_(part, std, generator)
    return InitReport(tuple(row for _, row in plans), tuple(planner.skipped))


def _planned(
    model: nn.Module,
    choice: Choice,
    batch: Any,
    first_layers: str | Iterable[str] | None,
    readout_layers: str | Iterable[str] | None,
    rules: Mapping[str, Rule | None] | None,
) -> _Planner:
    """What `init_` is to do.  Raises ValueError for what cannot be drawn."""
    sites, others = find_sites(model)
    given = given_rules(rules, model, sites) if rules else {}
    left = [site for site in sites if site.name in given and given[site.name] is None]
    wanted = [site for site in sites if site not in left]
    lazy = [] if batch is None else [site for site in wanted if site.is_lazy]  # these get their shapes from the batch
    _require_drawable(site for site in wanted if site not in lazy)
    places = None if batch is None else trace(model, {site.module for site in sites}, batch)
    _require_drawable(lazy)
    roles = find_roles(sites, places, first_layers, readout_layers)
    planner = _Planner(choice, given, others)
    for site in left:
        planner.leave(site)
    for site in wanted:
        planner.add(site, roles[site.name], (places or {}).get(site.module), places is not None)
    return planner


def _draws(site: Site, row: LayerReport) -> list[tuple[Part, float]]:
    """The tensors of the site that are drawn, with their standard deviations."""
    both = zip(site.parts, (row.weight_std, row.bias_std), strict=False)
    return [(part, std) for part, std in both if std is not None]


def _require_drawable(sites: Iterable[Site]) -> None:
    for site in sites:
        if why_not := refusal(site):
            raise ValueError(f"init_: {why_not}")
