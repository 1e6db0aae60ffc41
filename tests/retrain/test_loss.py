"""The loss: torchvision's own where nothing is ignored; ignored regions teach nothing."""

import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from retrain.loss import Target, assign, ssd_loss
from retrain.ssd import feature_maps, place_default_boxes


@pytest.fixture
def batch(config):
    inputs = torch.randn(3, 3, *config.input_size_hw, generator=torch.Generator().manual_seed(0))
    none = torch.zeros(0, 4)
    boxes = torch.tensor([[5.0, 5, 40, 50], [50, 10, 90, 60], [30, 30, 45, 40]])
    targets = [
        Target(boxes, torch.tensor([1, 2, 1]), none),
        Target(none, torch.zeros(0, dtype=torch.int64), none),
        Target(boxes[1:2], torch.tensor([2]), none),
    ]
    return inputs, targets


@pytest.fixture
def default_boxes(model, config):
    with torch.no_grad():
        maps = feature_maps(model, torch.zeros(1, 3, *config.input_size_hw))
        return place_default_boxes(model, maps, config.input_size_hw)


def test_equals_torchvision(model, config, batch, default_boxes):
    inputs, targets = batch
    with torch.no_grad():
        classification, regression = ssd_loss(model, inputs, targets, default_boxes)
        maps = feature_maps(model, inputs)
        images = ImageList(inputs, [config.input_size_hw] * 3)
        anchors = model.anchor_generator(images, maps)
        matched = [
            model.proposal_matcher(box_iou(t.boxes, default_boxes))
            if len(t.boxes)
            else torch.full((len(default_boxes),), -1)
            for t in targets
        ]
        plain = [{"boxes": t.boxes, "labels": t.labels} for t in targets]
        expected = model.compute_loss(plain, model.head(maps), anchors, matched)
    torch.testing.assert_close(classification, expected["classification"])
    torch.testing.assert_close(regression, expected["bbox_regression"])


def test_an_image_without_objects_costs_nothing(model, batch, default_boxes):
    inputs, targets = batch
    with torch.no_grad():
        losses = ssd_loss(model, inputs[1:2], targets[1:2], default_boxes)
    assert [float(loss) for loss in losses] == [0.0, 0.0]


def test_ignored_regions_are_neither_positive_nor_negative(model, default_boxes):
    region = torch.tensor([[40.0, 0.0, 96.0, 64.0]])
    objects = torch.tensor([[2.0, 2.0, 30.0, 40.0]])
    classes, wanted, free = assign(model, Target(objects, torch.tensor([1]), region), default_boxes)
    inside = (default_boxes[:, 0] >= 40) & (default_boxes[:, 1] >= 0)
    inside &= (default_boxes[:, 2] <= 96) & (default_boxes[:, 3] <= 64)
    assert inside.sum() > 5
    assert not free[inside].any()
    assert (classes[inside] == 0).all()
    outside = default_boxes[:, 2] < 40
    assert free[outside].all()
    assert len(wanted) == int((classes > 0).sum()) > 0
