"""Decoding and suppression that remember which default box each detection came from."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.ops import batched_nms, clip_boxes_to_image

from curation.kernel.types import Detections, FloatArray

SHIFT_UNIT, GROWTH_UNIT = 10.0, 5.0
"""What the head's offsets of centres and of sizes are multiples of."""
MOST_GROWTH = float(np.log(1000 / 16))


def decode(
    regression: torch.Tensor, default_boxes: torch.Tensor, input_size_hw: tuple[int, int]
) -> torch.Tensor:
    """Regressed boxes in px of the network input, clipped to it.

    Args:
        regression: [A, 4] as the head puts it out, in units of (0.1, 0.1, 0.2, 0.2).
        default_boxes: [A, 4] xyxy px of the network input.
        input_size_hw: (h, w).

    Returns:
        [A, 4] xyxy px.

    Source:
        Liu et al., "SSD", equation 2; variances as in the published Caffe code.
    """
    size = default_boxes[:, 2:] - default_boxes[:, :2]
    centre = default_boxes[:, :2] + size / 2
    new_centre = regression[:, :2] / SHIFT_UNIT * size + centre
    growth = (regression[:, 2:] / GROWTH_UNIT).clamp(max=MOST_GROWTH)
    half = torch.exp(growth) * size / 2
    boxes = torch.cat([new_centre - half, new_centre + half], dim=1)
    clipped: torch.Tensor = clip_boxes_to_image(boxes, input_size_hw)
    return clipped


def suppress(
    boxes: torch.Tensor,
    probabilities: torch.Tensor,
    score_threshold: float,
    nms_iou: float,
    max_candidates: int,
    max_detections: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Greedy suppression by class.

    Args:
        boxes: [A, 4] px.
        probabilities: [A, K], background at 0.
        score_threshold: candidates must exceed it, in 0..1.
        nms_iou: overlap above which the lower of two boxes of one class goes.
        max_candidates: a class.
        max_detections: an image.

    Returns:
        Default boxes [N] and labels [N], by falling score.
    """
    indices, labels = [], []
    for label in range(1, probabilities.shape[1]):
        scores = probabilities[:, label]
        kept = torch.where(scores > score_threshold)[0]
        best = scores[kept].topk(min(max_candidates, len(kept))).indices
        indices.append(kept[best])
        labels.append(torch.full_like(best, label))
    index, label_of = torch.cat(indices), torch.cat(labels)
    keep = batched_nms(boxes[index], probabilities[index, label_of], label_of, nms_iou)
    keep = keep[:max_detections]
    return index[keep], label_of[keep]


def to_image(
    boxes: torch.Tensor, input_size_hw: tuple[int, int], size_hw: tuple[int, int]
) -> FloatArray:
    """Boxes [A, 4] from px of the network input to px of the original image."""
    scale = np.array([size_hw[1] / input_size_hw[1], size_hw[0] / input_size_hw[0]] * 2, np.float32)
    scaled: FloatArray = boxes.cpu().numpy().astype(np.float32) * scale
    return scaled


def detections(
    boxes: FloatArray, probabilities: torch.Tensor, index: torch.Tensor, labels: torch.Tensor
) -> Detections:
    """The survivors of :func:`suppress` as the kernel's type; ``boxes`` [A, 4] px of the image."""
    rows = index.cpu().numpy().astype(np.int64)
    return Detections(
        boxes_xyxy=boxes[rows],
        scores=probabilities[index, labels].cpu().numpy().astype(np.float32),
        labels=labels.cpu().numpy().astype(np.int64),
        default_boxes=rows,
    )
