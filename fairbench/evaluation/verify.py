"""Rebuild a run's outcome table from its stored adversarial examples, without running an attack.

Every hash, radius and pixel is checked, every example is predicted again, in the blocks and under the rules of the
evaluation, so that the same machine gives the same floats. Shape key: b samples of a block, C H W image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fairbench.attacks import parse_attacks
from fairbench.data.dataset import Dataset, to_unit
from fairbench.errors import BadInput
from fairbench.evaluation.blocks import Block, Work, check_pixels, cut
from fairbench.evaluation.cascade import cumulative_rows
from fairbench.evaluation.examples import ExampleReader
from fairbench.evaluation.judging import check_logits, distance, judge, radius_limit
from fairbench.evaluation.networks import exact_arithmetic, frozen, networks
from fairbench.evaluation.recorded import recorded, refuse_other_dataset
from fairbench.evaluation.trust import Trust, preflight
from fairbench.evaluation.units import with_final_verdicts
from fairbench.metrics.disagreement import Difference, differences
from fairbench.metrics.eight_bit import EightBit
from fairbench.outcomes import NATURAL, Outcomes
from fairbench.progress import Progress, Silent
from fairbench.runs import Run
from fairbench.threat import Threat


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        rebuilt: the table that the examples give.
        differences: rows in which the run's table ("before") is another one ("after" is the rebuilt one).
        eight_bit: by attack and part; a cascade's own entry is the sum of its parts.
        threat: the run's norm and radius.
    """

    rebuilt: Outcomes
    differences: tuple[Difference, ...]
    eight_bit: dict[str, EightBit]
    threat: Threat


