"""PDA: the patch sampler against the precision matrix, the map against plain loops."""

import gc
import json

import numpy as np
import pytest

from curation import superpixels
from curation.explain.methods.patches import PatchSampler, PatchSource
from curation.explain.methods.pda import Pda, Window, spread, window_of
from curation.kernel.detector import ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget
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


def _two_tones(size):
    image = np.full((1, 3, size, size), 0.3, np.float32)
    image[:, :, size // 2 :] = -0.4
    return image


def _ramp(size):
    line = np.arange(size, dtype=np.float32)[:, None] / 255 - 0.5
    return np.broadcast_to(line, (1, 3, size, size)).copy()


@pytest.mark.parametrize("num_patches", [1, 20, 500])
@pytest.mark.parametrize("picture", [_two_tones, _ramp])
def test_pictures_with_hardly_any_variety_are_filled_too(picture, num_patches):
    inputs = picture(64)
    sampler = PatchSampler.fit(inputs, side=10, num_patches=num_patches)
    for hole in ((1, 1), (0, 2)):
        drawn = sampler.draw(inputs[0, :, 20:32, 20:32], hole, 3, np.random.default_rng(1))
        assert np.isfinite(drawn).all()


def test_a_covariance_that_is_none_fails_as_an_explanation():
    sampler = PatchSampler.fit(_inputs(), side=3, num_patches=100)
    sampler.covariance[:] = -np.eye(25)
    with pytest.raises(ExplanationFailed, match="patches"):
        sampler.draw(_inputs()[0][:, :5, :5], (1, 1), 1, np.random.default_rng(0))


def test_single_precision_of_a_large_patch_is_enough():
    inputs = np.stack([_noise(seed) for seed in range(3)])
    sampler = PatchSampler.fit(inputs, side=20, num_patches=2000)
    patch = inputs[1][:, 10:32, 12:34]
    drawn = sampler.draw(patch, (1, 1), 2, np.random.default_rng(7))[:, 0].reshape(2, -1)
    inside = np.zeros((22, 22), np.bool_)
    inside[1:21, 1:21] = True
    inside = inside.ravel()
    mean, left = conditional(
        sampler.mean[0], sampler.covariance[0], inside, patch[0].ravel()[~inside]
    )
    value = mean + np.random.default_rng(7).standard_normal((2, 400)) @ np.linalg.cholesky(left).T
    value = np.clip(value, sampler.lowest[0][inside], sampler.highest[0][inside])
    np.testing.assert_allclose(drawn, value, atol=1e-3)  # an eighth of a grey level is 5e-4


def _noise(seed):
    return textured_image(seed, 64, 64).transpose(2, 0, 1).astype(np.float32) / 255 - 0.5


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


def test_windows_follow_the_box_and_reach_at_most_a_stride_over_four_times_its_area():
    whole = window_of(np.array([0, 0, 300, 300], np.float32), 8, 1, (300, 300))
    assert whole.side == 50
    assert (whole.rows[0], whole.rows[-1]) == (0, 250)
    half = window_of(np.array([100, 100, 200, 250], np.float32), 8, 1, (300, 300))
    assert half.side == round(50 * np.sqrt(100 * 150 / 300**2))
    assert (half.columns[0], half.columns[-1] + half.side) == (48, 252)  # 50..250 on the lattice
    assert (half.rows[0], half.rows[-1] + half.side) == (24, 300)  # 25..325, cut by the image
    tight = window_of(np.array([145, 145, 155, 155], np.float32), 8, 1, (300, 300))
    # 140..160 on the lattice, one step beyond at most
    assert (tight.rows[0], tight.rows[-1] + tight.side) == (136, 162)
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


class _ManySizes(ConvToy):
    def boxes_of(self, image):
        height, width = image.shape[:2]
        ends = [(width * share, height * share) for share in (0.1, 0.3, 0.5, 0.7, 0.9, 1)]
        return np.array([(0, 0, *end) for end in ends], np.float32)


def _alive():
    gc.collect()
    return sum(type(held) is PatchSampler for held in gc.get_objects())


@pytest.mark.parametrize("own", [True, False])
def test_samplers_of_many_box_sizes_do_not_pile_up(own, monkeypatch):
    toy, image = _ManySizes(2), textured_image(2)
    targets, alive = [ScoreTarget(box, 1) for box in range(6)], []
    plain, before = Pda._scores, _alive()

    def counting(*args):
        alive.append(_alive() - before)
        return plain(*args)

    monkeypatch.setattr(Pda, "_scores", counting)
    source = None if own else PatchSource([textured_image(7)], num_patches=50)
    explainer = Pda(num_draws=1, num_patches=50, patches=source)
    explainer.explain(toy, image, targets, superpixels.grid(SIZE, 12))
    assert len(alive) >= 4
    assert max(alive) == (1 if own else 2)
    assert _alive() - before == (0 if own else 2)


def test_the_samplers_last_asked_for_are_kept():
    toy, source = ConvToy(2), PatchSource([textured_image(7)], num_patches=50)
    first, second = source.sampler(toy, 2, 1), source.sampler(toy, 3, 1)
    assert source.sampler(toy, 2, 1) is first
    source.sampler(toy, 4, 1)
    assert source.sampler(toy, 2, 1) is first
    assert source.sampler(toy, 3, 1) is not second


@pytest.mark.parametrize("bad", [{"stride_px": 0}, {"mode": "joint"}, {"batch_size": 0}])
def test_impossible_parameters_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Pda(**bad)
