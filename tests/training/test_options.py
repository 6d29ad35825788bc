"""AWP, averages of weights and shared batch statistics as options of the loop: where they begin, what is refused."""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fairbench.cli import run
from fairbench.errors import BadInput
from fairbench.methods import CLASS_RULES
from fairbench.models.checkpoint import read_sidecar
from fairbench.training.averaging import WeightAverage
from fairbench.training.recipe import Recipe, average_start
from fairbench.training.recipe_names import find_recipe
from fairbench.training.request import Request, prepare
from fairbench.training.schedule import too_short
from fairbench.training.train import train

SMALL = ["--samples-per-class", "3", "--epochs", "4", "--batch-size", "15", "-p", "steps=1"]
SAT = ["train", "--dataset", "digits", "--method", "sat", *SMALL]
STEPS = 3  # 40 images in batches of 16


@pytest.mark.parametrize(
    ("start", "epochs", "entered"),
    [(0.0, 4, [1, 2, 3, 4]), (0.5, 4, [2, 3, 4]), (0.75, 4, [3, 4]), (0.99, 4, [4]), (0.01, 4, [1, 2, 3, 4])],
)
def test_epochs_enter_the_average_from_its_start_on(tiny, monkeypatch, start, epochs, entered):
    """Weights after epoch e (of E) enter where e >= start * E; SWA from half of 4 epochs is the mean of three."""
    seen, add = [], WeightAverage.add

    def note(self, network):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        add(self, network)

    monkeypatch.setattr(WeightAverage, "add", note)
    training = tiny.training(tiny.job(epochs=epochs, average=("epoch", "uniform", start)))
    training.run()
    assert len(seen) == training.average.entered == len(entered)
    deployed = [line["epoch"] for line in training.log if line["deployed"] == "average"]
    assert deployed == entered
    mean = sum(weights["0.weight"] for weights in seen) / len(seen)
    torch.testing.assert_close(training.average.weights["0.weight"], mean)


def test_steps_enter_the_average_from_its_start_on(tiny):
    training = tiny.training(tiny.job(epochs=4, average=("step", 0.9, 0.75)))
    training.run()
    assert training.average.entered == STEPS
    assert [line["deployed"] for line in training.log] == ["live"] * 3 + ["average"]


def test_the_gate_of_a_method_still_holds(tiny):
    """CFA's own gate and the start of the average: both have to let weights pass."""
    hyper = {"threshold": 0.0, "average_start": 0.0}
    late = tiny.training(tiny.job("cfa", epochs=3, average=("epoch", 0.5, 0.67), hyper=hyper))
    late.run()
    assert late.average.entered == 2


def test_the_gate_is_closed_whatever_the_start(tiny):
    never = tiny.training(tiny.job("cfa", epochs=2, average=("epoch", 0.5, 0.5), hyper={"threshold": 1.0}))
    never.run()
    assert never.average.entered == 0


def test_options_are_recorded(tmp_path):
    options = ["--average", "step:uniform@3/4", "--awp", "0.01", "--awp-start", "1/2"]
    assert run([*SAT, *options, "--out", str(tmp_path)]) == 0
    recipe = read_sidecar(tmp_path / "digits-sat.pt")["recipe"]
    assert (recipe["average"], recipe["awp"], recipe["awp_start"]) == (["step", "uniform", 0.75], 0.01, 0.5)
    written = json.loads((tmp_path / "digits-sat.settings.json").read_text())
    assert written["recipe"] == recipe
    log = [json.loads(line) for line in (tmp_path / "digits-sat.log.jsonl").read_text().splitlines()]
    # Passes per image: 1 step of the attack and 1 of the loss, and with AWP 1 more.
    assert [line["forwards"] for line in log] == [60, 60, 90, 90]
    assert [line["deployed"] for line in log] == ["live", "live", "live", "average"]


def test_what_changes_nothing_continues_an_old_training(tmp_path, capsys):
    """A start of 0 is what a training without one does; its checkpoint is found, and its folder has the same name."""
    before = [*SAT, "--average", "epoch:0.5", "--awp", "0.01", "--out", str(tmp_path)]
    assert run(before) == 0
    whole = (tmp_path / "digits-sat.pt").read_bytes()
    capsys.readouterr()
    after = [*SAT, "--average", "epoch:0.5@0", "--awp", "0.01", "--awp-start", "0", "--out", str(tmp_path)]
    assert run(after) == 0
    assert "finished already" in capsys.readouterr().err
    assert (tmp_path / "digits-sat.pt").read_bytes() == whole
    assert run([*after[:-4], "--awp-start", "0.5", "--out", str(tmp_path)]) == 2
    assert "recipe awp_start = 0.0 there, but 0.5 here; give another --out" in capsys.readouterr().err
    late = ["--average", "epoch:0.5@0.5", "--awp", "0.01", "--out", str(tmp_path)]
    assert run([*SAT, *late]) == 2
    assert "recipe average = ['epoch', 0.5] there, but ['epoch', 0.5, 0.5] here" in capsys.readouterr().err


