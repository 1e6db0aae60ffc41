"""Evaluation: known answers, ignored regions, outcomes of single objects, JSON."""

from dataclasses import replace

import numpy as np
import pytest

from curation.kernel.images import ImageLimits, load
from curation.kernel.types import Detections
from retrain.errors import ImagesUnreadable, ReportMismatch
from retrain.evaluate import evaluate, score_detections
from retrain.report import EvaluationReport, require_comparable

from .conftest import NAMES, make_manifest


@pytest.fixture
def manifest(tmp_path):
    return make_manifest(tmp_path, 5)


def detections(boxes, labels, scores):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(labels, np.int64),
        np.zeros(count, np.int64),
    )


def perfect(item, score=0.9):
    return detections(
        item.boxes_xyxy, [NAMES.index(n) for n in item.labels], [score] * len(item.labels)
    )


def scored(found, manifest):
    return score_detections(found, manifest, NAMES, "v")


def test_perfect_detections(manifest):
    report = scored([perfect(item) for item in manifest.items], manifest)
    assert report.map == pytest.approx(1)
    assert report.map50 == pytest.approx(1)
    assert report.found_share == 1
    assert report.false_positives == 0
    assert {n: c.num_objects for n, c in report.per_class.items()} == {"red": 5, "blue": 5}
    assert report.per_size["large"] is None
    assert report.per_size["medium"] == pytest.approx(1)


def test_nothing_found(manifest):
    report = scored([detections([], [], []) for _ in manifest.items], manifest)
    assert (report.map, report.map50, report.found_share) == (0, 0, 0)
    assert report.per_class["red"].ap50 == 0


def test_no_objects_gives_no_number(manifest):
    bare = tuple(replace(i, boxes_xyxy=(), labels=(), ignore=()) for i in manifest.items)
    manifest = replace(manifest, items=bare)
    report = scored([detections([[1, 1, 9, 9]], [1], [0.9])] * 5, manifest)
    assert (report.map, report.map50, report.found_share) == (None, None, None)
    assert report.false_positives == 5


def test_half_found_and_wrong_class(manifest):
    # All red found, all blue called red: AP50 of blue 0. Of red, true and false detections with
    # the same score alternate: five hits among ten, so precision is about one half.
    found = [detections(item.boxes_xyxy, [1, 1], [0.9, 0.8]) for item in manifest.items]
    report = scored(found, manifest)
    assert report.per_class["red"].ap50 == pytest.approx(1)  # hits score 0.9, the others 0.8
    assert report.per_class["blue"].ap50 == 0
    assert report.map50 == pytest.approx(0.5)
    assert [o.found for o in report.objects] == [True, False] * 5
    assert report.false_positives == 5


def test_low_scores_count_for_ap_but_not_as_found(manifest):
    report = scored([perfect(item, 0.3) for item in manifest.items], manifest)
    assert report.map50 == pytest.approx(1)
    assert report.found_share == 0
    assert {o.score for o in report.objects} == {0.0}


def test_ap_steps_with_the_overlap(manifest):
    # Boxes of 0.8 the area, inside the truth: IoU 0.8 passes the thresholds 0.50 to 0.75, and
    # 0.80 only up to rounding.
    found = []
    for item in manifest.items:
        boxes = np.array(item.boxes_xyxy)
        boxes[:, 3] -= 0.21 * (boxes[:, 3] - boxes[:, 1])
        found.append(detections(boxes, [1, 2], [0.9, 0.9]))
    report = scored(found, manifest)
    assert report.map50 == pytest.approx(1)
    assert report.map == pytest.approx(0.6)


def test_ignored_objects_count_neither_way(manifest):
    items = tuple(replace(item, ignore=(False, True)) for item in manifest.items)
    manifest = replace(manifest, items=items)
    report = scored([perfect(item) for item in items], manifest)
    assert report.map == pytest.approx(1)
    assert report.per_class["blue"].ap is None
    assert report.per_class["blue"].num_objects == 0
    assert report.false_positives == 0
    assert {o.label for o in report.objects} == {"red"}
    # a wrong class within an ignored region is ignored as well
    found = [detections(item.boxes_xyxy, [1, 1], [0.9, 0.95]) for item in items]
    assert scored(found, manifest).map == pytest.approx(1)


def test_an_unknown_class_is_ignored(manifest):
    items = tuple(replace(item, labels=("red", "green")) for item in manifest.items)
    manifest = replace(manifest, items=items)
    found = [detections(item.boxes_xyxy[:1], [1], [0.9]) for item in items]
    assert scored(found, manifest).map == pytest.approx(1)


def test_order_of_the_items_is_irrelevant(manifest):
    found = [perfect(item) for item in manifest.items]
    other = replace(manifest, items=manifest.items[::-1])
    require_comparable(scored(found, manifest), scored(found[::-1], other))


def test_the_number_of_images_must_agree(manifest):
    with pytest.raises(ReportMismatch, match="4 images"):
        scored([perfect(item) for item in manifest.items[:4]], manifest)


def test_json_round_trip(manifest, tmp_path):
    report = scored([perfect(item) for item in manifest.items], manifest)
    assert EvaluationReport.read(report.write(tmp_path / "report.json")) == report
    (tmp_path / "odd.json").write_text('{"map": 1}')
    with pytest.raises(ReportMismatch, match="not an evaluation report"):
        EvaluationReport.read(tmp_path / "odd.json")


def test_runs_a_detector(manifest, tmp_path, detector):
    seen = []
    report = evaluate(
        detector, manifest, tmp_path, batch_size=2, on_progress=lambda a, b: seen.append((a, b))
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]
    assert report.detector_version == detector.version
    assert report.num_images == 5
    assert len(report.objects) == 10


def test_a_detector_is_scored_by_the_first_of_its_classes(manifest, tmp_path, detector):
    """As one that was never taught the others: it shows none, and their objects are ignored."""
    some = NAMES[:2]
    found = []
    for item in manifest.items:
        (shown,) = detector.predict([load(tmp_path / item.file)], 0.01)
        found.append(shown.of_classes(len(some)))
    assert any(len(own) for own in found)
    report = evaluate(detector, manifest, tmp_path, class_names=some)
    assert report == score_detections(found, manifest, some, detector.version)
    assert {outcome.label for outcome in report.objects} == set(some[1:])
    with pytest.raises(ReportMismatch, match="begin with"):
        evaluate(detector, manifest, tmp_path, class_names=(*NAMES, "star"))


def test_an_image_that_cannot_be_read_is_left_out_and_counted(detector, manifest, tmp_path):
    whole = evaluate(detector, manifest, tmp_path)
    (tmp_path / "2.png").write_bytes(b"no picture")
    report = evaluate(detector, manifest, tmp_path, batch_size=2)
    assert (report.num_images, report.unreadable) == (4, 1)
    assert report.manifest_version == whole.manifest_version
    lost = manifest.items[2].image
    expected = [one.key for one in whole.objects if one.image != lost]
    assert [one.key for one in report.objects] == expected
    assert EvaluationReport.from_dict(report.to_dict()) == report
    (tmp_path / "3.png").unlink()
    with pytest.raises(ImagesUnreadable, match="2 of 5 images"):
        evaluate(detector, manifest, tmp_path)


def test_pictures_are_let_in_by_the_limits_that_are_given(detector, manifest, tmp_path):
    with pytest.raises(ImagesUnreadable):
        evaluate(detector, manifest, tmp_path, limits=ImageLimits(max_pixels=100))
