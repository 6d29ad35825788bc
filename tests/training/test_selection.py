"""Which epoch's weights become the checkpoint."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fairbench.outcomes import Outcomes
from fairbench.training.selection import Selection, class_summary

#: average and worst class under the attack, epoch by epoch; binary fractions, so that equal sums are equal
EPOCHS = [(0.5, 0.25), (0.75, 0.125), (0.625, 0.25), (0.625, 0.25), (0.5, 0.125)]


def select(rule):
    selection = Selection(rule, "pgd10")
    taken = []
    for epoch, (average, worst) in enumerate(EPOCHS, start=1):
        network = nn.Linear(1, 1)
        with torch.no_grad():
            network.weight.fill_(epoch)
        natural = {"average": 1.0, "worst_class": 1.0, "class_accuracy": [1.0]}
        robust = {"average": average, "worst_class": worst, "class_accuracy": [worst]}
        taken.append(selection.offer(epoch, network, {"natural": natural, "pgd10": robust}, "live"))
    assert selection.weights["weight"].item() == selection.epoch
    return selection, taken


@pytest.mark.parametrize(
    ("rule", "epoch"), [("last", 5), ("best-average", 2), ("best-worst-class", 3), ("best-sum", 2)]
)
def test_rules(rule, epoch):
    """best-worst-class: epochs 1, 3 and 4 have .25; 3 has the higher average, and 4 equals it and comes later.

    best-sum: .75, .875, .875, .875, .625: the earliest of the equal ones.
    """
    selection, _ = select(rule)
    assert selection.epoch == epoch
    assert selection.record()["metrics"]["pgd10"]["average"] == EPOCHS[epoch - 1][0]


def test_natural_decides_where_no_attack_is_trained_for():
    selection = Selection("best-average", "natural")
    for epoch, accuracy in ((1, 0.5), (2, 0.75), (3, 0.625)):
        metrics = {"natural": {"average": accuracy, "worst_class": 0.0}, "pgd10": {"average": 1.0, "worst_class": 1.0}}
        selection.offer(epoch, nn.Linear(1, 1), metrics, "live")
    assert selection.epoch == 2


def test_state_continues_with_what_it_must_beat():
    selection, _ = select("best-average")
    other = Selection("best-average", "pgd10")
    other.load_state_dict(selection.state_dict())
    metrics = {"natural": {"average": 1.0, "worst_class": 1.0}, "pgd10": {"average": 0.75, "worst_class": 0.7}}
    assert not other.offer(6, nn.Linear(1, 1), metrics, "live")
    assert other.record() == selection.record()


def test_summary_by_hand():
    """Class 0: 1 of 2 right; class 1: 2 of 2; class 2 absent. Average 3/4, worst class 1/2, absent is NaN, never 0."""
    table = Outcomes.of_columns("natural", index=range(4), label=[0, 0, 1, 1], prediction=[0, 1, 1, 1])
    summary = class_summary(table, 3)["natural"]
    assert summary["average"] == 0.75
    assert summary["worst_class"] == 0.5
    assert summary["class_accuracy"][:2] == [0.5, 1.0]
    assert math.isnan(summary["class_accuracy"][2])
