"""LIME against the lime package on the same samples, a slow twin and closed forms."""

import numpy as np
import pytest
import torch
from lime.lime_base import LimeBase
from sklearn.metrics import pairwise_distances

from curation import superpixels
from curation.explain.base import masked_scores
from curation.explain.methods.lime import Lime, ridge_fit
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.oracles.lime import lime as slow_lime
from tests.tiny_ssd import tiny_ssd
from tests.toy import ConvToy, PolynomialToy, textured_image

TARGETS = [ScoreTarget(0, 1), ScoreTarget(4, 2)]


def _scene(seed, num_segments=20):
    toy = ConvToy(seed)
    return toy, textured_image(seed), superpixels.grid(toy.input_size_hw, num_segments)


def _scores_of(explainer, toy, image, segments):
    masks = explainer.masks(superpixels.count(segments))
    inputs = toy.preprocess([image])
    return masks, masked_scores(toy, inputs, segments, masks, TARGETS, explainer.kind)


def test_agrees_with_the_lime_package_on_the_same_samples():
    toy, image, segments = _scene(1)
    explainer = Lime(num_samples=200, kind=ScoreKind.PROBABILITY)
    masks, scores = _scores_of(explainer, toy, image, segments)
    distances = pairwise_distances(masks, masks[:1], metric="cosine").ravel()
    base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)), random_state=0)
    for column, result in enumerate(explainer.explain(toy, image, TARGETS, segments)):
        _, pairs, _, _ = base.explain_instance_with_data(
            masks.astype(np.float64), scores.astype(np.float64), distances, column, 100_000
        )
        expected = np.zeros(len(result.values))
        for segment, value in pairs:
            expected[segment] = value
        np.testing.assert_allclose(result.values, expected, atol=1e-6 * np.abs(expected).max())


def test_agrees_with_the_slow_twin():
    toy, image, segments = _scene(2, 12)
    explainer = Lime(num_samples=40, kernel_width=0.5, ridge=0.3)
    masks, scores = _scores_of(explainer, toy, image, segments)
    for column, result in enumerate(explainer.explain(toy, image, TARGETS, segments)):
        expected, _ = slow_lime(masks, scores[:, column], 0.5, 0.3)
        np.testing.assert_allclose(result.values, expected, rtol=1e-4, atol=1e-7)


def test_linear_scores_are_found_up_to_the_shrinkage():
    rng = np.random.default_rng(0)
    toy, image = PolynomialToy(rng.normal(size=12) * 0.01), textured_image(0)
    explainer = Lime(num_samples=200, ridge=1e-9, kind=ScoreKind.LOGIT)
    (result,) = explainer.explain(toy, image, TARGETS[:1], toy.segments)
    np.testing.assert_allclose(result.values, toy.expected_e2x(image), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.standard_errors, 0, atol=1e-5)


def test_standard_errors_cover():
    rng = np.random.default_rng(3)
    truth, ratios = rng.normal(size=15), []
    for _ in range(40):
        masks = rng.integers(0, 2, (120, 15)).astype(np.float64)
        noise = rng.normal(size=120) * (0.5 + masks[:, 0])  # not of one variance
        weights = np.exp(-rng.random(120))
        found = ridge_fit(masks, (masks @ truth + noise)[:, None], weights, 1e-6)
        ratios.append((found.values[0] - truth) / found.standard_errors[0])
    assert 0.85 < np.std(ratios) < 1.15  # 600 draws


def test_keeps_the_largest_coefficients_only():
    toy, image, segments = _scene(4)
    (every,) = Lime(num_samples=64).explain(toy, image, TARGETS[:1], segments)
    (few,) = Lime(num_samples=64, num_features=5).explain(toy, image, TARGETS[:1], segments)
    largest = np.sort(np.argsort(-np.abs(every.values))[:5])
    assert np.flatnonzero(few.values).tolist() == largest.tolist()
    np.testing.assert_array_equal(few.values[largest], every.values[largest])
    least = float(np.median(np.abs(every.values)))
    (strong,) = Lime(num_samples=64, min_value=least).explain(toy, image, TARGETS[:1], segments)
    np.testing.assert_array_equal(strong.values != 0, np.abs(every.values) >= least)


def test_noise_fill_hides_by_noise_about_the_mean_colour():
    toy, image, segments = _scene(5)
    seen = []

    def scores(inputs, targets, kind):
        seen.append(inputs.clone())
        return ConvToy.scores(toy, inputs, targets, kind)

    toy.scores = scores
    explainer = Lime(num_samples=64, fill="noise", batch_size=64)
    first = explainer.explain(toy, image, TARGETS, segments)
    rows = seen[0]  # the design; toy inputs are in units of the pixel range
    assert torch.equal(rows[0], toy.preprocess([image])[0])
    hidden = torch.from_numpy(explainer.masks(20)[:, segments] == 0)[:, None].expand_as(rows)
    assert float(rows[hidden].std()) == pytest.approx(12.8 / 255, rel=0.02)
    assert float(rows[hidden].mean()) == pytest.approx(0, abs=1e-3)
    again = Lime(num_samples=64, fill="noise", batch_size=5).explain(toy, image, TARGETS, segments)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-6)


def test_noise_is_in_the_units_of_the_detector(monkeypatch):
    detector, image, seen = tiny_ssd(), textured_image(6), []
    segments = superpixels.grid(detector.input_size_hw, 9)
    scores = detector.scores

    def spy(inputs, targets, kind):
        seen.append(inputs.clone())
        return scores(inputs, targets, kind)

    monkeypatch.setattr(detector, "scores", spy)
    explainer = Lime(num_samples=12, fill="noise", batch_size=12)
    explainer.explain(detector, image, TARGETS, segments)
    hidden = torch.from_numpy(explainer.masks(9)[:, segments] == 0)
    for channel, unit in enumerate(detector.model.transform.image_std):
        noise = seen[0][:, channel][hidden] * unit  # in pixel values of 0..1
        assert float(noise.std()) == pytest.approx(12.8 / 255, rel=0.03)


def test_targets_share_rows_and_seeds_decide():
    toy, image, segments = _scene(7)
    together = Lime(num_samples=32).explain(toy, image, TARGETS, segments)
    assert toy.forward_rows == 32 + 2
    for target, result in zip(TARGETS, together, strict=True):
        (alone,) = Lime(num_samples=32, batch_size=7).explain(toy, image, [target], segments)
        np.testing.assert_allclose(alone.values, result.values, rtol=1e-4, atol=1e-6)
    (other,) = Lime(num_samples=32, seed=1).explain(toy, image, TARGETS[:1], segments)
    assert not np.array_equal(other.values, together[0].values)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_samples": 1},
        {"kernel_width": 0},
        {"ridge": 0},
        {"fill": "grey"},
        {"num_features": 0},
        {"batch_size": 0},
    ],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Lime(**wrong)
