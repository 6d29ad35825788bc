from __future__ import annotations

import torch

from fairbench.attacks.early_stop import stopping
from fairbench.attacks.linf import normal_start, project
from fairbench.attacks.pgd import pgd


def test_each_sample_ends_at_its_first_wrong_iterate(network, images, random):
    x, y = images
    stop = stopping(pgd, project)
    x_adv = stop(network, x, y, eps=0.15, random=random, steps=12)
    iterates = [pgd(network, x, y, eps=0.15, random=random, steps=n) for n in range(13)]
    wrong = torch.stack([network(step).argmax(1) != y for step in iterates])
    stopped = set()
    for row in range(7):
        first = wrong[:12, row].nonzero()[:, 0].tolist()
        n = first[0] if first else 12
        stopped.add(n)
        assert torch.equal(x_adv[row], iterates[n][row])
    assert len(stopped) > 1, "the example must stop at different iterates"


def test_a_start_outside_the_ball_is_projected(network, images, random):
    x, y = images
    stop = stopping(pgd, project)
    x_adv = stop(network, x, y, eps=1e-5, random=random, steps=3, start=normal_start)
    assert (x_adv - x).abs().max() <= 1e-5 + 1e-7
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


def test_an_iterate_that_the_judge_classifies_right_is_replaced_by_the_last(network, images, random):
    x, y = images

    class Right(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot(y, 5).float()

    stop = stopping(pgd, project, Right())
    assert torch.equal(
        stop(network, x, y, eps=0.15, random=random, steps=12), pgd(network, x, y, eps=0.15, random=random, steps=12)
    )
