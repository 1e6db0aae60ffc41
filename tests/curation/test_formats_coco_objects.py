"""Objects of COCO files as tools write them: outlines, rotations, flags, numbers as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation import formats
from curation.formats import Imported, ReadOptions
from tests import bad_images

GOOD = {"category_id": 1, "bbox": [30, 20, 9, 9]}
POLYGON = [[10, 10, 40, 10, 40, 30, 10, 30]]
MASK = {"size": [48, 64], "counts": [48 * 2 + 3, 5, 43, 5, 48 * 60 + 40]}
"""Two columns from 2, five rows from 3."""


def _read(folder: Path, *annotations: dict[str, Any], **options: Any) -> Imported:
    """One image with these annotations, and a good one."""
    (folder / "a.png").write_bytes(bad_images.png())
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}],
        "annotations": [
            {"id": number, "image_id": 1, "category_id": 1, **entry}
            for number, entry in enumerate((*annotations, GOOD), 1)
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(document))
    return formats.load(folder, options=ReadOptions(**options))


OUTLINES = {
    "polygon": ({"segmentation": POLYGON}, [10, 10, 40, 30]),
    "empty box": ({"segmentation": POLYGON, "bbox": []}, [10, 10, 40, 30]),
    "no box": ({"segmentation": POLYGON, "bbox": None}, [10, 10, 40, 30]),
    "zeros": ({"segmentation": POLYGON, "bbox": [0, 0, 0, 0]}, [10, 10, 40, 30]),
    "mask": ({"segmentation": MASK}, [2, 3, 4, 8]),
}


@pytest.mark.parametrize("case", OUTLINES)
def test_the_box_around_an_outline_is_taken_where_there_is_no_other(
    tmp_path: Path, case: str
) -> None:
    entry, box = OUTLINES[case]
    found = _read(tmp_path, entry)
    assert found.problems == ()
    assert found.items[0].boxes_xyxy.tolist() == [box, [30, 20, 39, 29]]
    assert "1 objects have an outline and no box: the box around it was taken" in found.notes


def test_a_box_counts_before_an_outline(tmp_path: Path) -> None:
    found = _read(tmp_path, {"segmentation": POLYGON, "bbox": [1, 2, 3, 4]})
    assert found.items[0].boxes_xyxy[0].tolist() == [1, 2, 4, 6]
    assert found.notes == ()


BAD = {
    "neither": ({}, "neither `bbox` nor `segmentation`"),
    "empty outline": ({"segmentation": []}, "neither `bbox` nor `segmentation`"),
    "line": ({"segmentation": [[1, 2, 3, 4]]}, "x, y of three points"),
    "other mask": ({"segmentation": {**MASK, "size": [64, 48]}}, "a mask of 48x64 in an image of"),
    "five numbers": ({"bbox": [1, 2, 3, 4, 30]}, "five numbers, as rotated"),
    "object": ({"bbox": {"x": 1}}, "not four numbers"),
    "rotated": ({"bbox": [9, 9, 30, 9], "attributes": {"rotation": 30.0}}, "rotated by 30 degrees"),
    "rotated entry": ({"bbox": [9, 9, 30, 9], "rotation": "-45"}, "rotated by -45 degrees"),
    "no angle": ({"bbox": [9, 9, 30, 9], "rotation": "left"}, "`rotation` is 'left'"),
    "crowd": ({"bbox": [1, 2, 3, 4], "iscrowd": 2}, "`iscrowd` is '2': give 0 or 1"),
    "ignore": ({"bbox": [1, 2, 3, 4], "iscrowd": 1, "ignore": "maybe"}, "`ignore` is 'maybe'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_has_no_box_is_refused_by_its_cause(tmp_path: Path, case: str) -> None:
    entry, why = BAD[case]
    found = _read(tmp_path, entry, {"category_id": 2, "bbox": [1, 1, 9, 9]})
    (problem,) = found.problems
    assert problem.where == "annotations.json, image 1, annotation 1"
    assert why in problem.message
    assert found.items[0].labels == ("bus", "car")


@pytest.mark.parametrize(
    ("rotation", "box"),
    [(0, [9, 9, 39, 19]), (180, [9, 9, 39, 19]), (90, [19, -1, 29, 29]), (-90, [19, -1, 29, 29])],
)
def test_a_rotation_by_quarters_needs_no_leave(
    tmp_path: Path, rotation: float, box: list[float]
) -> None:
    found = _read(tmp_path, {"bbox": [9, 9, 30, 10], "attributes": {"rotation": rotation}})
    assert found.items[0].boxes_xyxy[0].tolist() == np.maximum(box, 0).tolist()
    assert found.notes == ()


def test_the_box_around_a_rotated_rectangle_is_taken_on_request(tmp_path: Path) -> None:
    found = _read(tmp_path, {"bbox": [16, 19, 32, 10], "rotation": 45}, enclose_rotated=True)
    half = (32 + 10) / 2 / np.sqrt(2)
    expected = [32 - half, 24 - half, 32 + half, 24 + half]
    np.testing.assert_allclose(found.items[0].boxes_xyxy[0], expected, rtol=1e-6)
    assert found.notes == ("1 rotated rectangles became the upright boxes around them",)


@pytest.mark.parametrize(
    ("flags", "ignored"),
    [
        ({"iscrowd": "0"}, False),
        ({"iscrowd": False, "ignore": "0"}, False),
        ({"iscrowd": None}, False),
        ({"iscrowd": "1"}, True),
        ({"ignore": True}, True),
        ({"iscrowd": 0, "difficult": " 1 "}, True),
    ],
)
def test_flags_are_read_as_what_they_say(
    tmp_path: Path, flags: dict[str, Any], ignored: bool
) -> None:
    assert _read(tmp_path, {"bbox": [1, 2, 3, 4], **flags}).items[0].ignore == (ignored, False)


def test_numbers_may_be_text(tmp_path: Path) -> None:
    found = _read(tmp_path, {"bbox": ["1", "2.5", " 3 ", "4e0"]})
    assert found.items[0].boxes_xyxy[0].tolist() == [1, 2.5, 4, 6.5]


def test_normalised_outlines_are_doubted(tmp_path: Path) -> None:
    found = _read(tmp_path, *[{"segmentation": [[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]]}] * 3)
    assert "look normalised" in found.doubt


def _crowds(folder: Path) -> Imported:
    _read(folder)
    file = folder / "annotations.json"
    document = json.loads(file.read_text())
    for entry in document["annotations"]:
        entry["iscrowd"] = 1
    file.write_text(json.dumps(document))
    return formats.load(folder)


def test_it_is_told_where_nothing_is_left_to_learn(tmp_path: Path) -> None:
    (note,) = _crowds(tmp_path).notes
    assert "all 1 objects are marked as crowd" in note
    assert "nothing is left to learn from 1 images" in note


def test_a_key_that_appears_twice_costs_its_object(tmp_path: Path) -> None:
    _read(tmp_path, {"bbox": [1, 2, 3, 4]})
    file = tmp_path / "annotations.json"
    file.write_text(file.read_text().replace('"bbox": [1,', '"bbox": [9, 9, 9, 9], "bbox": [1,'))
    found = formats.load(tmp_path)
    assert [one.message for one in found.problems] == ["left out: `bbox` appears twice in it"]
    assert found.items[0].labels == ("car",)


def test_categories_that_differ_in_nothing_one_sees_are_one_class(tmp_path: Path) -> None:
    _read(tmp_path, {"bbox": [1, 2, 3, 4], "category_id": 2})
    file = tmp_path / "annotations.json"
    file.write_text(file.read_text().replace('"bus"', '"car "'))
    found = formats.load(tmp_path)
    assert found.class_names == ("car",)
    assert found.items[0].labels == ("car", "car")
    assert any("several categories have the name car" in note for note in found.notes)
