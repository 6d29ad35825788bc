"""A small convolutional network for small images: minutes of adversarial training on a CPU.

Two convolutions and two linear layers, no batch norm; on 28x28 the network that single-step adversarial training on
MNIST is usually shown with (Wong, Rice & Kolter, ICLR 2020: 16 and 32 filters 4x4 with stride 2, 100 hidden units).

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from torch import Tensor, nn

_SMALL_SIDE = 16


class SmallCNN(nn.Module):
    """Convolution, convolution, linear, linear; `width` scales all of them.

    Args:
        num_classes: K.
        shape: (C, H, W), H and W at least 4. Up to 16x16 the first convolution keeps the resolution.
        width: filters of the first convolution; the second has twice as many.
    """

    def __init__(self, num_classes: int, shape: tuple[int, int, int], *, width: int = 16) -> None:
        super().__init__()
        channels, height, side = shape[0], shape[1], shape[2]
        if max(height, side) <= _SMALL_SIDE:
            self.conv1 = nn.Conv2d(channels, width, 3, 1, 1)
            self.conv2 = nn.Conv2d(width, 2 * width, 4, 2, 1)
            cells, hidden = (height // 2) * (side // 2), 4 * width
        else:
            self.conv1 = nn.Conv2d(channels, width, 4, 2, 1)
            self.conv2 = nn.Conv2d(width, 2 * width, 4, 2, 1)
            cells, hidden = (height // 4) * (side // 4), 100 * width // 16
        self.linear1 = nn.Linear(2 * width * cells, hidden)
        self.linear2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits of (B, C, H, W) pixels."""
        x = self.conv2(self.conv1(x).relu()).relu()
        logits: Tensor = self.linear2(self.linear1(x.flatten(1)).relu())
        return logits
