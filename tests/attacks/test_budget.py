"""The published budget, by hand and counted in the package itself."""

from __future__ import annotations

import pytest
import torch
from pyautoattack import AutoAttack
from torch import nn

from fairbench.attacks import parse_attack
from fairbench.attacks.autoattack import VERSIONS
from fairbench.attacks.budget import Budget, part_budget
from fairbench.evaluation.networks import Networks
from fairbench.evaluation.reference import reference_parts
from fairbench.threat import Threat

LINF = Threat.parse("Linf", "0.001")


def budgets(attack: str, num_classes: int, threat: Threat = LINF) -> list[Budget]:
    parts = parse_attack(attack).resolved(threat, num_classes)["parts"]
    return [part_budget(*part, num_classes) for part in parts.items()]


def test_the_standard_version() -> None:
    assert [budget.forwards for budget in budgets("aa", 10)] == [102, 919, 1828, 5003]
    assert [budget.backwards for budget in budgets("aa", 10)] == [101, 909, 900, 0]


class Counting(nn.Module):
    """A linear network of 4 classes that is sure of its answer, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
        self.forwards = self.backwards = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forwards += 1
        logits = x.flatten(1)[:, :2] @ self.weight.T
        if logits.requires_grad:
            logits.register_hook(self._back)
        return logits

    def _back(self, gradient: torch.Tensor) -> None:
        self.backwards += 1


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_the_package_spends_it_on_a_sample_that_survives(norm: str) -> None:
    """One image, three targets. Square asks once more for the natural image and once more at its start and its end."""
    network, threat = Counting().eval(), Threat.parse(norm, "0.001")
    nets = Networks(network, network, network)
    expected = budgets("aa", 4, threat)
    for part, budget in zip(reference_parts(nets, threat, num_classes=4, seed=0), expected, strict=True):
        network.forwards = network.backwards = 0
        x, y = certain()
        part.run(x, y, index=torch.arange(1), success=lambda x_adv, rows: rows < 0, memory=None)
        assert Budget(network.forwards, network.backwards) == budget, part.name


@pytest.mark.parametrize(("version", "parts"), [("plus", ("apgd-ce", "apgd-dlr", "fab")), ("rand", ("apgd-ce",))])
def test_the_package_spends_it_with_restarts_draws_and_without_targets(version: str, parts: tuple[str, ...]) -> None:
    """plus has five restarts, and FAB differentiates every logit in each step; rand has 20 draws of each gradient."""
    network = Counting().eval()
    expected = dict(zip(VERSIONS[version], budgets(f"aa(version={version})", 4), strict=True))
    package = AutoAttack(network, norm="Linf", eps=LINF.eps, seed=0, version=version, device="cpu")
    x, y = certain()
    for part in parts:
        attack = package.fab if part == "fab" else package.apgd
        attack.loss = part.removeprefix("apgd-")
        network.forwards = network.backwards = 0
        with torch.no_grad():
            attack.perturb(x, y)
        assert Budget(network.forwards, network.backwards) == expected[part], part


def certain() -> tuple[torch.Tensor, torch.Tensor]:
    """An image that stays what it is, and its label."""
    x = torch.full((1, 1, 8, 8), 0.5)
    x[0, 0, 0, 0] = 0.9
    return x, torch.tensor([0])
