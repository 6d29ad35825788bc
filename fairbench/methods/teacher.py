"""A frozen network whose predictions are the labels of a distillation method.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from fairbench.errors import BadInput


class Teacher:
    """A network in eval mode with frozen parameters; not a Module, so no state dict or optimiser ever holds it.

    The network is frozen in place. Gradients flow through it to its input where they are switched on (AdaAD).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval()
        for p in model.parameters():
            p.requires_grad_(False)

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits, (B, K)."""
        logits = self.model(x)
        assert isinstance(logits, Tensor)
        return logits


def check_teachers(method: str, roles: Sequence[str], given: Collection[str]) -> None:
    """Check that a teacher is given for each role of a method, and no other.

    Raises:
        BadInput: a teacher is missing or too many.
    """
    if set(given) == set(roles):
        return
    got = " and ".join(f"one as {role[:40]}" if role else "one without a role" for role in given) or "none"
    if not roles:
        raise BadInput(f"method {method!r} takes no teacher, but was given {got}; leave --teacher out.")
    if len(roles) == 1:
        raise BadInput(f"method {method!r} takes one teacher, but was given {got}; give --teacher CHECKPOINT.")
    example = " ".join(f"--teacher {role}=CHECKPOINT" for role in roles)
    raise BadInput(
        f"method {method!r} takes {len(roles)} teachers, one as {' and one as '.join(roles)}, but was "
        f"given {got}; give {example}."
    )
