"""The weights of a model: which modules have them, what their fan-in is, and which cannot be drawn.

Needs torch and the standard library only: `gpsym export` writes this very code into a file of its own.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["TRANSPOSED", "Part", "Site", "Skipped", "find_sites", "is_norm", "refusal", "require_layers"]

FORWARD = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Bilinear)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Part:
    """The tensor of that name in a module: a parameter, or what parametrizations compute from parameters."""

    owner: nn.Module
    name: str
    is_parametrized: bool

    @property
    def chain(self) -> Any:
        """The parametrizations one after the other, whose own parameters are the originals."""
        return self.owner.get_submodule(f"parametrizations.{self.name}")

    def read(self) -> Tensor:
        """The tensor; one that is parametrized is computed without side effects."""
        if not self.is_parametrized:
            return getattr(self.owner, self.name)
        with torch.no_grad(), _at_rest(self.chain):
            return getattr(self.owner, self.name)

    def originals(self) -> list[Tensor]:
        """The parameters that it is, or is computed from."""
        return list(self.chain.parameters(recurse=False)) if self.is_parametrized else [self.read()]


@dataclass(frozen=True)
class Site:
    """One weight with the bias that is added to its result.

    name          of the module; for the projections of attention, followed by theirs.
    module        what is called with the input: the layer, or the attention around its projections.
    bias          None where there is none.
    is_attention  whether the weight is a projection of nn.MultiheadAttention.
    """

    name: str
    module: nn.Module
    weight: Part
    bias: Part | None
    is_attention: bool = False

    @property
    def owner(self) -> nn.Module:
        """The module that weight and bias are attributes of."""
        return self.weight.owner

    @property
    def parts(self) -> list[Part]:
        """The weight, and the bias if there is one."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    @property
    def is_lazy(self) -> bool:
        """Whether its shapes are not known yet."""
        return any(nn.parameter.is_lazy(part.read()) for part in self.parts)

    @property
    def kind(self) -> str:
        """The name of the owner's class."""
        return _kind(self.owner)

    def skipped(self, why: str) -> Skipped:
        """The site among what is left alone."""
        return Skipped(self.name, self.kind, why)

    @cached_property
    def fan_in(self) -> float:
        """Number of inputs that add up in one output, each with a weight of its own; of a lazy layer, once it has any.

        Linear           in_features
        Conv             in_channels / groups prod(kernel)
        ConvTranspose    in_channels / groups prod(kernel / stride): the mean over the positions of the output, as
                         each input sets a kernel's worth of outputs that lie stride apart; where the stride does not
                         divide the kernel, positions have more and less.  Padding and dilation do not change it.
        Bilinear         in1_features in2_features

        Zeros that a convolution pads with count as inputs.
        """
        shape, owner = self.weight.read().shape, self.owner
        if isinstance(owner, TRANSPOSED):  # (in_channels, out_channels / groups, *kernel)
            kernel = math.prod(k / s for k, s in zip(owner.kernel_size, owner.stride, strict=True))
            return shape[0] / owner.groups * kernel
        if is_hugging_face_linear(owner):  # (in, out)
            return shape[0]
        return math.prod(shape[1:])  # (out, in / groups, ...)


@dataclass(frozen=True)
class Skipped:
    """A module whose parameters, or some of them, were left as they are, and why."""

    name: str
    kind: str
    why: str


def find_sites(model: nn.Module) -> tuple[list[Site], dict[nn.Module, Skipped]]:
    """The weights in the order of registration, and all other modules that have parameters of their own."""
    sites: list[Site] = []
    others: dict[nn.Module, Skipped] = {}
    inner: set[nn.Module] = set()  # what attention and parametrizations use without calling it
    for name, module in model.named_modules():
        if module in inner:
            continue
        if isinstance(module, nn.MultiheadAttention):
            sites += _projections(name, module)
            inner |= set(module.modules())
            if module.bias_k is not None:
                others[module] = Skipped(name, _kind(module), "bias_k and bias_v are learned tokens, as an embedding")
        elif isinstance(module, FORWARD + TRANSPOSED) or is_hugging_face_linear(module):
            sites.append(Site(name, module, _part(module, "weight"), _bias(module, "bias")))
        elif any(True for _ in module.parameters(recurse=False)):
            others[module] = Skipped(name, _kind(module), _why_not(module))
        if parametrize.is_parametrized(module):
            inner |= set(module.get_submodule("parametrizations").modules())
    return sites, others


def _part(owner: nn.Module, name: str) -> Part:
    return Part(owner, name, parametrize.is_parametrized(owner, name))


def _bias(owner: nn.Module, name: str) -> Part | None:
    return None if getattr(owner, name) is None else _part(owner, name)


def _projections(name: str, attention: nn.MultiheadAttention) -> list[Site]:
    """Those of queries, keys and values, in one matrix or three, and of the output; one bias serves the three."""
    separate = attention.in_proj_weight is None
    weights = ["q_proj_weight", "k_proj_weight", "v_proj_weight"] if separate else ["in_proj_weight"]
    biases = [_bias(attention, "in_proj_bias"), None, None]
    prefix, output = f"{name}." if name else "", attention.out_proj
    inputs = [
        Site(prefix + weight.removesuffix("_weight"), attention, _part(attention, weight), bias, True)
        for weight, bias in zip(weights, biases, strict=False)
    ]
    return [*inputs, Site(f"{prefix}out_proj", attention, _part(output, "weight"), _bias(output, "bias"), True)]


