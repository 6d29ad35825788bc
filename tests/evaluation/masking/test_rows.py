"""Flags from the rows of a table, on tables made by hand and through `evaluate`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fairbench.attacks import parse_attacks
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.masking.rows import row_flags
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.threat import Threat

N = 100
THREAT = Threat.parse("Linf", "0.1")


def table(**broken):
    """A table in which each attack breaks the images listed; "_" stands for "/"."""
    y = np.arange(N) % 2
    rows = []
    for name, which in {NATURAL: (), **broken}.items():
        prediction, margin = y.copy(), np.full(N, 1.0 if name == NATURAL else 0.5)
        prediction[list(which)], margin[list(which)] = 1 - y[list(which)], -1.0
        rows.append(
            Outcomes.of_columns(
                name.replace("_", "/"), index=np.arange(N), label=y, prediction=prediction, margin=margin
            )
        )
    return Outcomes.concat(rows)


def flags_of(outcomes, attacks, units=()):
    return [(one["name"], one["class"]) for one in row_flags(outcomes, parse_attacks(attacks), THREAT, units=units)]


def test_a_stronger_attack_that_breaks_more_is_fine():
    assert flags_of(table(fgsm=range(10), pgd20=range(5, 40)), ["fgsm", "pgd20"]) == []


def test_one_step_that_beats_many():
    found = flags_of(table(fgsm=range(20), pgd20=range(19, 22)), ["pgd20", "fgsm"])
    # 19 against 2: P(X <= 2 | 21, 1/2) = .0001.
    assert found == [("fewer-steps-win", None)]


AA = ("aa/apgd-ce", "aa/apgd-t", "aa/square")


def aa_table(square, **more):
    white = range(40)
    both = [*white, *square]
    return table(**{"aa_apgd-ce": range(30), "aa_apgd-t": white, "aa_square": both, "aa": both, **more})


def test_square_after_the_white_box_parts():
    # P(X >= 3 | 100, .002) = .0011 is none; P(X >= 4) = 5e-5 is one.
    assert flags_of(aa_table([60, 61, 62]), ["aa"], AA) == []
    assert flags_of(aa_table([60, 61, 62, 63]), ["aa"], AA) == [("square-wins", None)]


def test_square_may_come_first_in_a_cascade():
    outcomes = table(**{"aa_square": range(40), "aa_apgd-ce": range(41), "aa": range(41)})
    assert flags_of(outcomes, ["aa"], ("aa/square", "aa/apgd-ce")) == []


def test_a_plain_attack_that_beats_the_whole_cascade():
    assert flags_of(aa_table([], pgd20=range(30)), ["pgd20", "aa"], AA) == []
    assert flags_of(aa_table([], pgd20=range(30, 44)), ["pgd20", "aa"], AA) == [("plain-attack-wins", None)]


def test_an_attack_that_goes_nowhere():
    outcomes = table(pgd20=())
    frame = outcomes.frame.copy()
    frame.loc[(frame["attack"] == "pgd20") & (frame["index"] < 20), "margin"] = 1.5
    found = row_flags(Outcomes(frame), parse_attacks(["pgd20"]), THREAT, units=())
    assert [one["name"] for one in found] == ["margin-not-lowered"]
    assert "20 of 100 images" in found[0]["evidence"]


def test_nothing_is_flagged_at_radius_0():
    outcomes = table(pgd20=())
    outcomes.frame.loc[outcomes.frame["attack"] == "pgd20", "margin"] = 2.0
    assert row_flags(outcomes, parse_attacks(["pgd20"]), Threat.parse("Linf", 0), units=()) == []


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class Misled(nn.Module):
    """Attacks walk away from the boundary."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(_Reversed.apply(x))


def test_evaluate_writes_them_into_the_record(model, dataset, tmp_path):
    run = evaluate(Misled(model).eval(), dataset, "pgd5,cw5", eps="0.1", out=tmp_path / "run")
    raised = [(one["name"], one["evidence"].split()[0]) for one in run.record["flags"]]
    assert raised == [("wrong-gradients", "gradient"), ("margin-not-lowered", "pgd5"), ("margin-not-lowered", "cw5")]
    # The finished run is found again with its flags, and an honest one has none.
    again = evaluate(Misled(model).eval(), dataset, "pgd5,cw5", eps="0.1", out=tmp_path / "run")
    assert again.record["flags"] == run.record["flags"]
    assert evaluate(model, dataset, "fgsm,pgd5,cw5", eps="0.1").record["flags"] == []


@pytest.mark.slow
def test_autoattack_on_an_honest_model_raises_none(model, dataset):
    small = dataset.first_per_class(3)
    assert evaluate(model, small, "fgsm,pgd5,aa", eps="0.05").record["flags"] == []
