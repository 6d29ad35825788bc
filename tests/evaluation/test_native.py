"""Our own AutoAttack through the evaluator: what it does not depend on, and that it goes on within a block."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from fairbench.attacks import attack_memory
from fairbench.evaluation import store
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.native import part_precision
from fairbench.progress import Silent

FEW = "aa(steps=6,queries=70)"
PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")


def run_of(model, dataset, attacks=FEW, **options):
    return evaluate(model, dataset, attacks, **{"eps": "0.05", "batch_size": 16, **options})


def test_each_part_only_breaks_more_and_every_part_breaks_something(model, dataset):
    outcomes = run_of(model, dataset).outcomes
    tables = [outcomes.robust(name) for name in ("natural", *(f"{FEW}/{part}" for part in PARTS))]
    for before, after in itertools.pairwise(tables):
        assert (after <= before).all()
    assert tables[1].sum() < tables[0].sum()
    assert np.array_equal(outcomes.robust(FEW), tables[-1])
    examples = outcomes.of(FEW)[~outcomes.robust(FEW) & outcomes.robust("natural")]
    assert examples["linf"].max() <= 0.05 * (1 + 1e-5) + 1e-6
    assert (examples["margin"] <= 0).all()


def test_no_radius_breaks_nothing_and_a_larger_one_breaks_more(model, dataset):
    tables = [run_of(model, dataset, eps=eps).outcomes for eps in ("0", "0.02", "0.1")]
    assert np.array_equal(tables[0].robust(FEW), tables[0].robust("natural"))
    for smaller, larger in itertools.pairwise(tables):
        assert (larger.robust(FEW) <= smaller.robust(FEW)).all()
        assert larger.robust(FEW).sum() < smaller.robust(FEW).sum()


@pytest.mark.parametrize(
    "attack", [FEW, "aa(version=plus,steps=3,queries=20)", "aa(parts=square+fab,steps=3,queries=20)"]
)
def test_equal_predictions_in_float64_whatever_the_blocks_and_the_order(attack, model, dataset):
    order = np.random.default_rng(0).permutation(len(dataset))
    shuffled = dataset.take(order, selection=dataset.selection)
    tables = [
        run_of(model, data, attack, precision="float64", batch_size=size).outcomes
        for data, size in ((dataset, 1), (dataset, 7), (shuffled, 64), (shuffled, 7))
    ]
    for table in tables[1:]:
        for name in table.attacks:
            assert table.of(name)["prediction"].tolist() == tables[0].of(name)["prediction"].tolist()
    assert tables[1].frame.equals(tables[3].frame)


class Kill(BaseException):
    """What no code may catch."""


@pytest.mark.parametrize("writes", [1, 5, 12])
def test_a_kill_within_a_block_goes_on_to_the_same_bytes(writes, model, dataset, tmp_path, monkeypatch):
    run_of(model, dataset, out=tmp_path / "undisturbed", batch_size=64)

    class Often(attack_memory.FileMemory):
        """Writes at every offer and is killed after some."""

        written = 0

        def __init__(self, path):
            super().__init__(path, seconds=0)

        def offer(self, state, done):
            super().offer(state, done)
            Often.written += self.path.exists()
            if Often.written == writes:
                raise Kill

    monkeypatch.setattr(store, "FileMemory", Often)
    recalled = []
    monkeypatch.setattr(
        Often, "recall", lambda memory: recalled.append(memory.path.exists()) or super(Often, memory).recall()
    )
    with pytest.raises(Kill):
        run_of(model, dataset, out=tmp_path / "run", batch_size=64)
    recalled.clear()
    run_of(model, dataset, out=tmp_path / "run", batch_size=64)
    assert recalled[0], "it went on from the saved state"
    for name in ("outcomes.parquet", "metrics.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert not list((tmp_path / "run").rglob("*.state.safetensors"))


def test_progress_moves_within_a_block(model, dataset, monkeypatch):
    seen = []

    class Sees(Silent):
        def start(self, name, total, done=0):
            seen.append((name, total))
            return 0

        def glance(self, bar, amount):
            seen.append(amount)

    monkeypatch.setattr("fairbench.evaluation.watched._SECONDS", 0)
    outcomes = run_of(model, dataset, progress=Sees(), batch_size=64).outcomes
    left = int(outcomes.robust(f"{FEW}/apgd-ce").sum())
    assert 0 < left < len(dataset), "a part's bar counts the survivors of the part before"
    place = seen.index((f"{FEW}/apgd-t", left))
    within = [amount for amount in seen[place + 1 : place + 12] if isinstance(amount, float)]
    assert len(within) > 5
    assert within == sorted(within)
    assert 0 < within[0] < within[-1] <= left


def test_bfloat16_attacks_a_copy_and_the_judge_decides(model, dataset):
    half, full = (run_of(model, dataset, precision=precision).outcomes for precision in ("bf16", "float32"))
    assert abs(half.robust(FEW).mean() - full.robust(FEW).mean()) <= 0.1
    broken = half.of(FEW)[~half.robust(FEW) & half.robust("natural")]
    assert (broken["margin"] <= 0).all(), "margins are the float32 network's"


@pytest.mark.parametrize("name", PARTS)
def test_only_apgd_attacks_in_bfloat16(name):
    assert part_precision(name, "bf16") == ("bf16" if name in ("apgd-ce", "apgd-dlr", "apgd-t") else "float32")
    assert part_precision(name, "float64") == "float64"
    assert part_precision(name, "float32") == "float32"


@pytest.mark.parametrize("norm", ["L2", "L1"])
def test_other_norms(norm, model, dataset):
    outcomes = run_of(model, dataset, norm=norm, eps={"L2": "0.3", "L1": "2"}[norm]).outcomes
    assert 0 < outcomes.robust(FEW).sum() < outcomes.robust("natural").sum()
    assert outcomes.of(FEW)["distance"].max() <= {"L2": 0.3, "L1": 2}[norm] * (1 + 1e-5) + 1e-6


@pytest.mark.parametrize(("shape", "num_classes"), [((1, 5, 9), 2), ((3, 4, 4), 3), ((2, 8, 6), 12)])
def test_any_number_of_classes_channels_and_sides(shape, num_classes):
    x = torch.rand(9, *shape, generator=torch.Generator().manual_seed(1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pixels = shape[0] * shape[1] * shape[2]
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(pixels, num_classes)).eval()
    y = network(x).argmax(1)
    run = evaluate(network, x, FEW, y=y, eps="0.05", batch_size=1)
    targets = run.record["attacks"][FEW]["parts"]["apgd-t"]["targets"]
    assert targets == min(9, num_classes - 1)
    assert (~run.outcomes.robust(FEW)).sum() > 0
