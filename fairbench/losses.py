"""Per-sample losses: logits in, (B,) out, never reduced; only a method reduces.

Shape key: B batch, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return -log softmax(logits)[y], (B,)."""
    return F.cross_entropy(logits, y, reduction="none")


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Return the label's logit minus the largest other, (B,): above 0 is classified as y.

    -inf logits of absent rivals are allowed; with one class the margin is infinite.
    """
    own = logits.gather(1, y[:, None])[:, 0]
    rivals = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return own - rivals


def kl_divergence(target_logits: Tensor, logits: Tensor) -> Tensor:
    """Return KL(softmax(target_logits) || softmax(logits)), (B,): summed over classes.

    Gradients flow through both arguments. PyTorch's `KLDivLoss(reduction="mean")`, which much released distillation
    code uses, is this divided by K and averaged over the batch.
    """
    target = F.log_softmax(target_logits, 1)
    return (target.exp() * (target - F.log_softmax(logits, 1))).sum(1)


def soft_cross_entropy(target_logits: Tensor, logits: Tensor) -> Tensor:
    """Return -sum_k softmax(target_logits)_k log softmax(logits)_k, (B,)."""
    return -(F.softmax(target_logits, 1) * F.log_softmax(logits, 1)).sum(1)
