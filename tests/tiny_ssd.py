"""A tiny SSD that answers differently to different inputs: a fresh one answers with constants."""

from __future__ import annotations

import functools

import torch

from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.ssd import build, feature_maps
from retrain.weights import initialise

CLASS_NAMES = ("background", "disc", "square")
SPREAD = 2.0  # standard deviation of the class logits


@functools.cache
def tiny_ssd(
    architecture: str = "ssdlite_efficientnet_lite0", size_hw: tuple[int, int] = (96, 96)
) -> SsdDetector:
    """Batch norms set by one pass, class head scaled until its answers differ.

    Pretrained where the weights come in a package, else random. One for all tests: leave it as
    it was.
    """
    config = DetectorConfig(architecture, CLASS_NAMES, size_hw, 0.15, 0.8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(config)
    weights = "package" if architecture == "ssdlite_efficientnet_lite0" else "random"
    initialise(model, config, weights)
    inputs = torch.randn(4, 3, *size_hw, generator=torch.Generator().manual_seed(1))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    head = model.head.classification_head
    with torch.no_grad():
        head(feature_maps(model.train(), inputs))
        spread = head(feature_maps(model.eval(), inputs)).std()
        for level in head.module_list:
            (level[-1] if isinstance(level, torch.nn.Sequential) else level).weight.mul_(
                SPREAD / spread
            )
    return SsdDetector(model, config)
