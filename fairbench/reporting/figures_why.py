"""The "Why" of one run in a report: sentences, plots with their tables, and the tables that stand alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fairbench.metrics.diagnosis import compare_rankings, diagnose
from fairbench.reporting.figures import Plot
from fairbench.reporting.plots_why import flow_graph, graph_nodes, temperature_curve
from fairbench.reporting.table import Table
from fairbench.reporting.tables import attack_tables
from fairbench.reporting.tables_why import diagnosis_tables, rankings_table
from fairbench.reporting.view import RunView, SampleSet
from fairbench.reporting.why import why
from fairbench.reporting.words import under

#: Pairs of more runs than this are no table that anyone reads.
_RUNS = 10
#: And more columns than this are wider than a laptop's screen.
_COLUMNS = 10


@dataclass(frozen=True)
class Why:
    """What a report says about why these classes; `tables` are its files, and the page shows them as `narrow`."""

    sentences: tuple[str, ...]
    plots: tuple[Plot, ...]
    tables: tuple[Table, ...]

    @property
    def narrow(self) -> tuple[Table, ...]:
        """The tables, those too wide for a screen as one table per group of columns."""
        found: list[Table] = []
        for table in self.tables:
            if len(table.columns) <= _COLUMNS or not all(column.group for column in table.columns[1:]):
                found.append(table)
                continue
            parts = [replace(one, caption=f"{table.caption}: {one.caption}") for one in attack_tables(table)]
            found += [*parts[:-1], replace(parts[-1], notes=table.notes)]
        return tuple(found)


def why_of(view: RunView) -> Why:
    """Return the diagnosis of a run as a report shows it."""
    found, names = diagnose(view.run), view.class_names
    tables = {table.name: table for table in diagnosis_tables(found, names, view.stem, f"{view.label}, {view.short}")}
    plots = []
    nodes = graph_nodes(found)
    if nodes:
        main = tables.pop(f"{view.stem}-{'why' if nodes == 'classes' else 'superclasses'}")
        plots.append(
            Plot(
                f"{view.stem}-graph", f"Which {nodes} are taken for which {under(found.attack)}",
                "An arrow leads from the true class to the predicted one and is as wide as its share of the true "
                "class; numbers are accuracies in %. Arrows below 8\u00a0% are left out unless they are the class's "
                "largest.",
                flow_graph(found, names, view.label), main,
            )
        )  # fmt: skip
    if found.temperatures:
        plots.append(
            Plot(
                f"{view.stem}-temperature", "Temperature-PGD at the same budget",
                "Below the line of PGD, the temperature made the attack stronger.",
                temperature_curve(found, view.label), tables.pop(f"{view.stem}-temperatures"),
            )
        )  # fmt: skip
    return Why(why(found, names), tuple(plots), tuple(tables.values()))


def rankings_of(sample_set: SampleSet) -> Table | None:
    """Return whether the models of a sample set rank the classes alike; None for one run, or for too many."""
    views: Sequence[RunView] = sample_set.views
    if not 2 <= len(views) <= _RUNS:
        return None
    found = compare_rankings([view.run for view in views], [view.label for view in views])
    if not found:
        return None
    caption = (
        f"Do the models rank the classes alike, each pair under the strongest attack it shares, {sample_set.samples}"
    )
    return rankings_table(found, f"{sample_set.key}-rankings", caption)
