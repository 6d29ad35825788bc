"""One process of test_processes: two epochs of two steps of each method, in float64, rows rank::world of each batch.

python two_process_worker.py RESULT.json METHOD...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from fairbench import distributed
from fairbench.methods import METHODS
from fairbench.methods.base import Batch, EpochState
from fairbench.outcomes import Outcomes
from fairbench.training.forward import Forward
from fairbench.training.step import Stepper
from fairbench.training.totals import EpochTotals

NUM_CLASSES, BATCHES = 3, (8, 5)  # the second batch is uneven: 3 and 2 rows


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, NUM_CLASSES))


def validation(method) -> Outcomes:
    rows = {"index": range(6), "label": [0, 1, 2] * 2}
    tables = [Outcomes.of_columns("natural", **rows, prediction=rows["label"], loss=[0.1] * 6)]
    tables += [Outcomes.of_columns(a, **rows, prediction=[0, 1, 0] * 2) for a in sorted(method.validation_attacks())]
    return Outcomes.concat(tables)


def train(name: str) -> dict:
    rank, world = distributed.rank(), distributed.world_size()
    cls = METHODS[name]
    student = network(0)
    method = cls(NUM_CLASSES, eps=0.1, teachers={role: network(1 + k) for k, role in enumerate(cls.roles)}, steps=3)
    optimiser = torch.optim.SGD(student.parameters(), lr=0.5, momentum=0.9)
    stepper = Stepper(Forward(student), method, optimiser, seed=0)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(sum(BATCHES), 1, 4, 4, generator=generator)
    y = torch.randint(NUM_CLASSES, (sum(BATCHES),), generator=generator)
    losses = []
    for epoch in range(3):
        method.begin_epoch(EpochState(epoch, 3, 1.0, validation(method)))
        if epoch == 2:
            break  # the class state of the second epoch is in; nothing is trained with it
        start = 0
        for size in BATCHES:
            rows = torch.arange(start, start + size)[rank::world]
            totals = EpochTotals()
            taken = stepper.take(Batch(x[rows], y[rows], rows), epoch=epoch, rows=size, gamma=0.0, totals=totals)
            totals.collect(torch.device("cpu"))
            share = totals.means() if distributed.is_main() else {}
            losses.append(distributed.gather_objects([taken, share.get("total")])[0])
            start += size
    # Three rows leave one of two processes with a single one: both skip.
    rows = torch.arange(3)[rank::world]
    batch = Batch(x[rows], y[rows], rows)
    left = torch.cat([p.detach().flatten() for p in student.parameters()])
    three = stepper.take(batch, epoch=2, rows=3, gamma=0.0, totals=EpochTotals()) if world > 1 else False
    assert world == 1 or torch.equal(left, torch.cat([p.detach().flatten() for p in student.parameters()]))
    return {
        "three": three,
        "weights": torch.cat([p.detach().flatten() for p in student.parameters()]).tolist(),
        "class_state": torch.cat([torch.zeros(0), *method.class_state().values()]).tolist(),
        "loss": [loss for _, loss in losses],
        "taken": [taken for taken, _ in losses],
    }


def train_all(names: list[str]) -> dict:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng():
            return {name: train(name) for name in names}
    finally:
        torch.set_default_dtype(before)


def main() -> None:
    torch.set_num_threads(1)
    distributed.start(torch.device("cpu"))
    Path(sys.argv[1]).write_text(json.dumps(train_all(sys.argv[2:])))
    distributed.stop()


if __name__ == "__main__":
    main()
