"""ARD: its loss by hand, its start, and what alpha 1 costs."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.errors import BadInput
from fairbench.methods.ard import ARD, unclamped_start
from fairbench.sample_random import SampleRandom

LN3 = math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def ard(**hyper):
    return ARD(2, eps=0.1, teachers={"robust": torch.nn.Flatten()}, **hyper)


@pytest.mark.parametrize(("alpha", "temperature"), [(1.0, 2.0), (0.6, 2.0), (0.6, 1.0)])
def test_loss_by_hand(pixels_are_logits, alpha, temperature):
    """The teacher says T (ln 3, 0), softened (3/4, 1/4); the student says (0, 0) of x_adv and (ln 3, 0) of x; y = 0.

    alpha T^2 * 0.130812 / 2 + (1 - alpha) ln(4/3).
    """
    student, batch = pixels_are_logits([[LN3, 0.0]], [[0.0, 0.0]], [0], robust_x=[[temperature * LN3, 0.0]])
    step = ard(alpha=alpha, temperature=temperature).loss(student, batch)
    assert_close(step.total.item(), alpha * temperature**2 * KL / 2 + (1 - alpha) * math.log(4 / 3))
    assert_close(step.terms["natural"].item(), math.log(4 / 3))


def test_the_student_is_softened_too(pixels_are_logits):
    """At T = 2 the student's (2 ln 3, 0) equals the teacher's."""
    student, batch = pixels_are_logits([[0.0, 0.0]], [[2 * LN3, 0.0]], [0], robust_x=[[2 * LN3, 0.0]])
    assert abs(ard(temperature=2).loss(student, batch).total.item()) < 1e-12


def test_at_alpha_one_natural_images_move_batch_norm_but_not_the_gradient(tiny):
    method = ARD(4, eps=0.1, teachers={"robust": tiny.network(7)})
    network, batch = tiny.network(), tiny.batch()
    batch = method.attack(network.eval(), batch, tiny.random(batch))
    network.train()
    passes = []
    handle = network.register_forward_hook(lambda _, inputs, output: passes.append(output.requires_grad))
    method.loss(network, batch)
    handle.remove()
    assert sorted(passes) == [False, True]
    assert network[1].num_batches_tracked == 2


def test_start_is_clamped_unless_as_released(tiny):
    """At black pixels, half of the released starts lie below 0; the first step's projection brings them back."""
    x, random = torch.zeros(1, 1, 4, 4), SampleRandom(0, "t", torch.arange(1))
    assert unclamped_start(x, 0.1, random).min() < 0
    assert unclamped_start(x, torch.tensor([0.1]), random).abs().max() <= 0.1
    assert ard(clamp_start=False).start is unclamped_start
    assert ard().start(x, 0.1, random).min() == 0


@pytest.mark.parametrize("hyper", [{"alpha": 1.1}, {"temperature": 0}])
def test_senseless_values_are_refused(hyper):
    with pytest.raises(BadInput, match="alpha must lie in"):
        ard(**hyper)
