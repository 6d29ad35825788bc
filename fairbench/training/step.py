"""One step of training: attack, loss, gradients over all processes, optimiser, and what the method notes.

Shape key: B rows of the whole batch, b rows of this process.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from fairbench import distributed
from fairbench.errors import BadInput
from fairbench.methods.base import Batch, Method
from fairbench.methods.crafting import crafting
from fairbench.sample_random import SampleRandom
from fairbench.training.awp import perturbed
from fairbench.training.forward import Forward
from fairbench.training.totals import EpochTotals

#: Fewer rows than this on any process and all skip the step: batch norm needs two.
LEAST_ROWS = 2


@dataclass(frozen=True)
class Stepper:
    """Takes steps with a model, a method and an optimiser; `seed` is that of the attacks' random starts."""

    model: Forward
    method: Method
    optimiser: torch.optim.Optimizer
    seed: int

    def take(self, batch: Batch, *, epoch: int, rows: int, gamma: float, totals: EpochTotals) -> bool:
        """Take one step and add it to `totals`; return False, and count, where it had to be skipped.

        Args:
            batch: (b, ...), this process's share.
            epoch: 0 .. epochs - 1.
            rows: B; a share has at least B // processes rows.
            gamma: of adversarial weight perturbation; 0 is off.
            totals: of the epoch.

        Raises:
            BadInput: the loss is not finite.
        """
        attacked = rows // distributed.world_size() >= LEAST_ROWS
        if attacked:
            random = SampleRandom(self.seed, "train", batch.index, epoch=epoch)
            with crafting(self.model, self.method.attack_mode):
                batch = self.method.attack(self.model, batch, random)
        if not attacked or any_process(len(batch) < LEAST_ROWS, batch.y.device):
            totals.skipped += 1
            return False
        self.model.train()
        share = self._share(batch)
        with (
            perturbed(self.model.network, lambda: share * self.method.loss(self.model, batch).total, gamma)
            if gamma
            else nullcontext()
        ):
            step = self.method.loss(self.model, batch)
            self._check(totals.add(step, len(batch)), epoch)
            self.optimiser.zero_grad(set_to_none=True)
            (step.total * share).backward()  # type: ignore[no-untyped-call]
            distributed.sum_gradients(self.model.network.parameters())
        self.optimiser.step()
        with torch.no_grad():
            self.method.observe(batch, step)
        return True

    def _share(self, batch: Batch) -> float:
        if distributed.world_size() == 1:
            return 1.0
        everyone = distributed.sum_(torch.tensor(float(len(batch)), dtype=torch.float64, device=batch.y.device))
        return len(batch) / everyone.item()

    def _check(self, total: float, epoch: int) -> None:
        if not math.isfinite(total):
            raise BadInput(
                f"training with {self.method.name} diverged: the loss became {total} in epoch {epoch + 1}; lower the "
                f"learning rate (now {self.optimiser.param_groups[0]['lr']:.4g}), and check that the teacher and the "
                "initial weights belong to this data."
            )


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether `flag` holds on any process."""
    if distributed.world_size() == 1:
        return flag
    total: Tensor = distributed.sum_(torch.tensor(float(flag), device=device))
    return bool(total.item())
