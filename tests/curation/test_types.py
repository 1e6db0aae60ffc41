"""The nouns refuse arrays that do not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from curation.kernel.errors import InvalidBoxes
from curation.kernel.types import (
    Attribution,
    Detections,
    Failure,
    FailureKind,
    ScoreTarget,
    Truth,
)

BOXES = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)
LABELS = np.array([1, 2])
SCORES = np.array([0.9, 0.4], np.float32)


def test_detections_with_a_label_missing_are_refused() -> None:
    with pytest.raises(InvalidBoxes, match="2 scores, 1 labels"):
        Detections(BOXES, SCORES, LABELS[:1], LABELS)


def test_boxes_of_a_wrong_shape_are_refused_with_both_shapes() -> None:
    with pytest.raises(InvalidBoxes, match=r"\(2, 3\), expected \(2, 4\)"):
        Detections(BOXES[:, :3], SCORES, LABELS, LABELS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_boxes_that_are_not_finite_are_refused(value: float) -> None:
    boxes = BOXES.copy()
    boxes[1, 2] = value
    with pytest.raises(InvalidBoxes, match="not finite"):
        Truth(boxes, LABELS, np.zeros(2, np.bool_))


def test_truth_with_an_ignore_flag_missing_is_refused() -> None:
    with pytest.raises(InvalidBoxes, match="2 labels, 1 ignore"):
        Truth(BOXES, LABELS, np.zeros(1, np.bool_))


def test_above_keeps_every_column_of_the_better_detections() -> None:
    kept = Detections(BOXES, SCORES, LABELS, np.array([7, 8])).above(0.5)

    assert len(kept) == 1
    assert kept.boxes_xyxy.tolist() == [BOXES[0].tolist()]
    assert kept.default_boxes.tolist() == [7]


@pytest.mark.parametrize("given", [(np.zeros(3), None), (None, np.zeros(3)), (np.zeros(2),) * 2])
def test_values_of_regions_without_errors_or_of_another_length_are_refused(given) -> None:
    values, target = np.zeros(3, np.float32), ScoreTarget(0, 1)
    with pytest.raises(ValueError, match="region_values and region_errors"):
        Attribution(
            target,
            np.zeros((2, 2), np.int32),
            values,
            values,
            0.0,
            0.0,
            "gp_shap",
            region_values=given[0],
            region_errors=given[1],
        )


def test_only_a_false_positive_is_hurt_by_what_supports_it() -> None:
    by_kind = {
        kind: Failure(kind, (0, 0, 4, 4), 1, 2, 0.5, 9, 0.5).hurts_positive for kind in FailureKind
    }

    assert [kind for kind, positive in by_kind.items() if positive] == [FailureKind.FALSE_POSITIVE]
    failure = Failure(FailureKind.FALSE_NEGATIVE, (0, 0, 4, 4), 1, None, 0.5, 9, 0.5)
    assert failure.target == ScoreTarget(9, 1)


def test_an_empty_truth_has_empty_columns() -> None:
    assert len(Truth.empty()) == 0
    assert Truth.empty().boxes_xyxy.shape == (0, 4)
