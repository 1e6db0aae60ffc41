"""D-CLOSE by plain loops in float64, given the masks of each level."""

from __future__ import annotations

import math

import numpy as np

from curation.kernel.types import ImageArray
from tests.oracles.matching import iou


def d_close(
    detector, image: ImageArray, aim_xyxy, label: int, levels, colour: np.ndarray
) -> np.ndarray:
    """Map [h, w]; the image is on the input's grid, ``levels`` of masks [N, h, w], coarse first."""
    height, width = image.shape[:2]
    maps = []
    for masks in levels:
        total, density = np.zeros((height, width)), np.zeros((height, width))
        for mask in masks:
            view = np.zeros_like(image)
            for row in range(height):
                for column in range(width):
                    for channel in range(3):
                        value = mask[row, column] * float(image[row, column, channel])
                        value += (1 - mask[row, column]) * float(colour[channel])
                        view[row, column, channel] = round(value)
            (seen,) = detector.propose([view])
            best = 0.0
            for box, probability in zip(seen.boxes_xyxy, seen.probabilities, strict=True):
                length = math.sqrt(sum(float(p) ** 2 for p in probability))
                best = max(best, iou(box, aim_xyxy) * float(probability[label]) / length)
            total += best * mask
            density += mask
        mean = total / density
        maps.append((mean - mean.min()) / (mean.max() - mean.min()))
    fused = maps.pop()
    while maps:
        coarser = maps.pop()
        fused = (fused + coarser) * coarser
    return fused
