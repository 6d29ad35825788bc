"""What one training of a suite showed: its accuracies, its cost, and how far its class state moved.

Shape key: K classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairbench.benchmarking.plan import checkpoint_of, run_of, start_of
from fairbench.methods import CLASS_RULES
from fairbench.methods.class_rule import Slot
from fairbench.metrics import rho
from fairbench.runs import read_json

#: A class state whose largest and smallest value over classes differ by less than this share of their mean has hardly
#: moved: the row is marked "inactive".
INACTIVE_BELOW = 0.01
_METRICS = ("average", "worst_class", "normalized_std")


@dataclass(frozen=True)
class SeedResult:
    """One trained and evaluated row.

    Attributes:
        seed: of the training.
        metrics: {attack: what metrics.json has}, "natural" first.
        cost: the sidecar's: seconds, forwards, backwards, teacher_forwards, teacher_backwards, skipped_steps; and
            "saved_forwards" and "saved_backwards" where the method counts them; those of a training that it continues
            included.
        ranges: {buffer: relative range over classes in the last epoch} of what the method applied by class: weights,
            radii and temperatures in force, and a method's own tally. Multipliers behind a weight are none.
    """

    seed: int
    metrics: Mapping[str, Mapping[str, Any]]
    cost: Mapping[str, float]
    ranges: Mapping[str, float]

    def value(self, attack: str, metric: str) -> float:
        """Return "average", "worst_class" or "normalized_std"; NaN where undefined."""
        found = self.metrics[attack][metric]
        if metric == "worst_class":
            found = found["accuracy"]
        return float("nan") if found is None else float(found)

    def if_equal(self, attack: str, metric: str) -> float:
        """Return a metric as expected on these images if all classes had the average accuracy; NaN where undefined."""
        found = self.metrics[attack]["if_equal"][metric]["expected"]
        return float("nan") if found is None else float(found)

    def rho_over(self, baseline: SeedResult, attack: str) -> float:
        """Return WAT's rho over a baseline with the same seed."""
        ours, theirs = self.metrics[attack], baseline.metrics[attack]
        return rho(_accuracy(ours), _accuracy(theirs), count=ours["class_count"])

    @property
    def inactive(self) -> bool:
        """Whether something is applied by class, and none of it moved."""
        return bool(self.ranges) and max(self.ranges.values()) < INACTIVE_BELOW


def read_result(out: Path, row: str, seed: int) -> SeedResult:
    """Read a finished job of a suite's folder.

    Raises:
        BadInput: a file is missing or damaged.
    """
    key = f"{row}-{seed}"
    checkpoint = checkpoint_of(out, key)
    sidecar = read_json(checkpoint.with_suffix(".json"), what="sidecar")
    lines = checkpoint.with_name(f"{key}.log.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    saved = {k: v for k, v in (last.get("numbers") or {}).items() if k.startswith("saved_")}
    start = checkpoint_of(out, start_of(key)).with_suffix(".json")
    cost = dict(sidecar["cost"])
    if start.exists():
        for name, spent in read_json(start, what="sidecar")["cost"].items():
            cost[name] = cost.get(name, 0) + spent
    slots: dict[Slot, str] = sidecar.get("slots") or {}
    applied = {f"{rule}.{name}" for slot, rule in slots.items() for name in CLASS_RULES[rule].applied.get(slot, ())}
    state = {k: v for k, v in (last.get("class_state") or {}).items() if "." not in k or k in applied}
    ranges = {name: relative_range(values) for name, values in state.items()}
    return SeedResult(seed, read_metrics(out, key), {**cost, **saved}, ranges)


def read_metrics(out: Path, key: str) -> dict[str, Any]:
    """Return a finished job's {attack: metrics}."""
    attacks = read_json(run_of(out, key) / "metrics.json", what="metrics")["attacks"]
    assert isinstance(attacks, dict)
    return attacks


def relative_range(values: Sequence[float]) -> float:
    """Return (largest - smallest) / mean of the absolute values of (K,) numbers; 0 where all are 0."""
    state = np.asarray(values, dtype=np.float64)
    scale = np.abs(state).mean()
    return float((state.max() - state.min()) / scale) if scale > 0 else 0.0


def _accuracy(metrics: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([np.nan if value is None else value for value in metrics["class_accuracy"]], dtype=np.float64)
