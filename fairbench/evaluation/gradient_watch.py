"""A gradient that is NaN or infinite leads an attack nowhere: its sample would look robust.

Logits may be finite where gradients are not, such as sqrt at 0. Our own AutoAttack's parts keep watch themselves; the
package's are watched here, like PGD and its kin.

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
        self._in_part: Tensor | None = None
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's logits."""
        if x.requires_grad:
            x.register_hook(self._note)  # type: ignore[no-untyped-call]
        logits: Tensor = self.network(x)
        return logits

    def _note(self, gradient: Tensor) -> None:
        bad = not_finite(gradient.detach())
        if len(bad) == self._count:
            self._bad = bad if self._bad is None else self._bad | bad
        else:  # a part of the batch: it is not known here which
            self._in_part = bad.any() if self._in_part is None else self._in_part | bad.any()

    def noted(self) -> bool:
        """Return whether any gradient was not finite (waits for the device)."""
        return any(bad is not None and bool(bad.any()) for bad in (self._bad, self._in_part))

    def refuse(self, robust: Tensor, what: str) -> None:
        """Refuse where a sample with such a gradient stayed robust, (B,), or may have.

        Raises:
            Refused: "nan-logits".
        """
        if not self.noted():
            return
        if self._bad is not None:
            refuse_nan(self._bad & robust.to(self._bad.device), what=what)
        if self._in_part is not None and bool(self._in_part):
            refuse_nan(robust, what=what, some=True)
