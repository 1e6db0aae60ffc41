"""Whether a model still makes a failure: as the scan sees it, detections against objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from benchmarks.common.projects import make_model
from curation.failures import find_failures
from curation.failures.default_boxes import FailureRules
from curation.kernel.types import Detections, Proposals, Truth
from services.failures.check import is_wrong, still_failing, words_about
from services.failures.findings import OPERATOR, Words
from services.units.pipeline import StageContext
from services.units.resident import Resident
from tests import strategies
from tests.services.builders import make_failure, make_image
from tests.services.field_frames import PHANTOM, Field

NAMES = ("background", "car", "bus")
LEFT, RIGHT = [10.0, 10.0, 30.0, 30.0], [14.0, 10.0, 34.0, 30.0]
"""Two boxes that overlap by two thirds."""
BETWEEN = [12.0, 10.0, 32.0, 30.0]
FAR = [100.0, 10.0, 120.0, 30.0]
FRAME, MODEL = make_image(3), make_model(1)


def shown(*boxes: list[float], label: int = 1) -> Detections:
    """Detections of one class by falling score."""
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.6, len(boxes), dtype=np.float32),
        np.full(len(boxes), label, np.int64),
        np.arange(len(boxes)),
    )


def said(*objects: list[float], ignore: bool = False, **reports: list[float]) -> Words:
    """Cars in a frame, and what operators say of cars there."""
    truth = [{"box": box, "label": "car", "ignore": ignore} for box in objects]
    return Words(
        truth or None,
        [{"kind": kind, "box": box, "label": "car"} for kind, box in reports.items()],
        None,
    )


def missed(box: list[float], index: int | None = 0, **values: Any) -> Any:
    return make_failure(1, FRAME, MODEL, box=box, truth_index=index, **values)


def false(box: list[float], **values: Any) -> Any:
    return missed(box, None, kind="false_positive", **values)


def wrong(row: Any, words: Words, seen: Detections) -> bool:
    return is_wrong(row, words, seen, NAMES, 0.5)


def test_the_detection_of_a_neighbour_does_not_find_a_missed_object() -> None:
    both = said(LEFT, RIGHT)
    assert wrong(missed(RIGHT, 1), both, shown(LEFT))
    assert not wrong(missed(LEFT, 0), both, shown(LEFT))
    assert wrong(missed(LEFT, 0), both, shown())
    assert not wrong(missed(RIGHT, 1), both, shown(LEFT, BETWEEN))
    assert wrong(missed(RIGHT, 1), both, shown(LEFT, BETWEEN, label=2))


@pytest.mark.parametrize("kind", ["wrong_class", "bad_localisation"])
def test_an_object_is_found_whatever_was_wrong_with_it(kind: str) -> None:
    assert wrong(missed(LEFT, kind=kind), said(LEFT), shown(LEFT, label=2))
    assert not wrong(missed(LEFT, kind=kind), said(LEFT), shown(BETWEEN))


def test_what_finds_an_object_is_no_false_detection_any_more() -> None:
    second = false(BETWEEN)
    assert wrong(second, said(LEFT), shown(LEFT, BETWEEN))
    assert not wrong(second, said(LEFT), shown(LEFT))
    assert not wrong(second, said(LEFT, RIGHT), shown(LEFT, BETWEEN))
    assert wrong(second, said(FAR), shown(BETWEEN))


def test_what_lies_on_something_to_ignore_is_not_false() -> None:
    assert not wrong(false(LEFT), said(RIGHT, ignore=True), shown(LEFT))
    assert wrong(false(LEFT), said(FAR, ignore=True), shown(LEFT))


def test_objects_are_known_by_their_boxes_after_a_correction() -> None:
    """Rows of the truth shift, boxes move a little, and what is taken out is judged by its box."""
    assert wrong(missed(RIGHT, 0), said(LEFT, RIGHT), shown(LEFT))
    assert wrong(missed(LEFT, 0), said(BETWEEN), shown(FAR))
    assert not wrong(missed(LEFT, 0), said(FAR), shown(BETWEEN))
    assert wrong(missed(LEFT, 0), said(FAR), shown(FAR))
    assert not wrong(missed(LEFT, 0), said(LEFT, ignore=True), shown(LEFT))


def test_of_two_equal_boxes_each_is_an_object() -> None:
    twice = said(LEFT, LEFT)
    judged = [wrong(missed(LEFT, index), twice, shown(LEFT)) for index in (0, 1)]
    assert judged == [False, True]


def test_an_operator_means_a_place() -> None:
    row = missed(RIGHT, None, source=OPERATOR)
    assert not wrong(row, said(LEFT, missed=RIGHT), shown(LEFT))  # as the scan of a report
    assert wrong(row, said(LEFT, missed=RIGHT), shown(FAR))
    meant = false([18.0, 10.0, 38.0, 30.0], source=OPERATOR)  # beside what was drawn
    assert wrong(meant, said(false=RIGHT), shown(LEFT))
    assert not wrong(meant, said(false=FAR), shown(LEFT))  # said of another: by the failure's box


def test_a_failure_of_an_unknown_class_is_judged() -> None:
    """The gate asks both models about what was fixed, whatever classes they know."""
    assert wrong(missed(LEFT, label="parasite"), said(LEFT), shown(LEFT))
    assert not wrong(false(LEFT, label="parasite"), said(LEFT), shown(LEFT))


@given(strategies.detections(), strategies.truths())
def test_who_makes_a_failure_is_wrong_on_it(found: Detections, truth: Truth) -> None:
    rules = FailureRules(score_threshold=0.5)
    places = np.tile(np.array([[0, 0, 9, 9]], np.float32), (9, 1))
    offered = Proposals(places, np.full((9, 3), 0.01, np.float32), places)
    objects = [
        {"box": box.tolist(), "label": NAMES[label], "ignore": bool(ignored)}
        for box, label, ignored in zip(truth.boxes_xyxy, truth.labels, truth.ignore, strict=True)
    ]
    for failure in find_failures(found, offered, truth, rules):
        row = missed(
            list(failure.box_xyxy),
            failure.truth_index,
            kind=failure.kind,
            label=NAMES[failure.label],
        )
        seen = found.above(rules.score_threshold)
        assert wrong(row, Words(objects, [], None), seen)


@pytest.mark.parametrize("by_truth", [True, False])
def test_the_model_that_made_a_failure_makes_it_again(lite: Field, by_truth: bool) -> None:
    """A real detector and the scan that finds its failures."""
    first, *others = lite.shown
    x1, y1, x2, y2 = first["box"]
    beside = {**first, "box": [x1, y1, x2 - 0.1 * (x2 - x1), y2 - 0.1 * (y2 - y1)]}
    reports = [{"kind": "missed", **PHANTOM}, {"kind": "false", **beside}]
    if by_truth:  # one is false, two objects of three have no detection
        lite.say(objects=[beside, first, *others[1:], PHANTOM])
    else:
        lite.say(reports=reports)
    lite.scan()
    rows = lite.failures()
    assert len(rows) == (3 if by_truth else 2)
    with lite.context.sessions() as session:
        words = words_about(session, rows)
    stage = StageContext(lite.context, Resident(), lambda: None)
    assert still_failing(stage, lite.first.id, rows, words) == {row.id for row in rows}
