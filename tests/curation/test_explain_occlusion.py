"""Occlusion against a plain loop over its windows and against captum."""

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from torch.utils._python_dispatch import TorchDispatchMode

from curation import superpixels
from curation.explain.methods.occlusion import Occlusion
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.toy import ConvToy, PolynomialToy, textured_image

TARGETS = [ScoreTarget(0, 1), ScoreTarget(4, 2)]


def _corners(size, window, stride):
    """Steps until the far edge is covered; the last window is cut by it."""
    corners, corner = [0], 0
    while corner + window < size:
        corner += stride
        corners.append(corner)
    return corners


@pytest.mark.parametrize(("window", "stride"), [(6, 3), (7, 4), (8, 8)])
def test_agrees_with_a_plain_loop(window, stride):
    toy, image = ConvToy(1), textured_image(1)
    segments = superpixels.grid(toy.input_size_hw, 12)
    found = Occlusion(window, stride).explain(toy, image, TARGETS, segments)
    inputs = toy.preprocess([image])
    total, count = np.zeros((2, 24, 32)), np.zeros((24, 32))
    with torch.no_grad():
        full = toy.scores(inputs, TARGETS, ScoreKind.LOG_ODDS)[0].numpy()
        for row in _corners(24, window, stride):
            for column in _corners(32, window, stride):
                hidden = inputs.clone()
                hidden[:, :, row : row + window, column : column + window] = 0
                fall = full - toy.scores(hidden, TARGETS, ScoreKind.LOG_ODDS)[0].numpy()
                total[:, row : row + window, column : column + window] += fall[:, None, None]
                count[row : row + window, column : column + window] += 1
    for result, expected in zip(found, total / count, strict=True):
        np.testing.assert_allclose(result.pixels, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("window", "stride"), [(6, 3), (7, 4), (30, 5)])
def test_agrees_with_captum(window, stride):
    toy, image = ConvToy(3), textured_image(3)
    segments = superpixels.grid(toy.input_size_hw, 12)
    found = Occlusion(window, stride).explain(toy, image, TARGETS, segments)
    method = CaptumOcclusion(lambda rows: toy.scores(rows, TARGETS, ScoreKind.LOG_ODDS))
    shape = (3, min(window, 24), min(window, 32))
    with torch.no_grad():
        falls = method.attribute(toy.preprocess([image]), shape, (3, stride, stride), 0)
    expected = falls.view(len(TARGETS), 3, 24, 32)[:, 0].numpy()  # equal for all colours
    for result, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(result.pixels, theirs, atol=1e-3 * np.abs(theirs).max())


def test_overlap_of_windows_does_not_change_the_scale():
    # a linear score of one value a pixel: any window falls by its area
    toy, image = PolynomialToy(np.ones(12) / 100), np.full((24, 32, 3), 200, np.uint8)
    target, segments = ScoreTarget(0, 1), PolynomialToy(np.ones(12)).segments
    maps = [
        Occlusion(8, stride, ScoreKind.LOGIT).explain(toy, image, [target], segments)[0].pixels
        for stride in (8, 4, 2)
    ]
    np.testing.assert_allclose(maps[1], maps[0], rtol=1e-3)
    np.testing.assert_allclose(maps[2], maps[0], rtol=1e-3)


class _Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that was made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


def test_memory_of_a_pass_does_not_grow_with_the_targets():
    toy, image = ConvToy(1), textured_image(1)
    segments = superpixels.grid(toy.input_size_hw, 12)
    sizes = []
    for count in (1, 40):
        with _Largest() as largest:
            Occlusion(batch_size=4).explain(toy, image, TARGETS[:1] * count, segments)
        sizes.append(largest.numbers)
    assert sizes[1] == sizes[0]


def test_a_window_that_is_a_cell_finds_the_cells_share_of_a_linear_score():
    toy, image = PolynomialToy(np.arange(1.0, 13) / 100), textured_image(4)
    (result,) = Occlusion(8, 8, ScoreKind.LOGIT).explain(
        toy, image, [ScoreTarget(0, 1)], toy.segments
    )
    expected = toy.expected_shapley(image)  # 3 x 4 cells of 8 px
    np.testing.assert_allclose(result.values / 64, expected, rtol=1e-3, atol=1e-4)


def test_targets_share_the_passes_and_batches_change_nothing():
    toy, image = ConvToy(2), textured_image(2)
    segments = superpixels.grid(toy.input_size_hw, 12)
    toy.forward_rows = 0
    together = Occlusion().explain(toy, image, TARGETS, segments)
    rows = toy.forward_rows
    assert rows == 2 + 2  # windows, the image and the mean colour
    for target, shared in zip(TARGETS, together, strict=True):
        toy.forward_rows = 0
        (alone,) = Occlusion(batch_size=1).explain(toy, image, [target], segments)
        assert toy.forward_rows == rows
        np.testing.assert_allclose(shared.pixels, alone.pixels, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("bad", [{"stride_px": 0}, {"stride_px": 25}, {"batch_size": 0}])
def test_windows_that_leave_gaps_are_refused(bad):
    with pytest.raises(ValueError, match=r"stride_px|batch_size"):
        Occlusion(**bad)
