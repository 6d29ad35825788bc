"""The network linearised where FAB stands: how far the nearest rival is behind, and in which direction it comes nearer.

Shape key: b samples that are left, C H W image, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fairbench.attacks.attack_memory import laid_out, overwrite
from fairbench.attacks.norm_ball import length
from fairbench.threat import Norm

#: The norm in which a gradient is measured, for distances in each norm.
_DUAL: dict[Norm, Norm] = {"Linf": "L1", "L2": "L2", "L1": "Linf"}


class LinearNetwork:
    """Linearises a network at the iterates of some samples.

    Args:
        model: pixels in, logits out.
        y: (b,) labels.
        target: (b,) the rival of each sample; None: whichever boundary is nearest, which costs K backwards.
        norm: in which the nearest is nearest.
    """

    def __init__(self, model: nn.Module, y: Tensor, target: Tensor | None, norm: Norm) -> None:
        self.model, self.y, self.target, self.norm = model, y, target, norm
        self._kept: tuple[Tensor, Tensor, Tensor] | None = None

    def _of(self, rows: Tensor) -> LinearNetwork:
        return LinearNetwork(self.model, self.y[rows], None if self.target is None else self.target[rows], self.norm)

    def keep(self, rows: Tensor) -> None:
        """Keep only the samples where `rows` (b,) holds."""
        if self._kept is not None:
            places, lead, slope = self._kept
            stayed = rows[places]
            self._kept = (rows.cumsum(0)[places[stayed]] - 1, lead[stayed], slope[stayed])
        self.y = self.y[rows]
        self.target = None if self.target is None else self.target[rows]

    def at(self, x_now: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rival's logit minus the label's, (b,), and its gradient (b, C, H, W)."""
        leaf, logits = self._forward(x_now)
        return self._differentiate(leaf, logits)

    def look(self, x_now: Tensor, staying: Tensor | None) -> Tensor:
        """Return which samples are misclassified at x_now, (b,).

        Where `staying` (b,) holds, the forward's graph is used at once for the gradient, which `after_look` gives back
        if the sample is indeed not misclassified.
        """
        self._kept = None
        if staying is None:
            return self._predict(x_now) != self.y
        places, others = staying.nonzero()[:, 0], (~staying).nonzero()[:, 0]
        crossed = torch.empty_like(staying)
        if len(others):
            crossed[others] = self._predict(x_now[others]) != self.y[others]
        part = self._of(places)
        leaf, logits = part._forward(x_now[places])
        crossed[places] = wrong = logits.detach().argmax(1) != part.y
        if not bool(wrong.all()):
            lead, slope = part._differentiate(leaf, logits)
            self._kept = places[~wrong], lead[~wrong], slope[~wrong]
        return crossed

    def after_look(self, x_now: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `at` returns. Samples that were not misclassified must stand where `look` saw them."""
        if self._kept is None:
            return self.at(x_now)
        places, lead_kept, slope_kept = self._kept
        rest = torch.ones_like(self.y, dtype=torch.bool)
        rest[places] = False
        lead, slope = lead_kept.new_empty(len(x_now)), torch.empty_like(x_now)
        lead[places], slope[places] = lead_kept, slope_kept
        if bool(rest.any()):
            lead[rest], slope[rest] = self._of(rest).at(x_now[rest])
        return lead, slope

    def _predict(self, x_now: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.model(x_now)
        return logits.argmax(1)

    def _forward(self, x_now: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = x_now.detach().requires_grad_()
            return leaf, self.model(leaf)

    def _differentiate(self, leaf: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        if self.target is None:
            return self._nearest(leaf, logits)
        with torch.enable_grad():
            own, rival = (logits.gather(1, classes[:, None])[:, 0] for classes in (self.y, self.target))
            lead = -(own - rival)
            (slope,) = torch.autograd.grad(lead.sum(), leaf)
        return lead.detach(), laid_out(slope, leaf)

    def _nearest(self, leaf: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        classes = range(logits.shape[1])
        gradients = []
        for k in classes:
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(logits[:, k].sum(), leaf, retain_graph=k != classes[-1])
            gradients.append(laid_out(gradient, leaf))
        values, own = logits.detach(), torch.zeros_like(leaf)
        for k in classes:
            overwrite(own, self.y == k, gradients[k])
        label = values.gather(1, self.y[:, None])[:, 0]
        nearest = torch.full_like(label, torch.inf)
        lead, slope = torch.zeros_like(label), torch.zeros_like(own)
        for k in classes:
            difference, gap = gradients[k] - own, values[:, k] - label
            distance = gap.abs() / (1e-12 + length(difference, _DUAL[self.norm]))
            nearer = (distance < nearest) & (self.y != k)
            nearest = torch.where(nearer, distance, nearest)
            lead = torch.where(nearer, gap, lead)
            overwrite(slope, nearer, difference)
        # NaN is near nothing, and must not pass for a rival that has caught up.
        return torch.where(torch.isfinite(nearest), lead, torch.nan), slope
