"""What the numbers say, in plain sentences, and what they do not say.

A worst class is never named without its interval and the value expected if all classes were equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairbench.metrics.difference import worst_class_difference
from fairbench.metrics.paired import Difference, PairedCounts
from fairbench.outcomes import NATURAL
from fairbench.reporting.class_labels import beside_number
from fairbench.reporting.table import TO, percent
from fairbench.reporting.view import RunView, SampleSet

SURE = 0.95
MANY_CLASSES = 20
#: A number and its percent sign stay on one line.
PERCENT = "\u00a0%"
_GLOSS = {"aa": "aa (AutoAttack)"}


@dataclass(frozen=True)
class BigNumber:
    """One big number of the headline: a label above it, the number, and small lines below."""

    label: str
    value: str
    lines: tuple[str, ...]
    tone: str


def share(value: float | None) -> str:
    """Return a fraction as "41.1 %"."""
    return "undefined" if value is None else percent(value) + PERCENT


def probability(value: float | None) -> str:
    """Return a probability as percent that never claims certainty: "> 99 %", "87 %", "< 1 %"."""
    if value is None:
        return "unknown"
    if value > 0.99:
        return f">\u00a099{PERCENT}"
    return f"<\u00a01{PERCENT}" if value < 0.01 else f"{100 * value:.0f}{PERCENT}"


def interval(metrics: Mapping[str, Any], key: str) -> str:
    """Return "95 % interval 21.9–44.0", in percent; "" where it is undefined."""
    low, high = metrics["interval"].get(key) or (None, None)
    return "" if low is None or high is None else f"95{PERCENT} interval {percent(low)}{TO}{percent(high)}"


def under(attack: str) -> str:
    """Return "under pgd20", or "without an attack" for natural."""
    return "without an attack" if attack == NATURAL else f"under {_GLOSS.get(attack, attack)}"


def worst_words(view: RunView, attack: str) -> str:
    """Return the worst class with all that belongs to it: its accuracy, name, interval and expectation."""
    metrics = view.of(attack)
    worst = metrics["worst_class"]
    return (
        f"{share(worst['accuracy'])} (“{view.class_names[worst['index']]}”, {interval(metrics, 'worst_class')}, "
        f"{share(metrics['if_equal']['worst_class']['expected'])} if all classes were equal)"
    )


def flagged(view: RunView, attack: str) -> str:
    """Return " (flagged)" where a flag says that the run's robust accuracies may be too good, else ""."""
    return " (flagged)" if view.raised and attack != NATURAL else ""


def run_numbers(view: RunView, attack: str) -> tuple[BigNumber, ...]:
    """Return the three big numbers of a run: average, worst class, and how sure it is that this class is the worst."""
    metrics = view.of(attack)
    worst = metrics["worst_class"]
    name = view.class_names[worst["index"]]
    natural = "" if attack == NATURAL or NATURAL not in view.attacks else share(view.of(NATURAL)["average"])
    return (
        BigNumber(
            f"Average {under(attack)}",
            share(metrics["average"]),
            (interval(metrics, "average"), *((f"natural accuracy {natural}",) if natural else ())),
            "average",
        ),
        BigNumber(
            f"Worst class: {beside_number(name)}",
            share(worst["accuracy"]),
            (
                interval(metrics, "worst_class"),
                f"{share(metrics['if_equal']['worst_class']['expected'])} expected if all classes were equal",
                *_tenth(view, attack),
                "this interval allows for having picked the lowest class; that of its row in the table does not",
            ),
            "worst",
        ),
        BigNumber(
            f"Is “{name}” really the worst?",
            probability(worst["probability"]),
            ("probability, given these images", f"{view.per_class(attack)} images per class"),
            "sure",
        ),
    )


def meaning(view: RunView, attack: str) -> str:
    """Return one to four sentences on what a run's numbers mean; that flags doubt them is one."""
    said = _meaning(view, attack)
    if attack == NATURAL or not view.raised:
        return said
    return f"{said} It may be less: the run is flagged ({listed(view.raised)})."


def _meaning(view: RunView, attack: str) -> str:
    metrics = view.of(attack)
    worst, average = metrics["worst_class"], metrics["average"]
    name = view.class_names[worst["index"]]
    if average == 0:
        return f"{_begin(attack)} the model classifies none of the {view.count(attack):,} images correctly."
    if metrics["gap"] == 0:
        return f"{_begin(attack)} the model is right on {share(average)} of every class: none is lower than another."
    equal = metrics["if_equal"]["worst_class"]
    low, high = equal["range"]
    sentences = [
        f"{_begin(attack)} the model is right on {share(average)} of all images, "
        f"but on {share(worst['accuracy'])} of “{name}”."
    ]
    chance = (
        f"equally robust classes would, with as many images, still show a lowest class near {share(equal['expected'])} "
        f"(95{PERCENT} of the time {percent(low)}{TO}{percent(high)})"
    )
    if not _below_chance(view, attack):
        sentences.append(f"That could be chance: {chance}.")
        return " ".join(sentences)
    sentences.append(f"Chance alone would hardly do that: {chance}.")
    sure = worst["probability"]
    if sure is not None and sure < SURE:
        sentences.append(f"Which class is the worst is not settled: “{name}” with probability {probability(sure)}.")
    return " ".join(sentences)


