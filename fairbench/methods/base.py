"""The interface of a training method: how it attacks, what it minimises, and what it remembers.

A method is a `Module` only for its buffers, `.to()` and `state_dict()`. It owns no optimiser, loader, process group,
autocast or print, and sees the network as a plain `model`.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fairbench.attacks.linf import Start, uniform_start
from fairbench.attacks.pgd import Objective, pgd
from fairbench.errors import BadInput
from fairbench.methods.batch import Batch, EpochState, StepLoss
from fairbench.methods.class_rule import SLOTS, ClassRule, Slot, check_fit, check_weighs
from fairbench.methods.hyper import get_hyper, hyper_types, set_hyper, split_hyper
from fairbench.methods.known_labels import KnownLabels
from fairbench.methods.teacher import Teacher, check_teachers
from fairbench.sample_random import SampleRandom

__all__ = ["Batch", "EpochState", "Method", "StepLoss"]


class Method(nn.Module):
    """Base of all training methods; write `attack` and `loss`, and the hooks below where there is state.

    Args:
        num_classes: K.
        eps: the Linf radius in pixel units of [0, 1].
        teachers: a frozen network for each of `roles`.
        slots: class rules that replace those of the class ("reweight", "remargin", "retemper"); None empties a slot.
        hyper: hyper-parameters by name; those of a rule by name where that is unambiguous, or as "rule.name".

    Raises:
        BadInput: a teacher missing or too many, an unknown or wrongly typed hyper-parameter, a rule that does not fit.
    """

    #: The name in METHODS.
    name: ClassVar[str]
    #: Teachers that it needs: ("robust",), ("robust", "natural").
    roles: ClassVar[tuple[str, ...]] = ()
    #: What a rule may rely on: the losses "natural" and "robust" with their logits, "survived", and "teacher" where
    #: teachers' labels pass through `tempered`.
    gives: ClassVar[tuple[str, ...]] = ("natural", "robust", "survived")
    #: What begins later than the training, as in `ClassRule`.
    later: ClassVar[Mapping[str, str]] = {}
    #: `scale` in the recipes default and common where the published loss takes steps of another size; None: no such.
    common_scale: ClassVar[float | None] = None
    reweight: ClassVar[type[ClassRule] | None] = None
    remargin: ClassVar[type[ClassRule] | None] = None
    retemper: ClassVar[type[ClassRule] | None] = None

    attack_mode: Literal["eval", "train"] = "eval"
    steps: int = 10
    step_share: float = 1 / 4

    def __init__(
        self,
        num_classes: int,
        *,
        eps: float,
        teachers: Mapping[str, Teacher | nn.Module] | None = None,
        slots: Mapping[Slot, type[ClassRule] | None] | None = None,
        **hyper: object,
    ) -> None:
        super().__init__()
        self.num_classes, self.eps = num_classes, float(eps)
        self.eps_factor = 1.0  # the loop's warm-up of the radius, set before each epoch
        self.teachers = self._adopt(teachers or {})
        chosen = {slot: getattr(type(self), slot) for slot in SLOTS} | dict(slots or {})
        kinds = {slot: rule for slot, rule in chosen.items() if rule is not None}
        for slot, kind in kinds.items():
            check_fit(kind, slot, host=self.name, gives=self.gives)
        rules = {kind.name: hyper_types(kind, ClassRule) for kind in kinds.values()}
        own, of_rule = split_hyper(hyper, hyper_types(type(self), Method), rules, what=self.name)
        set_hyper(self, Method, own, prefix=f"method {self.name!r}")
        self.check()
        # One object fills all the slots that name its class.
        self.rules = nn.ModuleDict(
            {kind.name: kind(num_classes, **of_rule[kind.name]) for kind in dict.fromkeys(kinds.values())}
        )
        self._slots = {slot: self._rule(kind.name) for slot, kind in kinds.items()}
        self._known: dict[str, KnownLabels] = {}
        for rule in self._each_rule():
            rule.fill(tuple(slot for slot in SLOTS if self._slots.get(slot) is rule))
        if "reweight" in self._slots:
            check_weighs(self._slots["reweight"], host=self.name, gives=self.gives, idle=self.idle_terms())

    # a method writes these two

    def attack(self, model: nn.Module, batch: Batch, random: SampleRandom) -> Batch:
        """Return the batch with its adversarial examples; called inside `crafting()`."""
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """Return the loss of an attacked batch; pure (AWP calls it twice on one batch), and ends in `self.reduce`."""
        raise NotImplementedError

    # and these where it has parameters or state of its own

    def check(self) -> None:
        """Raise BadInput where hyper-parameters make no sense. Overrides call this one."""
        if self.steps < 1 or self.step_share <= 0:
            raise BadInput(
                f"an attack needs at least 1 step and a step_share above 0, but has {self.steps} and {self.step_share}."
            )

    def idle_terms(self) -> set[str]:
        """Return which of the losses "natural" and "robust" have a coefficient of 0 as the method is set."""
        return set()

    def starts(self) -> dict[str, float]:
        """Return {what begins later than the training, in words: the fraction of the epochs}."""
        own = {what: float(getattr(self, name)) for what, name in self.later.items()}
        return own | {what: at for rule in self._each_rule() for what, at in rule.starts().items()}

    def asks_of_x(self) -> tuple[str, ...]:
        """Return the roles of the teachers that label the natural image itself in every step."""
        return ()

    def begin_epoch(self, state: EpochState) -> None:
        """Act once before every epoch; what must survive an interruption is a buffer. Overrides call this one."""
        for rule in self._each_rule():
            rule.begin_epoch(state)

    def observe(self, batch: Batch, step: StepLoss) -> None:
        """Take note of an applied step: the only place where a step changes state. Overrides call this one."""
        for rule in self._each_rule():
            rule.observe(batch, step)

    def validation_attacks(self) -> set[str]:
        """Return the attacks whose outcomes `begin_epoch` and `accepts_average` read."""
        return {rule.validation_attack for rule in self._each_rule() if rule.validation_attack is not None}

    def term_attacks(self) -> set[str]:
        """Return the attacks whose logits `validation_terms` reads: each rule's own; empty where no rule has terms."""
        return {rule.validation_attack for rule in self._each_rule() if rule.validation_attack and rule.has_terms}

    def validation_terms(self, attack: str, y: Tensor, natural: Tensor, robust: Tensor) -> dict[str, Tensor]:
        """Return the named (B,) columns of the rules that validate with `attack`, in memory only.

        They are computed from validation logits, (B, K) each; `robust` are those of the attack's examples.
        """
        rules = [rule for rule in self._each_rule() if rule.validation_attack == attack and rule.has_terms]
        return {k: v for rule in rules for k, v in rule.validation_terms(y, natural, robust).items()}

    def accepts_average(self, state: EpochState) -> bool:
        """Return whether the weights now may enter the average (CFA's gate)."""
        return True

    # provided

    def craft(
        self,
        model: nn.Module,
        batch: Batch,
        random: SampleRandom,
        *,
        start: Start = uniform_start,
        objective: Objective | None = None,
    ) -> Batch:
        """Return the batch with PGD examples within `radius(y)`, and "survived", (B,): correct iterates, 0 .. steps.

        `objective` None is the cross-entropy. The iterates counted are those before each step, the start included.
        """
        eps, step_size = self.radius(batch.y)
        survived = torch.zeros_like(batch.y)

        def count(logits: Tensor, rows: Tensor) -> None:
            survived[rows] += logits.argmax(1) == batch.y[rows]

        x_adv = pgd(
            model, batch.x, batch.y, eps=eps, step_size=step_size, steps=self.steps, start=start, objective=objective,
            random=random, on_step=count,
        )  # fmt: skip
        return batch.plus(x_adv=x_adv, survived=survived)

    def ask(self, batch: Batch, role: str, image: str = "x") -> Batch:
        """Return the batch with the teacher's logits on an image, (B, K), as extra "<role>_<image>"."""
        if image == "x" and role in self._known:
            return batch.plus(**{f"{role}_x": self._known[role](batch.index).to(batch.x.dtype)})
        source = {"x": batch.x, "x_adv": batch.x_adv, **batch.extra}[image]
        assert source is not None, "x_adv does not exist before the attack"
        with torch.no_grad():
            logits = self.teachers[role](source)
        return batch.plus(**{f"{role}_{image}": logits.to(batch.x.dtype)})

    def know(self, role: str, labels: KnownLabels) -> None:
        """Take a teacher's logits of all training images, which are then not asked for again."""
        self._known[role] = labels

    def radius(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B,) radii and step sizes after the remargin rule."""
        eps = torch.full(y.shape, self.eps * self.eps_factor, device=y.device)
        step_size = eps * self.step_share
        rule = self._slots.get("remargin")
        if rule is not None:
            eps, step_size = (value.to(eps.dtype) for value in rule.radius(y, eps, step_size))
        return eps, step_size

    def tempered(self, logits: Tensor, y: Tensor, term: str) -> Tensor:
        """Return teacher logits, (B, K), divided by the retemper rule's temperature for the loss `term`."""
        rule = self._slots.get("retemper")
        return logits if rule is None else logits / rule.temperature(y, term).to(logits.dtype)[:, None]

    def reduce(
        self, y: Tensor, terms: Mapping[str, tuple[float | Tensor, Tensor]], logits: Mapping[str, Tensor]
    ) -> StepLoss:
        """Return the sum over `terms` {name: (coefficient, (B,))} of coefficient * mean(class weight * term).

        A coefficient may be a tensor, () or with one value per row, (B,): it is then part of the mean, and not of the
        raw term. The reweight rule weighs the terms "natural" and "robust"; others (a regulariser) are not weighed.
        """
        seen = {name: value.detach() for name, value in logits.items()}
        rule = self._slots.get("reweight")
        total = torch.zeros((), device=y.device)
        for name, (coefficient, term) in terms.items():
            weighed = term
            if rule is not None and name in ("natural", "robust"):
                weighed = rule.weight(y, name, seen).to(term.dtype) * term
            if isinstance(coefficient, Tensor):
                total = total + (coefficient.to(term.dtype) * weighed).mean()
            else:
                total = total + coefficient * weighed.mean()
        return StepLoss(total, {name: term.detach() for name, (_, term) in terms.items()}, seen)

    def hyper(self) -> dict[str, object]:
        """Return every hyper-parameter with its value; those of rules as "rule.name"."""
        of_rules = {f"{rule.name}.{k}": v for rule in self._each_rule() for k, v in rule.hyper().items()}
        return get_hyper(self, Method) | of_rules

    def class_state(self) -> dict[str, Tensor]:
        """Return every (K,) buffer that is no meter, "rule.buffer" for those of rules: what the log records.

        Left out is what a rule holds for a slot that it does not fill here: no radius was scaled by it.
        """
        buffers = {k.removeprefix("rules."): v for k, v in self.named_buffers() if v.shape == (self.num_classes,)}
        idle = {f"{rule.name}.{name}" for rule in self._each_rule() for name in rule.idle()}
        return {k: v for k, v in buffers.items() if not k.endswith((".total", ".count")) and k not in idle}

    def class_eps(self) -> Tensor | None:
        """Return each class's radius, (K,), in pixel units; None where no rule sets it."""
        if "remargin" not in self._slots:
            return None
        classes = torch.arange(self.num_classes, device=next(self.buffers(), torch.empty(0)).device)
        return self.radius(classes)[0]

    def numbers(self) -> dict[str, float]:
        """Return every buffer that is one number (HAM's savings, MTARD's balance), named as in `class_state`."""
        return {k.removeprefix("rules."): v.item() for k, v in self.named_buffers() if v.ndim == 0}

    def filled_slots(self) -> dict[str, str]:
        """Return {slot: name of its rule}."""
        return {slot: rule.name for slot, rule in self._slots.items()}

    def _rule(self, name: str) -> ClassRule:
        rule = self.rules[name]
        assert isinstance(rule, ClassRule)
        return rule

    def _each_rule(self) -> list[ClassRule]:
        return [self._rule(name) for name in self.rules]

    @classmethod
    def check_roles(cls, teachers: Collection[str]) -> None:
        """Check that a teacher is given for each role, and no other.

        Raises:
            BadInput: a teacher is missing or too many.
        """
        check_teachers(cls.name, cls.roles, teachers)

    def _adopt(self, teachers: Mapping[str, Teacher | nn.Module]) -> dict[str, Teacher]:
        self.check_roles(teachers)
        return {role: t if isinstance(t, Teacher) else Teacher(t) for role, t in teachers.items()}
