"""Say every resolved value of a training under an author's recipe, one a line."""

from __future__ import annotations

from fairbench.progress import Progress
from fairbench.training.loop import Job


def resolved_values(job: Job) -> dict[str, object]:
    """Return every value that the training goes by: what is trained, the recipe, and the method's hyper-parameters."""
    recipe, settings = job.recipe, job.settings
    what = ("dataset", "architecture", "normalize", "norm", "eps_text", "method", "slots", "init", "seed")
    return {
        "source": recipe.source,
        **{name: settings[name] for name in what},
        "training images": len(job.train),
        "validation images": len(job.validation),
        **{name: value for name, value in recipe.record().items() if name not in ("hyper", "name")},
        **job.method.hyper(),
    }


def announce(job: Job, progress: Progress) -> None:
    """Print them above the bars."""
    for name, value in resolved_values(job).items():
        progress.say(f"  {name} = {value if value is not None else 'none'}")
