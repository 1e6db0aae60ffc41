"""The three networks: levels, default boxes worked out by hand, odd input sizes."""

import pytest
import torch
from torchvision.models.detection.ssd import SSD

from retrain.config import ARCHITECTURES, DetectorConfig
from retrain.errors import ConfigInvalid
from retrain.ssd import boxes_per_level, build, feature_maps, place_default_boxes

NAMES = ("background", "a", "b")
SCALES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)


def placed(config):
    model = build(config).eval()
    with torch.no_grad():
        maps = feature_maps(model, torch.zeros(1, 3, *config.input_size_hw))
    return model, maps, place_default_boxes(model, maps, config.input_size_hw)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("size_hw", [(64, 64), (96, 160)])
def test_builds_at_any_size(architecture, size_hw):
    config = DetectorConfig(architecture, NAMES, size_hw)
    model, maps, boxes = placed(config)
    assert isinstance(model, SSD)
    with torch.no_grad():
        output = model.head(maps)
    assert output["cls_logits"].shape == (1, len(boxes), len(NAMES))
    assert output["bbox_regression"].shape == (1, len(boxes), 4)
    assert sum(boxes_per_level(model, maps)) == len(boxes)


def test_ssd300_has_the_papers_8732_default_boxes():
    ratios = ((2.0,), (2.0, 3.0), (2.0, 3.0), (2.0, 3.0), (2.0,), (2.0,))
    scales = (0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05)
    config = DetectorConfig("ssd300_vgg16", NAMES, (300, 300), scales=scales, aspect_ratios=ratios)
    _, maps, boxes = placed(config)
    assert [level.shape[-1] for level in maps] == [38, 19, 10, 5, 3, 1]
    assert len(boxes) == 8732


def test_default_boxes_by_hand():
    # Input 64 x 128: the finest level has 8 x 16 cells of 8 px, so the first centre is (4, 4).
    # Scale 0.1 of each side is 12.8 x 6.4 px; the second box has scale sqrt(0.1 * 0.2); ratio 2
    # widens by sqrt 2 and flattens by as much.
    config = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 128), scales=SCALES)
    _, maps, boxes = placed(config)
    assert tuple(maps[0].shape[-2:]) == (8, 16)
    root = 2**0.5
    by_hand = torch.tensor(
        [
            [4 - 6.4, 4 - 3.2, 4 + 6.4, 4 + 3.2],
            [4 - 6.4 * root, 4 - 3.2 * root, 4 + 6.4 * root, 4 + 3.2 * root],
            [4 - 6.4 * root, 4 - 3.2 / root, 4 + 6.4 * root, 4 + 3.2 / root],
        ]
    )
    torch.testing.assert_close(boxes[:3], by_hand)
    # The second cell lies 8 px to the right, the first of the second row 8 px below.
    shift = torch.tensor([8.0, 0.0, 8.0, 0.0])
    torch.testing.assert_close(boxes[6:9], by_hand + shift)
    torch.testing.assert_close(boxes[16 * 6], by_hand[0] + shift.roll(1))


@pytest.mark.parametrize("change", [{"scales": SCALES[:4]}, {"aspect_ratios": ((2.0,),) * 3}])
def test_default_boxes_must_fit_the_levels(change):
    with pytest.raises(ConfigInvalid, match="5 levels"):
        build(DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 64), **change))


def test_stops_at_the_level_that_is_asked_for(model, config):
    inputs = torch.randn(1, 3, *config.input_size_hw)
    with torch.no_grad():
        first, every = feature_maps(model, inputs, 2), feature_maps(model, inputs)
    assert len(first) == 2
    torch.testing.assert_close(first, every[:2])
