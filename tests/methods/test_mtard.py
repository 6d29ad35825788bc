"""MTARD: the balance between its losses by hand, and that only an applied step moves it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fairbench.methods.base import EpochState, StepLoss
from fairbench.methods.mtard import MTARD

LN3 = math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def mtard(**hyper):
    return MTARD(2, eps=0.1, teachers={"robust": nn.Flatten(), "natural": nn.Flatten()}, **hyper)


def observe(method, natural, robust):
    terms = {"natural": torch.tensor(natural), "robust": torch.tensor(robust)}
    method.observe(None, StepLoss(torch.zeros(()), terms, {}))
    return method.natural_weight.item()


def test_balance_by_hand():
    """The first step's losses set the pace: 1 and 1, and w stays 1/2. Then the natural loss has halved: 1/2 and 1:

    w = 1/2 - .025 (1/2 - (1/2) / (3/2)) = 1/2 - .025 / 6 = .4958333. Then both are where they began: 1/2 of the way
    towards 1/2: .4958333 - .025 (.4958333 - 1/2) = .4959375.
    """
    method = mtard()
    assert observe(method, [2.0, 4.0], [1.0, 1.0]) == 0.5
    assert_close(observe(method, [1.5, 1.5], [1.0, 1.0]), 0.5 - 0.025 / 6)
    assert_close(observe(method, [3.0], [1.0]), 0.4959375)


def test_bert_sharpens_the_pace():
    """bert = 2: 1/4 and 1: w = 1/2 - .025 (1/2 - 1/5)."""
    method = mtard(bert=2)
    observe(method, [2.0], [1.0])
    assert_close(observe(method, [1.0], [1.0]), 0.5 - 0.025 * 0.3)


def test_rate_decays_with_the_learning_rate():
    method = mtard()
    observe(method, [2.0], [1.0])
    method.begin_epoch(EpochState(5, 10, 0.1))
    assert_close(observe(method, [1.0], [1.0]), 0.5 - 0.0025 / 6)


@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_loss_by_hand(pixels_are_logits, weight):
    """Robust: t(x_adv) = (3/4, 1/4) and f = (1/2, 1/2): 0.130812 / 2. Natural: t(x) = (1/2, 1/2) and f = (3/4, 1/4):
    0.143841 / 2. At rate 1 and a natural loss at half of its first pace, the step's own weight is n / (n + r) = 1/3.
    """
    student, batch = pixels_are_logits(
        [[LN3, 0.0]], [[0.0, 0.0]], [0], robust_x_adv=[[LN3, 0.0]], natural_x=[[0.0, 0.0]]
    )
    natural = (0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    method = mtard(rate=0)
    method.natural_weight.fill_(weight)
    assert_close(method.loss(student, batch).total.item(), (1 - weight) * KL / 2 + weight * natural)
    method = mtard(rate=1)
    method.first_natural.fill_(2 * natural)
    method.first_robust.fill_(KL / 2)
    assert_close(method.loss(student, batch).total.item(), 2 / 3 * KL / 2 + 1 / 3 * natural)


def test_only_observe_moves_the_weight(pixels_are_logits):
    student, batch = pixels_are_logits(
        [[LN3, 0.0]], [[0.0, 0.0]], [0], robust_x_adv=[[LN3, 0.0]], natural_x=[[0.0, 0.0]]
    )
    method = mtard()
    first = method.loss(student, batch)
    assert torch.equal(first.total, method.loss(student, batch).total)
    assert method.first_natural == 0
    method.observe(batch, first)
    assert_close(method.first_robust.item(), KL / 2)


def test_a_student_that_starts_as_its_teacher_is_finite():
    method = mtard()
    assert observe(method, [0.0], [0.0]) > 0
    assert math.isfinite(observe(method, [0.0], [1.0]))
    assert math.isfinite(observe(method, [1.0], [1.0]))


def test_each_teacher_is_asked_about_its_image(tiny):
    method = MTARD(4, eps=0.1, teachers={"robust": tiny.network(7), "natural": tiny.network(8)})
    batch = tiny.batch()
    crafted = method.attack(tiny.network().eval(), batch, tiny.random(batch))
    assert_close(crafted.extra["robust_x_adv"], method.teachers["robust"](crafted.adversarial))
    assert_close(crafted.extra["natural_x"], method.teachers["natural"](batch.x))
