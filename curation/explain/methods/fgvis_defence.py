"""FGVis's defence: gradients that cannot invent evidence which an image does not hold.

:func:`guarded` makes a network whose activations remember the image's, :class:`Defended`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from curation.kernel.detector import Network
from curation.kernel.types import ScoreTarget

_BENDS = (nn.ReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Tanh, nn.Sigmoid)


class Defended(nn.Module):
    """An activation that remembers the image's values and lets no gradient past them.

    The value h(e) of an explanation must stay between 0 and h(x): the gradient passes only where
    h(e) <= max(0, h(x)) and h(e) >= min(0, h(x)).

    Source:
        Wagner et al., section 3.2.
    """

    def __init__(self, bend: nn.Module) -> None:
        super().__init__()
        self.bend = bend
        self.limit: torch.Tensor | None = None
        self.learns = False

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The activation's values; its gradient is gated once the image is known."""
        values: torch.Tensor = self.bend(inputs)
        if self.learns:
            self.limit = values.detach()
        elif self.limit is not None:
            values = _Gate.apply(values, self.limit)
        return values


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(values, limit)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        values, limit = ctx.saved_tensors
        inside = (values <= limit.clamp(min=0)) & (values >= limit.clamp(max=0))
        return gradients[0] * inside, None


def defend(module: nn.Module) -> list[Defended]:
    """Wrap every activation below a module, in place; returns the wrappers."""
    found = []
    for name, child in list(module.named_children()):
        if isinstance(child, _BENDS):
            if hasattr(child, "inplace"):
                child.inplace = False
            found.append(Defended(child))
            setattr(module, name, found[-1])
        else:
            found += defend(child)
    return found


def guarded(
    network: Network, x: torch.Tensor, targets: Sequence[ScoreTarget], defence: bool
) -> Network:
    """A copy of a network that knows the image's activations; plain without the defence."""
    network = network.copy()
    guards = [g for part in (network.backbone, network.class_heads) for g in defend(part)]
    if defence:
        for guard in guards:
            guard.learns = True
        with torch.no_grad():
            maps = network.maps(x)
            for target in targets:
                network.class_logits(maps, network.place(target.default_box))
        for guard in guards:
            guard.learns = False
    return network
