"""COCO's AP at IoU 0.5 on resampled images: matched once, then only counted.

What a detection matches depends on its own image alone. Scoring some hundred resamples anew, as
``retrain.evaluate`` would, takes minutes; counting takes a moment, and both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.boxes import pairwise_iou
from curation.types import BoolArray, Detections, FloatArray, Truth

IOU = 0.5
MOST = 100
"""Detections of a class in an image that COCO looks at."""
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """One class in one image.

    Attributes:
        scores: [N] of the detections that count, falling.
        correct: [N] whether each found an object that no stronger one had found.
        num_objects: that can be found.
    """

    scores: FloatArray
    correct: BoolArray
    num_objects: int


def matched(found: Detections, truth: Truth, label: int) -> Matched:
    """COCO's greedy matching: strongest first, each to the best object that is still free.

    Detections that find nothing and lie by half in an ignored region count neither way.
    """
    own = np.flatnonzero(found.labels == label)
    rows = own[np.argsort(-found.scores[own], kind="stable")][:MOST]
    objects = np.flatnonzero((truth.labels == label) & ~truth.ignore)
    iou = pairwise_iou(found.boxes_xyxy[rows], truth.boxes_xyxy[objects])  # [N, M]
    correct = np.zeros(len(rows), np.bool_)
    free = np.ones(len(objects), np.bool_)
    for row in range(len(rows)):
        allowed = np.where(free, iou[row], 0.0)
        if len(objects) and allowed.max() >= IOU:
            free[allowed.argmax()] = False
            correct[row] = True
    counts = correct | ~_in_ignored(found.boxes_xyxy[rows], truth.boxes_xyxy[truth.ignore])
    return Matched(found.scores[rows][counts], correct[counts], len(objects))


def _in_ignored(boxes: FloatArray, ignored: FloatArray) -> BoolArray:
    """[N] whether half of a box lies in one ignored region."""
    if not len(ignored):
        return np.zeros(len(boxes), np.bool_)
    top_left = np.maximum(boxes[:, None, :2], ignored[None, :, :2])
    bottom_right = np.minimum(boxes[:, None, 2:], ignored[None, :, 2:])
    shared = np.clip(bottom_right - top_left, 0, None).prod(axis=2)  # [N, I]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    inside: BoolArray = (shared >= IOU * np.maximum(area, 1e-9)[:, None]).any(axis=1)
    return inside


def ap50(images: Sequence[Matched]) -> float | None:
    """AP in 0..1 over images, which may repeat; None where there is no object."""
    objects = sum(image.num_objects for image in images)
    if not objects:
        return None
    scores = np.concatenate([image.scores for image in images])
    correct = np.concatenate([image.correct for image in images])
    correct = correct[np.argsort(-scores, kind="stable")]
    hits = np.cumsum(correct)
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # best at this recall or above
    at = np.searchsorted(hits / objects, RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(at, len(precision))].mean())
