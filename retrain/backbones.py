"""The three feature extractors: a list of feature maps, coarse after fine.

torchvision's own extractors serve VGG16 and MobileNetV3; EfficientNet-Lite0 is cut out of timm
here in the same way as SSDLite cuts MobileNet: the expansions at stride 8 and 16, the last stage
at stride 32, then extra layers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import timm
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection.ssd import SSDFeatureExtractorVGG
from torchvision.models.detection.ssdlite import (
    SSDLiteFeatureExtractorMobileNet,
    _extra_block,
    _normal_init,
)
from torchvision.models.vgg import cfgs, make_layers


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Normalisation of the layers that SSDLite adds.

    torchvision's momentum of 0.03 needs a hundred steps before the statistics hold; our runs on a
    few hundred images have little more than that.
    """
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


class StagedBackbone(nn.Module):
    """Base of extractors that can stop early, since an explained default box needs one level."""

    stages: nn.ModuleList
    extra: nn.ModuleList

    def forward(
        self, inputs: torch.Tensor, num_levels: int | None = None
    ) -> OrderedDict[str, torch.Tensor]:
        """The first ``num_levels`` feature maps (all by default), fine to coarse."""
        maps: OrderedDict[str, torch.Tensor] = OrderedDict()
        for level, block in enumerate([*self.stages, *self.extra]):
            if num_levels is not None and level >= num_levels:
                break
            inputs = block(inputs)
            maps[str(level)] = inputs
        return maps


class EfficientNetLite0(StagedBackbone):
    """Levels at stride 8 (240 channels), 16 (672), 32 (320), 64 (256) and 128 (256).

    Source:
        Sandler et al., "MobileNetV2", section 6.2 (SSDLite on the expansion layer); Liu,
        "EfficientNet-Lite" (no squeeze-and-excitation, ReLU6).
    """

    def __init__(self) -> None:
        super().__init__()
        net: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        blocks = net.blocks
        self.stages = nn.ModuleList(
            [
                nn.Sequential(
                    OrderedDict(
                        conv_stem=net.conv_stem,
                        bn1=net.bn1,
                        stage0=blocks[0],
                        stage1=blocks[1],
                        stage2=blocks[2],
                        expand=_expansion(blocks[3][0]),
                    )
                ),
                nn.Sequential(
                    OrderedDict(
                        project=_projection(blocks[3][0]),
                        stage3=blocks[3][1:],
                        stage4=blocks[4],
                        expand=_expansion(blocks[5][0]),
                    )
                ),
                nn.Sequential(
                    OrderedDict(
                        project=_projection(blocks[5][0]), stage5=blocks[5][1:], stage6=blocks[6]
                    )
                ),
            ]
        )
        self.extra = nn.ModuleList(
            [_extra_block(320, 256, batch_norm), _extra_block(256, 256, batch_norm)]
        )
        _normal_init(self.extra)


def _expansion(block: Any) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv_pw=block.conv_pw, bn1=block.bn1))


def _projection(block: Any) -> nn.Sequential:
    """The rest of an inverted residual; without a skip, since both that we cut have stride 2."""
    return nn.Sequential(
        OrderedDict(conv_dw=block.conv_dw, bn2=block.bn2, conv_pwl=block.conv_pwl, bn3=block.bn3)
    )


def vgg16_backbone(input_size_hw: tuple[int, int]) -> SSDFeatureExtractorVGG:
    """VGG16 as SSD300 uses it, without the last levels where the input is too small for them."""
    layers = make_layers(cfgs["D"])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    backbone = SSDFeatureExtractorVGG(layers, highres=False)
    side = -(-min(input_size_hw) // 16)  # conv4_3 has stride 8, fc7 16, rounded up
    side = -(-side // 2)  # conv8_2
    side = -(-side // 2)  # conv9_2
    keep = 3 + (side >= 3) + (side >= 5)  # conv10_2 and conv11_2 shrink by 2 without padding
    backbone.extra = backbone.extra[:keep]
    return backbone


def mobilenet_backbone(reduced_tail: bool = False) -> SSDLiteFeatureExtractorMobileNet:
    """MobileNetV3-Large as SSDLite320 uses it: strides 16 and 32, then four extra levels."""
    features = mobilenet_v3_large(weights=None, reduced_tail=reduced_tail).features
    cut = [i for i, block in enumerate(features) if getattr(block, "_is_cn", False)][-1]
    return SSDLiteFeatureExtractorMobileNet(features, cut, batch_norm)
