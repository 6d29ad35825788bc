from __future__ import annotations

import torch

from fairbench.attacks.pgd import pgd
from fairbench.attacks.restarts import keep_best
from fairbench.losses import margin


def test_one_restart_is_the_plain_attack(network, images, random):
    x, y = images
    assert torch.equal(
        keep_best(pgd, network, x, y, eps=0.1, random=random, restarts=1), pgd(network, x, y, eps=0.1, random=random)
    )


def test_keeps_a_broken_one_else_the_smallest_margin(network, images, random):
    x, y = images
    # Three runs of one step from different starts, by hand.
    streams = [random, random.fork("restart 1"), random.fork("restart 2")]
    runs = [pgd(network, x, y, eps=0.05, random=stream, steps=1) for stream in streams]
    margins = torch.stack([margin(network(run), y) for run in runs]).detach()
    best = keep_best(pgd, network, x, y, eps=0.05, random=random, restarts=3, steps=1)
    for row in range(7):
        broken = (margins[:, row] < 0).nonzero()[:, 0].tolist()
        chosen = broken[0] if broken else int(margins[:, row].argmin())
        torch.testing.assert_close(best[row], runs[chosen][row], rtol=0, atol=1e-6)
    assert len({int(margins[:, row].argmin()) for row in range(7)}) > 1, "the example must use several restarts"


def test_broken_samples_leave(images, random):
    x, y = images
    seen = []

    def attack(model, x, y, *, eps, random):
        seen.append(random.samples.tolist())
        return x

    class Fixed(torch.nn.Module):
        def forward(self, x):
            # Samples 0, 2 and 5 are right by one logit, all others wrong.
            right = torch.tensor([True, False, True, False, False, True, False])
            logits = torch.zeros(7, 5)
            logits[torch.arange(7), torch.where(right, y, (y + 1) % 5)] = 1
            return logits[: len(x)] if len(x) == 7 else logits[right]

    keep_best(attack, Fixed(), x, y, eps=0.1, random=random, restarts=3)
    assert seen == [random.samples.tolist(), random.samples[[0, 2, 5]].tolist(), random.samples[[0, 2, 5]].tolist()]


def test_per_sample_radius_follows_its_sample(network, images, random):
    x, y = images
    eps = torch.linspace(0, 0.12, 7)
    x_adv = keep_best(pgd, network, x, y, eps=eps, random=random, restarts=4, steps=1)
    assert ((x_adv - x).flatten(1).abs().amax(1) <= eps + 1e-6).all()


def test_the_judge_decides(network, images, random):
    """Where the judge calls everything broken after one run, no second one is made."""
    x, y = images
    calls = []

    def attack(*args, **options):
        calls.append(1)
        return pgd(*args, **options)

    class Wrong(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.one_hot((y + 1) % 5, 5).float()

    keep_best(attack, network, x, y, eps=0.01, random=random, restarts=5, judge=Wrong())
    assert len(calls) == 1
