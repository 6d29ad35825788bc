"""Random numbers that belong to a sample, not to "the n-th call".

Every number is a pure function of (seed, purpose, sample, epoch, iteration, element), so the noise of sample 17 is the
same in any batch, order, process, after any interruption, and on every device. The generator is SplitMix64 (Steele,
Lea & Flood 2014) in counter form: a key per sample, one finaliser per element. int64 arithmetic wraps modulo 2^64 on
the CPU and on CUDA alike, so the bits are equal; `normal` goes through log and cos and may differ in the last bit
between devices.

Shape key: b samples; a result is (b, *shape).
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift(value: Tensor, bits: int) -> Tensor:
    # int64 has only the arithmetic shift; the mask makes it logical.
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    value = (value ^ _shift(value, 30)) * _MIX_1
    value = (value ^ _shift(value, 27)) * _MIX_2
    return value ^ _shift(value, 31)


def _word(text: str) -> int:
    return _signed(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


class SampleRandom:
    """The random streams of a batch of samples.

    Args:
        seed: the run's seed.
        purpose: what the numbers are for ("pgd20/start"); different purposes are independent.
        samples: (b,) int64, each sample's index in its data set, on the device where numbers are wanted.
        epoch: training's epoch; 0 in evaluation.
    """

    def __init__(self, seed: int, purpose: str, samples: Tensor, *, epoch: int = 0) -> None:
        self.seed, self.purpose, self.samples, self.epoch = seed, purpose, samples.to(torch.int64), epoch
        key = _mix(self.samples * _GOLDEN + _word(f"{seed}/{purpose}"))
        self._key = _mix(key + _signed(epoch * 0xD1342543DE82EF95 + 1))

    def at(self, rows: Tensor) -> SampleRandom:
        """Return the same samples' streams for the rows that are left (indices or a mask)."""
        return SampleRandom(self.seed, self.purpose, self.samples[rows], epoch=self.epoch)

    def fork(self, name: str) -> SampleRandom:
        """Return an independent stream of the same samples for a second purpose."""
        return SampleRandom(self.seed, f"{self.purpose}/{name}", self.samples, epoch=self.epoch)

    def _bits(self, shape: tuple[int, ...], iteration: int, stream: int) -> Tensor:
        key = _mix(self._key + _signed(iteration * 0x9FB21C651E98DF25 + stream * 0xC2B2AE3D27D4EB4F))
        elements = torch.arange(1, math.prod(shape) + 1, device=key.device, dtype=torch.int64)
        return _mix(key[:, None] + elements * _GOLDEN).view(-1, *shape)

    def uniform(self, shape: tuple[int, ...], low: float = 0.0, high: float = 1.0, *, iteration: int = 0) -> Tensor:
        """Return (b, *shape) float32 numbers, uniform in [low, high): multiples of 2^-24 scaled."""
        fraction = _shift(self._bits(shape, iteration, 0), 40).to(torch.float32) * 2.0**-24
        return fraction * (high - low) + low

    def normal(self, shape: tuple[int, ...], *, iteration: int = 0) -> Tensor:
        """Return (b, *shape) float32 standard normal numbers (Box-Muller, computed in float64)."""
        first = (_shift(self._bits(shape, iteration, 1), 11).to(torch.float64) + 1) * 2.0**-53  # (0, 1]
        second = _shift(self._bits(shape, iteration, 2), 11).to(torch.float64) * 2.0**-53
        return (torch.sqrt(-2 * torch.log(first)) * torch.cos(2 * math.pi * second)).to(torch.float32)

    def integers(self, shape: tuple[int, ...], high: int | Tensor, *, iteration: int = 0) -> Tensor:
        """Return (b, *shape) int64 numbers, uniform in 0 .. high - 1; `high` below 2^31 broadcasts against the shape.

        A value's probability is off by at most 2^-32.
        """
        return _shift(_shift(self._bits(shape, iteration, 3), 32) * high, 32)
