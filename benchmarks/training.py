"""Time of a training step: each method against its bare passes, and ABSLD against a per-sample loop.

    python benchmarks/training.py [--methods sat,absld] [--model small-cnn] [--shape 1,28,28] [--steps 15] [--threads 2]

Every call of a network in a step is recorded (rows, and which gradients it must give), and at once replayed bare: the
same forwards, the gradient of a sum to the pixels or to the weights, nothing else. Printed are the medians of both and
the median of their ratios; the target is at most 1.15. The second table is ABSLD as its released code is written, with
a Python loop over samples for the temperatures and for the risks: target at least 1.5 times our time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from fairbench.methods import METHODS
from fairbench.methods.base import Batch, EpochState, Method
from fairbench.methods.teacher import Teacher
from fairbench.models import build_model
from fairbench.outcomes import Outcomes
from fairbench.sample_random import SampleRandom
from fairbench.training.step import Stepper
from fairbench.training.totals import EpochTotals

NUM_CLASSES, EPS, STEPS = 10, 0.1, 10


@dataclass(frozen=True)
class Call:
    """One call of a network: its rows, and whether gradients flow to the pixels and to the weights."""

    network: nn.Module
    x: Tensor
    pixels: bool
    weights: bool
    training: bool


class Recorder(nn.Module):
    """A network that notes how it is called; `network` and `backwards` are what a Stepper asks of its model."""

    def __init__(self, network: nn.Module, calls: list[Call]) -> None:
        super().__init__()
        self.network, self.calls = network, calls

    def forward(self, x: Tensor) -> Tensor:
        on = torch.is_grad_enabled()
        weights = on and next(self.network.parameters()).requires_grad
        self.calls.append(Call(self.network, x.detach(), on and x.requires_grad, weights, self.network.training))
        logits: Tensor = self.network(x)
        return logits


@dataclass
class Times:
    step: list[float] = field(default_factory=list)
    other: list[float] = field(default_factory=list)

    def ratio(self) -> float:
        return statistics.median(a / b for a, b in zip(self.step, self.other, strict=True))

    def row(self, name: str, ratio: float) -> str:
        step, other = statistics.median(self.step), statistics.median(self.other)
        return f"{name:22s} {1e3 * step:9.2f} {1e3 * other:9.2f} {ratio:8.2f}"


def networks(shape: tuple[int, int, int], model: str) -> tuple[nn.Module, dict[str, nn.Module]]:
    torch.manual_seed(0)
    student = build_model(model, num_classes=NUM_CLASSES, shape=shape)
    teachers = {role: build_model(model, num_classes=NUM_CLASSES, shape=shape) for role in ("robust", "natural")}
    return student, teachers


def begun(method: Method) -> Method:
    """Let the method begin its last epoch, in which everything it has is on."""
    rows = {"index": range(20), "label": list(range(NUM_CLASSES)) * 2}
    tables = [Outcomes.of_columns("natural", **rows, prediction=rows["label"])]  # type: ignore[arg-type]
    for attack in sorted(method.validation_attacks()):
        tables.append(Outcomes.of_columns(attack, **rows, prediction=[0] * 20))  # type: ignore[arg-type]
    logits, label, terms = torch.randn(20, NUM_CLASSES), torch.tensor(rows["label"]), {}
    for attack in sorted(method.term_attacks()):
        terms |= {k: v.double().numpy() for k, v in method.validation_terms(attack, label, logits, -logits).items()}
    method.begin_epoch(EpochState(29, 30, 0.01, Outcomes.concat(tables), terms))
    return method


def replay(calls: list[Call]) -> float:
    """Return the seconds that the recorded calls take bare."""
    begin = time.perf_counter()
    total = torch.zeros(())
    for call in calls:
        call.network.train(call.training)
        if call.weights:
            total = total + call.network(call.x).sum()
        elif call.pixels:
            x = call.x.requires_grad_(True)
            with frozen(call.network):
                torch.autograd.grad(call.network(x).sum(), x)
        else:
            with torch.no_grad():
                call.network(call.x)
    if total.requires_grad:
        total.backward()
    return time.perf_counter() - begin


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Without gradients to the weights, as in `crafting`, which would set the mode, too."""
    trainable = [p for p in network.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    yield
    for p in trainable:
        p.requires_grad_(True)


def against_bare(name: str, batches: list[Batch], shape: tuple[int, int, int], model: str) -> Times:
    student, networks_of = networks(shape, model)
    calls: list[Call] = []
    cls = METHODS[name]
    teachers = {role: Teacher(Recorder(networks_of[role], calls)) for role in cls.roles}
    method = begun(cls(NUM_CLASSES, eps=EPS, teachers=teachers, steps=STEPS))
    optimiser = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)
    stepper = Stepper(Recorder(student, calls), method, optimiser, seed=0)  # type: ignore[arg-type]
    times = Times()
    for number, batch in enumerate(batches):
        calls.clear()
        begin = time.perf_counter()
        stepper.take(batch, epoch=number, rows=len(batch), gamma=0.0, totals=EpochTotals())
        step = time.perf_counter() - begin
        student.zero_grad(set_to_none=True)
        bare = replay(list(calls))
        if number >= 3:  # the first warm caches up
            times.step.append(step)
            times.other.append(bare)
    return times


