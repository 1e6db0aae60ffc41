"""COCO's AP at IoU 0.5 on resampled images: matched once, then only counted.

What a detection matches depends on its own image alone. Scoring some hundred resamples anew, as
``retrain.evaluate`` would, takes minutes; counting takes a moment, and both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.kernel.matching import IGNORED, UNMATCHED, match
from curation.kernel.types import BoolArray, Detections, FloatArray, Truth

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
    """As COCO matches one class; what lies in an ignored region counts neither way."""
    rows = np.flatnonzero(found.labels == label)[:MOST]  # the strongest: scores fall
    own = Detections(
        found.boxes_xyxy[rows], found.scores[rows], found.labels[rows], found.default_boxes[rows]
    )
    object_of = match(own, truth).truth_of_detection
    counts = object_of != IGNORED
    num_objects = int(((truth.labels == label) & ~truth.ignore).sum())
    return Matched(own.scores[counts], object_of[counts] != UNMATCHED, num_objects)


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
