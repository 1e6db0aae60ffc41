"""Labelling costs what is there, not what the detector sees of it."""

from __future__ import annotations

import numpy as np
import pytest

from curation.kernel.types import Detections
from curation.select import PoolImage
from services.selection.label_cost import MOST, Rate, boxes_estimate, rate_of


def detections(*scores: float) -> Detections:
    """Boxes somewhere, with these scores."""
    count = len(scores)
    boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (count, 1))
    labels = np.ones(count, np.int64)
    return Detections(boxes, np.array(scores, np.float32), labels, np.arange(count))


def holdout(objects: int, found: int, false_positives: int) -> dict[str, dict[str, int]]:
    """What a model's row says of its evaluation."""
    return {
        "holdout": {"objects": objects, "found": found, "false_positives": false_positives},
        "siblings": {"objects": 99, "found": 1, "false_positives": 0},
    }


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        (holdout(90, 60, 0), 1.5),
        (holdout(90, 90, 30), 0.75),
        (holdout(300, 2, 0), MOST),
        (holdout(300, 0, 0), MOST),
        (holdout(0, 0, 7), 1.0),
        ({}, 1.0),
        (None, 1.0),
    ],
)
def test_rate_is_objects_for_each_detection(
    reports: dict[str, dict[str, int]] | None, expected: float
) -> None:
    assert rate_of(reports).per_detection == pytest.approx(expected)


def test_detections_above_the_working_threshold_are_counted() -> None:
    seen = detections(0.9, 0.5, 0.45, 0.02)
    assert boxes_estimate(seen, Rate(1.5), 0.5) == pytest.approx(3.0)
    assert boxes_estimate(seen, Rate(1.5, 12.0), 0.4) == pytest.approx(4.5)
    assert boxes_estimate(detections(), Rate(1.5), 0.5) == 0


def test_where_nothing_is_detected_what_is_missed_elsewhere_is_expected() -> None:
    weak = {"holdout": {**holdout(300, 10, 5)["holdout"], "missed": 290, "images": 20}}
    rate = rate_of(weak)
    assert boxes_estimate(detections(0.3), rate, 0.5) == pytest.approx(14.5)
    assert boxes_estimate(detections(0.9), rate, 0.5) == pytest.approx(MOST)
    strong = {"holdout": {**holdout(300, 290, 5)["holdout"], "missed": 10, "images": 100}}
    seen_nothing = boxes_estimate(detections(), rate_of(strong), 0.5)
    assert PoolImage("a", boxes_estimate=seen_nothing).cost_boxes == 1


def test_an_image_that_nobody_looked_at_counts_one() -> None:
    assert boxes_estimate(None, Rate(4.0, 9.0), 0.5) == 1.0
