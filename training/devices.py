"""The processes and devices of a run, on Lightning Fabric: one device, copies (DDP) or shards (FSDP)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.model_parallel import ModelParallelStrategy
from lightning_fabric.strategies.strategy import Strategy
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as whole
from torch.optim import Optimizer

from training.config import RunConfig
from training.measure import Shares

__all__ = ["close", "is_first_process", "make_fabric", "moments_of", "restore", "shares_of", "weights_of"]

_PRECISION: Mapping[str, Any] = {"32": "32-true", "bf16": "bf16-mixed"}
_WHOLE = whole.StateDictOptions(full_state_dict=True, cpu_offload=True)


def make_fabric(config: RunConfig) -> Fabric:
    """Fabric for the devices, strategy and precision of the run; `launch` starts the other processes.

    Where torchrun started this process, its numbers of processes and nodes go before `devices`.

    Raises ValueError for devices that are not there.
    """
    devices, nodes = _processes(config)
    cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    if cuda and not torch.cuda.is_available():
        raise ValueError("run: need a CUDA device for --device cuda, got none; use --device cpu.")
    if cuda and devices > torch.cuda.device_count():
        raise ValueError(
            f"run: need devices <= {torch.cuda.device_count()}, as many as CUDA has here, got {devices}; pass fewer."
        )
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=devices,
        num_nodes=nodes,
        precision=_PRECISION[config.precision],
        strategy=_strategy(config, devices * nodes),
    )


def _processes(config: RunConfig) -> tuple[int, int]:
    """(processes on this machine, machines)."""
    if not TorchElasticEnvironment.detect():
        return config.devices, 1
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return here, int(os.environ["WORLD_SIZE"]) // here


def _strategy(config: RunConfig, processes: int) -> Strategy | str:
    if config.strategy == "fsdp":
        return ModelParallelStrategy(_shard, data_parallel_size=processes, tensor_parallel_size=1)
    return DDPStrategy() if config.strategy == "ddp" or processes > 1 else "auto"


def _shard(network: nn.Module, mesh: Any) -> nn.Module:
    """The network with the parameters of each layer in shards, gathered while it runs."""
    from torch.distributed.fsdp import fully_shard

    for layer in network.children():
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh["data_parallel"])
    fully_shard(network, mesh=mesh["data_parallel"])
    return network


def is_first_process() -> bool:
    """Whether this is the process that writes and speaks, before and after the others are started."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == 0


def shares_of(fabric: Fabric) -> Shares:
    """How the processes share the examples of a batch."""

    def add(sums: Tensor) -> Tensor:
        total: Any = fabric.all_reduce(sums.clone(), reduce_op="sum") if fabric.world_size > 1 else sums
        return total

    return Shares(fabric.global_rank, fabric.world_size, add)


def weights_of(network: nn.Module) -> dict[str, Any]:
    """The weights, gathered and on the CPU; every process has to ask, and the first gets them."""
    weights: dict[str, Any] = whole.get_model_state_dict(network, options=_WHOLE)
    return {name: tensor.clone() for name, tensor in weights.items()}


def moments_of(network: nn.Module, optimizer: Optimizer) -> dict[str, Any] | None:
    """The state of the optimizer, gathered as `weights_of`; None before there is one."""
    if not optimizer.state:
        return None  # asked for all the same, torch would take a step to make one
    return dict(whole.get_optimizer_state_dict(network, optimizer, options=_WHOLE))


def restore(network: nn.Module, optimizer: Optimizer, weights: dict[str, Any], moments: dict[str, Any] | None) -> None:
    """Put back what `weights_of` and `moments_of` gave, into any number of processes."""
    options = whole.StateDictOptions(full_state_dict=True)
    whole.set_model_state_dict(network, weights, options=options)
    if moments is not None:
        whole.set_optimizer_state_dict(network, optimizer, moments, options=options)


def close() -> None:
    """End the connection of the processes, if there is one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
