"""Overlap by plain loops in float64, to check failure discovery without its own functions."""

from __future__ import annotations


def iou(first, second) -> float:
    """Jaccard overlap of two xyxy boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = float(width) * float(height)
    total = 0.0
    for box in (first, second):
        total += float(box[2] - box[0]) * float(box[3] - box[1])
    return shared / (total - shared)
