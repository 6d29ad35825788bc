from __future__ import annotations

import pytest

from fairbench.reporting.class_labels import beside_number


@pytest.mark.parametrize(
    ("name", "written"),
    [("8", "“8”"), ("3D printer", "“3D printer”"), ("class 12", "“class 12”"), ("dog", "dog"), ("", "")],
)
def test_a_name_with_digits_at_its_edge_is_quoted_beside_a_number(name: str, written: str) -> None:
    assert beside_number(name) == written
