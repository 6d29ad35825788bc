"""Suites as data, and the commands they become."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click
import pytest

from fairbench.attacks import parse_attack
from fairbench.benchmarking.bench import bench, resized
from fairbench.benchmarking.plan import chosen_rows, claim_folder, find_suite, is_done, jobs_of
from fairbench.benchmarking.results import read_result
from fairbench.benchmarking.suites import LEAST_EPOCHS, SUITES, Row
from fairbench.cli import _Commands, cli
from fairbench.data.batches import AUGMENTATIONS
from fairbench.errors import BadInput
from fairbench.methods import CLASS_RULES, METHODS
from fairbench.models import MODELS
from fairbench.progress import Silent


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_names_what_there_is(name):
    suite = SUITES[name]
    assert suite.name == name
    assert suite.epochs >= LEAST_EPOCHS
    assert suite.seeds >= 3
    assert {suite.model, suite.teacher_model} <= set(MODELS)
    assert suite.augment in AUGMENTATIONS
    assert suite.ranked_by in suite.attacks
    rows = (*suite.rows, *suite.extra)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    for attack in suite.attacks:
        parse_attack(attack)
    for row in rows:
        hyper = dict(text.split("=") for text in row.hyper)
        slots = {slot: CLASS_RULES[rule] for slot, rule in row.slots}
        teachers = dict.fromkeys(row.teachers, _teacher())
        METHODS[row.method](10, eps=0.1, teachers=teachers, slots=slots, **hyper)
        assert row.base is None or row.base in names
        assert set(row.teachers) <= {role for role, _ in suite.teachers}
    assert suite.baseline in {row.name for row in suite.rows}


def _teacher():
    from torch import nn

    return nn.Linear(1, 1)


def test_the_mnist_suite_has_every_published_method():
    first = {"natural", "sat", "trades", "mart", "ard", "iad", "adaad", "rslad", "mtard"}
    published = first | {"frl", "bat", "cfa", "wat", "fair-ard", "dafa", "faal", "ham", "absld"}
    assert published <= {row.method for row in SUITES["mnist-small"].rows} <= set(METHODS)


def test_the_cifar_suite_has_at_least_the_promised_ones():
    promised = {"natural", "sat", "trades", "rslad", "fair-ard", "cfa", "dafa", "ham", "absld"}
    assert promised <= {row.method for row in SUITES["cifar10-small"].rows}


def test_commands_are_ones_that_a_person_could_type(tmp_path):
    """Each is taken by its command's own options; seeds go round before rows repeat; students wait for teachers."""
    suite = replace(
        SUITES["mnist-small"],
        rows=(Row("sat", "sat"), Row("mtard", "mtard"), Row("cfa-sat", "cfa", hyper=("variant=sat",))),
    )
    jobs = jobs_of(suite, suite.rows, 2, tmp_path, "data")
    assert [job.key for job in jobs] == [
        "teacher-robust", "teacher-natural", "sat-0", "mtard-0", "cfa-sat-0", "sat-1", "mtard-1", "cfa-sat-1",
    ]  # fmt: skip
    assert [job.needs for job in jobs[2:5]] == [(), ("teacher-robust", "teacher-natural"), ()]
    assert isinstance(cli, _Commands)
    for job in jobs:
        assert [command[0] for command in job.commands] == ["train", "eval"]
        for name, *arguments in job.commands:
            made = cli.get_command(click.Context(cli), name).make_context(name, [*arguments, "--device", "cpu"])
            assert made.params["data_dir"] == "data"
        train = cli.get_command(click.Context(cli), "train").make_context("train", list(job.commands[0][1:])).params
        assert (train["recipe"], train["epochs"], train["samples_per_class"]) == ("common", 30, 600)
        assert train["seed"] == (int(job.key[-1]) if job.key[-1].isdigit() else 0)
    assert jobs[4].commands[0][-2:] == ("-p", "variant=sat")


def test_rows_of_variants_and_compositions_are_trained_where_they_are_named(tmp_path):
    suite = SUITES["mnist-small"]
    assert "iad-2" not in {row.name for row in chosen_rows(suite, None)}
    rows = chosen_rows(suite, ["iad-2", "absld-cfa", "absld-dafa", "cfa-average"])
    jobs = {job.key: job for job in jobs_of(suite, rows, 1, tmp_path, "data")}
    assert jobs["iad-2-0"].needs == ("teacher-robust", "teacher-natural")
    params = {}
    for key, job in jobs.items():
        made = cli.get_command(click.Context(cli), "train").make_context("train", list(job.commands[0][1:]))
        params[key] = made.params
    assert (params["absld-cfa-0"]["remargin"], params["absld-cfa-0"]["reweight"]) == ("cfa", None)
    assert (params["absld-dafa-0"]["remargin"], params["absld-dafa-0"]["reweight"]) == ("dafa", "dafa")
    assert params["cfa-average-0"]["average"] == "epoch:0.85"


