"""The registry and what holds for every method in it."""

import json

import numpy as np
import pytest

from curation import explain, superpixels
from curation.kernel.detector import ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget
from tests.tiny_ssd import tiny_ssd
from tests.toy import ConvToy, textured_image


def detector_for(name):
    """A toy for methods that ask for scores, a tiny SSD for those that look inside."""
    return tiny_ssd() if explain.needs_layers(name) else ConvToy(1)


TARGETS = [ScoreTarget(0, 1), ScoreTarget(4, 2)]


@pytest.mark.parametrize("name", explain.names())
def test_every_method_keeps_the_protocol(name):
    toy, image = detector_for(name), textured_image(1)
    segments = superpixels.slic(image, toy.input_size_hw, 20)
    explainer = explain.get(name, kind="probability")
    first, second = explainer.explain(toy, image, TARGETS, segments)
    assert explainer.name == first.method == name
    assert [first.target, second.target] == TARGETS
    assert first.values.shape == (superpixels.count(segments),)
    assert first.values.dtype == first.standard_errors.dtype == np.float32
    assert np.isfinite(first.values).all()
    assert not np.array_equal(first.values, second.values)
    assert first.segments is segments
    expected = toy.scores(toy.preprocess([image]), TARGETS, ScoreKind.PROBABILITY)[0]
    np.testing.assert_allclose([first.score, second.score], expected.detach(), rtol=1e-5)
    assert json.loads(json.dumps(dict(first.parameters))) == dict(explainer.parameters)
    again = explainer.explain(toy, image, TARGETS[::-1], segments)
    np.testing.assert_allclose(again[1].values, first.values, rtol=1e-5, atol=1e-7)
    assert explainer.explain(toy, image, [], segments) == []


@pytest.mark.parametrize("name", explain.names())
def test_every_method_refuses_segments_that_do_not_fit(name):
    toy, image = detector_for(name), textured_image(1)
    with pytest.raises(ExplanationFailed, match="shape"):
        explain.get(name).explain(toy, image, TARGETS, superpixels.grid((8, 8), 4))
    gaps = superpixels.grid(toy.input_size_hw, 6) * 2
    with pytest.raises(ExplanationFailed, match="gaps"):
        explain.get(name).explain(toy, image, TARGETS, gaps)


@pytest.mark.parametrize("name", list(filter(explain.needs_layers, explain.names())))
def test_methods_that_look_inside_say_so_when_they_cannot(name):
    image = textured_image(1)
    segments = superpixels.grid((24, 32), 6)
    with pytest.raises(ExplanationFailed, match="layers"):
        explain.get(name).explain(ConvToy(1), image, TARGETS, segments)


def test_unknown_names_and_parameters_are_refused():
    with pytest.raises(ValueError, match=r"there are .*e2x"):
        explain.get("tea_leaves")
    with pytest.raises(TypeError, match="num_leaves"):
        explain.get("e2x", num_leaves=3)
    with pytest.raises(ValueError, match="odds"):
        explain.get("e2x", kind="odds")
    with pytest.raises(ValueError, match="num_samples"):
        explain.get("integrated_gradients", num_samples=0)


def test_accepted_keeps_the_parameters_that_a_method_takes():
    offered = {"num_samples": 16, "levels": "iid", "seed": 3}
    assert explain.accepted("e2x", offered) == offered
    assert explain.accepted("integrated_gradients", offered) == {"num_samples": 16}
    assert explain.accepted("random", offered) == {"seed": 3}
    with pytest.raises(ValueError, match=r"there are .*e2x"):
        explain.accepted("tea_leaves", offered)
