"""Pre-activation residual networks for 32x32 images (He et al. 2016, "Identity mappings").

Parameter names are those of most CIFAR checkpoints: conv1, layer1.0.bn1, layer1.0.conv1, layer2.0.shortcut.0, linear.
Two forms are in use. With a batch norm `bn` before the pooling it is the paper's network, and the one of most work on
robust overfitting; without it, activations reach the linear layer as they leave the last block.

Shape key: B batch, K classes, C H W image.
"""

from __future__ import annotations

from torch import Tensor, nn


class _Block(nn.Module):
    """Batch norm and ReLU before each 3x3 convolution; the projection takes the activated input."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        # Absent, not empty, where the shape stays: the identity is of x itself, not of its activation.
        self.shortcut: nn.Sequential | None = None
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        active = self.bn1(x).relu()
        around = x if self.shortcut is None else self.shortcut(active)
        result: Tensor = self.conv2(self.bn2(self.conv1(active)).relu()) + around
        return result


class PreActResNet18(nn.Module):
    """PreActResNet-18: (B, C, H, W) pixels in, (B, K) logits out; `final_norm` says whether `bn` is there."""

    def __init__(self, num_classes: int, shape: tuple[int, int, int], *, final_norm: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(shape[0], 64, 3, 1, 1, bias=False)
        self.layer1 = _stage(64, 64, 1)
        self.layer2 = _stage(64, 128, 2)
        self.layer3 = _stage(128, 256, 2)
        self.layer4 = _stage(256, 512, 2)
        self.bn = nn.BatchNorm2d(512) if final_norm else None
        self.linear = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) logits."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        if self.bn is not None:
            x = self.bn(x).relu()
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_Block(inside, outside, stride), _Block(outside, outside, 1))
