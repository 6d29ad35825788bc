from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairbench.errors import BadInput
from fairbench.outcomes import Outcomes


def _table() -> Outcomes:
    natural = Outcomes.of_columns("natural", index=[2, 0, 1], label=[1, 0, 0], prediction=[1, 0, 1], margin=[3, 1, -1])
    pgd = Outcomes.of_columns("pgd20", index=[0, 1, 2], label=[0, 0, 1], prediction=[0, 1, 0], margin=[0.5, -2, -1])
    return Outcomes.concat([pgd, natural])


def test_rows_are_sorted_and_natural_comes_first() -> None:
    table = _table()
    assert table.attacks == ("natural", "pgd20")
    assert table.of("natural")["index"].tolist() == [0, 1, 2]
    assert table.robust("natural").tolist() == [True, False, True]
    assert table.robust("pgd20").tolist() == [True, False, False]


def test_the_order_in_which_rows_arrive_does_not_change_a_byte() -> None:
    table = _table()
    shuffled = Outcomes(table.frame.sample(frac=1, random_state=3))
    assert shuffled.to_bytes() == table.to_bytes()


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    _table().write(tmp_path / "outcomes.parquet")
    back = Outcomes.read(tmp_path / "outcomes.parquet")
    pd.testing.assert_frame_equal(back.frame, _table().frame)
    assert back.of("natural")["loss"].isna().all()


def test_worst_case_prefers_broken_rows_then_smaller_margins() -> None:
    a = Outcomes.of_columns("a", index=[0, 1, 2], label=[0, 0, 0], prediction=[0, 1, 0], margin=[2, -1, np.nan])
    b = Outcomes.of_columns("b", index=[0, 1, 2], label=[0, 0, 0], prediction=[0, 2, 1], margin=[1, -3, np.nan])
    worst = Outcomes.concat([a, b]).worst_case("a", "b")
    assert worst.frame["prediction"].tolist() == [0, 2, 1]
    assert worst.frame["margin"].tolist()[:2] == [1, -3]


def test_worst_case_of_different_samples_is_refused() -> None:
    a = Outcomes.of_columns("a", index=[0], label=[0], prediction=[0])
    b = Outcomes.of_columns("b", index=[1], label=[0], prediction=[0])
    with pytest.raises(BadInput, match="different samples"):
        Outcomes.concat([a, b]).worst_case("a", "b")


def test_broken_tables_are_refused() -> None:
    good = _table().frame
    with pytest.raises(BadInput, match="missing: margin"):
        Outcomes(good.drop(columns="margin"))
    with pytest.raises(BadInput, match="duplicates"):
        Outcomes(pd.concat([good, good]))
    with pytest.raises(BadInput, match="two"):
        Outcomes(good.assign(label=range(len(good))))
    with pytest.raises(BadInput, match="every row"):
        Outcomes(good.assign(prediction=np.nan))


def test_a_newer_schema_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fairbench.outcomes.SCHEMA_VERSION", 99)
    _table().write(tmp_path / "outcomes.parquet")
    monkeypatch.undo()
    with pytest.raises(BadInput, match="outcome schema 99"):
        Outcomes.read(tmp_path / "outcomes.parquet")


def test_unreadable_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(BadInput, match="not a readable outcome table"):
        Outcomes.read(tmp_path / "x.parquet")
    with pytest.raises(BadInput, match="no outcome table"):
        Outcomes.read(tmp_path / "missing.parquet")


def test_neither_the_package_nor_the_table_imports_torch() -> None:
    code = (
        "import sys, fairbench; assert 'pandas' not in sys.modules and 'torch' not in sys.modules;"
        "import fairbench.outcomes, fairbench.runs, fairbench.provenance, fairbench.metrics;"
        "fairbench.provenance.versions(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shuffled", [False, True])
def test_what_repeats_or_contradicts_itself_is_found_in_any_order(shuffled: bool) -> None:
    """Two attacks of five samples; the same sample twice, or with another label under the other attack."""
    frame = pd.DataFrame({"attack": ["natural"] * 5 + ["b"] * 5, "index": [*range(5)] * 2, "label": [1] * 10})
    frame = frame.assign(prediction=1, loss=0.0, margin=1.0, linf=0.0, distance=0.0)
    order = np.random.default_rng(3).permutation(10) if shuffled else np.arange(10)
    table = Outcomes(frame.iloc[order])
    assert list(table.frame["attack"]) == ["b"] * 5 + ["natural"] * 5
    assert list(table.frame["index"]) == [0, 1, 2, 3, 4] * 2
    assert list(table.frame.index) == list(range(10))
    twice = frame.copy()
    twice.loc[7, "index"] = 0
    with pytest.raises(BadInput, match="one row per sample and attack"):
        Outcomes(twice.iloc[order])
    other = frame.copy()
    other.loc[7, "label"] = 2
    with pytest.raises(BadInput, match="some samples have two"):
        Outcomes(other.iloc[order])
