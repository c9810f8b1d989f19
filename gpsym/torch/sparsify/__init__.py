"""The activations of an existing model swapped for those of a design, and the model initialised for them.

calls         activations of a model: modules, functions that a module holds, and calls in forwards (forwards)
swapping      those of the design in their place, and all as it was before
surroundings  what is around them in the graph of a batch: gates, outputs, sums
balancing     the variances that `init_` cannot bring to q_star
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import torch
from torch import nn

from gpsym.design import CriticalInit
from gpsym.layers.residual import require_alpha
from gpsym.torch.init import InitReport, aligned, init_
from gpsym.torch.keeping import undone_on_failure
from gpsym.torch.rules import given_rules
from gpsym.torch.sites import Skipped, find_sites, is_norm, require_layers
from gpsym.torch.sparsify.balancing import balance_, scale_
from gpsym.torch.sparsify.calls import Call, find_calls
from gpsym.torch.sparsify.surroundings import Sum, measure
from gpsym.torch.sparsify.swapping import Swapping

__all__ = ["SparsifyReport", "Swapped", "sparsify_"]


@dataclass(frozen=True)
class Swapped:
    """One activation that was swapped.

    name      of the module or attribute; of a call in a forward, the name of the module and that of the call.
    old, new  class of the module, or name of the function, before; class of the module now.
    zeros     measured fraction of zeros in the output, and
    variance  mean square of the input, over the batch; None without one, or if it did not reach the activation.
    note      what is particular.
    """

    name: str
    old: str
    new: str
    zeros: float | None = None
    variance: float | None = None
    note: str = ""


@dataclass(frozen=True)
class SparsifyReport:
    """What `sparsify_` did; prints as tables.

    swapped   the activations that were swapped.
    left      those that were left as they are, and why.
    mixed     names of the residual sums that are mixtures now.
    init      what `init_` did; None if it was not called.
    sparsity  of the design, the expected fraction of zeros, and q_star, the expected variance.
    """

    swapped: tuple[Swapped, ...]
    left: tuple[Skipped, ...]
    mixed: tuple[str, ...]
    init: InitReport | None
    sparsity: float
    q_star: float

    @property
    def zeros(self) -> float:
        """The mean of the measured fractions of zeros; NaN without a batch."""
        return fmean([s.zeros for s in self.swapped if s.zeros is not None] or [math.nan])

    def __str__(self) -> str:
        rows = [(s.name, s.old, s.new, _shown(s.zeros), _shown(s.variance), s.note) for s in self.swapped]
        expected = ("design", "", "", _shown(self.sparsity), _shown(self.q_star), "")
        mean = ("mean", "", "", _shown(None if math.isnan(self.zeros) else self.zeros), "", "")
        tables = [aligned([("swapped", "was", "is", "zeros", "variance", "note"), *rows, mean, expected])]
        if self.left:
            tables.append(aligned([("left", "kind", "why"), *((s.name, s.kind, s.why) for s in self.left)]))
        if self.mixed:
            tables.append(aligned([("mixed residual sums",), *((name,) for name in self.mixed)]))
        return "\n\n".join([*tables, *([str(self.init)] if self.init is not None else [])])


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


@torch.no_grad()
def sparsify_(
    model: nn.Module,
    design: CriticalInit,
    *,
    batch: Any = None,
    leave: str | Iterable[str] = (),
    swap: str | Iterable[str] = (),
    alpha: float | None = None,
    initialise: bool = True,
    **options: Any,
) -> SparsifyReport:
    """Put the activation of the design in place of the hidden activations of a model, and initialise it, in place.

    Swapped are modules (those of torch.nn and gpsym, of transformers and other libraries by name), functions that a
    module holds, as nn.TransformerEncoderLayer does, and calls such as F.relu(x) and x.relu() in the forward of a
    module, where torch.fx can follow that.  Which of them:

    hidden  ReLU, ReLU6, LeakyReLU, RReLU, ELU, CELU, SELU, GELU, SiLU, Mish, Hardswish, Threshold, the shrinks and
            their kin; with a batch those alone that have a layer in front and a weight layer behind.
    either  Tanh, Hardtanh, Softsign, Softplus: where the batch shows a layer in front and a weight layer behind.
    never   Sigmoid, LogSigmoid, Hardsigmoid, Softmax: gates and probabilities; what has parameters, as PReLU, whose
            keys would go from the state_dict; recurrent layers.

    Keys of the state_dict stay, copy.deepcopy and train() work.  A module whose own forward is changed takes on a
    class derived from its own, with the numbers and flags of the forward as they are now; it cannot be pickled whole:
    save the state_dict.  A model built anew from its config has its old activations: call this again, with
    initialise=False, before loading.

    With a batch, and unless initialise is False, the variance in front of each activation is brought to q_star.

    after a weight layer     by `init_`, with the roles found by the batch.
    after a normalization    its scale becomes sqrt(q_star), of k that are added up sqrt(q_star / k), its shift 0.  The
                             sparsity is that of the design; gradients are not controlled (`gpsym.layers.normalised`).
    after a normalization and activations, added up, as in ResNets, where activations are behind the sums
                             scale sqrt((q_star - v) / k), shift -m / k, for the measured mean m and variance v of what
                             is added.  The sum is not normal: the sparsity is near that of the design only.
    after layers that something else feeds, such as an activation that is left
                             by `init_`, then with weights for the measured mean square of the input.
    after a residual sum     alpha, such as `gpsym.layers.residual.mixing` gives, turns x + branch(x) into
                             sqrt(1 - alpha^2) x + alpha branch(x) where the branch has an activation, the skip
                             connection none, and torch.fx can follow the forward.  Without alpha sums stay: of L
                             branches the variance then is (L + 1) q_star, unless a normalization reads it.

    Attention stays: what leads to softmax alone is drawn from N(0, 1 / fan_in) with bias 0.

    Arguments
      design      a `gpsym.CriticalInit`.
      batch       as of `init_`; without it roles go by order, gates are found in one forward only, normalizations
                  keep their scales, and no fraction of zeros is measured.
      leave       names, or patterns such as "*.act_fn", of what stays, with all inside.
      swap        names or patterns of modules to swap whatever they are, or have behind.
      alpha       in (0, 1], see above; None leaves residual sums.
      initialise  whether to draw weights; if not, only activations (and sums) change.
      options     of `init_`: input_mean_square, generator, rules and others.

    Returns what was swapped, with the measured fractions of zeros, and what was left.

    With a batch, a copy of the weights is kept until it is done, from which a pass that fails restores them.

    Raises ValueError, with all as it was before, for a model without activations to swap; for an activation whose
    output is multiplied with another branch, as in gated MLPs (LLaMA), GLU and squeeze-and-excitation, because the
    design's variances are not those of products; for a normalization before an activation that has no scale, unless
    q_star = 1; for alpha where there is no such sum, or its skip connection carries the output of an activation; for
    modules of torch.jit and torch.export, and quantized ones; on the meta device, unless neither batch nor weights are
    wanted; and what `init_` refuses.

    >>> from gpsym import edge_of_chaos
    >>> model = nn.Sequential(nn.Linear(8, 500), nn.GELU(), nn.Linear(500, 500), nn.GELU(), nn.Linear(500, 1))
    >>> report = sparsify_(model, edge_of_chaos("crelu", sparsity=0.85, slope=0.7), batch=torch.randn(9, 8))
    >>> model[1], [(swapped.name, swapped.old) for swapped in report.swapped]  # doctest: +ELLIPSIS
    (ClippedReLU(tau=1.03..., m=1.17...), [('1', 'GELU'), ('3', 'GELU')])
    """
    require_layers("sparsify_", model)
    if alpha is not None:
        require_alpha("sparsify_", alpha)
    if options and not initialise:
        raise ValueError(f"sparsify_: need initialise=True for {', '.join(options)}, got False; leave one out.")
    if (batch is not None or initialise) and any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError(
            "sparsify_: need memory for the parameters, got the meta device; call model.to_empty(device=...) first, or "
            "pass initialise=False and no batch."
        )
    # `init_` refuses before it writes; passes that come behind it can fail, too.
    written = [] if batch is None or not initialise else _weights_and_scales(model)
    with undone_on_failure(model, written, options.get("generator")):
        found = find_calls(model, leave, swap)
        _refuse_gates(found.gates)
        swapping = Swapping(model, design, alpha)
        try:
            left = [*found.left, *_choose(swapping, found.calls, batch)]
            _require_some(swapping, left)
            init = _initialise(swapping, batch, options) if initialise else None
            measured = {} if batch is None else measure(model, swapping.phis.values(), batch)
        except BaseException:
            swapping.undo()
            raise
    swapped = [
        Swapped(call.name, call.kind, type(phi).__name__, *measured.get(phi, (None, None)), swapping.notes.get(phi, ""))
        for call, phi in swapping.phis.items()
    ]
    return SparsifyReport(tuple(swapped), tuple(left), tuple(swapping.mixtures), init, design.sparsity, design.q_star)


def _weights_and_scales(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that `sparsify_` can write."""
    norms = [parameter for module in model.modules() if is_norm(module) for parameter in module.parameters()]
    originals = [original for site in find_sites(model)[0] for part in site.parts for original in part.originals()]
    return [p for p in {*norms, *originals} if p.requires_grad and not nn.parameter.is_lazy(p)]


