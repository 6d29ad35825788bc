"""MobileNetV2 (Sandler et al. 2018) with strides for 32x32 images: the stem and two stages keep the resolution.

Parameter names are those of most CIFAR checkpoints: conv1, bn1, layers.0.conv1, layers.0.shortcut.0, conv2, bn2,
linear.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from torch import Tensor, nn

#: (expansion, filters, blocks, stride of the first block)
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class _Block(nn.Module):
    """Expand by 1x1, filter each channel by 3x3, project by 1x1; a shortcut where the resolution stays."""

    def __init__(self, inside: int, outside: int, expansion: int, stride: int) -> None:
        super().__init__()
        middle = expansion * inside
        self.conv1 = nn.Conv2d(inside, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, 1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, outside, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outside)
        self.has_shortcut = stride == 1
        self.shortcut = nn.Sequential()
        if stride == 1 and inside != outside:
            # Not in the paper, which has no shortcut here; CIFAR checkpoints have it.
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        result: Tensor = self.bn3(self.conv3(inner))
        return result + self.shortcut(x) if self.has_shortcut else result


class MobileNetV2(nn.Module):
    """MobileNetV2 with CIFAR's stride: (B, C, H, W) pixels in, (B, K) logits out; global average pooling at the end."""

    def __init__(self, num_classes: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape[0], 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        blocks: list[nn.Module] = []
        inside = 32
        for expansion, outside, count, stride in _STAGES:
            for i in range(count):
                blocks.append(_Block(inside, outside, expansion, stride if i == 0 else 1))
                inside = outside
        self.layers = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(inside, 1280, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1280)
        self.linear = nn.Linear(1280, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits."""
        x = self.layers(self.bn1(self.conv1(x)).relu())
        x = self.bn2(self.conv2(x)).relu()
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
