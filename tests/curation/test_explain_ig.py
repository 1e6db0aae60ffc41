"""Integrated gradients against captum, a slow twin, and the sums that they promise."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients

from curation import superpixels
from curation.explain.methods.integrated_gradients import (
    IntegratedGradients,
    IntegratedGradientsSegments,
)
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.oracles.integrated_gradients import integrated_gradients as slow_integrated_gradients
from tests.tiny_ssd import tiny_ssd
from tests.toy import ConvToy, textured_image

TARGETS = [ScoreTarget(40, 1), ScoreTarget(300, 2)]


@pytest.mark.parametrize(
    ("rule", "name"), [("midpoint", "riemann_middle"), ("gauss_legendre", "gausslegendre")]
)
def test_agrees_with_captum_on_an_ssd(rule, name):
    detector, image = tiny_ssd(), textured_image(5)
    segments = superpixels.grid(detector.input_size_hw, 20)
    found = IntegratedGradients(8, ScoreKind.LOG_ODDS, rule).explain(
        detector, image, TARGETS, segments
    )
    inputs = detector.preprocess([image])
    for target, result in zip(TARGETS, found, strict=True):
        captum = CaptumIntegratedGradients(
            lambda x, target=target: detector.scores(x, [target], ScoreKind.LOG_ODDS)[:, 0]
        )
        theirs = captum.attribute(inputs, n_steps=8, method=name, internal_batch_size=4)
        theirs = theirs.sum(dim=1)[0].detach().numpy()
        scale = np.abs(theirs).max()
        assert scale > 1e-4
        np.testing.assert_allclose(result.pixels, theirs, atol=1e-4 * scale)


@pytest.mark.parametrize("kind", list(ScoreKind))
def test_agrees_with_the_slow_twin(kind):
    toy, image = ConvToy(3, (6, 8)), textured_image(3)
    target = ScoreTarget(4, 2)
    (result,) = IntegratedGradients(3, kind).explain(
        toy, image, [target], superpixels.grid((6, 8), 6)
    )
    toy.module.double()
    slow = slow_integrated_gradients(toy, image, target, 3, kind)
    np.testing.assert_allclose(result.pixels, slow, rtol=1e-3, atol=1e-4 * np.abs(slow).max())


def test_values_sum_to_the_score_difference_and_the_error_falls_with_the_steps():
    toy, image = ConvToy(1), textured_image(1)
    segments = superpixels.slic(image, toy.input_size_hw, 20)
    target = ScoreTarget(2, 1)
    errors = []
    for count in (2, 8, 64):
        (result,) = IntegratedGradients(count).explain(toy, image, [target], segments)
        errors.append(abs(result.completeness_error))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 1e-3 * abs(result.score - result.baseline_score)


def test_segments_hold_the_sums_of_the_pixels_and_show_no_pixels():
    toy, image = ConvToy(2), textured_image(2)
    segments = superpixels.slic(image, toy.input_size_hw, 20)
    target = ScoreTarget(2, 1)
    (fine,) = IntegratedGradients().explain(toy, image, [target], segments)
    (coarse,) = IntegratedGradientsSegments().explain(toy, image, [target], segments)
    assert coarse.pixels is None
    assert coarse.method == "integrated_gradients_segments"
    np.testing.assert_array_equal(coarse.values, fine.values)
    expected = [fine.pixels[segments == s].sum() for s in range(len(fine.values))]
    np.testing.assert_allclose(fine.values, expected, rtol=1e-4, atol=1e-5)


def test_targets_share_forward_passes_and_batches_change_nothing():
    toy, image = ConvToy(2), textured_image(2)
    segments = superpixels.grid(toy.input_size_hw, 12)
    targets = [ScoreTarget(0, 1), ScoreTarget(3, 2), ScoreTarget(5, 1)]
    toy.forward_rows = 0
    together = IntegratedGradients(10).explain(toy, image, targets, segments)
    assert toy.forward_rows == 10 + 2  # and the two ends
    for target, shared in zip(targets, together, strict=True):
        (alone,) = IntegratedGradients(10, batch_size=3).explain(toy, image, [target], segments)
        np.testing.assert_allclose(shared.pixels, alone.pixels, rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in toy.module.parameters())


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="rule"):
        IntegratedGradients(rule="simpson")
    assert torch.is_grad_enabled()
