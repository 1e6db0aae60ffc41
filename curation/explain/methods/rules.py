"""Rules of relevance propagation: how a linear layer hands the relevance of its outputs down.

A rule answers with a *modified gradient* g, whose product with the input is the relevance:
R_i = x_i g_i. Gradients of this kind travel through additions, concatenations, max-pools and
rectifiers by plain autograd, so that only linear layers need a rule (:mod:`.relevance`).

Sides, for inputs of any sign: the contribution z_ij = x_i w_ij belongs to the positive side
where it is above zero. For x >= 0, as behind a rectifier, that is the sign of the weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import nn
from torch.func import functional_call


class Step(NamedTuple):
    """One layer as it ran: what a rule looks at."""

    layer: nn.Module
    """A convolution or a linear layer; any padding, stride and grouping."""
    inputs: torch.Tensor
    outputs: torch.Tensor
    """With the bias."""


class Rule(Protocol):
    """Hands relevance down through one layer."""

    def __call__(self, step: Step, relevance: torch.Tensor, side: int | None) -> torch.Tensor:
        """The modified gradient by the inputs.

        Args:
            step: the layer.
            relevance: of its outputs.
            side: 1 or -1 where the layer starts the propagation and the side is set from
                outside; None gives each output its own sign.
        """
        ...


@dataclass(frozen=True, slots=True)
class Epsilon:
    """R_i = sum_j z_ij / (y_j + epsilon sign(y_j)) R_j, with the bias in y_j.

    With epsilon = 0 the simple rule: on a network of rectifiers it is gradient times input.

    Source:
        Bach et al., 2015, equations 56 and 58. The bias keeps its share, as in zennit.
    """

    epsilon: float

    def __call__(self, step: Step, relevance: torch.Tensor, side: int | None) -> torch.Tensor:
        """The sign of the outputs does not matter to this rule, nor does the side."""
        y = step.outputs
        steady = y + torch.where(y >= 0, self.epsilon, -self.epsilon)
        return transposed(step, _share(relevance, steady), weight_of(step.layer))


@dataclass(frozen=True, slots=True)
class AlphaBeta:
    """R_i = sum_j (alpha z+_ij / sum z+ + beta z-_ij / sum z-) R_j, without the bias.

    alpha + beta = 1 conserves relevance. alpha = 1 is w+, beta = 1 is w-. "+" is the side of the
    output's own sign: what is behind no rectifier and below zero got there by its negative
    contributions. Behind rectifiers, as everywhere in VGG16, outputs with relevance are
    positive and the rule is the literature's. An output without a contribution on a side, which
    the bias alone holds up, hands that side's relevance to the other side: a depthwise unit has
    nine weights, and in EfficientNet-Lite0 much relevance meets such units. The relevance of an
    output that sees only zeros is its bias's and lost.

    Source:
        Slides of Tsunakawa et al., 2019, whose beta is minus that of Bach et al., 2015. Sides
        by own sign extend their sign-based rule to the linear bottlenecks of light networks;
        that and the other side in want of contributions are ours.
    """

    alpha: float
    beta: float

    def __call__(self, step: Step, relevance: torch.Tensor, side: int | None) -> torch.Tensor:
        """Two convolutions a side; the side of negative outputs costs only where there are any."""
        if side is not None:
            return self._one(step, relevance, side)
        above = relevance.masked_fill(step.outputs < 0, 0)
        below = relevance - above
        gradient = self._one(step, above, 1)
        return gradient + self._one(step, below, -1) if below.any() else gradient

    def _one(self, step: Step, relevance: torch.Tensor, side: int) -> torch.Tensor:
        total = torch.zeros_like(step.inputs)
        for weight, sign in ((self.alpha, side), (self.beta, -side)):
            if weight:
                total += _side_gradient(step, weight * relevance, sign)
        return total


@dataclass(frozen=True, slots=True, eq=False)
class ZBox:
    """R_i = sum_j (x_i w_ij - l_i w+_ij - h_i w-_ij) / sum_i' (...) R_j: for bounded inputs.

    Answers with the relevance itself, not with a modified gradient: a pixel of value zero may
    be relevant. Padding adds nothing.

    Args:
        low: [C, 1, 1] smallest value of a pixel.
        high: [C, 1, 1] greatest value of a pixel.

    Source:
        Montavon et al., 2017, table 1.
    """

    low: torch.Tensor
    high: torch.Tensor

    def __call__(self, step: Step, relevance: torch.Tensor, side: int | None) -> torch.Tensor:
        """[B, C, h, w] relevance of the pixels."""
        x, w = step.inputs, weight_of(step.layer)
        low, high = self.low.expand_as(x), self.high.expand_as(x)
        parts = ((x, w), (-low, w.clamp(min=0)), (-high, w.clamp(max=0)))
        total = torch.stack([linear(step.layer, value, weight) for value, weight in parts]).sum(0)
        share = _share(relevance, total)
        pulled = [value * transposed(step, share, weight) for value, weight in parts]
        return torch.stack(pulled).sum(0)


@dataclass(frozen=True, slots=True)
class InputTimes:
    """Another rule on the pixels, answering with their relevance."""

    rule: Rule

    def __call__(self, step: Step, relevance: torch.Tensor, side: int | None) -> torch.Tensor:
        """[B, C, h, w] relevance of the pixels."""
        return step.inputs * self.rule(step, relevance, side)


@dataclass(frozen=True, slots=True)
class Flat:
    """Every input that an output sees gets the same share of its relevance.

    Answers with the relevance itself, as :class:`ZBox` does.

    Source:
        Lapuschkin et al., 2019.
    """

    def __call__(self, step: Step, relevance: torch.Tensor, side: int | None) -> torch.Tensor:
        """[B, C, h, w] relevance of the pixels."""
        ones = torch.ones_like(weight_of(step.layer))
        total = linear(step.layer, torch.ones_like(step.inputs), ones)
        return transposed(step, _share(relevance, total), ones)


def weight_of(layer: nn.Module) -> torch.Tensor:
    """The weight of a convolution or linear layer."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return weight.detach()