def _choose(swapping: Swapping, calls: Sequence[Call], batch: Any) -> list[Skipped]:
    """Swap those activations that are hidden ones; returns the others, and why.  Raises ValueError for gates."""
    swapping.put(calls)
    gated, why = _judged(swapping) if batch is None else _judged_by(swapping, batch)
    _refuse_gates([Skipped(call.name, call.kind, "") for call in gated if call.rule != "either"])
    why |= dict.fromkeys(gated, "multiplied with another branch: a gate")
    left = [Skipped(call.name, call.kind, why[call]) for call in calls if why.get(call)]
    if left:
        swapping.put([call for call in calls if not why.get(call)])
    return left


def _judged(swapping: Swapping) -> tuple[list[Call], dict[Call, str]]:
    """(gates, call -> why it is not hidden) as far as that can be said without a batch."""
    unsure = [call for call in swapping.phis if call.rule == "either"]
    return swapping.gates(), dict.fromkeys(unsure, "hidden, an output or a gate: pass a batch, or name it in swap")


def _judged_by(swapping: Swapping, batch: Any) -> tuple[list[Call], dict[Call, str]]:
    """(gates, call -> why it is not hidden, empty if it is) by the graph of a batch."""
    if not swapping.phis:
        return [], {}
    around = swapping.look_around(batch)
    multiplied = around.gated()
    gated = [call for call, phi in swapping.phis.items() if phi in multiplied]
    return gated, {call: around.why_not_hidden(phi) for call, phi in swapping.phis.items() if call.rule != "given"}


