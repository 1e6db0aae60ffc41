"""LRP: against slow twins of every rule, against zennit, and what it must conserve."""

import numpy as np
import pytest
import torch
from torch import nn
from zennit.composites import NameMapComposite
from zennit.rules import AlphaBeta, Epsilon, Pass, ZBox, ZPlus

from curation import superpixels
from curation.explain.methods import relevance
from curation.explain.methods.lrp import Lrp
from curation.explain.methods.relevance import prepare
from curation.explain.methods.rules import AlphaBeta as OurAlphaBeta
from curation.explain.methods.sweep import layer_statistics
from curation.kernel.detector import ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget
from tests.oracles import lrp as oracle
from tests.small_ssd import HIGH, LOW, SmallSsd
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

FINE, COARSE = ScoreTarget(13, 2), ScoreTarget(32 + 3, 1)
SMALL_IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
VGG = ("ssd300_vgg16", (64, 64))


def explain(method, detector, image, targets):
    segments = superpixels.grid(detector.input_size_hw, 6)
    return method.explain(detector, image, targets, segments)


def down_oracle(detector, image, target, rule, first, start):
    """[h, w] by the slow twin; ``rule(x, matrix, bias, relevance, side)``."""
    network, by_own_sign = detector.network(), "alpha" in rule.__name__
    net, place = network.backbone, network.place(target.default_box)
    x = detector.preprocess([image])[0].double().numpy()

    def layer(conv, value, shape):
        weight = conv.weight.double().numpy()
        matrix, shape = oracle.dense(weight, shape, conv.stride[0], conv.padding[0], conv.groups)
        area = shape[1] * shape[2]
        bias = np.repeat(conv.bias.double().numpy(), area)
        return matrix, bias, matrix @ value + bias, shape

    pixels = x.ravel()
    stem = layer(net.stem, pixels, x.shape)
    cut = np.clip(stem[2], 0, 6)
    assert (cut == 6).any()  # the saturated branch is taken
    pooled = nn.functional.max_pool2d(torch.from_numpy(cut.reshape(stem[3])), 2).numpy().ravel()
    depthwise = layer(net.depthwise, pooled, (4, 4, 4))
    hidden = np.maximum(depthwise[2], 0)
    project = layer(net.project, hidden, (4, 4, 4))
    block = pooled + project[2]
    assert (block < 0).any()
    down = layer(net.down, block, (4, 4, 4))
    value, shape = (block, (4, 4, 4)) if place.level == 0 else (np.maximum(down[2], 0), down[3])
    head = layer(network.class_heads[place.level], value, shape)
    seed = np.zeros(head[3])
    channel = place.shape * network.num_classes + target.label
    here = channel, place.row, place.column
    seed[here] = start or head[2].reshape(head[3])[here]

    R = rule(value, *head[:2], seed.ravel(), 1)
    if place.level == 1:
        R = rule(block, *down[:2], R, None)
    of_skip, of_block = oracle.addition(pooled, project[2], R, by_own_sign)
    R = rule(pooled, *depthwise[:2], rule(hidden, *project[:2], of_block, None), None) + of_skip
    R = oracle.max_pool(cut, R, stem[3])
    if first == "z_box":
        R = oracle.z_box(pixels, stem[0], LOW, HIGH, R)
    elif first == "flat":
        R = oracle.flat(stem[0], R)
    else:
        R = rule(pixels, *stem[:2], R, None)
    return R.reshape(x.shape).sum(axis=0)


def simple(x, matrix, bias, R, side):
    return oracle.epsilon(x, matrix, bias, R, 0.0)


def epsilon(x, matrix, bias, R, side):
    return oracle.epsilon(x, matrix, bias, R, 0.25)


def alpha_w_plus(x, matrix, bias, R, side):
    return oracle.alpha_beta(x, matrix, bias, R, 1.0, 0.0, side)


def alpha_beta(x, matrix, bias, R, side):
    return oracle.alpha_beta(x, matrix, bias, R, 2.0, -1.0, side)


