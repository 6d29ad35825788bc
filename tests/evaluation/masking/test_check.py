"""Planted defences are flagged or refused with a sentence that says what to do; honest networks raise nothing."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fairbench.data.dataset import to_unit
from fairbench.data.load import load_dataset
from fairbench.errors import BadInput, Refused
from fairbench.evaluation.evaluate import evaluate
from fairbench.evaluation.masking import black_box
from fairbench.evaluation.masking.check import CheckResult, check_model
from fairbench.evaluation.masking.registry import FLAGS
from fairbench.models.load import load_checkpoint
from fairbench.threat import Threat

ROOT = Path(__file__).resolve().parents[3]
MASKED = runpy.run_path(str(Path(__file__).with_name("masked_defences.py")), run_name="masked_defences")
THREAT = Threat.parse("Linf", "0.1")
#: defence: flags of which one must be raised.
FLAGGED = {
    "quantised_input": "zero-gradients",
    "straight_through_rounding": "wrong-gradients",
    "jpeg_like": "zero-gradients",
    "saturated_logits": "saturated-logits",
    "steep_clamp": "zero-gradients",
    "clamped_logits": "constant-logits",
    "zero_backward": "zero-gradients",
    "random_backward": "wrong-gradients",
    "reversed_backward": "wrong-gradients",
    "one_pixel_backward": "still-rising",
    "ripple": "margin-not-lowered",
    "detached_branch": "wrong-gradients",
    "purifier": "optimises-at-inference",
    "slight_batch_statistics": "batch-size",
    "own_random_resizing": "wrong-gradients",
}
#: What `eval` looks for before any attack.
CHEAP = {
    "zero-gradients", "wrong-gradients", "saturated-logits", "constant-logits", "optimises-at-inference", "batch-size",
}  # fmt: skip
REFUSED = {
    "noise_at_inference": "non-deterministic",
    "rare_noise": "non-deterministic",
    "step_function": "no-gradient",
    "thermometer_code": "no-gradient",
    "softmax_output": "probabilities",
    "train_mode": "train-mode",
    "batch_statistics": "batch-dependent",
    "nan_for_some": "nan-logits",
    "constant_output": "low-accuracy",
}


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture
def network(digits) -> nn.Module:
    return load_checkpoint(ROOT / "checkpoints" / "digits-sat.pt", dataset=digits).model


@pytest.fixture
def few_queries(monkeypatch):
    monkeypatch.setattr(black_box, "QUERIES", 50)


def checked(model, dataset, per_class=3, **options) -> CheckResult:
    return check_model(model, dataset, THREAT, samples_per_class=per_class, **options)


def names(result: CheckResult) -> set[str]:
    return {flag["name"] for flag in result.flags}


@pytest.mark.parametrize("defence", FLAGGED)
def test_masked_defences_are_flagged(defence, network, digits, few_queries):
    result = checked(MASKED[defence](network), digits)
    assert FLAGGED[defence] in names(result)
    for flag in result.flags:
        assert flag["advice"] == FLAGS[flag["name"]].advice
        assert any(sign.isdigit() for sign in flag["evidence"]) or flag["name"] == "optimises-at-inference"


@pytest.mark.parametrize("defence", [name for name in FLAGGED if FLAGGED[name] in CHEAP])
def test_an_evaluation_flags_them_too(defence, network, digits):
    run = evaluate(MASKED[defence](network), digits.first_per_class(3), "fgsm", eps="0.1")
    assert FLAGGED[defence] in {flag["name"] for flag in run.record["flags"]}


@pytest.mark.parametrize("eps", ["0", "0.1"])
def test_an_evaluation_of_an_honest_network_raises_none(eps, network, digits):
    assert evaluate(network, digits.first_per_class(3), "fgsm", eps=eps).record["flags"] == []


@pytest.mark.parametrize("defence", REFUSED)
def test_broken_models_are_refused(defence, network, digits):
    with pytest.raises(Refused) as error:
        checked(MASKED[defence](network), digits)
    assert error.value.check == REFUSED[defence]


def test_the_defences_do_mask(network, digits):
    """They leave most predictions as they were, so that masking is all they do."""
    samples = digits.first_per_class(10)
    x, y = to_unit(samples.pixels(np.arange(100))), torch.from_numpy(samples.y)
    for defence in FLAGGED:
        with torch.no_grad():
            right = (MASKED[defence](copy.deepcopy(network))(x).argmax(1) == y).float().mean()
        assert right > 0.6, defence


def test_an_honest_network_is_clean_and_given_back(network, digits, few_queries):
    before = [(name, p.requires_grad, p.clone()) for name, p in network.named_parameters()]
    state = torch.get_rng_state()
    result = checked(network, digits)
    assert result.flags == []
    assert result.images == 30
    assert list(result.left_out) == ["transfer"]
    assert torch.equal(torch.get_rng_state(), state)
    for (name, required, value), (again, p) in zip(before, network.named_parameters(), strict=True):
        assert (name, required) == (again, p.requires_grad)
        assert torch.equal(value, p)


def test_a_class_that_is_masked_alone_is_named(network, digits, few_queries):
    result = checked(MASKED["one_class_saturated"](network), digits, per_class=5)
    assert 3 in {flag["class"] for flag in result.flags if flag["name"] == "saturated-logits"}
    assert {flag["class"] for flag in result.flags if flag["name"] == "saturated-logits"} <= {None, 3}


def test_a_table_of_answers_is_robust_at_larger_radii(network, digits, few_queries):
    samples = digits.first_per_class(5)
    x, y = to_unit(samples.pixels(np.arange(50))), torch.from_numpy(samples.y)
    raised = names(checked(MASKED["lookup"](network, x, y), digits, per_class=5))
    assert {"not-monotone", "unbounded-eps"} <= raised


def test_transfer_from_a_surrogate(network, digits, few_queries):
    """The surrogate is the network without its mask: its examples break what the masked gradient cannot."""
    masked = MASKED["zero_backward"](copy.deepcopy(network))
    result = checked(masked, digits, per_class=5, surrogate=network)
    assert "transfer-wins" in names(result)
    assert "transfer" in result.evaluated


def test_a_radius_of_0_says_nothing(network, digits):
    with pytest.raises(BadInput, match="radius above 0"):
        check_model(network, digits, Threat.parse("Linf", 0))


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["L2", "L1"])
def test_other_norms(norm, network, digits):
    eps = {"L2": "0.5", "L1": "3"}[norm]
    assert check_model(network, digits, Threat.parse(norm, eps), samples_per_class=2).flags == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits-absld", "digits-natural", "digits-rslad", "digits-sat", "digits-trades"])
def test_our_checkpoints_raise_none(name, digits):
    model = load_checkpoint(ROOT / "checkpoints" / f"{name}.pt", dataset=digits).model
    assert check_model(model, digits, THREAT).flags == []


REAL = {
    "mnist_pgd": "0.3", "mnist_fgsm": "0.3", "mnist_certified": "0.1", "mnist_wk17a": "0.1", "mnist_trades": "0.3",
    "mnist_natural": "0.3", "cifar10_cnn": "2/255", "cifar10_resnet2b": "2/255", "cifar10_certified_8px": "8/255",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_checkpoints_raise_none_but_square(name, real_data):
    """Square beats the gradients on mnist_pgd and mnist_fgsm, which may or may not show on so few images."""
    model, dataset = real_network(name, real_data)
    raised = names(check_model(model, dataset, Threat.parse("Linf", REAL[name])))
    assert raised <= ({"square-wins"} if name in ("mnist_pgd", "mnist_fgsm") else set())


def real_network(name, real_data):
    dataset = load_dataset("mnist" if name.startswith("mnist") else f"npz:{real_data / 'cifar10'}", data_dir=real_data)
    factory = f"{real_data / 'models' / 'architectures.py'}:{name}"
    return load_checkpoint(real_data / "models" / f"{name}.pt", model=factory, dataset=dataset).model, dataset


@pytest.mark.slow
def test_an_evaluation_says_that_square_beats_the_gradients(real_data):
    """As the package's authors see on such networks; 20 images of each class, the whole budget."""
    model, dataset = real_network("mnist_fgsm", real_data)
    run = evaluate(model, dataset.first_per_class(20), "aa", eps="0.3")
    assert {flag["name"] for flag in run.record["flags"]} == {"square-wins"}
