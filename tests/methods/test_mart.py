"""MART: its loss by hand, and that nothing in it is detached."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.methods.mart import MART

LN3 = math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


@pytest.mark.parametrize("beta", [5.0, 1.0])
def test_loss_by_hand(pixels_are_logits, beta):
    """x: p = (3/4, 1/4); x_adv: (1/2, 1/2); y = 0.

    CE(f(x_adv), 0) = ln 2; the largest rival has 1/2, so - ln(1.0001 - 1/2); KL((3/4, 1/4) || (1/2, 1/2)) = 0.130812
    counts 1.0000001 - 3/4 times.
    """
    student, batch = pixels_are_logits([[LN3, 0.0]], [[0.0, 0.0]], [0])
    step = MART(2, eps=0.1, beta=beta).loss(student, batch)
    assert_close(step.total.item(), math.log(2) - math.log(0.5001) + beta * 0.2500001 * KL)


def test_the_rival_is_the_largest_other_class_whatever_is_predicted(pixels_are_logits):
    """x_adv: p = (1/6, 3/6, 2/6). For y = 0 the rival has 1/2; for y = 1, which is predicted, 1/3."""
    logits = [math.log(1.0), math.log(3.0), math.log(2.0)]
    student, batch = pixels_are_logits([logits] * 2, [logits] * 2, [0, 1])
    step = MART(3, eps=0.1).loss(student, batch)
    expected = [math.log(6) - math.log(1.0001 - 1 / 2), math.log(2) - math.log(1.0001 - 1 / 3)]
    assert_close(step.terms["robust"], torch.tensor(expected, dtype=torch.float64))


def test_nothing_is_detached(pixels_are_logits):
    """The gradient is that of finite differences of the whole loss, in the confidence and in both sides of the KL."""
    student, batch = pixels_are_logits([[1.0, 0.2, -0.3]], [[0.1, 0.4, -0.2]], [0])
    method = MART(3, eps=0.1)
    method.loss(student, batch).total.backward()
    step = 1e-6
    for k in range(3):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                student.shift[k] += sign * step
                values.append(method.loss(student, batch).total.item())
                student.shift[k] -= sign * step
        assert_close(student.shift.grad[k].item(), (values[0] - values[1]) / (2 * step), rtol=1e-6, atol=1e-8)


def test_a_confident_adversarial_image_costs_a_finite_loss(pixels_are_logits):
    """All probability on the rival: - ln(1.0001 - 1) = ln 10^4."""
    student, batch = pixels_are_logits([[0.0, 0.0]], [[-100.0, 100.0]], [0])
    step = MART(2, eps=0.1, beta=0).loss(student, batch)
    assert_close(step.total.item(), 200 + math.log(1e4), rtol=1e-9, atol=0)
