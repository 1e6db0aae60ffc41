"""D-CLOSE against plain loops, by hand, and on a toy whose detection stands on one known cell."""

import numpy as np
import pytest

from curation import superpixels
from curation.explain.methods.d_close import DClose, fuse, shown_mean, unit_range
from curation.kernel.types import ScoreTarget
from tests.oracles.d_close import d_close as slow_d_close
from tests.toy import ConvToy, PolynomialToy, textured_image

TARGETS = [ScoreTarget(0, 1), ScoreTarget(4, 2)]


class _Counting(ConvToy):
    proposed = 0

    def propose(self, images):
        self.proposed += len(images)
        return super().propose(images)


def test_agrees_with_the_slow_twin():
    toy, image = ConvToy(1, (12, 16)), textured_image(1, 16, 12)
    explainer = DClose(num_masks=45, num_segments=6, num_levels=3, seed=3, batch_size=4)
    levels = [np.concatenate(list(masks)) for masks in explainer.levels(image)]
    assert [len(masks) for masks in levels] == [15, 15, 15]
    assert all(masks.sum(axis=0).min() > 0 for masks in levels)
    found = explainer.explain(toy, image, TARGETS, superpixels.grid((12, 16), 12))
    for target, result in zip(TARGETS, found, strict=True):
        aim = toy.boxes_of(image)[target.default_box]
        slow = slow_d_close(toy, image, aim, target.label, levels, np.full(3, 127.5))
        np.testing.assert_allclose(result.pixels, slow, atol=5e-3 * slow.max())


def test_levels_are_fused_from_fine_to_coarse_by_hand():
    coarse, middle, fine = (np.array([row]) for row in ([1.0, 0.5], [0.5, 1.0], [0.2, 0.0]))
    # (0.2 + 0.5) 0.5 = 0.35 and (0 + 1) 1 = 1; then (0.35 + 1) 1 and (1 + 0.5) 0.5
    np.testing.assert_allclose(fuse([coarse, middle, fine]), [[1.35, 0.75]])
    np.testing.assert_array_equal(fuse([fine]), fine)
    # what the coarsest level does not know is gone
    assert fuse([np.zeros((1, 2)), middle, fine]).max() == 0


def test_the_density_takes_off_how_often_a_pixel_was_shown():
    masks = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    weights = np.array([0.6, 0.2])
    mean = shown_mean(weights @ masks, masks.sum(axis=0))
    np.testing.assert_allclose(mean, [0.4, 0.6, 0.2, 0.2])  # never shown: the least
    np.testing.assert_allclose(unit_range(mean), [0.5, 1, 0, 0])
    assert not unit_range(shown_mean(np.full(2, 0.5) @ masks[:, :3], masks.sum(axis=0)[:3])).any()


def test_the_map_peaks_where_the_detection_stands():
    linear = np.zeros(12)
    linear[5] = 0.05
    toy = PolynomialToy(linear, bias=-2)
    image = np.full((24, 32, 3), 127, np.uint8)
    image[toy.segments == 5] = 255
    explainer = DClose(num_masks=600, num_segments=12, num_levels=3)
    (result,) = explainer.explain(toy, image, [ScoreTarget(2, 1)], toy.segments)
    assert result.values.argmax() == 5
    assert result.pixels.min() >= 0
    others = np.delete(result.values, 5)
    assert result.values[5] > others.mean() + 3 * others.std()


def test_masks_keep_their_share_and_favour_no_place():
    explainer = DClose(num_masks=400, num_segments=30, num_levels=1, keep=0.3)
    (masks,) = (np.concatenate(list(one)) for one in explainer.levels(textured_image(4, 70, 50)))
    assert masks.shape == (400, 50, 70)
    assert 0 <= masks.min() < masks.max() <= 1
    assert masks.mean() == pytest.approx(0.3, abs=0.03)
    assert np.abs(masks.mean(axis=0) - 0.3).max() < 0.12


def test_without_stretching_a_mask_is_made_of_whole_superpixels():
    image = textured_image(4, 70, 50)
    explainer = DClose(num_masks=5, num_segments=20, num_levels=1, stretch=0)
    (masks,) = (np.concatenate(list(one)) for one in explainer.levels(image))
    parts = superpixels.slic(image, (50, 70), 20)
    for mask in masks:
        for part in range(superpixels.count(parts)):
            assert len(np.unique(mask[parts == part])) == 1


def test_all_targets_share_the_masked_images():
    toy, image = _Counting(2), textured_image(2)
    segments = superpixels.grid(toy.input_size_hw, 12)
    given = {"num_masks": 31, "num_segments": 8, "num_levels": 2}
    together = DClose(**given).explain(toy, image, TARGETS, segments)
    assert toy.proposed == 31 + 1
    for target, shared in zip(TARGETS, together, strict=True):
        (alone,) = DClose(**given, batch_size=7).explain(toy, image, [target], segments)
        np.testing.assert_allclose(shared.pixels, alone.pixels, rtol=1e-4, atol=1e-6)
    (other,) = DClose(**given, seed=1).explain(toy, image, TARGETS[:1], segments)
    assert not np.allclose(other.pixels, together[0].pixels, rtol=1e-3)


@pytest.mark.parametrize(
    "bad", [{"num_masks": 3}, {"keep": 0.0}, {"fill": "pink"}, {"stretch": -1}, {"num_levels": 0}]
)
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        DClose(**bad)
