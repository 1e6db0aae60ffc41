"""CRP: contrastive relevance propagation, for a class or for one side of the box.

Not *concept* relevance propagation, which shares the letters. Read :meth:`Crp.seed`: it is all
that differs from LRP by w+.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import torch
from torch import nn

from curation.explain.methods.relevance import FirstLayer, RelevanceNetwork, prepare, starting_layer
from curation.explain.methods.rules import AlphaBeta
from curation.explain.methods.sweep import Seed, explain_by_sweeps, output_channel, require_derived
from curation.kernel.detector import Detector, Network, Place, ScoreKind
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

Output: TypeAlias = Literal["class", "cx", "cy", "w", "h"]

_OFFSETS = ("cx", "cy", "w", "h")


@dataclass(frozen=True, slots=True)
class Crp:
    """What speaks for this class more than for the others, or for this offset of the box.

    Every class starts with relevance 1 at the target's default box. At the feature map the mean
    of the other classes is taken off; what is left sums to zero and goes down by w+. For an
    offset the mean over all classes is taken off. A target may be any class, also one that was
    not predicted ("what if"). The map is relative: its sum is zero but for what got lost.

    Args:
        output: "class", or the raw offset "cx", "cy", "w" or "h".
        background: whether background is one of the classes that are averaged. The only
            foreground class of a detector is contrasted with background in any case.
        first: rule of the layer that sees pixels.
        kind: unit in which the class's score is stated; the map does not depend on it.

    Source:
        Tsunakawa et al., IJCNN 2019, and its slides. Ours where they are silent: relevance 1
        for each class, no background, no bias in denominators, w+ through the class head, z-box
        at the pixels, sides by own sign where units go below zero.
    """

    output: Output = "class"
    background: bool = False
    first: FirstLayer = "z_box"
    kind: ScoreKind = ScoreKind.LOGIT

    name: ClassVar[str] = "crp"

    def __post_init__(self) -> None:
        if self.output not in get_args(Output) or self.first not in get_args(FirstLayer):
            raise ValueError(
                f"output is {self.output!r}, expected one of {get_args(Output)}; first is "
                f"{self.first!r}, expected one of {get_args(FirstLayer)}"
            )

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        return {
            "output": self.output,
            "background": self.background,
            "first": self.first,
            "kind": str(self.kind),
        }

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets: one forward pass for all, one sweep down for each.

        Raises:
            ExplanationFailed: no layers to look at; a network with hard-swish or gates; a map
                is not finite.
        """
        return explain_by_sweeps(self, detector, image, targets, segments)

    def prepare(self, network: Network) -> RelevanceNetwork:
        """A copy of the network that carries relevance by w+."""
        require_derived(network, "CRP")
        return prepare(network, AlphaBeta(1.0, 0.0), self.first)

    def seed(
        self, ready: RelevanceNetwork, features: torch.Tensor, place: Place, label: int
    ) -> Seed:
        """The contrast at the feature map, Q = R[target] - mean of the others.

        All terms are x times a modified gradient, so the contrast is one of gradients.
        """
        num_classes = ready.network.num_classes
        averaged = list(range(0 if self.background or num_classes == 2 else 1, num_classes))
        if self.output != "class":
            own, sign = self._offset(ready, features, place)
            others = self._classes(ready, features, place, averaged).mean(dim=0, keepdim=True)
            way = "above" if sign > 0 else "below"
            notes: tuple[str, ...] = (f"raw {self.output} is {way} zero: w{'-+'[sign > 0]} rule",)
        else:
            averaged = [k for k in averaged if k != label]
            rows = self._classes(ready, features, place, [label, *averaged])
            own, others = rows[:1], rows[1:].mean(dim=0, keepdim=True)
            notes = ()
        contrast = own - others
        total = float((contrast * features).sum(dtype=torch.float64))
        return Seed(contrast, total, notes)

    def _classes(
        self, ready: RelevanceNetwork, features: torch.Tensor, place: Place, labels: list[int]
    ) -> torch.Tensor:
        """[L, C, fh, fw] modified gradients, relevance 1 at the output of each class, by w+."""
        channels = [output_channel(place, ready.network.num_classes, k) for k in labels]
        return _through(ready, ready.network.class_heads[place.level], features, channels, 1)

    def _offset(
        self, ready: RelevanceNetwork, features: torch.Tensor, place: Place
    ) -> tuple[torch.Tensor, int]:
        """[1, C, fh, fw] modified gradient of the offset by the rule of its sign, and the sign."""
        head = ready.network.box_heads[place.level]
        channel = output_channel(place, 4, _OFFSETS.index(self.output))
        with torch.no_grad():
            sign = 1 if float(ready.head(head, features)[0][channel]) >= 0 else -1
        return _through(ready, head, features, [channel], sign), sign


def _through(
    ready: RelevanceNetwork,
    head: nn.Module,
    features: torch.Tensor,
    channels: list[tuple[int, int, int]],
    side: int,
) -> torch.Tensor:
    """Relevance 1 at each of these outputs, handed to the feature map, a row each."""
    leaf = features.expand(len(channels), -1, -1, -1).clone().requires_grad_(True)
    outputs = ready.head(head, leaf)  # [L, C', fh, fw]
    relevance = torch.zeros_like(outputs)
    for row, (channel, y, x) in enumerate(channels):
        relevance[row, channel, y, x] = 1.0
    starting_layer(head).side = side
    return torch.autograd.grad(outputs, leaf, relevance)[0]
