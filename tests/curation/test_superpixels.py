"""Partitions, their neighbour graph and rings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from curation import superpixels
from tests.toy import textured_image


def test_slic_is_a_dense_partition_on_the_input_grid():
    image = textured_image(0, 320, 200)
    segments = superpixels.slic(image, (96, 128), 100)
    assert segments.shape == (96, 128)
    assert segments.dtype == np.int32
    assert np.unique(segments).tolist() == list(range(superpixels.count(segments)))
    assert 50 <= superpixels.count(segments) <= 110
    np.testing.assert_array_equal(segments, superpixels.slic(image, (96, 128), 100))
    for segment in range(superpixels.count(segments)):
        assert ndimage.label(segments == segment)[1] == 1


@pytest.mark.parametrize("value", [0, 127, 255])
def test_slic_of_a_plain_image_still_partitions(value):
    image = np.full((48, 64, 3), value, np.uint8)
    segments = superpixels.slic(image, (48, 64), 12)
    assert superpixels.count(segments) > 1


def test_slic_does_not_change_its_image_and_needs_a_segment():
    image = textured_image(1)
    before = image.copy()
    superpixels.slic(image, (48, 64), 10)
    np.testing.assert_array_equal(image, before)
    with pytest.raises(ValueError, match="num_segments"):
        superpixels.slic(image, (48, 64), 0)


@pytest.mark.parametrize(
    ("method", "least", "most"),
    [
        ("slic", 20, 50),
        ("slic_half", 20, 50),
        ("quickshift", 3, 40),
        ("felzenszwalb", 20, 400),
        ("grid", 35, 45),
    ],
)
def test_every_segmentation_is_a_dense_partition_and_repeats(photo, method, least, most):
    segments = superpixels.segment(photo, (72, 96), 40, method)
    assert segments.shape == (72, 96)
    assert segments.dtype == np.int32
    assert np.unique(segments).tolist() == list(range(superpixels.count(segments)))
    assert least <= superpixels.count(segments) <= most
    np.testing.assert_array_equal(segments, superpixels.segment(photo, (72, 96), 40, method))
    with pytest.raises(ValueError, match="num_segments"):
        superpixels.segment(photo, (72, 96), 0, method)


def test_methods_that_find_their_number_do_not_look_at_the_one_asked_for(photo):
    for method in ("quickshift", "felzenszwalb"):
        few = superpixels.segment(photo, (48, 64), 5, method)
        np.testing.assert_array_equal(few, superpixels.segment(photo, (48, 64), 500, method))
    with pytest.raises(ValueError, match="there are slic, slic_half"):
        superpixels.segment(photo, (48, 64), 5, "voronoi")


def test_segments_of_a_photo_follow_it_and_grid_cells_do_not(photo):
    """Within segments the colour varies less than within cells of the same number."""
    size = (72, 96)
    seen = superpixels.warp(photo, size).astype(float).mean(axis=2)

    def spread(segments):
        cells = [seen[segments == number] for number in range(superpixels.count(segments))]
        return sum(cell.var() * cell.size for cell in cells) / seen.size

    plain = spread(superpixels.segment(photo, size, 40, "grid"))
    for method in ("slic", "quickshift", "felzenszwalb"):
        assert spread(superpixels.segment(photo, size, 40, method)) < plain


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 300))
def test_grid_cells_are_dense_and_about_as_many_as_asked(height, width, wanted):
    segments = superpixels.grid((height, width), wanted)
    found = superpixels.count(segments)
    assert np.unique(segments).tolist() == list(range(found))
    assert found <= height * width
    if wanted <= min(height, width):
        assert wanted / 2 <= found <= wanted * 2


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_neighbours_are_symmetric_and_match_a_pixel_scan(seed):
    rng = np.random.default_rng(seed)
    segments = superpixels.relabel(rng.integers(0, 6, (7, 9)))
    touching = superpixels.neighbours(segments)
    expected = np.zeros_like(touching)
    for row in range(7):
        for column in range(9):
            for other in ((row + 1, column), (row, column + 1)):
                if other[0] < 7 and other[1] < 9 and segments[other] != segments[row, column]:
                    expected[segments[row, column], segments[other]] = True
                    expected[segments[other], segments[row, column]] = True
    np.testing.assert_array_equal(touching, expected)


def test_ring_is_one_step_out():
    segments = superpixels.grid((15, 15), 25)  # 5 x 5 cells
    members = np.zeros(25, np.bool_)
    members[12] = True
    around = superpixels.ring(members, superpixels.neighbours(segments))
    assert np.flatnonzero(around).tolist() == [7, 11, 13, 17]
    members[:] = True
    assert not superpixels.ring(members, superpixels.neighbours(segments)).any()


def test_centroids_and_areas():
    segments = superpixels.grid((4, 8), 2)
    assert superpixels.areas(segments).tolist() == [16, 16]
    np.testing.assert_allclose(superpixels.centroids_xy(segments), [[2, 2], [6, 2]])


def test_relabel_keeps_the_partition():
    segments = superpixels.relabel(np.array([[7, 7], [3, 9]]))
    assert segments.tolist() == [[1, 1], [0, 2]]
