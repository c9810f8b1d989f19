"""The epochs of an ensemble: as `training.epochs` has them, of many runs at once."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from training.augment import augmented, draw
from training.data import Data, Split
from training.ensemble.optimisation import StackedOptimizer
from training.ensemble.stack import Stack
from training.epochs import LOOK_EVERY, TRAIN_SAMPLE
from training.history import History, row_of
from training.measure import Measurement, loss_and_correct
from training.optimisation import rate_factor
from training.start import Start

__all__ = ["EnsembleEpochs"]

# Examples that are measured together; of each member.
_MEASURED = 500


class EnsembleEpochs:
    """Runs that differ in activation, rate and seed, on their way through their epochs together.

    Members with one seed see the same batches, in the order of a run of their own.  One whose loss is not finite is
    frozen from that step on; the others do not notice.

    histories  of the members.
    """

    def __init__(self, starts: Sequence[Start], fabric: Fabric, data: dict[int, Data], lrs: Sequence[float]):
        """data: by seed, on the device."""
        self.config, self.fabric = starts[0].config, fabric
        self.seeds = list(data)
        self.data = list(data.values())
        self.place = torch.tensor([self.seeds.index(start.config.seed) for start in starts], device=fabric.device)
        self.stack = Stack(starts, fabric.device, compile=self.config.compile)
        rates = torch.tensor(lrs, device=fabric.device)
        self.optimizer = StackedOptimizer(self.config, list(self.stack.parameters.values()), rates)
        self.orders = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        self.draws = [torch.Generator().manual_seed(seed) for seed in self.seeds]
        self.group = self.config.batch_size * self.config.accumulate  # examples in a step
        self.examples = len(self.data[0].train)
        self.steps = math.ceil(self.examples / self.group)  # in an epoch
        self.alive = torch.ones(len(starts), dtype=torch.bool, device=fabric.device)
        self.epoch, self.seconds = 0, 0.0
        self.histories = [History() for _ in starts]

    @property
    def done(self) -> bool:
        """Whether the last epoch is over, or no loss is finite."""
        return self.epoch > self.config.epochs or all(history.broken for history in self.histories)

    def state(self) -> dict[str, Any]:
        """All that decides what comes next, between two epochs."""
        return {
            "parameters": {name: tensor.detach().cpu() for name, tensor in self.stack.parameters.items()},
            "optimizer": self.optimizer.state(),
            "orders": [generator.get_state() for generator in self.orders],
            "draws": [generator.get_state() for generator in self.draws],
            "alive": self.alive.cpu(),
            "epoch": self.epoch,
            "seconds": self.seconds,
            "histories": [history.state() for history in self.histories],
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        for name, tensor in self.stack.parameters.items():
            tensor.copy_(state["parameters"][name])
        self.optimizer.restore(state["optimizer"])
        for name in ("orders", "draws"):
            for generator, bits in zip(getattr(self, name), state[name], strict=True):
                generator.set_state(bits)
        self.alive.copy_(state["alive"])
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        self.histories = [History(**history) for history in state["histories"]]

    def next(self, bar: tqdm) -> list[int]:
        """One more row for each member whose loss is finite; returns their numbers."""
        active = [m for m, history in enumerate(self.histories) if not history.broken]
        sums = self._train(bar) if self.epoch else [[math.nan, math.nan]] * len(self.histories)
        splits = {
            "train": [data.train.first(TRAIN_SAMPLE) for data in self.data],
            "validation": [data.validation for data in self.data],
            "test": [data.test for data in self.data],
        }
        seen = {name: self._measured(split) for name, split in splits.items()}
        for m in active:
            mine = {name: measurements[m] for name, measurements in seen.items()}
            total, correct = sums[m]
            row = row_of(self.epoch, mine, total, correct, self.examples, self.seconds)
            self.histories[m].add(row, lambda m=m: self.stack.weights_of(m))
        broken = [history.broken for history in self.histories]
        self.alive &= ~torch.tensor(broken, device=self.alive.device)
        self.epoch += 1
        return active

    def _train(self, bar: tqdm) -> list[list[float]]:
        """An epoch of steps; (loss, right answers) of each member, summed over its examples."""
        started, before = time.perf_counter(), self.seconds
        device = self.fabric.device
        sums = torch.zeros(len(self.histories), 2, dtype=torch.float64, device=device)
        orders = [torch.randperm(self.examples, generator=generator).to(device) for generator in self.orders]
        for step, groups in enumerate(zip(*(order.split(self.group) for order in orders), strict=True)):
            done = (self.epoch - 1) * self.steps + step
            self._one_step(groups, sums, rate_factor(self.config, done, self.steps * self.config.epochs))
            bar.update()
            if (step + 1) % LOOK_EVERY == 0 and not bool(self.alive.any()):
                break
        totals = sums.tolist()  # waits for the device
        self.seconds = before + time.perf_counter() - started
        return totals

    def _one_step(self, groups: Sequence[Tensor], sums: Tensor, factor: float) -> None:
        """One step down the mean loss of each member's examples, a batch at a time."""
        for batches in zip(*(group.split(self.config.batch_size) for group in groups), strict=True):
            inputs, labels = self._examples(batches)
            with self.fabric.autocast():
                logits = self.stack(inputs)
            losses, correct = torch.vmap(loss_and_correct)(logits.float(), labels)
            (losses.sum() / len(groups[0])).backward()
            sums += torch.stack([losses.detach(), correct], dim=1)
        self.alive &= sums[:, 0].isfinite()
        self.optimizer.step(factor, self.alive)

    def _examples(self, batches: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Inputs, (M, batch, ...), and labels, (M, batch), of the batch of each seed."""
        inputs, labels = [], []
        for data, batch, generator in zip(self.data, batches, self.draws, strict=True):
            images = data.train.inputs[batch]
            if self.config.augment != "none":
                drawn = draw(len(batch), flip=self.config.augment == "shift-flip", generator=generator)
                images = augmented(images, drawn.to(images.device))
            inputs.append(data.train.normalised(images))
            labels.append(data.train.y[batch])
        return self._of_members(inputs), self._of_members(labels)

    def _of_members(self, by_seed: Sequence[Tensor]) -> Tensor:
        """What belongs to each seed as what belongs to each member."""
        stacked = torch.stack(list(by_seed))
        return stacked.expand(len(self.place), *stacked.shape[1:]) if len(stacked) == 1 else stacked[self.place]

    @torch.no_grad()
    def _measured(self, splits: Sequence[Split]) -> list[Measurement]:
        """Of each member on the split of its seed."""
        count = len(splits[0])
        sums: Any = 0
        for start in range(0, count, _MEASURED):
            part = slice(start, start + _MEASURED)
            inputs = self._of_members([split.normalised(split.inputs[part]) for split in splits])
            labels = self._of_members([split.y[part] for split in splits])
            with self.fabric.autocast():
                logits, seen = self.stack.observed(inputs)
            scores = torch.stack(torch.vmap(loss_and_correct)(logits.float(), labels), dim=1)
            sums = sums + torch.cat([seen, scores[:, :, None].double()], dim=2)
        return [Measurement.of(member) for member in (sums / count).tolist()]
