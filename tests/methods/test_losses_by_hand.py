"""The loss of every method worked by hand on two classes, where the pixels are the logits.

softmax(ln 3, 0) = (3/4, 1/4) and softmax(0, 0) = (1/2, 1/2), so with y = 0
    CE(ln 3, 0) = ln(4/3),  CE(0, 0) = ln 2,
    KL((3/4, 1/4) || (1/2, 1/2)) = 3/4 ln(3/2) + 1/4 ln(1/2) = 0.1308120.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.methods import METHODS

LN3 = math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def total_of(name, pixels_are_logits, *, teacher=None, natural=(LN3, 0.0), adversarial=(0.0, 0.0), **hyper):
    extra = {} if teacher is None else {"robust_x": [list(teacher)] * 2}
    student, batch = pixels_are_logits([list(natural)] * 2, [list(adversarial)] * 2, [0, 0], **extra)
    teachers = {role: torch.nn.Flatten() for role in METHODS[name].roles}
    step = METHODS[name](2, eps=0.1, teachers=teachers, **hyper).loss(student, batch)
    return step


def test_natural(pixels_are_logits):
    assert_close(total_of("natural", pixels_are_logits).total.item(), math.log(4 / 3))


def test_sat(pixels_are_logits):
    assert_close(total_of("sat", pixels_are_logits).total.item(), math.log(2))


@pytest.mark.parametrize("beta", [6.0, 1.0])
def test_trades(pixels_are_logits, beta):
    """CE(f(x), 0) + beta KL(f(x) || f(x_adv)) = ln(4/3) + beta * 0.130812."""
    step = total_of("trades", pixels_are_logits, beta=beta)
    assert_close(step.total.item(), math.log(4 / 3) + beta * KL)
    assert_close(step.terms["robust"], torch.full((2,), KL, dtype=torch.float64))
    assert_close(step.terms["natural"], torch.full((2,), math.log(4 / 3), dtype=torch.float64))


def test_trades_does_not_detach_the_natural_prediction(pixels_are_logits):
    """d/dshift of ln(4/3) + 6 KL; shift moves both logit rows.

    p = (3/4, 1/4), q = (1/2, 1/2). dKL/dz (through p) = p (log p/q - KL), dKL/dw (through q) = q - p. For class 0:
    3/4 (ln 1.5 - 0.130812) = 0.205989; q - p = -1/4; dCE = p - 1 = -1/4.
    """
    student, batch = pixels_are_logits([[LN3, 0.0]], [[0.0, 0.0]], [0])
    METHODS["trades"](2, eps=0.1).loss(student, batch).total.backward()
    assert_close(student.shift.grad[0].item(), -0.25 + 6 * (0.75 * (math.log(1.5) - KL) - 0.25))


@pytest.mark.parametrize("name", ["rslad", "absld"])
def test_rslad(pixels_are_logits, name):
    """The teacher says (ln 3, 0): 5/6 KL / 2 on x_adv, and 1/6 of 0 on x, where the student agrees. K = 2."""
    step = total_of(name, pixels_are_logits, teacher=(LN3, 0.0))
    assert_close(step.total.item(), 5 / 6 * KL / 2)
    assert step.terms["natural"].abs().max() < 1e-12


def test_rslad_scale_multiplies_the_loss(pixels_are_logits):
    assert_close(total_of("rslad", pixels_are_logits, teacher=(LN3, 0.0), scale=10).total.item(), 50 / 6 * KL / 2)


def test_rslad_shares(pixels_are_logits):
    """Student natural (0, 0), adversarial (ln 3, 0) = the teacher: only the natural sixth is left."""
    step = total_of("rslad", pixels_are_logits, teacher=(LN3, 0.0), natural=(0.0, 0.0), adversarial=(LN3, 0.0))
    assert_close(step.total.item(), 1 / 6 * KL / 2)
