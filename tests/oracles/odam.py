"""ODAM by plain loops in float64: one-sided pieces written out, derivatives by differences."""

from __future__ import annotations

import numpy as np

_STEP = 1e-4


def bilinear(values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Pixel centres of the large map looked up between those of the small one, edges held."""
    rows, columns = values.shape
    height, width = size_hw
    result = np.zeros(size_hw)
    for y in range(height):
        v = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
        for x in range(width):
            u = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(v), int(u)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            b, a = v - top, u - left
            result[y, x] = (1 - b) * ((1 - a) * values[top, left] + a * values[top, right]) + b * (
                (1 - a) * values[below, left] + a * values[below, right]
            )
    return result


def odam(score, features: np.ndarray, cells, size_hw: tuple[int, int]) -> np.ndarray:
    """Map [h, w] in 0..1.

    Args:
        score: numbers [B] for feature maps [B, C, fh, fw].
        features: [C, fh, fw] float64.
        cells: (row, column) pairs where the derivative may be non-zero.
        size_hw: of the map.
    """
    heat = np.zeros(features.shape[1:])
    for row, column in cells:
        up = np.repeat(features[None], len(features), axis=0)  # one changed channel a row
        down = up.copy()
        for channel in range(len(features)):
            up[channel, channel, row, column] += _STEP
            down[channel, channel, row, column] -= _STEP
        slopes = (score(up) - score(down)) / (2 * _STEP)  # [C]
        total = sum(slopes[c] * features[c, row, column] for c in range(len(features)))
        heat[row, column] = max(0.0, total)
    if heat.min() == heat.max():
        return np.full(size_hw, float(heat.max() > 0))
    large = bilinear(heat, size_hw)
    low, high = large.min(), large.max()
    return (large - low) / (high - low)
