"""Which epoch's weights become the checkpoint, decided on validation images only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from fairbench.outcomes import NATURAL, Outcomes
from fairbench.training.recipe import Select


def class_summary(outcomes: Outcomes, num_classes: int) -> dict[str, dict[str, Any]]:
    """Return {attack: {"average", "worst_class", "class_accuracy": [K]}}; a class without samples is NaN."""
    summary = {}
    for attack in outcomes.attacks:
        labels, robust = outcomes.labels(attack), outcomes.robust(attack)
        count = np.bincount(labels, minlength=num_classes)
        right = np.bincount(labels, robust, minlength=num_classes)
        accuracy = np.divide(right, count, out=np.full(num_classes, np.nan), where=count > 0)
        summary[attack] = {
            "average": float(robust.mean()),
            "worst_class": float(np.nanmin(accuracy)),
            "class_accuracy": accuracy.tolist(),
        }
    return summary


def score(rule: Select, metrics: Mapping[str, Any]) -> tuple[float, ...]:
    """Return what is maximised; where the worst class ties, the average decides."""
    average, worst = float(metrics["average"]), float(metrics["worst_class"])
    return {"best-average": (average,), "best-worst-class": (worst, average), "best-sum": (average + worst,)}[rule]


class Selection:
    """Keeps the best weights so far; of equal ones the earlier, and the last under the rule "last".

    Args:
        rule: what is maximised.
        attack: the validation attack under which; "natural" for a method that makes no adversarial examples.
    """

    def __init__(self, rule: Select, attack: str) -> None:
        self.rule, self.attack = rule, attack
        self.epoch = 0
        self.deployed = ""
        self.metrics: dict[str, Any] = {}
        self.weights: dict[str, Tensor] = {}

    def offer(self, epoch: int, network: nn.Module, summary: Mapping[str, Mapping[str, Any]], deployed: str) -> bool:
        """Take the network's weights if they are better; return whether they were."""
        attack = self.attack if self.attack in summary else NATURAL
        if self.rule != "last" and self.weights and not self._better(summary[attack]):
            return False
        self.epoch, self.deployed = epoch, deployed
        self.metrics = {name: dict(metrics) for name, metrics in summary.items()}
        self.weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return True

    def _better(self, metrics: Mapping[str, Any]) -> bool:
        attack = self.attack if self.attack in self.metrics else NATURAL
        return score(self.rule, metrics) > score(self.rule, self.metrics[attack])

    def record(self) -> dict[str, Any]:
        """Return the sidecar's entry; `epoch` counts the epochs trained."""
        return {
            "rule": self.rule,
            "attack": self.attack,
            "epoch": self.epoch,
            "deployed": self.deployed,
            "metrics": self.metrics,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes."""
        return {"epoch": self.epoch, "deployed": self.deployed, "metrics": self.metrics, "weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state."""
        self.epoch, self.deployed = state["epoch"], state["deployed"]
        self.metrics, self.weights = dict(state["metrics"]), dict(state["weights"])
