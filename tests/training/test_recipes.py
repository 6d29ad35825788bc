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
from fairbench.methods import CLASS_RULES, METHODS
from fairbench.methods.batch import epoch_at
from fairbench.models import MODELS
from fairbench.models.checkpoint import read_sidecar
from fairbench.models.normalize import parse_normalize
from fairbench.threat import Threat
from fairbench.training.recipe_names import common, find_recipe, words_of
from fairbench.training.recipes import PAPER
from fairbench.training.request import Request, prepare
from fairbench.training.schedule import lr_factor, unreached
from fairbench.training.train import train
from fairbench.training.warm_start import without_warm_start

RSLAD_FAMILY = ("rslad", "absld", "class-reweighted-kd", "adaad", "mtard")
SMALL = ["--samples-per-class", "2", "--epochs", "2", "-p", "steps=1"]


@pytest.mark.parametrize(("method", "dataset", "words"), sorted(PAPER))
def test_a_papers_recipe_can_be_trained_with(method, dataset, words):
    function = PAPER[method, dataset, words]
    recipe = function()
    plain = f"{method}_{dataset}".replace("-", "_")
    assert function.__name__ == plain or (words and function.__name__.endswith(f"_{dataset}"))
    assert getattr(fairbench.recipes, function.__name__) is function
    assert function.__doc__.startswith("Return ")
    assert re.search(r"@ [0-9a-f]{10}", recipe.source), "a recipe without a source is invented"
    assert recipe.model in MODELS
    assert recipe.augment in AUGMENTATIONS
    parse_normalize(recipe.normalize or "none", 3)
    eps = Threat.parse("Linf", recipe.eps).eps
    cls = METHODS[method]
    roles = [*cls.roles, *(["natural"] if words == "-p variant=II" else [])]
    slots = {"reweight": CLASS_RULES["fair-ard"]} if words == "--reweight fair-ard" else {}
    made = cls(10, eps=eps, teachers={role: nn.Linear(1, 1) for role in roles}, slots=slots, **recipe.hyper)
    resolved = {name.rpartition(".")[2]: value for name, value in made.hyper().items()}
    assert {name: resolved[name] for name in recipe.hyper} == recipe.hyper
    assert unreached(recipe.schedule, recipe.epochs) == []
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 1


def test_every_recipe_is_found_by_some_words():
    functions = {name for name in fairbench.recipes.__all__ if name != "PAPER"}
    assert {function.__name__ for function in PAPER.values()} == functions
    defined = {
        name
        for name, value in vars(fairbench.recipes).items()
        if getattr(value, "__doc__", "") and str(value.__doc__).startswith("Return ")
    }
    assert defined == functions


#: what a person asks for -> the recipe that it is
ASKED = [
    ({"method": "trades"}, "trades_cifar10"),
    ({"method": "trades", "model": "wrn-28-10"}, "trades_cifar10"),
    ({"method": "trades", "changes": {"awp": 0.005}}, "trades_awp_cifar10"),
    ({"method": "trades", "changes": {"awp": 0.0}}, "trades_cifar10"),
    ({"method": "trades", "changes": {"awp": 0.005}, "dataset": "cifar100"}, "trades_awp_cifar100"),
    ({"method": "sat", "changes": {"awp": 0.01}}, "sat_awp_cifar10"),
    ({"method": "sat", "changes": {"awp": 0.01}, "dataset": "svhn"}, "sat_awp_svhn"),
    ({"method": "faal", "changes": {"awp": 0.005}}, "faal_awp_cifar10"),
    ({"method": "mart"}, "mart_cifar10"),
    ({"method": "mart", "model": "wrn-34-10"}, "mart_wrn_cifar10"),
    ({"method": "iad", "hyper": {"variant": "I"}}, "iad_cifar10"),
    ({"method": "iad", "hyper": {"variant": "II", "beta": "0.2"}}, "iad_ii_cifar10"),
    ({"method": "iad", "hyper": {"variant": "II"}, "dataset": "cifar100"}, "iad_ii_cifar100"),
    ({"method": "iad", "slots": {"reweight": "fair-ard"}}, "fair_iad_cifar10"),
    ({"method": "rslad", "slots": {"reweight": "fair-ard"}}, "fair_rslad_cifar10"),
    ({"method": "rslad", "slots": {"reweight": "dafa"}}, "rslad_cifar10"),
    ({"method": "mtard", "slots": {"reweight": "fair-ard"}}, "fair_mtard_cifar10"),
    ({"method": "frl", "hyper": {"variant": "reweight"}}, "frl_reweight_cifar10"),
    ({"method": "frl", "hyper": {"frl.variant": "reweight"}}, "frl_reweight_cifar10"),
    ({"method": "cfa", "hyper": {"variant": "trades"}}, "cfa_cifar10"),
    ({"method": "cfa", "hyper": {"variant": "sat"}}, "cfa_sat_cifar10"),
    ({"method": "adaad"}, "adaad_cifar10"),
    ({"method": "adaad", "dataset": "cifar100"}, "adaad_cifar100"),
]


