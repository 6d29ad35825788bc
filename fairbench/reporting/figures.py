"""Every plot of a report with the table that holds its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from fairbench.outcomes import NATURAL
from fairbench.reporting.plots_classes import MANY, class_attack_map, class_dots, class_run_map
from fairbench.reporting.plots_one_run import FEW, confusion_map, natural_against_robust
from fairbench.reporting.plots_runs import average_against_worst, run_dots
from fairbench.reporting.plots_training import (
    Log,
    loss_curves,
    read_log,
    training_curves,
    validated,
)
from fairbench.reporting.plots_training_classes import class_curves, class_series
from fairbench.reporting.table import Table
from fairbench.reporting.tables import (
    class_run_table,
    class_series_table,
    classes_table,
    confusion_table,
    papers_table,
    training_table,
)
from fairbench.reporting.view import RunView, SampleSet
from fairbench.reporting.words import under


@dataclass(frozen=True)
class Plot:
    """One plot: `key` is its id in the page and its file stem; `text` says how to read it, `table` has its numbers."""

    key: str
    title: str
    text: str
    svg: str
    table: Table


def set_plots(sample_set: SampleSet) -> list[Plot]:
    """Return the plots that compare the averages and worst classes of a sample set; none for a single run."""
    attack, key = sample_set.strongest, sample_set.key
    if len(sample_set.having(attack)) < 2:
        return []
    comparison = papers_table(sample_set)
    return [
        Plot(
            f"{key}-runs", f"Average and worst class {under(attack)}",
            "Sorted by the worst class. Lines are 95 % intervals; the tick is where the worst class would lie if all "
            "classes were equal.", run_dots(sample_set, attack), comparison,
        ),
        Plot(
            f"{key}-trade-off", f"Average against worst class {under(attack)}",
            "Up and to the right is better. The closer to the dashed line, the more equal the classes.",
            average_against_worst(sample_set, attack), comparison,
        ),
    ]  # fmt: skip


def set_class_plot(sample_set: SampleSet) -> Plot | None:
    """Return each class in each run of a sample set; None for a single run."""
    attack = sample_set.strongest
    if len(sample_set.having(attack)) < 2:
        return None
    many = len(sample_set.views[0].class_names) > MANY
    return Plot(
        f"{sample_set.key}-class-by-run", f"Each class in each run {under(attack)}",
        "Accuracy in %, sorted by the mean over the runs. Darker is more robust; a frame marks the worst class of each "
        "column." + (" Only the lowest and highest classes are drawn, a run's worst perhaps not; the table has all."
                   if many else ""),
        class_run_map(sample_set, attack), class_run_table(sample_set, attack),
    )  # fmt: skip


def class_plot(view: RunView) -> Plot:
    """Return a run's class accuracies under its strongest attack, with intervals."""
    attack = view.strongest
    many = len(view.class_names) > MANY
    return Plot(
        f"{view.stem}-classes", f"Each class {under(attack)}",
        "Sorted by robustness; lines are 95 % intervals. A worst class inside the band could be chance."
        + (" Only the lowest and highest classes are drawn; the table has all." if many else ""),
        class_dots(view, attack), classes_table(view, view.stem),
    )  # fmt: skip


def run_plots(view: RunView) -> list[Plot]:
    """Return a run's other plots: class x attack, natural against robust, confusion."""
    attack, stem = view.strongest, view.stem
    classes = classes_table(view, stem)
    confusion = Plot(
        f"{stem}-confusion", f"Where samples go {under(attack)}",
        "Share of each true class in %. Blue: still right. Orange: where the others go."
        if len(view.class_names) <= FEW
        else "The largest confusions: share of the true class in %.",
        confusion_map(view, attack), confusion_table(view, attack, stem),
    )  # fmt: skip
    if attack == NATURAL:
        return [confusion]
    found = [
        Plot(f"{stem}-attacks", "Each class under each attack",
             "Accuracy in %. Darker is more robust; a frame marks each attack's worst class.", class_attack_map(view),
             classes)
    ]  # fmt: skip
    if NATURAL in view.attacks:
        found.append(
            Plot(f"{stem}-natural", "Natural against robust, per class",
                 "The dashed line would be no loss at all. A class far below its neighbours loses more than they do.",
                 natural_against_robust(view, attack), classes)
        )  # fmt: skip
    return [*found, confusion]


def training_log(view: RunView) -> Log:
    """Return the training log in a run's folder; empty where there is none."""
    folder = view.run.folder
    if folder is None or not (folder / "training.jsonl").exists():
        return []
    return read_log(folder / "training.jsonl")


def training_plots(view: RunView) -> list[Plot]:
    """Return the plots of a run's training log: validation, loss, and each class's accuracy, radius and state."""
    log, stem = training_log(view), view.stem
    if not log:
        return []
    epochs = training_table(log, view.label, stem)
    found = []
    if validated(log):
        found.append(
            Plot(f"{stem}-training", "Validation during training", "Solid: average. Dashed: worst class.",
                 training_curves(log, view.label), epochs)
        )  # fmt: skip
    found.append(Plot(f"{stem}-loss", "Loss during training", "Terms as logged, without coefficients.",
                      loss_curves(log, view.label), epochs))  # fmt: skip
    series = class_series(log, len(view.class_names))
    if series:
        table = class_series_table(series, view, stem)
        for place, one in enumerate(series, start=1):
            found.append(
                Plot(f"{stem}-state{place}", f"{one.title[:1].upper()}{one.title[1:]} per class during training",
                     one.text, class_curves(one, view.class_names, view.label), table)
            )  # fmt: skip
    return found
