"""G-CAME on a tiny SSD: its formula by plain loops, its masks, and objects that are told apart."""

import math

import numpy as np
import pytest
import torch

from curation import superpixels
from curation.explain.methods.g_came import GCame, gaussians
from curation.explain.methods.grad_cam import GradCam
from curation.explain.methods.target_score import score_of_logits
from curation.kernel.detector import Place, ScoreKind
from curation.kernel.types import ScoreTarget
from tests.oracles.odam import bilinear
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

IMAGE = textured_image(3, 160, 120)


@pytest.fixture(scope="module")
def detector():
    return tiny_ssd()


def _segments(detector):
    return superpixels.grid(detector.input_size_hw, 16)


def _at(detector, level, row, column, label=1):
    cells = detector.network().cells
    before = sum(height * width * shapes for height, width, shapes in cells[:level])
    return ScoreTarget(before + (row * cells[level][1] + column) * cells[level][2], label)


@pytest.mark.parametrize("level", [0, 1])
def test_agrees_with_plain_loops(detector, level):
    target = _at(detector, level, 2, 1)
    (result,) = GCame().explain(detector, IMAGE, [target], _segments(detector))
    network = detector.network().copy()
    for part in (network.backbone, network.class_heads):
        part.double()
    maps = network.maps(detector.preprocess([IMAGE]).double())
    maps = [one.detach() for one in maps]
    maps[level].requires_grad_(True)
    logits = network.class_logits(maps, network.place(target.default_box))
    score = score_of_logits(logits, 1, ScoreKind.PROBABILITY)
    (slope,) = torch.autograd.grad(score.sum(), maps[level])
    height, width = slope.shape[2:]
    input_height, input_width = detector.input_size_hw
    stride = math.sqrt(input_height * input_width / (height * width))
    reach = math.floor(math.sqrt(height * width) - 1) / 6
    heat = np.zeros((height, width))
    for channel in range(slope.shape[1]):
        weight = float(slope[0, channel].mean())
        if weight == 0:
            continue
        deviation = abs(math.log(abs(weight))) * math.log(stride) / reach
        mask = np.zeros((height, width))
        for row in range(height):
            for column in range(width):
                apart = (row - 2) ** 2 + (column - 1) ** 2
                mask[row, column] = math.exp(-apart / (2 * deviation**2))
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        heat += weight * mask * maps[level][0, channel].detach().numpy()
    expected = bilinear(heat, detector.input_size_hw)
    np.testing.assert_allclose(result.pixels, expected, atol=1e-3 * np.abs(expected).max())
    assert (result.pixels < 0).any()
    (cut,) = GCame(positive=True).explain(detector, IMAGE, [target], _segments(detector))
    assert (cut.pixels >= 0).all()
    assert cut.pixels.any()


def test_masks_are_one_at_the_cell_and_wider_for_smaller_weights():
    weights = torch.tensor([1e-2, -1e-2, 1e-4, 0.0])
    masks = gaussians(weights, Place(0, 0, 3, 5), (12, 12), 8.0)
    assert masks.shape == (4, 12, 12)
    assert torch.isfinite(masks).all()
    np.testing.assert_allclose(masks[:, 3, 5], 1, rtol=1e-6)
    np.testing.assert_allclose(masks.amin(dim=(1, 2)), 0, atol=1e-6)
    np.testing.assert_array_equal(masks[0], masks[1])  # the sign does not matter
    assert (masks[2] >= masks[0] - 1e-6).all()
    assert masks[2].sum() > masks[0].sum()
    # of a weight of e^-r / ln(stride) in cells the deviation is one, by hand
    deviation = abs(math.log(1e-2)) * math.log(8) / (11 / 6)
    lowest = math.exp(-(8**2 + 6**2) / (2 * deviation**2))
    by_hand = (math.exp(-1 / (2 * deviation**2)) - lowest) / (1 - lowest)
    assert float(masks[0, 3, 6]) == pytest.approx(by_hand, rel=1e-5)


def test_a_map_of_one_cell_is_that_of_grad_cam(detector):
    level = len(detector.network().cells) - 1
    assert detector.network().cells[level][:2] == (1, 1)
    target = _at(detector, level, 0, 0)
    given = {"kind": ScoreKind.PROBABILITY}
    (ours,) = GCame(**given).explain(detector, IMAGE, [target], _segments(detector))
    (plain,) = GradCam(**given).explain(detector, IMAGE, [target], _segments(detector))
    np.testing.assert_allclose(ours.pixels, plain.pixels, rtol=1e-4)


def test_the_map_lies_nearer_to_its_own_cell_than_that_of_grad_cam(detector):
    targets = [_at(detector, 0, 2, 2), _at(detector, 0, 9, 9)]
    near = _segments(detector)
    y, x = (np.indices(detector.input_size_hw) + 0.5) / 8

    def spread(method):
        found = method.explain(detector, IMAGE, targets, near)
        far = []
        for result, cell in zip(found, (2.5, 9.5), strict=True):
            weight = np.abs(result.pixels)
            far.append(float((weight * np.hypot(y - cell, x - cell)).sum() / weight.sum()))
        return np.mean(far)

    kind = ScoreKind.PROBABILITY
    assert spread(GCame(kind=kind)) < spread(GradCam(kind=kind))


def test_nothing_stays_behind(detector):
    GCame().explain(detector, IMAGE, [_at(detector, 0, 1, 1)], _segments(detector))
    for module in detector.model.modules():
        assert not {**module._forward_hooks, **module._backward_hooks}
    assert all(p.grad is None and not p.requires_grad for p in detector.model.parameters())
