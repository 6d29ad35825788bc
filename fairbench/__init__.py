"""fairbench: how robust an image classifier is for each class, not only on average.

    import fairbench
    model = fairbench.load_model("checkpoints/digits-trades.pt")
    run = fairbench.evaluate(model, "digits", attacks=["pgd20"])
    fairbench.metrics.summarize(run)

Names are imported when they are first used: importing fairbench loads neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from fairbench import metrics
    from fairbench.data.dataset import ArrayDataset, Dataset
    from fairbench.data.load import load_dataset
    from fairbench.errors import BadInput, FairbenchError, NotComparable, Refused
    from fairbench.evaluation.evaluate import evaluate
    from fairbench.models.load import load_model
    from fairbench.outcomes import Outcomes
    from fairbench.runs import Run, read_run
    from fairbench.training import recipes

_HOMES = {
    "ArrayDataset": "fairbench.data.dataset",
    "BadInput": "fairbench.errors",
    "Dataset": "fairbench.data.dataset",
    "FairbenchError": "fairbench.errors",
    "NotComparable": "fairbench.errors",
    "Outcomes": "fairbench.outcomes",
    "Refused": "fairbench.errors",
    "Run": "fairbench.runs",
    "evaluate": "fairbench.evaluation.evaluate",
    "load_dataset": "fairbench.data.load",
    "load_model": "fairbench.models.load",
    "read_run": "fairbench.runs",
}

__all__ = [
    "ArrayDataset",
    "BadInput",
    "Dataset",
    "FairbenchError",
    "NotComparable",
    "Outcomes",
    "Refused",
    "Run",
    "__version__",
    "evaluate",
    "load_dataset",
    "load_model",
    "metrics",
    "read_run",
    "recipes",
]


def __getattr__(name: str) -> Any:
    if name == "metrics":
        return importlib.import_module("fairbench.metrics")
    if name == "recipes":
        return importlib.import_module("fairbench.training.recipes")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'fairbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