@pytest.mark.parametrize(("request_", "name"), ASKED, ids=[f"{n}-{name}" for n, (_, name) in enumerate(ASKED)])
def test_the_words_of_a_request_choose_the_authors_recipe(request_, name):
    asked = Request(**{"dataset": "cifar10", **request_})
    words = words_of(asked.hyper, asked.slots, asked.model, asked.changes)
    assert find_recipe("paper", asked.dataset, asked.method, words) == getattr(fairbench.recipes, name)()


def test_only_the_authors_recipe_depends_on_more_than_method_and_data_set():
    for name in ("default", "common"):
        assert find_recipe(name, "cifar10", "sat", ["--awp GAMMA"]) == find_recipe(name, "cifar10", "sat")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "sat_awp_cifar10",
            {"awp": 0.01, "awp_start": 0.0, "model": "preactresnet18", "normalize": "cifar10", "weight_decay": 5e-4,
             "augment": "crop-flip-reflect", "eps": "8/255", "validation_attack": "pgd20", "select": "best-average",
             "hyper": {"attack_mode": "train"}},
        ),
        (
            "sat_awp_svhn",
            {"awp": 0.01, "awp_start": 5 / 200, "lr": 0.01, "normalize": "half", "augment": "none",
             "hyper": {"attack_mode": "train", "step_share": 0.125}},
        ),
        (
            "trades_awp_cifar10",
            {"awp": 0.005, "awp_start": 9 / 200, "model": "wrn-34-10", "normalize": None, "eps": "8/255",
             "weight_decay": 5e-4, "select": "last", "hyper": {"step_share": 0.25}},
        ),
        (
            "mart_wrn_cifar10",
            {"epochs": 90, "lr": 0.1, "weight_decay": 7e-4, "model": "wrn-34-10", "eps": "0.031",
             "hyper": {"beta": 6.0}},
        ),
        (
            "adaad_cifar10",
            {"epochs": 200, "weight_decay": 5e-4, "model": "resnet18", "eps": "8/255", "hyper": {"scale": 1.0},
             "select": "best-average", "validation_attack": "pgd10(step_size=2/255)"},
        ),
        ("adaad_cifar100", {"hyper": {"scale": 100.0}, "weight_decay": 5e-4}),
        (
            "iad_ii_cifar10",
            {"epochs": 200, "weight_decay": 2e-4, "select": "best-average", "nesterov": False,
             "hyper": {"attack_mode": "train", "clamp_start": False, "variant": "II"}},
        ),
        (
            "cfa_sat_cifar10",
            {"hyper": {"variant": "sat", "attack_mode": "train"}, "average": ("epoch", 0.85), "weight_decay": 5e-4},
        ),
        ("frl_reweight_cifar10", {"hyper": {"variant": "reweight"}, "fine_tune": True, "epochs": 40, "lr": 0.001}),
        ("faal_awp_cifar10", {"awp": 0.005, "awp_start": 0.0, "fine_tune": True, "epochs": 2}),
        ("fair_rslad_cifar10", {"epochs": 300, "nesterov": True, "select": "last", "weight_decay": 2e-4}),
        ("fair_mtard_cifar10", {"epochs": 300, "nesterov": True, "select": "last", "weight_decay": 2e-4}),
        (
            "fair_iad_cifar10",
            {"epochs": 200, "nesterov": True, "select": "last",
             "hyper": {"attack_mode": "train", "clamp_start": False}},
        ),
    ],
)  # fmt: skip
def test_values_of_the_scripts(name, expected):
    recipe = getattr(fairbench.recipes, name)()
    assert {key: getattr(recipe, key) for key in expected} == expected


def test_awp_begins_in_the_epoch_in_which_it_does_in_the_scripts():
    """Counted from 1: AT-AWP in the first, on SVHN in the sixth, TRADES-AWP in the tenth."""
    for name, first in (("sat_awp_cifar10", 1), ("sat_awp_svhn", 6), ("trades_awp_cifar10", 10)):
        recipe = getattr(fairbench.recipes, name)()
        assert epoch_at(recipe.awp_start, recipe.epochs) + 1 == first


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
        ("sat_awp_cifar10", {100: 0.1, 101: 0.01, 150: 0.01, 151: 0.001}),
        ("sat_awp_svhn", {100: 0.01, 101: 0.001, 150: 0.001, 151: 0.0001}),
        ("trades_awp_cifar10", {99: 0.1, 100: 0.01, 149: 0.01, 150: 0.001, 200: 0.001}),
        ("mart_wrn_cifar10", {74: 0.1, 75: 0.01, 89: 0.01, 90: 0.001}),
        ("adaad_cifar10", {100: 0.1, 101: 0.01, 150: 0.01, 151: 0.001}),
        ("iad_ii_cifar10", {100: 0.1, 101: 0.01, 151: 0.01, 200: 0.01}),
        ("fair_rslad_cifar10", {215: 0.1, 216: 0.01, 260: 0.01, 261: 0.001, 285: 0.001, 286: 0.0001}),
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
        ("natural", "cifar10", "none of its authors' recipes is known"),
        ("sat", "cifar10", "it is known for cifar10 with --awp GAMMA and svhn with --awp GAMMA"),
        ("iad", "svhn", "cifar10 with -p variant=II and cifar100 with -p variant=II and cifar10 with --reweight fair"),
        ("dafa", "npz:mine", "known for cifar10 and cifar100"),
        ("trade", "cifar10", "Did you mean 'trades'"),
    ],
)
def test_an_unknown_paper_recipe_is_refused(method, dataset, words):
    with pytest.raises(BadInput, match=words):
        find_recipe("paper", dataset, method)