def _initialise(swapping: Swapping, batch: Any, options: Mapping[str, Any]) -> InitReport:
    """Call `init_`, with the normalizations that feed activations scaled such that these get variance q_star."""
    model, design = swapping.model, swapping.design
    if batch is None:
        return init_(model, design, **options)
    around = swapping.look_around(batch)
    if around.has_active_skip():
        raise ValueError(
            f"sparsify_: need skip connections of variance q_star = {design.q_star:g} for alpha, got one that carries "
            "the output of an activation, as where the activation is behind the sum; leave alpha out."
        )
    for phi, sums in around.sums().items():
        for added in sums:
            _scale(swapping, phi, added)
    rules = options.get("rules") or {}
    theirs = given_rules(rules, model, find_sites(model)[0])
    ours = {name: rule for name, rule in around.rules().items() if name not in theirs}
    report = init_(model, design, **{**options, "batch": batch, "rules": {**ours, **rules}})
    drawn = {layer.name for layer in report if layer.role == "hidden" and layer.weight_std is not None}
    others = {s.module: s for s in find_sites(model)[0] if s.name in drawn and around.fed_otherwise(s.module)}
    balance = balance_(model, set(swapping.phis.values()), design, others, batch)
    for phi, scale in balance.scales.items():
        note = "stays" if scale is None else f"has the scale {scale:.4g}"
        swapping.note(phi, f"added to an activation, the normalization in front {note}")
    return _explained(report, set(ours), balance.factors, swapping)


