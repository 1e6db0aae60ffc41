"""Operators' reports become failures."""

import pytest

from curation.failures import OperatorReport, from_report
from curation.kernel.errors import AnnotationsInvalid, InvalidBoxes
from curation.kernel.types import Mechanism
from tests.curation.detector_rows import (
    BUS,
    CAR,
    FAR,
    FN,
    FP,
    LOOSE,
    NOTHING,
    OBJECT,
    RULES,
    WRONG,
    detections,
    proposals,
    shifted,
)
from tests.oracles.matching import iou as slow_iou


def test_report_of_a_missed_object():
    offered = proposals((OBJECT, (0.2, 0.1)), (FAR, (0.0, 0.9)))
    report = OperatorReport("missed", shifted(1), CAR)
    found = from_report(report, detections(), offered, RULES)
    assert (found.kind, found.default_box, found.truth_index) == (FN, 0, None)
    assert found.box_xyxy == shifted(1)
    wrong = from_report(report, detections((OBJECT, 0.8, BUS)), offered, RULES)
    assert (wrong.kind, wrong.predicted_label) == (WRONG, BUS)
    loose = from_report(report, detections((shifted(9), 0.8, CAR)), offered, RULES)
    assert loose.kind == LOOSE


def test_report_of_an_object_that_is_found_says_so_by_its_score():
    shown = detections((OBJECT, 0.8, CAR), (FAR, 0.9, CAR))
    offered = proposals((OBJECT, (0.8, 0.1)), (FAR, (0.9, 0.0)))
    found = from_report(OperatorReport("missed", OBJECT, CAR), shown, offered, RULES)
    assert (found.kind, found.mechanism, found.default_box) == (FN, Mechanism.CALIBRATION, 0)
    assert found.score >= RULES.score_threshold


def test_report_of_a_false_detection_takes_the_detection_there():
    shown = detections((shifted(3), 0.6, CAR), (shifted(1), 0.7, BUS), (FAR, 0.9, CAR))
    offered = proposals((shifted(3), (0.6, 0.0)), (shifted(1), (0.0, 0.7)), (FAR, (0.9, 0.0)))
    found = from_report(OperatorReport("false", OBJECT, CAR), shown, offered, RULES)
    assert (found.kind, found.default_box, found.proposed) == (FP, 0, True)
    assert found.box_xyxy == shifted(3)
    assert found.iou == pytest.approx(slow_iou(OBJECT, shifted(3)), rel=1e-5)


def test_report_of_a_false_detection_that_is_not_shown_takes_the_closest_proposal():
    offered = proposals((FAR, (0.9, 0.0)), (shifted(2), (0.2, 0.0)))
    found = from_report(OperatorReport("false", OBJECT, CAR), detections(), offered, RULES)
    assert (found.kind, found.default_box, found.proposed) == (FP, 1, True)
    assert found.box_xyxy == shifted(2)
    nowhere = from_report(OperatorReport("false", OBJECT, CAR), detections(), NOTHING, RULES)
    assert not nowhere.proposed


@pytest.mark.parametrize(
    ("report", "error"),
    [
        (OperatorReport("missed", (5.0, 5.0, 5.0, 9.0), CAR), InvalidBoxes),
        (OperatorReport("false", (5.0, 5.0, float("nan"), 9.0), CAR), InvalidBoxes),
        (OperatorReport("missed", OBJECT, 0), AnnotationsInvalid),
        (OperatorReport("false", OBJECT, 3), AnnotationsInvalid),
    ],
)
def test_a_report_that_means_nothing_is_refused(report, error):
    with pytest.raises(error):
        from_report(report, detections(), NOTHING, RULES)
