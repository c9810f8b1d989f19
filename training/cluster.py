"""The runs of a table spread over cores, GPUs and machines by Ray."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch

from training.config import RunConfig
from training.interruption import keeping_signals
from training.records import SUMMARY
from training.trainer import train_or_resume

if TYPE_CHECKING:
    from ray.exceptions import RayError

    from training.table import TrainAll

__all__ = ["on_cluster"]

_CHECKOUT = Path(__file__).resolve().parents[1]

# Ray's own number.  A run that kills every worker, by its need of memory, should not go on doing so.
_RETRIES = 3

# Seconds to wait for a cluster's answer, which comes at once; Ray itself would go on asking for many minutes.
_PATIENCE = 10


def on_cluster(workers: int, address: str | None = None) -> TrainAll:
    """A way to train the runs of a table at the same time, each in a worker of Ray.

    workers  most runs at a time, >= 1.  Each has one core and one thread: small tensors gain nothing by more, and what
             a run finds then depends on no machine's number of cores.  Where there are GPUs, runs that may use one get
             equal shares of them.
    address  HOST:PORT of a running Ray cluster, or auto for the one that this machine is part of; None for this machine
             alone.  Checkout and folders have to lie at the same paths on all machines of a cluster.

    A run whose worker dies goes on from its last checkpoint with another worker, up to three times.  No two workers
    write into one folder at once: Ray starts another when it holds the first one for dead, which is so for a process
    that ended, but not for a machine that could not be reached for a while; so workers hold the lock of the folder,
    which only their death releases.  A run that raises does not keep the others from ending; then its error is raised.
    Interrupted, the table can be started again, here or on a cluster, and goes on.

    Raises ValueError for fewer than one worker and without the package ray; its function for a cluster that does not
    answer, for runs of several processes, and as `train_or_resume`.
    """
    if workers < 1:
        raise ValueError(f"table: need workers >= 1, got {workers}; pass the most runs at a time, such as 2.")
    if find_spec("ray") is None:
        raise ValueError("table: need the package ray for --workers, got none; pip install 'gpsym[cluster]'.")

    def train_all(runs: Mapping[Path, RunConfig]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        several = [config.devices for config in runs.values() if config.devices > 1]
        if several:
            raise ValueError(f"table: need devices = 1 for runs on workers, got {several[0]}; leave out --workers.")
        finished = {folder: config for folder, config in runs.items() if (folder / SUMMARY).exists()}
        for folder, config in finished.items():
            yield folder, train_or_resume(config, folder)
        left = {folder: config for folder, config in runs.items() if folder not in finished}
        if left:
            with _connection(workers, address):
                yield from _spread(left, workers)

    return train_all


@contextmanager
def _connection(workers: int, address: str | None) -> Iterator[None]:
    """Ray, as long as the block lasts, and quiet: what runs say of their epochs goes to the logs of Ray."""
    import ray

    variables = {"PYTHONPATH": f"{_CHECKOUT}{os.pathsep}${{PYTHONPATH}}"}  # Ray inserts the worker's own
    variables |= {name: os.environ[name] for name in ("GPSYM_DATA_DIR",) if name in os.environ}
    options: dict[str, Any] = {
        "log_to_driver": False, "logging_level": "ERROR", "runtime_env": {"env_vars": variables},
    }  # fmt: skip
    with keeping_signals():
        if address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init("local", num_cpus=workers, include_dashboard=False, **options)
        else:
            _require_answer(address)
            try:
                ray.init(address, **options)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise _no_cluster(address, " ".join(str(error).split())) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from error


def _no_cluster(address: str, reason: str) -> ValueError:
    return ValueError(
        f"table: need a Ray cluster that answers at HOST:PORT or auto, got {address} ({reason}); start one with ray "
        "start --head, or leave out --cluster."
    )


def _spread(runs: Mapping[Path, RunConfig], workers: int) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Folder and summary of each run as it ends; at the end the error of the first that raised one."""
    import ray
    from ray.exceptions import RayError

    share = _gpu_share(ray.cluster_resources().get("GPU", 0.0), workers)
    on_cpu, on_gpu = (_task(gpus) for gpus in (0.0, share))
    waiting, running, errors = iter(runs.items()), {}, []
    for number in range(1, len(runs) + 1):
        for folder, config in islice(waiting, workers - len(running)):
            task = (on_cpu if config.device == "cpu" else on_gpu).options(name=folder.name)
            running[task.remote(config, folder.absolute(), Path.cwd())] = folder
        with redirect_stdout(sys.stderr):  # Ray tells there of workers that died
            (ended,), _ = ray.wait(list(running))
        folder = running.pop(ended)
        try:
            summary = ray.get(ended)
        except RayError as error:
            errors.append(_cause(error, folder))
            click.echo(f"run {number} of {len(runs)}: {folder.name} failed", err=True)
        else:
            click.echo(f"run {number} of {len(runs)}: {folder.name} ended", err=True)
            yield folder, summary
    if errors:
        raise errors[0]


def _task(gpus: float) -> Any:
    """`_train` as a task of Ray, which is tried again if its worker dies, and not if it raises."""
    import ray

    single = int(gpus > 0)  # a worker with a GPU ends with its run: CUDA keeps the device that it began with
    return ray.remote(num_cpus=1, num_gpus=gpus, max_calls=single, max_retries=_RETRIES, retry_exceptions=False)(_train)


def _gpu_share(gpus: float, workers: int) -> float:
    """What each run takes of a GPU, so that all runs have one and each run as much of it as there is."""
    return 1 / math.ceil(workers / gpus) if gpus else 0.0


def _train(config: RunConfig, folder: Path, where: Path) -> dict[str, Any]:
    """The task of a worker."""
    torch.set_num_threads(1)
    with suppress(OSError):  # relative paths of data are from there; if there is no such folder, they will be missed
        os.chdir(where)
    return train_or_resume(config, folder, wait=True)


def _cause(error: RayError, folder: Path) -> Exception:
    """What is to be raised: what the run raised, or one sentence where its workers died."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

    if isinstance(error, NodeDiedError | OutOfMemoryError | WorkerCrashedError):
        return ValueError(
            f"table: need workers that live until {folder.name} ends, got {type(error).__name__} again and again; see "
            "that they have memory, then start the table again."
        )
    # What Ray makes of a ValueError is one, too, but with the stack of the worker for a text.
    return error.cause if isinstance(error, RayTaskError) and isinstance(error.cause, ValueError) else error
