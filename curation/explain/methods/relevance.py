"""Relevance propagation through the layers of a detector, as a backward pass by other rules.

:func:`prepare` turns a copy of a network into one whose *gradients* are modified: the product of
an activation and its gradient is the relevance of the activation. Linear layers follow a rule
of :mod:`.rules`; rectifiers and other pointwise bends pass relevance unchanged, saturated ones
included; max-pools give all to the winner (the first of equals); additions split by the share
of the output's own sign, or in proportion; L2 norms and gates act as fixed scalings. The first
layer answers with the relevance of the pixels itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from curation.explain.methods.rules import AlphaBeta, Flat, InputTimes, Rule, Step, ZBox
from curation.kernel.detector import Network

FirstLayer: TypeAlias = Literal["z_box", "flat", "same"]

_LINEAR = (nn.Conv2d, nn.Linear)
# batch norms are folded; one that could not be acts on each channel alone, and passes too
_BENDS = (
    *(nn.ReLU, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh),
    *(nn.LeakyReLU, nn.ELU, nn.BatchNorm2d),
)
_BREAKING = (nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh)


class LayerRelevance(NamedTuple):
    """Relevance of the inputs of one layer, as it arrived there in one sweep."""

    layer: str
    """Its name in the network."""
    largest: float
    smallest: float
    total: float


def breaking_layers(network: Network) -> tuple[str, ...]:
    """Kinds of layers for which w+ and its relatives are not derived: hard-swish, gates."""
    parts = (network.backbone, network.class_heads, network.box_heads)
    return tuple(
        sorted({type(m).__name__ for part in parts for m in part.modules() if type(m) in _BREAKING})
    )


class RuledLayer(nn.Module):
    """A linear layer that hands relevance down by a rule.

    Attributes:
        starts: whether incoming "gradients" are relevances: set on the last layer of a head.
        side: 1 or -1, the side that a starting layer takes; None for each output's own.
        answers: whether the rule gives relevance instead of a modified gradient.
        below_zero: whether an output below zero has had relevance since it was last set False.
    """

    def __init__(self, layer: nn.Module, rule: Rule, name: str, answers: bool = False) -> None:
        super().__init__()
        self.layer, self.rule, self.name, self.answers = layer, rule, name, answers
        self.starts, self.below_zero = False, False
        self.side: int | None = None
        self.trace: list[LayerRelevance] | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The layer's own outputs."""
        return _ByRule.apply(inputs, self)  # type: ignore[no-any-return]

    def hand_down(
        self, inputs: torch.Tensor, outputs: torch.Tensor, gradient: torch.Tensor
    ) -> torch.Tensor:
        """The modified gradient by the inputs, or their relevance where the rule answers so."""
        relevance = gradient if self.starts else gradient * outputs
        if not self.starts and not self.below_zero:
            self.below_zero = bool(((outputs < 0) & (relevance != 0)).any())
        below = self.rule(Step(self.layer, inputs, outputs), relevance, self.side)
        if self.trace is not None:
            arrived = below if self.answers else below * inputs
            largest, smallest = float(arrived.max()), float(arrived.min())
            self.trace.append(LayerRelevance(self.name, largest, smallest, float(arrived.sum())))
        return below


class _ByRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, ruled: RuledLayer) -> torch.Tensor:
        ctx.ruled = ruled
        outputs = ruled.layer(inputs)
        ctx.save_for_backward(inputs, outputs)
        return outputs  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        inputs, outputs = ctx.saved_tensors
        return ctx.ruled.hand_down(inputs, outputs, gradients[0]), None


class PassingLayer(nn.Module):
    """A pointwise layer that passes relevance unchanged, also where it saturates."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The layer's own outputs."""
        return _Passing.apply(inputs, self.layer)  # type: ignore[no-any-return]


class _Passing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, layer: nn.Module) -> torch.Tensor:
        outputs = layer(inputs)
        # relevance g_out * out = g_in * in
        ctx.save_for_backward(torch.where(inputs == 0, 0, outputs / inputs))
        return outputs  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] * ctx.saved_tensors[0], None


