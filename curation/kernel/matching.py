"""Detections to truth: the only matcher, used by failure discovery, evaluation and the gate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation.kernel.boxes import pairwise_containment, pairwise_iou
from curation.kernel.types import Detections, IntArray, Truth

UNMATCHED = -1
IGNORED = -2


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Which detection found which object.

    Attributes:
        truth_of_detection: [N] int64; row of the truth, UNMATCHED, or IGNORED.
        detection_of_truth: [M] int64; row of the detections, UNMATCHED, or IGNORED.
    """

    truth_of_detection: IntArray
    detection_of_truth: IntArray


def match(
    detections: Detections, truth: Truth, iou_threshold: float = 0.5, by_class: bool = True
) -> Matching:
    """Greedy one-to-one matching by falling score, as PASCAL VOC evaluates.

    Args:
        detections: boxes [N, 4] px; any order of scores.
        truth: boxes [M, 4] px of the same image; ignored objects take no match, and detections
            that overlap one by the threshold, or lie within it by half of their area, are
            IGNORED instead of UNMATCHED.
        iou_threshold: in (0, 1]; VOC uses 0.5.
        by_class: only equal labels match.

    Returns:
        A one-to-one assignment; ties go to the greater overlap, then to the lower row.

    Source:
        Everingham et al., "The PASCAL Visual Object Classes Challenge", section 4.2.
    """
    overlap = pairwise_iou(detections.boxes_xyxy, truth.boxes_xyxy)  # [N, M]
    if by_class:
        overlap = np.where(detections.labels[:, None] == truth.labels[None, :], overlap, 0)
    truth_of_detection = np.full(len(detections), UNMATCHED, np.int64)
    detection_of_truth = np.full(len(truth), UNMATCHED, np.int64)
    detection_of_truth[truth.ignore] = IGNORED
    for row in np.argsort(-detections.scores, kind="stable"):
        free = np.where(detection_of_truth == UNMATCHED, overlap[row], 0)
        if not len(free):
            break
        best = int(free.argmax())
        if free[best] >= iou_threshold:
            truth_of_detection[row], detection_of_truth[best] = best, row
    _mark_ignored(truth_of_detection, detections, truth, iou_threshold)
    return Matching(truth_of_detection, detection_of_truth)


def _mark_ignored(
    truth_of_detection: IntArray, detections: Detections, truth: Truth, iou_threshold: float
) -> None:
    ignored = truth.boxes_xyxy[truth.ignore]
    if not len(ignored) or not len(detections):
        return
    touches = (pairwise_iou(detections.boxes_xyxy, ignored) >= iou_threshold).any(axis=1)
    touches |= (pairwise_containment(detections.boxes_xyxy, ignored) >= 0.5).any(axis=1)
    truth_of_detection[(truth_of_detection == UNMATCHED) & touches] = IGNORED
