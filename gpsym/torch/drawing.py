"""Normal numbers in parameters of any kind: half precision, sharded over processes, parametrized.

Needs torch and the standard library only: `gpsym export` writes this very code into a file of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gpsym.torch.sites import Part

__all__ = ["draw_", "is_sharded", "require_same_on_all_ranks", "require_writable", "reshard_"]


def draw_(part: Part, std: float, generator: torch.Generator | None) -> None:
    """Fill the tensor with draws from N(0, std^2); one that is parametrized is assigned them.

    The numbers depend on shape, generator and precision alone: half precisions are rounded from float32, a sharded
    tensor takes its part of the whole, which every rank draws, and a tensor on another device than the generator's
    is copied there.
    """
    if part.is_parametrized:
        setattr(part.owner, part.name, _normal_(torch.empty_like(part.read()), std, generator))
    else:
        _normal_(part.read(), std, generator)


def _normal_(tensor: Tensor, std: float, generator: torch.Generator | None) -> Tensor:
    device = tensor.device if generator is None else generator.device
    wide = tensor.dtype in (torch.float32, torch.float64)
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.is_contiguous()
    if wide and device == tensor.device and plain:
        return tensor.normal_(0.0, std, generator=generator)
    whole = torch.empty(tensor.shape, dtype=tensor.dtype if wide else torch.float32, device=device)
    whole.normal_(0.0, std, generator=generator)
    whole = whole.to(tensor.device, tensor.dtype)
    if is_sharded(tensor):
        _copy_shard_(tensor, whole)
    else:
        tensor.copy_(whole)
    return tensor


def require_writable(model: nn.Module, drawn: Iterable[tuple[str, Part]]) -> None:
    """Raise ValueError unless each of the parameters, by the name of its layer, can be written, and alone.

    Two numbers at one place of memory cannot be independent: those of an expanded tensor, or of two parameters.
    """
    named = {original: f"the {part.name} of {name!r}" for name, part in drawn for original in part.originals()}
    everything = {parameter: name for name, parameter in model.named_parameters()} | named
    by_storage: dict[Any, list[Tensor]] = {}
    for tensor in everything:
        if not nn.parameter.is_lazy(tensor) and _local(tensor).layout == torch.strided and not tensor.is_meta:
            by_storage.setdefault(_local(tensor).untyped_storage().data_ptr(), []).append(tensor)
    for tensors in by_storage.values():
        mine = [tensor for tensor in tensors if tensor in named]
        if mine and _overlapping(mine, [tensor for tensor in tensors if tensor not in named]):
            raise ValueError(
                f"init_: need a place in memory for each number of {named[mine[0]]}, got one that "
                f"{' and '.join(everything[t] for t in tensors)} share; give each a parameter of its own by "
                "nn.Parameter(weight.detach().clone()), or tie layers by one and the same parameter."
            )
    for tensor, where in named.items():
        _require_written(_local(tensor), where)


def _local(tensor: Any) -> Tensor:
    """This rank's part of a sharded tensor; any other itself."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def _overlapping(written: list[Tensor], others: list[Tensor]) -> bool:
    """Whether tensors of one storage that are to be written have a place in memory twice, or one of the others'."""
    written, others = [*map(_local, written)], [*map(_local, others)]
    if len(written) == 1 and not others and written[0].is_contiguous():
        return False
    unit = math.gcd(*(tensor.element_size() for tensor in (*written, *others)))
    size = written[0].untyped_storage().nbytes() // unit
    taken = torch.zeros(size, dtype=torch.int64)
    for tensor in written:
        taken += torch.bincount(_places_in_memory(tensor, unit), minlength=size)
    twice = bool((taken > 1).any())
    return twice or any(bool(taken[_places_in_memory(tensor, unit)].any()) for tensor in others)


def _places_in_memory(tensor: Tensor, unit: int) -> Tensor:
    """The places of so many bytes each in a storage that the tensor lies on, each as often as it does."""
    numbers = torch.arange(tensor.untyped_storage().nbytes() // tensor.element_size())
    places = tensor.element_size() // unit
    first = numbers.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).reshape(-1, 1) * places
    return (first + torch.arange(places)).flatten()


def _require_written(tensor: Tensor, where: str) -> None:
    """Raise ValueError unless the tensor takes values, by writing those that it has."""
    try:
        if tensor.layout != torch.strided:
            raise NotImplementedError(f"the layout {tensor.layout}")
        tensor.copy_(tensor.detach().clone())
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"init_: need numbers that can be written in {where}, got {type(tensor).__name__}: "
            f"{str(error).splitlines()[0]}; call init_ before what makes it so, outside of torch.inference_mode()."
        ) from error


def reshard_(model: nn.Module) -> None:
    """Let go of whole parameters that FSDP2 has gathered for a forward pass: what is written there would be lost."""
    for module in model.modules():
        if any(kind.__name__ == "FSDPModule" for kind in type(module).__mro__):
            module.reshard()  # type: ignore[operator]


def is_sharded(tensor: Any) -> bool:
    """Whether the tensor is a DTensor, as the parameters of FSDP2 and of tensor parallelism are."""
    return hasattr(tensor, "placements")


def _copy_shard_(tensor: Any, whole: Tensor) -> None:
    """Write this rank's part of the whole, which all ranks have, into the sharded tensor; nothing is sent."""
    from torch.distributed.tensor import DTensor, Replicate  # slow to import, and not in every build of torch

    mesh = tensor.device_mesh
    replicated = DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False)
    tensor.to_local().copy_(replicated.redistribute(mesh, tensor.placements).to_local())


def require_same_on_all_ranks(tensors: list[Tensor], plan: object, generator: torch.Generator | None) -> None:
    """Raise ValueError unless all ranks that share a tensor start from one state and one plan.

    Otherwise the shards would be parts of different tensors.
    """
    sharded: list[Any] = [tensor for tensor in tensors if is_sharded(tensor)]
    if not sharded:
        return
    own = hashlib.sha256(repr((plan, _state(generator, sharded[0].device))).encode()).hexdigest()
    for mesh in {tensor.device_mesh for tensor in sharded}:
        for dimension in range(mesh.ndim):
            group = mesh.get_group(dimension)
            found: list[Any] = [None] * torch.distributed.get_world_size(group)
            torch.distributed.all_gather_object(found, own, group=group)
            if set(found) != {own}:
                raise ValueError(
                    "init_: need the same generator state, batch and options on all ranks, got different ones; "
                    "seed alike, such as generator=torch.Generator().manual_seed(0)."
                )


def _state(generator: torch.Generator | None, device: torch.device) -> bytes:
    if generator is not None:
        state = generator.get_state()
    elif device.type == "cpu":
        state = torch.get_rng_state()
    else:
        state = torch.get_device_module(device).get_rng_state()
    return state.cpu().numpy().tobytes()
