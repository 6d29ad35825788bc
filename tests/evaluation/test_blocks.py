from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairbench.data.dataset import ArrayDataset
from fairbench.errors import BadInput, Refused
from fairbench.evaluation.blocks import Unit, cut, run_units
from fairbench.evaluation.examples import unit_folder
from fairbench.evaluation.judging import judge
from fairbench.evaluation.store import FolderStore, MemoryStore
from fairbench.outcomes import Outcomes
from fairbench.progress import Silent
from fairbench.threat import Threat

CPU = torch.device("cpu")


def arrays(index, low=0.0, high=1.0):
    x = torch.linspace(low, high, len(index))[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    return ArrayDataset(x, [0] * len(index), class_names=["a", "b"], index=np.asarray(index))


@given(st.sets(st.integers(0, 200), min_size=1, max_size=40), st.integers(1, 50), st.randoms())
def test_blocks_hold_consecutive_indices_whatever_the_order(indices, size, random):
    shuffled = list(indices)
    random.shuffle(shuffled)
    blocks = cut(arrays(shuffled), size)
    assert [i for block in blocks for i in block.index] == sorted(indices)
    assert [block.number for block in blocks] == list(range(len(blocks)))
    assert all(len(block.index) == size for block in blocks[:-1])
    for block in blocks:
        assert [shuffled[p] for p in block.positions] == list(block.index)


class Dark(torch.nn.Module):
    def forward(self, x):
        return torch.stack([torch.ones(len(x)), x[:, 0, 0, 0]], 1)


def unit(name="natural", seen=None, limit=10**9, error=torch.OutOfMemoryError):
    def compute(work):
        if len(work.x) > limit:
            raise error("no room: can't allocate memory")
        if seen is not None:
            seen.append(work.index.tolist())
        return judge(Dark(), work.x, work.x, work.y, work.index, attack=name, threat=Threat.parse("Linf", "0"))

    return Unit(name, compute)


def work(units, dataset, store):
    return run_units(units, dataset=dataset, store=store, device=CPU, progress=Silent())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
@pytest.mark.parametrize("folder", [False, True])
def test_out_of_memory_halves_until_it_fits_and_gives_the_smaller_size_s_result(error, folder, tmp_path):
    seen = []
    store = FolderStore(tmp_path, {"a": 1}, block_size=16, threads=1) if folder else MemoryStore(16)
    (rows,) = work([unit(seen=seen, limit=5, error=error)], arrays(range(10)), store)
    assert store.block_size == 4
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(rows) == 10
    if folder:
        again = FolderStore(tmp_path, {"a": 1}, block_size=16, threads=1)
        assert again.block_size == 4, "a resumed run keeps the halved size"


def test_after_out_of_memory_no_block_of_the_old_size_is_used(tmp_path):
    """The first unit fits in blocks of 8 and is saved; the second does not, so both are done in blocks of 4."""
    seen = []
    store = FolderStore(tmp_path, {}, block_size=8, threads=1)
    tables = work([unit("natural", seen), unit("other", limit=4)], arrays(range(10)), store)
    assert [len(rows) for rows in tables] == [10, 10]
    assert [len(block) for block in seen] == [8, 2, 4, 4, 2]


def test_units_whose_names_look_alike_in_a_path_are_kept_apart(tmp_path):
    seen = []
    store = FolderStore(tmp_path, {}, block_size=8, threads=1)
    names = ["pgd5(a=1)", "pgd5[a=1]", "pgd5(a=1/2)", "pgd5" + "(a=1" * 20, "pgd5" + "(a=1" * 21]
    tables = work([unit(name, seen) for name in names], arrays(range(4)), store)
    assert [rows.attacks for rows in tables] == [(name,) for name in names]
    assert len(seen) == 5


def test_one_image_that_does_not_fit_is_bad_input():
    with pytest.raises(BadInput, match="one image"):
        work([unit(limit=0)], arrays(range(3)), MemoryStore(2))


def test_other_errors_are_not_caught():
    with pytest.raises(RuntimeError, match="something else"):
        work(
            [Unit("natural", lambda *a: (_ for _ in ()).throw(RuntimeError("something else")))],
            arrays([0]),
            MemoryStore(1),
        )


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.1), (-0.1, 1.0), (0.0, 255.0), (0.0, float("nan"))])
def test_pixels_outside_the_range_are_refused(low, high):
    dataset = arrays(range(4))
    dataset.x[-1], dataset.x[0] = high, low
    with pytest.raises(Refused) as error:
        work([unit()], dataset, MemoryStore(2))
    assert error.value.check == "pixel-range"


