from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairbench.errors import BadInput
from fairbench.threat import Threat, parse_number


def test_a_fraction_is_the_correctly_rounded_quotient() -> None:
    threat = Threat.parse("linf", "8/255")
    assert (threat.norm, threat.eps, threat.eps_text) == ("Linf", 8 / 255, "8/255")


@given(st.floats(0, 1, allow_nan=False))
def test_a_float_comes_back_through_its_text(eps: float) -> None:
    threat = Threat.parse("Linf", eps)
    assert threat.eps == eps


@pytest.mark.parametrize(
    "text", ["-1", "nan", "inf", "0x1", "1/0", "", "8/255/2", "\u0661", "1e999", "eight", "1_0", "+1"]
)
def test_what_is_no_number_is_refused_with_what_was_received(text: str) -> None:
    with pytest.raises(BadInput, match="must be a decimal or a fraction"):
        parse_number(text, what="eps")


def test_linf_above_one_is_refused_and_l2_is_not() -> None:
    with pytest.raises(BadInput, match="Did you mean 8/255"):
        Threat.parse("Linf", "8")
    assert Threat.parse("L2", "8").eps == 8.0


def test_an_unknown_norm_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="Did you mean 'Linf'"):
        Threat.parse("Linff", "0.1")
