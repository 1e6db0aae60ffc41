"""Networks of torchvision's own functions come in whole: they answer here as they do there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models import detection

from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.errors import CheckpointCorrupt, ConfigInvalid
from retrain.published import TORCHVISION_ARCHITECTURES, from_file, torchvision_config
from retrain.ssd import build

NAMES = ("background", "car", "bus", "sign")


def made_by_torchvision(architecture):
    """Random weights, batch norms that have seen something, a class head that speaks up."""
    torch.manual_seed(0)
    network = getattr(detection, architecture)(
        weights=None, weights_backbone=None, num_classes=len(NAMES)
    )
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        images = [torch.rand(3, *network.transform.fixed_size[::-1]) for _ in range(2)]
        batch = torch.stack([network.transform([image])[0].tensors[0] for image in images])
        features = network.train().backbone(batch)
        logits = network.head(list(features.values()))["cls_logits"]
        for level in network.head.classification_head.module_list:
            (level[-1] if isinstance(level, torch.nn.Sequential) else level).weight.mul_(
                2 / logits.std()
            )
    return network.eval()


@pytest.fixture(scope="module", params=TORCHVISION_ARCHITECTURES)
def made(request):
    return request.param, made_by_torchvision(request.param)


def test_it_detects_what_it_detects_in_torchvision(made, tmp_path):
    architecture, network = made
    torch.save(network.state_dict(), tmp_path / "net.pth")
    ours = from_file(tmp_path / "net.pth", torchvision_config(architecture, NAMES))
    image = np.random.default_rng(0).integers(0, 256, (*ours.input_size_hw, 3), dtype=np.uint8)
    with torch.no_grad():
        theirs = network([torch.from_numpy(image).permute(2, 0, 1) / 255])[0]
    found = ours.predict([image], score_threshold=network.score_thresh)[0]
    assert len(found.scores) == len(theirs["scores"]) > 50
    np.testing.assert_allclose(found.scores, theirs["scores"], atol=1e-4)
    same = found.labels == theirs["labels"].numpy()
    assert same.mean() > 0.98  # equal scores may change places
    gap = np.abs(found.boxes_xyxy[same] - theirs["boxes"].numpy()[same]).max(axis=1)
    assert np.mean(gap < 0.05) > 0.98


def test_default_boxes_are_torchvisions(made):
    architecture, network = made
    config = torchvision_config(architecture, NAMES)
    config = replace(config, reduced_tail=architecture.startswith("ssdlite"))
    ours = SsdDetector(build(config), config)
    blank = np.zeros((*config.input_size_hw, 3), np.uint8)
    images, _ = network.transform([torch.from_numpy(blank).permute(2, 0, 1) / 255])
    with torch.no_grad():
        levels = list(network.backbone(images.tensors).values())
        theirs = network.anchor_generator(images, levels)[0]
    found = ours.propose([blank])[0].default_boxes_xyxy
    np.testing.assert_allclose(found, theirs, atol=1e-3)


def test_the_whole_tail_is_told_from_the_reduced_one(tmp_path):
    config = torchvision_config("ssdlite320_mobilenet_v3_large", NAMES)
    network = build(config)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    found = from_file(tmp_path / "net.pth", config)
    assert not found.config.reduced_tail
    assert found.version == SsdDetector(network, config).version


def wrapped(tensors):
    return {f"module.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "checkpoint",
    [
        lambda tensors: {"model": tensors, "epoch": 3},
        lambda tensors: {"state_dict": wrapped(tensors), "best": 0.3},
        wrapped,
    ],
)
def test_training_checkpoints_are_read(checkpoint, tmp_path):
    config = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (96, 96))
    network = build(config)
    torch.save(checkpoint(network.state_dict()), tmp_path / "last.pt")
    assert from_file(tmp_path / "last.pt", config).version == SsdDetector(network, config).version


def test_what_does_not_fit_is_refused_with_what_would(tmp_path):
    config = DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (96, 96))
    network = build(config)
    file = tmp_path / "net.pth"
    torch.save(network.state_dict(), file)
    with pytest.raises(CheckpointCorrupt, match="3 names are needed, in the order of training"):
        from_file(file, replace(config, class_names=NAMES[:3]))
    with pytest.raises(CheckpointCorrupt, match="shape"):
        from_file(file, replace(config, aspect_ratios=((2,),) * 5, class_names=(*NAMES, "x", "y")))
    torch.save(network.backbone.state_dict(), file)
    with pytest.raises(CheckpointCorrupt, match="no class head"):
        from_file(file, config)


def test_what_only_foreign_networks_have_does_not_rename_the_others():
    config = DetectorConfig("ssd300_vgg16", NAMES)
    assert not {"steps_px", "reduced_tail"} & set(config.to_dict())
    foreign = torchvision_config("ssd300_vgg16", NAMES)
    assert DetectorConfig.from_dict(foreign.to_dict()) == foreign
    with pytest.raises(ConfigInvalid, match="as many steps"):
        build(replace(foreign, steps_px=(8, 16)))
    with pytest.raises(ConfigInvalid, match="no reduced tail"):
        replace(foreign, reduced_tail=True)
