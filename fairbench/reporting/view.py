"""Runs as a report shows them: metrics beside the record, names made unambiguous, runs on the same samples together.

Numbers from different samples never share a table row: runs are put into sample sets, one for every
(samples, threat, protocol), and each table and plot belongs to one set.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fairbench.errors import BadInput
from fairbench.metrics.comparable import resolved_difference
from fairbench.metrics.summary import metrics_and_text
from fairbench.outcomes import NATURAL
from fairbench.reporting.attack_names import in_order, parts_of, top_level
from fairbench.reporting.flags import ACCEPTED, all_flags, raised_flags
from fairbench.reporting.table import TO
from fairbench.reporting.table_formats import plain
from fairbench.runs import Run

_NEEDED = {"dataset": ("name", "split", "class_names", "num_classes"), "model": ("name",), "threat": ("norm", "eps")}


@dataclass(frozen=True)
class RunView:
    """One run with its metrics.

    Attributes:
        run: the run.
        metrics: what metrics.json says, rebuilt from the table; undefined is None, a confusion is a (K, K) array.
        metrics_json: its text.
        model: the model's name, unambiguous within the report: "trades", or "trades (1a2b3c4d)" where two share it.
        label: what a row is called: the model, and the run's name where a sample set holds the model twice.
        stem: what its files are called; safe in paths and unique within the report.
    """

    run: Run
    metrics: Mapping[str, Any]
    metrics_json: str
    model: str
    label: str
    stem: str

    @property
    def record(self) -> Mapping[str, Any]:
        """The content of run.json."""
        return self.run.record

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The class names on one line each."""
        return tuple(plain(name) for name in self.run.class_names)

    @cached_property
    def attacks(self) -> tuple[str, ...]:
        """The attacks of their own (no parts), natural first, then as they were asked for."""
        return in_order(top_level(self.run.outcomes.attacks), self.record.get("attacks", {}))

    def parts(self, attack: str) -> tuple[str, ...]:
        """Return the cumulative parts of a cascade."""
        ran = (self.record.get("attacks", {}).get(attack) or {}).get("parts", {})
        return in_order(parts_of(attack, self.run.outcomes.attacks), {f"{attack}/{part}": None for part in ran})

    def of(self, attack: str) -> Mapping[str, Any]:
        """Return the metrics of one attack."""
        found: Mapping[str, Any] = self.metrics["attacks"][attack]
        return found

    @cached_property
    def strongest(self) -> str:
        """The attack with the lowest average (the later one of two equals); natural where there is no other."""
        own = [name for name in self.attacks if name != NATURAL] or [NATURAL]
        return min(reversed(own), key=lambda name: float(self.of(name)["average"]))

    @cached_property
    def flags(self) -> tuple[Mapping[str, Any], ...]:
        """The flags of the run's record."""
        return all_flags(self.record)

    @cached_property
    def raised(self) -> tuple[str, ...]:
        """The names of the flags that say that a number may be too good: all but those of accepted checks."""
        return tuple(dict.fromkeys(plain(str(flag.get("name"))) for flag in raised_flags(self.record)))

    @cached_property
    def accepted(self) -> tuple[str, ...]:
        """The names of the checks that a person accepted."""
        return tuple(plain(str(f.get("name"))) for f in self.flags if f.get("severity") == ACCEPTED)

    @property
    def short(self) -> str:
        """The samples in few words: "digits, first 10 of each class"."""
        dataset = self.record["dataset"]
        return f"{plain(str(dataset['name']))}, {plain(str(dataset.get('selection', 'all')))}"

    def count(self, attack: str) -> int:
        """Return how many samples the attack saw."""
        return int(sum(self.of(attack)["class_count"]))

    def per_class(self, attack: str) -> str:
        """Return how many samples of each class the attack saw: "90" or "44–97"; absent classes count as 0."""
        counts = self.of(attack)["class_count"]
        return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)}{TO}{max(counts)}"


