"""The learning rate of each epoch."""

from __future__ import annotations

import pytest

from fairbench.training.schedule import eps_factor, lr_factor, unreached

PUBLISHED = ((215 / 300, 0.1), (260 / 300, 0.01), (285 / 300, 0.001))


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(0, 1), (214, 1), (215, 0.1), (259, 0.1), (260, 0.01), (284, 0.01), (285, 0.001), (299, 0.001)],
)
def test_milestones_of_the_published_schedule(epoch, factor):
    """The published code decays after epoch 215 counted from 1: epoch 215 counted from 0 is the first slow one."""
    assert lr_factor(PUBLISHED, epoch, 300) == factor


def test_milestones_scale_with_the_epochs():
    factors = [lr_factor(((0.6, 0.1), (0.85, 0.01)), epoch, 20) for epoch in range(20)]
    assert factors == [1.0] * 12 + [0.1] * 5 + [0.01] * 3


def test_no_schedule_is_constant():
    assert lr_factor((), 7, 10) == 1.0


def test_runs_too_short_for_a_milestone():
    """In two epochs .6 and .85 fall on epochs 1 and 2: the second is never reached. In one, both lie beyond the end."""
    assert unreached(((0.6, 0.1), (0.85, 0.01)), 2) == [0.85]
    assert unreached(((0.6, 0.1), (0.85, 0.01)), 1) == [0.6, 0.85]
    assert unreached(((0.6, 0.1), (0.85, 0.01)), 30) == []


def test_the_radius_grows_to_eps():
    """A warm-up of .4 of 10 epochs, 4 epochs: a fifth more each, and the full radius from the fifth on."""
    assert [eps_factor(0.4, epoch, 10) for epoch in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert [eps_factor(0.0, epoch, 10) for epoch in range(3)] == [1, 1, 1]


def test_no_schedule_reaches_everything():
    assert unreached((), 10) == []
