"""init_ on parameters that two processes share: the numbers of the whole model, and refusal of unequal seeds."""

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.multiprocessing.spawn import spawn

import gpsym.torch as gt
from gpsym.torch import Rule

RANKS = 2
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


class Numbers:
    """A design of round numbers, so that the processes derive nothing."""

    sigma_w2, sigma_b2, q_star = 4.0, 0.25, 1.0


def build(dtype=torch.float32):
    """Sizes that two does not divide, a convolution, attention and tied weights."""
    model = nn.Sequential(
        nn.Conv1d(3, 7, 3), nn.Flatten(), nn.Linear(35, 5), nn.Linear(5, 8), nn.MultiheadAttention(8, 2),
        nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 1),
    )  # fmt: skip
    model[6].weight = model[5].weight
    return model.to(dtype)


def whole(dtype=torch.float32):
    model = build(dtype)
    gt.init_(model, Numbers(), generator=torch.Generator().manual_seed(3))
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def distribute(model, mesh, placements):
    """Every parameter as a DTensor; those that are tied stay tied."""
    made = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in made:
                here = [Replicate() if isinstance(p, Shard) and p.dim >= parameter.dim() else p for p in placements]
                made[parameter] = nn.Parameter(distribute_tensor(parameter.detach(), mesh, here))
            setattr(module, name, made[parameter])


def assert_whole(model, expected):
    found = {name: parameter.full_tensor() for name, parameter in model.named_parameters()}
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensor.equal(found[name]), name


def sharded(mesh):
    for dtype in DTYPES:
        expected = whole(dtype)
        for placement in (Shard(0), Shard(1), Replicate()):
            model = build(dtype)
            distribute(model, mesh, [placement])
            report = gt.init_(model, Numbers(), generator=torch.Generator().manual_seed(3))
            assert [layer.fan_in for layer in report] == [9, 35, 5, 8, 8, 8, 8, 8]
            assert_whole(model, expected)


def fsdp2(mesh):
    for dtype in DTYPES:
        with torch.device("meta"):
            model = build(dtype)
        fully_shard(model[2], mesh=mesh)
        fully_shard(model, mesh=mesh)
        model.to_empty(device="cpu")
        gt.init_(model, Numbers(), generator=torch.Generator().manual_seed(3))
        assert_whole(model, whole(dtype))


def traced(mesh):
    plain = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 2))
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 7), nn.ReLU(), nn.Linear(7, 2))
    fully_shard(model, mesh=mesh)
    batch = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    reports = [gt.init_(m, Numbers(), batch=batch, generator=torch.Generator().manual_seed(3)) for m in (plain, model)]
    assert [layer.role for layer in reports[1]] == ["first", "hidden", "readout"]
    assert reports[0] == reports[1]
    expected = {name: p.detach() for name, p in plain.named_parameters()}
    assert_whole(model, expected)
    model(batch)  # gathers the parameters, and keeps them so
    for m in (plain, model):
        gt.init_(m, Numbers(), generator=torch.Generator().manual_seed(4))
    assert_whole(model, expected)
    torch.testing.assert_close(model(batch), plain(batch))


def global_generator(mesh):
    model = build()
    distribute(model, mesh, [Shard(0)])
    torch.manual_seed(3)
    gt.init_(model, Numbers())
    assert_whole(model, whole())


def refused(mesh):
    model = build()
    distribute(model, mesh, [Shard(0)])
    before = {name: p.to_local().clone() for name, p in model.named_parameters()}
    rank = dist.get_rank()
    message = "need the same generator state, batch and options on all ranks"
    with pytest.raises(ValueError, match=message):
        gt.init_(model, Numbers(), generator=torch.Generator().manual_seed(rank))
    torch.manual_seed(rank)
    with pytest.raises(ValueError, match=message):
        gt.init_(model, Numbers())
    first = Rule(1.0 + rank, 0.0)
    with pytest.raises(ValueError, match=message):
        gt.init_(model, Numbers(), first=first, generator=torch.Generator().manual_seed(0))
    assert all(p.to_local().equal(before[name]) for name, p in model.named_parameters())


def two_dimensions(_):
    """Tensor parallel below FSDP2, whose shards are strided."""
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data", "tensor"))
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4))
    expected = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4))
    distribute(model, mesh["tensor"], [Shard(0)])
    fully_shard(model, mesh=mesh["data"])
    for m in (model, expected):
        gt.init_(m, Numbers(), generator=torch.Generator().manual_seed(3))
    assert_whole(model, {name: p.detach() for name, p in expected.named_parameters()})


CHECKS = [sharded, fsdp2, traced, global_generator, refused, two_dimensions]


def run(rank, store):
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    try:
        mesh = init_device_mesh("cpu", (RANKS,))
        for check in CHECKS:
            try:
                check(mesh)
            except Exception as error:
                raise AssertionError(f"{check.__name__}, rank {rank}: {error}") from error
    finally:
        dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="this torch has no gloo")
def test_sharded_parameters_hold_the_numbers_of_the_whole_model(tmp_path):
    """DTensors of three placements, FSDP2 from the meta device, a trace, the global generator, unequal ranks."""
    spawn(run, (tmp_path / "store",), nprocs=RANKS)
