"""What has to be computed again in each layer when a square of an image changes.

Shape key: n images, C H W, s side of a square, window: the pixels of a layer that a square can reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn

from fairbench.models.local_graph import LocalGraph, layer_of, local_inputs

#: A window that covers more than this share of a layer is not worth cutting out.
_LARGEST_WINDOW = 0.5
#: Multiplications that must be saved for what cutting out a window costs (measured on the CPU: about 50 microseconds).
_WORTH = 1e7
#: Bytes that the layers of all images may take.
_MEMORY = 2 << 30

_Starts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """What a square reaches in a layer: `size` pixels along both axes, beginning at `starts[axis][place of square]`."""

    size: tuple[int, int]
    starts: tuple[_Starts, _Starts]

    def equals(self, other: Window) -> bool:
        """Return whether two layers have the same window for every square."""
        return self.size == other.size and all(map(np.array_equal, self.starts, other.starts))


@dataclass(frozen=True)
class Spots:
    """Places of windows in a layer's rows: `table[corner]` begins a window, `steps` (m,) are its pixels from there."""

    table: Tensor
    steps: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """How squares of one side are followed.

    Attributes:
        window: of each node of which only a window is computed, in the order in which they run.
        border: of each node that is kept whole: pixels of zeros around it, for the convolutions that read it.
        spots: where a node writes its window (node, node), or reads another's (node, source).
        tail: the nodes that are computed whole, in order.
        heads: linear layers that read a flattened layer: (the layer's node, weights in the order of its pixels).
    """

    window: dict[fx.Node, Window]
    border: dict[fx.Node, int]
    spots: dict[tuple[fx.Node, fx.Node], Spots]
    tail: list[fx.Node]
    heads: dict[fx.Node, tuple[fx.Node, Tensor]]


def make_plan(graph: LocalGraph, n: int, side: int, device: torch.device, *, memory: int = _MEMORY) -> Plan | None:
    """Return how to follow squares of a side in n images; None where it would not pay.

    The choice depends on the network, the number of images and the side only. `memory` bounds the bytes that all
    images' layers may take.
    """
    window = _worth_cutting(graph, n, side)
    if not window:
        return None
    border, spots = {}, {}
    for node in window:
        readers = [user for user in node.users if user in window]
        if all(user in window and _same_window(graph, window, user, node) for user in node.users):
            continue
        border[node] = max((max(graph.reach[user].padding) for user in readers), default=0)
    if 4 * n * sum(math.prod(graph.shape[node]) for node in border) > memory:
        return None
    for node in window:
        if node in border:
            spots[node, node] = _spots(graph, node, border[node], window[node].starts, window[node].size, device)
        for source in local_inputs(node, graph.reach):
            if not _same_window(graph, window, node, source):
                spots[node, source] = _read_spots(graph, window, node, source, border[source], device)
    tail = [node for node in graph.nodes if node not in window and node.op not in ("placeholder", "get_attr")]
    return Plan(window, border, spots, tail, _heads(graph, border))


def windows(graph: LocalGraph, side: int) -> dict[fx.Node, Window]:
    """Return every local node's window for squares of a side, by going through all places a square can have."""
    spans: dict[fx.Node, list[tuple[_Starts, _Starts]]] = {}
    found: dict[fx.Node, Window] = {}
    for node, reach in graph.reach.items():
        before, axes = local_inputs(node, graph.reach), []
        for axis in (0, 1):
            length = graph.shape[node][1 + axis]
            if not before:
                places = np.arange(length - side + 1)
                axes.append((places, places + side - 1))
                continue
            kernel, stride, padding = reach.kernel[axis], reach.stride[axis], reach.padding[axis]
            low = np.min([spans[given][axis][0] for given in before], axis=0)
            high = np.max([spans[given][axis][1] for given in before], axis=0)
            # Output i reads inputs i stride - padding and the kernel - 1 after it.
            first, last = -((kernel - 1 - padding - low) // stride), (high + padding) // stride
            axes.append((first.clip(0, length - 1), last.clip(0, length - 1)))
        spans[node] = axes
        sizes = [int((last - first).max()) + 1 for first, last in axes]
        starts = [np.minimum(axes[axis][0], graph.shape[node][1 + axis] - sizes[axis]) for axis in (0, 1)]
        found[node] = Window((sizes[0], sizes[1]), (starts[0], starts[1]))
    return found


def _worth_cutting(graph: LocalGraph, n: int, side: int) -> dict[fx.Node, Window]:
    chosen: dict[fx.Node, Window] = {}
    saved = 0.0
    for node, window in windows(graph, side).items():
        _, height, width = graph.shape[node]
        share = window.size[0] * window.size[1] / (height * width)
        if any(given not in chosen for given in local_inputs(node, graph.reach)) or share > _LARGEST_WINDOW:
            continue
        gain = n * graph.work[node] * height * width * (1 - share)
        if graph.work[node] and gain < _WORTH:
            continue
        chosen[node] = window
        saved += gain
    return chosen if saved > 0 else {}


def _same_window(graph: LocalGraph, window: dict[fx.Node, Window], node: fx.Node, source: fx.Node) -> bool:
    return graph.reach[node].pointwise and window[node].equals(window[source])


def _spots(
    graph: LocalGraph,
    layer: fx.Node,
    border: int,
    starts: tuple[_Starts, _Starts],
    size: tuple[int, int],
    device: torch.device,
) -> Spots:
    width = graph.shape[layer][2] + 2 * border
    pixels = next(iter(graph.shape.values()))[2]  # the image's width: corners are flat places in the image
    table = np.zeros((len(starts[0]), pixels), dtype=np.int64)
    table[:, : len(starts[1])] = (starts[0] + border)[:, None] * width + starts[1] + border
    steps = np.arange(size[0])[:, None] * width + np.arange(size[1])
    return Spots(torch.from_numpy(table.ravel()).to(device), torch.from_numpy(steps.ravel()).to(device), size)


def _read_spots(
    graph: LocalGraph, window: dict[fx.Node, Window], node: fx.Node, source: fx.Node, border: int, device: torch.device
) -> Spots:
    reach, own = graph.reach[node], window[node]
    begin = [own.starts[axis] * reach.stride[axis] - reach.padding[axis] for axis in (0, 1)]
    size = [(own.size[axis] - 1) * reach.stride[axis] + reach.kernel[axis] for axis in (0, 1)]
    return _spots(graph, source, border, (begin[0], begin[1]), (size[0], size[1]), device)


def _heads(graph: LocalGraph, border: dict[fx.Node, int]) -> dict[fx.Node, tuple[fx.Node, Tensor]]:
    """Return the linear layers that read a kept layer through nothing but a flatten."""
    found = {}
    for flat in graph.nodes:
        layer = layer_of(flat, graph.module)
        flattens = (isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)) or (
            flat.target in (torch.flatten, "flatten") and flat.args[1:] == (1,) and not flat.kwargs
        )
        if not flattens or len(flat.users) != 1 or border.get(flat.all_input_nodes[0]) != 0:
            continue
        (user,), source = flat.users, flat.all_input_nodes[0]
        head = layer_of(user, graph.module)
        if type(head) is nn.Linear:
            weight = head.weight.view(-1, *graph.shape[source]).permute(0, 2, 3, 1).flatten(1)
            found[user] = (source, weight.contiguous())
    return found
