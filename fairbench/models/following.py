"""Follow images through a network while small squares of them change: compute only what the squares reach.

Random search changes one square per query. In a convolutional network only a window around it changes in every local
layer; the rest is known from the query before. What the last local layer gives then goes through the rest of the
network as usual. The numbers are those of the whole network but for rounding.

Shape key: n images, C H W, window: the pixels of a layer that a square can reach.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from fairbench.models.few_channels import FewChannelConv
from fairbench.models.following_plan import Plan, Spots, make_plan
from fairbench.models.local_graph import LocalGraph, layer_of, local_inputs, values


class _Layer:
    """One layer's values for all images, pixel after pixel, (n H W, C), with a border of zeros."""

    def __init__(self, value: Tensor, border: int) -> None:
        self.count, channels, height, width = value.shape
        self.border, self.height, self.width = border, height + 2 * border, width + 2 * border
        padded = nn.functional.pad(value, (border,) * 4)
        self.rows = padded.permute(0, 2, 3, 1).reshape(-1, channels).clone()
        self._number()
        self._undo: tuple[Tensor, Tensor, Tensor] | None = None

    def _number(self) -> None:
        self._first = torch.arange(self.count, device=self.rows.device) * (self.height * self.width)

    def _places(self, spots: Spots, corner: Tensor) -> Tensor:
        return ((spots.table[corner] + self._first)[:, None] + spots.steps).flatten()

    def read(self, spots: Spots, corner: Tensor) -> Tensor:
        """Return windows (n, C, h, w)."""
        rows = self.rows.index_select(0, self._places(spots, corner))
        return rows.view(self.count, *spots.size, -1).permute(0, 3, 1, 2)

    def write(self, window: Tensor, spots: Spots, corner: Tensor) -> None:
        """Put windows (n, C, h, w) into the layer; `settle` takes back those that failed."""
        places = self._places(spots, corner)
        new = window.permute(0, 2, 3, 1).reshape(len(places), -1)
        self._undo = places, self.rows.index_select(0, places), new
        self.rows.index_copy_(0, places, new)

    def settle(self, kept: Tensor) -> None:
        """Keep the last windows of some images (indices), and take the others back."""
        assert self._undo is not None
        places, before, new = self._undo
        self._undo = None
        self.rows.index_copy_(0, places, before)
        if len(kept):
            per_image = places.view(self.count, -1)[kept].flatten()
            self.rows.index_copy_(0, per_image, new.view(self.count, -1, new.shape[1])[kept].flatten(0, 1))

    def keep(self, rows: Tensor) -> None:
        """Keep only some of the images (mask)."""
        self.rows = self.rows.view(self.count, self.height * self.width, -1)[rows].flatten(0, 1)
        self.count = len(self.rows) // (self.height * self.width)
        self._number()

    def whole(self) -> Tensor:
        """Return the layer, (n, C, H, W)."""
        image = self.rows.view(self.count, self.height, self.width, -1).permute(0, 3, 1, 2)
        if self.border:
            image = image[:, :, self.border : -self.border, self.border : -self.border]
        return image


