"""Half precision: scores and gradients stay right, detections stay the same."""

import numpy as np
import pytest
import torch

from curation.kernel.detector import ReducesPrecision, ScoreKind
from curation.kernel.types import ScoreTarget
from retrain.precision import Passes
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

TARGETS = [ScoreTarget(3, 1), ScoreTarget(40, 2), ScoreTarget(100, 1)]
HALF = ["bf16", "fp16"]


@pytest.fixture(scope="module")
def image():
    return textured_image(5, 96, 96)


def gradients(detector, image, kind=ScoreKind.LOG_ODDS):
    inputs = detector.preprocess([image, image[::-1].copy()]).requires_grad_(True)
    scores = detector.scores(inputs, TARGETS, kind)
    return scores.detach(), torch.autograd.grad(scores.sum(), inputs)[0]


@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("architecture", ["ssdlite_efficientnet_lite0", "ssd300_vgg16"])
def test_scores_and_gradients_are_nearly_those_of_float32(architecture, precision, image):
    exact = tiny_ssd(architecture)
    scores, slope = gradients(exact, image)
    found, found_slope = gradients(exact.in_precision(precision), image)
    assert found.dtype == found_slope.dtype == torch.float32
    assert not torch.equal(found, scores)  # else the passes were those of float32
    share, least_rho = {"bf16": (0.2, 0.8), "fp16": (0.025, 0.96)}[precision]
    torch.testing.assert_close(found, scores, rtol=0, atol=share * float(scores.std()))
    assert np.corrcoef(slope.ravel(), found_slope.ravel())[0, 1] > least_rho
    assert float(found_slope.norm() / slope.norm()) == pytest.approx(1, abs=0.15)


def test_small_gradients_survive_float16():
    """Two layers that scale by 1e-4 each: a gradient of 1e-8, where float16 ends at 6e-8."""
    layers = torch.nn.Sequential(*(torch.nn.Conv2d(1, 1, 1, bias=False) for _ in range(2)))
    for layer in layers:
        torch.nn.init.constant_(layer.weight, 1e-4)
    pixel = torch.ones(1, 1, 1, 1, requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        plain = layers(pixel)
    assert float(torch.autograd.grad(plain.sum(), pixel)[0]) == 0
    passes = Passes("fp16", "cpu")
    with passes.context():
        kept = layers(passes.enter(pixel))
    (gradient,) = torch.autograd.grad(passes.leave(kept).sum(), pixel)
    assert float(gradient) == pytest.approx(1e-8, rel=0.02)


@pytest.mark.parametrize("precision", HALF)
def test_what_is_detected_and_shown_stays_in_float32(precision, image):
    exact = tiny_ssd()
    reduced = exact.in_precision(precision)
    for one, other in zip(exact.propose([image]), reduced.propose([image]), strict=True):
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
    assert reduced.model is exact.model
    assert {parameter.dtype for parameter in reduced.model.parameters()} == {torch.float32}


def test_versions_tell_precisions_apart():
    exact = tiny_ssd()
    assert isinstance(exact, ReducesPrecision)
    versions = {exact.in_precision(name).version for name in ("fp32", *HALF)}
    assert len(versions) == 3
    assert exact.version in versions
    assert exact.in_precision("fp32") is exact
    assert exact.in_precision("fp16").in_precision("fp32").version == exact.version


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="no precision 'int8'; there are fp32, bf16"):
        Passes("int8", "cpu")
