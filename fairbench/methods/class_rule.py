"""A published per-class rule: a weight on losses, a radius for attacks, or a temperature on teachers' labels.

A rule fills one or several slots of a method: `reweight`, `remargin`, `retemper`. Its state is (K,) buffers.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from fairbench.errors import BadInput
from fairbench.methods.batch import SECOND_EPOCH, Batch, EpochState, StepLoss
from fairbench.methods.hyper import get_hyper, set_hyper

Slot = Literal["reweight", "remargin", "retemper"]
SLOTS: tuple[Slot, ...] = get_args(Slot)
_HOOKS: dict[Slot, str] = {"reweight": "weight", "remargin": "radius", "retemper": "temperature"}
_SLOT_NEEDS: dict[Slot, tuple[str, ...]] = {"reweight": (), "remargin": ("robust",), "retemper": ("teacher",)}
_WORDS = {
    "natural": "a loss on natural images",
    "robust": "a loss on adversarial images",
    "survived": "a count of the attack steps that a sample withstands",
    "teacher": "a teacher's labels",
}


class ClassRule(nn.Module):
    """Base of all rules; one class per published rule, in its method's file."""

    #: The name in CLASS_RULES, in `-p name.hyper=value` and in the log.
    name: ClassVar[str]
    #: What its host must give, a subset of `Method.gives`.
    needs: ClassVar[tuple[str, ...]] = ()
    #: The attack whose validation outcomes it reads in `begin_epoch`.
    validation_attack: ClassVar[str | None] = None
    #: What begins later than the training, in words: the hyper-parameter that holds the fraction of the epochs.
    later: ClassVar[Mapping[str, str]] = {}
    #: To be named there by a rule that learns from every epoch what it applies in the next.
    second_epoch: ClassVar[float] = SECOND_EPOCH
    #: The (K,) buffers that each slot applies to losses, attacks or labels; others are only remembered.
    applied: ClassVar[Mapping[Slot, tuple[str, ...]]] = {}

    def __init__(self, num_classes: int, **hyper: object) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.slots: tuple[Slot, ...] = ()  # those that it fills, known from `fill` on
        set_hyper(self, ClassRule, hyper, prefix=f"class rule {self.name!r}")
        self.check()

    def check(self) -> None:
        """Raise BadInput where hyper-parameters make no sense."""

    def fill(self, slots: tuple[Slot, ...]) -> None:
        """Take note of the slots that it fills in its host; overrides call this one.

        Raises:
            BadInput: its hyper-parameters leave nothing to do there.
        """
        self.slots = slots

    def weighs(self, terms: Collection[str]) -> Collection[str]:
        """Return which of a host's losses, "natural" and "robust", it gives weights other than 1: slot reweight."""
        return terms

    def idle(self) -> set[str]:
        """Return its buffers that belong to slots which it does not fill here: they change nothing."""
        every = {name for names in self.applied.values() for name in names}
        return every - {name for slot in self.slots for name in self.applied.get(slot, ())}

    def weight(self, y: Tensor, term: str, logits: Mapping[str, Tensor]) -> Tensor:
        """Return (B,) weights of the losses `term` ("natural" or "robust"): slot reweight."""
        raise NotImplementedError

    def radius(self, y: Tensor, eps: Tensor, step_size: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B,) radii and step sizes, given those of the method: slot remargin."""
        raise NotImplementedError

    def temperature(self, y: Tensor, term: str) -> Tensor:
        """Return (B,) temperatures of the teacher's labels for the loss `term`: slot retemper."""
        raise NotImplementedError

    def starts(self) -> dict[str, float]:
        """Return {what begins later than the training, in words: the fraction of the epochs}."""
        return {what: float(getattr(self, name)) for what, name in self.later.items()}

    def begin_epoch(self, state: EpochState) -> None:
        """Act before an epoch; what must survive an interruption is a buffer."""

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Take note of an applied step."""

    def validation_terms(self, y: Tensor, natural: Tensor, robust: Tensor) -> dict[str, Tensor]:
        """Return named (B,) columns computed from validation logits, (B, K) each; `robust` under its own attack."""
        return {}

    @property
    def has_terms(self) -> bool:
        """Whether it computes `validation_terms`."""
        return type(self).validation_terms is not ClassRule.validation_terms

    def hyper(self) -> dict[str, object]:
        """Return every hyper-parameter with its value."""
        return get_hyper(self, ClassRule)

    @staticmethod
    def change(buffer: Tensor, new: Tensor) -> None:
        """Overwrite `buffer` where `new` is not NaN: an absent class keeps its value."""
        buffer.copy_(torch.where(new.isnan(), buffer, new.to(buffer.dtype)))

    @classmethod
    def fills(cls, slot: Slot) -> bool:
        """Return whether the rule has the slot's hook."""
        return getattr(cls, _HOOKS[slot]) is not getattr(ClassRule, _HOOKS[slot])


def check_weighs(rule: ClassRule, *, host: str, gives: Sequence[str], idle: Collection[str]) -> None:
    """Check that a reweight rule weighs at least one loss that counts; `idle` have a coefficient of 0.

    Raises:
        BadInput: it would change nothing.
    """
    weighed = rule.weighs([term for term in ("natural", "robust") if term in gives])
    if weighed and all(term in idle for term in weighed):
        wanted = " and ".join(_WORDS[term] for term in weighed)
        raise BadInput(
            f"--reweight {rule.name} weighs {wanted.removeprefix('a ')} alone, which has a coefficient of 0 in method "
            f"{host!r} as it is set here, so that it would change nothing; choose another rule, or another -p."
        )


def check_fit(rule: type[ClassRule], slot: Slot, *, host: str, gives: Sequence[str]) -> None:
    """Check that a rule fills a slot and that its host gives what rule and slot need.

    Raises:
        BadInput: one sentence that says what is missing.
    """
    if not rule.fills(slot):
        able = " or ".join(f"--{s}" for s in SLOTS if rule.fills(s))
        raise BadInput(f"the class rule {rule.name!r} cannot {slot}; it can be given to {able}.")
    missing = [need for need in dict.fromkeys((*_SLOT_NEEDS[slot], *rule.needs)) if need not in gives]
    if missing:
        wanted = " and ".join(_WORDS[need] for need in missing)
        raise BadInput(
            f"--{slot} {rule.name} does not fit method {host!r}, which has no {wanted.removeprefix('a ')}; "
            "choose another method or rule."
        )
