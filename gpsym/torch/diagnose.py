"""Where a network goes wrong: its hidden layers in one forward and backward pass, beside theory (`gpsym.diagnosis`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gpsym.design import CriticalInit
from gpsym.diagnosis import Diagnosis, Measured
from gpsym.torch.layers import BorderScaled
from gpsym.torch.modules import activation_module
from gpsym.torch.passes import Loss, Seen, passed
from gpsym.torch.rules import Choice
from gpsym.torch.sites import is_hugging_face_linear
from gpsym.torch.tracing import tensors_in

__all__ = ["diagnose"]

Array = NDArray[np.float64]

_MOST_PAIRS = 64  # more would make the mean correlation hardly surer: all share the weights


def diagnose(
    model: nn.Module,
    batch: Any,
    design: CriticalInit,
    *,
    loss: Loss | None = None,
    input_mean_square: float | None = None,
    risk: float = 0.01,
) -> Diagnosis:
    """Measure every hidden layer in one forward and one backward pass, and judge it by the design.

    A hidden layer is a weight layer that feeds another.  Measured are the mean square of its pre-activations, the gain
    of its weights, the share of zeros behind its activation, the norm of the gradient by its pre-activations, and the
    correlation of two inputs.  Theory is that of random networks as `init_` draws them, with bands by the widths of the
    layers; `gpsym.diagnosis` says how each comes about.  It speaks of one stack: Linear and convolutions (not grouped),
    each fed by the one before through an activation and nothing else, from the first layer on.  Of what a residual
    sum, attention, normalization or pooling feeds, and all behind it, only the measured numbers are given.

    model   any module with a hidden layer; runs in evaluation mode, but for batch normalization, which normalizes.
            It is left as it was: modes, buffers, gradients, hooks, and the state of random numbers.
    batch   a tensor, tuple of arguments or mapping of keyword arguments to call the model with; two inputs or more,
            in the first dimension.  Neighbours are paired.
    design  that the model was initialised with.
    loss    from the output of the model to a number; a random combination of all outputs if left out.
    input_mean_square
            E[x^2] of the inputs per feature that the first layer was initialised for; measured if left out.  Bands
            start from the inputs as they are: large ones have a large variance in the first layer, rightly.
    risk    probability, at most, that some band does not hold for a sound network, as far as all are exact; in (0, 1).

    Zero padding costs variance, which is found as such (`gpsym.layers.padding`).  A layer of zeros and an escape are
    reported also where a sound network has them by chance (`gpsym.finite_width`).

    Raises ValueError for a model without a hidden layer, fewer than two inputs, inputs that are zero or not finite,
    lazy layers, a loss that is no number or does not depend on the model, and numbers out of range.

    Source: gpsym.
    """
    from gpsym.diagnosis.judge import judged  # loads much of scipy, which activations do without

    if input_mean_square is not None and not (math.isfinite(input_mean_square) and input_mean_square > 0):
        raise ValueError(f"diagnose: need input_mean_square > 0, got {input_mean_square}; pass the mean of x**2.")
    if not all(torch.isfinite(tensor).all() for tensor in tensors_in(batch)):
        raise ValueError("diagnose: need finite inputs, got NaN or infinity in the batch; clean the data.")
    seen = passed(model, batch, loss)
    if all(s.place.role == "readout" for s in seen.values()):
        raise ValueError(f"diagnose: need a hidden layer, got {len(seen)} weight layers that feed no other; add one.")
    scaled: set[nn.Module] = {module.conv for module in model.modules() if isinstance(module, BorderScaled)}
    reasons, stack = _cover(seen, scaled)
    choice = Choice(design, input_mean_square, None, None)
    theory = _start(seen[stack[0]], choice) if stack else ((design.q_star,), 1.0)  # of no use without one
    phi = activation_module(design)
    layers = [_measured(seen, module, reasons[module], stack, choice, phi) for module in reasons]
    return judged(layers, design, *theory, risk)


def _cover(seen: dict[nn.Module, Seen], scaled: set[nn.Module]) -> tuple[dict[nn.Module, str], list[nn.Module]]:
    """Of each hidden layer why theory does not speak of it, empty if it does; and the stack of which it does.

    scaled  convolutions whose outputs are scaled at the border.
    """
    reasons: dict[nn.Module, str] = {}
    stack: list[nn.Module] = []
    for module, s in seen.items():
        if s.place.role == "readout":
            continue
        reasons[module] = "scaled at the border" if module in scaled else _why_not(s, seen, stack)
        if not reasons[module]:
            stack.append(module)
    return reasons, stack


# Roles that theory does not speak of, and why.
_NO_THEORY = {"normalized": "normalized", "attention": "attention", "linear": "no activation before it"}


def _why_not(s: Seen, seen: dict[nn.Module, Seen], stack: list[nn.Module]) -> str:
    owner, place = s.site.owner, s.place
    plain = isinstance(owner, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) or is_hugging_face_linear(owner)
    reasons = (
        ("attention", s.site.is_attention),
        (_NO_THEORY.get(place.role, ""), place.role in _NO_THEORY),
        (type(owner).__name__, not plain),
        ("grouped", getattr(owner, "groups", 1) > 1),
        (f"called {place.calls} times", place.calls > 1),
        ("normalized", place.before_norm or place.after_norm),
        ("another batch size", len(s.h) != len(next(iter(seen.values())).h)),
        ("another first layer", place.role == "first" and bool(stack)),
        (f"sum or union of {len(s.sources)} branches", len(s.sources) > 1),
    )
    if why := next((why for why, is_so in reasons if is_so), ""):
        return why
    if place.role == "first":
        return ""
    if not stack or s.sources != {stack[-1]}:
        return "behind what theory does not cover"
    return "" if s.x.numel() == seen[stack[-1]].h.numel() else "more than an activation before it"


def _start(s: Seen, choice: Choice) -> tuple[Sequence[float], float]:
    """What theory gives for the first layer: the variance of each input, and the mean correlation of neighbours."""
    x, y = (s.x[k : 2 * (len(s.x) // 2) : 2][:_MOST_PAIRS] for k in (0, 1))
    if not s.x.any():
        raise ValueError(f"diagnose: need inputs that are not all zero, got only zeros at {s.name!r}; pass others.")
    b = choice.design.sigma_b2
    q, q1, q2, k = (_expected(s, a, c, choice) + b for a, c in ((s.x, s.x), (x, x), (y, y), (x, y)))
    q, q1, q2 = (np.maximum(v, 1e-12 * choice.design.q_star) for v in (q, q1, q2))  # inputs of zeros
    return q.tolist(), float(np.clip(k / np.sqrt(q1 * q2), -1, 1).mean())


def _expected(s: Seen, x: Tensor, y: Tensor, choice: Choice) -> Array:
    """(w / fan_in) sum x_i y_i over what adds up in an output, mean over positions, (B,); w the layer's rule."""
    weight = choice.rule(s.site, s.place.role, s.place).weight / s.site.fan_in
    product, owner = x.double() * y.double(), s.site.owner
    if isinstance(owner, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        ones: Any = product.new_ones(1, product.shape[1], *owner.kernel_size)
        sums = owner._conv_forward(product, ones, None)  # with the layer's own padding and stride
    else:
        sums = product.sum(-1)
    return _array(weight * sums.flatten(1).mean(1) if sums.ndim > 1 else weight * sums)


def _array(x: Tensor) -> Array:
    return x.cpu().numpy()


def _measured(
    seen: dict[nn.Module, Seen],
    module: nn.Module,
    uncovered: str,
    stack: Sequence[nn.Module],
    choice: Choice,
    phi: nn.Module,
) -> Measured:
    s = seen[module]
    h = s.h.double()
    behind = next((other for m, other in seen.items() if m in s.consumers), None)  # the first that it feeds
    alone = behind is not None and behind.sources == {module}
    gradient, last = _norms(s, seen[stack[-1]] if stack else s)
    return Measured(
        name=s.name,
        units=s.units,
        positions=h[0].numel() // s.units,
        uncovered=uncovered,
        variances=_array(h.flatten(1).square().mean(1)),
        gain=math.nan if uncovered else _gain(s, h, choice),
        zeros=math.nan if behind is None else (behind.x == 0).double().mean().item(),
        activated=_activated(s.h, behind.x, phi) if behind is not None and alone else None,
        gradient=gradient,
        last=last,
        linked=_linked(seen, module, stack),
        correlation=_correlation(h),
        finite=bool(h.isfinite().all()),
    )


def _gain(s: Seen, h: Tensor, choice: Choice) -> float:
    """Mean square of the pre-activations without the bias over what theory expects of it for the layer's input."""
    if s.site.bias is not None:
        bias = s.site.bias.read().detach().double()
        h = h - (bias if s.dim == -1 else bias.view(-1, *[1] * (h.ndim - 2)))
    expected = _expected(s, s.x, s.x, choice).mean()
    return h.square().mean().item() / expected if expected > 0 else math.nan


def _activated(h: Tensor, after: Tensor, phi: nn.Module) -> bool | None:
    """Whether `after` has the numbers phi(h), in any order; None where it has more or fewer."""
    if h.numel() != after.numel():
        return None
    wanted, found = (x.double().flatten().sort().values for x in (phi.to(h.device)(h), after))
    scale = h.double().abs().max().item()
    return bool(((wanted - found).abs() <= 64 * torch.finfo(h.dtype).eps * scale).all())


def _norms(s: Seen, last: Seen) -> tuple[float, float]:
    """Geometric means of the norms of the gradients in a layer and the last, over inputs that have one in the layer."""
    if s.gradient is None or last.gradient is None or len(s.gradient) != len(last.gradient):
        return (0.0 if s.gradient is None else _geometric_mean(_norm(s.gradient))), 0.0
    here, there = _norm(s.gradient), _norm(last.gradient)
    return _geometric_mean(here), _geometric_mean(there[here != 0])


def _norm(gradient: Tensor) -> Tensor:
    return gradient.double().flatten(1).norm(dim=1)


def _geometric_mean(norms: Tensor) -> float:
    """Of those that are not 0; 0 if there are none."""
    norms = norms[norms != 0]
    return norms.log().mean().exp().item() if len(norms) else 0.0


def _linked(seen: dict[nn.Module, Seen], module: nn.Module, stack: Sequence[nn.Module]) -> bool:
    """Whether the layers of the stack from this one on feed the next alone."""
    if module not in stack:
        return False
    onward = stack[stack.index(module) :]
    return all(seen[m].consumers == {after} and not seen[m].ends for m, after in pairwise(onward))


def _correlation(h: Tensor) -> float:
    """Mean cosine of neighbours, inputs 0 and 1, 2 and 3, and so on."""
    x, y = (h[k : 2 * (len(h) // 2) : 2][:_MOST_PAIRS].flatten(1) for k in (0, 1))
    return nn.functional.cosine_similarity(x, y, dim=1).mean().item()
