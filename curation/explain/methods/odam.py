"""ODAM: which cells of its feature map a detection stands on, for its class and for its box.

One forward pass for all targets and one backward pass through one head for each: the cheapest
explanation of a detection, and the bar for speed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch.nn import functional

from curation.explain.base import check_segments, layers_of, pixel_attributions
from curation.explain.methods.target_score import map_note, score_of_logits
from curation.kernel.detector import Detector, Network, Place, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

Output: TypeAlias = Literal["class", "cx", "cy", "w", "h", "combined"]
_SIDES = ("cx", "cy", "w", "h")


@dataclass(frozen=True, slots=True)
class Odam:
    """Gradient times activation in every cell, what supports only, scaled to 0..1.

    The map is never negative: it says what a score stands on, not what hurts it. An SSD's head
    looks at 3 x 3 cells, so the map is zero beyond the neighbours of the target's cell. Where the
    feature map is a single cell, as the last of an SSD is, the map is 1 everywhere if the cell
    supports the score, and 0 if it does not.

    Args:
        kind: unit of the class score.
        output: which number is explained: the score of the class, one of the four offsets of
            the box (centre x, centre y, width, height, in units of the box coder), or
            "combined", the greatest of all five maps in each pixel.

    Source:
        Zhao and Chan, "ODAM: Gradient-based instance-specific visual explanations for object
        detection", ICLR 2023. They explain the decoded left, top, right and bottom; we explain
        the offsets that an SSD regresses.
    """

    kind: ScoreKind = ScoreKind.LOG_ODDS
    output: Output = "class"

    name: ClassVar[str] = "odam"

    def __post_init__(self) -> None:
        if self.output not in get_args(Output):
            raise ValueError(f"output is {self.output!r}, expected one of {get_args(Output)}")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        return {"kind": str(self.kind), "output": self.output}

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets, in 0..1; ``score`` is the explained number.

        For "combined" that is the score of the class.
        """
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        network = layers_of(detector)  # read only: nothing is hooked
        x = detector.preprocess([image])  # [1, 3, h, w]
        with torch.no_grad():
            features = network.maps(torch.cat([x, torch.zeros_like(x)]))  # [2, C, fh, fw] each
        places = [network.place(target.default_box) for target in targets]
        maps = np.stack(
            [
                self._map(network, features, place, target, segments.shape)
                for place, target in zip(places, targets, strict=True)
            ]
        )  # [T, h, w]
        with torch.no_grad():
            first = self._outputs()[0]
            both = [
                self._value(network, features, place, target, first).float().cpu().numpy()
                for place, target in zip(places, targets, strict=True)
            ]  # T of [2]
        scores = np.stack(both, axis=1)  # [2, T]
        notes = [
            (map_note(network, place), *(() if maps[t].any() else ("nothing supports it",)))
            for t, place in enumerate(places)
        ]
        return pixel_attributions(self, segments, targets, maps, (scores[0], scores[1]), notes)

    def _outputs(self) -> tuple[str, ...]:
        return ("class", *_SIDES) if self.output == "combined" else (self.output,)

    def _map(
        self,
        network: Network,
        features: list[torch.Tensor],
        place: Place,
        target: ScoreTarget,
        size_hw: tuple[int, int],
    ) -> FloatArray:
        """[h, w] in 0..1: the greatest over the explained numbers."""
        maps = list(features)
        activation = features[place.level][:1].detach().requires_grad_(True)  # [1, C, fh, fw]
        maps[place.level] = activation
        found = []
        for output in self._outputs():
            with torch.enable_grad():
                value = self._value(network, maps, place, target, output)
            (slope,) = torch.autograd.grad(value.sum(), activation)
            heat = (slope * activation).detach().sum(dim=1, keepdim=True).relu()  # [1, 1, fh, fw]
            large = functional.interpolate(heat, size_hw, mode="bilinear", align_corners=False)
            found.append(_unit_range(*(grid[0, 0].float().cpu().numpy() for grid in (heat, large))))
        top: FloatArray = np.max(found, axis=0)
        return top

    def _value(
        self,
        network: Network,
        maps: list[torch.Tensor],
        place: Place,
        target: ScoreTarget,
        output: str,
    ) -> torch.Tensor:
        """The explained number [B]."""
        if output == "class":
            logits = network.class_logits(maps, place)  # [B, K]
            return score_of_logits(logits, target.label, self.kind)
        return network.box_offsets(maps, place)[:, _SIDES.index(output)]


def _unit_range(heat: FloatArray, large: FloatArray) -> FloatArray:
    """The enlarged map shifted and scaled to 0..1.

    Cells that are all equal, above all a single one, have no range: enlarging leaves differences
    of rounding, which scaling would blow up. Such a map is 1 where the cells support, else 0.

    Args:
        heat: [fh, fw] of the cells, not negative.
        large: [h, w], the same enlarged.
    """
    if not np.isfinite(heat).all():
        return large  # must be seen
    low, high = float(large.min()), float(large.max())
    if heat.min() == heat.max() or low == high:
        return np.full_like(large, heat.max() > 0)
    scaled: FloatArray = ((large - low) / (high - low)).astype(np.float32)
    return scaled
