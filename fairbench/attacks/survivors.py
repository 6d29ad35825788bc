"""Who is still robust: the book that each part of AutoAttack keeps about its batch.

Shape key: B batch, C H W image, K classes; b samples that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fairbench.attacks.attack_memory import AttackMemory, Saved
from fairbench.errors import Refused
from fairbench.losses import margin

#: Which of these examples are adversarial: (x_adv, rows) -> (b,) bool. `rows` are places in the attack's batch.
Success = Callable[[Tensor, Tensor], Tensor]


class Survivors:
    """The samples that are still robust, and the examples that broke the others.

    Attributes:
        x_adv: (B, C, H, W) examples where one was found, confirmed or not, else the natural images.
        broken: (B,) bool, which are confirmed.
    """

    def __init__(self, x: Tensor, y: Tensor, success: Success | None) -> None:
        self.x, self.y, self.success = x, y, success
        self.x_adv = x.clone()
        self.broken = torch.zeros(len(y), dtype=torch.bool, device=x.device)

    def begin(self, model: nn.Module) -> Tensor:
        """Predict the natural images, count those that are wrong already as broken, and return the (B, K) logits."""
        with torch.no_grad():
            logits: Tensor = model(self.x)
        self.claim(torch.arange(len(self.y), device=self.y.device), self.x, logits.argmax(1) != self.y)
        return logits

    def left(self) -> Tensor:
        """Return the places of the robust samples, (b,) (waits for the device)."""
        return (~self.broken).nonzero()[:, 0]

    def claim(self, rows: Tensor, x_adv: Tensor, claimed: Tensor, sure: Tensor | None = None) -> Tensor:
        """Record the examples that the attack claims, as far as `success` confirms them (waits for the device).

        An example that it does not confirm is kept too, until a better one comes, but its sample stays in the attack.

        Args:
            rows: (b,) places in the batch.
            x_adv: (b, C, H, W) examples.
            claimed: (b,) which of them fool the attacked network.
            sure: (b,) of the claimed, those that do without a doubt; others are kept only if confirmed. None: all.

        Returns:
            (b,) which are now broken.
        """
        confirmed = torch.zeros_like(claimed)
        chosen = claimed.nonzero()[:, 0]
        if len(chosen):
            examples, places = x_adv[chosen], rows[chosen]
            if self.success is not None:
                kept = slice(None) if sure is None else sure[chosen]
                self.x_adv[places[kept]] = examples[kept]
                fooled = self.success(examples, places)
                chosen, places, examples = chosen[fooled], places[fooled], examples[fooled]
            confirmed[chosen] = True
            self.broken[places] = True
            self.x_adv[places] = examples
        return confirmed

    def saved(self) -> dict[str, Tensor]:
        """Return what has to survive."""
        return {
            "survivors.x_adv": self.x_adv.to("cpu", copy=True, memory_format=torch.contiguous_format),
            "survivors.broken": self.broken.to("cpu", copy=True),
        }

    def recall(self, saved: Saved) -> None:
        """Take up what was saved."""
        self.x_adv.copy_(saved["survivors.x_adv"])
        self.broken.copy_(saved["survivors.broken"])


@dataclass(frozen=True)
class Round:
    """One of an attack's runs over the samples left: a restart, or one of the targets.

    Attributes:
        number: its place among the runs.
        rows: (b,) places of the samples left.
        aims: (B, R) the class that each run aims at; the labels where it aims at none.
        saved: the state to continue from, in the run that was interrupted.
    """

    number: int
    rows: Tensor
    aims: Tensor
    saved: Saved | None

    def target(self, rows: Tensor) -> Tensor:
        """Return the classes that this run aims at, (b,)."""
        return self.aims[rows, self.number]

    def done(self, share: float) -> float:
        """Return the share of all runs that is done when `share` of this one is."""
        return (self.number + share) / self.aims.shape[1]

    def mark(self, book: Survivors) -> dict[str, Tensor]:
        """Return what has to survive so that this run is found again."""
        return {"round.number": torch.tensor(self.number), "round.aims": self.aims.cpu(), **book.saved()}


def rounds(
    model: nn.Module, book: Survivors, memory: AttackMemory | None, aims: Callable[[Tensor], Tensor]
) -> Iterator[Round]:
    """Yield each run while samples are left, beginning with the one that was interrupted.

    Args:
        model: predicts the natural images, unless there is a state to continue from.
        book: who is left.
        memory: gives the state back.
        aims: (B, K) natural logits -> (B, R) classes, one column per run.
    """
    saved = memory.recall() if memory is not None else None
    if saved is None:
        columns, first = aims(book.begin(model)), 0
    else:
        book.recall(saved)
        columns, first = saved["round.aims"].to(book.y.device), int(saved["round.number"])
    for number in range(first, columns.shape[1]):
        rows = book.left()
        if len(rows) == 0:
            return
        yield Round(number, rows, columns, saved if number == first else None)


def share_of_lead(logits: Tensor, y: Tensor) -> Tensor:
    """Return the label's lead over the largest other logit, as a share of the larger of the two, (b,).

    A network in bfloat16 may call right what its original gets wrong where this is small; only the original can tell.
    """
    lead, own = margin(logits, y), logits.gather(1, y[:, None])[:, 0]
    return lead / torch.maximum(own.abs(), (own - lead).abs()).clamp_min(torch.finfo(lead.dtype).tiny)


def check_every(device: torch.device, wanted: int | None) -> int:
    """Return after how many iterations finished samples leave: 1 on the CPU, 10 where asking waits for the device."""
    return wanted if wanted is not None else 1 if device.type == "cpu" else 10


def not_finite(images: Tensor) -> Tensor:
    """Return which images (b, C, H, W) hold NaN or infinite values, (b,): their sum does, too."""
    return ~torch.isfinite(images.flatten(1).sum(1))


def refuse_nan(bad: Tensor, *, what: str, some: bool = False) -> None:
    """Stop where the attacked network's outputs were NaN or infinite for a sample: it would look robust.

    Args:
        bad: (b,) bool.
        what: the attack's name.
        some: `bad` are those among which at least one is.

    Raises:
        Refused: "nan-logits".
    """
    if bool(bad.any()):
        count = f"at least one of {int(bad.sum())}" if some else f"{int(bad.sum())} of {len(bad)}"
        raise Refused(
            "nan-logits",
            f"{what} met NaN or infinite logits or gradients on {count} images, which it could not attack; check the "
            "weights, or attack in a higher precision.",
            overridable=False,
        )
