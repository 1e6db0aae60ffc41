"""Sheets of outcomes, by their pixels: a box lies where the object is, whatever the enlargement."""

from __future__ import annotations

import numpy as np
import pytest

from curation import draw
from curation.draw import Colour
from curation.kernel.types import Box, ImageArray, ScoreTarget
from services.explaining.one_image import Outcome, Subject
from services.explaining.sheet import picture

GAP_PX = 10
BOX: Box = (10, 12, 40, 30)
TRUE: Box = (50, 20, 60, 44)


def outcome(method: str) -> Outcome:
    return Outcome(method, Subject(ScoreTarget(0, 1), BOX, "", 0.9), None, (), "none", 0.0, 0)


def extent(sheet: ImageArray, colour: Colour) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixel of a colour."""
    rows, columns = np.nonzero((sheet == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max(), rows.max()


@pytest.mark.parametrize("side_px", [64, 160, 320, 640, 1280])
def test_on_a_sheet_of_many_methods_boxes_lie_on_the_first_panel_where_the_image_has_them(
    side_px: int,
) -> None:
    image = np.full((side_px, side_px, 3), 128, np.uint8)
    times = max(1, round(640 / side_px))  # enlarged by a whole number
    width = side_px * times  # of the panel, so that nothing is resampled
    drawn = picture(image, [[outcome("one"), outcome("two")]], [TRUE], panel_width_px=width)
    for box, colour in ((BOX, draw.DETECTED), (TRUE, draw.TRUTH)):
        x1, y1, x2, y2 = (GAP_PX + round(value * times) for value in box)
        assert extent(drawn, colour) == (x1, y1, x2 - 1, y2 - 1)
