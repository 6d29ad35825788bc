"""Names refused before torch is loaded: exactly those that the registries would refuse."""

from __future__ import annotations

import pytest

from fairbench.cli.known_names import (
    names_of,
    refuse_unknown,
    refuse_unknown_dataset,
    refuse_unknown_device,
    refuse_unknown_model,
)
from fairbench.data import AUGMENTATIONS, DATASETS
from fairbench.errors import BadInput
from fairbench.methods import CLASS_RULES, METHODS
from fairbench.models import MODELS
from fairbench.models.torchvision_models import torchvision_names
from fairbench.training.recipe_names import RECIPES


@pytest.mark.parametrize(
    ("kind", "registry"),
    [
        ("data set", DATASETS), ("model", MODELS), ("method", METHODS), ("class rule", CLASS_RULES),
        ("recipe", RECIPES), ("augmentation", AUGMENTATIONS),
    ],
)  # fmt: skip
def test_the_names_read_from_the_source_are_the_registry_s(kind, registry):
    assert names_of(kind) == tuple(registry)
    for name in registry:
        refuse_unknown(kind, name)
    with pytest.raises(BadInput, match=f"unknown {kind} 'nonsense'"):
        refuse_unknown(kind, "nonsense")


@pytest.mark.parametrize("name", [None, "npz:x.npz", "npz:folder", "folder:/a b/ü", "digits", "imagenet"])
def test_data_sets_that_pass(name):
    refuse_unknown_dataset(name)


def test_models_that_pass():
    for name in (None, *MODELS, *torchvision_names(), "torchvision:resnet50", "net.py:build", "package.module:Net"):
        refuse_unknown_model(name)


@pytest.mark.parametrize("name", ["smal-cnn", "resnet1", "wrn-28", "ü"])
def test_models_that_do_not(name):
    with pytest.raises(BadInput, match="unknown model"):
        refuse_unknown_model(name)


def test_without_torchvision_s_sources_no_model_is_refused_early(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refuse_unknown_model("smal-cnn")


@pytest.mark.parametrize(
    ("text", "passes"), [("cpu", True), ("cuda", True), ("cuda:3", True), ("gpu", False), ("", False)]
)
def test_devices(text, passes):
    if passes:
        refuse_unknown_device(text)
    else:
        with pytest.raises(BadInput, match="device must be"):
            refuse_unknown_device(text)