class _SumByOwnSign(torch.autograd.Function):
    """a + b, whose relevance goes to the summands of the sum's own sign."""

    @staticmethod
    def forward(ctx: Any, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(first, second)
        return first + second

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = ctx.saved_tensors
        total = first + second
        mine = [part * total > 0 for part in (first, second)]
        share = first * mine[0] + second * mine[1]  # at least as large as the total
        gradient = gradients[0] * total / torch.where(share == 0, 1, share)
        return gradient * mine[0], gradient * mine[1]


class _Functional(TorchFunctionMode):
    """What networks do without a module: L2 norms, gates, residual sums."""

    def __init__(self, by_own_sign: bool) -> None:
        super().__init__()
        self._by_own_sign = by_own_sign

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name, options = getattr(func, "__name__", ""), dict(kwargs or {})
        if func is nn.functional.normalize:
            values = args[0] if args else options["input"]
            factor = func(*args, **options) / values
            return values * torch.where(values == 0, 0, factor).detach()
        if len(args) == 2 and not options and all(_active(part) for part in args):
            first, second = args
            # in place would overwrite what a rule keeps; names bind to what is returned
            if name in {"mul", "mul_", "__mul__", "__imul__"}:
                gate_first = first.numel() < second.numel()  # a gate is one number a channel
                return first.detach() * second if gate_first else first * second.detach()
            if name in {"add", "add_", "__add__", "__iadd__"}:
                same = self._by_own_sign and first.shape == second.shape
                return _SumByOwnSign.apply(first, second) if same else torch.add(first, second)
        return func(*args, **options)


def _active(part: Any) -> bool:
    return isinstance(part, torch.Tensor) and part.requires_grad


@dataclass(frozen=True, slots=True, eq=False)
class RelevanceNetwork:
    """A network of its own whose gradients are modified, see the module's text.

    Attributes:
        network: the changed copy.
        layers: its linear layers.
    """

    network: Network
    layers: tuple[RuledLayer, ...]
    by_own_sign: bool

    def maps(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps of normalised inputs, which get ``requires_grad``."""
        with torch.enable_grad(), self._functional():
            return self.network.maps(inputs)

    def head(self, head: nn.Module, features: torch.Tensor) -> torch.Tensor:
        """[B, C, fh, fw] outputs of one head."""
        with torch.enable_grad(), self._functional():
            return head(features)  # type: ignore[no-any-return]

    @property
    def below_zero(self) -> bool:
        """Whether a unit below zero has had relevance since :meth:`begin_sweep`."""
        return any(layer.below_zero for layer in self.layers)

    def begin_sweep(self) -> None:
        """Forget what was remembered of the sweep before."""
        for layer in self.layers:
            layer.below_zero = False

    @contextmanager
    def traced(self) -> Iterator[list[LayerRelevance]]:
        """Collects what arrives at every layer's inputs, from the head down."""
        trace: list[LayerRelevance] = []
        for layer in self.layers:
            layer.trace = trace
        try:
            yield trace
        finally:
            for layer in self.layers:
                layer.trace = None

    def _functional(self) -> _Functional:
        return _Functional(self.by_own_sign)


def prepare(network: Network, rule: Rule, first: FirstLayer) -> RelevanceNetwork:
    """A copy of a network whose gradients carry relevance.

    Args:
        network: left as it is.
        rule: of every linear layer but the first.
        first: of the layer that sees pixels; "same" takes the others' rule.
    """
    copied = network.copy()
    low, high = copied.pixel_range[:, :, None, None]  # [3, 1, 1] each
    by_pixel: dict[str, Rule] = {
        "z_box": ZBox(low, high),
        "flat": Flat(),
        "same": InputTimes(rule),
    }
    pixels = by_pixel[first]
    layers: list[RuledLayer] = []
    _rewrite(copied.backbone, rule, layers, "backbone", pixels)
    for heads, name in ((copied.class_heads, "class_heads"), (copied.box_heads, "box_heads")):
        for level, head in enumerate(heads):
            if isinstance(head, _LINEAR):
                ruled = RuledLayer(head, rule, f"{name}.{level}")
                heads[level] = ruled
                layers.append(ruled)
            else:
                _rewrite(head, rule, layers, f"{name}.{level}", None)
            last = [module for module in heads[level].modules() if isinstance(module, RuledLayer)]
            last[-1].starts = True
    return RelevanceNetwork(copied, tuple(layers), isinstance(rule, AlphaBeta))


def starting_layer(head: nn.Module) -> RuledLayer:
    """The last linear layer of a prepared head."""
    return [module for module in head.modules() if isinstance(module, RuledLayer)][-1]


def _rewrite(
    module: nn.Module, rule: Rule, layers: list[RuledLayer], path: str, pixels: Rule | None
) -> None:
    """Wraps linear and pointwise layers; registration order is the order of execution."""
    for name, child in list(module.named_children()):
        here = f"{path}.{name}"
        if isinstance(child, _LINEAR):
            sees_pixels = pixels is not None and not layers
            ruled = RuledLayer(child, pixels if sees_pixels and pixels else rule, here, sees_pixels)
            setattr(module, name, ruled)
            layers.append(ruled)
        elif isinstance(child, _BENDS):
            if hasattr(child, "inplace"):
                child.inplace = False
            setattr(module, name, PassingLayer(child))
        else:
            _rewrite(child, rule, layers, here, pixels)
