"""E2X on a real SSD: a tiny one, warmed, because a fresh one answers with constants."""

import numpy as np
import pytest
import torch

from curation import superpixels
from curation.explain.e2x import E2X
from curation.failures import FailureRules, find_failures
from curation.kernel.detector import ScoreKind
from curation.kernel.types import FailureKind, ScoreTarget, Truth
from curation.regions import RegionRules, harmful_regions
from retrain.detector import SsdDetector
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

IMAGE = textured_image(3, 160, 120)


@pytest.fixture(scope="module")
def detector() -> SsdDetector:
    return tiny_ssd()


def _targets(detector: SsdDetector) -> list[ScoreTarget]:
    last = detector.num_default_boxes - 1
    return [ScoreTarget(40, 1), ScoreTarget(40, 2), ScoreTarget(last // 2, 1), ScoreTarget(last, 2)]


def test_the_fixture_answers_differently_to_different_inputs(detector):
    inputs = detector.preprocess([IMAGE])
    both = torch.cat([inputs, torch.zeros_like(inputs)])
    image, grey = detector.scores(both, _targets(detector), ScoreKind.LOG_ODDS).detach()
    assert (image - grey).abs().max() > 0.1


@pytest.mark.parametrize("kind", list(ScoreKind))
def test_targets_of_an_image_share_passes_and_agree_with_single_ones(detector, kind):
    segments = superpixels.slic(IMAGE, detector.input_size_hw, 40)
    targets = _targets(detector)
    together = E2X(num_samples=8, kind=kind).explain(detector, IMAGE, targets, segments)
    for target, shared in zip(targets, together, strict=True):
        explainer = E2X(num_samples=8, kind=kind, batch_size=3)
        (alone,) = explainer.explain(detector, IMAGE, [target], segments)
        scale = np.abs(alone.values).max()
        assert scale > 1e-4
        np.testing.assert_allclose(shared.values, alone.values, atol=1e-3 * scale)


def test_limit_is_the_difference_with_the_others_dimmed_at_random(detector):
    segments = superpixels.grid(detector.input_size_hw, 16)
    target = _targets(detector)[2]
    (result,) = E2X(num_samples=256, levels="jittered").explain(detector, IMAGE, [target], segments)
    inputs = detector.preprocess([IMAGE])
    labels = torch.from_numpy(segments.astype(np.int64))
    rng = np.random.default_rng(2)
    for segment in np.argsort(-np.abs(result.values))[:2]:
        levels = torch.from_numpy(rng.random((128, 16), np.float32))
        ends = []
        for value in (1.0, 0.0):
            levels[:, segment] = value
            with torch.no_grad():
                dimmed = inputs * levels[:, labels][:, None]
                ends.append(detector.scores(dimmed, [target], ScoreKind.LOG_ODDS)[:, 0].numpy())
        difference = ends[0] - ends[1]
        error = np.hypot(difference.std() / 128**0.5, result.standard_errors[segment])
        assert abs(difference.mean() - result.values[segment]) < 3.5 * error


def test_no_parameter_gets_a_gradient_and_no_hook_stays(detector):
    segments = superpixels.grid(detector.input_size_hw, 16)
    E2X(num_samples=2).explain(detector, IMAGE, _targets(detector), segments)
    assert all(parameter.grad is None for parameter in detector.model.parameters())
    assert not any(module._forward_hooks for module in detector.model.modules())
    assert not any(module._backward_hooks for module in detector.model.modules())


def test_a_missed_object_goes_from_failure_to_regions(detector):
    (shown,) = detector.predict([IMAGE], 0.01)
    (proposals,) = detector.propose([IMAGE])
    objects = Truth(np.array([[40, 30, 90, 80]], np.float32), np.array([1]), np.zeros(1, np.bool_))
    failures = find_failures(shown, proposals, objects, FailureRules(score_threshold=1.0))
    missed = failures[0]
    assert missed.kind is FailureKind.FALSE_NEGATIVE
    assert 0.5 <= missed.iou <= 1
    segments = superpixels.slic(IMAGE, detector.input_size_hw, 40)
    (result,) = E2X(num_samples=8, kind=ScoreKind.PROBABILITY).explain(
        detector, IMAGE, [missed.target], segments
    )
    assert result.score == pytest.approx(missed.score, abs=1e-4)
    regions = harmful_regions(
        result, missed.hurts_positive, (160, 120), RegionRules(), missed.box_xyxy
    )
    assert regions
    assert all(region.value < 0 for region in regions)
