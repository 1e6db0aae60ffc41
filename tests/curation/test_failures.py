"""Failure discovery: the kinds, the candidate, the mechanism."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.failures import FailureRules, failure_key, find_failures
from curation.kernel.types import Detections, Mechanism, Proposals, Truth
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
    truth,
)
from tests.oracles.matching import iou as slow_iou


def kinds(found):
    return [failure.kind for failure in found]


def test_a_found_object_is_no_failure():
    assert find_failures(detections((OBJECT, 0.9, CAR)), NOTHING, truth((OBJECT, CAR)), RULES) == []
    assert find_failures(detections(), NOTHING, truth(), RULES) == []


def test_false_positive_is_explained_where_it_came_from():
    shown = detections((OBJECT, 0.9, CAR), (FAR, 0.7, BUS), (shifted(100), 0.8, BUS))
    first, second = find_failures(shown, NOTHING, truth((OBJECT, CAR)), RULES)
    assert first.kind == second.kind == FP
    assert (first.default_box, first.label, first.predicted_label) == (2, BUS, BUS)
    assert (second.default_box, second.box_xyxy) == (1, FAR)
    assert first.score == pytest.approx(0.8)
    assert first.hurts_positive
    assert first.truth_index is None
    assert first.mechanism is None


def test_second_detection_of_an_object_is_a_false_positive():
    shown = detections((OBJECT, 0.9, CAR), (shifted(2), 0.8, CAR))
    (found,) = find_failures(shown, NOTHING, truth((OBJECT, CAR)), RULES)
    assert (found.kind, found.default_box) == (FP, 1)


def test_second_detection_is_not_blamed_for_a_missed_neighbour():
    neighbour = shifted(12)
    shown = detections((OBJECT, 0.9, CAR), (shifted(1), 0.8, CAR))
    found = find_failures(shown, NOTHING, truth((OBJECT, CAR), (neighbour, CAR)), RULES)
    assert kinds(found) == [FN, FP]


def test_missed_object_takes_the_greatest_overlap_times_confidence():
    offered = proposals(
        (OBJECT, (0.10, 0.0)),  # 1.00 * 0.10
        (shifted(4), (0.30, 0.0)),  # 0.67 * 0.30: the winner
        (shifted(10), (0.45, 0.0)),  # overlap 1/3 is too little
        (FAR, (0.45, 0.0)),
    )
    below = detections((shifted(4), 0.3, CAR))
    (found,) = find_failures(below, offered, truth((OBJECT, CAR)), RULES)
    assert (found.kind, found.default_box, found.label) == (FN, 1, CAR)
    assert found.predicted_label is None
    assert found.truth_index == 0
    assert found.proposed
    assert found.score == pytest.approx(0.3)
    assert found.iou == pytest.approx(slow_iou(OBJECT, shifted(4)), rel=1e-5)
    assert (found.target.default_box, found.target.label) == (1, CAR)
    assert not found.hurts_positive


def test_candidates_above_the_floor_come_first():
    offered = proposals((OBJECT, (0.0099, 0.0)), (shifted(6), (0.0101, 0.0)))
    (found,) = find_failures(detections(), offered, truth((OBJECT, CAR)), RULES)
    assert (found.default_box, found.proposed) == (1, True)
    under = proposals((OBJECT, (0.009, 0.0)), (shifted(6), (0.008, 0.0)))
    (found,) = find_failures(detections(), under, truth((OBJECT, CAR)), RULES)
    assert (found.default_box, found.proposed) == (0, False)


@pytest.mark.parametrize(
    ("row", "mechanism", "proposed"),
    [
        ((OBJECT, (0.7, 0.1)), Mechanism.CALIBRATION, True),
        ((OBJECT, (0.1, 0.7)), Mechanism.OTHER_CLASS, True),
        ((OBJECT, (0.1, 0.1)), Mechanism.BACKGROUND, True),
        ((shifted(15), (0.7, 0.1), OBJECT), Mechanism.REGRESSION, False),
        ((shifted(15), (0.7, 0.1)), Mechanism.NO_DEFAULT_BOX, False),
        ((FAR, (0.7, 0.1)), Mechanism.NO_DEFAULT_BOX, False),
    ],
)
def test_mechanism_names_the_stage_that_lost_the_object(row, mechanism, proposed):
    offered = proposals((FAR, (0.9, 0.0)), row)
    (found,) = find_failures(detections(), offered, truth((OBJECT, CAR)), RULES)
    assert (found.kind, found.mechanism, found.proposed) == (FN, mechanism, proposed)


def test_an_object_nothing_proposes_is_explained_at_the_best_placed_default_box():
    offered = proposals(
        (FAR, (0.9, 0.0), shifted(100)), (FAR, (0.1, 0.0), shifted(12)), (OBJECT, (0.9, 0.0), FAR)
    )
    missed = (12.0, 50.0, 20.0, 58.0)  # touches no default box: the nearest one stands for it
    (found,) = find_failures(detections(), offered, truth((missed, CAR)), RULES)
    assert (found.default_box, found.proposed, found.iou) == (1, False, 0.0)
    loose = proposals((FAR, (0.9, 0.0), shifted(100)), (FAR, (0.1, 0.0), shifted(12)))
    (found,) = find_failures(detections(), loose, truth((OBJECT, CAR)), RULES)
    assert (found.default_box, found.proposed) == (1, False)


def test_wrong_class_is_one_failure_and_not_two():
    shown = detections((shifted(2), 0.8, BUS))
    offered = proposals((shifted(2), (0.15, 0.8)), (OBJECT, (0.3, 0.1)))
    (found,) = find_failures(shown, offered, truth((OBJECT, CAR)), RULES)
    assert (found.kind, found.label, found.predicted_label) == (WRONG, CAR, BUS)
    assert found.box_xyxy == OBJECT
    assert found.default_box == 0  # where the wrong class was seen
    assert found.score == pytest.approx(0.15)
    assert found.iou == pytest.approx(slow_iou(OBJECT, shifted(2)), rel=1e-5)
    assert found.mechanism is None


def test_wrong_class_beside_a_right_detection_is_a_false_positive():
    shown = detections((OBJECT, 0.9, CAR), (shifted(1), 0.8, BUS))
    assert kinds(find_failures(shown, NOTHING, truth((OBJECT, CAR)), RULES)) == [FP]


def test_bad_localisation_is_explained_at_the_box_that_should_have_won():
    shown = detections((shifted(9), 0.8, CAR))
    offered = proposals((shifted(9), (0.8, 0.0)), (shifted(1), (0.2, 0.0)))
    (found,) = find_failures(shown, offered, truth((OBJECT, CAR)), RULES)
    assert (found.kind, found.label, found.predicted_label) == (LOOSE, CAR, CAR)
    assert found.default_box == 1
    assert found.score == pytest.approx(0.2)
    alone = proposals((shifted(9), (0.8, 0.0)), (FAR, (0.2, 0.0)))
    (found,) = find_failures(shown, alone, truth((OBJECT, CAR)), RULES)
    assert found.default_box == 0


def test_a_box_that_hardly_touches_is_a_false_positive_and_a_miss():
    shown = detections((shifted(18), 0.8, CAR))
    assert kinds(find_failures(shown, NOTHING, truth((OBJECT, CAR)), RULES)) == [FN, FP]


def test_ignored_objects_never_count():
    shown = detections((shifted(1), 0.8, BUS), (FAR, 0.9, BUS))
    found = find_failures(shown, NOTHING, truth((OBJECT, CAR), ignore=[0]), RULES)
    assert kinds(found) == [FP]
    assert found[0].box_xyxy == FAR


def test_key_names_the_content():
    (found,) = find_failures(detections((FAR, 0.9, BUS)), NOTHING, truth(), RULES)
    key = failure_key("image", "model", found)
    assert len(key) == 64
    assert int(key, 16)
    assert key == failure_key("image", "model", replace(found, score=0.91))
    others = [
        failure_key("other", "model", found),
        failure_key("image", "other", found),
        failure_key("image", "model", replace(found, label=1)),
        failure_key("image", "model", replace(found, default_box=7)),
        failure_key("image", "model", replace(found, box_xyxy=shifted(1, FAR))),
    ]
    assert len({key, *others}) == 6


def test_rules_that_contradict_themselves_are_refused():
    for bad in ({"fn_floor": 0.6}, {"localisation_floor": 0.7}, {"iou_threshold": 0.0}):
        with pytest.raises(ValueError, match="must hold"):
            FailureRules(**bad)


@st.composite
def scenes(draw):
    """A crowded image: boxes on a coarse lattice so that overlaps and ties are common."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_found, num_true = draw(st.integers(0, 8)), draw(st.integers(0, 6))

    def some_boxes(count):
        corner = rng.integers(0, 6, (count, 2)) * 8
        return np.concatenate([corner, corner + rng.integers(1, 4, (count, 2)) * 10], 1).astype(
            np.float32
        )

    placed = np.concatenate([some_boxes(num_found), some_boxes(12)])
    probabilities = rng.dirichlet([0.5] * 4, len(placed)).astype(np.float32)
    label = probabilities[:num_found, 1:].argmax(1) + 1
    shown = Detections(
        placed[:num_found],
        probabilities[np.arange(num_found), label],
        label.astype(np.int64),
        np.arange(num_found),
    )
    objects = Truth(some_boxes(num_true), rng.integers(1, 4, num_true), rng.random(num_true) < 0.25)
    return shown, Proposals(placed, probabilities, placed), objects


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_properties_of_a_crowded_scene(scene):
    shown, offered, objects = scene
    found = find_failures(shown, offered, objects, RULES)
    rows = [failure.truth_index for failure in found if failure.truth_index is not None]
    assert len(rows) == len(set(rows))  # one failure an object
    assert rows == sorted(rows)
    assert not objects.ignore[rows].any()
    false = [failure for failure in found if failure.kind is FP]
    boxes = [failure.default_box for failure in false]
    assert len(boxes) == len(set(boxes))  # one failure a detection
    scores = [failure.score for failure in false]
    assert scores == sorted(scores, reverse=True)
    confident = int((shown.scores >= 0.5).sum())
    assert len(false) + sum(kind in (WRONG, LOOSE) for kind in kinds(found)) <= confident
    keys = {failure_key("i", "m", failure) for failure in found}
    assert len(keys) == len(found)
    for failure in found:
        _check_by_the_slow_overlap(failure, shown, offered, objects)
    assert find_failures(shown, offered, objects, RULES) == found


