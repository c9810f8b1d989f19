"""The epochs of a run: training, measuring, and a state to go on from bit for bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from training.augment import augmented, draw
from training.data import Data, Split
from training.devices import moments_of, restore, shares_of, weights_of
from training.history import History, is_row, row_of
from training.measure import Measurement, gradient_norms, loss_and_correct, measure
from training.optimisation import make_optimizer, rate_factor
from training.start import Start, hidden_activations

__all__ = ["LOOK_EVERY", "TRAIN_SAMPLE", "Epochs", "is_state", "state_like"]

# Examples of the training split on which its sparsity is measured after each epoch.
TRAIN_SAMPLE = 10_000

# Steps between looks at the loss: each one waits for the device.
LOOK_EVERY = 32


class Epochs:
    """A network on its way through its epochs: `next` measures it at first, then trains and measures it."""

    def __init__(self, start: Start, fabric: Fabric, data: Data, lr: float):
        self.config, self.fabric, self.data, self.lr = start.config, fabric, data, lr
        self.shares = shares_of(fabric)
        self.network = start.network()
        self.watched = hidden_activations(self.network, start.activation)
        self.model = fabric.setup_module(_compiled(self.network) if self.config.compile else self.network)
        self.optimizer = make_optimizer(self.config, self.network.parameters(), lr)
        self.fabric_optimizer: Any = fabric.setup_optimizers(self.optimizer)
        self.order = torch.Generator().manual_seed(self.config.seed)
        self.draws = torch.Generator().manual_seed(self.config.seed)  # on the CPU, so that a run can change devices
        self.group = self.config.batch_size * self.config.accumulate  # examples in a step
        self.steps = math.ceil(len(data.train) / self.group)  # in an epoch
        self.history = History()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.order_before = self.order.get_state()
        self.step = 0  # number of steps done in the epoch
        # Sums of loss and correct answers over the examples seen, on the device, as looking at them would wait for it.
        self.sums = torch.zeros(2, dtype=torch.float64, device=self.fabric.device)
        self.seconds = self.history.seconds

    @property
    def done(self) -> bool:
        """Whether the last epoch is over, or the loss is not finite."""
        return len(self.history.rows) > self.config.epochs or self.history.broken

    @property
    def steps_done(self) -> int:
        """Number of steps so far."""
        return max(0, len(self.history.rows) - 1) * self.steps + self.step

    def state(self) -> dict[str, Any]:
        """All that decides what comes next; every process has to ask.  The next step changes parts of it."""
        return {
            "weights": weights_of(self.network),
            "moments": moments_of(self.network, self.optimizer),
            "order_before": self.order_before,
            "draws": self.draws.get_state(),
            "step": self.step,
            "sums": self.shares.add(self.sums).cpu(),
            "seconds": self.seconds,
            **self.history.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        restore(self.network, self.optimizer, state["weights"], state["moments"])
        self.history = History(state["rows"], state["best"], state["best_weights"])
        self.order.set_state(state["order_before"])
        self.draws.set_state(state["draws"])
        self._begin_epoch()
        self.step, self.seconds = state["step"], state["seconds"]
        if self.fabric.is_global_zero:
            self.sums.copy_(state["sums"])

    def next(self, bar: tqdm, after_step: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """One more row.

        after_step  called after each step but the last of an epoch, while the loss is finite.
        """
        epoch = len(self.history.rows)
        total = correct = math.nan
        if epoch:
            self._train(bar, after_step)
            total, correct = self.shares.add(self.sums).tolist()
        row = row_of(epoch, self._measurements(), total, correct, len(self.data.train), self.seconds)
        self.history.add(row | self._telemetry(epoch), lambda: weights_of(self.network))
        self._begin_epoch()
        return self.history.rows[-1]

    def _train(self, bar: tqdm, after_step: Callable[[], None]) -> None:
        """The steps of the epoch that are left, or until the loss is seen to have diverged."""
        started, before = time.perf_counter(), self.seconds
        order = torch.randperm(len(self.data.train), generator=self.order).to(self.fabric.device)
        for group in order.split(self.group)[self.step :]:
            self._one_step(group)
            self.step += 1
            self.seconds = before + time.perf_counter() - started
            bar.update()
            if self.step % LOOK_EVERY == 0 or self.step == self.steps:
                total, _ = self.shares.add(self.sums).tolist()
                if not math.isfinite(total):
                    break
                bar.set_postfix(loss=f"{total / min(self.step * self.group, len(order)):.3f}", refresh=False)
            if self.step < self.steps:
                after_step()
        self.seconds = before + time.perf_counter() - started

    def _one_step(self, group: Tensor) -> None:
        """One step down the mean loss of the examples in the group, a batch at a time."""
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = self.lr * rate_factor(self.config, self.steps_done, self.steps * self.config.epochs)
        batches = group.split(self.config.batch_size)
        for number, batch in enumerate(batches, 1):
            inputs, labels = self._examples(batch)
            with self.fabric.no_backward_sync(self.model, enabled=number < len(batches)):
                logits = self.model(inputs)
                loss, correct = loss_and_correct(logits, labels)
                # The strategy takes the mean over the processes of what is the sum over their shares.
                self.fabric.backward(loss * (self.shares.count / len(group)))
            self.sums += torch.stack([loss.detach(), correct])
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        self.fabric_optimizer.step()
        self.fabric_optimizer.zero_grad()

    def _examples(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and labels of this process's share of the batch, augmented and normalised."""
        train, mine = self.data.train, self.shares.of(batch)
        inputs = train.inputs[mine]
        if self.config.augment != "none":
            # Drawn for the whole batch, so that any number of processes sees the same images.
            drawn = draw(len(batch), flip=self.config.augment == "shift-flip", generator=self.draws)
            inputs = augmented(inputs, self.shares.of(drawn).to(inputs.device))
        return train.normalised(inputs), train.y[mine]

    def _measurements(self) -> dict[str, Measurement]:
        return {
            "train": self._measured(self.data.train.first(TRAIN_SAMPLE)),
            "validation": self._measured(self.data.validation),
            "test": self._measured(self.data.test),
        }

    def _measured(self, split: Split) -> Measurement:
        with self.fabric.autocast():
            return measure(self.network, self.watched, split.inputs, split.y, prepare=split.normalised,
                           shares=self.shares)  # fmt: skip

    def _telemetry(self, epoch: int) -> dict[str, Any]:
        """Norms of the gradient by layer, in the epochs for which they are wanted."""
        if not self.config.telemetry or epoch % self.config.telemetry:
            return {}
        split = self.data.train.first(self.config.batch_size)  # one batch, which is known to fit the memory
        with self.fabric.autocast():
            norms = gradient_norms(self.network, self.watched, split.inputs, split.y, prepare=split.normalised,
                                   shares=self.shares)  # fmt: skip
        return {"layer_gradient_norm": norms}


