"""Rectifiers that are quick on a processor in half precision.

Bfloat16 numbers from zero up have the order of their bits as integers, and a negative number is a
negative integer: to clip one is to clip the other. Torch clips 16-bit integers several times as
fast as bfloat16.
"""

from __future__ import annotations

import torch
from torch import nn

_SIX = 0x40C0
"""The bits of 6 in bfloat16, as an integer; those of 0 are 0."""


def quicken(module: nn.Module) -> None:
    """Put quick rectifiers in the places of all ReLU and ReLU6 below a module.

    They are subclasses of those, and the same where their input needs a gradient, is of another
    type or lies on a GPU. One thing differs: a NaN may come out as a number, so not for networks
    whose weights are not finite.
    """
    for name, child in module.named_children():
        if type(child) is nn.ReLU:
            setattr(module, name, QuickReLU(child.inplace))
        elif type(child) is nn.ReLU6:
            setattr(module, name, QuickReLU6(child.inplace))
        else:
            quicken(child)


class QuickReLU(nn.ReLU):
    """``nn.ReLU``, see the module."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The same shape and type, negative numbers 0."""
        if _clips_as_integers(input):
            return _clipped(input, None, self.inplace)
        return super().forward(input)


class QuickReLU6(nn.ReLU6):
    """``nn.ReLU6``, see the module."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The same shape and type, within 0..6."""
        if _clips_as_integers(input):
            return _clipped(input, _SIX, self.inplace)
        return super().forward(input)


def _clips_as_integers(values: torch.Tensor) -> bool:
    return (
        values.dtype is torch.bfloat16
        and values.device.type == "cpu"
        and not (torch.is_grad_enabled() and values.requires_grad)
    )


def _clipped(values: torch.Tensor, most: int | None, inplace: bool) -> torch.Tensor:
    """Within 0 and what has ``most`` for bits."""
    bits = values.view(torch.int16)
    return (bits.clamp_(0, most) if inplace else bits.clamp(0, most)).view(torch.bfloat16)
