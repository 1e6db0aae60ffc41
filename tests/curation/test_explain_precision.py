"""Half precision is used where it changes no map, and nowhere else."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from curation import explain, superpixels
from curation.explain.precision import InPrecision
from curation.kernel.detector import ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

TARGETS = [ScoreTarget(3, 1), ScoreTarget(40, 2)]


@pytest.fixture(scope="module")
def scene():
    image = textured_image(5, 96, 96)
    return tiny_ssd(), image, superpixels.slic(image, (96, 96), 20)


class OnePrecision:
    """A detector that offers no other."""

    def __init__(self, detector):
        self._detector = detector
        self.version, self.input_size_hw = detector.version, detector.input_size_hw
        self.class_names = detector.class_names

    def preprocess(self, images):
        return self._detector.preprocess(images)

    def propose(self, images):
        return self._detector.propose(images)

    def predict(self, images, score_threshold=0.01):
        return self._detector.predict(images, score_threshold)

    def scores(self, inputs, targets, kind):
        return self._detector.scores(inputs, targets, kind)


class Rounded(OnePrecision):
    """Its scores in steps; a step that is no number stands for what does not fit."""

    def __init__(self, detector, step):
        super().__init__(detector)
        self._step = step

    def scores(self, inputs, targets, kind):
        return (super().scores(inputs, targets, kind) / self._step).round() * self._step


class Coarse(OnePrecision):
    """A detector whose other precision rounds its scores."""

    def __init__(self, detector, step):
        super().__init__(detector)
        self._step, self.asked = step, 0

    def in_precision(self, precision):
        self.asked += 1
        return Rounded(self._detector, self._step)


class Constant:
    """A method that finds nothing anywhere."""

    name, parameters = "constant", {}

    def explain(self, detector, image, targets, segments):
        found = method().explain(detector, image, targets, segments)
        return [replace(one, values=np.zeros_like(one.values), parameters={}) for one in found]


def method(**parameters):
    return explain.get("gp_shap", num_samples=40, kind=ScoreKind.LOG_ODDS, **parameters)


def values(attributions):
    return np.stack([one.values for one in attributions])


def test_after_a_trial_that_agrees_maps_come_from_half_precision(scene):
    detector, image, segments = scene
    plain = method().explain(detector, image, TARGETS, segments)
    halved = method().explain(detector.in_precision("bf16"), image, TARGETS, segments)
    own = InPrecision(method(), "bf16", trial=3)
    first = own.explain(detector, image, TARGETS, segments)  # two targets seen
    second = own.explain(detector, image, TARGETS, segments)  # four
    third = own.explain(detector, image, TARGETS, segments)
    np.testing.assert_array_equal(values(first), values(plain))
    np.testing.assert_array_equal(values(second), values(plain))
    np.testing.assert_array_equal(values(third), values(halved))
    assert not np.array_equal(values(plain), values(halved))
    assert "precision" not in first[0].parameters
    assert third[0].parameters["precision"] == own.parameters["precision"] == "bf16"
    assert own.name == "gp_shap"


def test_a_map_that_differs_keeps_the_detector_in_float32(scene, caplog):
    detector, image, segments = scene
    coarse = Coarse(detector, step=2.0)
    own = InPrecision(method(), "fp16", trial=2)
    with caplog.at_level(logging.WARNING):
        found = [own.explain(coarse, image, TARGETS, segments) for _ in range(3)]
    plain = method().explain(detector, image, TARGETS, segments)
    for one in found:
        np.testing.assert_array_equal(values(one), values(plain))
    assert coarse.asked == 1
    assert len(caplog.records) == 1
    assert "stays in float32, fp16 will not do" in caplog.text


def test_scores_beyond_half_precision_are_explained_in_float32(scene, caplog):
    detector, image, segments = scene
    plain = method().explain(detector, image, TARGETS, segments)
    within, beyond = Coarse(detector, step=1e-4), Coarse(detector, step=float("nan"))
    own = InPrecision(method(), "fp16", trial=2)
    own.explain(within, image, TARGETS, segments)
    with caplog.at_level(logging.WARNING):  # the same version, which has had its trial
        later = own.explain(beyond, image, TARGETS, segments)
    np.testing.assert_array_equal(values(later), values(plain))
    assert "precision" not in later[0].parameters
    assert "explained in float32 instead of fp16" in caplog.text
    fresh = InPrecision(method(), "fp16", trial=2)
    for _ in range(2):
        np.testing.assert_array_equal(
            values(fresh.explain(beyond, image, TARGETS, segments)), values(plain)
        )
    assert beyond.asked == 2  # once by each: a refused detector is not asked again


def test_a_fault_of_the_method_itself_is_told(scene):
    detector, image, segments = scene
    with pytest.raises(ExplanationFailed, match="expected"):
        InPrecision(method(), "bf16").explain(detector, image, TARGETS, segments[:-1])


def test_a_detector_of_one_precision_is_explained_in_it(scene):
    detector, image, segments = scene
    own = InPrecision(method(), "bf16", trial=0)
    found = own.explain(OnePrecision(detector), image, TARGETS, segments)
    plain = method().explain(detector, image, TARGETS, segments)
    np.testing.assert_array_equal(values(found), values(plain))
    assert "precision" not in found[0].parameters


def test_maps_that_are_constant_in_both_agree(scene):
    detector, image, segments = scene
    nowhere = [ScoreTarget(3, 1)]
    own = InPrecision(Constant(), "bf16", trial=1)
    assert "precision" not in own.explain(detector, image, nowhere, segments)[0].parameters
    assert own.explain(detector, image, nowhere, segments)[0].parameters["precision"] == "bf16"


def test_layers_that_half_precision_lacks_are_no_fault_of_the_image(scene, caplog):
    detector, image, segments = scene

    class Lacking(Coarse):
        def in_precision(self, precision):
            return NoHalf(self._detector)

    class NoHalf(OnePrecision):
        def scores(self, inputs, targets, kind):
            raise RuntimeError("not implemented for 'Half'")

    own = InPrecision(method(), "fp16", trial=1)
    found = own.explain(Lacking(detector, 1), image, TARGETS, segments)
    plain = method().explain(detector, image, TARGETS, segments)
    np.testing.assert_array_equal(values(found), values(plain))
    assert "not implemented for 'Half'" in caplog.text


def test_precision_is_tried_on_the_same_masked_images_where_a_method_chooses_them(scene):
    ssd, image, segments = scene
    method = explain.get("gp_shap", num_samples=64, first_samples=16)
    exact = method.explain(ssd, image, TARGETS, segments)
    again = method.repeat(ssd, image, exact, segments)
    rounded = method.repeat(Rounded(ssd, 0.001), image, exact, segments)
    for one, same, near in zip(exact, again, rounded, strict=True):
        np.testing.assert_allclose(same.values, one.values, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(near.belief.masks, one.belief.masks)
        assert np.corrcoef(near.values, one.values)[0, 1] > 0.9
    assert method.repeat(ssd, image, [], segments) == []
