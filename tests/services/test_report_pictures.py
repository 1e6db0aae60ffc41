"""The report's views: which part of a frame is shown, and at what scale."""

from __future__ import annotations

import numpy as np
import pytest

from services.report.pictures import View, zoom


@pytest.mark.parametrize("size_hw", [(192, 256), (1200, 1600), (400, 3000)])
def test_a_zoom_shows_all_boxes_at_one_scale(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    image = np.zeros((height, width, 3), np.uint8)
    boxes = [
        (width - 30, height - 30, width - 4, height - 2),
        (width - 60, height - 60, width - 40, height - 45),
    ]
    view = zoom(image, boxes, 400)
    assert view.window[2] <= width
    assert view.window[3] <= height
    picture = view.crop(image)
    assert picture.shape[1] == 400
    for box in boxes:
        x1, y1, x2, y2 = view.box(box)
        assert -1e-6 <= x1 < x2 <= picture.shape[1] + 1e-6
        assert -1e-6 <= y1 < y2 <= picture.shape[0] + 1
        assert (x2 - x1) / (box[2] - box[0]) == pytest.approx(view.scale)


def test_large_boxes_are_shown_in_the_whole_frame() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    assert zoom(image, [(10, 10, 180, 90)], 400) == View.whole(image, 400)
