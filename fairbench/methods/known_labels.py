"""Teachers' labels of images that never change: computed once for a training without augmentation.

Shape key: N training images, B batch, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KnownLabels:
    """One teacher's logits of the training images as they are.

    Args:
        index: (N,) int64, each image's place in the training set, as in `Batch.index`.
        logits: (N, K).
    """

    def __init__(self, index: Tensor, logits: Tensor) -> None:
        self.logits = logits
        # Of an image that is none of these the place is N, which does not exist: never another image's labels.
        self.place = torch.full((int(index.max()) + 1,), len(index), dtype=torch.int64, device=index.device)
        self.place[index] = torch.arange(len(index), device=index.device)

    def __call__(self, index: Tensor) -> Tensor:
        """Return (B, K) logits of (B,) images."""
        return self.logits[self.place[index]]
