"""Per-class validation of the weights in training: outcomes, and the columns that a method asks for.

Shape key: N validation samples, B block, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fairbench import distributed
from fairbench.attacks import attack_function, parse_attack
from fairbench.data import Dataset, to_unit
from fairbench.evaluation.table import attack_table
from fairbench.methods.base import Method
from fairbench.methods.crafting import crafting
from fairbench.outcomes import Outcomes
from fairbench.sample_random import SampleRandom
from fairbench.threat import Threat

Column = npt.NDArray[np.float64]


class Validation:
    """Validation images, and the attacks that selection and the method need; the same random starts every epoch."""

    def __init__(
        self,
        dataset: Dataset,
        attacks: Sequence[str],
        *,
        threat: Threat,
        seed: int,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.dataset, self.attacks = dataset, list(dict.fromkeys(attacks))
        self.threat, self.seed, self.batch_size, self.device = threat, seed, batch_size, device

    def outcomes(self, network: nn.Module) -> Outcomes:
        """Return the whole table, on every process."""
        return attack_table(
            network, self.dataset, self.attacks, threat=self.threat, seed=self.seed, batch_size=self.batch_size,
            device=self.device,
        )  # fmt: skip

    def terms(self, network: nn.Module, method: Method) -> dict[str, Column]:
        """Return the method's `validation_terms`, (N,) each in order of index; empty where it has none.

        Each rule's are computed from the logits under that rule's own validation attack.
        """
        columns: dict[str, Column] = {}
        for name in sorted(method.term_attacks()):
            columns |= self._terms_under(name, network, method)
        return columns

    def _terms_under(self, name: str, network: nn.Module, method: Method) -> dict[str, Column]:
        config = parse_attack(name)
        attack = attack_function(config, self.threat)
        order = np.argsort(self.dataset.index, kind="stable")
        blocks = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        mine = blocks[distributed.rank() :: distributed.world_size()]
        found: list[tuple[npt.NDArray[np.int64], dict[str, Column]]] = []
        with crafting(network):
            for positions, pixels in zip(mine, self.dataset.stream(mine), strict=True):
                x = to_unit(pixels, self.device)
                y = torch.from_numpy(self.dataset.y[positions]).to(self.device)
                index = torch.from_numpy(self.dataset.index[positions]).to(self.device)
                random = SampleRandom(self.seed, "attack", index)  # the stream of the outcome table
                x_adv = attack(network, x, y, eps=self.threat.eps, random=random)
                columns = method.validation_terms(name, y, network(x), network(x_adv))
                found.append((self.dataset.index[positions], {k: v.double().cpu().numpy() for k, v in columns.items()}))
        everyone = [block for blocks in distributed.gather_objects(found) for block in blocks]
        rank = np.argsort(np.concatenate([index for index, _ in everyone]), kind="stable")
        return {name: np.concatenate([columns[name] for _, columns in everyone])[rank] for name in everyone[0][1]}