@pytest.mark.parametrize("target", [FINE, COARSE])
@pytest.mark.parametrize(
    ("method", "rule", "start"),
    [
        (Lrp("simple", first="same"), simple, None),
        (Lrp("epsilon", epsilon=0.25), epsilon, None),
        (Lrp("epsilon", epsilon=0.25, start="one", first="flat"), epsilon, 1.0),
        (Lrp("alpha_beta"), alpha_w_plus, 1.0),
        (Lrp("alpha_beta", alpha=2.0, beta=-1.0, first="same"), alpha_beta, 1.0),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_rule_agrees_with_its_slow_twin(method, rule, start, target):
    detector = SmallSsd()
    (found,) = explain(method, detector, SMALL_IMAGE, [target])
    expected = down_oracle(detector, SMALL_IMAGE, target, rule, method.first, start)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.pixels, expected, atol=2e-4 * scale)


class _Class(nn.Module):
    """A detector's path from pixels to one level's class outputs, without in-place layers."""

    def __init__(self, network, level):
        super().__init__()
        copied = network.copy()
        self.backbone, self.level = copied.backbone, level
        self.head = copied.class_heads[level]
        for module in self.modules():
            if hasattr(module, "inplace"):
                module.inplace = False

    def forward(self, inputs):
        return self.head(list(self.backbone(inputs).values())[self.level])


@pytest.mark.parametrize(
    ("ours", "rule"),
    [
        (Lrp("epsilon", epsilon=1e-6, start="one"), Epsilon(epsilon=1e-6)),
        (Lrp("alpha_beta"), ZPlus(zero_params=["bias"])),
        # its beta has the other sign
        (Lrp("alpha_beta", alpha=2.0, beta=-1.0), AlphaBeta(2, 1, zero_params=["bias"])),
    ],
    ids=["epsilon", "w_plus", "alpha_beta"],
)
def test_vgg_agrees_with_zennit(ours, rule):
    detector, image = tiny_ssd(*VGG), textured_image(1)
    network = detector.network()
    target = ScoreTarget(network.cells[0][0] * network.cells[0][1] * network.cells[0][2] + 9, 2)
    place = network.place(target.default_box)
    assert place.level == 1  # the first level has an L2 norm that zennit does not know
    model = _Class(network, 1)
    low, high = network.pixel_range[:, None, :, None, None]
    rules = {nn.Conv2d: rule, nn.ReLU: Pass()}
    names = {
        name: rules[type(module)] for name, module in model.named_modules() if type(module) in rules
    }
    names["backbone.features.0"] = ZBox(low, high)
    inputs = detector.preprocess([image]).requires_grad_(True)
    with NameMapComposite([([name], hook) for name, hook in names.items()]).context(
        model
    ) as hooked:
        outputs = hooked(inputs)
        seed = torch.zeros_like(outputs)
        seed[0, place.shape * 3 + 2, place.row, place.column] = 1
        expected = torch.autograd.grad(outputs, inputs, seed)[0][0].sum(0).numpy()
    (found,) = explain(ours, detector, image, [target])
    assert np.corrcoef(found.pixels.ravel(), expected.ravel())[0, 1] > 0.9999
    np.testing.assert_allclose(found.pixels, expected, atol=2e-3 * np.abs(expected).max())
    if ours.rule == "alpha_beta":
        assert found.pixels.sum() == pytest.approx(1, abs=0.02)


def test_w_plus_hands_all_relevance_through_the_l2_norm_to_the_pixels():
    (found,) = explain(Lrp("alpha_beta"), tiny_ssd(*VGG), textured_image(1), [ScoreTarget(0, 1)])
    assert found.pixels.sum() == pytest.approx(1, abs=0.02)
    assert found.pixels.min() >= -1e-6
    assert found.notes[0].startswith("relevance: 1 at the outputs")


def test_where_units_see_only_zeros_w_plus_loses_relevance_but_adds_none():
    detector, image = tiny_ssd(), textured_image(1)
    (found,) = explain(Lrp("alpha_beta"), detector, image, [ScoreTarget(0, 1)])
    rows = layer_statistics(Lrp("alpha_beta"), detector, image, ScoreTarget(0, 1))
    assert 0.05 < found.pixels.sum() <= rows[1].total + 1e-5 <= 1 + 1e-4
    assert any("below zero" in note for note in found.notes)


def test_the_l2_norm_passes_relevance_unchanged():
    values = torch.rand(1, 4, 3, 3, requires_grad=True)
    with relevance._Functional(by_own_sign=True):
        normed = 20 * nn.functional.normalize(values, dim=1)
    torch.testing.assert_close(normed, 20 * nn.functional.normalize(values.detach(), dim=1))
    R = torch.rand(1, 4, 3, 3)
    below = torch.autograd.grad(normed, values, R / normed.detach())[0] * values
    torch.testing.assert_close(below.detach(), R)


def test_a_prepared_network_answers_as_before_and_the_detector_is_left_alone():
    for architecture in (VGG, ("ssdlite320_mobilenet_v3_large", (96, 96))):
        detector = tiny_ssd(*architecture)
        inputs = detector.preprocess([textured_image(1)])
        network = detector.network()
        expected = network.maps(inputs)
        before = [(name, type(module)) for name, module in network.backbone.named_modules()]
        ready = prepare(network, OurAlphaBeta(1, 0), "z_box")
        for ours, theirs in zip(ready.maps(inputs.requires_grad_(True)), expected, strict=True):
            torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-5)
        after = network.backbone.named_modules()
        assert [(name, type(module)) for name, module in after] == before
        assert not any(m._forward_hooks or m._backward_hooks for m in network.backbone.modules())


