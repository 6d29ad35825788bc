"""Tables that no evaluation writes, made from a committed run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fairbench.errors import BadInput
from fairbench.outcomes import Outcomes
from fairbench.runs import read_run, write_json

RUN = Path(__file__).resolve().parent.parent / "reports" / "digits-sat-aa"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(RUN, tmp_path / "run"))


def edit(folder, change):
    frame = Outcomes.read(folder / "outcomes.parquet").frame.copy()
    change(frame)
    Outcomes(frame).write(folder / "outcomes.parquet")


def test_committed_runs_do_not_contradict_themselves():
    for one in RUN.parent.glob("digits-*"):
        read_run(one)


def test_a_cascade_below_its_last_part(folder):
    def change(frame):
        rows = (frame["attack"] == "aa") & (frame["prediction"] == frame["label"])
        frame.loc[rows, "prediction"] = (frame.loc[rows, "label"] + 1) % 10

    edit(folder, change)
    with pytest.raises(BadInput, match="samples robust under the last part, 'aa/square', are broken under 'aa'"):
        read_run(folder)


def test_a_part_that_saw_other_samples(folder):
    frame = Outcomes.read(folder / "outcomes.parquet").frame
    Outcomes(frame[(frame["attack"] != "aa/fab-t") | (frame["label"] != 8)]).write(folder / "outcomes.parquet")
    with pytest.raises(BadInput, match="'aa/apgd-t' and 'aa/fab-t' saw different samples"):
        read_run(folder)


def test_parts_that_are_no_object(folder):
    record = json.loads((folder / "run.json").read_text())
    record["attacks"]["aa"]["parts"] = 5
    write_json(folder / "run.json", record)
    with pytest.raises(BadInput, match="has the parts 5, but parts are an object"):
        read_run(folder)


@pytest.mark.parametrize("name", ["aa", "aa/square", "aa/fab-t"])
def test_a_cascade_above_one_of_its_parts(folder, name):
    def change(frame):
        rows = (frame["attack"] == name) & (frame["prediction"] != frame["label"])
        row = frame.index[rows][0]
        frame.loc[row, "prediction"] = frame.loc[row, "label"]

    edit(folder, change)
    with pytest.raises(BadInput, match=f"contradicts itself: 1 samples broken under .* are robust under '{name}'"):
        read_run(folder)


def test_a_natural_error_that_autoattack_forgives(folder):
    """The order of the parts is that of run.json; nature comes before them."""

    def change(frame):
        broken = frame.loc[(frame["attack"] == "aa") & (frame["prediction"] != frame["label"]), "index"]
        right = (frame["attack"] == "natural") & frame["index"].isin(broken) & (frame["prediction"] == frame["label"])
        both = set(broken) - set(frame.loc[right, "index"])
        rows = frame["attack"].str.startswith("aa") & frame["index"].isin(sorted(both)[:1])
        frame.loc[rows, "prediction"] = frame.loc[rows, "label"]

    edit(folder, change)
    with pytest.raises(BadInput, match="1 samples broken under 'natural' are robust under 'aa/apgd-ce'"):
        read_run(folder)


def test_an_example_outside_the_radius(folder):
    edit(folder, lambda frame: frame.__setitem__("distance", frame["distance"] * 1.01))
    with pytest.raises(BadInput, match=r"an example lies 0\.101 from its image, but eps is 0\.1"):
        read_run(folder)


def test_a_class_that_the_record_does_not_know(folder):
    edit(folder, lambda frame: frame.__setitem__("prediction", frame["prediction"].replace(3, 10)))
    with pytest.raises(BadInput, match="outside the 10 classes"):
        read_run(folder)


def test_an_attack_that_the_record_does_not_know(folder):
    record = json.loads((folder / "run.json").read_text())
    record["attacks"].pop("aa")
    write_json(folder / "run.json", record)
    with pytest.raises(BadInput, match="has no attack 'aa'"):
        read_run(folder)
