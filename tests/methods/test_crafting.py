"""The state of a network under attack, and its restoration."""

from __future__ import annotations

import pytest
import torch

from fairbench.methods.crafting import crafting


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("training", [True, False])
def test_mode_and_parameters_are_restored_also_after_an_error(tiny, mode, training):
    network = tiny.network().train(training)
    network[1].eval()  # a frozen batch norm within a training network stays what it was
    network[0].bias.requires_grad_(False)
    before = [m.training for m in network.modules()]

    def attack():
        with crafting(network, mode):
            assert all(m.training == (mode == "train") for m in network.modules())
            assert not any(p.requires_grad for p in network.parameters())
            assert not torch.is_grad_enabled()
            raise RuntimeError("attack failed")

    with pytest.raises(RuntimeError, match="attack failed"):
        attack()
    assert [m.training for m in network.modules()] == before
    assert not network[0].bias.requires_grad
    assert sum(p.requires_grad for p in network.parameters()) == len(list(network.parameters())) - 1
    assert torch.is_grad_enabled()
