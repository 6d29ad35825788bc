"""Wide residual networks (Zagoruyko & Komodakis 2016), as adversarial training uses them (TRADES's WRN-34-10).

Parameter names are those of most robust checkpoints: conv1, block1.layer.0.bn1, block2.layer.0.convShortcut, bn1, fc.
Where the width changes, the shortcut takes the activated input.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

import math

from torch import Tensor, nn


class _Block(nn.Module):
    """Batch norm and ReLU before each 3x3 convolution, without dropout."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        # The name is part of the checkpoints' format.
        self.convShortcut = None if inside == outside else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = self.bn1(x).relu()
        around = x if self.convShortcut is None else self.convShortcut(active)
        result: Tensor = self.conv2(self.bn2(self.conv1(active)).relu()) + around
        return result


class _Stage(nn.Module):
    """Blocks of one width; the first changes width and resolution."""

    def __init__(self, blocks: int, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            *(_Block(inside if i == 0 else outside, outside, stride if i == 0 else 1) for i in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x)
        return result


class WideResNet(nn.Module):
    """WRN-depth-width: (B, C, H, W) pixels in, (B, K) logits out; global average pooling at the end.

    Args:
        num_classes: K.
        shape: (C, H, W).
        depth: layers, 6 n + 4 for n blocks per stage.
        width: factor on the 16, 32 and 64 filters of the narrow network.
    """

    def __init__(self, num_classes: int, shape: tuple[int, int, int], *, depth: int, width: int) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        assert depth == 6 * blocks + 4
        self.conv1 = nn.Conv2d(shape[0], 16, 3, 1, 1, bias=False)
        self.block1 = _Stage(blocks, 16, 16 * width, 1)
        self.block2 = _Stage(blocks, 16 * width, 32 * width, 2)
        self.block3 = _Stage(blocks, 32 * width, 64 * width, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                outputs = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
                nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / outputs))
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits."""
        x = self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))).relu()
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits
