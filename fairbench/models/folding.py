"""Batch norms folded into the layers before them: in eval mode they only scale and shift each channel.

Which layer feeds which is read from one forward and its autograd graph, not from the modules' order: a batch norm is
folded where its input is what a convolution or linear layer returned, untouched, and where nothing else reads that.

Shape key: B batch, C H W image.
"""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn

_Layer = nn.Conv2d | nn.Linear
_Norm = nn.BatchNorm1d | nn.BatchNorm2d


def fold_batch_norms(network: nn.Module, x: Tensor) -> int:
    """Fold in place what can be folded, and return how many batch norms that were.

    The result is compared with the network before; if it differs by more than rounding (code that reads a weight
    without calling its layer, say), nothing is folded.

    Args:
        network: in eval mode, frozen.
        x: (B, C, H, W) some images, B at least 1.
    """
    pairs = _pairs(network, x)
    if not pairs:
        return 0
    with torch.no_grad():
        before = network(x)
    undo = [(layer, copy.deepcopy(layer.state_dict()), layer.bias is None) for layer, _ in pairs]
    names = {module: name for name, module in network.named_modules()}
    for layer, norm in pairs:
        _fold(layer, norm)
        _replace(network, names[norm], nn.Identity())
    with torch.no_grad():
        after = network(x)
    scale = before.abs().max().clamp_min(1e-30)
    if bool(((after - before).abs().max() / scale) <= 1e-3):
        return len(pairs)
    for (layer, norm), (_, state, had_no_bias) in zip(pairs, undo, strict=True):
        if had_no_bias:
            layer.bias = None
        layer.load_state_dict(state)
        _replace(network, names[norm], norm)
    return 0


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def _pairs(network: nn.Module, x: Tensor) -> list[tuple[_Layer, _Norm]]:
    """Return (layer, batch norm) where the batch norm alone reads the layer's output."""
    made: dict[torch.autograd.graph.Node, _Layer] = {}
    read: list[tuple[torch.autograd.graph.Node, _Norm]] = []
    calls: Counter[nn.Module] = Counter()

    def after_layer(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        calls[layer] += 1
        # A linear layer's channels are last, a batch norm's second.
        if out.grad_fn is not None and (out.ndim == 2 or isinstance(layer, nn.Conv2d)):
            made[out.grad_fn] = layer  # type: ignore[assignment]

    def before_norm(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        calls[norm] += 1
        if given[0].grad_fn is not None:
            read.append((given[0].grad_fn, norm))  # type: ignore[arg-type]

    hooks = []
    for module in network.modules():
        if module._forward_hooks or module._forward_pre_hooks:
            continue  # such as spectral norm, which computes its weight anew
        if type(module) in (nn.Conv2d, nn.Linear):
            hooks.append(module.register_forward_hook(after_layer))
        elif type(module) in (nn.BatchNorm1d, nn.BatchNorm2d) and module.running_mean is not None:
            hooks.append(module.register_forward_pre_hook(before_norm))
    try:
        with torch.enable_grad():
            logits = network(x.detach().clone().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    readers = _readers(logits)
    return [
        (made[node], norm)
        for node, norm in read
        if node in made and readers[node] == 1 and calls[made[node]] == 1 and calls[norm] == 1
    ]


def _readers(logits: Tensor) -> Counter[torch.autograd.graph.Node]:
    """Return how many operations between the pixels and the logits read each operation's result."""
    readers: Counter[torch.autograd.graph.Node] = Counter()
    seen, waiting = set(), [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for before, _ in node.next_functions:
            if before is not None:
                readers[before] += 1
                waiting.append(before)
    return readers


def _fold(layer: _Layer, norm: _Norm) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    scale = (variance + norm.eps).rsqrt()
    shift = -mean * scale
    if norm.affine:
        scale = scale * norm.weight.double()
        shift = shift * norm.weight.double() + norm.bias.double()
    with torch.no_grad():
        old_bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.double()
        by_channel = scale.view(-1, *[1] * (layer.weight.ndim - 1))
        weight = (layer.weight.double() * by_channel).to(layer.weight)
        bias = (old_bias * scale + shift).to(layer.weight)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    layer.bias = nn.Parameter(bias, requires_grad=False)
