from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fairbench.data import DATASETS
from fairbench.errors import BadInput
from fairbench.models.normalize import NORMALIZATIONS, Normalized, bare, normalized, parse_normalize


def test_pixels_are_normalised_before_the_network() -> None:
    """(0.75 - 0.5) / 0.25 = 1 in the first channel, (0.5 - 0.25) / 0.5 = 0.5 in the second."""
    x = torch.tensor([0.75, 0.5]).view(1, 2, 1, 1)
    model = normalized(nn.Flatten(), "0.5,0.25/0.25,0.5", 2)
    assert model(x).tolist() == [[1.0, 0.5]]


def test_none_is_the_network_itself() -> None:
    network = nn.Flatten()
    assert normalized(network, " none ", 3) is network
    assert bare(network) is network


def test_the_constants_are_no_part_of_the_state_dict_but_move_with_the_model() -> None:
    model = normalized(nn.Linear(3, 2), "cifar10", 3)
    assert isinstance(model, Normalized)
    assert bare(model) is model.network
    assert list(model.state_dict()) == ["network.weight", "network.bias"]
    assert model.to(torch.float64).mean.dtype == torch.float64


@pytest.mark.parametrize("name", list(NORMALIZATIONS))
def test_every_known_name_is_unambiguous(name: str) -> None:
    constants = {spec.normalizations[name] for spec in DATASETS.values() if name in spec.normalizations}
    assert constants == {NORMALIZATIONS[name]}
    assert parse_normalize(name, len(NORMALIZATIONS[name][0])) == NORMALIZATIONS[name]


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 100_000)), min_size=1, max_size=4).map(
        lambda pairs: ([a / 10_000 for a, _ in pairs], [b / 10_000 for _, b in pairs])
    )
)
def test_numbers_are_read_as_written(constants: tuple[list[float], list[float]]) -> None:
    text = "/".join(",".join(f"{value:.4f}" for value in half) for half in constants)
    assert parse_normalize(text, len(constants[0])) == (tuple(constants[0]), tuple(constants[1]))


@pytest.mark.parametrize(
    ("text", "channels", "message"),
    [
        ("cifra10", 3, "Did you mean 'cifar10'"),
        ("", 3, "unknown normalisation"),
        ("cifar10", 1, "images have 1 channel"),
        ("0.5/0.5", 3, "3 channel"),
        ("0.5,0.5,0.5/0.5,0.5", 3, "3 means and 2 stds"),
        ("0.5/0.5/0.5", 1, "one '/'"),
        ("0.5,x,0.5/1,1,1", 3, "a mean of --normalize"),
        ("0.5/nan", 1, "a std of --normalize"),
        ("0.5/0", 1, "stds above 0"),
        ("-0.5/1", 1, "a mean of --normalize"),
        ("125.3/63.0", 1, "divide constants for 0..255"),
    ],
)
def test_mistakes_are_one_sentence(text: str, channels: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_normalize(text, channels)
