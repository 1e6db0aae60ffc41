"""G-CAME: Grad-CAM whose channels are each masked by a Gaussian around the target's cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from curation.explain.base import check_segments, end_scores, layers_of, pixel_attributions
from curation.explain.methods.target_score import map_note, score_of_logits
from curation.kernel.detector import Detector, Network, Place, ScoreKind
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray


@dataclass(frozen=True, slots=True)
class GCame:
    """Channels weighed by their mean gradient, and by how near the target's cell is.

    Grad-CAM forgets where the target is; here every channel is faded with distance from the cell
    that the default box belongs to, the less so the smaller its mean gradient, so that two objects
    of one class get maps of their own. One forward pass of the backbone serves all targets.

    Args:
        kind: unit of the explained score; the widths depend on it. The paper's is a probability.
        positive: keep what supports only, as published. By default the map is signed.

    Source:
        Nguyen et al., "G-CAME: Gaussian-class activation mapping explainer for object detectors",
        2023, for a one-stage detector. Its layer is the input of the target's classification head.
        That head sees 3 x 3 cells here, so the middle is the target's own cell instead of the one
        cell with a gradient. The published map is scaled to 0..1, which changes no order.
    """

    kind: ScoreKind = ScoreKind.PROBABILITY
    positive: bool = False

    name: ClassVar[str] = "g_came"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        return {"kind": str(self.kind), "positive": self.positive}

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets, in units of score times activation share; they do not add up."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        network = layers_of(detector)
        x = detector.preprocess([image])  # [1, 3, h, w]
        with torch.no_grad():
            features = network.maps(x)
        places = [network.place(target.default_box) for target in targets]
        found = []
        for place, target in zip(places, targets, strict=True):
            stride = math.sqrt(x[0, 0].numel() / features[place.level][0, 0].numel())
            heat = self._cells(network, features, place, target, stride)[None, None]
            large = functional.interpolate(
                heat, segments.shape, mode="bilinear", align_corners=False
            )
            found.append(large[0, 0].float().cpu().numpy())
        notes = [(map_note(network, place),) for place in places]
        scores = end_scores(detector, x, targets, self.kind)
        return pixel_attributions(self, segments, targets, np.stack(found), scores, notes)

    def _cells(
        self,
        network: Network,
        features: list[torch.Tensor],
        place: Place,
        target: ScoreTarget,
        stride: float,
    ) -> torch.Tensor:
        """[fh, fw]: the sum of the faded channels; ``stride``: pixels of a cell's side."""
        maps = list(features)
        activation = features[place.level].detach().requires_grad_(True)  # [1, C, fh, fw]
        maps[place.level] = activation
        with torch.enable_grad():
            logits = network.class_logits(maps, place)
            score = score_of_logits(logits, target.label, self.kind).sum()
        (slope,) = torch.autograd.grad(score, activation)
        weights = slope[0].mean(dim=(1, 2))  # [C]
        masks = gaussians(weights, place, slope.shape[2:], stride)
        heat = (weights[:, None, None] * masks * activation.detach()[0]).sum(dim=0)
        return heat.relu() if self.positive else heat


def gaussians(
    weights: torch.Tensor, place: Place, size: Sequence[int], stride: float
) -> torch.Tensor:
    """[C, fh, fw] in 0..1: one mask a channel, 1 at the target's cell.

    The deviation, in cells, is ``|ln |w|| ln(stride) / r`` with r a sixth of the map's mean side
    less one: the rule by which three deviations reach from the middle to the edge, stretched by
    the weight. As published each mask is scaled so that its least value is 0.

    Args:
        weights: [C] mean gradients.
        place: the target's.
        size: (fh, fw).
        stride: pixels of the input for one cell.
    """
    rows, columns = (torch.arange(side, device=weights.device) for side in size)
    apart = (rows[:, None] - place.row) ** 2 + (columns[None, :] - place.column) ** 2  # [fh, fw]
    reach = math.floor(math.sqrt(size[0] * size[1]) - 1) / 6
    if reach == 0 or stride <= 1:  # so few cells that there is no distance to speak of
        return weights.new_ones(len(weights), *size)
    # a channel without a slope weighs nothing: its mask may be any
    log_weight = weights.double().abs().clamp_min(1e-30).log().abs()
    deviation = (log_weight * math.log(stride) / reach).clamp_min(1e-3)  # of a weight of one: 0
    masks = torch.exp(-apart[None] / (2 * deviation[:, None, None] ** 2))  # [C, fh, fw] float64
    lowest = masks.amin(dim=(1, 2), keepdim=True)
    scaled: torch.Tensor = ((masks - lowest) / (1 - lowest)).to(weights.dtype)
    return scaled
