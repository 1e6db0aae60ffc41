"""Rotated rectangles that stand out of their picture: one rule for every format.

All formats say the same rectangle in a picture of 64x48.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest

from curation import formats
from curation.formats import Imported, ReadOptions
from tests import bad_images

WIDTH, HEIGHT = bad_images.WIDTH, bad_images.HEIGHT
SIDES = (40.0, 10.0)
Write: TypeAlias = Callable[[Path, float, float, float], None]


def coco(folder: Path, cx: float, cy: float, degrees: float) -> None:
    box = [cx - SIDES[0] / 2, cy - SIDES[1] / 2, *SIDES]
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": box,
                "attributes": {"rotation": degrees},
            }
        ],
    }
    (folder / "a.png").write_bytes(bad_images.png())
    (folder / "annotations.json").write_text(json.dumps(document))


def coco_without_size(folder: Path, cx: float, cy: float, degrees: float) -> None:
    coco(folder, cx, cy, degrees)
    document = json.loads((folder / "annotations.json").read_text())
    document["images"] = [{"id": 1, "file_name": "a.png"}]
    (folder / "annotations.json").write_text(json.dumps(document))


def voc(folder: Path, cx: float, cy: float, degrees: float) -> None:
    parts = {"cx": cx, "cy": cy, "w": SIDES[0], "h": SIDES[1], "angle": math.radians(degrees)}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
    (folder / "a.png").write_bytes(bad_images.png())
    (folder / "a.xml").write_text(
        f"<annotation><filename>a.png</filename><size><width>{WIDTH}</width>"
        f"<height>{HEIGHT}</height></size><object><name>car</name><robndbox>{inner}</robndbox>"
        "</object></annotation>"
    )


def yolo(folder: Path, row: str) -> None:
    for name in ("images", "labels"):
        (folder / name).mkdir()
    (folder / "data.yaml").write_text("names: [car]\n")
    (folder / "images" / "a.png").write_bytes(bad_images.png())
    (folder / "labels" / "a.txt").write_text(row)


def yolo_angle(folder: Path, cx: float, cy: float, degrees: float) -> None:
    shares = (cx / WIDTH, cy / HEIGHT, SIDES[0] / WIDTH, SIDES[1] / HEIGHT)
    yolo(folder, f"0 {' '.join(map(str, shares))} {math.radians(degrees):.4f}")


def yolo_corners(folder: Path, cx: float, cy: float, degrees: float) -> None:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array(SIDES) / 2 @ turn.T
    points = (corners + np.array([cx, cy])) / [WIDTH, HEIGHT]
    yolo(folder, f"0 {' '.join(map(str, points.ravel()))}")


WRITERS: dict[str, Write] = {
    "COCO": coco,
    "COCO without the size": coco_without_size,
    "VOC": voc,
    "YOLO with an angle": yolo_angle,
    "YOLO with corners": yolo_corners,
}


def _read(folder: Path, write: Write, cx: float, cy: float, degrees: float) -> Imported:
    write(folder, cx, cy, degrees)
    return formats.load(folder, options=ReadOptions(enclose_rotated=True))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("degrees", [60, 100])
def test_what_the_turn_alone_took_out_of_the_picture_is_cut(
    tmp_path: Path, name: str, degrees: float
) -> None:
    found = _read(tmp_path, WRITERS[name], 32, 10, degrees)

    angle = math.radians(degrees)
    across = SIDES[0] * abs(math.cos(angle)) + SIDES[1] * math.sin(angle)
    down = SIDES[0] * math.sin(angle) + SIDES[1] * abs(math.cos(angle))
    assert (found.doubt, found.problems) == ("", ())
    expected = [32 - across / 2, 0, 32 + across / 2, 10 + down / 2]
    np.testing.assert_allclose(found.items[0].boxes_xyxy, [expected], atol=0.01)
    assert "1 boxes left their pictures and were cut at the border" in found.notes
    assert "1 rotated rectangles became the upright boxes around them" in found.notes


@pytest.mark.parametrize("name", ["COCO", "COCO without the size", "VOC", "YOLO with an angle"])
def test_a_quarter_turn_out_of_the_picture_is_cut_and_needs_no_leave(
    tmp_path: Path, name: str
) -> None:
    WRITERS[name](tmp_path, 32, 17, 90)
    found = formats.load(tmp_path)
    assert (found.doubt, found.problems) == ("", ())
    np.testing.assert_allclose(found.items[0].boxes_xyxy, [[27, 0, 37, 37]], atol=0.01)
    assert "1 boxes left their pictures and were cut at the border" in found.notes


@pytest.mark.parametrize("name", WRITERS)
def test_a_rectangle_that_leaves_the_picture_unturned_is_judged_as_any_box(
    tmp_path: Path, name: str
) -> None:
    found = _read(tmp_path, WRITERS[name], 32, 2, 60)
    assert f"leaves the {WIDTH}x{HEIGHT} image" in " ".join(
        [found.doubt, *(one.message for one in found.problems)]
    )
    clipped = formats.load(tmp_path, options=ReadOptions(enclose_rotated=True, clip=True))
    assert (clipped.doubt, clipped.problems) == ("", ())
    assert clipped.items[0].boxes_xyxy[0][1] == 0


@pytest.mark.parametrize("name", WRITERS)
def test_what_stays_in_the_picture_is_not_cut(tmp_path: Path, name: str) -> None:
    found = _read(tmp_path, WRITERS[name], 32, 24, 60)
    assert (found.doubt, found.problems) == ("", ())
    assert not any("cut at the border" in note for note in found.notes)
