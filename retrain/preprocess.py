"""The one way from a picture to a network input, shared by training and inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from curation.kernel.types import ImageArray


def warp(image: ImageArray, size_hw: tuple[int, int]) -> torch.Tensor:
    """The picture [H, W, 3] stretched to [3, h, w] uint8, bilinear, without letterbox.

    Antialiased where it shrinks, since a 640 px frame at 256 px otherwise loses thin objects
    between the samples.
    """
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).permute(
        2, 0, 1
    )  # [3, H, W]
    if pixels.shape[1:] == torch.Size(size_hw):
        return pixels.clone()
    resized: torch.Tensor = functional.resize(
        pixels, list(size_hw), interpolation=InterpolationMode.BILINEAR, antialias=True
    )
    return resized


def normalise(
    pixels: torch.Tensor, mean: Sequence[float], deviation: Sequence[float]
) -> torch.Tensor:
    """uint8 [B, 3, h, w] to float32 in channels-last memory, so that zero is the mean colour.

    Args:
        pixels: uint8 on any device.
        mean: of each channel in 0..1.
        deviation: of each channel in the same unit.
    """
    scale = torch.tensor([1 / (255 * value) for value in deviation], device=pixels.device)
    shift = torch.tensor(
        [m / d for m, d in zip(mean, deviation, strict=True)], device=pixels.device
    )
    inputs = pixels.to(torch.float32) * scale[:, None, None] - shift[:, None, None]
    return inputs.contiguous(memory_format=torch.channels_last)
