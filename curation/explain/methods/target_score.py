"""What a target is on a detector: its score as a module of the layers, its place, its box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from curation.kernel.detector import Detector, Network, Place, ScoreKind
from curation.kernel.types import FloatArray, ImageArray, ScoreTarget


def score_of_logits(logits: torch.Tensor, label: int, kind: ScoreKind) -> torch.Tensor:
    """Scores [B] of one class from the logits [B, K] of a default box, as a detector's own."""
    own = logits[:, label]
    if kind is ScoreKind.LOGIT:
        return own
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)  # [B, K-1]
    log_odds = own - others.logsumexp(dim=1)
    return log_odds if kind is ScoreKind.LOG_ODDS else torch.sigmoid(log_odds)


class TargetScore(nn.Module):
    """Scores [B] of one target for inputs [B, 3, h, w], as one module that can be hooked.

    Args:
        network: its layers become this module's; hand over a copy.
        target: what is scored.
        kind: unit of the score.
    """

    def __init__(self, network: Network, target: ScoreTarget, kind: ScoreKind) -> None:
        super().__init__()
        self.network = network
        self.backbone, self.class_heads = network.backbone, network.class_heads
        self.place = network.place(target.default_box)
        self.label, self.kind = target.label, kind

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Scores [B]."""
        logits = self.network.class_logits(self.network.maps(inputs), self.place)  # [B, K]
        return score_of_logits(logits, self.label, self.kind)


def map_note(network: Network, place: Place) -> str:
    """How coarse a map on the target's own feature map is."""
    height, width, _ = network.cells[place.level]
    return f"drawn from the {height} x {width} cells of feature map {place.level}"


def target_boxes(
    detector: Detector, image: ImageArray, targets: Sequence[ScoreTarget]
) -> FloatArray:
    """[T, 4] px of the image: decoded boxes of the targets; as placed where decoding is empty."""
    (proposals,) = detector.propose([image])
    index = [target.default_box for target in targets]
    decoded, placed = proposals.boxes_xyxy[index], proposals.default_boxes_xyxy[index]
    smallest_side = (decoded[:, 2:] - decoded[:, :2]).min(axis=1, keepdims=True)  # [T, 1]
    aims: FloatArray = np.where(smallest_side < 1, placed, decoded)
    return aims
