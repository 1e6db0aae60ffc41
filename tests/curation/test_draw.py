"""Drawings: colours mean what they say, nothing is changed in place, sizes are right."""

from dataclasses import replace

import numpy as np
import pytest

from curation import draw, superpixels
from curation.kernel.types import Attribution, ScoreTarget
from tests.toy import textured_image

GREY = np.full((60, 90, 3), 128, np.uint8)


def attribution(values) -> Attribution:
    segments = superpixels.grid((20, 30), 6)  # 2 x 3 cells
    filled = np.array(values, np.float32)
    return Attribution(ScoreTarget(0, 1), segments, filled, filled * 0, 0.0, 0.0, "e2x")


def test_red_supports_blue_hurts_zero_is_transparent():
    picture = draw.overlay(GREY, attribution([4, -4, 0, 2, -2, 0]))
    assert picture.shape == GREY.shape
    assert picture.dtype == np.uint8
    cell = {index: picture[15 + 30 * (index // 3), 15 + 30 * (index % 3)] for index in range(6)}
    expected = 128 * 0.4 + np.array(draw.SUPPORTS) * 0.6
    np.testing.assert_allclose(cell[0], expected, atol=1)
    np.testing.assert_allclose(cell[1], 128 * 0.4 + np.array(draw.HURTS) * 0.6, atol=1)
    np.testing.assert_array_equal(cell[2], [128] * 3)
    np.testing.assert_allclose(cell[3], 128 * 0.7 + np.array(draw.SUPPORTS) * 0.3, atol=1)
    assert np.abs(cell[4].astype(int) - 128).max() < np.abs(cell[1].astype(int) - 128).max()


def test_an_attribution_of_zeros_is_the_image():
    np.testing.assert_array_equal(draw.overlay(GREY, attribution([0] * 6)), GREY)


def test_superpixels_have_the_colour_of_what_regions_are_made_of():
    shown, own = attribution([4, 0, 0, 0, 0, -1]), np.float32([-2, 0, 0, 0, 0, 1])
    cut = replace(shown, region_values=own, region_errors=own * 0)
    assert draw.strength(shown)[0, 0] == 1
    assert draw.strength(cut)[0, 0] == -1
    assert draw.strength(cut)[-1, -1] == 0.5


def pixel_attribution(pixels) -> Attribution:
    values = np.zeros(6, np.float32)
    segments = superpixels.grid((20, 30), 6)
    return Attribution(ScoreTarget(0, 1), segments, values, values, 0.0, 0.0, "odam", pixels=pixels)


def test_a_map_of_pixels_is_drawn_by_itself_and_smoothly():
    pixels = np.zeros((20, 30), np.float32)
    pixels[:, :15], pixels[:, 15:] = 3e-7, -1e-7
    picture = draw.overlay(GREY, pixel_attribution(pixels)).astype(int)
    np.testing.assert_allclose(picture[30, 5], 128 * 0.4 + np.array(draw.SUPPORTS) * 0.6, atol=1)
    np.testing.assert_allclose(picture[30, 85], 128 * 0.8 + np.array(draw.HURTS) * 0.2, atol=1)
    border = picture[30, 38:52, 0]  # red fades before blue begins
    assert len(np.unique(border)) > 3
    assert abs(border[6:8] - 128).max() < abs(border[[0, -1]] - 128).max()


def test_one_outlier_does_not_hide_a_map_of_pixels():
    pixels = np.full((20, 30), 1.0, np.float32)
    pixels[0, 0] = 500.0
    drawn = draw.strength(pixel_attribution(pixels))
    assert drawn.max() == 1.0
    assert np.median(drawn) > 0.9
    sparse = np.zeros((20, 30), np.float32)
    sparse[3, 4] = -2.0
    assert draw.strength(pixel_attribution(sparse))[3, 4] == -1.0
    assert not draw.strength(pixel_attribution(np.zeros((20, 30), np.float32))).any()
    np.testing.assert_allclose(draw.strength(attribution([4, -2, 0, 1, 0, 0])).max(), 1.0)
    np.testing.assert_allclose(draw.strength(attribution([4, -2, 0, 1, 0, 0])).min(), -0.5)


def test_box_is_outlined_and_labelled_on_an_enlarged_picture():
    box = (30.0, 20.0, 60.0, 50.0)
    picture = draw.overlay(GREY, attribution([0] * 6), box, "car 0.31", scale=4)
    assert picture.shape == (240, 360, 3)
    for x, y in ((120, 150), (239, 150), (180, 80), (180, 199)):
        np.testing.assert_array_equal(picture[y, x], draw.DETECTED)
    np.testing.assert_array_equal(picture[140, 180], [128] * 3)
    assert (picture[40:80, 120:200] == draw.DETECTED).all(axis=2).any()  # the plate above it


def test_boxes_outside_and_at_the_border_do_not_fail():
    around = [(-20.0, -20.0, 400.0, 400.0), (500.0, 500.0, 600.0, 600.0), (0.0, 0.0, 0.2, 0.2)]
    before = GREY.copy()
    picture = draw.boxes(GREY, around, [draw.TRUTH] * 3, ["a very long text " * 9, "x", ""])
    assert picture.shape == GREY.shape
    np.testing.assert_array_equal(picture[59, 45], draw.TRUTH)
    np.testing.assert_array_equal(GREY, before)
    with pytest.raises(ValueError, match="zip"):
        draw.boxes(GREY, around, [], [])


def test_outline_follows_the_mask_from_inside():
    mask = np.zeros((20, 30), np.bool_)
    mask[5:15, 10:20] = True  # on 60 x 90: rows 15..44, columns 30..59
    picture = draw.outline(GREY, mask, draw.HURTS, thickness_px=2)
    drawn = (picture == draw.HURTS).all(axis=2)
    assert drawn.sum() == 30 * 30 - 26 * 26
    assert drawn[15, 30]
    assert drawn[16, 31]
    assert not drawn[17, 32]
    assert not drawn[14, 30]
    np.testing.assert_array_equal(draw.outline(GREY, np.zeros_like(mask)), GREY)


def test_side_by_side_puts_images_of_any_size_in_a_row():
    sheet = draw.side_by_side([GREY, textured_image(0, 40, 30)], gap_px=10)
    assert sheet.shape == (60, 90 + 10 + 80, 3)
    np.testing.assert_array_equal(sheet[:, :90], GREY)
    np.testing.assert_array_equal(sheet[:, 90:100], np.full((60, 10, 3), 255))
    captioned = draw.side_by_side([GREY], ["before"])
    assert captioned.shape[0] > 60
    assert (captioned[60:] < 100).any()
    for images, captions in (([], ()), ([GREY], ("a", "b"))):
        with pytest.raises(ValueError, match="captions"):
            draw.side_by_side(images, captions)


def test_thumbnail_keeps_the_aspect_and_never_enlarges():
    assert draw.thumbnail(textured_image(0, 400, 100), 100).shape == (25, 100, 3)
    assert draw.thumbnail(GREY, 1000).shape == GREY.shape


def test_scale_below_one_is_refused():
    with pytest.raises(ValueError, match="scale"):
        draw.boxes(GREY, [], [], [], scale=0)
