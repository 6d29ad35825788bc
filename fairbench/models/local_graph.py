"""Which of a network's layers are local: each output pixel depends on nearby input pixels only.

The network is traced once (torch.fx). Convolutions, pools without padding, batch norms in eval mode, elementwise
functions and sums are local; what follows a flatten, a global mean or anything unknown is not. A network that cannot be
traced has no local layers, which costs speed and nothing else.

Shape key: B batch, C H W image.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fairbench.models.few_channels import FewChannelConv

_ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Softplus, nn.ELU, nn.ReLU6, nn.Identity, nn.Dropout)
_FUNCTIONS = (torch.relu, F.relu, F.leaky_relu, F.silu, F.gelu, F.softplus, F.elu, F.relu6)
_METHODS = ("relu", "sigmoid", "tanh")
_ARITHMETIC = (operator.add, operator.sub, operator.mul, operator.truediv, torch.add, torch.mul)


@dataclass(frozen=True)
class Reach:
    """Output pixel i reads input pixels i stride - padding .. i stride - padding + kernel - 1, along both axes."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)

    @property
    def pointwise(self) -> bool:
        """Whether every output pixel reads only itself."""
        return self == Reach()


@dataclass(frozen=True)
class LocalGraph:
    """A traced network.

    Attributes:
        module: runs the whole network.
        reach: of each local node, the input included.
        shape: (C, H, W) of each local node's value.
        work: multiplications per output pixel of each local node.
    """

    module: fx.GraphModule
    reach: dict[fx.Node, Reach]
    shape: dict[fx.Node, tuple[int, int, int]]
    work: dict[fx.Node, int]

    @property
    def nodes(self) -> list[fx.Node]:
        """All nodes in the order in which they run."""
        return list(self.module.graph.nodes)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FewChannelConv) or super().is_leaf_module(m, module_qualified_name)


class _Recorder(fx.Interpreter):
    """Runs a network and keeps the value of every node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)


def values(module: fx.GraphModule, x: Tensor) -> dict[fx.Node, Any]:
    """Return the value of every node on x."""
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(x)
    return recorder.env


def local_graph(network: nn.Module, x: Tensor) -> LocalGraph | None:
    """Return the network's local part; None where there is none.

    Args:
        network: in eval mode, pixels in, logits out.
        x: (B, C, H, W) some images.
    """
    try:
        module = fx.GraphModule(network, _Tracer().trace(network))
        if not _without_side_effects(module):
            return None
        found = values(module, x)
    except Exception:  # any code may stand in `forward`, and what cannot be traced is run as it is
        return None
    reach: dict[fx.Node, Reach] = {}
    for node in module.graph.nodes:
        known = _reach(node, module, reach, found)
        if known is not None:
            reach[node] = known
    if not any(not value.pointwise for value in reach.values()):
        return None
    shape = {node: tuple(found[node].shape[1:]) for node in reach}
    work = {node: _work(node, module) for node in reach}
    return LocalGraph(module, reach, shape, work)


def _without_side_effects(module: fx.GraphModule) -> bool:
    """Make in-place operations return new tensors, since values are kept; return whether all could be."""
    for node in module.graph.nodes:
        layer = layer_of(node, module)
        if getattr(layer, "inplace", False):
            layer.inplace = False  # type: ignore[union-attr]
        if node.kwargs.get("inplace"):
            node.kwargs = {**node.kwargs, "inplace": False}
        if node.target is operator.iadd:
            node.target = operator.add
        if node.op == "call_method" and node.target == "relu_":
            node.target = "relu"
        if node.op == "call_method" and str(node.target).endswith("_"):
            return False
        if node.op == "call_function" and getattr(node.target, "__name__", "").endswith("_"):
            return False
    module.recompile()
    return True


def layer_of(node: fx.Node, module: fx.GraphModule) -> nn.Module | None:
    """Return the layer that a node calls; None for a function."""
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def local_inputs(node: fx.Node, reach: dict[fx.Node, Reach]) -> list[fx.Node]:
    """Return the local nodes that a node reads."""
    return [given for given in node.all_input_nodes if given in reach]


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _reach(
    node: fx.Node, module: fx.GraphModule, reach: dict[fx.Node, Reach], found: dict[fx.Node, Any]
) -> Reach | None:
    """Return how a node's value depends on its inputs if it is local, else None."""
    value = found.get(node)
    if not (isinstance(value, Tensor) and value.ndim == 4):
        return None
    if node.op == "placeholder":
        return Reach()
    before = local_inputs(node, reach)
    if not before:
        return None
    layer = layer_of(node, module)
    if isinstance(layer, FewChannelConv):
        return Reach(_pair(layer.weight.shape[2:]), _pair(layer.stride), _pair(layer.padding))
    if type(layer) is nn.Conv2d:
        plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and layer.dilation == (1, 1)
        return Reach(_pair(layer.kernel_size), _pair(layer.stride), _pair(layer.padding)) if plain else None
    if type(layer) in (nn.MaxPool2d, nn.AvgPool2d):
        assert isinstance(layer, nn.MaxPool2d | nn.AvgPool2d)
        plain = _pair(layer.padding) == (0, 0) and not layer.ceil_mode and getattr(layer, "dilation", 1) == 1
        return Reach(_pair(layer.kernel_size), _pair(layer.stride)) if plain else None
    same = all(given.shape[2:] == value.shape[2:] for given in (found[node_] for node_ in before))
    others = [given for given in node.all_input_nodes if given not in reach]
    constant = all(given.op == "get_attr" and found[given].shape[-2:] in ((), (1, 1)) for given in others)
    if not (same and constant):
        return None
    elementwise = (
        isinstance(layer, _ELEMENTWISE)
        or type(layer) is nn.BatchNorm2d
        or (node.op == "call_function" and node.target in (*_FUNCTIONS, *_ARITHMETIC))
        or (node.op == "call_method" and node.target in _METHODS)
    )
    return Reach() if elementwise else None


def _work(node: fx.Node, module: fx.GraphModule) -> int:
    layer = layer_of(node, module)
    return layer.weight.numel() if isinstance(layer, nn.Conv2d | FewChannelConv) else 0
