"""The difference-of-logits-ratio loss of AutoAttack (Croce & Hein, ICML 2020, arXiv 2003.01690, eq. 6 and 7).

A margin divided by a spread of the sample's own logits: unchanged when logits are shifted or scaled, so that a network
cannot hide by scaling its logits until the cross-entropy has no gradient left.

With z sorted z1 >= z2 >= ...:

    dlr           -(z_y - max_{i != y} z_i) / (z1 - z3)
    dlr_targeted  -(z_y - z_t) / (z1 - (z3 + z4) / 2)

The paper needs 3 and 4 classes. Below that, where its authors' code stops with an error, these choices are ours:

* 3 classes, targeted: z1 - (z2 + z3) / 2, the last two of the largest four as far as they exist. Leaving out z4 alone
  (z1 - z3) would be no choice: with y first and t last the loss would be -1 whatever the input.
* 2 classes: the margin itself. Any ratio of two logits' differences is constant. What is lost is the invariance to
  scale, which no step of APGD needs: each uses only the sign or the direction of the gradient, and compares the loss
  of one sample with itself.

Shape key: B batch, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return the untargeted loss, (B,): positive where misclassified."""
    rows = torch.arange(len(y), device=y.device)
    ordered, order = logits.sort(dim=1)
    largest_other = torch.where(order[:, -1] == y, ordered[:, -2], ordered[:, -1])
    margin = logits[rows, y] - largest_other
    if logits.shape[1] == 2:
        return -margin
    return -margin / (ordered[:, -1] - ordered[:, -3] + 1e-12)


def dlr_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Return the loss towards `target`, (B,): positive where the target's logit exceeds the label's."""
    rows = torch.arange(len(y), device=y.device)
    margin = logits[rows, y] - logits[rows, target]
    num_classes = logits.shape[1]
    if num_classes == 2:
        return -margin
    ordered = logits.sort(dim=1).values
    third, fourth = (-3, -4) if num_classes > 3 else (-2, -3)
    return -margin / (ordered[:, -1] - 0.5 * (ordered[:, third] + ordered[:, fourth]) + 1e-12)
