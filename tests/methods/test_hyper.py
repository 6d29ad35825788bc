"""Hyper-parameters: what counts as one, and how text becomes a value."""

from __future__ import annotations

from typing import ClassVar, Literal

import pytest

from fairbench.errors import BadInput
from fairbench.methods.hyper import convert, get_hyper, hyper_types, set_hyper


class Root:
    steps: int = 10


class Leaf(Root):
    beta: float = 6.0
    variant: Literal["one", "two"] = "one"
    aliasing: bool = False
    limit: float | None = None
    name: ClassVar[str] = "leaf"
    buffer: list[float]
    _private: int = 3


def test_declared_are_annotated_attributes_with_a_default():
    assert list(hyper_types(Leaf, Root)) == ["steps", "beta", "variant", "aliasing", "limit"]


def test_text_becomes_the_annotated_type():
    leaf = Leaf()
    text = {"steps": "3", "beta": "7/2", "variant": "two", "aliasing": "true", "limit": "0.5"}
    set_hyper(leaf, Root, text, prefix="leaf")
    assert get_hyper(leaf, Root) == {"steps": 3, "beta": 3.5, "variant": "two", "aliasing": True, "limit": 0.5}
    set_hyper(leaf, Root, {"limit": "none"}, prefix="leaf")
    assert leaf.limit is None
    assert Leaf.beta == 6.0


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "2.5"), (int, True), (int, "-1"), (int, ""), (float, "nan"), (float, "inf"), (float, "-0.1"),
        (float, "1/0"), (float, "x"), (float, True), (bool, "maybe"), (bool, 1), (str, ""), (Literal["a", "b"], "c"),
        (float | None, "x"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_in_one_sentence(annotation, value):
    with pytest.raises(BadInput, match=r"^beta must be .*, but is ") as caught:
        convert("beta", annotation, value)
    assert repr(value) in str(caught.value)
