"""Recipes of the papers, the common one, and what a warm start costs in it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import FrozenInstanceError, asdict, replace

import pytest
from torch import nn

import fairbench
from fairbench.cli import run
from fairbench.data.batches import AUGMENTATIONS
from fairbench.errors import BadInput
from fairbench.methods import METHODS
from fairbench.models import MODELS
from fairbench.models.checkpoint import read_sidecar
from fairbench.models.normalize import parse_normalize
from fairbench.threat import Threat
from fairbench.training.recipe_names import common, find_recipe
from fairbench.training.recipes import PAPER
from fairbench.training.request import Request, prepare
from fairbench.training.schedule import lr_factor, unreached
from fairbench.training.train import train
from fairbench.training.warm_start import without_warm_start

RSLAD_FAMILY = ("rslad", "absld", "class-reweighted-kd", "adaad", "mtard")
SMALL = ["--samples-per-class", "2", "--epochs", "2", "-p", "steps=1"]


@pytest.mark.parametrize(("method", "dataset"), sorted(PAPER))
def test_a_papers_recipe_can_be_trained_with(method, dataset):
    recipe = PAPER[method, dataset]()
    assert PAPER[method, dataset].__name__ == f"{method}_{dataset}".replace("-", "_")
    assert getattr(fairbench.recipes, PAPER[method, dataset].__name__) is PAPER[method, dataset]
    assert PAPER[method, dataset].__doc__.startswith("Return ")
    assert re.search(r"@ [0-9a-f]{10}", recipe.source), "a recipe without a source is invented"
    assert recipe.model in MODELS
    assert recipe.augment in AUGMENTATIONS
    parse_normalize(recipe.normalize or "none", 3)
    eps = Threat.parse("Linf", recipe.eps).eps
    cls = METHODS[method]
    made = cls(10, eps=eps, teachers={role: nn.Linear(1, 1) for role in cls.roles}, **recipe.hyper)
    resolved = {name.rpartition(".")[2]: value for name, value in made.hyper().items()}
    assert {name: resolved[name] for name in recipe.hyper} == recipe.hyper
    assert unreached(recipe.schedule, recipe.epochs) == []
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 1


def rates(name):
    """The learning rate of every epoch, counted from 1 as in the scripts."""
    recipe = getattr(fairbench.recipes, name)()
    found = [recipe.lr * lr_factor(recipe.schedule, epoch, recipe.epochs) for epoch in range(recipe.epochs)]
    return dict(enumerate(found, start=1))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # RSLAD's family lowers the rate after epoch 215, TRADES's before epoch 75, DAFA before the last 11 epochs.
        ("absld_cifar10", {1: 0.1, 215: 0.1, 216: 0.01, 260: 0.01, 261: 0.001, 285: 0.001, 286: 0.0001, 300: 0.0001}),
        ("trades_cifar10", {74: 0.1, 75: 0.01, 76: 0.01}),
        ("bat_cifar10", {74: 0.1, 75: 0.01, 89: 0.01, 90: 0.001, 99: 0.001, 100: 0.0001, 200: 0.0001}),
        ("mart_cifar10", {74: 0.01, 75: 0.001, 90: 0.0001, 100: 0.00001, 120: 0.00001}),
        ("dafa_cifar10", {99: 0.1, 100: 0.01, 104: 0.01, 105: 0.001, 110: 0.001}),
        ("cfa_cifar10", {100: 0.1, 101: 0.01, 150: 0.01, 151: 0.001}),
        ("ard_cifar10", {100: 0.1, 101: 0.01, 151: 0.01, 200: 0.01}),
        ("faal_cifar10", {1: 0.01, 2: 0.001}),
        ("ham_cifar10", {59: 0.1, 60: 0.01, 89: 0.01, 90: 0.001, 109: 0.001, 110: 0.0005, 120: 0.0005}),
        ("frl_cifar10", {1: 0.001, 40: 0.001}),
    ],
)
def test_learning_rates_fall_where_the_scripts_let_them(name, expected):
    found = rates(name)
    assert {epoch: found[epoch] for epoch in expected} == pytest.approx(expected)


def test_what_differs_between_two_of_them():
    ours, theirs = fairbench.recipes.absld_cifar10(), fairbench.recipes.rslad_cifar10()
    changed = {name for name, value in asdict(ours).items() if asdict(theirs)[name] != value}
    assert changed == {"select", "source"}
    assert fairbench.recipes.rslad_cifar100().hyper == {"scale": 10.0}
    assert fairbench.recipes.dafa_cifar100().hyper == {"strength": 1.5}
    assert fairbench.recipes.ard_cifar100().batch_size == 256


def test_epochs_scale_everything_that_is_indexed_by_epoch():
    """A tenth of ABSLD's epochs: the rate falls after epochs 22, 26 and 28 (21.5, 26 and 28.5, rounded to even)."""
    recipe = fairbench.recipes.absld_cifar10().change(epochs=30)
    factors = [lr_factor(recipe.schedule, epoch, 30) for epoch in range(30)]
    assert [factors.index(value) for value in (0.1, 0.01, 0.001)] == [22, 26, 28]


@pytest.mark.parametrize(
    ("method", "dataset", "words"),
    [
        ("absld", "cifar100", "of method 'absld' for data set 'cifar100' is not known to fairbench; it is known for"),
        ("sat", "cifar10", "none of its authors' recipes is known"),
        ("dafa", "npz:mine", "known for cifar10 and cifar100"),
        ("trade", "cifar10", "Did you mean 'trades'"),
    ],
)
def test_an_unknown_paper_recipe_is_refused(method, dataset, words):
    with pytest.raises(BadInput, match=words):
        find_recipe("paper", dataset, method)


