"""Grad-CAM, guided backpropagation and ODAM on a tiny SSD, against their formulas."""

import numpy as np
import pytest
import torch
from torch import nn

from curation import explain, superpixels
from curation.explain.methods.grad_cam import GradCam
from curation.explain.methods.guided_backprop import GuidedBackprop, make_guidable
from curation.explain.methods.odam import Odam
from curation.explain.methods.target_score import TargetScore, score_of_logits
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.oracles.odam import bilinear
from tests.oracles.odam import odam as slow_odam
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

IMAGE = textured_image(3, 160, 120)
LOG_ODDS = ScoreKind.LOG_ODDS


@pytest.fixture(scope="module")
def detector():
    return tiny_ssd()


def _segments(detector):
    return superpixels.grid(detector.input_size_hw, 16)


def _target(detector, level, label=1):
    """A default box in the middle of a level."""
    before = sum(
        height * width * shapes for height, width, shapes in detector.network().cells[:level]
    )
    height, width, shapes = detector.network().cells[level]
    return ScoreTarget(before + (height // 2 * width + width // 2) * shapes, label)


def _parts(detector, target):
    """Feature maps of the image and the place of the target, in float64."""
    network = detector.network().copy()
    for part in (network.backbone, network.class_heads, network.box_heads):
        part.double()
    with torch.no_grad():
        maps = network.maps(detector.preprocess([IMAGE]).double())
    return network, maps, network.place(target.default_box)


@pytest.mark.parametrize("kind", list(ScoreKind))
def test_scores_from_the_layers_are_the_detectors_own(detector, kind):
    targets = [_target(detector, level, 1 + level % 2) for level in range(4)]
    inputs = detector.preprocess([IMAGE])
    with torch.no_grad():
        own = detector.scores(inputs, targets, kind)[0]
        ours = [TargetScore(detector.network(), target, kind)(inputs)[0] for target in targets]
    torch.testing.assert_close(torch.stack(ours), own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("level", [0, 2])
def test_grad_cam_weighs_channels_by_their_mean_gradient(detector, level):
    target = _target(detector, level)
    (result,) = GradCam().explain(detector, IMAGE, [target], _segments(detector))
    network, maps, place = _parts(detector, target)
    maps[level] = maps[level].requires_grad_(True)
    score = score_of_logits(network.class_logits(maps, place), target.label, LOG_ODDS)
    (slope,) = torch.autograd.grad(score.sum(), maps[level])
    weight = slope[0].mean(dim=(1, 2)).numpy()  # [C]
    heat = np.einsum("c,chw->hw", weight, maps[level][0].detach().numpy())
    expected = bilinear(heat, detector.input_size_hw)
    np.testing.assert_allclose(result.pixels, expected, atol=1e-4 * np.abs(expected).max())
    assert (result.pixels < 0).any()
    (cut,) = GradCam(positive=True).explain(detector, IMAGE, [target], _segments(detector))
    assert (cut.pixels >= 0).all()
    assert f"feature map {level}" in result.notes[0]


@pytest.mark.parametrize("output", ["class", "w"])
def test_odam_agrees_with_the_slow_twin(detector, output):
    target = _target(detector, 3)
    (result,) = Odam(output=output).explain(detector, IMAGE, [target], _segments(detector))
    network, maps, place = _parts(detector, target)
    rest = list(maps)

    def score(features):
        rest[place.level] = torch.from_numpy(features)
        with torch.no_grad():
            if output == "w":
                return network.box_offsets(rest, place)[:, 2].numpy()
            return score_of_logits(network.class_logits(rest, place), 1, LOG_ODDS).numpy()

    features = maps[place.level][0].numpy()
    cells = list(np.ndindex(features.shape[1:]))
    expected = slow_odam(score, features, cells, detector.input_size_hw)
    assert expected.max() == 1
    np.testing.assert_allclose(result.pixels, expected, atol=1e-3)
    if output == "w":
        assert result.score == pytest.approx(score(features[None])[0], rel=1e-3)


def test_odam_stays_within_the_heads_view_and_combines_its_outputs(detector):
    target = _target(detector, 0)
    found = {
        output: Odam(output=output).explain(detector, IMAGE, [target], _segments(detector))[0]
        for output in ("class", "cx", "cy", "w", "h", "combined")
    }
    height, width, _ = detector.network().cells[0]
    place = detector.network().place(target.default_box)
    y, x = (np.indices(detector.input_size_hw) + 0.5) / 8
    far = (np.abs(y - place.row - 0.5) > 2.5) | (np.abs(x - place.column - 0.5) > 2.5)
    assert (height, width) == (12, 12)
    for result in found.values():
        assert not result.pixels[far].any()
        assert 0 <= result.pixels.min() < result.pixels.max() <= 1
    single = [found[output].pixels for output in ("class", "cx", "cy", "w", "h")]
    np.testing.assert_array_equal(found["combined"].pixels, np.max(single, axis=0))
    assert found["combined"].score == found["class"].score
    assert found["cx"].score != found["cy"].score


def test_odam_of_a_single_cell_is_all_or_nothing(detector):
    level = len(detector.network().cells) - 1
    assert detector.network().cells[level][:2] == (1, 1)
    last = detector.num_default_boxes - 1
    targets = [ScoreTarget(last - shape, label) for shape in range(6) for label in (1, 2)]
    supported = []
    for output in ("class", "w"):
        results = Odam(output=output).explain(detector, IMAGE, targets, _segments(detector))
        for target, result in zip(targets, results, strict=True):
            network, maps, place = _parts(detector, target)
            maps[level] = maps[level].requires_grad_(True)
            number = network.box_offsets(maps, place)[:, 2]
            if output == "class":
                logits = network.class_logits(maps, place)
                number = score_of_logits(logits, target.label, LOG_ODDS)
            (slope,) = torch.autograd.grad(number.sum(), maps[level])
            supported.append(float((slope * maps[level].detach()).sum()) > 0)
            assert set(np.unique(result.pixels)) == {float(supported[-1])}
            assert ("nothing supports it" in result.notes) != supported[-1]
    assert {True, False} == set(supported)


class _Guided(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs):
        context.save_for_backward(inputs)
        return inputs.clamp(0, 6)

    @staticmethod
    def backward(context, gradient):
        (inputs,) = context.saved_tensors
        return gradient.clamp(min=0) * ((inputs > 0) & (inputs < 6))


class _GuidedModule(nn.Module):
    def forward(self, inputs):
        return _Guided.apply(inputs)


def _replace(module):
    for name, child in list(module.named_children()):
        if isinstance(child, nn.ReLU6):
            setattr(module, name, _GuidedModule())
        _replace(child)


def test_guided_backprop_cuts_the_gradient_at_every_relu6(detector):
    target = _target(detector, 2)
    (result,) = GuidedBackprop().explain(detector, IMAGE, [target], _segments(detector))
    network = detector.network().copy()
    _replace(network.backbone)
    _replace(network.class_heads)
    inputs = detector.preprocess([IMAGE]).requires_grad_(True)
    score = TargetScore(network, target, LOG_ODDS)(inputs)
    (slope,) = torch.autograd.grad(score.sum(), inputs)
    expected = slope[0].sum(dim=0).numpy()
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(result.pixels, expected, atol=1e-4 * np.abs(expected).max())
    assert result.notes == ()


def test_guidable_layers_give_the_same_values_and_gates_are_named():
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU6(inplace=True)), nn.ReLU(inplace=True)
    )
    inputs = torch.linspace(-20, 20, 48).reshape(1, 3, 4, 4)
    before = layers(inputs)
    make_guidable(layers)
    torch.testing.assert_close(layers(inputs), before)
    assert not any(getattr(module, "inplace", False) for module in layers.modules())
    mobile = tiny_ssd("ssdlite320_mobilenet_v3_large")
    (result,) = GuidedBackprop().explain(mobile, IMAGE, [ScoreTarget(3, 1)], _segments(mobile))
    assert "Hardswish" in result.notes[0]


@pytest.mark.parametrize("name", ["grad_cam", "guided_backprop", "odam"])
def test_nothing_stays_behind_and_targets_do_not_influence_each_other(detector, name):
    targets = [_target(detector, 1), _target(detector, 2, 2), _target(detector, 1, 2)]
    modules = [module for module in detector.model.modules() if not list(module.children())]
    state = [(type(module), getattr(module, "inplace", None)) for module in modules]
    with pytest.raises(IndexError):  # inside of captum's own hooks
        explain.get(name).explain(detector, IMAGE, [ScoreTarget(0, 99)], _segments(detector))
    together = explain.get(name).explain(detector, IMAGE, targets, _segments(detector))
    for target, shared in zip(targets, together, strict=True):
        (alone,) = explain.get(name).explain(detector, IMAGE, [target], _segments(detector))
        np.testing.assert_array_equal(shared.pixels, alone.pixels)
    for module in detector.model.modules():
        assert not {**module._forward_hooks, **module._forward_pre_hooks}
        assert not {**module._backward_hooks, **module._backward_pre_hooks}
    assert all(p.grad is None and not p.requires_grad for p in detector.model.parameters())
    assert state == [(type(module), getattr(module, "inplace", None)) for module in modules]


def test_an_unknown_output_is_refused():
    with pytest.raises(ValueError, match="output"):
        Odam(output="depth")
