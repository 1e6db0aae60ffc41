"""Synthesis: the window of a picture that a network works on."""

import numpy as np
import pytest

from curation.synthesis.window import MAX_ENLARGED, Window


def somewhere(rng, size_hw):
    what = np.zeros(size_hw, np.bool_)
    top, left = (int(rng.integers(0, side)) for side in size_hw)
    what[top : top + int(rng.integers(1, 200)), left : left + int(rng.integers(1, 200))] = True
    return what


@pytest.mark.parametrize("square", [True, False])
def test_what_is_looked_at_is_in_the_window_and_the_rest_is_left_alone(square):
    rng = np.random.default_rng(0)
    for _ in range(60):
        size_hw = tuple(int(side) for side in rng.integers(1, 400, 2))
        what = somewhere(rng, size_hw)
        window = Window.square(what, 64) if square else Window.around(what, 64, 8)
        x1, y1, x2, y2 = window.box
        outside = np.ones(size_hw, np.bool_)
        outside[y1:y2, x1:x2] = False
        assert not (what & outside).any()
        assert all(side % 8 == 0 for side in window.padded_hw)
        pixels = rng.integers(0, 256, (*size_hw, 3)).astype(np.uint8)
        drawn = window.into(pixels)
        assert drawn.shape == (*window.padded_hw, 3)
        back = window.back(drawn.astype(np.float32), pixels)
        assert back.shape == pixels.shape
        assert np.array_equal(back[outside], pixels[outside].astype(np.float32))
        assert not window.into_mask(np.ones(size_hw, np.bool_))[window.size_hw[0] :].any()


def test_memory_is_bounded_and_small_things_are_not_enlarged_beyond_use():
    small = np.zeros((400, 600), np.bool_)
    small[200:204, 300:304] = True
    window = Window.around(small, 128, 8)
    x1, y1, x2, y2 = window.box
    assert (x2 - x1, y2 - y1) == (64, 64)
    assert window.size_hw == (128, 128)
    large = np.ones((3000, 4000), np.bool_)
    height, width = Window.around(large, 128, 8).padded_hw
    assert 128**2 <= height * width <= 1.2 * 128**2
    assert MAX_ENLARGED == 2


def test_at_its_own_size_a_window_comes_back_as_it_went():
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    window = Window.around(np.ones((64, 64), np.bool_), 64, 8)
    assert np.array_equal(window.back(window.into(pixels).astype(np.float32), pixels), pixels)
