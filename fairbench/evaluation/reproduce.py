"""Carry out again what a run's record says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from fairbench.data.dataset import Dataset
from fairbench.errors import BadInput
from fairbench.evaluation.evaluate import run_plan
from fairbench.evaluation.recorded import recorded, recorded_plan
from fairbench.evaluation.trust import Trust
from fairbench.progress import Progress, Silent
from fairbench.runs import Run


def reproduce(
    run: Run,
    model: nn.Module,
    dataset: Dataset,
    *,
    device: torch.device | str = "cpu",
    threads: int | None = None,
    out: str | Path | None = None,
    source: str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Evaluate `model` as `run` was evaluated and return the new run.

    Args:
        run: the run to repeat.
        model: the run's network, on `device`, normalisation inside.
        dataset: the run's samples.
        device: where to work; another device than the run's may round differently.
        threads: of the CPU; None: the run's.
        out: a folder for the new run; work that was begun there is continued. None: nothing is written.
        source: where a published model comes from now, with the package that built it; None: as recorded.
        progress: what to report to.

    Raises:
        BadInput: this version cannot repeat the run, `dataset` is another one, or `out` holds a finished run.
        Refused: a check of `trust` that the run had not accepted.
    """
    if out is not None and (Path(out) / "run.json").exists():
        raise BadInput(
            f"the folder {str(out)[:150]!r} holds a finished run, so nothing would be run again; choose another --out."
        )
    plan = recorded_plan(run.record, dataset, device=torch.device(device), threads=threads)
    if source is not None:
        plan = replace(plan, model_record={**plan.model_record, "source": source})
    allowed = "random model" in recorded(run.record, "settings", kind=dict)
    trust = Trust(recorded(run.record, "accepted", kind=list), allow_random=allowed)
    return run_plan(model, plan, trust, out=out, progress=progress or Silent(), normalizations={})
