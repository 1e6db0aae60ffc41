"""D-RISE against plain loops, and on a toy whose detection stands on one known cell."""

import numpy as np
import pytest
import torch

from curation import superpixels
from curation.explain.methods.d_rise import DRise, fill_colour, stretch
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.oracles.d_rise import d_rise as slow_d_rise
from tests.toy import ConvToy, PolynomialToy, textured_image

TARGETS = [ScoreTarget(0, 1), ScoreTarget(4, 2)]


class _Counting(ConvToy):
    proposed = 0

    def propose(self, images):
        self.proposed += len(images)
        return super().propose(images)


@pytest.mark.parametrize(("fill", "centred"), [("mean", True), ("black", False)])
def test_agrees_with_the_slow_twin(fill, centred):
    toy, image = ConvToy(1, (12, 16)), textured_image(1, 16, 12)
    explainer = DRise(num_masks=12, grid=4, fill=fill, centred=centred, seed=3, batch_size=5)
    found = explainer.explain(toy, image, TARGETS, superpixels.grid((12, 16), 12))
    cells, shifts = explainer.design((12, 16))
    colour = np.zeros(3) if fill == "black" else np.full(3, 127.5)  # the toy subtracts one half
    for target, result in zip(TARGETS, found, strict=True):
        aim = toy.boxes_of(image)[target.default_box]
        slow = slow_d_rise(
            toy, image, aim, target.label, cells, shifts, colour, explainer.keep, centred
        )
        np.testing.assert_allclose(result.pixels, slow, atol=2e-3 * np.abs(slow).max())


def test_the_map_peaks_where_the_detection_stands():
    linear = np.zeros(12)
    linear[5] = 0.05
    toy = PolynomialToy(linear, bias=-2)
    image = np.full((24, 32, 3), 127, np.uint8)
    image[toy.segments == 5] = 255
    (result,) = DRise(num_masks=300, grid=4).explain(toy, image, [ScoreTarget(2, 1)], toy.segments)
    assert result.values.argmax() == 5
    assert abs(np.median(result.pixels)) < 0.25 * result.pixels.max()  # no level of its own
    others = np.delete(result.values, 5)
    assert result.values[5] > others.mean() + 3 * others.std()


def test_masks_shift_by_less_than_a_cell_and_keep_their_share():
    explainer = DRise(num_masks=400, keep=0.3)
    cells, shifts = explainer.design((50, 70))
    masks = stretch(cells, shifts, (50, 70))
    assert masks.shape == (400, 50, 70)
    assert (shifts.min(axis=0) == 0).all()
    assert (shifts.max(axis=0) == [3, 4]).all()  # cells of 4 x 5 px
    assert 0 <= masks.min() < masks.max() <= 1
    assert masks.mean() == pytest.approx(0.3, abs=0.01)
    assert np.abs(masks.mean(axis=0) - 0.3).max() < 0.12  # no place is favoured


def test_all_targets_share_the_masked_images():
    toy, image = _Counting(2), textured_image(2)
    segments = superpixels.grid(toy.input_size_hw, 12)
    together = DRise(num_masks=30, centred=False).explain(toy, image, TARGETS, segments)
    assert toy.proposed == 30 + 1
    for target, shared in zip(TARGETS, together, strict=True):
        (alone,) = DRise(num_masks=30, centred=False, batch_size=7).explain(
            toy, image, [target], segments
        )
        np.testing.assert_allclose(shared.pixels, alone.pixels, rtol=1e-5)
    (other,) = DRise(num_masks=30, centred=False, seed=1).explain(toy, image, TARGETS[:1], segments)
    assert not np.allclose(other.pixels, together[0].pixels, rtol=1e-3)


def test_the_reference_is_the_hidden_image():
    toy, image = ConvToy(1), textured_image(1)
    segments = superpixels.grid(toy.input_size_hw, 12)
    np.testing.assert_allclose(fill_colour(toy, "mean"), 127.5)
    (grey,) = DRise(num_masks=2).explain(toy, image, TARGETS[:1], segments)
    (black,) = DRise(num_masks=2, fill="black").explain(toy, image, TARGETS[:1], segments)
    ends = torch.stack([torch.full((3, 24, 32), -0.5 / 255), torch.full((3, 24, 32), -0.5)])
    with torch.no_grad():
        expected = toy.scores(ends, TARGETS[:1], ScoreKind.PROBABILITY)[:, 0].numpy()
    np.testing.assert_allclose([grey.baseline_score, black.baseline_score], expected, rtol=1e-4)


@pytest.mark.parametrize("bad", [{"num_masks": 0}, {"keep": 1.0}, {"fill": "pink"}])
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DRise(**bad)