def test_the_record_of_a_recipe_without_these_options_is_as_it_was():
    """States and checkpoints made before there was a start must be found by the same command."""
    names = {
        "name", "epochs", "batch_size", "lr", "schedule", "momentum", "weight_decay", "nesterov", "augment",
        "precision", "compile", "channels_last", "sync_batch_norm", "average", "awp", "awp_start", "eps_warmup",
        "validation_attack", "select", "hyper",
    }  # fmt: skip
    assert set(find_recipe("default", "digits", "sat").record()) == names
    for given in (("epoch", 0.85), ("epoch", 0.85, 0.0), ("epoch", 0.85, 0)):
        assert Recipe("r", 1, 2, 0.1, average=given).record()["average"] == ("epoch", 0.85)
    assert average_start(Recipe("r", 1, 2, 0.1, average=("step", "uniform", 0.5)).average) == 0.5


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--average", "epoch:uniform@1"], "the start of --average must be a fraction of the epochs from 0 to below 1"),
        (["--average", "epoch:uniform@1.5"], "such as 0.75, but is 1.5"),
        (["--average", "epoch:uniform@-1"], "the start of --average must be a decimal or a fraction of at least 0"),
        (["--average", "epoch:uniform@"], "and @START behind it"),
        (["--average", "epoch@0.5"], "--average takes epoch:DECAY"),
        (["--average", "week:0.5@0.5"], "--average takes epoch:DECAY"),
        (["--awp", "0.01", "--awp-start", "1"], "--awp-start must be a fraction of the epochs from 0 to below 1"),
        (["--awp", "0.01", "--awp-start", "late"], "--awp-start must be a decimal or a fraction of at least 0"),
        (["--awp-start", ""], "--awp-start must not be empty"),
        (["--awp-start", "0.5"], "--awp-start 0.5 was given, but AWP, which it would begin, is off; give --awp GAMMA"),
        (["--awp-start", "0"], "--awp-start 0 was given, but AWP, which it would begin, is off"),
        (["--awp", "0", "--awp-start", "0.5"], "which it would begin, is off"),
        (["--sync-batch-norm"], "share batch statistics, but the device is cpu; leave it out, or give --device cuda"),
        (["-p", "awp_start=0.5"], "set it with --awp-start."),
        (["-p", "sync_batch_norm=true"], "set it with --sync-batch-norm."),
    ],
)
def test_nonsense_is_refused_in_one_sentence(tmp_path, capsys, options, sentence):
    assert run([*SAT, "--out", str(tmp_path / "out"), *options]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert len(err) < 600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"awp": -0.1}, "awp is a share of the weights' norm of at least 0"),
        ({"awp": 0.01, "awp_start": 1.0}, "the start of AWP must be a fraction"),
        ({"average": ("epoch", 0.5, -0.5)}, "the start of the average must be a fraction"),
        ({"average": ("epoch", 1.0)}, "an average is epoch or step and a decay in"),
        ({"average": ("week", 0.5)}, "an average is epoch or step and a decay in"),
        ({"sync_batch_norm": True}, "but the device is cpu"),
    ],
)
def test_nonsense_in_python_is_refused_too(tmp_path, changes, sentence):
    with pytest.raises(BadInput, match=sentence):
        train(Request("digits", "sat", changes=changes), out=tmp_path)


def test_shared_batch_statistics_reach_the_recipe(monkeypatch, tmp_path):
    """No CUDA is needed to see what is asked for."""
    seen = []

    def note(request, **_):
        seen.append(request.changes["sync_batch_norm"])
        return tmp_path

    monkeypatch.setattr("fairbench.training.processes.joined", nullcontext)
    monkeypatch.setattr("fairbench.training.train.train", note)
    assert run([*SAT, "--device", "cuda", "--sync-batch-norm"]) == 0
    assert run([*SAT, "--device", "cuda"]) == 0
    assert seen == [True, None]
    assert find_recipe("default", "digits", "sat").change(sync_batch_norm=seen[0]).sync_batch_norm


def test_one_process_that_shares_with_nobody_computes_the_same(tiny):
    """What the loop does on CUDA, without another process: same outputs, same statistics, same names."""
    plain, x = tiny.network(), torch.rand(5, 1, 8, 8)
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    assert any(isinstance(module, nn.SyncBatchNorm) for module in shared.modules())
    assert torch.equal(plain.train()(x), shared.train()(x))
    after = shared.state_dict()
    assert list(after) == list(plain.state_dict())
    assert all(torch.equal(value, after[name]) for name, value in plain.state_dict().items())