class PerSampleABSLD:
    """ABSLD in the style of its released code: two Python loops over the samples of every batch.

    Written from the description of the algorithm: tempered labels made one sample at a time, PGD on their divergence
    with the network's parameters left trainable, two forwards, and risks added up one sample at a time.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        self.student, self.teacher = student, teacher.eval()
        self.optimiser = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)
        self.temperature = {term: [1.0] * NUM_CLASSES for term in ("natural", "robust")}
        self.risk = {term: [0.0] * NUM_CLASSES for term in ("natural", "robust")}

    def label(self, logits: Tensor, y: Tensor, term: str) -> Tensor:
        tempered = logits.clone()
        for i in range(len(y)):
            tempered[i] = logits[i] / self.temperature[term][int(y[i])]
        return tempered.softmax(1)

    def attack(self, x: Tensor, label: Tensor) -> Tensor:
        self.student.eval()
        x_adv = x + 0.001 * torch.randn_like(x)
        for _ in range(STEPS):
            x_adv.requires_grad_(True)
            loss = functional.kl_div(self.student(x_adv).log_softmax(1), label, reduction="none").sum()
            gradient = torch.autograd.grad(loss, [x_adv])[0]
            x_adv = x_adv.detach() + EPS / 4 * gradient.sign()
            x_adv = torch.min(torch.max(x_adv, x - EPS), x + EPS).clamp(0, 1)
        return x_adv.detach()

    def step(self, batch: Batch) -> None:
        with torch.no_grad():
            logits = self.teacher(batch.x)
        labels = {term: self.label(logits, batch.y, term) for term in ("natural", "robust")}
        x_adv = self.attack(batch.x, labels["robust"])
        self.student.train()
        self.optimiser.zero_grad()
        student = {"robust": self.student(x_adv), "natural": self.student(batch.x)}
        parts = {
            term: functional.kl_div(torch.log(out.softmax(1)), labels[term], reduction="none").mean()
            for term, out in student.items()
        }
        (5 / 6 * parts["robust"] + 1 / 6 * parts["natural"]).backward()
        self.optimiser.step()
        for term, out in student.items():
            losses = functional.cross_entropy(out.detach(), batch.y, reduction="none")
            for i in range(len(batch.y)):
                self.risk[term][int(batch.y[i])] += losses[i].item()


def against_loop(batches: list[Batch], shape: tuple[int, int, int], model: str) -> Times:
    """Time ours and the loop's, one after the other on each batch."""
    student, teachers = networks(shape, model)
    ours = METHODS["absld"](NUM_CLASSES, eps=EPS, teachers={"robust": Teacher(teachers["robust"])}, steps=STEPS)
    optimiser = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)
    model_of = Recorder(student, [])
    stepper = Stepper(model_of, begun(ours), optimiser, seed=0)  # type: ignore[arg-type]
    other_student, _ = networks(shape, model)
    loop, times = PerSampleABSLD(other_student, teachers["robust"]), Times()
    for number, batch in enumerate(batches):
        begin = time.perf_counter()
        stepper.take(batch, epoch=number, rows=len(batch), gamma=0.0, totals=EpochTotals())
        middle = time.perf_counter()
        loop.step(batch)
        end = time.perf_counter()
        model_of.calls.clear()
        if number >= 3:
            times.step.append(middle - begin)
            times.other.append(end - middle)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--model", default="small-cnn")
    parser.add_argument("--shape", default="1,28,28", help="channels, height, width")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=15, help="measured steps of each method")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shape = tuple(int(side) for side in args.shape.split(","))
    index = torch.arange(args.batch_size)
    batches = []
    for number in range(args.steps + 3):
        pixels = SampleRandom(0, "images", index + number * args.batch_size).uniform(shape)
        batches.append(Batch(pixels, index % NUM_CLASSES, index))
    print(
        f"{args.model}, images {args.shape}, batches of {args.batch_size}, {args.threads} threads, {torch.__version__}"
    )
    print(f"{'method':22s} {'step ms':>9s} {'bare ms':>9s} {'ratio':>8s}")
    ratios = []
    for name in args.methods.split(","):
        times = against_bare(name, batches, shape, args.model)
        ratios.append(times.ratio())
        print(times.row(name, ratios[-1]), flush=True)
    print(f"median {statistics.median(ratios):.2f}, largest {max(ratios):.2f} (target at most 1.15)")
    times = against_loop(batches, shape, args.model)
    print(f"{'':22s} {'ours ms':>9s} {'loop ms':>9s} {'faster':>8s}")
    print(times.row("absld", 1 / times.ratio()), "(target at least 1.5)")


if __name__ == "__main__":
    main()