def set_numbers(sample_set: SampleSet, attack: str) -> tuple[BigNumber, ...]:
    """Return the three big numbers of several runs: highest worst class, highest average, and is the lead real."""
    by_worst = ranked(sample_set, attack)
    best, following = by_worst[0], by_worst[1]
    average = max(sample_set.having(attack), key=lambda view: float(view.of(attack)["average"]))
    top, name = best.of(attack), best.class_names[best.of(attack)["worst_class"]["index"]]
    lead = worst_lead(best, following, attack)
    return (
        BigNumber(
            f"Highest worst class: {best.label}{flagged(best, attack)}",
            share(top["worst_class"]["accuracy"]),
            (
                f"“{name}” {under(attack)}, {interval(top, 'worst_class')}",
                f"{share(top['if_equal']['worst_class']['expected'])} expected if all classes were equal",
                *_tenth(best, attack),
            ),
            "worst",
        ),
        BigNumber(
            f"Highest average: {average.label}{flagged(average, attack)}",
            share(average.of(attack)["average"]),
            (
                f"{under(attack)}, {interval(average.of(attack), 'average')}",
                *((f"its worst class: {worst_words(average, attack)}",) if average is not best else ()),
            ),
            "average",
        ),
        BigNumber(
            f"Is {best.label}'s worst class higher than {following.label}'s?",
            "yes" if lead.low > 0 else "not decided",
            (f"{_points(lead.value)} points apart, 95{PERCENT} interval {_points(lead.low)} to {_points(lead.high)}",
             "paired on the same images; training seeds are not in it"),
            "sure",
        ),
    )  # fmt: skip


def set_meaning(sample_set: SampleSet, attack: str) -> str:
    """Return one to three sentences on what runs have in common: which class is the worst, and whether by chance."""
    views = sample_set.having(attack)
    alive = [view for view in views if float(view.of(attack)["average"]) > 0]
    sentences = []
    if len(alive) < len(views):
        broken = [view.label for view in views if view not in alive]
        sentences.append(
            f"{_begin(attack)}, {listed(broken)} classif{'ies' if len(broken) == 1 else 'y'} nothing correctly."
        )
    if not alive:
        return sentences[0]
    named = Counter(view.class_names[view.of(attack)["worst_class"]["index"]] for view in alive)
    told = [f"“{name}” in {times}" for name, times in named.most_common(3)]
    rest = len(named) - len(told)
    if rest and len(named) == len(alive):
        sentences.append(f"{_begin(attack)}, each of the {len(alive)} models has another worst class.")
    else:
        sentences.append(
            f"{_begin(attack)}, the worst class is {listed(told)} of {len(alive)} models"
            + (f" ({rest} other classes in the rest)." if rest else ".")
        )
    low = [view for view in alive if _below_chance(view, attack)]
    many = "none" if not low else f"{len(low)} of {len(alive)}"
    sentences.append(f"In {many} it is lower than chance would explain if all classes were equally robust.")
    return " ".join(sentences)


def set_sentence(sample_set: SampleSet, attack: str) -> str:
    """Return what a set of runs shows side by side, without claiming more than their paired images allow."""
    by_worst = ranked(sample_set, attack)
    best, following = by_worst[0], by_worst[1]
    average = max(sample_set.having(attack), key=lambda view: float(view.of(attack)["average"]))
    lead = worst_lead(best, following, attack)
    span = f"{_points(lead.value)} points, 95{PERCENT} interval {_points(lead.low)} to {_points(lead.high)}"
    decided = (
        f"it is above {following.label}'s"
        if lead.low > 0
        else f"whether it is above {following.label}'s is not decided"
    )
    return (
        f"{_begin(attack)}, the highest worst class is {best.label}'s{flagged(best, attack)}, "
        f"{worst_words(best, attack)}; "
        f"{decided} ({span}). The highest average is {average.label}'s{flagged(average, attack)}, "
        f"{share(average.of(attack)['average'])}."
    )


def ranked(sample_set: SampleSet, attack: str) -> tuple[RunView, ...]:
    """Return the runs that hold an attack, the highest worst class first."""
    return tuple(sorted(sample_set.having(attack), key=lambda view: -float(view.of(attack)["worst_class"]["accuracy"])))


def worst_lead(best: RunView, other: RunView, attack: str) -> Difference:
    """Return by how much one run's worst class lies above another's, with an interval from their paired images."""
    pairs = PairedCounts.of(
        best.run.outcomes.labels(attack), other.run.outcomes.robust(attack), best.run.outcomes.robust(attack),
        len(best.class_names),
    )  # fmt: skip
    return worst_class_difference(pairs)


def run_line(view: RunView, attack: str) -> str:
    """Return a run in one line."""
    doubt = "; flagged, may be less" if view.raised and attack != NATURAL else ""
    average = share(view.of(attack)["average"])
    return f"{average} on average {under(attack)}; worst class {worst_words(view, attack)}{doubt}"


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _tenth(view: RunView, attack: str) -> tuple[str, ...]:
    # With many classes the single worst one is mostly noise; the literature then reports the worst tenth.
    if len(view.class_names) < MANY_CLASSES:
        return ()
    metrics = view.of(attack)
    return (f"worst 10{PERCENT} of classes: {share(metrics['worst_10pct'])}, {interval(metrics, 'worst_10pct')}",)


def _begin(attack: str) -> str:
    return under(attack)[:1].upper() + under(attack)[1:]


def _below_chance(view: RunView, attack: str) -> bool:
    metrics = view.of(attack)
    low = metrics["if_equal"]["worst_class"]["range"][0]
    return low is not None and float(metrics["worst_class"]["accuracy"]) < float(low)


def _points(value: float) -> str:
    return f"{100 * value:.1f}".replace("-", "\u2212")
