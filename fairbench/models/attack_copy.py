"""A copy of a network to attack: the same function, arranged for many forwards and input gradients.

Batch norms are folded into the convolutions and linear layers before them, convolutions are laid out channels-last
where they are wide enough to gain from it, and convolutions that read few channels get a faster input gradient on the
CPU. Each of these changes only how floats round. With precision "bf16" the arithmetic is bfloat16, which is for
gradients: a verdict is the original network's.

What can be folded is found by running the network once and looking at its graph, so that any code in `forward` may
stand between the layers; the folded copy is compared with the original before it is used.

Shape key: B batch, C H W image, K classes.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from fairbench.models.few_channels import FewChannelConv, reads_few_channels
from fairbench.models.folding import fold_batch_norms
from fairbench.models.following import Follower, follows_truly
from fairbench.models.following_plan import make_plan
from fairbench.models.local_graph import LocalGraph, local_graph

Precision = Literal["float32", "bf16", "float64"]

#: Narrower convolutions lose more by changing the layout than they gain (measured on the CPU, 8 to 64 channels).
_WIDE = 32


class AttackCopy(nn.Module):
    """A frozen network behind a cast to its precision and layout; (B, K) float32 logits.

    Attributes:
        memory_format: the layout in which images are best given.
        folded: how many batch norms were folded.
    """

    def __init__(
        self,
        network: nn.Module,
        precision: Precision,
        memory_format: torch.memory_format,
        folded: int,
        graph: LocalGraph | None,
    ) -> None:
        super().__init__()
        self.network, self.precision, self.memory_format, self.folded = network, precision, memory_format, folded
        self._graph = graph

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, K) float32 logits of (B, C, H, W) float32 pixels."""
        x = x.contiguous(memory_format=self.memory_format)
        if self.precision == "float64":
            x = x.double()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = self.network(x)
        return logits.float()

    def follow(self, x: Tensor, side: int) -> Follower | None:
        """Return what follows images (n, C, H, W) while squares of a side change; None where it would not pay."""
        if self._graph is None:
            return None
        plan = make_plan(self._graph, len(x), side, x.device)
        return Follower(self._graph, plan, x) if plan is not None else None


def attack_copy(
    model: nn.Module,
    x: Tensor,
    *,
    precision: Precision = "float32",
    fold: bool = True,
    channels_last: bool | None = None,
    few_channels: bool = True,
    local: bool = True,
) -> AttackCopy:
    """Return a copy of `model` to attack; the model itself is not touched.

    Args:
        model: pixels in [0, 1] in, logits out, in eval mode.
        x: (B, C, H, W) some images, B at least 1; they tell which layers follow each other.
        precision: of the arithmetic.
        fold: fold batch norms where that changes nothing.
        channels_last: the layout; None: where some convolution is wide.
        few_channels: whether convolutions that read few channels get the faster input gradient (CPU, float32).
        local: whether the copy can `follow` squares that change (CPU, float32).
    """
    network = copy.deepcopy(model).eval()
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    folded = fold_batch_norms(network, x) if fold else 0
    if channels_last is None:
        channels_last = any(
            isinstance(layer, nn.Conv2d) and min(layer.in_channels, layer.out_channels) >= _WIDE
            for layer in network.modules()
        )
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if few_channels and precision == "float32" and x.device.type == "cpu":
        for layer in list(network.modules()):
            for name, child in layer.named_children():
                if reads_few_channels(child):
                    setattr(layer, name, FewChannelConv(child))
    if precision == "float64":
        network = network.double()
    elif precision == "bf16":
        # Autocast would cast these at every call.
        for layer in network.modules():
            if type(layer) in (nn.Conv2d, nn.Linear):
                layer.to(torch.bfloat16)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    graph = None
    if local and precision == "float32" and x.device.type == "cpu":
        graph = local_graph(network, x)
        if graph is not None and not follows_truly(graph, network, x):
            graph = None
    return AttackCopy(network, precision, layout, folded, graph).eval()