@pytest.mark.parametrize("dataset", ["svhn", "stl10", "tiny-imagenet", "imagenette", "imagenet", "digits"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_without_a_recipe_is_refused_in_one_sentence(tmp_path, capsys, method, dataset):
    """On SVHN HAM alone is known without AWP, on the others nothing is; no data are read before the refusal."""
    if (method, dataset) == ("ham", "svhn"):
        return
    asked = ["train", "--dataset", dataset, "--method", method, "--recipe", "paper", "--out", str(tmp_path / "out")]
    assert run(asked) == 2
    captured = capsys.readouterr()
    assert f"recipe of method '{method}' for data set '{dataset}' is not known to fairbench; " in captured.err
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 600
    assert captured.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"method": "rslad", "slots": {"reweight": "fair-ard"}, "dataset": "cifar100"}, "--reweight fair-ard"),
        ({"method": "iad", "slots": {"reweight": "fair-ard"}, "dataset": "cifar100"}, "--reweight fair-ard"),
        ({"method": "mtard", "slots": {"reweight": "fair-ard"}, "dataset": "cifar100"}, "--reweight fair-ard"),
        ({"method": "mart", "changes": {"awp": 0.005}}, "--awp GAMMA"),
        ({"method": "mart", "model": "wrn-34-10", "changes": {"awp": 0.005}}, "--awp GAMMA"),
        ({"method": "trades", "slots": {"reweight": "faal"}}, "--reweight faal"),
        ({"method": "mart", "slots": {"reweight": "faal"}}, "--reweight faal"),
        ({"method": "ham", "hyper": {"variant": "paper"}}, "-p variant=paper"),
        ({"method": "ham", "hyper": {"variant": "paper"}, "dataset": "svhn"}, "-p variant=paper"),
    ],
)
def test_what_is_published_but_not_known_is_not_trained_as_its_host(request_, words):
    asked = Request(**{"dataset": "cifar10", **request_})
    sentence = f"method '{asked.method}' with {words} for data set '{asked.dataset}' is not known to fairbench; it is "
    with pytest.raises(BadInput, match=re.escape(sentence)):
        find_recipe(
            "paper", asked.dataset, asked.method, words_of(asked.hyper, asked.slots, asked.model, asked.changes)
        )
    assert find_recipe("default", asked.dataset, asked.method, [words]).name == "default"


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
    monkeypatch.setitem(PAPER, ("cfa", "digits", ""), lambda: recipe)
    monkeypatch.setitem(PAPER, ("faal", "digits", ""), lambda: recipe.change(fine_tune=True))
    sat = fairbench.recipes.cfa_sat_cifar10()
    on_sat = recipe.change(hyper=sat.hyper, source=sat.source)
    monkeypatch.setitem(PAPER, ("cfa", "digits", "-p variant=sat"), lambda: on_sat)


def test_a_variant_of_a_method_has_its_own_recipe(digits_paper, tmp_path, capsys):
    paper = ["train", "--dataset", "digits", "--recipe", "paper", *SMALL, "--method", "cfa"]
    assert run([*paper, "-p", "variant=sat", "--out", str(tmp_path / "sat")]) == 0
    assert "  attack_mode = train\n" in capsys.readouterr().err
    sidecar = read_sidecar(tmp_path / "sat" / "digits-cfa.pt")
    assert (sidecar["hyper"]["variant"], sidecar["hyper"]["attack_mode"]) == ("sat", "train")
    assert run([*paper, "--out", str(tmp_path / "trades")]) == 0
    assert read_sidecar(tmp_path / "trades" / "digits-cfa.pt")["hyper"]["attack_mode"] == "eval"


def test_paper_prints_every_resolved_value(digits_paper, tmp_path, capsys):
    paper = ["train", "--dataset", "digits", "--recipe", "paper", *SMALL, "--out", str(tmp_path)]
    assert run([*paper, "--method", "cfa", "-p", "lambda_2=0.4"]) == 0
    shown = capsys.readouterr().err
    for line in (
        "architecture = small-cnn", "normalize = mnist", "eps_text = 8/255", "epochs = 2", "lr = 0.1",
        "weight_decay = 0.0005", "average = epoch, 0.85", "select = best-sum", "cfa.lambda_1 = 0.3",
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
