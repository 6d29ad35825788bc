"""Why these classes, in plain sentences: where their samples go, what goes along with it, and how sure that is.

Every sentence describes; none names a cause.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fairbench.metrics.classwise import worst_class
from fairbench.metrics.correlates import Correlate
from fairbench.metrics.diagnosis import Diagnosis
from fairbench.outcomes import NATURAL
from fairbench.reporting.table import TO, percent
from fairbench.reporting.words import PERCENT, listed, share, under

_NAMED = 3


def why(found: Diagnosis, names: Sequence[str]) -> tuple[str, ...]:
    """Return up to five sentences; a sentence without anything to say is left out."""
    told = [
        _where(found, names), _kin(found, names), _along(found), _stronger(found, names), _order(found),
    ]  # fmt: skip
    return tuple(sentence for sentence in told if sentence)


def _where(found: Diagnosis, names: Sequence[str]) -> str:
    """Where the worst class's broken samples go, and which class attracts most."""
    worst = worst_class(found.robust)
    edge = None if worst is None else found.flows.main_target(worst)
    if worst is None or edge is None:
        return ""
    how = under(found.attack)
    sent = int(found.flows.sent[worst])
    before = found.already_wrong[worst]
    already = f", {int(before)} of them wrong before" if found.attack != NATURAL and before > 0 else ""
    magnet = int(np.argmax(found.flows.received))
    source = found.flows.main_source(magnet)
    assert source is not None
    return (
        f"{how[:1].upper()}{how[1:]}, {sent:,} of {int(found.count[worst]):,} images of “{names[worst]}” are not "
        f"classified right{already}; {share(edge.share_of_broken)} of those go to “{names[edge.target]}”. "
        f"The class that attracts most images of others is “{names[magnet]}” "
        f"({int(found.flows.received[magnet]):,}, {source.count:,} of them “{names[source.source]}”)."
    )


def _kin(found: Diagnosis, names: Sequence[str]) -> str:
    """How many errors stay among kin; without superclasses, which two classes are mixed up most."""
    kin, groups = found.kin, found.superclasses
    if kin is not None and groups is not None and kin.errors:
        low, high = kin.interval
        called = listed(groups.names) if len(groups.names) <= _NAMED else f"one of {len(groups.names)} superclasses"
        return (
            f"{share(kin.share)} of all errors stay within {called} (95{PERCENT} interval {percent(low)}{TO}"
            f"{percent(high)}); errors spread evenly over the other classes would in {share(kin.if_spread)}."
        )
    mixed: dict[tuple[int, int], int] = {}
    for edge in found.flows.edges:
        pair = (min(edge.source, edge.target), max(edge.source, edge.target))
        mixed[pair] = mixed.get(pair, 0) + edge.count
    if not mixed:
        return ""
    (a, b), count = min(mixed.items(), key=lambda item: (-item[1], item[0]))
    errors = int(found.flows.sent.sum())
    return (
        f"The two classes that are mixed up most are “{names[a]}” and “{names[b]}”: {count:,} of all {errors:,} errors."
    )


def _along(found: Diagnosis) -> str:
    """What a class's robustness goes along with, over K classes as K points."""
    known = [one for one in found.correlates if not math.isnan(one.correlation.tau)]
    if not known:
        return ""
    sure = [one for one in known if one.correlation.decided]
    unsure = [one for one in known if not one.correlation.decided]
    points = known[0].correlation.points
    parts = []
    if sure:
        parts.append(f"robustness goes along with {listed([_tau(one) for one in sure])}")
    if unsure:
        parts.append(
            f"{'whether it does' if sure else 'whether robustness goes along'} with "
            f"{listed([_tau(one) for one in unsure])} is not decided"
        )
    return (
        f"Over {points} classes, which are {points} points, {'; '.join(parts)} (rank correlation with its "
        f"95{PERCENT} interval; accuracies and margins share their images, and no cause is shown)."
    )


def _tau(one: Correlate) -> str:
    found = one.correlation
    limits = "" if math.isnan(found.low) else f", {found.low:.2f} to {found.high:.2f}"
    return f"{one.words} ({found.tau:.2f}{limits})".replace("-", "\u2212")


def _stronger(found: Diagnosis, names: Sequence[str]) -> str:
    """On which classes the strongest attack gains over the weakest one."""
    if not found.gains:
        return ""
    first = found.gains[0]
    fall, low, high = (_points(value) for value in (first.average.value, first.average.low, first.average.high))
    head = f"From {first.weaker} to {first.stronger} the average falls by {fall} points ({low} to {high})"
    if not first.pairs.lost.any():
        return f"{head}: {first.stronger} breaks nothing that {first.weaker} leaves."
    order = [c for c in np.argsort(-np.nan_to_num(first.share), kind="stable") if first.share[c] > 0][:_NAMED]
    most = listed([f"“{names[c]}” {share(float(first.share[c]))}" for c in order])
    decided = first.decided
    sure = (
        "in no single class is that beyond chance"
        if not decided
        else f"beyond chance in {listed([f'“{names[c]}”' for c in decided[:_NAMED]])}"
        + (f" and {len(decided) - _NAMED} more" if len(decided) > _NAMED else "")
    )
    trend = first.trend
    weak = (
        f"; classes that are weak already lose a larger part (rank correlation {trend.tau:.2f}, {trend.low:.2f} to "
        f"{trend.high:.2f})".replace("-", "\u2212")
        if trend.high < 0
        else ""
    )
    return f"{head}; it takes the largest part of what was left from {most}; {sure}{weak}."


def _points(value: float) -> str:
    return f"{round(100 * value, 1) + 0.0:.1f}".replace("-", "\u2212")


def _order(found: Diagnosis) -> str:
    """Whether attacks rank the classes alike."""
    natural = next((one for one in found.rankings if one.first == NATURAL), None)
    other = next((one for one in found.rankings if one.first != NATURAL), None)
    told: list[str] = []
    for one in (other, natural):
        if one is None or not one.agreement.pairs:
            continue
        a = one.agreement
        where = "without an attack" if one.first == NATURAL else f"under {one.first}"
        told.append(
            f"Of {a.pairs:,} pairs of classes, {a.same:,} stand in the same order {where} and under {found.attack} for "
            f"sure, {a.opposite:,} in the opposite one, and {a.undecided:,} are not decided by these images"
            if not told
            else f"{where} and under {found.attack} it is {a.same:,}, {a.opposite:,} and {a.undecided:,}"
        )
    return f"{'; '.join(told)}." if told else ""
