"""PDA: the patch sampler against the precision matrix, the map against plain loops."""

import json

import numpy as np
import pytest

from curation import superpixels
from curation.detector import ScoreKind
from curation.explain.patches import PatchSampler, PatchSource
from curation.explain.pda import Pda, Window, spread, window_of
from curation.types import ScoreTarget
from tests.oracles.pda import conditional
from tests.oracles.pda import pda as slow_pda
from tests.toy import ConvToy, textured_image

TARGETS = [ScoreTarget(0, 1), ScoreTarget(4, 2)]
SIZE = (24, 32)


def _inputs(count=3):
    return ConvToy().preprocess([textured_image(seed) for seed in range(count)]).numpy()


@pytest.mark.parametrize("hole", [(1, 1), (0, 1), (2, 2), (1, 0)])
def test_draws_are_conditional_gaussians_of_their_own_colour(hole):
    sampler = PatchSampler.fit(_inputs(), side=3, num_patches=500, seed=1)
    patch = _inputs()[1][:, 4:9, 6:11]
    drawn = sampler.draw(patch, hole, 4, np.random.default_rng(7))
    rng = np.random.default_rng(7)
    inside = np.zeros((5, 5), np.bool_)
    inside[hole[0] : hole[0] + 3, hole[1] : hole[1] + 3] = True
    inside = inside.ravel()
    for colour in range(3):
        mean, left = conditional(
            sampler.mean[colour], sampler.covariance[colour], inside, patch[colour].ravel()[~inside]
        )
        value = mean + rng.standard_normal((4, 9)) @ np.linalg.cholesky(left).T
        value = np.clip(value, sampler.lowest[colour][inside], sampler.highest[colour][inside])
        np.testing.assert_allclose(drawn[:, colour].reshape(4, 9), value, rtol=1e-3, atol=1e-4)


