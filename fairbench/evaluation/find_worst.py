"""The worst class of the full AutoAttack run, without attacking every sample in full.

The cascade's first part runs on every sample. Its survivors are then drawn class by class, in an order that the seed
fixes, as `fairbench.metrics.race` asks for them, and go through the rest of the cascade; their verdicts are those that
the full run would give, up to how floats round in a block of other samples. The engine must be native: in pyautoattack
a sample's verdict depends on which samples share its batch.

In the run folder: `race.json`, the answer; `blocks/`, with which a full `eval --attacks aa` into the same folder goes
on; and while it is under way `race/`, one folder per round.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fairbench import distributed, provenance
from fairbench.data.dataset import Dataset
from fairbench.data.registry import Normalization
from fairbench.errors import BadInput
from fairbench.evaluation.evaluate import checked_networks
from fairbench.evaluation.networks import exact_arithmetic, frozen
from fairbench.evaluation.plan import Plan
from fairbench.evaluation.race_rounds import Rounds, cascade_parts
from fairbench.evaluation.store import FolderStore, MemoryStore, refuse_other_settings
from fairbench.evaluation.trust import Trust, check_mode
from fairbench.metrics.race import Race
from fairbench.metrics.race_threshold import Threshold
from fairbench.metrics.worst import worst_class_interval_within
from fairbench.progress import Progress
from fairbench.runs import read_json, to_json
from fairbench.whole_file import usable_folder, write_whole

#: 2: `population_interval` is that of the truly worst class, as in reports; in 1 it was the named class's.
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Question:
    """What is asked: which class is the worst, or with `below` (a fraction) whether the worst class is below it."""

    confidence: float = 0.95
    below: float | None = None


@dataclass(frozen=True)
class Finding:
    """The answer: the content of race.json, and the folder that holds it (None: nothing was written)."""

    record: Mapping[str, Any]
    folder: Path | None = None


def find_worst(
    model: nn.Module,
    plan: Plan,
    trust: Trust,
    question: Question,
    *,
    out: str | Path | None,
    progress: Progress,
    normalizations: Mapping[str, Normalization],
    whole_split: Dataset | None = None,
) -> Finding:
    """Answer the question for the plan's one AutoAttack; other arguments as `fairbench.evaluation.evaluate.run_plan`.

    Raises:
        BadInput: the plan is not one AutoAttack of the native engine, there are several processes, or `out` holds
            another run.
        Refused: a check of `trust`.
        WriteFailed: the disk is full.
    """
    begun = time.monotonic()
    cascade = _cascade(plan)
    asked: dict[str, Any] = {**plan.settings(), "confidence": question.confidence, "below": question.below}
    folder = usable_folder(Path(out)) if out is not None else None
    if folder is not None:
        done = _finished(folder, asked)
        if done is not None:
            progress.say(f"{folder} is finished; nothing is left to do")
            return done
    model.to(plan.device)
    with frozen(model), exact_arithmetic(plan.threads):
        nets, size = checked_networks(model, plan, trust, normalizations, whole_split)
        threads = torch.get_num_threads()
        store: FolderStore | MemoryStore = MemoryStore(size)
        if folder is not None:
            store = FolderStore(folder, plan.settings(), block_size=size, threads=threads)
            threads = store.threads if plan.threads is None else threads
    with frozen(model), frozen(nets.judge), exact_arithmetic(threads):
        rounds = Rounds(nets, plan, store, folder, asked, progress, threads)
        race = rounds.cheap_tier(confidence=question.confidence, below=question.below)
        rounds.run(race)
        check_mode(nets.judge, trust)
    record = {
        "schema": SCHEMA_VERSION,
        "question": {"confidence": question.confidence, "below": question.below},
        "cascade": cascade,
        **_answer(race, plan.dataset, question),
        "classes": _classes(race, plan.dataset),
        "spent": rounds.spent(race),
        "seconds": round(time.monotonic() - begun, 1),
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "flags": trust.flags,
        "accepted": list(trust.accept),
        "settings": asked,
    }
    if folder is None:
        return Finding(record)
    write_whole(folder / "race.json", to_json(record))
    shutil.rmtree(folder / "race", ignore_errors=True)
    return Finding(record, folder)


def _cascade(plan: Plan) -> str:
    if len(plan.configs) != 1 or plan.configs[0].family != "aa" or len(cascade_parts(plan)) < 2:
        raise BadInput(
            f"a race is for the worst class under one AutoAttack, but the attacks are "
            f"{', '.join(config.name for config in plan.configs)[:100]}; say --attacks aa."
        )
    if plan.engine != "native":
        raise BadInput(
            f"a race needs verdicts that do not depend on which samples share a batch, but the engine is "
            f"{plan.engine!r}; use --engine native."
        )
    if plan.allow_random:
        raise BadInput("a race needs the standard AutoAttack, but --allow-random was given; leave one of them out.")
    if plan.save_adversarial:
        raise BadInput("a race keeps no adversarial examples, but --save-adversarial was given; leave it out.")
    if distributed.world_size() > 1:
        raise BadInput(
            f"a race runs in one process, but there are {distributed.world_size()}; start it without torchrun."
        )
    return plan.configs[0].name


def _finished(folder: Path, asked: Mapping[str, Any]) -> Finding | None:
    if (folder / "run.json").exists():
        raise BadInput(
            f"{str(folder)[:200]} holds the full run, which knows its worst class: 'fairbench report' shows it; choose "
            "another --out to race."
        )
    if not (folder / "race.json").exists():
        return None
    record = read_json(folder / "race.json", what="the record of the race")
    if record.get("schema") != SCHEMA_VERSION:
        raise BadInput(
            f"{str(folder)[:200]} holds an answer of another version of fairbench (race.json has schema "
            f"{str(record.get('schema'))[:20]}, this version reads {SCHEMA_VERSION}); choose another --out."
        )
    refuse_other_settings(record.get("settings"), asked, folder)
    return Finding(record, folder)


def _answer(race: Race | Threshold, dataset: Dataset, question: Question) -> dict[str, Any]:
    if isinstance(race, Threshold):
        verdict = race.verdict()
        assert verdict is not None
        return {"worst_is_below": verdict, "certain": race.certain}
    answer = race.answer()
    # The interval that the full run's report gives its worst class. With classes of one size the worst class's count
    # alone decides it; otherwise what the race knows of the others bounds it.
    low, high = worst_class_interval_within(*race.limits(), race.draws.count)
    return {
        "worst_class": {
            "index": answer.worst,
            "name": dataset.class_names[answer.worst],
            "accuracy": answer.robust / answer.count,
            "robust": answer.robust,
            "count": answer.count,
            "tied": [dataset.class_names[label] for label in answer.tied],
            "certain": answer.certain,
            "confidence": 1.0 if answer.certain else question.confidence,
            "population_interval": [float(low), float(high)],
        }
    }


def _classes(race: Race | Threshold, dataset: Dataset) -> list[dict[str, Any]]:
    """Return what is known of every class: counts, and limits of its accuracy in the full run, each on its own."""
    draws = race.draws
    return [
        {
            "name": name,
            "count": int(draws.count[label]),
            "after_first_part": int(draws.survivors[label]),
            "drawn": int(draws.drawn[label]),
            "broken": int(draws.broken[label]),
            "full_accuracy": list(draws.bounds(label, error=race.error)) if draws.count[label] else None,
        }
        for label, name in enumerate(dataset.class_names)
    ]