@pytest.mark.parametrize("dataset", ["digits", "mnist", "cifar10", "npz:mine"])
def test_the_common_recipe_is_the_same_for_every_method(dataset):
    plain = replace(common(dataset, "sat"), hyper={})
    for name in METHODS:
        recipe = common(dataset, name)
        assert replace(recipe, hyper={}) == plain
        scale = {**dict.fromkeys(RSLAD_FAMILY, 10.0), "wat": 0.5, "cfa": 7.0}.get(name)
        assert recipe.hyper == ({} if scale is None else {"scale": scale})
        assert (recipe.select, recipe.average) == ("last", None)


@pytest.mark.parametrize(("before", "left"), [(2, 0.125), (3, 0.0), (7, 0.0)])
def test_the_radius_rises_once(before, left, tmp_path):
    """.3 of 10 epochs are 3 with a smaller radius; after 2 of them 1 of 8 is left."""
    (tmp_path / "warm.pt").touch()
    had = {"recipe": {"epochs": before, "batch_size": 128}, "dataset": "mnist", "samples_per_class": 600}
    known = {"schema": 1, "sha256": hashlib.sha256(b"").hexdigest(), **had}
    (tmp_path / "warm.json").write_text(json.dumps(known))
    recipe = replace(common("mnist", "faal"), epochs=10, batch_size=128, eps_warmup=0.3)
    found, gone = without_warm_start(recipe, str(tmp_path / "warm.pt"), "mnist", 600, print)
    assert (found.epochs, gone) == (10 - before, before)
    assert found.eps_warmup == pytest.approx(left)


def test_common_on_the_command_line(tmp_path, capsys):
    start = ["train", "--dataset", "digits", "--recipe", "common", *SMALL]
    assert run([*start, "--method", "sat", "--out", str(tmp_path), "--name", "warm"]) == 0
    warm = tmp_path / "warm.pt"
    assert read_sidecar(warm)["epochs_before"] is None
    faal = ["--method", "faal", "--init", str(warm), "--out", str(tmp_path)]
    assert run([*start, *faal, "--epochs", "5"]) == 0
    sidecar = read_sidecar(tmp_path / "digits-faal.pt")
    assert (sidecar["recipe"]["epochs"], sidecar["epochs_before"]) == (3, 2)
    assert "2 of 5 epochs were those of warm.pt: 3 are left" in capsys.readouterr().err
    twice = ["--method", "sat", "--init", str(tmp_path / "digits-faal.pt"), "--out", str(tmp_path / "b")]
    assert run([*start, *twice, "--epochs", "6"]) == 0
    assert read_sidecar(tmp_path / "b" / "digits-sat.pt")["epochs_before"] == 5
    capsys.readouterr()
    for more, words in (
        ([], "has had 2 already"),
        (["--epochs", "5", "--batch-size", "10"], "other images or batches"),
        (["--epochs", "5", "--samples-per-class", "3"], "other images or batches"),
    ):
        assert run([*start, *faal, *more]) == 2
        assert words in capsys.readouterr().err
    stranger = tmp_path / "stranger.pt"
    stranger.write_bytes(warm.read_bytes())
    assert run([*start, "--method", "faal", "--init", str(stranger), "--out", str(tmp_path / "c")]) == 2
    assert "does not say how long it was trained" in capsys.readouterr().err


@pytest.fixture
def digits_paper(monkeypatch):
    """An author's recipe for a data set that is at hand."""
    recipe = fairbench.recipes.cfa_cifar10().change(model="small-cnn", normalize="mnist", augment="none", batch_size=10)
    monkeypatch.setitem(PAPER, ("cfa", "digits"), lambda: recipe)
    monkeypatch.setitem(PAPER, ("faal", "digits"), lambda: recipe.change(fine_tune=True))


def test_paper_prints_every_resolved_value(digits_paper, tmp_path, capsys):
    paper = ["train", "--dataset", "digits", "--recipe", "paper", *SMALL, "--out", str(tmp_path)]
    assert run([*paper, "--method", "cfa", "-p", "lambda_2=0.4"]) == 0
    shown = capsys.readouterr().err
    for line in (
        "architecture = small-cnn", "normalize = mnist", "eps_text = 8/255", "epochs = 2", "lr = 0.1",
        "weight_decay = 0.0005", "average = ('epoch', 0.85)", "select = best-sum", "cfa.lambda_1 = 0.3",
        "cfa.lambda_2 = 0.4", "threshold = 0.2", "steps = 1", "beta = 6.0", "training images = 20",
        "source = CFA's paper (arXiv 2303.14460), and PKU-ML/CFA @ 071f3334a5, train.py",
    ):  # fmt: skip
        assert f"  {line}\n" in shown, line
    sidecar = read_sidecar(tmp_path / "digits-cfa.pt")
    assert (sidecar["normalize"], sidecar["eps_text"]) == ("mnist", "8/255")
    assert run([*paper[:3], *SMALL, "--method", "sat", "--out", str(tmp_path / "other")]) == 0
    assert "cfa.lambda_1" not in capsys.readouterr().err


def test_what_the_person_says_goes_before_the_recipe(digits_paper):
    job = prepare(Request("digits", "cfa", recipe="paper", eps="0.05", normalize="none"))
    assert (job.settings["eps_text"], job.settings["normalize"], job.recipe.epochs) == ("0.05", "none", 200)


def test_a_recipe_that_fine_tunes_needs_a_start(digits_paper, tmp_path):
    with pytest.raises(BadInput, match="from a robust network, but none was given; give --init CHECKPOINT"):
        train(Request("digits", "faal", recipe="paper"), out=tmp_path)
