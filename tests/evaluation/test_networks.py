from __future__ import annotations

import copy

import pytest
import torch

from fairbench.errors import BadInput
from fairbench.evaluation.networks import check_precision, device_of, exact_arithmetic, frozen, networks

CPU = torch.device("cpu")


def test_float32_judges_with_the_model_itself(model):
    nets = networks(model, "float32", CPU)
    assert nets.judge is model
    assert nets.gradient is model
    assert nets.judge_if_other is None


def test_bf16_attacks_a_copy_and_judges_with_the_model(model):
    nets = networks(model, "bf16", CPU)
    x = torch.rand(4, 1, 6, 6)
    assert nets.judge is model
    assert nets.judge_if_other is model
    logits = nets.gradient(x)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, model(x))
    torch.testing.assert_close(logits, model(x), rtol=0.05, atol=0.05)


def test_float64_computes_between_float32_pixels_and_logits(model):
    state = copy.deepcopy(model.state_dict())
    nets = networks(model, "float64", CPU)
    x = torch.rand(4, 1, 6, 6)
    assert torch.equal(nets.judge(x), copy.deepcopy(model).double()(x.double()).float())
    assert nets.gradient is nets.judge
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_unknown_words_are_refused():
    with pytest.raises(BadInput, match="Did you mean 'float32'"):
        check_precision("float23")
    for text in ("gpu", "cuda:99", "", "mps"):
        with pytest.raises(BadInput, match="device"):
            device_of(text)


def test_frozen_restores_each_parameter(model):
    model[0].weight.requires_grad_(False)
    with frozen(model):
        assert not any(p.requires_grad for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True]


def test_arithmetic_is_restored():
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_arithmetic(threads + 1):
            assert torch.get_num_threads() == threads + 1
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_num_threads() == threads
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(matmul)
