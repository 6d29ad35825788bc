"""Convolutions that read few channels, such as the first one: a faster input gradient on the CPU.

PyTorch computes it with oneDNN, which is 2 to 6 times slower there than PyTorch's own older code (measured on one
thread with AVX-512: 1 and 3 channels; 8 channels with stride 2: 1.6 to 4 times). With one channel and stride 1 the
forward can be 15 times slower, too.

Shape key: B batch, C O channels in and out, H W image.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

_MOST, _MOST_STRIDED = 4, 8


def reads_few_channels(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Return whether a layer is an ordinary convolution that reads up to 4 channels, 8 with a stride."""
    return (
        type(layer) is nn.Conv2d
        and layer.in_channels <= (_MOST if layer.stride == (1, 1) else _MOST_STRIDED)
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
    )


class FewChannelConv(nn.Module):
    """A frozen convolution whose backward computes the input gradient only."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.detach().contiguous())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())
        self.stride, self.padding = list(layer.stride), [int(size) for size in layer.padding]

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of (B, C, H, W), (B, O, H', W')."""
        out: Tensor = _Convolve.apply(x, self.weight, self.bias, self.stride, self.padding)
        return out


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: list[int], padding: list[int]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        if weight.shape[1] == 1 and stride == [1, 1]:
            own = torch.ops.aten._slow_conv2d_forward
            out: Tensor = own(x.contiguous(), weight, list(weight.shape[2:]), bias, stride, padding)
            return out
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        own = torch.ops.aten._slow_conv2d_backward.output_mask
        size, wanted = list(weight.shape[2:]), [True, False, False]
        of_input = own(gradient.contiguous(), x.contiguous(), weight, size, ctx.stride, ctx.padding, wanted)[0]
        return of_input, None, None, None, None
