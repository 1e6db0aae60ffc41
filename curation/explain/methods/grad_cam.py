"""Grad-CAM on the feature map that a default box is scored from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from captum.attr import LayerGradCam
from torch.nn import functional

from curation.explain.base import check_segments, end_scores, layers_of, pixel_attributions
from curation.explain.methods.target_score import map_note, score_of_logits
from curation.kernel.detector import Detector, Network, Place, ScoreKind
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray


@dataclass(frozen=True, slots=True)
class GradCam:
    """Channels of the target's feature map, weighed by their mean gradient.

    The mean over the map forgets where the target is: two objects of one class on one level get
    nearly the same map. One forward pass of the backbone serves all targets.

    Args:
        kind: unit of the explained score.
        positive: keep what supports only, as published. By default the map is signed, since
            what hurts a missed object is what repairs are made of.

    Source:
        Selvaraju et al., ICCV 2017, by captum's ``LayerGradCam`` on the input of the target's
        classification head; upsampled bilinearly.
    """

    kind: ScoreKind = ScoreKind.LOG_ODDS
    positive: bool = False

    name: ClassVar[str] = "grad_cam"

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
        network = layers_of(detector).copy()  # captum hooks the heads
        x = detector.preprocess([image])  # [1, 3, h, w]
        with torch.no_grad():
            features = network.maps(x)
        places = [network.place(target.default_box) for target in targets]
        found = []
        for place, target in zip(places, targets, strict=True):
            cam = LayerGradCam(
                _scorer(network, features, place, target, self.kind),
                network.class_heads[place.level],
            )
            heat = cam.attribute(
                features[place.level].detach().requires_grad_(True),
                attribute_to_layer_input=True,
                relu_attributions=self.positive,
            )  # [1, 1, fh, fw]
            heat = functional.interpolate(
                heat.detach(), segments.shape, mode="bilinear", align_corners=False
            )
            found.append(heat[0, 0].float().cpu().numpy())
        notes = [(map_note(network, place),) for place in places]
        scores = end_scores(detector, x, targets, self.kind)
        return pixel_attributions(self, segments, targets, np.stack(found), scores, notes)


def _scorer(
    network: Network,
    features: list[torch.Tensor],
    place: Place,
    target: ScoreTarget,
    kind: ScoreKind,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """From the target's feature map [1, C, fh, fw] to its score [1]."""

    def score(feature: torch.Tensor) -> torch.Tensor:
        maps = list(features)
        maps[place.level] = feature
        return score_of_logits(network.class_logits(maps, place), target.label, kind)

    return score
