"""A gradient that is NaN or infinite leads an attack nowhere: its sample would look robust.

Logits may be finite where gradients are not, such as sqrt at 0. AutoAttack's own parts keep watch themselves.

Shape key: B batch, C H W image, K classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from fairbench.attacks.survivors import not_finite, refuse_nan


class GradientWatch(nn.Module):
    """A network that takes note of samples whose input gradient was not finite, without waiting for the device.

    Args:
        network: (B, C, H, W) pixels in, (B, K) logits out.
        count: B, of the whole batch.
    """

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network, self._count = network, count
        self._bad: Tensor | None = None
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's logits."""
        if x.requires_grad:
            x.register_hook(self._note)  # type: ignore[no-untyped-call]
        logits: Tensor = self.network(x)
        return logits

    def _note(self, gradient: Tensor) -> None:
        bad = not_finite(gradient.detach())
        if len(bad) != self._count:  # a part of the batch: it is not known here which
            bad = bad.any().expand(self._count)
        self._bad = bad if self._bad is None else self._bad | bad

    def refuse(self, robust: Tensor, what: str) -> None:
        """Refuse where a sample with such a gradient stayed robust, (B,).

        Raises:
            Refused: "nan-logits".
        """
        if self._bad is not None:
            refuse_nan(self._bad & robust.to(self._bad.device), what=what)
