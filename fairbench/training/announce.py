"""Say every resolved value of a training under an author's recipe, one a line."""

from __future__ import annotations

from typing import Any

from fairbench.progress import Progress
from fairbench.training.loop import Job


def resolved_values(job: Job) -> dict[str, Any]:
    """Return every value that the training goes by: where the recipe is from, how many images, and all settings.

    Values of the recipe and hyper-parameters have their own names, those of any other group the group's before them
    ("teachers robust"). What a recipe gives the method stands among the hyper-parameters, as it was resolved.
    """
    values: dict[str, Any] = {
        "source": job.recipe.source, "training images": len(job.train), "validation images": len(job.validation),
    }  # fmt: skip
    for group, value in job.settings.items():
        if group == "recipe":
            values |= {"recipe" if name == "name" else name: v for name, v in value.items() if name != "hyper"}
        elif group == "hyper":
            values |= value
        elif isinstance(value, dict) and value:
            values |= {f"{group} {name}": v for name, v in value.items()}
        else:
            values[group] = value
    return values


def announce(job: Job, progress: Progress) -> None:
    """Print them above the bars."""
    for name, value in resolved_values(job).items():
        progress.say(f"  {name} = {_text(value)}")


def _text(value: Any) -> str:
    """Return a value as people read it: none for nothing, and lists without quotes, inner ones in brackets."""
    if value is None or value in ({}, []):
        return "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(f"({_text(one)})" if isinstance(one, (list, tuple)) else _text(one) for one in value)
    return str(value)
