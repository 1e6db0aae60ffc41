"""What a detector got wrong in one image, and which default box explains it.

:func:`find_failures` compares detections with truth; :func:`from_report` takes an operator's
word. :mod:`curation.failures.default_boxes` chooses the one that stands for a missed object.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from curation.failures.default_boxes import FailureRules, best_candidate
from curation.kernel.boxes import pairwise_iou
from curation.kernel.errors import AnnotationsInvalid, InvalidBoxes
from curation.kernel.matching import UNMATCHED, match
from curation.kernel.types import (
    Box,
    Detections,
    Failure,
    FailureKind,
    FloatArray,
    Mechanism,
    Proposals,
    Truth,
)

__all__ = ["FailureRules", "OperatorReport", "failure_key", "find_failures", "from_report"]


@dataclass(frozen=True, slots=True)
class OperatorReport:
    """What a person saw: "missed a car here" or "this is no car".

    Attributes:
        kind: "missed" or "false".
        box_xyxy: where, in px of the original image; may be drawn loosely.
        label: the class that was missed, or that is wrongly shown, in 1..K-1.
    """

    kind: Literal["missed", "false"]
    box_xyxy: Box
    label: int


def find_failures(
    detections: Detections, proposals: Proposals, truth: Truth, rules: FailureRules
) -> list[Failure]:
    """Everything that is wrong in one image.

    An object and a detection take part in one failure at most. A confident detection that
    matches no object is, in this order: a wrong class, where it overlaps a missed object of
    another class; a bad localisation, where it overlaps a missed object of its class too little,
    and none of its class more; else a false positive, as is every second detection of one
    object. A missed object that is left is a false negative.

    Args:
        detections: after non-maximum suppression, at any threshold up to the working one.
        proposals: all A default boxes of the same image.
        truth: its objects; ignored ones make no failure of either kind.
        rules: thresholds.

    Returns:
        Failures of objects by truth row, then false positives by falling score.

    Source:
        E2X, section on failure discovery; matching as PASCAL VOC; kinds after TIDE (Bolya et
        al., 2020), mechanisms after Miller et al., 2022.
    """
    shown = detections.above(rules.score_threshold)
    matching = match(shown, truth, rules.iou_threshold)
    missed = [int(row) for row in np.flatnonzero(matching.detection_of_truth == UNMATCHED)]
    free = [int(row) for row in np.flatnonzero(matching.truth_of_detection < 0)]
    blame = _blame(shown, truth, missed, free, rules)
    failures = [
        _object_failure(
            _box(truth.boxes_xyxy[row]),
            int(truth.labels[row]),
            (shown, blame.get(row)),
            proposals,
            rules,
            row,
        )
        for row in missed
    ]
    blamed = set(blame.values())
    false = [
        row for row in free if matching.truth_of_detection[row] == UNMATCHED and row not in blamed
    ]
    false.sort(key=lambda row: (-shown.scores[row], row))
    return failures + [_false_positive(shown, row) for row in false]


def from_report(
    report: OperatorReport, detections: Detections, proposals: Proposals, rules: FailureRules
) -> Failure:
    """The failure that an operator means.

    "Missed" is judged as an object that no annotation counted; where a confident detection of
    the right class is there after all, the result is a false negative whose score is at or above
    the working threshold, which a caller may close at once. "False" is the detection of that
    class there, or the default box that comes closest to one.

    Args:
        report: what the operator saw.
        detections: of the image the report is about, after non-maximum suppression.
        proposals: all A default boxes of the same image.
        rules: thresholds.

    Returns:
        A failure without truth row.

    Raises:
        InvalidBoxes: the reported box is not finite or is empty.
        AnnotationsInvalid: the label is not a class of the detector.
    """
    _check_report(report, proposals)
    if report.kind == "false":
        return _reported_false(report, detections, proposals, rules)
    shown = detections.above(rules.score_threshold)
    truth = Truth(_rows(report.box_xyxy), np.array([report.label]), np.zeros(1, np.bool_))
    found = int(match(shown, truth, rules.iou_threshold).detection_of_truth[0])
    blame = {} if found >= 0 else _blame(shown, truth, [0], list(range(len(shown))), rules)
    failure = _object_failure(
        report.box_xyxy, report.label, (shown, blame.get(0)), proposals, rules, None
    )
    if found < 0:
        return failure
    return replace(
        failure,
        score=float(shown.scores[found]),
        default_box=int(shown.default_boxes[found]),
        iou=float(pairwise_iou(shown.boxes_xyxy, truth.boxes_xyxy)[found, 0]),
        mechanism=Mechanism.CALIBRATION,
        proposed=True,
    )


def failure_key(image_hash: str, model_version: str, failure: Failure) -> str:
    """The name of a failure by content: 64 hex digits, equal when found again.

    The score is left out: it follows from image, model and default box, up to rounding.
    """
    content = [
        image_hash,
        model_version,
        str(failure.kind),
        [f"{value:.2f}" for value in failure.box_xyxy],
        failure.label,
        failure.predicted_label,
        failure.default_box,
        failure.truth_index,
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def _blame(
    shown: Detections, truth: Truth, missed: list[int], free: list[int], rules: FailureRules
) -> dict[int, int]:
    """Which unmatched detection each missed object is blamed on: truth row to detection row."""
    overlap = pairwise_iou(shown.boxes_xyxy, truth.boxes_xyxy)  # [N, M]
    same = shown.labels[:, None] == truth.labels[None, :]  # [N, M]
    # A second detection of a found object says nothing about a missed one beside it.
    own = np.where(same & ~truth.ignore, overlap, 0)  # [N, M]
    overlap = np.where(overlap >= own.max(axis=1, keepdims=True, initial=0), overlap, 0)
    blame: dict[int, int] = {}
    _pair(np.where(same, 0, overlap), missed, free, rules.iou_threshold, blame)
    _pair(np.where(same, overlap, 0), missed, free, rules.localisation_floor, blame)
    return blame


def _pair(
    overlap: FloatArray, missed: list[int], free: list[int], floor: float, blame: dict[int, int]
) -> None:
    """Add pairs by falling overlap, one-to-one, to those in ``blame``."""
    pairs = sorted(
        (-float(overlap[row, column]), column, row)
        for row in free
        for column in missed
        if overlap[row, column] >= floor
    )
    used = set(blame.values())
    for _, column, row in pairs:
        if column not in blame and row not in used:
            blame[column] = row
            used.add(row)


def _object_failure(
    box: Box,
    label: int,
    culprit: tuple[Detections, int | None],
    proposals: Proposals,
    rules: FailureRules,
    truth_index: int | None,
) -> Failure:
    shown, row = culprit
    candidate = best_candidate(box, label, proposals, rules)
    if row is None:
        return Failure(
            kind=FailureKind.FALSE_NEGATIVE,
            box_xyxy=box,
            label=label,
            predicted_label=None,
            score=candidate.score,
            default_box=candidate.default_box,
            iou=candidate.iou,
            truth_index=truth_index,
            mechanism=candidate.mechanism,
            proposed=candidate.proposed,
        )
    predicted = int(shown.labels[row])
    wrong_class = predicted != label
    # A wrong class is explained where it was seen: why is this box not the right class? A bad
    # localisation at the better box that should have won, where there is one.
    default_box = candidate.default_box
    if wrong_class or not candidate.proposed:
        default_box = int(shown.default_boxes[row])
    at_box = proposals.boxes_xyxy[default_box : default_box + 1]  # [1, 4]
    return Failure(
        kind=FailureKind.WRONG_CLASS if wrong_class else FailureKind.BAD_LOCALISATION,
        box_xyxy=box,
        label=label,
        predicted_label=predicted,
        score=float(proposals.probabilities[default_box, label]),
        default_box=default_box,
        iou=float(pairwise_iou(at_box, _rows(box))[0, 0]),
        truth_index=truth_index,
    )


def _false_positive(detections: Detections, row: int) -> Failure:
    label = int(detections.labels[row])
    return Failure(
        kind=FailureKind.FALSE_POSITIVE,
        box_xyxy=_box(detections.boxes_xyxy[row]),
        label=label,
        predicted_label=label,
        score=float(detections.scores[row]),
        default_box=int(detections.default_boxes[row]),
        iou=1.0,
    )


def _reported_false(
    report: OperatorReport, detections: Detections, proposals: Proposals, rules: FailureRules
) -> Failure:
    overlap = pairwise_iou(detections.boxes_xyxy, _rows(report.box_xyxy))[:, 0]  # [N]
    there = (detections.labels == report.label) & (overlap >= rules.iou_threshold)  # [N]
    if there.any():
        found = int(np.where(there, overlap * detections.scores, -1).argmax())
        box, score = _box(detections.boxes_xyxy[found]), float(detections.scores[found])
        default_box, iou, proposed = int(detections.default_boxes[found]), overlap[found], True
    else:
        candidate = best_candidate(report.box_xyxy, report.label, proposals, rules)
        default_box, score, iou = candidate.default_box, candidate.score, candidate.iou
        box, proposed = _box(proposals.boxes_xyxy[default_box]), candidate.proposed
    return Failure(
        kind=FailureKind.FALSE_POSITIVE,
        box_xyxy=box,
        label=report.label,
        predicted_label=report.label,
        score=score,
        default_box=default_box,
        iou=float(iou),
        proposed=proposed,
    )


def _check_report(report: OperatorReport, proposals: Proposals) -> None:
    x1, y1, x2, y2 = report.box_xyxy
    if not np.isfinite(report.box_xyxy).all() or x2 <= x1 or y2 <= y1:
        raise InvalidBoxes(f"reported box {report.box_xyxy} is not finite, or is empty")
    num_classes = proposals.probabilities.shape[1]
    if not 1 <= report.label < num_classes:
        raise AnnotationsInvalid(f"reported label {report.label}, expected 1..{num_classes - 1}")


def _rows(box: Box) -> FloatArray:
    return np.array([box], np.float32)


def _box(row: FloatArray) -> Box:
    x1, y1, x2, y2 = (float(value) for value in row)
    return (x1, y1, x2, y2)