@dataclass(frozen=True)
class SampleSet:
    """The runs that saw the same samples under the same threat; `key` names the set in files and links."""

    key: str
    views: tuple[RunView, ...]

    @property
    def record(self) -> Mapping[str, Any]:
        """A record that speaks for the set."""
        return self.views[0].record

    @property
    def threat(self) -> str:
        """The threat in words: "Linf, eps 8/255"."""
        threat = self.record["threat"]
        return f"{plain(str(threat['norm']))}, eps {plain(str(threat.get('eps_text', threat['eps'])))}"

    @property
    def samples(self) -> str:
        """The samples in words: "digits test, all 900 images (90 per class)"."""
        dataset, first = self.record["dataset"], self.views[0]
        attack = first.attacks[0]
        count, selection = first.count(attack), str(dataset.get("selection", "all"))
        chosen = f"all {count:,} images" if selection == "all" else f"{count:,} images, {plain(selection)}"
        name, each = f"{plain(str(dataset['name']))} {plain(str(dataset['split']))}", first.per_class(attack)
        return f"{name}: {chosen} ({each} per class)"

    @property
    def attacks(self) -> tuple[str, ...]:
        """The attacks of any run of the set, natural first, each run's order kept."""
        names = list(dict.fromkeys(name for view in self.views for name in view.attacks))
        return tuple(sorted(names, key=lambda name: name != NATURAL))

    @property
    def strongest(self) -> str:
        """The attack that comparisons use: of those that most runs hold, the one with the lowest mean of averages.

        It is natural where the runs have nothing else in common.
        """
        seen = Counter(name for view in self.views for name in view.attacks if name != NATURAL)
        if not seen or (max(seen.values()) == 1 < len(self.having(NATURAL))):
            return NATURAL
        wide = [name for name in self.attacks if seen[name] == max(seen.values())]
        return min(reversed(wide), key=lambda name: float(np.mean([v.of(name)["average"] for v in self.having(name)])))

    def having(self, attack: str) -> tuple[RunView, ...]:
        """Return the runs that hold an attack."""
        return tuple(view for view in self.views if attack in view.attacks)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.views[0].class_names)


def view_runs(runs: Sequence[Run]) -> tuple[SampleSet, ...]:
    """Return the sample sets of several runs, the set with the most models (then samples) first.

    Raises:
        BadInput: no run, the same folder twice, or a run.json that lacks what a report needs.
    """
    if not runs:
        raise BadInput("a report needs at least one run folder, but none was given.")
    for run in runs:
        _check(run)
    models, stems = _model_names(runs), _stems(runs)
    sets: list[list[int]] = []
    for place, run in enumerate(runs):
        home = next((members for members in sets if all(_together(run, runs[other]) for other in members)), None)
        if home is None:
            sets.append([place])
        else:
            home.append(place)
    found = []
    for members in sets:
        twice = Counter(models[place] for place in members)
        views = []
        for place in members:
            run, model = runs[place], models[place]
            label = model if twice[model] == 1 else f"{model} · {plain(run.name)}"
            views.append(RunView(run, *metrics_and_text(run), model, label, stems[place]))
        found.append(views)
    found.sort(key=lambda views: (-len({view.model for view in views}), -views[0].count(views[0].attacks[0])))
    return tuple(SampleSet(f"set{place}", tuple(views)) for place, views in enumerate(found, start=1))


def by_model(sets: Iterable[SampleSet]) -> dict[str, list[tuple[SampleSet, RunView]]]:
    """Return the runs of each model, in order of first appearance."""
    found: dict[str, list[tuple[SampleSet, RunView]]] = {}
    for sample_set in sets:
        for view in sample_set.views:
            found.setdefault(view.model, []).append((sample_set, view))
    return found


def _together(run: Run, other: Run) -> bool:
    shared = set(run.outcomes.attacks) & set(other.outcomes.attacks)
    return _question(run) == _question(other) and all(
        resolved_difference(run.record, other.record, name) is None for name in shared
    )


def _question(run: Run) -> tuple[object, ...]:
    dataset, threat = run.record["dataset"], run.record["threat"]
    samples = (dataset["name"], dataset.get("index_sha256"), dataset.get("sha256"), run.class_names)
    return (*samples, threat["norm"], threat["eps"], run.record.get("protocol"))


def _model_names(runs: Sequence[Run]) -> list[str]:
    hashes: dict[str, set[str]] = {}
    for run in runs:
        hashes.setdefault(str(run.record["model"]["name"]), set()).add(str(run.record["model"].get("sha256")))
    names = []
    for run in runs:
        name, sha256 = str(run.record["model"]["name"]), str(run.record["model"].get("sha256"))
        names.append(plain(name if len(hashes[name]) == 1 else f"{name} ({sha256[:8]})"))
    return names


def _stems(runs: Sequence[Run]) -> list[str]:
    found: list[str] = []
    for run in runs:
        safe = re.sub(r"[^A-Za-z0-9._-]+", "-", run.name).strip("-.")[:60] or "run"
        taken = sum(stem == safe or re.fullmatch(re.escape(safe) + r"-\d+", stem) is not None for stem in found)
        found.append(f"{safe}-{taken + 1}" if safe in found else safe)
    return found


def _check(run: Run) -> None:
    for part, keys in _NEEDED.items():
        found = run.record.get(part)
        missing = [key for key in keys if not isinstance(found, Mapping) or key not in found]
        if missing:
            raise BadInput(
                f"the run record of {run.name[:80]!r} is not complete: {part} lacks {', '.join(missing)}; "
                "evaluate the model again, or restore its run.json."
            )
    names, labels = run.class_names, run.outcomes.frame["label"]
    if len(names) != run.num_classes or (len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names)):
        raise BadInput(
            f"the run record of {run.name[:80]!r} names {len(names)} classes for num_classes {run.num_classes}, "
            "and its table's labels must lie within them; restore the run.json that belongs to this table."
        )
