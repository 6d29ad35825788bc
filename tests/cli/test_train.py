"""`fairbench train`: output, exit codes, and one sentence for every mistake."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch

from fairbench.cli import run

SMALL = ["--samples-per-class", "3", "--epochs", "2", "--batch-size", "15"]
SAT = ["train", "--dataset", "digits", "--method", "sat", "-p", "steps=2", *SMALL]


def test_last_line_is_the_checkpoint_and_progress_goes_to_stderr(tmp_path, capsys):
    assert run([*SAT, "--out", str(tmp_path), "--name", "mine"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'mine.pt'}\n"
    said = captured.err.splitlines()
    (line,) = (line for line in said if "every value is in" in line)
    assert line == (
        "training mine: method sat on 30 images of digits, model small-cnn, 2 epochs, Linf eps 0.1; every value is in "
        f"{tmp_path / 'mine.settings.json'}"
    )
    written = json.loads((tmp_path / "mine.settings.json").read_text())
    sidecar = json.loads((tmp_path / "mine.json").read_text())
    assert written["hyper"]["steps"] == 2
    assert written == {key: sidecar[key] for key in written}
    assert "training mine: 2 of 4" not in said, "less than ten seconds: only the first and the last count"
    assert "training mine: 4 of 4" in said
    assert "epoch 2/2" in captured.err
    assert run([*SAT, "--out", str(tmp_path), "--name", "mine"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'mine.pt'}\n"
    assert "finished already" in captured.err


def test_options_reach_the_training(tmp_path, capsys):
    options = ["--lr", "1/100", "--average", "epoch:0.5", "--awp", "0.005", "--select", "best-sum", "--eps", "0.05"]
    assert run([*SAT, *options, "-p", "step_share=0.5", "--seed", "3", "--out", str(tmp_path)]) == 0
    from fairbench.models.checkpoint import read_sidecar

    sidecar = read_sidecar(tmp_path / "digits-sat.pt")
    recipe = sidecar["recipe"]
    assert (recipe["lr"], recipe["average"], recipe["awp"], recipe["select"]) == (
        0.01,
        ["epoch", 0.5],
        0.005,
        "best-sum",
    )
    assert sidecar["hyper"] == {"attack_mode": "eval", "steps": 2, "step_share": 0.5}
    assert (sidecar["eps_text"], sidecar["seed"], sidecar["samples_per_class"]) == ("0.05", 3, 3)
    assert sidecar["selection"]["deployed"] == "average"


def test_a_rule_in_a_slot_and_a_teacher_by_role(tmp_path, capsys):
    natural = ["train", "--dataset", "digits", "--method", "natural", "--samples-per-class", "10", "--epochs", "6"]
    assert run([*natural, "--batch-size", "20", "--out", str(tmp_path)]) == 0
    teacher = tmp_path / "digits-natural.pt"
    for given in (str(teacher), f"robust={teacher}"):
        student = ["train", "--dataset", "digits", "--method", "rslad", "--retemper", "absld", "-p", "absld.rate=0.2"]
        assert run([*student, "-p", "steps=2", "--teacher", given, *SMALL, "--out", str(tmp_path)]) == 0
    cached = [*student, "-p", "steps=2", "--teacher", given, *SMALL, "--out", str(tmp_path), "--cache-teacher"]
    assert run(cached) == 2
    assert "belongs to" in capsys.readouterr().err.splitlines()[-1], "labels from other blocks are another training"
    assert run([*cached, "--name", "cached"]) == 0
    assert run([*student, "-p", "steps=2", "--teacher", given, *SMALL, "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "digits-rslad-retemper-absld.pt")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--method", "trade"], "unknown method 'trade'. Did you mean 'trades'?"),
        (["--dataset", "digit"], "unknown data set 'digit'. Did you mean 'digits'?"),
        (["--dataset", ""], "--dataset must not be empty"),
        (["--out", ""], "--out must not be empty"),
        (["--eps", "8"], "Did you mean 8/255?"),
        (["--eps", "-1"], "eps must be a decimal or a fraction"),
        (["--lr", "fast"], "--lr must be a decimal or a fraction"),
        (["--epochs", "0"], "--epochs must be a whole number of at least 1, but is '0'"),
        (["--epochs", "many"], "--epochs must be a whole number of at least 1, but is 'many'"),
        (["-p", "steps"], "-p takes NAME=VALUE, but is 'steps'"),
        (["-p", "beta=1"], "unknown hyper-parameter of sat 'beta'"),
        (["-p", "attack_mode=test"], "must be one of eval, train, but is 'test'"),
        (["-p", "step_share=1", "-p", "step_share=2"], "gives 'step_share' twice"),
        (["--teacher", "robust="], "--teacher takes CHECKPOINT, or ROLE=CHECKPOINT where a method has several"),
        (["--average", "epoch"], "--average takes epoch:DECAY"),
        (["--average", "epoch:1"], "must lie in [0, 1)"),
        (["--method", "absld"], "takes one teacher, but was given none; give --teacher CHECKPOINT."),
        (["--reweight", "absld"], "cannot reweight; it can be given to --retemper"),
        (["--augment", "flop"], "unknown augmentation 'flop'. Did you mean 'flip'?"),
        (["--device", "tpu"], "device must be cpu, cuda or cuda:N"),
        (["--model", "small"], "unknown model 'small'. Did you mean 'small-cnn'?"),
        (["--cache-teacher"], "method 'sat' as it is set asks no teacher about them; leave it out."),
        (["--init", "nowhere.pt"], "nowhere.pt does not exist"),
        (["--name", "a/b"], "--name must be a file name"),
        (["--lr", "1e30"], "diverged"),
        (["--unknown", "1"], "No such option"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, capsys, options, sentence):
    arguments = [*SAT, "--out", str(tmp_path / "out"), *options]
    if "absld" in options:
        arguments[arguments.index("-p") : arguments.index("-p") + 2] = []
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.splitlines()[-1]
    assert sentence in last
    assert len(last) < 600
    assert "Traceback" not in captured.err
    if sentence != "diverged":  # the only one that is found while training
        assert captured.err.count("\n") == 1, "no warning beside the error"
        assert list(tmp_path.iterdir()) == [], "a refusal leaves nothing behind"


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("lr=0.1", "set it with --lr."),
        ("lr=abc", "set it with --lr."),
        ("learning_rate=0.1", "set it with --lr."),
        ("epochs=3", "set it with --epochs."),
        ("batch_size=32", "set it with --batch-size."),
        ("eps=0.1", "set it with --eps."),
        ("augment=flip", "set it with --augment."),
        ("weight_decay=5e-4", "a value of the recipe without an option of its own; choose another --recipe"),
        ("momentum=0.8", "a value of the recipe without an option of its own; choose another --recipe"),
    ],
)
def test_a_value_of_the_recipe_under_p_is_told_its_place(tmp_path, capsys, given, place):
    assert run([*SAT, "--out", str(tmp_path / "out"), "-p", given]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fairbench: -p {given.partition('=')[0]} was given, but -p sets hyper-parameters of")
    assert place in err
    assert list(tmp_path.iterdir()) == []


def test_where_recipe_values_are_set_is_complete_and_true():
    """Every value of a recipe is spoken of, every option named exists, and no method has such a hyper-parameter."""
    from dataclasses import fields

    from fairbench.cli.not_hyper import _OPTIONS, _RECIPE_ONLY
    from fairbench.cli.train import command
    from fairbench.methods import CLASS_RULES, METHODS
    from fairbench.methods.base import Method
    from fairbench.methods.class_rule import ClassRule
    from fairbench.methods.hyper import hyper_types
    from fairbench.training.recipe import Recipe

    known = {*_OPTIONS, *_RECIPE_ONLY}
    assert {field.name for field in fields(Recipe)} - known == {"name", "hyper", "fine_tune", "source"}
    options = {text for parameter in command.params for text in parameter.opts}
    assert {f"--{name.replace('_', '-')}" for name in _OPTIONS} <= options
    assert not {f"--{name.replace('_', '-')}" for name in _RECIPE_ONLY} & options
    declared = [hyper_types(method, Method) for method in METHODS.values()]
    declared += [hyper_types(rule, ClassRule) for rule in CLASS_RULES.values()]
    assert not known & {name for names in declared for name in names}


@pytest.mark.parametrize(
    ("method", "teachers", "sentence"),
    [
        ("rslad", (), "method 'rslad' takes one teacher, but was given none; give --teacher CHECKPOINT."),
        ("rslad", ("natural={}",), "takes one teacher, but was given one as natural; give --teacher CHECKPOINT."),
        ("rslad", ("{}", "natural={}"), "one teacher, but was given one without a role and one as natural; give"),
        ("rslad", ("{}", "{}"), "--teacher is given twice without a role: a method with one teacher takes --teacher"),
        ("mtard", (), "2 teachers, one as robust and one as natural, but was given none; give --teacher robust=CH"),
        ("mtard", ("{}",), "but was given one without a role; give --teacher robust=CHECKPOINT --teacher natural=CH"),
        ("mtard", ("robust={}",), "but was given one as robust; give --teacher robust=CHECKPOINT --teacher natural="),
        ("sat", ("{}",), "method 'sat' takes no teacher, but was given one without a role; leave --teacher out."),
    ],
)
def test_what_teachers_a_method_takes(tmp_path, capsys, method, teachers, sentence):
    file = tmp_path / "teacher.pt"
    file.write_bytes(b"\x80\x02 and more")  # enough to pass for weights of torch's old format
    given = [word for text in teachers for word in ("--teacher", text.format(file))]
    arguments = ["train", "--dataset", "digits", "--method", method, *SMALL, *given, "--out", str(tmp_path / "out")]
    assert run(arguments) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["file", "below a file", "not writable"])
def test_an_unusable_folder_is_found_before_any_work(tmp_path, capsys, monkeypatch, place):
    (tmp_path / "file").write_text("")
    out = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "x", "not writable": tmp_path / "locked"}[
        place
    ]
    if place == "not writable":
        # Root may write anywhere, so the refusal is played.
        def refuse(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("fairbench.whole_file.tempfile.TemporaryFile", refuse)
    monkeypatch.setattr("fairbench.data.load_dataset", None)
    assert run([*SAT, "--out", str(out)]) == 2
    assert "cannot be used" in capsys.readouterr().err


def test_a_full_disk_is_exit_code_74(tmp_path, capsys, monkeypatch):
    def full(handle):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("fairbench.whole_file.os.fsync", full)
    assert run([*SAT, "--out", str(tmp_path)]) == 74
    captured = capsys.readouterr()
    assert "No space left on device" in captured.err.splitlines()[-1]
    assert captured.out == ""


def test_ctrl_c_is_exit_code_130_and_the_same_command_goes_on(tmp_path, capsys, monkeypatch):
    from fairbench.progress import Bars

    assert run([*SAT, "--out", str(tmp_path / "whole")]) == 0
    advance, calls = Bars.advance, []

    def press(self, bar, amount=1):
        calls.append(bar)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        advance(self, bar, amount)

    monkeypatch.setattr(Bars, "advance", press)
    assert run([*SAT, "--out", str(tmp_path / "stopped")]) == 130
    assert "the same command goes on where this one stopped" in capsys.readouterr().err
    monkeypatch.undo()
    assert run([*SAT, "--out", str(tmp_path / "stopped")]) == 0
    assert "going on from epoch" in capsys.readouterr().err
    whole, resumed = (torch.load(tmp_path / f / "digits-sat.pt", weights_only=True) for f in ("whole", "stopped"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_help_names_every_option(capsys):
    assert run(["train", "--help"]) == 0
    text = capsys.readouterr().out
    for option in (
        "--dataset",
        "--method",
        "--teacher",
        "--retemper",
        "--select",
        "--samples-per-class",
        "--seed",
        "--out",
    ):
        assert option in text
