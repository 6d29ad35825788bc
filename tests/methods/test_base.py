"""What the base class gives every method: teachers, radius, crafting."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from fairbench.attacks.linf import no_start
from fairbench.errors import BadInput
from fairbench.losses import cross_entropy
from fairbench.methods import METHODS, find_class_rule, find_method
from fairbench.methods.teacher import Teacher
from fairbench.sample_random import SampleRandom


@pytest.mark.parametrize("name", ["rslad", "absld"])
def test_missing_teacher_is_one_sentence(name):
    with pytest.raises(
        BadInput,
        match=rf"method '{name}' takes one teacher, but was given none; give --teacher CHECKPOINT",
    ):
        METHODS[name](4, eps=0.1)


def test_superfluous_teacher_is_refused(tiny):
    with pytest.raises(BadInput, match="takes no teacher, but was given one as robust; leave --teacher out"):
        METHODS["sat"](4, eps=0.1, teachers={"robust": tiny.network()})


@pytest.mark.parametrize("name", ["trade", "ABSLD", ""])
def test_unknown_names_are_bad_input(name):
    with pytest.raises(BadInput, match="unknown method"):
        find_method(name)
    with pytest.raises(BadInput, match="unknown class rule"):
        find_class_rule(name)


@pytest.mark.parametrize("option", [{"steps": 0}, {"step_share": 0}, {"attack_mode": "test"}])
def test_senseless_attacks_are_refused(tiny, option):
    with pytest.raises(BadInput):
        tiny.method("sat", **option)


def test_teacher_is_frozen_not_stored_and_differentiable_in_its_input(tiny):
    network = tiny.network().train()
    teacher = Teacher(network)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    method = METHODS["rslad"](4, eps=0.1, teachers={"robust": teacher})
    assert list(method.state_dict()) == []
    assert list(method.modules()) == [method, method.rules]
    x = tiny.batch().x.requires_grad_()
    (gradient,) = torch.autograd.grad(teacher(x).sum(), x)
    assert gradient.abs().sum() > 0


def test_ask_adds_detached_teacher_logits_by_role_and_image(tiny):
    method, batch = tiny.method("rslad"), tiny.batch()
    batch = method.ask(batch, "robust")
    batch = method.ask(batch.plus(x_adv=batch.x * 0.5), "robust", "x_adv")
    assert_close(batch.extra["robust_x"], method.teachers["robust"](batch.x))
    assert_close(batch.extra["robust_x_adv"], method.teachers["robust"](batch.x * 0.5))
    assert method.ask(batch.plus(x_last=batch.x), "robust", "x_last").extra["robust_x_last"].shape == (8, 4)


def test_craft_stays_in_the_ball_and_raises_the_loss(tiny):
    method, batch, network = tiny.method("sat"), tiny.batch(), tiny.network().eval()
    crafted = method.craft(network, batch, tiny.random(batch))
    assert (crafted.adversarial - batch.x).abs().max() <= 0.1 + 1e-6
    assert crafted.adversarial.min() >= 0
    assert crafted.adversarial.max() <= 1
    before, after = cross_entropy(network(batch.x), batch.y), cross_entropy(network(crafted.adversarial), batch.y)
    assert (after > before).all()


def test_survived_counts_correct_iterates_before_each_step(pixels_are_logits):
    """Margin .25, eps .2, step .05, no way to push beyond the ball.

    The start is x (no random part), each step lowers the label's logit and raises the other by .05: margins before the
    steps are .25, .15, .05, -.05: three of four iterates are correct.
    """
    student, batch = pixels_are_logits([[0.6, 0.35]], [[0.6, 0.35]], [0])
    method = METHODS["sat"](2, eps=0.2, steps=4, step_share=0.25)
    crafted = method.craft(student, batch, SampleRandom(0, "t", batch.index), start=no_start)
    assert crafted.extra["survived"].tolist() == [3]
    assert_close(crafted.adversarial.flatten(), torch.tensor([0.4, 0.55], dtype=torch.float64))


def test_noise_belongs_to_the_sample_and_the_epoch(tiny):
    method, batch, network = tiny.method("sat", steps=1), tiny.batch(), tiny.network().eval()
    whole = method.attack(network, batch, tiny.random(batch)).adversarial
    rows = torch.tensor([5, 2])
    part = method.attack(network, batch.at(rows), tiny.random(batch.at(rows))).adversarial
    assert_close(part, whole[rows])
    assert not torch.equal(method.attack(network, batch, tiny.random(batch, epoch=1)).adversarial, whole)
