"""What VEBI learns from: objects, background beside them, and which objects were missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from curation.kernel.boxes import pairwise_iou
from curation.kernel.detector import Detector
from curation.kernel.matching import UNMATCHED, match
from curation.kernel.types import BoolArray, FloatArray, ImageArray, IntArray, Truth

_FAR = 0.1  # overlap up to which a default box counts as background


class Examples(NamedTuple):
    """Boxes of a few images, as :func:`~curation.explain.methods.vebi_features.fit` takes them."""

    boxes_xyxy: list[FloatArray]
    """[N, 4] px of each image."""
    labels: list[IntArray]
    """[N] in 0..K-1 of each image, background last."""
    missed: list[BoolArray]
    """[N] of each image; never background."""


def examples(
    detector: Detector,
    images: Sequence[ImageArray],
    truths: Sequence[Truth],
    num_background: int = 5,
    score_threshold: float = 0.5,
    seed: int = 0,
) -> Examples:
    """The objects of annotated images, and boxes of background at random.

    Args:
        detector: says which objects it misses; its default boxes that overlap no object by more
            than a tenth are the background.
        images: [H, W, 3] uint8 each.
        truths: their objects; ignored ones are left out.
        num_background: boxes of background an image at most.
        score_threshold: from which a detection counts, in 0..1.
        seed: of the background.
    """
    rng = np.random.default_rng(seed)
    found = Examples([], [], [])
    for image, truth in zip(images, truths, strict=True):
        (detections,) = detector.predict([image], score_threshold)
        matching = match(detections.above(score_threshold), truth)
        (proposals,) = detector.propose([image])
        height, width = image.shape[:2]
        placed = proposals.default_boxes_xyxy.clip(0, (width, height, width, height))
        overlap = pairwise_iou(placed, truth.boxes_xyxy).max(axis=1, initial=0)  # [A]
        free = rng.permutation(np.flatnonzero(overlap <= _FAR))[:num_background]
        real = ~truth.ignore
        found.boxes_xyxy.append(np.concatenate([truth.boxes_xyxy[real], placed[free]]))
        found.labels.append(np.concatenate([truth.labels[real], np.zeros(len(free), np.int64)]))
        lost = matching.detection_of_truth[real] == UNMATCHED
        found.missed.append(np.concatenate([lost, np.zeros(len(free), np.bool_)]))
    return found
