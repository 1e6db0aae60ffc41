"""The matcher: one to one, ignore regions, agreement with plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.kernel.matching import IGNORED, UNMATCHED, match
from curation.kernel.types import Detections, Truth
from tests import strategies
from tests.oracles import boxes as oracle


@given(
    strategies.detections(), strategies.truths(), st.sampled_from([0.3, 0.5, 0.75]), st.booleans()
)
def test_matching_is_one_to_one_and_agrees_with_plain_loops(
    detections, truth, threshold, by_class
) -> None:
    matching = match(detections, truth, threshold, by_class)

    for row, column in enumerate(matching.truth_of_detection):
        assert column < 0 or matching.detection_of_truth[column] == row
    taken = [column for column in matching.truth_of_detection if column >= 0]
    assert len(taken) == len(set(taken))
    found, expected = oracle.match(detections, truth, threshold, by_class)
    assert matching.truth_of_detection.tolist() == found
    assert matching.detection_of_truth.tolist() == expected


def _detections(*rows: tuple[float, float, float, float, float]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    count = len(table)
    return Detections(table[:, :4], table[:, 4], np.ones(count, np.int64), np.arange(count))


def _truth(*rows: tuple[float, float, float, float], ignore: bool = False) -> Truth:
    count = len(rows)
    objects = np.array(rows, np.float32).reshape(-1, 4)
    return Truth(objects, np.ones(count, np.int64), np.full(count, ignore))


def test_the_higher_score_takes_the_object_even_with_less_overlap() -> None:
    found = _detections((0, 0, 10, 10, 0.6), (0, 0, 10, 9, 0.9))

    matching = match(found, _truth((0, 0, 10, 10)))

    assert matching.truth_of_detection.tolist() == [UNMATCHED, 0]


def test_a_detection_on_an_ignore_region_counts_neither_way() -> None:
    found = _detections((0, 0, 10, 10, 0.9), (2, 2, 4, 4, 0.9), (50, 50, 60, 60, 0.9))

    matching = match(found, _truth((0, 0, 10, 10), ignore=True))

    assert matching.truth_of_detection.tolist() == [IGNORED, IGNORED, UNMATCHED]
    assert matching.detection_of_truth.tolist() == [IGNORED]


@pytest.mark.parametrize("by_class", [True, False])
def test_without_detections_or_objects_nothing_matches(by_class: bool) -> None:
    nothing = match(_detections(), _truth(), by_class=by_class)
    missed = match(_detections(), _truth((0, 0, 9, 9)), by_class=by_class)
    false = match(_detections((0, 0, 9, 9, 0.5)), _truth(), by_class=by_class)

    assert len(nothing.truth_of_detection) == len(nothing.detection_of_truth) == 0
    assert missed.detection_of_truth.tolist() == [UNMATCHED]
    assert false.truth_of_detection.tolist() == [UNMATCHED]
