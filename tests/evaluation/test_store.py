"""What stays when work is interrupted: the time spent, the settings, the size of blocks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fairbench.data.dataset import ArrayDataset
from fairbench.errors import BadInput
from fairbench.evaluation import blocks, store
from fairbench.evaluation.blocks import Block, Unit, run_units
from fairbench.evaluation.store import FolderStore, MemoryStore, refuse_other_settings
from fairbench.outcomes import Outcomes
from fairbench.progress import Silent

TEN = ArrayDataset(torch.zeros(10, 1, 2, 2), [0] * 10, class_names=["a", "b"])


def rows(attack, index):
    zeros = np.zeros(len(index), dtype=int)
    return Outcomes.of_columns(attack, index=index, label=zeros, prediction=zeros)


def unit(name, limit=100):
    def compute(work):
        if len(work.x) > limit:
            raise torch.OutOfMemoryError
        return rows(name, work.index.numpy())

    return Unit(name, compute)


def worked(units, kept, progress=None):
    return run_units(units, dataset=TEN, store=kept, device=torch.device("cpu"), progress=progress or Silent())


@pytest.fixture
def clock(monkeypatch):
    """The time of day in seconds, to be set."""
    now = [100.0]
    monkeypatch.setattr(store.time, "monotonic", lambda: now[0])
    return now


def test_seconds_of_all_calls_by_hand(clock, tmp_path):
    """A call of 7 and 2 s, then one that begins 1,000 s later and takes 4 s: 13 s."""
    first = FolderStore(tmp_path, {}, block_size=4, threads=1)
    clock[0] = 107.0
    assert first.add_seconds() == 7.0
    clock[0] = 109.0
    assert first.add_seconds() == 9.0
    clock[0] = 1109.0
    second = FolderStore(tmp_path, {}, block_size=4, threads=1)
    clock[0] = 1113.0
    assert second.add_seconds() == 13.0


def test_seconds_are_written_while_the_work_goes_on(clock, tmp_path):
    """At the first block that is saved more than 5 s after they were written last: a kill loses little."""
    kept = FolderStore(tmp_path, {}, block_size=4, threads=1)
    place = tmp_path / "blocks" / "seconds.json"
    block = Block(0, np.arange(2), np.arange(2), np.zeros(2, dtype=np.int64))
    for now, written in ((104.0, None), (106.0, 6.0), (110.0, 6.0), (112.0, 12.0)):
        clock[0] = now
        kept.save("natural", block, rows("natural", [0, 1]))
        assert (json.loads(place.read_text())["seconds"] if place.exists() else None) == written


@pytest.mark.parametrize("value", [0, -1, True, 4.0, "4", None])
@pytest.mark.parametrize("key", ["block_size", "threads"])
def test_a_recorded_size_that_is_no_count_is_refused(key, value, tmp_path):
    FolderStore(tmp_path, {}, block_size=4, threads=1)
    place = tmp_path / "blocks" / "settings.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), key: value}))
    with pytest.raises(BadInput, match=f"must give {key} as a whole number of at least 1, but gives '{value}'"):
        FolderStore(tmp_path, {}, block_size=4, threads=1)


def test_a_setting_that_only_the_folder_has_is_another_run(tmp_path):
    with pytest.raises(BadInput, match="precision = bf16 there, but nothing here"):
        refuse_other_settings({"seed": 0, "precision": "bf16"}, {"seed": 0}, tmp_path)
    with pytest.raises(BadInput, match="precision = nothing there, but bf16 here"):
        refuse_other_settings({"seed": 0}, {"seed": 0, "precision": "bf16"}, tmp_path)


def test_halving_forgets_what_memory_holds_of_the_old_size():
    """The first unit fits in blocks of 8, the second only in blocks of 4: the first is done again."""
    kept = MemoryStore(8)
    tables = worked([unit("natural"), unit("other", limit=4)], kept)
    assert kept.block_size == 4
    assert [table.frame["index"].tolist() for table in tables] == [list(range(10))] * 2


def test_a_block_that_another_process_cannot_hold_halves_all(monkeypatch):
    """This process's blocks fit; the other one's do only in blocks of 4."""
    kept, asked = MemoryStore(8), []

    def gathered(value):
        if isinstance(value, bool):
            asked.append(value)
            return [value, kept.block_size <= 4]
        return [value]

    monkeypatch.setattr(blocks.distributed, "gather_objects", gathered)
    (table,) = worked([unit("natural")], kept)
    assert asked == [True, True]
    assert kept.block_size == 4
    assert len(table) == 10


def test_the_rows_of_all_processes_come_together(monkeypatch):
    """Of two processes this one is the second: it has the odd blocks, and the other's rows come from outside."""
    monkeypatch.setattr(blocks.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(blocks.distributed, "rank", lambda: 1)
    theirs = [rows("natural", [0, 1, 2, 3]), rows("natural", [8, 9])]
    monkeypatch.setattr(
        blocks.distributed, "gather_objects", lambda mine: [True, mine] if isinstance(mine, bool) else [theirs, mine]
    )
    (table,) = worked([unit("natural")], MemoryStore(4))
    assert table.frame["index"].tolist() == list(range(10))


def test_a_bar_begins_where_the_interrupted_one_stood(tmp_path):
    begun = []

    class Bars(Silent):
        def start(self, name, total, done=0):
            begun.append((name, total, done))
            return 0

    kept = FolderStore(tmp_path, {}, block_size=4, threads=1)
    first, *_ = blocks.cut(TEN, 4)
    kept.save("natural", first, rows("natural", first.index))
    worked([unit("natural"), unit("other")], kept, Bars())
    assert begun == [("natural", 10, 4), ("other", 10, 0)]