def test_runs_too_short_for_a_start_say_so():
    """.99 of 10 epochs is the end of the tenth: no step is left for AWP or an average, but the last weights are."""
    plain = Recipe("r", 10, 2, 0.1)
    assert too_short(plain.change(awp=0.01, awp_start=0.99), {}) == [
        "10 epochs are too few for AWP to begin at 99% of the schedule"
    ]
    assert too_short(plain.change(average=("step", 0.9, 0.99)), {}) == [
        "10 epochs are too few for weights to enter the average from 99% of the schedule on"
    ]
    assert too_short(plain.change(average=("epoch", 0.9, 0.99)), {}) == []
    assert too_short(plain.change(awp=0.01, awp_start=0.9, average=("step", 0.9, 0.9)), {}) == []
    assert too_short(plain, {}) == []


@pytest.mark.parametrize(
    ("name", "slots", "what"),
    [
        ("dafa", {}, "DAFA to weigh classes, which would begin at 64% of the schedule"),
        ("trades", {"reweight": "dafa"}, "DAFA to weigh classes, which would begin at 64% of the schedule"),
        ("trades", {"reweight": "vulnerable"}, "vulnerable to weigh classes, which would begin at 10% of the schedule"),
        ("cfa", {}, "CFA to set radii by class, which would begin at 5% of the schedule"),
        ("frl", {}, "FRL to halve its rate, which would begin at 98% of the schedule"),
        ("ham", {}, "HAM to mine hard examples, which would begin at 42% of the schedule"),
        ("iad", {}, "IAD to doubt its teacher, which would begin at 30% of the schedule"),
        ("absld", {}, "ABSLD to set temperatures by class, which would begin with the second epoch"),
        ("class-reweighted-kd", {}, "risk-weight to weigh classes, which would begin with the second epoch"),
        ("fair-ard", {}, "Fair-ARD to weigh classes, which would begin with the second epoch"),
        ("wat", {}, "WAT to weigh classes, which would begin with the second epoch"),
    ],
)
def test_runs_too_short_for_a_method_to_act_say_so(tiny, name, slots, what):
    """At a fraction f of e epochs it begins with epoch max(1, round(f * e)), which one epoch never reaches."""
    rules = {slot: CLASS_RULES[rule] for slot, rule in slots.items()}
    starts = tiny.job(name, slots=rules, hyper={"steps": 4}).method.starts()
    assert too_short(Recipe("r", 1, 2, 0.1), starts) == [f"1 epoch is too few for {what}"]
    assert too_short(Recipe("r", 30, 2, 0.1), starts) == []


@pytest.mark.parametrize(("name", "hyper"), [("ham", "begin"), ("cfa", "start"), ("iad", "begin"), ("dafa", "warmup")])
def test_a_start_of_ones_own_is_the_one_that_is_said(tiny, name, hyper):
    """Of 3 epochs .9 is the end (round(2.7) = 3 of 0, 1, 2), and .8 the last (round(2.4) = 2)."""
    of = {share: tiny.job(name, hyper={"steps": 4, hyper: share}).method.starts() for share in (0.9, 0.8)}
    (told,) = too_short(Recipe("r", 3, 2, 0.1), of[0.9])
    assert told.startswith("3 epochs are too few for ")
    assert told.endswith("which would begin at 90% of the schedule")
    assert too_short(Recipe("r", 3, 2, 0.1), of[0.8]) == []


def test_a_start_of_0_is_the_second_epoch_where_the_first_one_teaches_what_is_applied(tiny):
    for name, slots in (("cfa", {}), ("sat", {"reweight": CLASS_RULES["vulnerable"]})):
        starts = tiny.job(name, slots=slots, hyper={"start": 0}).method.starts()
        (told,) = too_short(Recipe("r", 1, 2, 0.1), starts)
        assert told.endswith("which would begin with the second epoch")
    assert too_short(Recipe("r", 1, 2, 0.1), tiny.job("ham", hyper={"steps": 4, "begin": 0}).method.starts()) == []


def test_a_method_that_will_not_act_is_told_before_it_is_trained():
    said = []
    request = Request("digits", "trades", slots={"reweight": "dafa"}, changes={"epochs": 1}, samples_per_class=2)
    prepare(request, SimpleNamespace(say=said.append))
    told = "warning: 1 epoch is too few for DAFA to weigh classes, which would begin at 64% of the schedule"
    assert said.count(told) == 1


def test_a_paper_recipe_with_awp_keeps_its_start(monkeypatch):
    """What a person gives for gamma goes before the recipe's; where AWP begins stays the recipe's."""
    recipe = find_recipe("paper", "cifar10", "trades", ["--awp GAMMA"]).change(awp=0.01, epochs=20)
    assert (recipe.awp, recipe.awp_start) == (0.01, 9 / 200)
    assert prepare(Request("digits", "sat", changes={"awp": 0.01, "awp_start": 0.5})).recipe.awp_start == 0.5
