"""What is left of adversarial examples that are saved as images, with 8 bits for each value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EightBit:
    """What rounding to n / 255 does to the examples of samples that the model otherwise gets right.

    Attributes:
        adversarial: examples on which the model errs.
        still: of them, those on which it errs after rounding.
        inside: of the adversarial ones, those within the radius after rounding, which moves a pixel by up to 0.5 / 255.
        both: still adversarial and within the radius.
    """

    adversarial: int = 0
    still: int = 0
    inside: int = 0
    both: int = 0

    def __add__(self, other: EightBit) -> EightBit:
        return EightBit(
            self.adversarial + other.adversarial, self.still + other.still,
            self.inside + other.inside, self.both + other.both,
        )  # fmt: skip
