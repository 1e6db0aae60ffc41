"""Which default box stands for an object that was missed, and what lost it.

The search covers all decoded default boxes: the one that should have won is often suppressed, or
under any threshold, and then no detection tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation.kernel.boxes import pairwise_iou
from curation.kernel.types import BoolArray, Box, FloatArray, Mechanism, Proposals


@dataclass(frozen=True, slots=True)
class FailureRules:
    """When a detection is wrong.

    Attributes:
        score_threshold: the working threshold; a detection below it was not made.
        iou_threshold: Jaccard overlap from which a box finds an object.
        fn_floor: the threshold is lowered to this to find the candidate of a missed object.
        localisation_floor: overlap from which a confident box of the right class is a bad
            localisation of the object rather than a false positive beside it.
    """

    score_threshold: float = 0.5
    iou_threshold: float = 0.5
    fn_floor: float = 0.01
    localisation_floor: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.fn_floor <= self.score_threshold <= 1:
            raise ValueError("0 < fn_floor <= score_threshold <= 1 must hold")
        if not 0 < self.localisation_floor <= self.iou_threshold <= 1:
            raise ValueError("0 < localisation_floor <= iou_threshold <= 1 must hold")


@dataclass(frozen=True, slots=True)
class Candidate:
    """The default box that stands for an object.

    Attributes:
        default_box: its index in 0..A-1.
        score: its probability of the object's class, in 0..1.
        iou: overlap of its regressed box with the object, in 0..1.
        mechanism: what lost the object.
        proposed: whether the regressed box overlaps the object enough and its probability
            reaches the lowered threshold.
    """

    default_box: int
    score: float
    iou: float
    mechanism: Mechanism
    proposed: bool


def best_candidate(
    box_xyxy: Box, label: int, proposals: Proposals, rules: FailureRules
) -> Candidate:
    """The default box with the greatest overlap times confidence, and why it did not win.

    Among the boxes that overlap the object by ``rules.iou_threshold`` after regression, those
    of at least ``rules.fn_floor`` come first. If no regressed box overlaps enough, it is the
    default box that was placed best.

    Args:
        box_xyxy: the object, px of the original image.
        label: its class, in 1..K-1.
        proposals: all A default boxes of the image.
        rules: thresholds.

    Returns:
        The candidate; ties go to the lower index.

    Source:
        E2X, false negatives; mechanisms after Miller et al., 2022.
    """
    target = np.array([box_xyxy], np.float32)  # [1, 4]
    regressed = pairwise_iou(proposals.boxes_xyxy, target)[:, 0]  # [A]
    placed = pairwise_iou(proposals.default_boxes_xyxy, target)[:, 0]  # [A]
    confidence = proposals.probabilities[:, label]  # [A]
    near = regressed >= rules.iou_threshold  # [A]
    heard = near & (confidence >= rules.fn_floor)  # [A]
    if near.any():
        among = heard if heard.any() else near
        chosen = int(np.where(among, regressed * confidence, -1).argmax())
    else:
        chosen = _best_placed(box_xyxy, placed, proposals)
    return Candidate(
        default_box=chosen,
        score=float(confidence[chosen]),
        iou=float(regressed[chosen]),
        mechanism=_mechanism(label, near, placed, proposals, rules),
        proposed=bool(heard.any()),
    )


def _best_placed(box: Box, placed: FloatArray, proposals: Proposals) -> int:
    if placed.max() > 0:
        return int(placed.argmax())
    corners = proposals.default_boxes_xyxy
    centres = (corners[:, :2] + corners[:, 2:]) / 2  # [A, 2]
    target = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    return int(((centres - target) ** 2).sum(axis=1).argmin())


def _mechanism(
    label: int, near: BoolArray, placed: FloatArray, proposals: Proposals, rules: FailureRules
) -> Mechanism:
    """Miller et al.'s triage: the first stage at which the object could have been found."""
    if not near.any():
        fits = (placed >= rules.iou_threshold).any()
        return Mechanism.REGRESSION if fits else Mechanism.NO_DEFAULT_BOX
    confidence = proposals.probabilities[near].copy()  # [A', K]
    confidence[:, 0] = 0
    best = confidence.max(axis=0)  # [K]
    if best[label] >= rules.score_threshold:
        return Mechanism.CALIBRATION
    if best.max() >= rules.score_threshold:
        return Mechanism.OTHER_CLASS
    return Mechanism.BACKGROUND
