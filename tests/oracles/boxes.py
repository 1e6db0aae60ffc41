"""Overlap and matching by plain loops in float64, written from their definitions."""

from __future__ import annotations

from collections.abc import Sequence

from tests.oracles.matching import iou

FREE, TAKES_NONE = -1, -2


def contained(inner: Sequence[float], outer: Sequence[float]) -> float:
    """Share of the first box's area inside the second."""
    width = min(inner[2], outer[2]) - max(inner[0], outer[0])
    height = min(inner[3], outer[3]) - max(inner[1], outer[1])
    area = float(inner[2] - inner[0]) * float(inner[3] - inner[1])
    return max(0.0, float(width)) * max(0.0, float(height)) / area


def match(detections, truth, threshold: float, by_class: bool) -> tuple[list[int], list[int]]:
    """PASCAL VOC's greedy matching: the truth of each detection, the detection of each truth."""
    found = [FREE] * len(detections)
    taken = [TAKES_NONE if ignored else FREE for ignored in truth.ignore]
    ranked = sorted(range(len(detections)), key=lambda row: (-float(detections.scores[row]), row))
    for row in ranked:
        best, best_overlap = None, 0.0
        for column in range(len(truth)):
            if taken[column] != FREE:
                continue
            if by_class and detections.labels[row] != truth.labels[column]:
                continue
            overlap = iou(detections.boxes_xyxy[row], truth.boxes_xyxy[column])
            if overlap >= threshold and overlap > best_overlap:
                best, best_overlap = column, overlap
        if best is not None:
            found[row], taken[best] = best, row
    for row, box in enumerate(detections.boxes_xyxy):
        if found[row] == FREE and _on_ignored(box, truth, threshold):
            found[row] = TAKES_NONE
    return found, taken


def _on_ignored(box, truth, threshold: float) -> bool:
    regions = truth.boxes_xyxy[truth.ignore]
    return any(iou(box, one) >= threshold or contained(box, one) >= 0.5 for one in regions)