def test_a_row_is_active_by_what_it_applies_not_by_what_stands_behind(tmp_path):
    """FRL's multipliers start at 0, so that any of them differs by more than its mean; its weights hardly do."""
    state = {"frl.natural_multiplier": [0.0, 1e-4], "frl.natural_weight": [0.5, 0.501], "frl.radius_factor": [1.0, 0.8]}
    (tmp_path / "checkpoints/frl-0").mkdir(parents=True)
    (tmp_path / "runs/frl-0").mkdir(parents=True)
    (tmp_path / "runs/frl-0/metrics.json").write_text('{"attacks": {}}')
    (tmp_path / "checkpoints/frl-0/frl-0.log.jsonl").write_text(json.dumps({"epoch": 1, "class_state": state}))
    sidecar = tmp_path / "checkpoints/frl-0/frl-0.json"
    sidecar.write_text(json.dumps({"cost": {}, "slots": {"reweight": "frl"}}))
    found = read_result(tmp_path, "frl", 0)
    assert set(found.ranges) == {"frl.natural_weight"}
    assert found.inactive
    sidecar.write_text(json.dumps({"cost": {}, "slots": {"reweight": "frl", "remargin": "frl"}}))
    assert not read_result(tmp_path, "frl", 0).inactive


def test_a_row_continues_another_training_whose_epochs_count(tmp_path):
    suite = SUITES["mnist-small"]
    (job,) = jobs_of(suite, [row for row in suite.rows if row.name == "faal"], 1, tmp_path, "data")
    start, train, evaluate = job.commands
    first, second = (
        cli.get_command(click.Context(cli), "train").make_context("train", list(command[1:])).params
        for command in (start, train)
    )
    assert (first["method"], first["epochs"], first["lr"]) == ("sat", 28, "0.1")
    assert (second["method"], second["epochs"], second["lr"]) == ("faal", 30, "0.01")
    assert str(second["init"]) == str(Path(first["out"]) / f"{first['name']}.pt")
    assert evaluate[1] == str(Path(second["out"]) / "faal-0.pt")
    short = resized(suite, epochs=3, samples_per_class=None, test_per_class=None)
    (job,) = jobs_of(short, [row for row in suite.rows if row.name == "faal"], 1, tmp_path)
    assert "--epochs 2" in " ".join(job.commands[0])


def test_the_cost_of_a_training_that_was_continued_counts(tmp_path):
    for key, cost in (("faal-0-start", {"forwards": 30, "seconds": 2.5}), ("faal-0", {"forwards": 4, "seconds": 1.0})):
        (tmp_path / "checkpoints" / key).mkdir(parents=True)
        (tmp_path / "checkpoints" / key / f"{key}.json").write_text(json.dumps({"cost": cost}))
    (tmp_path / "checkpoints/faal-0/faal-0.log.jsonl").write_text('{"epoch": 1}\n')
    (tmp_path / "runs/faal-0").mkdir(parents=True)
    (tmp_path / "runs/faal-0/metrics.json").write_text('{"attacks": {}}')
    assert dict(read_result(tmp_path, "faal", 0).cost) == {"forwards": 34, "seconds": 3.5}


def test_the_data_folder_is_put_into_the_name(tmp_path, monkeypatch):
    monkeypatch.setenv("FAIRBENCH_DATA", "/there")
    suite = SUITES["cifar10-small"]
    assert "npz:/there/cifar10" in jobs_of(suite, suite.rows[:1], 1, tmp_path)[0].commands[0]
    assert "npz:/else/cifar10" in jobs_of(suite, suite.rows[:1], 1, tmp_path, "/else")[0].commands[0]


def test_chosen_rows_keep_the_suites_order_and_the_baseline():
    suite = SUITES["mnist-small"]
    assert [row.name for row in chosen_rows(suite, ["absld", "rslad"])] == ["sat", "rslad", "absld"]
    with pytest.raises(BadInput, match=r"unknown method of suite mnist-small: 'abld'. Did you mean 'absld'"):
        chosen_rows(suite, ["abld"])
    with pytest.raises(BadInput, match=r"unknown suite 'mnist'"):
        find_suite("mnist")


def test_a_folder_belongs_to_one_setting(tmp_path):
    suite = SUITES["mnist-small"]
    claim_folder(tmp_path, suite)
    claim_folder(tmp_path, replace(suite, rows=suite.rows[:2], seeds=5))
    with pytest.raises(BadInput, match="other settings: epochs = 30 there, but 2 here"):
        claim_folder(tmp_path, resized(suite, epochs=2, samples_per_class=None, test_per_class=None))
    with pytest.raises(BadInput, match="other settings: name = mnist-small there"):
        claim_folder(tmp_path, SUITES["cifar10-small"])


def test_a_run_of_another_checkpoint_is_not_done(tmp_path):
    for folder, name, text in (
        ("runs/sat-0", "run.json", '{"model": {"sha256": "a"}}'),
        ("runs/sat-0", "metrics.json", "{}"),
        ("checkpoints/sat-0", "sat-0.json", '{"sha256": "a"}'),
    ):
        assert not is_done(tmp_path, "sat-0")
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(text)
    assert is_done(tmp_path, "sat-0")
    (tmp_path / "checkpoints/sat-0/sat-0.json").write_text('{"sha256": "b"}')
    assert not is_done(tmp_path, "sat-0")


def test_records_of_a_relative_folder_name_no_path_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = []

    class Nobody:
        def __init__(self, out, is_done, devices, progress):
            self.ended = {}

        def run(self, jobs):
            commands.extend(word for job in jobs for command in job.commands for word in command)
            return {}

    bench(
        find_suite("digits-small"), out=Path("runs") / "b", methods=["rslad"], seeds=1, devices=["cpu"],
        progress=Silent(), runner=Nobody,
    )  # fmt: skip
    assert "robust=runs/b/checkpoints/teacher-robust/teacher-robust.pt" in commands
    assert not [word for word in commands if str(tmp_path) in word]
