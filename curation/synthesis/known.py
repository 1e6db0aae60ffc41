"""Known objects: labelled ones that the champion finds, and what is made of them.

Which of them a miss is tried on, what surrounds one that is found, and how the champion's finding
of an object is told as a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from curation.kernel.boxes import pairwise_iou
from curation.kernel.detector import Detector
from curation.kernel.matching import match
from curation.kernel.types import Box, Detections, FloatArray, ImageArray, Truth
from curation.synthesis.base import Donor, Harm
from curation.synthesis.checks import Champion
from curation.synthesis.geometry import window

LEAST_SIDE_PX = 12
"""Of a known object."""
SURE = 0.7
"""Score of a known object: what is found by a hair is lost by a hair, whatever is put around it."""
NEAREST = 2 / 3
"""Share of a class's known objects that count as near in size and shape."""
HARMLESS = 2.0
"""Surroundings of a found object, in its box: as far as what is usually blamed reaches."""


class Found(Protocol):
    """A labelled object that the champion finds."""

    @property
    def label(self) -> int:
        """Its class, in 1..K-1."""
        ...

    @property
    def box_xyxy(self) -> Box:
        """Px."""
        ...

    @property
    def score(self) -> float:
        """With which it is found, in 0..1."""
        ...


One = TypeVar("One", bound=Found)


def alike(
    known: Sequence[One], box_xyxy: Box, label: int, count: int, rng: np.random.Generator
) -> list[One]:
    """Known objects of a class in random order, out of those nearest in size and shape.

    Args:
        known: all of them.
        box_xyxy: of the object that was missed, px.
        label: its class.
        count: wanted; those that are found surely are taken alone where they are as many.
        rng: of the order.
    """
    own = [one for one in known if one.label == label]
    sure = [one for one in own if one.score >= SURE]
    own = sure if len(sure) >= count else own
    own.sort(key=lambda one: unlike(one.box_xyxy, box_xyxy))
    near = own[: max(count, int(NEAREST * len(own)))]
    return [near[row] for row in rng.permutation(len(near))[:count]]


def unlike(first: Box, second: Box) -> float:
    """How different two boxes are: sum of the logarithms of the ratios of their sides."""
    sides = [
        np.log([max(1e-6, box[2] - box[0]), max(1e-6, box[3] - box[1])]) for box in (first, second)
    ]
    return float(np.abs(sides[0] - sides[1]).sum())


def found_rows(detections: Detections, truth: Truth, iou: float) -> list[tuple[int, float]]:
    """Rows of labelled objects that are found and large enough to be cut out, with their scores.

    Args:
        detections: of the picture, above the working threshold.
        truth: of the picture.
        iou: overlap of a match, in (0, 1].
    """
    sides = truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2]
    rows = match(detections, truth, iou).detection_of_truth
    return [
        (row, float(detections.scores[detection]))
        for row, detection in enumerate(rows)
        if detection >= 0 and not truth.ignore[row] and sides[row].min() >= LEAST_SIDE_PX
    ]


def harmless(donor: Donor) -> Harm:
    """What surrounds a known object: it is found there, so that it does no harm."""
    size_hw = donor.pixels.shape[0], donor.pixels.shape[1]
    mask = window(donor.box_xyxy, HARMLESS, size_hw)
    left = donor.truth.without(donor.row)
    return Harm(donor.image, donor.role, donor.pixels, mask, donor.box_xyxy, donor.label, left)


def finder(detector: Detector, iou: float = 0.5, batch: int = 16) -> Champion:
    """A detector as the checks ask it: the score of the best detection of a class at a box.

    Args:
        detector: whose failures these are.
        iou: overlap from which it finds the object.
        batch: pictures a forward pass.
    """

    def find(
        images: Sequence[ImageArray], boxes: Sequence[Box], labels: Sequence[int]
    ) -> FloatArray:
        scores = np.zeros(len(images), np.float32)
        for start in range(0, len(images), batch):
            seen = detector.predict(list(images[start : start + batch]))
            for row, one in enumerate(seen, start):
                near = pairwise_iou(one.boxes_xyxy, np.array([boxes[row]], np.float32))[:, 0] >= iou
                hit = near & (one.labels == labels[row])
                scores[row] = one.scores[hit].max() if hit.any() else 0.0
        return scores

    return find
