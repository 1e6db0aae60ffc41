"""The three SSDs, through torchvision's ``SSD`` class, at any input size."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.models.detection.ssdlite import SSDLiteHead

from retrain.backbones import (
    EfficientNetLite0,
    StagedBackbone,
    batch_norm,
    mobilenet_backbone,
    vgg16_backbone,
)
from retrain.config import DetectorConfig
from retrain.errors import ConfigInvalid

# Mean and deviation in 0..1 that each backbone was pretrained with. Lite0 and MobileNet map
# pixels to -1..1; the VGG16 of SSD300 subtracts the mean of ImageNet and keeps 0..255.
_NORMALISATION: dict[str, tuple[list[float], list[float]]] = {
    "ssdlite_efficientnet_lite0": ([0.498, 0.498, 0.498], [0.502, 0.502, 0.502]),
    "ssdlite320_mobilenet_v3_large": ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    "ssd300_vgg16": ([0.48235, 0.45882, 0.40784], [1 / 255, 1 / 255, 1 / 255]),
}


def build(config: DetectorConfig, seed: int = 0) -> SSD:
    """An SSD with fresh weights (``weights.initialise`` loads pretrained ones).

    Args:
        config: architecture, classes, input size, default boxes.
        seed: of the fresh weights; the global generator is left as it was.

    Returns:
        A torchvision SSD in training mode, in channels-last memory.

    Raises:
        ConfigInvalid: the number of scales or aspect ratios does not fit the number of levels.

    Source:
        Liu et al., "SSD: Single Shot MultiBox Detector", 2016.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(config)


def _build(config: DetectorConfig) -> SSD:
    backbone = backbone_of(config)
    channels = _channels(backbone, config.input_size_hw)
    boxes = default_box_generator(config, len(channels))
    counts = boxes.num_anchors_per_location()
    num_classes = len(config.class_names)
    head: nn.Module
    if config.architecture == "ssd300_vgg16":
        head = SSDHead(channels, counts, num_classes)
    else:
        head = SSDLiteHead(channels, counts, num_classes, batch_norm)
    mean, deviation = _NORMALISATION[config.architecture]
    height, width = config.input_size_hw
    model = SSD(
        backbone,
        boxes,
        (width, height),  # torchvision's size is width first
        num_classes,
        image_mean=mean,
        image_std=deviation,
        head=head,
        nms_thresh=config.nms_iou,
        detections_per_img=config.max_detections,
        topk_candidates=config.max_candidates,
    )
    return model.to(memory_format=torch.channels_last)


def default_box_generator(config: DetectorConfig, num_levels: int) -> DefaultBoxGenerator:
    """Where default boxes lie: scales rise geometrically, as the strides of the levels do.

    Raises:
        ConfigInvalid: explicit scales, aspect ratios or steps do not fit ``num_levels``.
    """
    scales = list(config.scales) or _geometric_scales(config, num_levels)
    ratios = [list(level) for level in config.aspect_ratios] or [[2, 3]] * num_levels
    if len(scales) != num_levels + 1 or len(ratios) != num_levels:
        raise ConfigInvalid(
            f"{config.architecture} at {config.input_size_hw} has {num_levels} levels: needs "
            f"{num_levels + 1} scales and {num_levels} tuples of aspect ratios, got "
            f"{len(scales)} and {len(ratios)}"
        )
    steps = list(config.steps_px) or None
    if steps is not None and len(steps) != num_levels:
        raise ConfigInvalid(f"steps_px {config.steps_px}: {num_levels} levels need as many steps")
    return DefaultBoxGenerator(ratios, scales=scales, steps=steps)


def _geometric_scales(config: DetectorConfig, num_levels: int) -> list[float]:
    if num_levels == 1:
        return [config.min_scale, config.max_scale]
    step = (config.max_scale / config.min_scale) ** (1 / (num_levels - 1))
    scales = [config.min_scale * step**level for level in range(num_levels)]
    return [*scales, min(1.05, scales[-1] * step)]


def backbone_of(config: DetectorConfig) -> nn.Module:
    """The feature extractor, with fresh weights of the global generator."""
    backbone: nn.Module
    if config.architecture == "ssd300_vgg16":
        backbone = vgg16_backbone(config.input_size_hw)
    elif config.architecture == "ssdlite320_mobilenet_v3_large":
        backbone = mobilenet_backbone(config.reduced_tail)
    else:
        backbone = EfficientNetLite0()
    return backbone


def _channels(backbone: nn.Module, input_size_hw: tuple[int, int]) -> list[int]:
    backbone.eval()  # so that the dry run leaves no trace in the statistics
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, *input_size_hw))
    backbone.train()
    return [int(level.shape[1]) for level in maps.values()]


def feature_maps(
    model: SSD, inputs: torch.Tensor, num_levels: int | None = None
) -> list[torch.Tensor]:
    """Feature maps of normalised inputs [B, 3, h, w], fine to coarse; stops early if it can."""
    if isinstance(model.backbone, StagedBackbone):
        return list(model.backbone(inputs, num_levels).values())
    return list(model.backbone(inputs).values())[:num_levels]


def place_default_boxes(
    model: SSD, maps: list[torch.Tensor], input_size_hw: tuple[int, int]
) -> torch.Tensor:
    """Default boxes [A, 4] xyxy in px of the network input."""
    images = ImageList(maps[0].new_zeros(1, 3, *input_size_hw), [input_size_hw])
    return model.anchor_generator(images, maps)[0]  # type: ignore[no-any-return]


def boxes_per_level(model: SSD, maps: list[torch.Tensor]) -> list[int]:
    """How many default boxes each level has; their order is level, row, column, shape."""
    counts = model.anchor_generator.num_anchors_per_location()
    return [
        count * int(level.shape[-2]) * int(level.shape[-1])
        for count, level in zip(counts, maps, strict=True)
    ]
