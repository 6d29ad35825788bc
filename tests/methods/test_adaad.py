"""AdaAD: the gradient through the teacher, and its loss by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.adaad import AdaAD
from fairbench.sample_random import SampleRandom

LN3 = math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


class Twice(nn.Module):
    """The teacher that says twice the pixels."""

    def forward(self, x):
        return 2 * x.flatten(1)


def test_the_attack_sees_the_teacher_change(pixels_are_logits):
    """x = (.5, .2): the student's margin is .3, the teacher's .6, p = s(.6) = .6457, q = s(.3) = .5744.

    d KL(p || q) / d margin = 2 p (1 - p) (.6 - .3) through the teacher, + (q - p) through the student =
    .1373 - .0713 > 0: the step widens the margin by two step sizes. With the teacher held fixed it would be -.0713, and
    the step would narrow it.
    """
    student, batch = pixels_are_logits([[0.5, 0.2]], [[0.5, 0.2]], [0])
    method = AdaAD(2, eps=0.1, teachers={"robust": Twice()}, steps=1)
    with torch.no_grad():
        crafted = method.attack(student, batch, SampleRandom(0, "t", batch.index))
    x = crafted.adversarial.flatten()
    assert_close((x[0] - x[1]).item(), 0.3 + 2 * 0.1 / 4, rtol=0, atol=0.01)
    assert_close(crafted.extra["robust_x_adv"], 2 * crafted.adversarial.flatten(1))
    assert_close(crafted.extra["robust_x"], 2 * batch.x.flatten(1))


@pytest.mark.parametrize(("alpha", "scale"), [(1.0, 1.0), (0.6, 1.0), (0.6, 2.0)])
def test_loss_by_hand(pixels_are_logits, alpha, scale):
    """On x_adv the teacher says (3/4, 1/4) and the student (1/2, 1/2); on x the other way round, which costs
    KL((1/2, 1/2) || (3/4, 1/4)) = 1/2 ln(2/3) + 1/2 ln 2 = 0.143841. K = 2.
    """
    student, batch = pixels_are_logits(
        [[LN3, 0.0]], [[0.0, 0.0]], [0], robust_x_adv=[[LN3, 0.0]], robust_x=[[0.0, 0.0]]
    )
    method = AdaAD(2, eps=0.1, teachers={"robust": nn.Flatten()}, alpha=alpha, scale=scale)
    other = 0.5 * math.log(2 / 3) + 0.5 * math.log(2)
    assert_close(method.loss(student, batch).total.item(), scale * (alpha * KL + (1 - alpha) * other) / 2)


def test_alpha_above_one_is_refused():
    with pytest.raises(BadInput, match=r"alpha must lie in \[0, 1\]"):
        AdaAD(2, eps=0.1, teachers={"robust": nn.Flatten()}, alpha=1.5)
