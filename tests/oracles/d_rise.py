"""D-RISE by plain loops in float64, given which coarse cells are visible."""

from __future__ import annotations

import math

import numpy as np

from curation.kernel.types import ImageArray
from tests.oracles.matching import iou
from tests.oracles.odam import bilinear


def d_rise(
    detector,
    image: ImageArray,
    aim_xyxy,
    label: int,
    cells: np.ndarray,
    shifts: np.ndarray,
    colour: np.ndarray,
    keep: float,
    centred: bool,
) -> np.ndarray:
    """Map [h, w]; the image is on the input's grid, ``cells`` [N, g, g], ``shifts`` [N, 2]."""
    height, width = image.shape[:2]
    total, shown, weights = np.zeros((height, width)), np.zeros((height, width)), []
    for visible, (top, left) in zip(cells, shifts, strict=True):
        grid = len(visible)
        down, right = math.ceil(height / grid), math.ceil(width / grid)
        large = bilinear(visible.astype(float), ((grid + 1) * down, (grid + 1) * right))
        mask = large[top : top + height, left : left + width]
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
        shown += mask
        weights.append(best)
    if centred:
        total -= sum(weights) / len(weights) * shown
    return total / (len(cells) * keep)
