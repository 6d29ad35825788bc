"""The work of a race: a cascade's first part on every sample, the rest on those that the race asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairbench.attacks.budget import part_budget
from fairbench.evaluation.blocks import Unit, Work, run_units
from fairbench.evaluation.networks import Networks
from fairbench.evaluation.plan import Plan
from fairbench.evaluation.store import FolderStore, MemoryStore
from fairbench.evaluation.trust import first_images
from fairbench.evaluation.units import attack_units, natural_unit
from fairbench.metrics.race import Race
from fairbench.metrics.race_draws import ROUND, draw_order
from fairbench.metrics.race_threshold import Threshold
from fairbench.outcomes import Outcomes
from fairbench.progress import Progress, Silent


class Rounds:
    """The race's work: the first part on all samples, then round after round the rest of the cascade on a few."""

    def __init__(
        self,
        nets: Networks,
        plan: Plan,
        store: FolderStore | MemoryStore,
        folder: Path | None,
        asked: Mapping[str, Any],
        progress: Progress,
        threads: int,
    ) -> None:
        self.plan, self.store, self.folder, self.asked = plan, store, folder, asked
        self.progress, self.threads = progress, threads
        units = attack_units(
            plan.configs, nets, plan.threat, num_classes=plan.dataset.num_classes, seed=plan.seed, engine=plan.engine,
            example=first_images(plan.dataset, 2, plan.device)[0],
        )  # fmt: skip
        self.natural, self.cheap, self.rest = natural_unit(nets, plan.threat), units[0], units[1:]
        self.by_class = np.zeros((plan.dataset.num_classes, len(self.rest)), dtype=np.int64)

    def cheap_tier(self, *, confidence: float, below: float | None) -> Race | Threshold:
        """Run the first part on all samples; return the race that begins with its survivors."""
        dataset = self.plan.dataset
        tables = run_units(
            [self.natural, self.cheap], dataset=dataset, store=self.store, device=self.plan.device,
            progress=self.progress,
        )  # fmt: skip
        self.first = tables[1].frame.set_index("index")
        labels = self.first["label"].to_numpy()
        survives = self.first["prediction"].to_numpy() == labels
        place = {int(index): position for position, index in enumerate(dataset.index)}
        self.entered_first = int((tables[0].frame["prediction"] == tables[0].frame["label"]).sum())
        # Each class in an order of its own, a function of the seed.
        self.order: list[npt.NDArray[np.int64]] = []
        for label in range(dataset.num_classes):
            mine = np.sort(self.first.index.to_numpy()[survives & (labels == label)])
            shuffled = draw_order(self.plan.seed, label, mine)
            self.order.append(np.array([place[int(index)] for index in shuffled], dtype=np.int64))
        survivors = [len(order) for order in self.order]
        count = np.bincount(dataset.y, minlength=dataset.num_classes)
        if below is None:
            return Race(survivors, count, confidence=confidence)
        return Threshold(survivors, count, below=below, confidence=confidence)

    def run(self, race: Race | Threshold) -> None:
        """Give the race the verdicts it asks for until its answer stands."""
        total = int(race.draws.survivors.sum())
        bar, number = self.progress.start("race (at most)", total), 0
        while wanted := race.next_draws(min(self.store.block_size, ROUND)):
            drawn = race.draws.drawn
            positions = np.concatenate(
                [self.order[label][drawn[label] : drawn[label] + size] for label, size in wanted.items()]
            )
            broken = self._verdicts(np.sort(positions), number)
            for label, size in wanted.items():
                mine = self.plan.dataset.index[self.order[label][drawn[label] : drawn[label] + size]]
                race.observe(label, [broken[int(index)] for index in mine])
            self.progress.advance(bar, len(positions))
            number += 1
        self.progress.finish(bar)

    def _verdicts(self, positions: npt.NDArray[np.int64], number: int) -> dict[int, bool]:
        """Run the rest of the cascade on the samples at `positions`; return whether each was broken, by identity."""
        few = self.plan.dataset.take(positions, selection=f"round {number}")
        size = self.store.block_size
        store: FolderStore | MemoryStore = MemoryStore(size)
        if self.folder is not None:
            settings = {**self.asked, "round": f"{number}: {few.index.tolist()}"}
            store = FolderStore(self.folder / "race" / f"{number:05d}", settings, block_size=size, threads=self.threads)
        units = [Unit(self.cheap.name, self._known), *self.rest]
        tables = run_units(units, dataset=few, store=store, device=self.plan.device, progress=Silent())
        for part, table in enumerate(tables[:-1]):
            labels = table.frame["label"].to_numpy()
            alive = labels[table.frame["prediction"].to_numpy() == labels]
            self.by_class[:, part] += np.bincount(alive, minlength=len(self.by_class))
        last = tables[-1].frame
        broken = (last["prediction"] != last["label"]).tolist()
        return dict(zip(last["index"].tolist(), broken, strict=True))

    def _known(self, work: Work) -> Outcomes:
        """The first part's rows, computed before."""
        return Outcomes(self.first.loc[work.index.cpu().numpy()].reset_index())

    def spent(self, race: Race | Threshold) -> dict[str, Any]:
        """Return what was spent, in forwards of AutoAttack's published budget, beside an estimate of the full run."""
        parts = cascade_parts(self.plan)
        cheap, *rest = [part_budget(*part, len(self.by_class)).forwards for part in parts.items()]
        draws = race.draws
        first = cheap * self.entered_first
        per_class = self.by_class @ np.array(rest, dtype=np.int64)
        # The full run goes on with every survivor; each class's drawn samples say what one costs.
        drawn = np.maximum(draws.drawn, 1)
        overall = per_class.sum() / max(int(draws.drawn.sum()), 1) if draws.drawn.any() else float(sum(rest))
        each = np.where(draws.drawn > 0, per_class / drawn, overall)
        full = first + float((each * draws.survivors).sum())
        mine = first + int(per_class.sum())
        return {
            "drawn": int(draws.drawn.sum()),
            "survivors": int(draws.survivors.sum()),
            "samples": len(self.plan.dataset),
            "forwards": mine,
            "full_forwards": round(full),
            "share": mine / full if full else 1.0,
        }


def cascade_parts(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the keywords of each part of the plan's one cascade, in their order."""
    parts: dict[str, dict[str, Any]] = plan.attacks()[plan.configs[0].name]["parts"]
    return parts
