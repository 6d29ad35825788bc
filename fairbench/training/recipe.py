"""A recipe: everything about a training that is neither the method nor the data.

What depends on the epoch is a fraction of the schedule, so that `--epochs` scales it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from fairbench.errors import BadInput, unknown

Select = Literal["last", "best-average", "best-worst-class", "best-sum"]
SELECT_RULES: tuple[Select, ...] = get_args(Select)
UNITS: tuple[str, ...] = ("epoch", "step")
Unit = Literal["epoch", "step"]
Decay = float | Literal["uniform"]
#: When weights enter the average, the decay ("uniform" weighs all that entered alike), and the fraction of the epochs
#: from which on they enter; without it, all do.
Average = tuple[Unit, Decay] | tuple[Unit, Decay, float]
_ELSEWHERE = ("model", "normalize", "eps", "fine_tune", "source")


@dataclass(frozen=True)
class Recipe:
    """A training recipe; SGD throughout.

    Attributes:
        name: as on the command line.
        epochs: passes over the training images.
        batch_size: rows of one step over all processes.
        lr: initial learning rate.
        schedule: (fraction of the epochs, factor on the initial learning rate from there on), in order.
        augment: a name in `fairbench.data.batches.AUGMENTATIONS`.
        precision: of the network's forward and backward in training; everything else is float32.
        compile: whether torch.compile is used in training.
        channels_last: the memory layout in training.
        sync_batch_norm: batch norm over all processes (CUDA only).
        cache_teacher: whether teachers label the natural images once, before the first step; without augmentation only.
        average: None, or which weights are averaged: ("epoch", 0.85), ("step", 0.999), ("epoch", "uniform", 0.75).
        awp: gamma of adversarial weight perturbation (Wu et al., NeurIPS 2020); 0 is off.
        awp_start: the fraction of the epochs where it begins, below 1.
        eps_warmup: the fraction of the epochs over which the radius rises linearly; validation has the full radius.
        validation_attack: the attack string of per-class validation.
        select: the rule by which the checkpoint is chosen, on validation images only.
        hyper: hyper-parameters that the recipe gives the method.
        model: the architecture, where a person names none; None: the data set's.
        normalize: inside the network, where a person says nothing.
        eps: the Linf radius, where a person gives none; None: the data set's.
        fine_tune: whether it only makes sense from a trained network (`--init`).
        source: where the values come from.
    """

    name: str
    epochs: int
    batch_size: int
    lr: float
    schedule: tuple[tuple[float, float], ...] = ()
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False
    augment: str = "none"
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    channels_last: bool = False
    sync_batch_norm: bool = False
    cache_teacher: bool = False
    average: Average | None = None
    awp: float = 0.0
    awp_start: float = 0.0
    eps_warmup: float = 0.0
    validation_attack: str = "pgd10"
    select: Select = "last"
    hyper: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    normalize: str | None = None
    eps: str | None = None
    fine_tune: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        """Check ranges.

        Raises:
            BadInput: a value that cannot be trained with.
        """
        for name, low in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < low:
                raise BadInput(f"{name} must be at least {low}, but is {getattr(self, name)}.")
        if not 0 <= self.eps_warmup < 1:
            raise BadInput(f"eps_warmup is a fraction of the epochs below 1, but is {self.eps_warmup}.")
        if not 0 < self.lr < float("inf"):
            raise BadInput(f"the learning rate must be above 0, but is {self.lr}.")
        if not 0 <= self.awp < float("inf"):
            raise BadInput(f"awp is a share of the weights' norm of at least 0, such as 0.005, but is {self.awp}.")
        check_start(self.awp_start, "the start of AWP")
        if self.average is not None:
            object.__setattr__(self, "average", _checked(self.average))
        if self.select not in SELECT_RULES:
            raise unknown("selection rule", self.select, SELECT_RULES)

    def record(self) -> dict[str, Any]:
        """Return every value for the sidecar, but those that it holds elsewhere (architecture, radius, start)."""
        record = {name: value for name, value in asdict(self).items() if name not in _ELSEWHERE}
        if not self.cache_teacher:
            del record["cache_teacher"]  # records of trainings without it are as they always were
        return record

    def change(self, **given: Any) -> Recipe:
        """Return the recipe with the values that are not None replaced.

        Raises:
            BadInput: a value that cannot be trained with, or a start of something that is off.
        """
        changed = replace(self, **{name: value for name, value in given.items() if value is not None})
        if given.get("awp_start") is not None and not changed.awp:
            raise BadInput(
                f"--awp-start {given['awp_start']:g} was given, but AWP, which it would begin, is off; "
                "give --awp GAMMA, such as --awp 0.005, or leave --awp-start out."
            )
        return changed


def _checked(average: Average) -> Average:
    """Return the average without a start of 0, which changes nothing: its record and state are those without it."""
    unit, decay = average[:2]
    if unit not in UNITS or not (decay == "uniform" or 0 <= decay < 1):
        raise BadInput(
            f"an average is epoch or step and a decay in [0, 1) or uniform, such as epoch:0.85, but is {average}."
        )
    check_start(average_start(average), "the start of the average")
    return average if average_start(average) else (unit, decay)


def average_start(average: Average) -> float:
    """Return the fraction of the epochs from which on weights enter."""
    return average[2] if len(average) == 3 else 0.0


def check_start(start: float, what: str) -> None:
    """Check a fraction of the epochs from which on something is done.

    Raises:
        BadInput: it lies outside [0, 1); what begins at 1 never begins.
    """
    if not 0 <= start < 1:
        raise BadInput(f"{what} must be a fraction of the epochs from 0 to below 1, such as 0.75, but is {start:g}.")


def check_sync_batch_norm(device: str) -> None:
    """Check that batch norm over all processes is asked for where there is one.

    Raises:
        BadInput: the device is no CUDA device.
    """
    if not device.startswith("cuda"):
        raise BadInput(
            f"--sync-batch-norm makes CUDA devices share batch statistics, but the device is {device}; leave it "
            "out, or give --device cuda."
        )
