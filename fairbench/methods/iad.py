"""IAD: introspective adversarial distillation, IAD-I and IAD-II (Zhu et al., ICLR 2022).

Paper      Reliable adversarial distillation with unreliable teachers, https://arxiv.org/abs/2106.04928
Official   https://github.com/ZFancy/IAD @ a8091a8c75
Published  none that could be read.
Measured   accuracy on MNIST in benchmarks/results, not at the scale of the paper. Against the released step of I and
           II on random inputs with the same noise, attack in train mode, before and after `begin`, T 1 and 4: loss and
           gradient to 9e-15.
Differs    In IAD-I the teacher's part is not multiplied by its trust, as released; in IAD-II it is. The released code
           attacks in train mode (`-p attack_mode=train`), does not clamp the random start (`-p clamp_start=false`), and
           runs x_adv once more through the student for nothing. IAD-II there runs x through the student from `begin` on
           only, here always.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fairbench.errors import BadInput
from fairbench.losses import cross_entropy, kl_divergence
from fairbench.methods.ard import ARD
from fairbench.methods.base import Batch, EpochState, StepLoss
from fairbench.sample_random import SampleRandom


class IAD(ARD):
    """Trust the teacher t by a = p_t(y | x_adv)^beta and, where it is not trusted, the student's own prediction of x.

    Before `begin` (a fraction of the schedule; none: 60/200 for I, 40/200 for II) a = 1. With T the temperature and
    own = KL(f(x) || f(x_adv)), from which gradients reach f(x), too:

        I   alpha * (T^2 KL(t(x) / T || f(x_adv) / T) + (1 - a) own) + (1 - alpha) CE(f(x), y)
        II  (1 - alpha_1 - alpha_2) CE(f(x_adv), y) + alpha_1 T^2 (a KL(t(x_adv) / T || f(x_adv) / T) + (1 - a) own)
            + alpha_2 T^2 KL(n(x_adv) / T || f(x_adv) / T)

    II needs a second teacher n, trained naturally (`--teacher natural=CHECKPOINT`).
    """

    name: ClassVar[str] = "iad"
    later: ClassVar[Mapping[str, str]] = {"IAD to doubt its teacher": "_begin"}
    variant: Literal["I", "II"] = "I"
    temperature: float = 1.0
    alpha_1: float = 0.5
    alpha_2: float = 0.25
    beta: float = 0.1
    begin: float | None = None

    exponent: Tensor

    @classmethod
    def check_roles(cls, teachers: Collection[str]) -> None:
        """Let the second teacher of IAD-II pass; `check` knows the variant."""
        super().check_roles([role for role in teachers if role != "natural"])

    def check(self) -> None:
        """Raise BadInput where the second teacher is missing or too many, or where coefficients leave [0, 1]."""
        super().check()
        if ("natural" in self.teachers) != (self.variant == "II"):
            raise BadInput(
                "variant II of method 'iad' takes a naturally trained second teacher (--teacher natural=CHECKPOINT), "
                f"and variant I none; this is variant {self.variant} with {' and '.join(self.teachers)}."
            )
        if self.alpha_1 + self.alpha_2 > 1:
            raise BadInput(f"alpha_1 + alpha_2 must be at most 1, but is {self.alpha_1} + {self.alpha_2}.")

    def idle_terms(self) -> set[str]:
        """Return the natural loss in II, and in I where alpha is 1."""
        return {"natural"} if self.variant == "II" else super().idle_terms()

    def __init__(self, num_classes: int, **options: object) -> None:
        super().__init__(num_classes, **options)  # type: ignore[arg-type]
        # Trust is p^exponent: 0 before `begin`, beta from there on.
        self.register_buffer("exponent", torch.zeros(()))

    def begin_epoch(self, state: EpochState) -> None:
        """Begin to doubt the teacher when the time has come."""
        super().begin_epoch(state)
        begun = state.epoch >= state.at(self._begin)
        self.exponent.fill_(self.beta if begun else 0.0)

    @property
    def _begin(self) -> float:
        default = 60 / 200 if self.variant == "I" else 40 / 200
        return default if self.begin is None else self.begin

    def asks_of_x(self) -> tuple[str, ...]:
        """Return the role of the teacher that labels the natural image: none in variant II."""
        return ("robust",) if self.variant == "I" else ()

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with PGD examples and the teachers' logits."""
        if self.variant == "I":
            batch = self.ask(batch, "robust")
        batch = self.ask(self.craft(model, batch, random, start=self.start), "robust", "x_adv")
        return batch if self.variant == "I" else self.ask(batch, "natural", "x_adv")

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the variant's loss; all its parts on x_adv are one term."""
        robust, natural = model(batch.adversarial), model(batch.x)
        trust = batch.extra["robust_x_adv"].softmax(1).gather(1, batch.y[:, None])[:, 0] ** self.exponent
        own = (1 - trust) * kl_divergence(natural, robust)
        if self.variant == "I":
            terms = {
                "robust": (self.alpha, self._guided(batch, "robust_x", robust) + own),
                "natural": (1 - self.alpha, cross_entropy(natural, batch.y)),
            }
        else:
            hard = (1 - self.alpha_1 - self.alpha_2) * cross_entropy(robust, batch.y)
            trusted = trust * self._guided(batch, "robust_x_adv", robust) + self.temperature**2 * own
            second = self.alpha_2 * self._guided(batch, "natural_x_adv", robust)
            terms = {
                "robust": (1.0, hard + self.alpha_1 * trusted + second),
                "natural": (0.0, cross_entropy(natural.detach(), batch.y)),
            }
        return self.reduce(batch.y, terms, {"robust": robust, "natural": natural})

    def _guided(self, batch: Batch, source: str, student: Tensor) -> Tensor:
        """Return T^2 times the divergence of the student from a teacher's label, (B,)."""
        label = self.tempered(batch.extra[source], batch.y, "robust")
        return self.temperature**2 * kl_divergence(label / self.temperature, student / self.temperature)