def _explained(report: InitReport, ours: Set[str], factors: Mapping[str, float], swapping: Swapping) -> InitReport:
    """The report with what has been done besides `init_`."""
    layers = []
    for layer in report:
        if layer.name in ours:
            layer = replace(layer, note="keeps the mean square: fed by a sum without an activation, or attended")
        elif (factor := factors.get(layer.name)) is not None and layer.weight_std is not None:
            variance = (layer.weight_std * factor) ** 2 * layer.fan_in
            rule = f"N(0, {variance:.6g}/fan_in){layer.rule.partition('fan_in)')[2]}"
            note = "by the measured mean square of its input, which no swapped activation feeds"
            layer = replace(layer, weight_std=layer.weight_std * factor, rule=rule, note=note)
        layers.append(layer)
    scaled = {swapping.names[norm] for norm in swapping.scaled}
    skipped = (replace(s, why="scaled for the activation behind") if s.name in scaled else s for s in report.skipped)
    return InitReport(tuple(layers), tuple(skipped))


def _scale(swapping: Swapping, phi: nn.Module, added: Sum) -> None:
    """Scale the normalizations in front of an activation, as if no other activations were added."""
    swapping.scaled.update(added.norms)
    scale = math.sqrt(swapping.design.q_star / len(added.norms))
    if added.rest != "other":
        scale_(added.norms, scale)
    if added.rest == "alone":
        swapping.note(phi, f"normalized in front, with the scale {scale:.4g}")
    elif added.rest == "other":
        swapping.note(phi, "in front a normalization and other layers are added: the variance is not q_star")


def _refuse_gates(gates: Sequence[Skipped]) -> None:
    """Raises ValueError if there are any."""
    if gates:
        first, more = gates[0], f" and {len(gates) - 1} more" if len(gates) > 1 else ""
        raise ValueError(
            f"sparsify_: need hidden activations that weight layers read, got {first.name!r} ({first.kind}){more}, "
            "whose output is multiplied with another branch: a gate, and the design knows no variance of products; "
            f"pass leave={first.name!r} or a pattern to keep it, or build the layer of gpsym.torch.Gated with a design "
            "of gpsym.layers.gated.edge_of_chaos."
        )


def _require_some(swapping: Swapping, left: Sequence[Skipped]) -> None:
    """Raises ValueError unless there are activations to swap, and sums to mix if they are to be."""
    if not swapping.phis:
        others = "; ".join(f"{skipped.name} ({skipped.kind}): {skipped.why}" for skipped in left[:3])
        raise ValueError(
            f"sparsify_: need a hidden activation to swap, got none{f' but {others}' if others else ''}; name "
            "modules in swap, or put gpsym.torch.activation_module(design) into the model by hand."
        )
    if swapping.alpha is not None and not swapping.mixtures:
        raise ValueError(
            "sparsify_: need a sum of a skip connection and a branch with an activation for alpha, got none that "
            "torch.fx can see; leave alpha out, or build the blocks of gpsym.torch.Residual."
        )
