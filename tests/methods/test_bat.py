"""BAT: which iterates it takes, and its loss by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from fairbench.methods.bat import BAT, divergence_to_uniform
from fairbench.sample_random import SampleRandom

LN2, LN3 = math.log(2), math.log(3)
KL = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)


def test_divergence_to_uniform_by_hand():
    """(3/4, 1/4): 3/4 ln(3/2) + 1/4 ln(1/2); uniform: 0; one class certain: ln K."""
    logits = torch.tensor([[LN3, 0.0], [1.0, 1.0], [100.0, -100.0]], dtype=torch.float64)
    assert_close(divergence_to_uniform(logits).tolist(), [KL, 0.0, LN2])


def test_loss_by_hand(pixels_are_logits):
    """f(x) = (3/4, 1/4), f(x_last) = (3/4, 1/4), f(x_first) = (1/2, 1/2), y = 0: ln(4/3) + 6 KL + KL + 0."""
    student, batch = pixels_are_logits([[LN3, 0.0]], [[0.0, 0.0]], [0])
    batch = batch.plus(x_last=batch.x)
    step = BAT(2, eps=0.1).loss(student, batch)
    assert_close(step.total.item(), math.log(4 / 3) + 7 * KL)
    assert_close(step.terms["uniform"].item(), KL)


@pytest.fixture
def downhill(monkeypatch):
    """Start each trajectory .001 below the label's pixel (the first), so that the divergence grows downhill."""

    def start(x, eps, random):
        shift = torch.zeros_like(x)
        shift[:, 0] = -0.001
        return x + shift

    monkeypatch.setattr("fairbench.methods.bat.normal_start", start)


def follow(pixels_are_logits, x, y, **hyper):
    student, batch = pixels_are_logits(x, x, y)
    method = BAT(2, eps=0.2, step_share=0.25, **hyper)
    with torch.no_grad():
        crafted = method.attack(student, batch, SampleRandom(0, "t", batch.index))
    return crafted.extra["x_last"].flatten(1), crafted.adversarial.flatten(1)


def test_trajectories_by_hand(pixels_are_logits, downhill):
    """Margin .25, start .249; each step of .05 on both pixels takes .1: .249, .149, .049, -.051, -.151.

    x_last is the iterate after two steps, the last one that is classified rightly; x_first, with patience 1, the second
    wrong one, after four steps, where the ball of .2 ends.
    """
    last, first = follow(pixels_are_logits, [[0.6, 0.35]], [0])
    assert_close(last[0].tolist(), [0.6 - 0.001 - 0.1, 0.45])
    assert_close(first[0].tolist(), [0.4, 0.55])


def test_patience_zero_takes_the_first_wrong_iterate(pixels_are_logits, downhill):
    _, first = follow(pixels_are_logits, [[0.6, 0.35]], [0], patience=0)
    assert_close(first[0].tolist(), [0.6 - 0.001 - 0.15, 0.5])


def test_never_fooled_gives_the_last_iterate_and_wrong_from_the_start_the_start(pixels_are_logits, downhill):
    """Margin .6 ends at the ball's rim, .6 - .4. Margin -.1: x_last is the start, x_first the second wrong iterate."""
    last, first = follow(pixels_are_logits, [[0.8, 0.2], [0.4, 0.5]], [0, 0])
    assert_close(last[0].tolist(), [0.6, 0.4])
    assert_close(first[0].tolist(), [0.6, 0.4])
    assert_close(last[1].tolist(), [0.399, 0.5])
    assert_close(first[1].tolist(), [0.349, 0.55])


def test_samples_that_are_done_leave_the_attack(tiny, downhill):
    """All labels wrong: one iterate decides x_last, two decide x_first, whatever the number of steps."""
    network, batch, rows = tiny.network().eval(), tiny.batch(), []
    wrong = (network(batch.x).argmax(1) + 1) % 4
    batch = type(batch)(batch.x, wrong, batch.index)
    network.register_forward_hook(lambda _, inputs, output: rows.append(len(inputs[0])))
    with torch.no_grad():
        BAT(4, eps=1e-4).attack(network, batch, tiny.random(batch))
    assert rows == [8, 8, 8, 8]


def test_the_two_trajectories_start_apart_and_do_not_depend_on_the_batch(tiny):
    method, network, batch = BAT(4, eps=0.1), tiny.network().eval(), tiny.batch()
    with torch.no_grad():
        whole = method.attack(network, batch, tiny.random(batch))
        rows = torch.tensor([6, 1])
        part = method.attack(network, batch.at(rows), tiny.random(batch.at(rows)))
    assert_close(part.adversarial, whole.adversarial[rows])
    assert_close(part.extra["x_last"], whole.extra["x_last"][rows])
    assert not torch.equal(whole.adversarial, whole.extra["x_last"])
    for image in (whole.adversarial, whole.extra["x_last"]):
        assert (image - batch.x).abs().max() <= 0.1 + 1e-6
        assert image.min() >= 0
        assert image.max() <= 1


def test_the_starts_are_apart_and_within_the_pixel_range(tiny):
    """With every label wrong x_last is its start, and x_first, with patience 0, is its own: black pixels stay >= 0."""
    network, batch = tiny.network().eval(), tiny.batch()
    x = torch.zeros_like(batch.x)
    batch = type(batch)(x, (network(x).argmax(1) + 1) % 4, batch.index)
    with torch.no_grad():
        crafted = BAT(4, eps=1e-6, patience=0).attack(network, batch, tiny.random(batch))
    for start in (crafted.adversarial, crafted.extra["x_last"]):
        assert start.min() == 0
        assert 1e-4 < start.max() < 0.01
    assert not torch.equal(crafted.adversarial, crafted.extra["x_last"])