def linear(layer: nn.Module, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The layer with another weight and without bias; padded and strided as the layer is."""
    other = {"weight": weight}
    if getattr(layer, "bias", None) is not None:
        other["bias"] = weight.new_zeros(len(weight))
    return functional_call(layer, other, (inputs,))  # type: ignore[no-any-return]


def transposed(step: Step, outputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The transpose of :func:`linear`, outputs to inputs."""
    with torch.enable_grad():
        inputs = step.inputs.detach().requires_grad_(True)
        forward = linear(step.layer, inputs, weight)
    return torch.autograd.grad(forward, inputs, outputs)[0]


def _side_gradient(
    step: Step, relevance: torch.Tensor, sign: int, last: bool = False
) -> torch.Tensor:
    """Modified gradient that hands relevance to the contributions of one sign, if there are."""
    x, w = step.inputs, weight_of(step.layer)
    same, other = (w.clamp(min=0), w.clamp(max=0))[::sign]
    parts = [(x.clamp(min=0), same, x > 0)]
    if (x < 0).any():
        parts.append((x.clamp(max=0), other, x < 0))
    total = linear(step.layer, *parts[0][:2])
    for value, weight, _ in parts[1:]:
        total = total + linear(step.layer, value, weight)
    share = _share(relevance, total)
    gradient = torch.zeros_like(x)
    for _, weight, mine in parts:
        gradient += transposed(step, share, weight) * mine
    left = relevance.masked_fill(total != 0, 0)
    if last or not left.any():
        return gradient
    return gradient + _side_gradient(step, left, -sign, last=True)


def _share(relevance: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """Relevance for each unit of the total; what has nothing to be handed to is lost."""
    return torch.where(total == 0, 0, relevance / torch.where(total == 0, 1, total))
