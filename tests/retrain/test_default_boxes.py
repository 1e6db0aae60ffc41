"""How default boxes fit objects, told without a network, and boxes that fit better."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from curation.kernel.manifest import ManifestItem
from retrain.config import ARCHITECTURES, DetectorConfig
from retrain.default_boxes import _best, coverage, suggest
from retrain.detector import SsdDetector
from retrain.errors import ConfigInvalid, TrainingDataInvalid
from retrain.ssd import build, feature_maps, place_default_boxes

NAMES = ("background", "red")


def items(rng, sides, count=60):
    """Images of 200 x 100 px with an object of about one of these sides, in shares."""
    found = []
    for number in range(count):
        w, h = rng.choice(sides) * rng.uniform(0.8, 1.25, 2) * (200, 100)
        x, y = rng.uniform(0, 200 - w), rng.uniform(0, 100 - h)
        found.append(
            ManifestItem(
                f"{number:064x}", "any.png", 200, 100, ((x, y, x + w, y + h),), ("red",), (False,)
            )
        )
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_overlaps_are_those_with_the_placed_boxes(architecture):
    steps = (8, 16, 32, 64, 100) if architecture == "ssd300_vgg16" else ()
    config = DetectorConfig(architecture, NAMES, (160, 224), 0.1, 0.8, steps_px=steps)
    model = build(config).eval()
    with torch.no_grad():
        maps = feature_maps(model, torch.zeros(1, 3, 160, 224))
    placed = place_default_boxes(model, maps, (160, 224)).double()
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 0.8, (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.01, 0.6, (200, 2))], axis=1)
    overlaps = box_iou(torch.tensor(boxes) * torch.tensor([224, 160, 224, 160]), placed)
    expected = overlaps.max(dim=1)
    found, area = _best(config, boxes)
    np.testing.assert_allclose(found, expected.values, atol=1e-4)
    sides = (placed[:, 2:] - placed[:, :2]) / torch.tensor([224, 160])
    np.testing.assert_allclose(area, sides.prod(dim=1)[expected.indices], rtol=0.05, atol=1e-4)


def test_objects_smaller_than_all_boxes_are_told():
    rng = np.random.default_rng(1)
    config = DetectorConfig(ARCHITECTURES[0], NAMES, (160, 224), 0.3, 0.9)
    said = coverage(config, items(rng, [0.05]))
    assert (said.objects, said.unfitting, said.smaller) == (60, 60, 60)
    ignored = [replace(one, ignore=(True,)) for one in items(rng, [0.05])]
    assert coverage(config, ignored).objects == 0


@pytest.mark.parametrize("sides", [[0.09], [0.04, 0.1, 0.3], [0.7]])
def test_suggested_boxes_fit_objects_that_had_none(sides, tmp_path):
    rng = np.random.default_rng(2)
    config = DetectorConfig(ARCHITECTURES[0], NAMES, (160, 224), 0.2, 0.6)
    learnt, new = items(rng, sides, 80), items(rng, sides, 80)
    found = suggest(config, learnt)
    assert found.before == coverage(config, learnt)
    assert found.after == coverage(found.config, learnt)
    assert found.after.unfitting <= 0.5 * found.before.unfitting
    assert coverage(found.config, new).overlap > coverage(config, new).overlap
    assert found == suggest(config, learnt)


def test_a_detector_with_suggested_boxes_is_the_same_when_it_is_read_again(tmp_path):
    rng = np.random.default_rng(3)
    config = DetectorConfig(ARCHITECTURES[0], NAMES, (160, 224), 0.2, 0.6)
    wanted = suggest(config, items(rng, [0.05, 0.2])).config
    detector, record = SsdDetector.fresh(wanted, "random")
    usual, _ = SsdDetector.fresh(config, "random")
    assert detector.num_default_boxes == usual.num_default_boxes
    again = SsdDetector.load(detector.save(tmp_path, record))
    assert again.config == wanted
    assert again.version == detector.version
    assert torch.equal(again._default_boxes, detector._default_boxes)


def test_boxes_that_fit_already_are_left_as_they_are():
    rng = np.random.default_rng(4)
    config = DetectorConfig(ARCHITECTURES[0], NAMES, (160, 224), 0.2, 0.6)
    objects = items(rng, [0.05, 0.2])
    once = suggest(config, objects).config
    again = suggest(once, objects)
    assert again.after.unfitting <= again.before.unfitting
    assert again.after.overlap >= again.before.overlap


def test_too_few_objects_or_levels_are_refused():
    rng = np.random.default_rng(5)
    config = DetectorConfig(ARCHITECTURES[0], NAMES, (160, 224))
    with pytest.raises(TrainingDataInvalid, match="5 objects are too few"):
        suggest(config, items(rng, [0.1], 5))
    with pytest.raises(ConfigInvalid, match="levels"):
        coverage(replace(config, scales=(0.1, 0.2)), items(rng, [0.1]))
