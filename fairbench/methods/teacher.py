"""A frozen network whose predictions are the labels of a distillation method.

Shape key: B batch, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn


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