def test_networks_with_gates_get_epsilon_with_a_note_and_no_alpha_beta():
    detector, image = tiny_ssd("ssdlite320_mobilenet_v3_large"), textured_image(1)
    targets = [ScoreTarget(3, 1)]
    (found,) = explain(Lrp(epsilon=0.1), detector, image, targets)
    assert np.isfinite(found.pixels).all()
    assert np.abs(found.pixels).max() > 0
    assert any("Hardswish" in note for note in found.notes)
    with pytest.raises(ExplanationFailed, match="rule='epsilon'"):
        explain(Lrp("alpha_beta"), detector, image, targets)


def test_batch_of_targets_equals_alone_and_values_are_segment_sums():
    detector = SmallSsd()
    together = explain(Lrp("alpha_beta"), detector, SMALL_IMAGE, [FINE, COARSE, FINE])
    assert [len(found.notes) for found in together] == [1, 2, 1]  # only the coarse goes below zero
    for found in together:
        (alone,) = explain(Lrp("alpha_beta"), detector, SMALL_IMAGE, [found.target])
        np.testing.assert_array_equal(alone.pixels, found.pixels)
        assert alone.notes == found.notes
        np.testing.assert_allclose(
            found.values, superpixels_sums(found.pixels, found.segments), rtol=1e-5
        )


def superpixels_sums(pixels, segments):
    return [pixels[segments == s].sum() for s in range(segments.max() + 1)]


def test_scale_of_the_bias_and_the_start_are_seen_in_the_notes():
    detector = SmallSsd()
    (found,) = explain(Lrp("simple", first="same"), detector, SMALL_IMAGE, [FINE])
    score = detector.scores(detector.preprocess([SMALL_IMAGE]), [FINE], ScoreKind.LOGIT)
    assert found.score == pytest.approx(float(score), rel=1e-5)
    assert f"{found.score:.4g} at the outputs" in found.notes[0]
    assert f"{found.pixels.sum():.4g} at the pixels" in found.notes[0]


def test_statistics_follow_relevance_from_the_map_to_the_pixels():
    rows = layer_statistics(Lrp("alpha_beta"), SmallSsd(), SMALL_IMAGE, COARSE)
    assert [row.layer for row in rows] == [
        "feature map",
        *(f"backbone.{name}" for name in ("down", "project", "depthwise", "stem")),
    ]
    assert rows[0].total == pytest.approx(1)
    assert rows[1].total == pytest.approx(1, abs=1e-4)
    assert rows[-1].total == pytest.approx(1, abs=0.02)
    assert all(row.smallest >= 0 and row.largest <= 1 + 1e-5 for row in rows)
    assert rows[2].total < 1  # what took the skip does not pass the projection


@pytest.mark.parametrize(
    "wrong",
    [{"rule": "gamma"}, {"beta": 1.0}, {"epsilon": 0.0}, {"start": "half"}, {"first": "w2"}],
)
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Lrp(**wrong)
