"""What a report says, in the order it says it; how it looks is the template's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fairbench.outcomes import NATURAL
from fairbench.provenance import fairbench_version
from fairbench.reporting.figures import Plot, class_plot, run_plots, set_class_plot, set_plots, training_plots
from fairbench.reporting.figures_why import Why, rankings_of, why_of
from fairbench.reporting.flags import ACCEPTED, raised_flags
from fairbench.reporting.table import Table, shortened
from fairbench.reporting.tables import (
    attack_tables,
    papers_table,
    parts_by_class_table,
    parts_table,
    summary_table,
)
from fairbench.reporting.tables_records import (
    flags_table,
    one_run_tables,
    provenance_tables,
    samples_table,
    shared_samples_table,
)
from fairbench.reporting.view import RunView, SampleSet, by_model
from fairbench.reporting.words import (
    BigNumber,
    listed,
    meaning,
    run_line,
    run_numbers,
    set_meaning,
    set_numbers,
    set_sentence,
)

#: So many rows by class, over all runs, does a page hold of the accuracies, and of each other table; files hold all.
_MOST_ACCURACIES, _MOST_OTHERS = 1_000, 200


@dataclass(frozen=True)
class Told:
    """A sentence about one run, and where the page says more."""

    label: str
    anchor: str
    sentence: str


@dataclass(frozen=True)
class Comparison:
    """The runs on one sample set, side by side.

    `classes` is each class in each run, and `why` a sentence for each run on where its worst class goes: both come
    before the runs are compared. `table` is shaped like the papers' and wide; `attacks` is the same for a screen, a
    narrow table per attack with the strongest first, and `rows` for a sheet of paper.
    """

    title: str
    numbers: tuple[BigNumber, ...]
    meaning: str
    sentence: str
    classes: Plot | None
    why: tuple[Told, ...]
    plots: tuple[Plot, ...]
    table: Table
    attacks: tuple[Table, ...]
    rows: Table
    rankings: Table | None


@dataclass(frozen=True)
class Evaluation:
    """One run of a model."""

    anchor: str
    run: str
    samples: str
    threat: str
    attack: str
    numbers: tuple[BigNumber, ...]
    meaning: str
    classes: Plot
    why: Why
    plots: tuple[Plot, ...]
    parts: tuple[Table, ...]


@dataclass(frozen=True)
class Model:
    """A model with all its runs; `line` is its first run in one sentence."""

    anchor: str
    name: str
    line: str
    evaluations: tuple[Evaluation, ...]
    training: tuple[Plot, ...]


@dataclass(frozen=True)
class RemovalStory:
    """The removal experiment: what it shows and does not, and its numbers."""

    sentence: str
    table: Table


@dataclass(frozen=True)
class Page:
    """A whole report; `samples` is written beside it, the page itself shows `shared_samples`; so `run_provenance`."""

    title: str
    subtitle: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    models: tuple[Model, ...]
    flag_count: int
    severe: tuple[str, ...]
    flags: Table
    accepted: tuple[str, ...]
    samples: Table
    shared_samples: Table
    provenance: tuple[Table, ...]
    run_provenance: tuple[Table, ...]
    version: str
    removal: RemovalStory | None = None

    @property
    def plots(self) -> list[Plot]:
        """Every plot of the page, in order."""
        found = [one.classes for one in self.comparisons if one.classes is not None]
        found += [plot for comparison in self.comparisons for plot in comparison.plots]
        for model in self.models:
            for evaluation in model.evaluations:
                found += [evaluation.classes, *evaluation.why.plots, *evaluation.plots]
            found += model.training
        return found

    @property
    def tables(self) -> list[Table]:
        """Every table of the page, in order, each once."""
        found = [comparison.table for comparison in self.comparisons]
        found += [comparison.rankings for comparison in self.comparisons if comparison.rankings is not None]
        found += [plot.table for plot in self.plots]
        found += [table for model in self.models for e in model.evaluations for table in e.why.tables]
        found += [table for model in self.models for e in model.evaluations for table in e.parts]
        found += [self.removal.table] if self.removal is not None else []
        found += [self.samples, self.flags, *self.provenance]
        return list({table.name: table for table in found}.values())

    @property
    def class_rows(self) -> int:
        """How many rows a table of all classes takes, over all runs of the page."""
        return sum(len(e.classes.table.rows) for model in self.models for e in model.evaluations)

    def shown(self, table: Table) -> Table:
        """Return a table as the page shows it: one by class is cut where those of all runs would be too many rows."""
        most = _MOST_ACCURACIES if table.name.endswith("-classes") else _MOST_OTHERS
        return shortened(table) if table.columns[0].head == "class" and self.class_rows > most else table


def build_page(sets: Sequence[SampleSet], removal: RemovalStory | None = None) -> Page:
    """Return everything a report says about the runs, and about a removal experiment with one of them."""
    models = by_model(sets)
    views = [view for sample_set in sets for view in sample_set.views]
    datasets = list(dict.fromkeys(str(view.record["dataset"]["name"]) for view in views))
    title = (
        f"{next(iter(models))}: robustness of each class"
        if len(models) == 1
        else f"{len(models)} models on {listed(datasets)}: robustness of each class"
    )
    told = tuple(_model(name, place, runs) for place, (name, runs) in enumerate(models.items(), start=1))
    comparisons = tuple(_comparison(sample_set, told) for sample_set in sets) if len(views) > 1 else ()
    samples, provenance = samples_table(sets), tuple(provenance_tables(sets))
    raised = [flag for view in views for flag in raised_flags(view.record)]
    return Page(
        title=title,
        subtitle=tuple(f"{sample_set.samples}; {sample_set.threat}" for sample_set in sets),
        comparisons=comparisons,
        models=told,
        flag_count=len(raised),
        severe=tuple(dict.fromkeys(name for view in views for name in view.raised)),
        flags=flags_table(sets),
        accepted=tuple(
            f"{view.label}: {flag.get('name')} ({flag.get('evidence')})"
            for view in views
            for flag in view.flags
            if flag.get("severity") == ACCEPTED
        ),
        samples=samples,
        shared_samples=shared_samples_table(samples),
        provenance=provenance,
        run_provenance=tuple(one for table in provenance[1:] for one in one_run_tables(table)),
        version=fairbench_version(),
        removal=removal,
    )


def _comparison(sample_set: SampleSet, models: Sequence[Model]) -> Comparison:
    attack = sample_set.strongest
    single = len(sample_set.having(attack)) < 2
    first = sample_set.having(attack)[0]
    sentence = meaning(first, attack) if single else set_sentence(sample_set, attack)
    title = f"{sample_set.samples}; {sample_set.threat}"
    numbers = run_numbers(first, attack) if single else set_numbers(sample_set, attack)
    shared = sentence if single else set_meaning(sample_set, attack)
    table = papers_table(sample_set)
    narrow = dict(zip(sample_set.attacks, attack_tables(table), strict=True))
    whys = {e.anchor: e.why.sentences[:1] for model in models for e in model.evaluations}
    told = [(view.label, f"run-{view.stem}") for view in sample_set.views]
    return Comparison(
        title,
        numbers,
        shared,
        sentence,
        set_class_plot(sample_set),
        tuple(Told(label, anchor, sentence) for label, anchor in told for sentence in whys[anchor]),
        tuple(set_plots(sample_set)),
        table,
        (narrow.pop(attack), *narrow.values()),
        summary_table([sample_set]),
        rankings_of(sample_set),
    )


def _model(name: str, place: int, runs: Sequence[tuple[SampleSet, RunView]]) -> Model:
    evaluations = tuple(_evaluation(sample_set, view) for sample_set, view in runs)
    training: list[Plot] = []
    for _, view in runs:
        # Every run of a checkpoint carries the same log.
        training = training or training_plots(view)
    first = runs[0][1]
    return Model(f"model{place}", name, run_line(first, first.strongest), evaluations, tuple(training))


def _evaluation(sample_set: SampleSet, view: RunView) -> Evaluation:
    attack = view.strongest
    cascades = [name for name in view.attacks if view.parts(name)]
    return Evaluation(
        anchor=f"run-{view.stem}",
        run=view.run.name,
        samples=sample_set.samples,
        threat=sample_set.threat,
        attack=attack,
        numbers=run_numbers(view, attack),
        meaning=meaning(view, attack),
        classes=class_plot(view),
        why=why_of(view),
        plots=tuple(run_plots(view)),
        parts=_parts(view, cascades[0]) if cascades else (),
    )


def _parts(view: RunView, cascade: str) -> tuple[Table, ...]:
    tables = [parts_table(view, cascade, view.stem)]
    if NATURAL in view.run.outcomes.attacks:
        tables.append(parts_by_class_table(view, cascade, view.stem))
    return tuple(tables)
