"""Synthesis, pixels: placement, cutouts, infill, blending, colours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.kernel.errors import InvalidBoxes
from curation.kernel.types import Truth
from curation.synthesis.blend import BLENDINGS, blend, colours, move_colours
from curation.synthesis.composite import Object, Surroundings, surround
from curation.synthesis.cutout import cutout, painted_over
from curation.synthesis.geometry import (
    carry,
    carry_labels,
    carry_mask,
    covered_share,
    place,
    still_there,
    window,
)

SIZE_HW = (96, 128)


def noisy(colour, seed=0, size_hw=SIZE_HW):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 4, (*size_hw, 1))
    return np.clip(np.array(colour, np.float32) + noise, 0, 255).astype(np.uint8)


def disc(box, size_hw=SIZE_HW):
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] + 0.5
    centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    radius = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    return ((x - centre[0]) / radius[0]) ** 2 + ((y - centre[1]) / radius[1]) ** 2 <= 1


def picture(box=(40, 30, 72, 70), ground=(60, 120, 60), paint=(200, 40, 40), seed=0):
    image = noisy(ground, seed)
    mask = disc(box)
    image[mask] = noisy(paint, seed + 1)[mask]
    return image, mask, tuple(float(side) for side in box)


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


box_strategy = st.tuples(
    st.integers(0, 60), st.integers(0, 40), st.integers(12, 40), st.integers(12, 40)
).map(lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])))


@given(box_strategy, box_strategy)
@settings(max_examples=40, deadline=None)
def test_placed_boxes_share_their_foot_and_their_area(first, second):
    moved = place(first, second).boxes(np.array([first], np.float32))[0]
    assert moved[3] == pytest.approx(second[3], abs=1e-3)
    assert (moved[0] + moved[2]) / 2 == pytest.approx((second[0] + second[2]) / 2, abs=1e-3)
    area = (second[2] - second[0]) * (second[3] - second[1])
    assert (moved[2] - moved[0]) * (moved[3] - moved[1]) == pytest.approx(area, rel=1e-3)


@given(box_strategy, box_strategy)
@settings(max_examples=40, deadline=None)
def test_a_carried_box_of_pixels_is_where_the_carried_box_says(first, second):
    mask = np.zeros(SIZE_HW, np.bool_)
    x1, y1, x2, y2 = map(int, first)
    mask[y1:y2, x1:x2] = True
    placement = place(first, second)
    wanted = placement.boxes(np.array([first], np.float32))[0]
    y, x = np.mgrid[:192, :256] + 0.5
    inside = (x > wanted[0]) & (x < wanted[2]) & (y > wanted[1]) & (y < wanted[3])
    carried = carry_mask(mask, placement, (192, 256))
    assert iou(carried, inside) > 0.7  # whole pixels: half of one at each side
    pixels = carry(np.repeat(mask[..., None] * np.uint8(255), 3, 2), placement, (192, 256))
    assert iou(pixels[..., 0] > 127, inside) > 0.7


def test_what_the_frame_does_not_reach_says_so():
    labels = np.zeros((20, 20), np.int32)
    carried = carry_labels(labels, place((0, 0, 10, 10), (50, 50, 60, 60)), (80, 80))
    assert (carried >= 0).sum() == 400
    assert carried[55, 55] == 0
    assert carried[10, 10] == -1
    far = carry_labels(labels, place((0, 0, 10, 10), (50, 50, 60, 60)), (30, 30))
    assert (far == -1).all()


def test_a_box_without_an_area_or_of_another_size_is_refused():
    with pytest.raises(InvalidBoxes, match="area"):
        place((5, 5, 5, 9), (0, 0, 10, 10))
    with pytest.raises(InvalidBoxes, match="choose a known object"):
        place((0, 0, 2, 2), (0, 0, 60, 60))


def test_the_window_is_the_box_scaled_about_its_centre():
    inside = window((40, 30, 60, 50), 2, SIZE_HW)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == (30, 20, 70, 60)


def test_covered_objects_go_and_half_seen_ones_are_ignored():
    boxes = np.array([[0, 0, 20, 20], [40, 0, 60, 20], [80, 0, 100, 20], [90, 80, 140, 120]])
    truth = Truth(boxes.astype(np.float32), np.array([1, 2, 3, 4]), np.zeros(4, np.bool_))
    hidden = np.zeros(SIZE_HW, np.float32)
    hidden[:20, 0:16] = 1  # four fifths of the first
    hidden[:20, 40:47] = 1  # a third of the second
    shares = covered_share(truth.boxes_xyxy, hidden)
    assert shares[:3] == pytest.approx([0.8, 0.35, 0.0])
    assert shares[3] > 0.5  # most of it lies outside of the picture
    left = still_there(truth, hidden)
    assert left.labels.tolist() == [2, 3]
    assert left.ignore.tolist() == [True, False]
    assert left.boxes_xyxy.tolist() == [[47, 0, 60, 20], [80, 0, 100, 20]]


def test_an_object_is_cut_out_of_its_box():
    image, mask, box = picture()
    alpha = cutout(image, box)
    assert alpha.dtype == np.float32
    assert iou(alpha > 0.5, mask) > 0.9
    assert np.array_equal(alpha, cutout(image, box))


def test_colours_that_cannot_be_told_apart_give_an_ellipse():
    image, box = noisy((90, 90, 90)), (40.0, 30.0, 72.0, 70.0)
    plain = np.full_like(image, 90)
    for one in (plain, image):
        alpha = cutout(one, box)
        assert 0.05 < (alpha > 0.5).mean() / 0.1042 < 1.0
        assert not alpha[:29].any()


@pytest.mark.parametrize("box", [(0, 0, 128, 96), (-9, -9, 20, 20), (126.5, 95.2, 128, 96)])
def test_a_box_at_the_border_is_cut_too(box):
    image, _, _ = picture()
    alpha = cutout(image, box)
    assert np.isfinite(alpha).all()
    assert alpha.max() <= 1


def test_stripes_are_continued_where_the_object_stood():
    stripes = np.tile((np.arange(128) // 8 % 2 * 120 + 60).astype(np.uint8), (96, 1))
    before = np.repeat(stripes[..., None], 3, 2)
    image, mask = before.copy(), disc((40, 30, 72, 70))
    image[mask] = (220, 30, 30)
    filled = painted_over(image, mask.astype(np.float32))
    assert np.abs(filled.astype(int) - before)[mask].mean() < 12
    assert np.array_equal(filled[:20], image[:20])


@pytest.mark.parametrize("alpha", [np.zeros(SIZE_HW), np.ones(SIZE_HW)])
def test_nothing_or_everything_to_paint_over_leaves_the_picture(alpha):
    image, _, _ = picture()
    assert np.array_equal(painted_over(image, alpha.astype(np.float32)), image)


@pytest.mark.parametrize("how", BLENDINGS)
def test_a_blend_changes_the_hole_and_says_where_it_changed(how):
    below, above = noisy((60, 120, 60)), noisy((200, 40, 160), seed=3)
    hole = window((40, 30, 90, 80), 1, SIZE_HW)
    mixed, changed = blend(below, above, hole, how)
    middle = window((40, 30, 90, 80), 0.5, SIZE_HW)
    assert np.abs(mixed[middle].mean(0) - above[middle].mean(0)).max() < 8
    assert np.allclose(mixed[changed == 0], below[changed == 0])
    assert (changed == 0).mean() > 0.3
    with pytest.raises(ValueError, match="no blending"):
        blend(below, above, hole, "poisson")


def test_a_seam_is_softened():
    below, above = noisy((60, 120, 60)), noisy((200, 40, 160), seed=3)
    hole = window((40, 30, 90, 80), 1, SIZE_HW)
    edges = {}
    for how in BLENDINGS:
        row = blend(below, above, hole, how)[0][55, :, 0]
        edges[how] = np.abs(np.diff(row[34:46])).max()
    assert edges["hard"] > 2 * edges["feather"]
    assert edges["hard"] > 1.5 * edges["pyramid"]


def test_colours_move_from_one_object_to_another():
    image, mask, _ = picture()
    other, other_mask, _ = picture(paint=(40, 60, 210), seed=9)
    wanted = colours(other, other_mask.astype(np.float32))
    moved = move_colours(image, mask.astype(np.float32), *wanted)
    assert np.abs(colours(moved, mask.astype(np.float32))[0] - wanted[0]).max() < 3
    assert np.array_equal(moved[~mask], image[~mask])


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("blending", BLENDINGS)
def test_the_object_keeps_its_pixels_and_what_is_not_touched_stays(light, blending):
    image, mask, box = picture()
    frame, _, frame_box = picture((60, 40, 84, 70), (150, 90, 40), (30, 30, 30), seed=5)
    known = Object.cut(image, box)
    around = Surroundings.of(frame, frame_box)
    everything = np.ones(SIZE_HW, np.bool_)
    made = surround(known, around, everything, light, blending)
    solid = known.alpha == 1
    assert solid.sum() > 0.5 * mask.sum()
    assert np.array_equal(made.image[solid], made.base[solid])
    assert np.array_equal(made.image[made.changed == 0], made.base[made.changed == 0])
    assert np.array_equal(made.base, image) != light
    beside = window(box, 1.4, SIZE_HW) & ~window(box, 1.1, SIZE_HW)
    assert np.abs(made.image[beside].mean(0) - [150, 90, 40]).max() < 12
    assert iou(cutout(made.image, box) > 0.5, mask) > 0.9  # the label still holds
    again = surround(known, around, everything, light, blending)
    assert np.array_equal(made.image, again.image)


def test_an_empty_mask_changes_nothing():
    image, _, box = picture()
    frame, _, frame_box = picture((60, 40, 84, 70), (150, 90, 40), seed=5)
    nothing = np.zeros(SIZE_HW, np.bool_)
    made = surround(Object.cut(image, box), Surroundings.of(frame, frame_box), nothing)
    assert np.array_equal(made.image, image)
    assert not made.changed.any()
