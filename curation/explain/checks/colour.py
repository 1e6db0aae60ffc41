"""Does a detector lean on colour? What stays found when the colour channels change places."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from curation.kernel.detector import Detector
from curation.kernel.matching import match
from curation.kernel.types import ImageArray, Truth

CHANNELS = "RGB"


def channel_swaps(
    detector: Detector,
    images: Sequence[ImageArray],
    truths: Sequence[Truth],
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
) -> dict[str, dict[int, tuple[int, int]]]:
    """Objects found in the images, and those of them still found after each channel swap.

    Args:
        detector: to test.
        images: RGB uint8 [H, W, 3].
        truths: their objects.
        score_threshold: from which a detection counts.
        iou_threshold: from which it matches.

    Returns:
        For each of the five orders of channels but "RGB", by class: (still found, found).

    Source:
        Wagner et al., CVPR 2019, section 4.4, for classifiers.
    """
    limits = (score_threshold, iou_threshold)
    whole = [_found(detector, i, t, *limits) for i, t in _pairs(images, truths)]
    result: dict[str, dict[int, tuple[int, int]]] = {}
    for order in itertools.permutations(range(3)):
        if order == (0, 1, 2):
            continue
        counts: dict[int, tuple[int, int]] = {}
        for (image, truth), before in zip(_pairs(images, truths), whole, strict=True):
            swapped = np.ascontiguousarray(image[:, :, list(order)])
            after = _found(detector, swapped, truth, *limits)
            for row in before:
                label = int(truth.labels[row])
                kept, total = counts.get(label, (0, 0))
                counts[label] = (kept + (row in after), total + 1)
        result["".join(CHANNELS[channel] for channel in order)] = counts
    return result


def _pairs(images: Sequence[ImageArray], truths: Sequence[Truth]) -> list[tuple[ImageArray, Truth]]:
    return list(zip(images, truths, strict=True))


def _found(
    detector: Detector,
    image: ImageArray,
    truth: Truth,
    score_threshold: float,
    iou_threshold: float,
) -> set[int]:
    (detections,) = detector.predict([image], score_threshold)
    matching = match(detections.above(score_threshold), truth, iou_threshold)
    return {int(row) for row in np.flatnonzero(matching.detection_of_truth >= 0)}
