"""What makes explanations fast changes no map: each short cut against the plain way."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from curation import superpixels
from curation.explain import base
from curation.explain.e2x import E2X
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from curation.superpixels import slic_grids as slic
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

TARGETS = [ScoreTarget(3, 1), ScoreTarget(40, 2), ScoreTarget(100, 1)]


def _rho(one, other):
    return np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]


@pytest.fixture(scope="module")
def scene():
    detector, image = tiny_ssd(), textured_image(5, 96, 96)
    segments = superpixels.slic(image, (96, 96), 20)
    weights = E2X(num_samples=6).weights(superpixels.count(segments))
    return detector, detector.preprocess([image]), segments, weights


def _plain(detector, x, segments, weights, target):
    """One row and one target at a time, autograd through the segments' own weights in float64."""
    labels = torch.from_numpy(segments.astype(np.int64))
    found, scores = [], []
    for row in torch.from_numpy(weights):
        leaf = row.clone().requires_grad_(True)
        score = detector.scores(x * leaf[labels], [target], ScoreKind.LOG_ODDS)[0, 0]
        found.append(torch.autograd.grad(score, leaf)[0].double().numpy())
        scores.append(float(score.detach()))
    return np.array(found), np.array(scores)


@pytest.mark.parametrize("batch_size", [None, 1, 4, 6])
def test_shared_passes_and_fast_sums_keep_every_gradient_and_score(scene, batch_size):
    detector, x, segments, weights = scene
    fast = base.segment_gradients(
        detector, x, segments, weights, TARGETS, ScoreKind.LOG_ODDS, batch_size
    )
    scores = base.masked_scores(
        detector, x, segments, weights, TARGETS, ScoreKind.LOG_ODDS, batch_size
    )
    for position, target in enumerate(TARGETS):
        gradients, plain = _plain(detector, x, segments, weights, target)
        assert _rho(fast[position], gradients) >= 0.9999
        assert _rho(fast[position].mean(0), gradients.mean(0)) >= 0.9999
        np.testing.assert_allclose(scores[:, position], plain, rtol=1e-3, atol=1e-4)
        assert np.ptp(plain) > 1e-3  # else equal to nothing is easy


def test_folded_norms_and_early_stop_keep_the_gradient(scene):
    detector, x, *_ = scene
    from retrain.ssd import build, feature_maps

    plain = build(detector.config)
    plain.load_state_dict(detector.state())
    plain.eval()
    inputs = [x.clone().requires_grad_(True) for _ in range(2)]
    logits = plain.head.classification_head(feature_maps(plain, inputs[0]))[0]  # [A, K]
    slow = [logits[target.default_box, target.label] for target in TARGETS]
    fast = detector.scores(inputs[1], TARGETS, ScoreKind.LOGIT)[0]
    for one, other in zip(slow, fast, strict=True):
        (before,) = torch.autograd.grad(one, inputs[0], retain_graph=True)
        (after,) = torch.autograd.grad(other, inputs[1], retain_graph=True)
        assert _rho(before, after) >= 0.9999


def test_half_slic_is_a_connected_partition_that_repeats(photo):
    image = superpixels.warp(photo, (97, 131))
    segments = superpixels.segment(image, (97, 131), 60, "slic_half")
    np.testing.assert_array_equal(segments, superpixels.segment(image, (97, 131), 60, "slic_half"))
    assert segments.shape == (97, 131)
    assert 0.6 * 60 <= superpixels.count(segments) <= 1.2 * 60
    for number in range(superpixels.count(segments)):
        assert ndimage.label(segments == number)[1] == 1


def test_half_slic_follows_colours_as_well_as_whole_slic(photo):
    image = superpixels.warp(photo, (120, 160))

    def spread(segments):
        cells = [image[segments == number] for number in range(superpixels.count(segments))]
        return sum(cell.var(axis=0).sum() * len(cell) for cell in cells)

    whole, half, cells = (
        spread(superpixels.segment(image, (120, 160), 60, method))
        for method in ("slic", "slic_half", "grid")
    )
    assert half < whole + 0.5 * (cells - whole)


def test_small_segments_are_found_on_the_whole_grid(photo):
    image = superpixels.warp(photo, (48, 64))
    np.testing.assert_array_equal(slic.half(image, 40), slic.whole(image, 40))


@pytest.mark.parametrize("labels", [[[5, 5], [0, 3]], [[-1, 2], [2, 9]], [[0, 10**9], [7, 7]]])
def test_relabel_counts_or_sorts_to_the_same(labels):
    given = np.array(labels, np.int64)
    expected = np.unique(given, return_inverse=True)[1].reshape(given.shape)
    np.testing.assert_array_equal(superpixels.relabel(given), expected)
