"""`fairbench eval --find-worst` and `--worst-below`: the question as it was typed, and the answer as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fairbench.evaluation.find_worst import Finding


def question(find_worst: bool, worst_below: str | None, confidence: str | None) -> tuple[float, float | None] | None:
    """Return what was asked as (confidence, accuracy to be below), None where a full run is wanted; without torch.

    Raises:
        BadInput: both questions at once, a number that is none, or a confidence without a question.
    """
    from fairbench.errors import BadInput

    if not find_worst and worst_below is None:
        if confidence is not None:
            raise BadInput("--confidence is of --find-worst and --worst-below, but neither was given; add one of them.")
        return None
    if find_worst and worst_below is not None:
        raise BadInput("--find-worst and --worst-below are two questions; ask one: the first also gives the accuracy.")
    sure = 0.95 if confidence is None else _fraction("--confidence", confidence, "0.95")
    below = None if worst_below is None else _fraction("--worst-below", worst_below, "0.25")
    return sure, below


def _fraction(option: str, text: str, example: str) -> float:
    from fairbench.errors import BadInput
    from fairbench.threat import parse_number

    value = parse_number(text, what=option, example=example)
    if not 0 < value < 1:
        raise BadInput(f"{option} must lie between 0 and 1, such as {example}, but is {text[:40]!r}.")
    return value


def exit_code(finding: Finding) -> int:
    """Return 1 where the worst class is below the accuracy that was asked for, else 0."""
    return 1 if finding.record.get("worst_is_below") else 0


def print_finding(finding: Finding) -> None:
    """Print flags, the answer, its certificate, the population's interval, the cost, and the folder on the last line.

    A raised flag says that the full run, too, may find too little: the answer names it.
    """
    from fairbench.cli.flag_lines import flag_lines
    from fairbench.reporting.flags import raised_flags
    from fairbench.reporting.table_formats import plain

    record = finding.record
    for line in flag_lines(record, [known["name"] for known in record["classes"]]):
        click.echo(line)
    if raised_flags(record):
        click.echo("The flags above doubt the full run itself: its accuracies, and this answer, may be too good.")
    spent, asked = record["spent"], record["question"]
    if "worst_class" in record:
        sizes = {known["count"] for known in record["classes"] if known["count"]}
        _print_worst(record["worst_class"], one_size=len(sizes) == 1)
    else:
        below = f"{100 * asked['below']:g} %"
        answer = f"Yes, below {below}" if record["worst_is_below"] else f"No, not below {below}"
        click.echo(f"{answer}: the worst class of the full run under {plain(str(record['cascade']))}.")
        if record.get("certain"):
            click.echo("Certificate: certain, the verdicts that are known leave no other answer.")
        else:
            least = _rest(asked["confidence"])
            click.echo(f"Certificate: wrong with a probability of at most {least}, over the order of drawing.")
    click.echo(
        f"Spent: full verdicts on {spent['drawn']} of the {spent['survivors']} samples that the first part left, "
        f"{spent['forwards'] / 1e6:.3g} of about {spent['full_forwards'] / 1e6:.3g} million forwards "
        f"({100 * spent['share']:.1f} %, by AutoAttack's published budget)."
    )
    click.echo(str(finding.folder))


def _print_worst(worst: dict[str, Any], *, one_size: bool) -> None:
    from fairbench.reporting.table_formats import plain

    name = plain(str(worst["name"]))
    low, high = (100 * end for end in worst["population_interval"])
    click.echo(
        f"Worst class of the full run: {name}, robust accuracy {100 * worst['accuracy']:.1f} % "
        f"({worst['robust']} of {worst['count']}, its verdicts are complete)."
    )
    others = [plain(str(other)) for other in worst["tied"][1:]]
    if others:
        click.echo(f"Exactly as bad: {', '.join(others)}.")
    if worst["certain"]:
        click.echo("Certificate: certain, every other class is excluded by its counts.")
    else:
        click.echo(
            "Certificate: a race names a class that is not the worst of the full run with a probability of at most "
            f"{_rest(worst['confidence'])}, over the order of drawing."
        )
    click.echo(
        f"Population: on new images the worst class, whichever it is there, is robust on {low:.1f} to {high:.1f} % "
        f"(95 %; {'the interval' if one_size else 'it holds the interval'} that the full run's report gives"
        f"{'' if worst['certain'] else ', if the answer is right'})."
    )


def _rest(confidence: float) -> str:
    return f"{100 * (1 - confidence):.3g} %"
