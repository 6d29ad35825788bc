"""AutoAttack's reference engine against the package's own driver."""

from __future__ import annotations

import logging

import pytest
import torch
from pyautoattack import AutoAttack
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from pyautoattack.state import EvaluationState

from fairbench.data.dataset import ArrayDataset
from fairbench.errors import BadInput
from fairbench.evaluation.networks import Networks
from fairbench.evaluation.reference import PARTS, reference_parts
from fairbench.evaluation.table import attack_table
from fairbench.threat import Threat


def driver_verdicts(model, x, y, threat, *, seed, targets, monkeypatch):
    """Run the package as its README does and return its cumulative robust verdicts after each part."""
    verdicts = {}
    monkeypatch.setattr(
        EvaluationState, "add_run_attack", lambda state, part: verdicts.update({part: state.robust_flags.tolist()})
    )
    with torch.random.fork_rng():
        package = AutoAttack(model, norm=threat.norm, eps=threat.eps, seed=seed, version="standard")
        package.apgd_targeted.n_target_classes = min(package.apgd_targeted.n_target_classes, targets)
        package.fab.n_target_classes = targets
        package.run_standard_evaluation(x, y, batch_size=len(x))
    return verdicts


@pytest.mark.parametrize(
    ("norm", "eps"),
    [
        ("Linf", "0.04"),
        pytest.param("L2", "0.12", marks=pytest.mark.slow),
        pytest.param("L1", "0.5", marks=pytest.mark.slow),
    ],
)
def test_verdicts_equal_the_drivers(norm, eps, model, dataset, monkeypatch):
    threat = Threat.parse(norm, eps)
    order = torch.as_tensor(dataset.index).argsort()[:8]
    some = dataset.take(order.numpy(), selection="8")
    x, y = some.x, torch.as_tensor(some.y)
    expected = driver_verdicts(model, x, y, threat, seed=5, targets=4, monkeypatch=monkeypatch)
    state = torch.get_rng_state()
    table = attack_table(model, some, ["aa"], threat=threat, seed=5, batch_size=8, engine="reference")
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    for part in PARTS:
        assert table.robust(f"aa/{part}").tolist() == expected[part]
    assert table.robust("aa").tolist() == expected["square"]
    assert 0 < table.robust("aa").sum() < table.robust("natural").sum(), "the example must be half broken"


def parts(model, *, norm="Linf", eps="0.1", num_classes=5, seed=0, gradient=None):
    nets = Networks(model, gradient or model, model)
    return reference_parts(nets, Threat.parse(norm, eps), num_classes=num_classes, seed=seed)


def run(part, x, y):
    return part.run(x, y, index=torch.arange(len(x)), success=lambda x_adv, rows: rows < 0, memory=None)


@pytest.mark.parametrize(
    ("norm", "num_classes", "targets", "restarts"),
    [("Linf", 10, 9, 1), ("Linf", 5, 4, 1), ("L2", 100, 9, 1), ("L1", 100, 5, 5), ("L1", 5, 4, 5)],
)
def test_each_part_is_set_up_as_the_driver_does(norm, num_classes, targets, restarts, monkeypatch):
    """As in the package's _set_version("standard") and run_standard_evaluation, but for the number of classes."""
    seen = []

    def record(attack, x, y):
        names = ("loss", "seed", "n_restarts", "n_target_classes", "targeted", "n_iter", "n_queries", "eps", "norm")
        seen.append({name: getattr(attack, name) for name in names if hasattr(attack, name)})
        return x

    for kind in (APGDAttack, APGDAttack_targeted, FABAttack_PT, SquareAttack):
        monkeypatch.setattr(kind, "perturb", record)
    x = torch.rand(2, 1, 2, 2)
    for part in parts(torch.nn.Identity(), norm=norm, eps="0.3", num_classes=num_classes, seed=7):
        run(part, x, torch.tensor([0, 1]))
    shared = {"seed": 7, "eps": 0.3, "norm": norm}
    apgd_ce, apgd_t, fab_t, square = seen
    assert apgd_ce == {**shared, "loss": "ce", "n_restarts": restarts, "n_iter": 100}
    assert apgd_t == {
        **shared, "loss": "dlr-targeted", "n_restarts": 1, "n_target_classes": targets, "n_iter": 100,
    }  # fmt: skip
    assert fab_t == {
        **shared, "targeted": True, "n_restarts": 1, "n_target_classes": min(9, num_classes - 1), "n_iter": 100,
    }  # fmt: skip
    assert square == {**shared, "loss": "margin", "n_restarts": 1, "n_queries": 5000, "targeted": False}


def test_four_classes_run_and_three_are_refused(capsys):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 4)).eval()
    x = torch.rand(3, 1, 2, 2)
    y = model(x).argmax(1)
    four = ArrayDataset(x, y, class_names=["a", "b", "c", "d"])
    options = {"threat": Threat.parse("Linf", "0.05"), "seed": 0, "batch_size": 3, "engine": "reference"}
    table = attack_table(model, four, ["aa"], **options)
    assert len(table.of("aa")) == 3
    assert capsys.readouterr().out == ""
    three = ArrayDataset(x, y.clamp(max=2), class_names=["a", "b", "c"])
    with pytest.raises(BadInput, match="at least 4 classes"):
        attack_table(model, three, ["aa"], **options)


def test_the_logger_is_given_back(model, dataset):
    logger = logging.getLogger("auto-attack")
    assert not logger.disabled
    part = parts(model)[0]
    x, y = dataset.x[:2], torch.as_tensor(dataset.y[:2])
    run(part, x, y)
    assert not logger.disabled


def test_square_runs_on_the_judge_and_the_others_on_the_faster_copy(model, dataset):
    seen = []

    class Named(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name, self.network = name, model

        def forward(self, x):
            seen.append(self.name)
            return self.network(x)

    x, y = dataset.x[:1], torch.as_tensor(dataset.y[:1])
    found = {}
    for part in parts(Named("judge"), gradient=Named("copy")):
        seen.clear()
        run(part, x, y)
        found[part.name] = set(seen)
    assert found == {"apgd-ce": {"copy"}, "apgd-t": {"copy"}, "fab-t": {"copy"}, "square": {"judge"}}
    assert tuple(found) == PARTS