def test_finished_blocks_are_not_computed_again(tmp_path):
    dataset = arrays(range(10))
    first, second = [], []
    work([unit(seen=first)], dataset, FolderStore(tmp_path, {}, block_size=4, threads=1))
    again = FolderStore(tmp_path, {}, block_size=4, threads=1)
    (rows,) = work([unit(seen=second)], dataset, again)
    assert (len(first), len(second), len(rows)) == (3, 0, 10)
    work([unit("other", seen=second)], dataset, again)
    assert len(second) == 3


def test_a_folder_of_other_settings_is_refused(tmp_path):
    FolderStore(tmp_path, {"seed": 0, "attacks": {"fgsm": {"eps": 0.1}}}, block_size=4, threads=1)
    with pytest.raises(BadInput, match="seed = 0 there, but 1 here"):
        FolderStore(tmp_path, {"seed": 1, "attacks": {"fgsm": {"eps": 0.1}}}, block_size=4, threads=1)
    with pytest.raises(BadInput, match="attacks = fgsm there, but fgsm, pgd20 here"):
        FolderStore(
            tmp_path, {"seed": 0, "attacks": {"fgsm": {"eps": 0.1}, "pgd20": {"eps": 0.1}}}, block_size=4, threads=1
        )
    for broken in ("{", "[]", '{"settings": 3}', '{"settings": {}, "block_size": "x"}'):
        (tmp_path / "blocks" / "settings.json").write_text(broken)
        with pytest.raises(BadInput):
            FolderStore(tmp_path, {}, block_size=4, threads=1)


def test_seconds_add_up_over_calls(tmp_path):
    store = FolderStore(tmp_path, {}, block_size=4, threads=1)
    first = store.add_seconds()
    second = FolderStore(tmp_path, {}, block_size=4, threads=1).add_seconds()
    assert 0 <= first <= second


class Heard(Silent):
    """Keeps what a person would see."""

    def __init__(self):
        self.seen = []

    def start(self, name, total, done=0):
        self.seen.append((name, total, done))
        return 0

    def advance(self, bar, amount=1):
        self.seen.append(amount)

    def say(self, text):
        self.seen.append(text)


def after(name, before, breaks):
    """Return a part that breaks the samples in `breaks` and must not be watched where none is left."""

    def compute(work):
        frame = work.before.frame.copy()
        frame.loc[frame["index"].isin(breaks), "prediction"] = 1
        return Outcomes(frame.assign(attack=name))

    return Unit(name, compute, before)


def test_a_part_of_a_cascade_counts_the_samples_it_attacks(tmp_path):
    dataset, heard = arrays(range(10), high=0.5), Heard()
    units = [unit(), after("aa/a", "natural", range(7)), after("aa/b", "aa/a", range(10)), after("aa/c", "aa/b", [])]
    store = FolderStore(tmp_path, {}, block_size=4, threads=1)
    run_units(units, dataset=dataset, store=store, device=CPU, progress=heard)
    assert heard.seen == [
        ("natural", 10, 0), 4, 4, 2,
        ("aa/a", 10, 0), 4, 4, 2,
        # Of blocks of 4, 4 and 2 samples none, one and two are left.
        ("aa/b", 3, 0), 0, 1, 2,
        "aa/c: no sample left",
    ]  # fmt: skip


def test_a_resumed_part_counts_what_was_attacked_before(tmp_path):
    dataset, heard = arrays(range(10), high=0.5), Heard()
    units = [unit(), after("aa/a", "natural", range(7)), after("aa/b", "aa/a", range(10))]
    store = FolderStore(tmp_path, {}, block_size=4, threads=1)
    run_units(units, dataset=dataset, store=store, device=CPU, progress=Silent())
    (tmp_path / "blocks" / unit_folder("aa/b") / "4-000001.parquet").unlink()
    run_units(units, dataset=dataset, store=store, device=CPU, progress=heard)
    assert heard.seen == [("aa/b", 3, 2), 1]
