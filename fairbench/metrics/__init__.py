"""Per-class metrics with honest uncertainty: NumPy, SciPy and pandas, never torch.

    import fairbench
    run = fairbench.read_run("reports/digits-sat")
    fairbench.metrics.summarize(run)["attacks"]["pgd20"]["worst_class"]

Accuracies are fractions in [0, 1]; an absent class is NaN.
"""

from fairbench.metrics.classwise import (
    average,
    class_accuracy,
    class_average,
    class_gap,
    normalized_std,
    rho,
    std,
    worst_class,
    worst_class_accuracy,
    worst_share,
)
from fairbench.metrics.compare import compare_runs
from fairbench.metrics.confusion import confusion_matrix
from fairbench.metrics.diagnosis import diagnose
from fairbench.metrics.equal import if_equal
from fairbench.metrics.intervals import metric_intervals
from fairbench.metrics.seeds import seed_interval
from fairbench.metrics.summary import metrics_bytes, summarize

__all__ = [
    "average",
    "class_accuracy",
    "class_average",
    "class_gap",
    "compare_runs",
    "confusion_matrix",
    "diagnose",
    "if_equal",
    "metric_intervals",
    "metrics_bytes",
    "normalized_std",
    "rho",
    "seed_interval",
    "std",
    "summarize",
    "worst_class",
    "worst_class_accuracy",
    "worst_share",
]