class Follower:
    """The layers of some images, kept up to date while squares of one side change.

    Args:
        graph: the network.
        plan: what to compute for squares of that side.
        x: (n, C, H, W) the images.
    """

    def __init__(self, graph: LocalGraph, plan: Plan, x: Tensor) -> None:
        self.graph, self.plan = graph, plan
        known = values(graph.module, x)
        self._constants = {node: known[node] for node in graph.nodes if node.op == "get_attr"}
        self._layers = {node: _Layer(known[node], border) for node, border in plan.border.items()}

    def logits(self, x: Tensor, corner: Tensor) -> Tensor:
        """Return the (n, K) logits of images whose squares have changed since the last that were accepted.

        Args:
            x: (n, C, H, W) the images with their new squares.
            corner: (n,) flat places of the squares' first pixels.
        """
        seen: dict[fx.Node, Tensor] = {}
        with torch.no_grad():
            for node, window in self.plan.window.items():
                if node.op == "placeholder":
                    seen[node] = _square_of(x, corner, window.size[0])
                else:
                    seen[node] = self._windowed(node, corner, seen)
                if node in self._layers:
                    self._layers[node].write(seen[node], self.plan.spots[node, node], corner)
            return self._rest()

    def _windowed(self, node: fx.Node, corner: Tensor, seen: dict[fx.Node, Tensor]) -> Tensor:
        module, spots = self.graph.module, self.plan.spots

        def given(argument: fx.Node) -> Tensor:
            if argument in self._constants:
                constant: Tensor = self._constants[argument]
                return constant
            if (node, argument) in spots:
                return self._layers[argument].read(spots[node, argument], corner)
            return seen[argument]

        layer = layer_of(node, module)
        if isinstance(layer, nn.Conv2d | FewChannelConv):
            (source,) = local_inputs(node, self.graph.reach)
            # The border holds the padding.
            groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
            stride = (int(layer.stride[0]), int(layer.stride[1]))
            return nn.functional.conv2d(given(source), layer.weight, layer.bias, stride, groups=groups)
        value: Tensor = _call(node, module, given)
        return value

    def _rest(self) -> Tensor:
        env: dict[fx.Node, Any] = dict(self._constants)
        heads = self.plan.heads
        for node in self.plan.tail:
            if node.op == "output":
                result: Tensor = fx.node.map_arg(node.args[0], env.__getitem__)  # type: ignore[assignment]
                return result
            if any(user in heads for user in node.users):
                continue  # a flatten that its linear layer does without
            for given in node.all_input_nodes:
                if given in self._layers and given not in env:
                    env[given] = self._layers[given].whole()
            if node in heads:
                source, weight = heads[node]
                head = layer_of(node, self.graph.module)
                assert isinstance(head, nn.Linear)
                rows = self._layers[source].rows
                env[node] = nn.functional.linear(rows.view(-1, weight.shape[1]), weight, head.bias)
            else:
                env[node] = _call(node, self.graph.module, env.__getitem__)
        raise AssertionError("a network has an output")

    def settle(self, accepted: Tensor) -> None:
        """Keep the last squares where they were accepted (n,), and take the others back."""
        kept = accepted.nonzero()[:, 0]
        for layer in self._layers.values():
            layer.settle(kept)

    def keep(self, rows: Tensor) -> None:
        """Keep only some of the images (mask)."""
        for layer in self._layers.values():
            layer.keep(rows)


def _square_of(x: Tensor, corner: Tensor, side: int) -> Tensor:
    """Return the squares (n, C, s, s) of images that begin at flat places."""
    steps = torch.arange(side, device=x.device)
    where = corner[:, None, None] + (steps[:, None] * x.shape[3] + steps).flatten()
    flat = x.view(*x.shape[:2], -1)
    return flat.gather(2, where.expand(-1, x.shape[1], -1)).view(len(x), x.shape[1], side, side)


def _call(node: fx.Node, module: fx.GraphModule, value: Any) -> Any:
    arguments, options = fx.node.map_arg(node.args, value), fx.node.map_arg(node.kwargs, value)
    if node.op == "call_module":
        return module.get_submodule(str(node.target))(*arguments, **options)
    if node.op == "call_method":
        return getattr(arguments[0], str(node.target))(*arguments[1:], **options)
    assert callable(node.target)
    return node.target(*arguments, **options)


def follows_truly(graph: LocalGraph, network: nn.Module, x: Tensor) -> bool:
    """Return whether following squares gives the network's logits, at the edges and inside of some images."""
    height, width = x.shape[2:]
    side = max(min(height, width) // 6, 1)
    plan = make_plan(graph, 1 << 20, side, x.device, memory=1 << 60)
    if plan is None:
        return True
    x = x.clone()
    follower = Follower(graph, plan, x)
    places = [(0, 0), (height - side, width - side), (height // 2, width // 3), (1, width - side)]
    for number, (top, left) in enumerate(places):
        before = x.clone()
        x[:, :, top : top + side, left : left + side] = 1 - x[:, :, top : top + side, left : left + side]
        logits = follower.logits(x, torch.full((len(x),), top * width + left, device=x.device))
        with torch.no_grad():
            expected = network(x)
        if not bool((logits - expected).abs().max() <= 1e-3 * expected.abs().max()):
            return False
        accepted = torch.full((len(x),), number % 2 == 0, device=x.device)
        follower.settle(accepted)
        x = torch.where(accepted[:, None, None, None], x, before)
    return True
