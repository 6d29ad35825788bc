from __future__ import annotations

import torch
from torch import nn

from fairbench.evaluation.block_size import default_block_size


def test_costs_by_hand():
    """3x3 convolutions on 32x32 pixels cost 2 * 9 * c_in * c_out * 1024 operations.

    64 -> 64: 75.5e6, so 60 s at 1e11 per second are 15.9 images of 5,000 forwards: 8. 1 -> 4: 73,728 operations, more
    images than the largest block. 256 -> 512: 2.4e9 operations, half an image: the smallest block.
    """
    for inside, outside, expected in ((64, 64, 8), (1, 4, 256), (256, 512, 4)):
        conv = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        for images in (1, 3):
            assert default_block_size(conv, torch.zeros(images, inside, 32, 32)) == expected


def test_a_model_without_any_cost_gets_the_largest_block():
    assert default_block_size(nn.Flatten(), torch.zeros(1, 1, 2, 2)) == 256


def test_a_model_that_optimises_in_its_forward_gets_the_smallest_block():
    class Purifier(nn.Module):
        def forward(self, x):
            with torch.enable_grad():
                moved = x.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(moved.square().sum(), moved)
            return (x - gradient).flatten(1)

    assert default_block_size(Purifier(), torch.zeros(1, 1, 2, 2)) == 4
