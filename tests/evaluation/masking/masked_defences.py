"""Planted defences that mask gradients or break an evaluation, around a network that is honestly robust.

Each is a function from the network to a model; none makes the network more robust than it was.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn


class Wrapped(nn.Module):
    """`network` with something done to its pixels and its logits."""

    def __init__(self, network, before=lambda x: x, after=lambda z: z):
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, x):
        return self.after(self.network(self.before(x)))


def wrapped(network, **changes):
    return Wrapped(network, **changes).eval()


def quantised_input(network):
    return wrapped(network, before=lambda x: torch.round(x * 4) / 4)


def straight_through_rounding(network):
    return wrapped(network, before=lambda x: x + (torch.round(x * 4) / 4 - x).detach())


def _dct(side=8):
    k = torch.arange(side, dtype=torch.float32)
    matrix = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / (2 * side)) * math.sqrt(2 / side)
    matrix[0] /= math.sqrt(2)
    return matrix


def jpeg_like(network):
    dct = _dct()

    def compress(x):
        return (dct.T @ (torch.round(dct @ x @ dct.T * 3) / 3) @ dct).clamp(0, 1)

    return wrapped(network, before=compress)


def saturated_logits(network):
    return wrapped(network, after=lambda z: z * 1000)


def noise_at_inference(network):
    return wrapped(network, before=lambda x: x + 0.05 * torch.randn_like(x))


def rare_noise(network):
    """Silent for its first ten forwards."""
    calls = [0]

    def noisy(z):
        calls[0] += 1
        return z + 0.1 * torch.randn_like(z) if calls[0] > 10 and calls[0] % 2 else z

    return wrapped(network, after=noisy)


def step_function(network):
    return wrapped(network, before=lambda x: (x > 0.5).float())


def thermometer_code(network):
    levels = torch.linspace(0.05, 0.95, 10)
    return wrapped(network, before=lambda x: (x[..., None] > levels).float().mean(-1))


def steep_clamp(network):
    return wrapped(network, before=lambda x: ((x - 0.5) * 1e6).clamp(0, 1))


def clamped_logits(network):
    """Keeps the prediction, but no logit but the first moves."""
    return wrapped(network, after=lambda z: (z - z.amax(1, keepdim=True)).clamp(-0.01, 0))


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, change):
        ctx.change = change
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.change(gradient), None


def with_backward(network, change):
    return wrapped(network, before=lambda x: _Backward.apply(x, change))


def zero_backward(network):
    return with_backward(network, torch.zeros_like)


def random_backward(network):
    return with_backward(network, torch.randn_like)


def reversed_backward(network):
    return with_backward(network, torch.neg)


def one_pixel_backward(network):
    """Only one pixel at a time has a gradient, another at each call."""
    calls = [0]

    def one(gradient: Tensor) -> Tensor:
        calls[0] += 1
        kept = torch.zeros_like(gradient).flatten(1)
        place = calls[0] * 13 % kept.shape[1]
        kept[:, place] = gradient.flatten(1)[:, place]
        return kept.view_as(gradient)

    return with_backward(network, one)


class DetachedBranch(nn.Module):
    """An ensemble in which only the weaker member has a gradient."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return 0.1 * self.network(x.flip(3)) + self.network(x).detach()


def detached_branch(network):
    return DetachedBranch(network).eval()


class Purifier(nn.Module):
    """Moves the image towards its own prediction before it classifies."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        with torch.enable_grad():
            moved = x.detach().clone().requires_grad_()
            logits = self.network(moved)
            loss = nn.functional.cross_entropy(logits, logits.argmax(1), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
        return self.network(x - 0.05 * gradient.sign())


def purifier(network):
    return Purifier(network).eval()


def softmax_output(network):
    return wrapped(network, after=lambda z: z.softmax(1))


def train_mode(network):
    return nn.Sequential(network, nn.BatchNorm1d(10))


def batch_statistics(network):
    return wrapped(network, after=lambda z: z - z.mean(0, keepdim=True))


def slight_batch_statistics(network):
    return wrapped(network, after=lambda z: z + 0.004 * z.abs().max() * torch.tanh(z.mean(0, keepdim=True)))


def own_random_resizing(network):
    """Shifts an image by what its pixels hash to: repeatable, and different at every iterate."""

    def shift(x):
        return torch.stack([image.roll(_hash(image) % 3 - 1, 2) for image in x])

    return wrapped(network, before=shift)


def _hash(image):
    return hashlib.sha256(image.detach().numpy().tobytes()).digest()[0]


def ripple(network):
    """A fast sine on each pixel: its derivative is right, and leads nowhere."""
    return wrapped(network, before=lambda x: x + 0.04 * torch.sin(2 * math.pi * 30 * x))


def constant_output(network):
    return wrapped(network, after=lambda z: z * 0 + torch.arange(10.0))


def nan_for_some(network):
    return wrapped(network, after=lambda z: torch.where(z.amax(1, keepdim=True) > 15, torch.nan, z))


def one_class_saturated(network):
    return wrapped(network, after=lambda z: z * torch.where(z.argmax(1, keepdim=True) == 3, 1000.0, 1.0))


def lookup(network, images, labels):
    """Answers from a table once an image is further than 0.12 from the nearest known one."""

    def answer(x, z):
        nearest = torch.cdist(x.flatten(1), images.flatten(1)).argmin(1)
        gap = (x - images[nearest]).abs().flatten(1).amax(1)
        return torch.where(gap[:, None] > 0.12, 20 * nn.functional.one_hot(labels[nearest], 10).float(), z)

    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            return answer(x, self.network(x))

    return Lookup().eval()
