"""Boxes around polygons, masks and rotated rectangles."""

from __future__ import annotations

import math
from typing import Any

import faster_coco_eval.core.mask as runs
import numpy as np
import pytest

from curation.formats import outlines
from curation.kernel.errors import AnnotationsInvalid

SIZE = (40, 30)


def _mask(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    mask[y1:y2, x1:x2] = 1
    return mask


def _plain(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths down the columns, the first of them of 0."""
    counts, last = [0], 0
    for value in mask.T.reshape(-1).tolist():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return {"size": [SIZE[1], SIZE[0]], "counts": counts}


def _packed(mask: np.ndarray) -> dict[str, Any]:
    packed = runs.encode(np.asfortranarray(mask))
    return {"size": [SIZE[1], SIZE[0]], "counts": packed["counts"].decode()}


@pytest.mark.parametrize("corners", [(5, 7, 25, 17), (0, 0, 40, 30), (39, 29, 40, 30)])
def test_masks_in_both_forms(corners: tuple[int, int, int, int]) -> None:
    for form in (_plain, _packed):
        segmentation = form(_mask(*corners))
        assert outlines.box_of_segmentation(segmentation, SIZE) == list(corners)
        assert outlines.box_of_segmentation(segmentation, (0, 0)) == list(corners)


@pytest.mark.parametrize("form", [_plain, _packed])
def test_an_empty_mask_is_no_object(form: Any) -> None:
    assert outlines.box_of_segmentation(form(_mask(0, 0, 0, 0)), SIZE) is None


@pytest.mark.parametrize(
    ("segmentation", "box"),
    [
        ([[1, 2, 9, 2, 9, 8]], [1, 2, 9, 8]),
        ([["1", "2", "9", "2", "9", "8"]], [1, 2, 9, 8]),
        ([1, 2, 9, 2, 9, 8], [1, 2, 9, 8]),
        ([[1, 2, 9, 2, 9, 8], [20, 20, 30, 20, 30, 25]], [1, 2, 30, 25]),
        ([], None),
        (None, None),
    ],
)
def test_polygons(segmentation: Any, box: list[float] | None) -> None:
    assert outlines.box_of_segmentation(segmentation, SIZE) == box


@pytest.mark.parametrize(
    ("segmentation", "why"),
    [
        ("text", "neither polygons nor a mask"),
        ([[]], "three points"),
        ([[1, 2, 3, 4]], "three points"),
        ([[1, 2, 3, 4, 5]], "three points"),
        ([[1, 2, 3, 4, 5, None]], "three points"),
        ([[1, 2, 3, 4, 5, math.nan]], "not finite"),
        ([[1, 2], {}], "three points"),
        ({"counts": [1200]}, "without a `size`"),
        ({"counts": [1200], "size": [30, "40"]}, "without a `size`"),
        ({"counts": [1200], "size": [40, 30]}, "a mask of 30x40 in an image of 40x30"),
        ({"counts": [1, 2], "size": [30, 40]}, "do not fill"),
        ({"counts": [-1, 1201], "size": [30, 40]}, "do not fill"),
        ({"counts": [0.5, 1199.5], "size": [30, 40]}, "do not fill"),
        ({"counts": ["a"], "size": [30, 40]}, "no mask that can be read"),
        ({"counts": "\u00e9", "size": [30, 40]}, "no mask that can be read"),
        ({"counts": "oooooooooooooooooooooooo", "size": [30, 40]}, "no mask that can be read"),
    ],
)
def test_what_is_no_outline_is_refused(segmentation: Any, why: str) -> None:
    with pytest.raises(AnnotationsInvalid, match=why):
        outlines.box_of_segmentation(segmentation, SIZE)


BOX = (13.0, 27.0, 83.0, 37.0)


@pytest.mark.parametrize(
    ("rotation", "box"),
    [
        (0, BOX),
        (180, BOX),
        (-180, BOX),
        (360, BOX),
        (540, BOX),
        (0.1, BOX),
        (359.9, BOX),
        (90, (43, -3, 53, 67)),
        (-90, (43, -3, 53, 67)),
        (270, (43, -3, 53, 67)),
        (89.9, (43, -3, 53, 67)),
    ],
)
def test_quarter_turns_keep_the_sides_upright(rotation: float, box: tuple[float, ...]) -> None:
    found = outlines.upright(BOX, rotation, False, (0, 0))
    assert found == outlines.Upright(list(box), enclosing=False, clipped=False)


@pytest.mark.parametrize("rotation", [30, 45, -60, 135, 200, 5])
def test_the_box_around_a_rotated_rectangle(rotation: float) -> None:
    with pytest.raises(AnnotationsInvalid, match=rf"rotated by {rotation} .*--enclose-rotated"):
        outlines.upright(BOX, rotation, False, SIZE)
    angle = math.radians(rotation)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    corners = np.array([[-35, -5], [35, -5], [35, 5], [-35, 5]]) @ turn.T + [48, 32]
    expected = [*corners.min(axis=0), *corners.max(axis=0)]
    found = outlines.upright(BOX, rotation, True, (0, 0))
    np.testing.assert_allclose(found.box_xyxy, expected)
    assert found.enclosing


def test_a_rotation_that_is_no_number_is_refused() -> None:
    with pytest.raises(AnnotationsInvalid, match="not finite"):
        outlines.upright(BOX, math.nan, True, SIZE)