def _check_by_the_slow_overlap(failure, shown, offered, objects):
    at_box = offered.boxes_xyxy[failure.default_box]
    overlap = slow_iou(at_box, failure.box_xyxy)
    if failure.kind is FP:
        assert failure.score >= 0.5
        assert overlap == pytest.approx(1)
        return
    assert failure.label == objects.labels[failure.truth_index]
    assert failure.iou == pytest.approx(overlap, abs=1e-5)
    assert (failure.predicted_label is None) == (failure.kind is FN)
    confident = [row for row in range(len(shown)) if shown.scores[row] >= 0.5]
    overlaps = {row: slow_iou(shown.boxes_xyxy[row], failure.box_xyxy) for row in confident}
    if failure.kind is WRONG:
        assert failure.predicted_label != failure.label
        assert max(overlaps.values()) >= 0.5
    if failure.kind is FN and failure.proposed:
        best = max(
            slow_iou(box, failure.box_xyxy) * probability
            for box, probability in zip(
                offered.boxes_xyxy, offered.probabilities[:, failure.label], strict=True
            )
            if slow_iou(box, failure.box_xyxy) >= 0.5 and probability >= 0.01
        )
        assert overlap * failure.score == pytest.approx(best, rel=1e-4)


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_empty_sides(scene):
    shown, offered, objects = scene
    none = detections()
    missed = find_failures(none, offered, objects, RULES)
    assert kinds(missed) == [FN] * int((~objects.ignore).sum())
    false = find_failures(shown, offered, Truth.empty(), RULES)
    assert kinds(false) == [FP] * int((shown.scores >= 0.5).sum())
