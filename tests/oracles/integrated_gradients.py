"""Integrated gradients by plain loops in float64 and central differences: no autograd."""

from __future__ import annotations

import numpy as np
import torch

from curation.kernel.detector import ScoreKind
from curation.kernel.types import ImageArray, ScoreTarget

_STEP = 1e-5


def integrated_gradients(
    detector, image: ImageArray, target: ScoreTarget, num_samples: int, kind: ScoreKind
) -> np.ndarray:
    """Map [h, w] by the midpoint rule. The detector must compute in float64."""
    inputs = detector.preprocess([image]).double()
    _, channels, height, width = inputs.shape
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                slopes = 0.0
                for sample in range(num_samples):
                    ends = (inputs * (sample + 0.5) / num_samples).repeat(2, 1, 1, 1)
                    ends[0, channel, row, column] += _STEP
                    ends[1, channel, row, column] -= _STEP
                    with torch.no_grad():
                        up, down = detector.scores(ends, [target], kind)[:, 0]
                    slopes += float(up - down) / (2 * _STEP)
                result[row, column] += float(inputs[0, channel, row, column]) * slopes / num_samples
    return result
