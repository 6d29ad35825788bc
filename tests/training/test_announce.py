"""What `--recipe paper` says: every value of the settings, so that none can be forgotten."""

from __future__ import annotations

import json

import pytest

from fairbench.models.load import load_checkpoint
from fairbench.progress import Silent
from fairbench.training.announce import announce, resolved_values
from fairbench.training.request import Request, prepare
from fairbench.training.train import train


class Words(Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    changes = {"epochs": 8, "batch_size": 20}
    known = Request("digits", "natural", samples_per_class=15, changes=changes)
    return train(known, out=tmp_path_factory.mktemp("teacher"))


@pytest.fixture(scope="module")
def job(teacher):
    changes = {"epochs": 4, "average": ("step", "uniform", 0.5), "awp": 0.01, "awp_start": 0.25}
    return prepare(
        Request(
            "digits", "rslad", teachers={"": str(teacher)}, slots={"reweight": "fair-ard", "retemper": "absld"},
            changes=changes, samples_per_class=4,
        )
    )  # fmt: skip


def leaves(value):
    """Every value of nested settings, but the recipe's hyper-parameters, which stand resolved among the method's."""
    if not isinstance(value, dict):
        return [value]
    return [leaf for name, inner in value.items() for leaf in leaves(inner)]


def test_no_value_of_the_settings_is_left_out(job):
    settings = {**job.settings, "recipe": {k: v for k, v in job.settings["recipe"].items() if k != "hyper"}}
    values = resolved_values(job)
    everything = list(values.values())
    for leaf in leaves(settings):
        assert leaf in everything
    others = {"source", "training images", "validation images"}
    assert len(values.keys() - others) == len(leaves(settings)), "two values of one name: one is lost"


def test_lines_for_people(job, teacher):
    words = Words()
    announce(job, words)
    for line in (
        "dataset = digits", "recipe = default", f"teachers robust = {load_checkpoint(teacher).sha256}",
        "samples_per_class = 4", "num_classes = 10", "shape = 1, 8, 8", "validation_seed = 0", "epochs_before = none",
        "init = none", "slots reweight = fair-ard", "slots retemper = absld", "average = step, uniform, 0.5",
        "awp_start = 0.25", "schedule = (0.6, 0.1), (0.85, 0.01)", "scale = 10.0", "fair-ard.beta = 2.0",
        "training images = 40", f"training_images = {job.train.index_sha256}",
    ):  # fmt: skip
        assert f"  {line}" in words.said, line
    assert all(text.count("\n") == 0 for text in words.said)


def test_the_words_are_those_of_the_file(job):
    """The training announces the settings as they were written: lists instead of tuples."""
    written, words, again = json.loads(json.dumps(job.settings)), Words(), Words()
    announce(job, words)
    announce(type(job)(**{**vars(job), "settings": written}), again)
    assert words.said == again.said