def test_the_fit_is_mean_and_covariance_of_patches():
    inputs = _inputs(1)[:, :, :5, :5]  # one place for a patch of 5, so moments are known
    inputs = np.concatenate([inputs, inputs + 0.5, inputs - 0.1])
    sampler = PatchSampler.fit(inputs, side=3, num_patches=4000)
    flat = inputs.reshape(3, 3, 25).astype(np.float64)
    np.testing.assert_allclose(sampler.mean, flat.mean(axis=0), atol=0.02)
    variance = (0.5**2 + 0.1**2) / 3 - (0.4 / 3) ** 2  # all pixels move together
    np.testing.assert_allclose(sampler.covariance, variance, atol=0.1 * variance)
    np.testing.assert_allclose(sampler.lowest, flat.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(sampler.highest, flat.max(axis=0), rtol=1e-6)


def test_images_too_small_for_a_patch_are_refused():
    with pytest.raises(ValueError, match="fit"):
        PatchSampler.fit(np.zeros((1, 3, 4, 4), np.float32), side=3)
    with pytest.raises(ValueError, match="image"):
        PatchSource([])


@pytest.mark.parametrize("mode", ["marginal", "conditional"])
def test_stride_one_agrees_with_the_slow_twin(mode):
    toy, image = ConvToy(1), textured_image(1)
    kind = ScoreKind.LOG_ODDS
    explainer = Pda(1, mode, num_draws=2, kind=kind, num_patches=300, batch_size=3)
    target = TARGETS[1]
    (result,) = explainer.explain(toy, image, [target], superpixels.grid(SIZE, 12))
    box = toy.boxes_of(np.zeros((*SIZE, 3), np.uint8))[target.default_box]
    window = window_of(box, 1, 1, SIZE)
    sampler = PatchSource([image], 300, 0).sampler(toy, window.side, 1)
    picture = toy.preprocess([image])[0].numpy()

    def fillings(row, column):
        if mode == "marginal":
            return [np.zeros((3, window.side, window.side), np.float32)]
        size = window.side + 2
        top, left = np.clip([row - 1, column - 1], 0, np.array(SIZE) - size)
        rng = np.random.default_rng([0, window.side, row, column])
        patch = picture[:, top : top + size, left : left + size]
        return sampler.draw(patch, (row - top, column - left), 2, rng)

    ends = (window.rows[0], window.rows[-1], window.columns[0], window.columns[-1])
    slow = slow_pda(toy, image, target, window.side, ends, fillings, kind)
    assert np.abs(slow).max() > 1e-3
    np.testing.assert_allclose(result.pixels, slow, atol=1e-3 * np.abs(slow).max())


def test_windows_follow_the_box_and_stay_in_four_times_its_area():
    whole = window_of(np.array([0, 0, 300, 300], np.float32), 8, 1, (300, 300))
    assert whole.side == 50
    assert (whole.rows[0], whole.rows[-1]) == (0, 250)
    half = window_of(np.array([100, 100, 200, 250], np.float32), 8, 1, (300, 300))
    assert half.side == round(50 * np.sqrt(100 * 150 / 300**2))
    assert (half.columns[0], half.columns[-1] + half.side) == (48, 252)  # 50..250 on the lattice
    assert (half.rows[0], half.rows[-1] + half.side) == (24, 300)  # 25..325, cut by the image
    speck = window_of(np.array([299.5, 0, 300, 0.5], np.float32), 8, 1, (300, 300))
    assert speck.side == 1
    assert speck.columns[-1] == 299


def test_interpolation_is_exact_for_linear_falls():
    fine = Window(4, np.arange(0, 17), np.arange(8, 25))
    coarse = Window(4, np.arange(0, 17, 8), np.arange(8, 25, 4))
    maps = [
        spread((2.0 * w.rows[:, None] - w.columns + 3).ravel(), w, (24, 32)) for w in (fine, coarse)
    ]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
    assert not maps[0][:, :8].any()
    assert not maps[0][20:].any()


def test_windows_are_shared_and_their_draws_are_their_own():
    toy, image = ConvToy(2), textured_image(2)
    segments = superpixels.grid(SIZE, 12)
    targets = [ScoreTarget(0, 1), ScoreTarget(1, 2), ScoreTarget(0, 2)]
    explainer = Pda(stride_px=2, num_draws=3, num_patches=300)
    toy.forward_rows = 0
    together = explainer.explain(toy, image, targets, segments)
    shared_rows, rows = toy.forward_rows, []
    for target, shared in zip(targets, together, strict=True):
        toy.forward_rows = 0
        (alone,) = explainer.explain(toy, image, [target], segments)
        rows.append(toy.forward_rows)
        np.testing.assert_allclose(shared.pixels, alone.pixels, rtol=1e-4, atol=1e-6)
    assert max(rows) < shared_rows < sum(rows) - rows[2]  # the third costs nothing, two overlap
    (other,) = Pda(stride_px=2, num_draws=3, num_patches=300, seed=1).explain(
        toy, image, targets[:1], segments
    )
    assert not np.allclose(other.pixels, together[0].pixels, rtol=1e-3)


def test_patches_of_other_images_are_part_of_the_parameters_and_fitted_once():
    toy, image = ConvToy(2), textured_image(2)
    segments = superpixels.grid(SIZE, 12)
    source = PatchSource([textured_image(7), textured_image(8)], num_patches=300)
    explainer = Pda(num_draws=2, patches=source)
    (result,) = explainer.explain(toy, image, TARGETS[:1], segments)
    (own,) = Pda(num_draws=2, num_patches=300).explain(toy, image, TARGETS[:1], segments)
    assert result.notes == ()
    assert "explained image" in own.notes[0]
    assert result.parameters != own.parameters
    assert json.loads(json.dumps(dict(result.parameters))) == result.parameters
    assert source.sampler(toy, 3, 1) is source.sampler(toy, 3, 1)
    assert source.key != PatchSource([textured_image(7)], num_patches=300).key


@pytest.mark.parametrize("bad", [{"stride_px": 0}, {"mode": "joint"}, {"batch_size": 0}])
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Pda(**bad)
