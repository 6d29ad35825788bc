"""The one training loop: validate, offer to the average and select, begin the epoch, train, save.

The state is saved at the end of each epoch, before the next `begin_epoch`, and every few minutes within one; validation
is deterministic and is repeated on resume, so every hook runs once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairbench import distributed
from fairbench.data import Dataset
from fairbench.data.batches import TrainingBatches
from fairbench.errors import BadInput
from fairbench.methods.base import Batch, EpochState, Method
from fairbench.methods.batch import epoch_at
from fairbench.methods.class_meter import ClassMeter
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.progress import Progress
from fairbench.threat import Threat
from fairbench.training.averaging import WeightAverage
from fairbench.training.forward import Forward
from fairbench.training.interruption import Interruption
from fairbench.training.log import log_line, spoken, write_log
from fairbench.training.recipe import Recipe
from fairbench.training.schedule import eps_factor, lr_factor
from fairbench.training.selection import Selection, class_summary
from fairbench.training.state import check_settings, read_state, write_state
from fairbench.training.step import LEAST_ROWS, Stepper, any_process
from fairbench.training.teacher_labels import label_once
from fairbench.training.totals import EpochTotals
from fairbench.training.validation import Validation


@dataclass(frozen=True)
class Job:
    """Everything a training needs; `settings` is what its tensors depend on, as JSON values."""

    network: nn.Module
    method: Method
    recipe: Recipe
    train: Dataset
    validation: Dataset
    threat: Threat
    seed: int
    device: torch.device
    settings: dict[str, Any]


class Training:
    """A training in progress.

    Args:
        job: what to train.
        state_path: where the state is kept.
        log_path: where the log is written, one JSON object per epoch.
        progress: what people see.
        name: what the progress bar is called.
        save_every: seconds between states within an epoch.
    """

    def __init__(
        self, job: Job, *, state_path: Path, log_path: Path, progress: Progress, name: str, save_every: float = 300.0
    ) -> None:
        recipe, self.job, self.progress, self.name = job.recipe, job, progress, name
        self.state_path, self.log_path, self.save_every = state_path, log_path, save_every
        least = LEAST_ROWS * distributed.world_size()
        if len(job.train) < least:
            raise BadInput(f"training needs at least {least} images, but {job.train.name} gives {len(job.train)}.")
        network = job.network.to(job.device)
        if recipe.sync_batch_norm and job.device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        self.network = network
        self.model = Forward(
            network, precision=recipe.precision, compiled=recipe.compile, channels_last=recipe.channels_last
        )
        self.method = job.method.to(job.device)
        self.optimiser = torch.optim.SGD(
            network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )  # fmt: skip
        self.stepper = Stepper(self.model, self.method, self.optimiser, job.seed)
        self.batches = TrainingBatches(
            job.train, batch_size=recipe.batch_size, seed=job.seed, device=job.device, augment=recipe.augment
        )
        robust = "robust" in self.method.gives
        self.validation = Validation(
            job.validation, sorted({recipe.validation_attack, *self.method.validation_attacks()} - {NATURAL}),
            threat=job.threat, seed=job.seed, batch_size=recipe.batch_size, device=job.device,
        )  # fmt: skip
        self.selection = Selection(recipe.select, recipe.validation_attack if robust else NATURAL)
        self.average = WeightAverage(recipe.average) if recipe.average else None
        self.averaging = False  # whether the steps of this epoch enter the average
        self.totals = EpochTotals()
        self.log: list[dict[str, Any]] = []
        self.unvalidated: dict[str, Any] | None = None  # the line of the last epoch, which waits for its validation
        self.epoch = self.batch = 0

    def run(self) -> None:
        """Train to the end, from the saved state if there is one; the network then holds the selected weights."""
        self._restore()
        asked = 0
        if self.job.recipe.cache_teacher:
            size = self.job.recipe.batch_size
            asked = label_once(self.method, self.job.train, batch_size=size, device=self.job.device)
        bar = self.progress.start(self.name, self.job.recipe.epochs * len(self.batches), self._done())
        with Interruption() as interruption:
            while True:
                if self.batch == 0:
                    state = self._validate()
                    if self.epoch == self.job.recipe.epochs:
                        break
                    self.method.begin_epoch(state)
                    # What was asked before the first step is part of the first epoch's cost.
                    self.totals = EpochTotals(teacher_forwards=asked if self.epoch == 0 else 0)
                interruption.stepping = True
                self._train_epoch(bar, interruption)
                interruption.stepping = False
                self._end_epoch()
        self.network.load_state_dict(self.selection.weights)
        self.progress.finish(bar)

    def _done(self) -> int:
        return self.epoch * len(self.batches) + self.batch

    def _factor(self) -> float:
        recipe = self.job.recipe
        return lr_factor(recipe.schedule, min(self.epoch, recipe.epochs - 1), recipe.epochs)

    @torch.no_grad()
    def _validate(self) -> EpochState:
        """Validate the live weights, offer them to the average, select, and complete the last epoch's line."""
        outcomes, terms = self.validation.outcomes(self.network), self.validation.terms(self.network, self.method)
        state = EpochState(self.epoch, self.job.recipe.epochs, self._factor(), outcomes, terms)
        summary = class_summary(outcomes, self.job.validation.num_classes)
        self.averaging = False
        if self.average is not None:
            begun = self.average.begun(self.epoch, self.job.recipe.epochs)
            accepted = self.method.accepts_average(state) and begun
            self.averaging = accepted and self.average.unit == "step"
            if accepted and self.average.unit == "epoch" and self.epoch > 0:
                self.average.add(self.network)
        if self.epoch > 0:
            line = self._select(summary)
            self.log.append(line)
            if distributed.is_main():
                write_log(self.log_path, self.log)
            if self.epoch in (1, self.job.recipe.epochs) or self.epoch % max(1, self.job.recipe.epochs // 5) == 0:
                self.progress.say(f"{self.name}: {spoken(line, self.job.recipe.epochs)}")
        return state

    def _select(self, live: dict[str, Any]) -> dict[str, Any]:
        assert self.unvalidated is not None
        if self.average is None or not self.average.entered:
            self.selection.offer(self.epoch, self.network, live, "live")
            return self.unvalidated | {"validation": live, "deployed": "live"}
        with self.average.applied(self.network):
            outcomes: Outcomes = self.validation.outcomes(self.network)
            averaged = class_summary(outcomes, self.job.validation.num_classes)
            self.selection.offer(self.epoch, self.network, averaged, "average")
        return self.unvalidated | {"validation": averaged, "validation_live": live, "deployed": "average"}

    def _train_epoch(self, bar: int, interruption: Interruption) -> None:
        recipe, size = self.job.recipe, self.job.recipe.batch_size
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.lr * self._factor()
        self.method.eps_factor = eps_factor(recipe.eps_warmup, self.epoch, recipe.epochs)
        gamma = recipe.awp if self.epoch >= epoch_at(recipe.awp_start, recipe.epochs) else 0.0
        self._count_from_totals()
        clock = saved = time.monotonic()
        for x, y, index in self.batches.epoch(self.epoch, self.batch):
            rows = min(size, len(self.job.train) - self.batch * size)
            applied = self.stepper.take(
                Batch(x, y, index), epoch=self.epoch, rows=rows, gamma=gamma, totals=self.totals
            )
            if applied and self.averaging and self.average is not None:
                self.average.add(self.network)
            self.batch += 1
            self._count()
            now = time.monotonic()
            self.totals.seconds, clock = self.totals.seconds + now - clock, now
            stop = any_process(interruption.requested, self.job.device)
            due = stop or any_process(distributed.is_main() and now - saved >= self.save_every, self.job.device)
            if due and (stop or self.batch < len(self.batches)):
                self._save()
                self._count_from_totals()
                saved = clock = time.monotonic()
            if stop:
                raise KeyboardInterrupt
            self.progress.advance(bar)

    def _teacher_counters(self) -> list[Forward]:
        return [teacher.model for teacher in self.method.teachers.values() if isinstance(teacher.model, Forward)]

    def _count_from_totals(self) -> None:
        self.model.count_from(self.totals.forwards, self.totals.backwards)
        for number, teacher in enumerate(self._teacher_counters()):  # the first goes on from all teachers' sum
            first = number == 0
            teacher.count_from(self.totals.teacher_forwards * first, self.totals.teacher_backwards * first)

    def _count(self) -> None:
        teachers = self._teacher_counters()
        self.totals.forwards, self.totals.backwards = self.model.forwards, self.model.backwards
        self.totals.teacher_forwards = sum(teacher.forwards for teacher in teachers)
        self.totals.teacher_backwards = sum(teacher.backwards for teacher in teachers)

    def _end_epoch(self) -> None:
        # Each process's batch norm saw its own rows; validation and the checkpoint need one network.
        distributed.broadcast_(self.network.buffers())
        self.totals.collect(self.job.device)
        self.unvalidated = log_line(self.epoch + 1, self.optimiser, self.totals, self.method)
        self.epoch, self.batch = self.epoch + 1, 0
        self._save()

    def _save(self) -> None:
        self.totals.collect(self.job.device)
        for module in self.method.modules():
            if isinstance(module, ClassMeter):
                module.collect()
        if distributed.is_main():
            write_state(self.state_path, self._state())

    def _state(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state(self.job.device) if self.job.device.type == "cuda" else None
        return {
            "settings": self.job.settings,
            "epoch": self.epoch,
            "batch": self.batch,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "method": self.method.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "averaging": self.averaging,
            "selection": self.selection.state_dict(),
            "totals": self.totals.state_dict(),
            "log": self.log,
            "unvalidated": self.unvalidated,
            "generator": torch.get_rng_state(),
            "cuda_generator": cuda,
        }

    def _restore(self) -> None:
        state = read_state(self.state_path)
        # All processes have read the file before the first of them may replace it.
        distributed.barrier()
        if state is None:
            distributed.broadcast_([*self.network.parameters(), *self.network.buffers()])
            return
        check_settings(self.state_path, state["settings"], self.job.settings)
        self.epoch, self.batch, self.averaging = state["epoch"], state["batch"], state["averaging"]
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.method.load_state_dict(state["method"])
        for module in self.method.modules():
            if isinstance(module, ClassMeter):
                module.keep_on_main()
        if self.average is not None:
            self.average.load_state_dict(state["average"], self.job.device)
        self.selection.load_state_dict(state["selection"])
        totals = EpochTotals(**state["totals"])
        self.totals = totals if distributed.is_main() else EpochTotals(skipped=totals.skipped)
        self.log, self.unvalidated = state["log"], state["unvalidated"]
        torch.set_rng_state(state["generator"])
        if self.job.device.type == "cuda" and state["cuda_generator"] is not None:
            torch.cuda.set_rng_state(state["cuda_generator"], self.job.device)
        self.progress.say(
            f"{self.name}: going on from epoch {self.epoch + 1} of {self.job.recipe.epochs}, step {self.batch}"
        )