def verify(
    run: Run,
    model: nn.Module,
    dataset: Dataset,
    *,
    device: torch.device | str = "cpu",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Predict every stored example of `run` again and compare the table that follows with the run's.

    Args:
        run: a run that was read from its folder and kept its examples.
        model: the run's network, normalisation inside; whoever calls proves that it is the run's.
        dataset: the run's samples.
        device: where to work.
        threads: of the CPU; None: the run's.
        progress: what to report to.

    Raises:
        BadInput: no examples, files that were changed, or another data set.
        Refused: "left-ball": an example outside the radius or the pixel range; or another check of `trust`.
    """
    if run.folder is None:
        raise BadInput("this run was never written, so it kept no adversarial examples; evaluate with out= a folder.")
    record, place = run.record, torch.device(device)
    if "random model" in recorded(record, "settings", kind=dict):
        raise BadInput(
            "this run is of a random model, whose verdicts are majorities of draws and do not follow from its examples "
            "alone; run 'fairbench reproduce' instead."
        )
    refuse_other_dataset(dataset, record)
    block_size = recorded(record, "block_size", kind=int)
    blocks = cut(dataset, block_size)
    reader = ExampleReader(run.folder, record, blocks=len(blocks), block_size=block_size)
    attacks = list(recorded(record, "attacks", kind=dict))
    cascades = {unit: _cascade(unit, attacks) for unit in reader.units}
    bar = (progress := progress or Silent()).start("verify", len(dataset))
    tables: list[Outcomes] = []
    counts: dict[str, EightBit] = {}
    model.to(place)
    with frozen(model), exact_arithmetic(threads or recorded(record, "threads", kind=int)):
        network = networks(model, recorded(record, "precision", kind=str), place).judge
        preflight(network, dataset, Trust(recorded(record, "accepted", kind=list)), place)
        rebuild = _Rebuild(network, _threat(record), reader, dataset.shape)
        for block, pixels in zip(blocks, dataset.stream([block.positions for block in blocks]), strict=True):
            x = to_unit(pixels, place)
            check_pixels(x, dataset.name)
            tables.append(rebuild.block(block, x, cascades, counts))
            progress.advance(bar, len(block.index))
    progress.finish(bar)
    everything = Outcomes.concat(tables)
    # As the evaluator left them: one table for each unit, in the order of work.
    by_unit = [Outcomes(everything.of(unit)) for unit in (NATURAL, *reader.units)]
    rebuilt = with_final_verdicts(parse_attacks(attacks), by_unit)
    for unit, attack in cascades.items():
        if attack is not None:
            counts[attack] = counts.get(attack, EightBit()) + counts[unit]
    return Verification(rebuilt, differences(run.outcomes, rebuilt), counts, rebuild.threat)


@dataclass(frozen=True)
class _Rebuild:
    """The rows of one block after another; `network` decides."""

    network: nn.Module
    threat: Threat
    reader: ExampleReader
    shape: tuple[int, int, int]

    def block(
        self, block: Block, x: Tensor, cascades: Mapping[str, str | None], counts: dict[str, EightBit]
    ) -> Outcomes:
        """Return the rows of every unit of one block, and add to `counts`."""
        y, index = torch.from_numpy(block.y).to(x.device), torch.from_numpy(block.index).to(x.device)
        natural = judge(self.network, x, x, y, index, attack=NATURAL, threat=self.threat)
        tables = [natural]
        last: dict[str, Outcomes] = {}
        for unit, cascade in cascades.items():
            place, stored = self.reader.read(unit, block, self.shape)
            craft = partial(_examples, unit, place, stored)
            before = natural if cascade is None else last.get(cascade, natural)
            if cascade is None:
                x_adv = craft(x, y, index)
                rows = judge(self.network, x_adv, x, y, index, attack=unit, threat=self.threat)
            else:
                rows = cumulative_rows(unit, craft, self.network, Work(x, y, index, before), threat=self.threat)
                last[cascade] = rows
            broken = torch.from_numpy(before.robust(before.attacks[0]) & ~rows.robust(unit)).to(x.device)
            x_adv = craft(x, y, index)[broken]
            counts[unit] = counts.get(unit, EightBit()) + self._eight_bit(x_adv, x[broken], y[broken])
            tables.append(rows)
        return Outcomes.concat(tables)

    def _eight_bit(self, x_adv: Tensor, x: Tensor, y: Tensor) -> EightBit:
        if len(x) == 0:
            return EightBit()
        rounded = (x_adv * 255).round() / 255
        with torch.no_grad():
            logits = self.network(rounded)
        check_logits(logits, what="examples rounded to 8 bits")
        still = logits.argmax(1) != y
        inside = distance(rounded, x, self.threat.norm) <= radius_limit(self.threat)
        return EightBit(len(x), int(still.sum()), int(inside.sum()), int((still & inside).sum()))


def _examples(unit: str, place: npt.NDArray[np.int64], stored: Tensor, x: Tensor, y: Tensor, index: Tensor) -> Tensor:
    """Return the images that a unit was judged on: the stored example at each `place`, else the natural image."""
    here = index.cpu().numpy()
    if not np.isin(place, here).all():
        raise BadInput(
            f"the examples of {unit[:60]!r} hold samples that an earlier part had broken already; they are not those "
            "of this model and run."
        )
    x_adv = x.clone()
    x_adv[torch.from_numpy(np.searchsorted(here, place)).to(x.device)] = stored.to(x.device)
    return x_adv


def _cascade(unit: str, attacks: Sequence[str]) -> str | None:
    """Return the cascade that a unit is a part of, None where it is an attack of its own."""
    if unit in attacks:
        return None
    for attack in attacks:
        if unit.startswith(f"{attack}/"):
            return attack
    raise BadInput(f"examples.json names {unit[:60]!r}, but run.json has the attacks {', '.join(attacks)[:200]}.")


def _threat(record: Mapping[str, Any]) -> Threat:
    norm, text = (recorded(record, "threat", key, kind=str) for key in ("norm", "eps_text"))
    threat = Threat.parse(norm, text)
    eps = recorded(record, "threat", "eps", kind=(int, float))
    if eps != threat.eps:
        raise BadInput(f"run.json gives the radius as {text[:40]!r} and as {eps}; restore the file that eval wrote.")
    return threat