def is_hugging_face_linear(module: Any) -> bool:
    """Whether the module is `transformers.pytorch_utils.Conv1D`, a linear layer whose weight is (in, out)."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf") and module.weight.dim() == 2


def is_norm(module: nn.Module) -> bool:
    """Whether the module is a normalization, by its class or the name of its class, such as LlamaRMSNorm."""
    named = type(module).__name__.endswith(("Norm", "Norm1d", "Norm2d", "Norm3d"))
    return isinstance(module, NORMS) or (named and not any(True for _ in module.children()))


def _kind(module: nn.Module) -> str:
    return type(module).__name__


def _why_not(module: nn.Module) -> str:
    if isinstance(module, EMBEDDINGS):
        return "an embedding: its rows are inputs, not weights that add up"
    if is_norm(module):
        return "a normalization: its scale and shift start at 1 and 0"
    return f"no rule for {_kind(module)}"


@contextmanager
def _at_rest(chain: nn.Module) -> Iterator[None]:
    """Parametrizations in evaluation mode, where a spectral norm makes no step of its power iteration."""
    modes = {part: part.training for part in chain.modules()}
    try:
        for part in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def require_layers(door: str, model: nn.Module) -> None:
    """Raise ValueError for what is no module, and for modules that were compiled into another form of their weights."""
    is_module = isinstance(model, nn.Module)
    if not is_module:
        raise ValueError(f"{door}: need a torch.nn.Module, got {type(model).__name__}; pass the model itself.")
    for name, module in model.named_modules():
        if form := _compiled_form(module):
            kind, step = form
            where = f" at {name!r}" if name else ""
            raise ValueError(
                f"{door}: need layers of torch.nn, got {kind}{where}, which has none that can be changed; call {door} "
                f"on the model before {step}."
            )


def _compiled_form(module: nn.Module) -> tuple[str, str] | None:
    """(what it is, what made it) of a module whose weights are not those of layers any more."""
    if isinstance(module, torch.jit.ScriptModule) and any(True for _ in module.parameters()):
        return "a module of torch.jit", "torch.jit.script or torch.jit.trace"
    if inspect.isfunction(getattr(type(module), "weight", None)):  # that unpacks the weights
        return f"a quantized {_kind(module)}", "it is quantized"
    nodes = getattr(getattr(module, "graph", None), "nodes", ())
    if not callable(nodes) and any(str(node.target).startswith("aten.") for node in nodes):
        return "an exported graph", "torch.export.export"
    return None


def refusal(site: Site) -> str | None:
    """Why the site cannot be drawn, as "need ... , got ...; remedy"; None where it can."""
    return next(filter(None, (_refusal(repr(site.name), part) for part in site.parts)), None)


def _refusal(where: str, part: Part) -> str | None:
    tensor = part.read()
    if nn.parameter.is_lazy(tensor):
        return f"need the shape of {where}, got a lazy layer; pass a batch, or run one through the model first."
    if not (part.is_parametrized or isinstance(tensor, nn.Parameter)):
        return (
            f"need a parameter for the {part.name} of {where}, got a tensor that a hook computes, as pruning and the "
            "old torch.nn.utils.weight_norm and spectral_norm do; remove it, or use parametrizations."
        )
    if not tensor.is_floating_point():
        why = (
            "whose variance the real theory does not speak of" if tensor.is_complex() else "which cannot hold a normal"
        )
        return f"need real floating-point numbers in {where}, got {tensor.dtype}, {why}; convert the model."
    if tensor.is_meta:
        return f"need memory for {where}, got the meta device; call model.to_empty(device=...) first."
    if tensor.numel() == 0:
        return f"need weights in {where}, got the shape {tuple(tensor.shape)}; drop the layer."
    return _parametrization_refusal(where, part.chain, tensor) if part.is_parametrized else None


def _parametrization_refusal(where: str, chain: Any, tensor: Tensor) -> str | None:
    """None where the parametrizations can take on any tensor that they are assigned, as weight_norm can."""
    kinds = ", ".join(map(_kind, chain))
    generator = torch.Generator(tensor.device).manual_seed(0)  # not the caller's, whose numbers are for the weights
    probe = torch.randn(tensor.shape, dtype=tensor.dtype, device=tensor.device, generator=generator)
    try:
        if not all(hasattr(part, "right_inverse") for part in chain):
            raise NotImplementedError("without a right_inverse")
        with torch.no_grad():
            image = _round_trip(copy.deepcopy(chain).eval(), probe)  # orthogonal writes buffers on the way
        faithful = torch.allclose(image, probe, rtol=64 * torch.finfo(probe.dtype).eps)  # norms of many numbers
    except (NotImplementedError, RuntimeError, ValueError) as error:
        faithful, kinds = False, f"{kinds} ({error})"
    if faithful:
        return None
    reason = "fixes the largest singular value, and so the variance" if "SpectralNorm" in kinds else "changes them"
    return (
        f"need a parametrization in {where} that keeps the weights it is assigned, got {kinds}, which {reason}; "
        "remove it, or leave the layer out with rules={name: None}."
    )


def _round_trip(chain: Any, tensor: Tensor) -> Tensor:
    """What the parametrizations make of the originals that they make of the tensor."""
    for part in reversed(chain):
        tensor = part.right_inverse(tensor)
    originals: Any = tensor if isinstance(tensor, tuple) else (tensor,)
    for part in chain:
        originals = (part(*originals),)
    return originals[0]
