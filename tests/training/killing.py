"""Runs a small training in child processes that are killed with SIGKILL at random moments, and does it once unharmed.

    python killing.py FOLDER KILLS SEED

FOLDER gets images.npz, the unharmed run `whole` and `run-0`, `run-1`, ..., each of them killed again and again, and
finished in the end.  Prints JSON: for each kill whether the run had a checkpoint and whether a file was being written.
Children are forked from a process that has everything imported, so that they live and die fast.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch

from training.config import RunConfig
from training.start import Start
from training.trainer import train_or_resume


def small(folder: Path) -> RunConfig:
    """A run with all that a checkpoint has to bring back: an optimizer, an order, random shifts, sums over an epoch."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = digits.images[:300, None].astype(np.uint8)
    np.savez(folder / "images.npz", x=images, y=digits.target[:300])
    return RunConfig(
        str(folder / "images.npz"), "crelu", sparsity=0.6, slope=0.7, model="cnn", width=4, depth=3, alpha=0.5,
        epochs=5, batch_size=8, accumulate=2, lr=1e-2, augment="shift-flip", clip_norm=1.0, telemetry=2, device="cpu",
        checkpoint_every=1,
    )  # fmt: skip


def fork(config: RunConfig, folder: Path) -> int:
    """Start or resume the run in a child of this process; its id."""
    child = os.fork()
    if child:
        return child
    try:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        train_or_resume(config, folder)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def finish(child: int) -> None:
    status = os.waitpid(child, 0)[1]
    assert status == 0, f"a child ended with status {status}"


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    config, moments = small(folder), random.Random(seed)
    start = Start.of(config)  # derives the formulas that children then find in their caches
    start.network(), start.theory_variance(), start.theory_lr()

    began = time.perf_counter()
    finish(fork(config, folder / "whole"))
    lasts = time.perf_counter() - began

    killed: list[dict[str, bool]] = []
    run = folder / "run-0"
    while len(killed) < kills:
        child = fork(config, run)
        time.sleep(moments.uniform(0, lasts / 3))
        os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:  # it came to its end before
            assert (run / "summary.json").exists()
            run = folder / f"run-{int(run.name[4:]) + 1}"
            continue
        assert status == -signal.SIGKILL
        names = {path.name for path in run.iterdir()} if run.exists() else set()
        writing = any(name.endswith(".partial") for name in names)
        killed.append({"resumable": "checkpoint.pt" in names, "writing": writing})
    finish(fork(config, run))
    print(json.dumps(killed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
