"""One process of test_processes: some epochs of two steps of each case, in float64, rows rank::world of each batch.

python two_process_worker.py FOLDER CASE...    writes FOLDER/<rank>.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn

from fairbench import distributed
from fairbench.methods import CLASS_RULES, METHODS
from fairbench.methods.base import Batch, EpochState
from fairbench.methods.batch import epoch_at
from fairbench.outcomes import Outcomes
from fairbench.training.forward import Forward
from fairbench.training.step import Stepper
from fairbench.training.totals import EpochTotals

NUM_CLASSES, BATCHES = 3, (14, 9)  # the second batch is uneven: 5 and 4 rows
#: The schedule is long enough for every warm-up to end (DAFA's after 3 of 5 epochs) with an epoch left to train.
EPOCHS, TRAINED = 5, 4

#: Rules that ABSLD, whose own slot is retemper, is composed with.
REWEIGHT, REMARGIN = ("frl", "wat", "fair-ard", "dafa"), ("cfa", "dafa", "frl")
COMPOSED = [
    *({"reweight": rule} for rule in REWEIGHT),
    *({"remargin": rule} for rule in REMARGIN),
    *({"reweight": first, "remargin": second} for first in REWEIGHT for second in REMARGIN),
]
#: Beside every method as it is: case -> (method, hyper-parameters, rule by slot).
VARIANTS = {
    "iad II": ("iad", {"variant": "II"}, {}),
    "ard alpha": ("ard", {"alpha": 0.6}, {}),
    "adaad alpha": ("adaad", {"alpha": 0.5}, {}),
    "cfa sat": ("cfa", {"variant": "sat"}, {}),
    "frl reweight": ("frl", {"variant": "reweight"}, {}),
    "ham released": ("ham", {"variant": "released"}, {}),
    "ham batch": ("ham", {"mean_over": "batch"}, {}),
    "ham released batch": ("ham", {"variant": "released", "mean_over": "batch"}, {}),
    "ham wat cfa": ("ham", {}, {"reweight": "wat", "remargin": "cfa"}),
    "sat dafa": ("sat", {}, {"reweight": "dafa", "remargin": "dafa"}),
    "sat vulnerable": ("sat", {}, {"reweight": "vulnerable"}),
    "trades faal": ("trades", {}, {"reweight": "faal"}),
    "trades faal dafa": ("trades", {}, {"reweight": "faal", "remargin": "dafa"}),
    "mart faal": ("mart", {}, {"reweight": "faal"}),
    "bat dafa": ("bat", {}, {"reweight": "dafa", "remargin": "dafa"}),
    "frl wat": ("frl", {}, {"reweight": "wat"}),
    "rslad fair-ard": ("rslad", {}, {"reweight": "fair-ard"}),
    "mtard fair-ard": ("mtard", {}, {"reweight": "fair-ard"}),
    **{f"absld {' '.join(slots.values())}": ("absld", {}, slots) for slots in COMPOSED},
}
#: Gamma of adversarial weight perturbation by case; the others have none.
GAMMA = {"trades awp": 0.05, "absld awp": 0.05, "mtard awp": 0.05, "ham awp": 0.05, "faal awp": 0.05}
CASES = {name: (name, {}, {}) for name in METHODS} | VARIANTS | {case: (case.split()[0], {}, {}) for case in GAMMA}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, NUM_CLASSES))


def validation(method, student: nn.Module, epoch: int) -> EpochState:
    """What the loop would hand over, from a crude attack in place of the real ones."""
    generator = torch.Generator().manual_seed(99)
    x, y = torch.rand(12, 1, 4, 4, generator=generator), torch.arange(12) % NUM_CLASSES
    with torch.no_grad():
        natural, robust = student(x), student(x + 0.2 * torch.sign(torch.sin(1e3 * x)))
    rows = {"index": range(12), "label": y.tolist()}
    tables = [Outcomes.of_columns("natural", **rows, prediction=natural.argmax(1).tolist())]
    for attack in sorted(method.validation_attacks()):
        tables.append(Outcomes.of_columns(attack, **rows, prediction=robust.argmax(1).tolist()))
    terms = {}
    for attack in sorted(method.term_attacks()):
        terms |= {k: v.numpy() for k, v in method.validation_terms(attack, y, natural, robust).items()}
    return EpochState(epoch, EPOCHS, 1.0 if epoch < epoch_at(0.75, EPOCHS) else 0.1, Outcomes.concat(tables), terms)


def gradient(student: nn.Module) -> list[float]:
    return torch.cat([p.grad.flatten() for p in student.parameters()]).tolist()


def state_of(method) -> dict[str, list[float]]:
    """Every buffer but the sums of a running epoch, which each process has its own of."""
    buffers = {k: v for k, v in method.named_buffers() if not k.endswith((".total", ".count"))}
    return {k: v.double().flatten().tolist() for k, v in buffers.items()}


def train(case: str) -> dict:
    rank, world = distributed.rank(), distributed.world_size()
    name, hyper, slots = CASES[case]
    student = network(0)
    roles = METHODS[name].roles + (("natural",) if hyper.get("variant") == "II" else ())
    method = METHODS[name](
        NUM_CLASSES, eps=0.1, teachers={role: network(1 + k) for k, role in enumerate(roles)}, steps=4,
        slots={slot: CLASS_RULES[rule] for slot, rule in slots.items()}, **hyper,
    )  # fmt: skip
    stepper = Stepper(Forward(student), method, torch.optim.SGD(student.parameters(), lr=0.2, momentum=0.9), seed=0)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(sum(BATCHES), 1, 4, 4, generator=generator)
    y = torch.randint(NUM_CLASSES, (sum(BATCHES),), generator=generator)
    result: dict = {"taken": [], "loss": [], "gradient": [], "state": []}
    for epoch in range(TRAINED + 1):
        method.begin_epoch(validation(method, student, epoch))
        result["state"].append(state_of(method))
        if epoch == TRAINED:
            break  # the class state of the last epoch is in; nothing is trained with it
        start = 0
        for size in BATCHES:
            rows = torch.arange(start, start + size)[rank::world]
            totals = EpochTotals()
            gamma = GAMMA.get(case, 0.0)
            taken = stepper.take(Batch(x[rows], y[rows], rows), epoch=epoch, rows=size, gamma=gamma, totals=totals)
            totals.collect(torch.device("cpu"))
            share = totals.means() if distributed.is_main() else {}
            result["taken"].append(taken)
            result["loss"].append(distributed.gather_objects([share.get("total")])[0][0])
            result["gradient"].append(gradient(student))
            result["state"].append(state_of(method))
            start += size
    result["weights"] = torch.cat([p.detach().flatten() for p in student.parameters()]).tolist()
    # Three rows leave one of two processes with a single one: both skip.
    rows = torch.arange(3)[rank::world]
    result["three"] = (
        stepper.take(Batch(x[rows], y[rows], rows), epoch=0, rows=3, gamma=0.0, totals=EpochTotals())
        if world > 1
        else False
    )
    left = torch.cat([p.detach().flatten() for p in student.parameters()]).tolist()
    assert left == result["weights"]
    return result


def train_all(cases: list[str]) -> dict:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng():
            return {case: train(case) for case in cases}
    finally:
        torch.set_default_dtype(before)


def check_that_no_thread_is_left() -> None:
    """A thread of the left group that still runs may abort the process while Python ends."""
    tasks = Path("/proc/self/task")
    names = [(task / "comm").read_text().strip() for task in tasks.iterdir()] if tasks.exists() else []
    assert not [name for name in names if "gloo" in name], names


def main() -> None:
    torch.set_num_threads(1)
    distributed.start(torch.device("cpu"))
    result = json.dumps(train_all(sys.argv[2:]))
    (Path(sys.argv[1]) / f"{distributed.rank()}.json").write_text(result)
    distributed.stop()
    check_that_no_thread_is_left()


if __name__ == "__main__":
    main()