def state_like(start: Start) -> dict[str, Any]:
    """A state of the run after a step, for its names, shapes and types: the numbers in it mean nothing."""
    network = start.network()
    optimizer = make_optimizer(start.config, network.parameters(), 1.0)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    weights, bits = weights_of(network), torch.Generator().get_state()
    return {
        "weights": weights,
        "best_weights": weights,
        "moments": moments_of(network, optimizer),
        "order_before": bits,
        "draws": bits,
        "sums": torch.zeros(2, dtype=torch.float64),
    }


def is_state(state: dict[str, Any], start: Start, like: dict[str, Any]) -> bool:
    """Whether rows, numbers and settings of the optimizer are such as the run could have written.

    like  from `state_like`; the tensors of the state are known to fit it.
    """
    rows, config = state.get("rows"), start.config
    steps = math.ceil(len(start.data.train) / (config.batch_size * config.accumulate))
    return (
        all(state.get(name) is not None for name in like if name != "moments")
        and isinstance(rows, list)
        and 1 <= len(rows) <= config.epochs + 1
        and all(is_row(row, number, config.depth) for number, row in enumerate(rows))
        and state.get("best") in rows
        and type(state.get("step")) is int
        and 0 <= state["step"] < steps
        and all(type(state.get(name)) is float and 0 <= state[name] < math.inf for name in ("seconds", "elapsed"))
        and _settings(state["moments"]) == (_settings(like["moments"]) if len(rows) > 1 or state["step"] else [])
    )


def _settings(moments: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The settings of an optimizer but for its rate, which each step sets; pairs as lists, as a restored one has."""
    groups = moments["param_groups"] if moments else []
    return [{k: list(v) if isinstance(v, tuple) else v for k, v in group.items() if k != "lr"} for group in groups]


def _compiled(network: nn.Module) -> Any:
    return torch.compile(network)
