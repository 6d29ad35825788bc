"""From a request to a checkpoint: files, sidecar, resume, refusals."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace

import pytest
import torch

from fairbench.errors import BadInput, WriteFailed
from fairbench.models.checkpoint import read_sidecar, save_checkpoint
from fairbench.models.load import load_checkpoint
from fairbench.training.recipe import Recipe
from fairbench.training.recipe_names import find_recipe
from fairbench.training.request import Request
from fairbench.training.train import train

SMALL = {"epochs": 2, "batch_size": 20}


def request(method="sat", **options) -> Request:
    options.setdefault("changes", SMALL)
    options.setdefault("hyper", {} if method == "natural" else {"steps": 2})
    return Request("digits", method, samples_per_class=4, **options)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A naturally trained network that knows the digits."""
    changes = {"epochs": 8, "batch_size": 20}
    return train(
        Request("digits", "natural", samples_per_class=15, changes=changes), out=tmp_path_factory.mktemp("teacher")
    )


def weights(path):
    return torch.load(path, weights_only=True)


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_checkpoint_sidecar_log_and_state(tmp_path, teacher):
    path = train(request("absld", teachers={"": str(teacher)}, seed=5), out=tmp_path)
    assert path == tmp_path / "digits-absld.pt"
    endings = ("pt", "json", "log.jsonl", "settings.json", "state")
    names = {f"digits-absld.{ending}" for ending in endings}
    assert set(content(tmp_path)) == names
    sidecar = read_sidecar(path)
    expected = {
        "schema": 1, "architecture": "small-cnn", "num_classes": 10, "shape": [1, 8, 8], "normalize": "none",
        "dataset": "digits", "eps_text": "0.1", "norm": "Linf", "method": "absld", "seed": 5,
        "log": "digits-absld.log.jsonl", "validation_seed": 0, "samples_per_class": 4,
        "slots": {"retemper": "absld"}, "init": None,
        "teachers": {"robust": load_checkpoint(teacher).sha256},
    }  # fmt: skip
    assert {key: sidecar[key] for key in expected} == expected
    assert sidecar["class_names"] == [str(digit) for digit in range(10)]
    assert sidecar["hyper"]["absld.rate"] == 0.1
    assert sidecar["hyper"]["scale"] == 10.0
    assert sidecar["recipe"]["epochs"] == 2
    assert sidecar["selection"]["rule"] == "last"
    assert sidecar["selection"]["epoch"] == 2
    assert len(sidecar["selection"]["metrics"]["pgd10"]["class_accuracy"]) == 10
    assert sidecar["cost"]["forwards"] == 2 * 40 * 4
    # The teacher labels every image once an epoch.
    assert (sidecar["cost"]["teacher_forwards"], sidecar["cost"]["teacher_backwards"]) == (2 * 40, 0)
    loaded = load_checkpoint(path)
    assert loaded.model(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert len((tmp_path / "digits-absld.log.jsonl").read_text().splitlines()) == 2


def test_the_same_request_again_does_no_work(tmp_path, monkeypatch):
    path = train(request(), out=tmp_path)
    before = content(tmp_path)
    monkeypatch.setattr("fairbench.training.train.Training", None)
    assert train(request(), out=tmp_path) == path
    assert before == content(tmp_path)


def test_finished_is_known_without_the_state(tmp_path, monkeypatch):
    path = train(request(), out=tmp_path)
    path.with_suffix(".state").unlink()
    with pytest.raises(BadInput, match="seed = 0 there, but 1 here"):
        train(request(seed=1), out=tmp_path)
    monkeypatch.setattr("fairbench.training.train.Training", None)
    assert train(request(), out=tmp_path) == path


def test_a_damaged_checkpoint_is_made_again(tmp_path):
    path = train(request(), out=tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert same(weights(train(request(), out=tmp_path)), torch.load(path, weights_only=True))
    assert path.read_bytes() == whole


def test_equal_seeds_equal_tensors_other_seeds_other_tensors(tmp_path):
    runs = [weights(train(request(seed=seed), out=tmp_path / name)) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_initial_weights_depend_on_the_seed_only(tmp_path):
    """One epoch at a vanishing learning rate leaves them as they were drawn, whatever the method."""
    changes = {"epochs": 1, "lr": 1e-30, "batch_size": 40}
    paths = [train(request(method, changes=changes), out=tmp_path) for method in ("natural", "sat", "trades")]
    assert same(weights(paths[0]), weights(paths[1]))
    assert same(weights(paths[0]), weights(paths[2]))


def test_several_names_share_a_folder_and_another_setting_is_refused(tmp_path):
    train(request("natural"), out=tmp_path)
    train(request("sat"), out=tmp_path)
    train(request("sat", seed=1), out=tmp_path, name="sat-1")
    with pytest.raises(
        BadInput, match=r"digits-sat\.state belongs to a training with other settings: seed = 0 there, but 1"
    ):
        train(request("sat", seed=1), out=tmp_path)
    with pytest.raises(BadInput, match="recipe epochs = 2 there, but 3 here"):
        train(request("sat", changes={**SMALL, "epochs": 3}), out=tmp_path)


def test_default_folder_is_found_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, other = train(request("natural")), train(request("natural", seed=1))
    assert first.parent.parent.name == "runs"
    assert first != other
    assert train(request("natural")) == first


def test_init_starts_from_a_checkpoint(tmp_path, teacher):
    changes = {"epochs": 1, "lr": 1e-30, "batch_size": 40}
    path = train(request(init=str(teacher), changes=changes), out=tmp_path)
    assert same(weights(path), weights(teacher))
    assert read_sidecar(path)["init"] == load_checkpoint(teacher).sha256
    path = train(request(init=str(teacher)), out=tmp_path, name="moved")
    assert not same(weights(path), weights(teacher))


def test_normalisation_is_inside_the_network(tmp_path):
    path = train(request("natural", normalize="0.3/0.4"), out=tmp_path)
    assert read_sidecar(path)["normalize"] == "0.3/0.4"
    assert not same(weights(path), weights(train(request("natural"), out=tmp_path, name="plain")))
    assert load_checkpoint(path).normalize == "0.3/0.4"


def test_a_full_disk_keeps_the_last_state_and_the_same_request_goes_on(tmp_path, monkeypatch):
    whole = weights(train(request(changes={**SMALL, "epochs": 4}), out=tmp_path / "whole"))
    fsync, calls = os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr("fairbench.whole_file.os.fsync", full)
    with pytest.raises(WriteFailed, match="No space left"):
        train(request(changes={**SMALL, "epochs": 4}), out=tmp_path / "full")
    monkeypatch.undo()
    assert not [name for name in content(tmp_path / "full") if name.endswith((".tmp", ".pt"))]
    assert same(weights(train(request(changes={**SMALL, "epochs": 4}), out=tmp_path / "full")), whole)


def test_a_teacher_of_other_classes_or_of_nothing_is_refused(tmp_path, teacher):
    sidecar_path = tmp_path / "other.json"
    (tmp_path / "other.pt").write_bytes(teacher.read_bytes())
    sidecar = json.loads(teacher.with_suffix(".json").read_text())

    def told(**changed):
        sidecar_path.write_text(json.dumps({**sidecar, **changed}))
        return request("rslad", teachers={"robust": str(tmp_path / "other.pt")})

    with pytest.raises(BadInput, match="was trained on the classes a, b"):
        train(told(class_names=["a", "b", *"2345678", "9"]), out=tmp_path / "out")
    with pytest.raises(BadInput, match="was trained on another split"):
        train(told(validation_seed=3), out=tmp_path / "out")
    upside_down = load_checkpoint(teacher).model
    upside_down.linear2.weight.data.neg_()
    save_checkpoint(tmp_path / "other.pt", upside_down, sidecar)
    with pytest.raises(BadInput, match=r"where chance is 10\.0%"):
        train(request("rslad", teachers={"robust": str(tmp_path / "other.pt")}), out=tmp_path / "out")


class Words:
    """Progress that keeps what is said."""

    def __init__(self):
        self.said = []

    def start(self, name, total, done=0):
        return 0

    def advance(self, bar, amount=1):
        pass

    def finish(self, bar):
        pass

    def say(self, text):
        self.said.append(text)


def test_every_resolved_value_is_in_a_file_from_the_start(tmp_path):
    words = Words()
    train(request(), out=tmp_path, progress=words)
    sidecar = read_sidecar(tmp_path / "digits-sat.pt")
    values = tmp_path / "digits-sat.settings.json"
    settings = json.loads(values.read_text())
    for key in ("dataset", "eps_text", "architecture", "method", "hyper", "recipe", "seed"):
        assert settings[key] == sidecar[key]
    assert any(str(values) in said for said in words.said)
    assert words.said[-1] == "selected by last: epoch 2 of 2, live weights"


def test_runs_too_short_for_their_schedule_say_so(tmp_path):
    words = Words()
    train(request("natural", changes={"epochs": 1}), out=tmp_path, progress=words)
    told = "warning: 1 epoch is too few for the learning rate to change at 60% and 85% of the schedule"
    assert [text for text in words.said if "too few" in text] == [told]


def test_a_teacher_of_unknown_origin_is_mentioned(tmp_path, teacher):
    (tmp_path / "bare.pt").write_bytes(teacher.read_bytes())
    sidecar = json.loads(teacher.with_suffix(".json").read_text())
    (tmp_path / "bare.json").write_text(json.dumps({k: v for k, v in sidecar.items() if k != "validation_seed"}))
    words = Words()
    train(request("rslad", teachers={"": str(tmp_path / "bare.pt")}), out=tmp_path / "out", progress=words)
    assert any(text.startswith("warning: ") and "may have seen the validation images" in text for text in words.said)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"method": "trade"}, "Did you mean 'trades'"),
        ({"dataset": "digit"}, "unknown data set 'digit'. Did you mean 'digits'"),
        ({"dataset": "npz:nowhere"}, "has no default radius; give --eps"),
        ({"model": "resnet"}, "unknown model 'resnet'"),
        ({"recipe": "fast"}, "unknown recipe 'fast'"),
        ({"method": "absld"}, "takes one teacher, but was given none"),
        ({"teachers": {"": "x.pt"}}, "takes no teacher"),
        ({"method": "rslad", "teachers": {"natural": "x.pt"}}, "takes one teacher, but was given one as natural"),
        ({"method": "rslad", "teachers": {"": "x.pt"}, "hyper": {}}, "x.pt does not exist"),
        ({"hyper": {"step": 3}}, "Did you mean 'steps'"),
        ({"slots": {"reweight": "nothing"}}, "unknown class rule 'nothing'"),
        ({"slots": {"retemper": "absld"}}, "has no teacher's labels"),
        ({"eps": "8"}, "Did you mean 8/255"),
        ({"changes": {"select": "best"}}, "unknown selection rule 'best'"),
        ({"changes": {"lr": 0.0}}, "learning rate must be above 0"),
        ({"device": "cuda:77"}, "is not there"),
        ({"init": "x.pt"}, "x.pt does not exist"),
    ],
)
def test_bad_requests_are_one_sentence(tmp_path, change, sentence):
    with pytest.raises(BadInput) as caught:
        train(replace(request(), **change), out=tmp_path)
    text = str(caught.value)
    assert sentence in text
    assert len(text) < 600
    assert "\n" not in text


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a" * 200])
def test_names_that_are_no_file_names(tmp_path, name):
    with pytest.raises(BadInput, match="--name must be a file name"):
        train(request(), out=tmp_path, name=name)


def test_default_recipes_exist_for_every_data_set_and_say_where_they_differ():
    from fairbench.data import DATASETS

    for dataset in DATASETS:
        assert isinstance(find_recipe("default", dataset, "sat"), Recipe)
    assert find_recipe("default", "digits", "rslad").hyper == {"scale": 10.0}
    assert find_recipe("default", "digits", "trades").hyper == {}
