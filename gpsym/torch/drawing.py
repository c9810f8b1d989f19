"""Normal numbers in parameters of any kind: half precision, sharded over processes, parametrized.

Needs torch and the standard library only: `gpsym export` writes this very code into a file of its own.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from gpsym.torch.sites import Part

__all__ = ["draw_", "is_sharded", "require_same_on_all_ranks", "reshard_"]


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
    if wide and device == tensor.device and tensor.is_contiguous() and not is_sharded(tensor):
        return tensor.normal_(0.0, std, generator=generator)
    whole = torch.empty(tensor.shape, dtype=tensor.dtype if wide else torch.float32, device=device)
    whole.normal_(0.0, std, generator=generator)
    whole = whole.to(tensor.device, tensor.dtype)
    if is_sharded(tensor):
        _copy_shard_(tensor, whole)
    else:
        tensor.copy_(whole)
    return tensor


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
