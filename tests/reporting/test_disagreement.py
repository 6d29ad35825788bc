"""What `verify` says of examples rounded to 8 bits: how many leave the radius, by how much, and by rounding alone."""

from __future__ import annotations

import numpy as np
import pytest

from fairbench.metrics.eight_bit import EightBit
from fairbench.reporting.disagreement import eight_bit_sentence
from fairbench.threat import Threat


def said(counts: EightBit, norm: str, eps: str) -> str:
    return eight_bit_sentence({"fgsm": counts, "aa/apgd-ce": EightBit(9, 9, 9, 9)}, ["fgsm"], Threat.parse(norm, eps))


def test_a_radius_that_is_no_whole_number_of_steps() -> None:
    assert said(EightBit(13, 12, 0, 0), "Linf", "0.1") == (
        "Rounded to 8 bits (pixels n/255), 12 of 13 adversarial examples stay adversarial. 13 leave the radius by this "
        "rounding alone, which is no fault of the run, whose examples are all within it: eps = 0.1 is 25.5/255, no "
        "whole number of steps of 1/255, so that rounding takes a pixel up to 0.5/255 beyond it. 0 of 13 stay both "
        "adversarial and within the radius."
    )


def test_nothing_leaves_a_radius_of_whole_steps() -> None:
    assert said(EightBit(13, 12, 13, 12), "Linf", "8/255") == (
        "Rounded to 8 bits (pixels n/255), 12 of 13 adversarial examples stay adversarial, and all 13 stay within the "
        "radius."
    )


def test_other_norms_are_not_told_about_steps() -> None:
    assert "rounding moves each pixel by up to 0.5/255, wherever in the L2 ball" in said(
        EightBit(2, 2, 1, 1), "L2", "0.5"
    )


@pytest.mark.parametrize("eps", ["0.1", "0.031", "0.3", "0.02", "8/255", "0.005"])
def test_how_far_rounding_leaves_the_radius_is_what_it_does(eps: str) -> None:
    """Every pixel n/255 is moved to the edge of the radius and rounded; the farthest is the figure that is printed."""
    steps = Threat.parse("Linf", eps).eps * 255
    pixels = np.arange(256)
    moved = np.concatenate([pixels + steps, pixels - steps])
    beyond = float((np.abs(moved.round() - np.tile(pixels, 2)) - steps).max())
    text = said(EightBit(2, 2, 1, 1), "Linf", eps)
    if beyond > 1e-6:
        assert f"up to {beyond:.2g}/255 beyond it" in text
    else:
        assert "beyond it" not in text
