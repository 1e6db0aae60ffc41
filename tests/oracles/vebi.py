"""The sparse fit of VEBI in plain loops: coordinate descent, the penalty found by bisection."""

from __future__ import annotations

import numpy as np


def responses(feature_map, box_px, size_hw):
    """L2 norm of each channel of a map [C, fh, fw] over the cells that a box touches."""
    channels, rows, columns = feature_map.shape
    cell_h, cell_w = size_hw[0] / rows, size_hw[1] / columns
    found = []
    for c in range(channels):
        total = 0.0
        for i in range(rows):
            for j in range(columns):
                overlaps_y = i * cell_h < box_px[3] and (i + 1) * cell_h > box_px[1]
                overlaps_x = j * cell_w < box_px[2] and (j + 1) * cell_w > box_px[0]
                if overlaps_y and overlaps_x:
                    total += float(feature_map[c, i, j]) ** 2
        found.append(total**0.5)
    return np.array(found) / sum(found)


def project(point, radius):
    """The nearest point of the L1 ball, by bisection on the soft threshold."""
    low, high = 0.0, float(np.abs(point).max())
    if np.abs(point).sum() <= radius:
        return np.array(point)
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(np.abs(point) - middle, 0).sum() > radius:
            low = middle
        else:
            high = middle
    return np.sign(point) * np.maximum(np.abs(point) - high, 0)


def lasso(features, wanted, penalty, sweeps=600):
    """min ||X w - l||^2 + penalty ||w||_1, one coordinate after the other."""
    weights = np.zeros(features.shape[1])
    rest = wanted.astype(np.float64).copy()
    for _ in range(sweeps):
        for j in range(len(weights)):
            column = features[:, j]
            pull = column @ rest + (column @ column) * weights[j]
            new = np.sign(pull) * max(abs(pull) - penalty / 2, 0) / (column @ column)
            rest += column * (weights[j] - new)
            weights[j] = new
    return weights


def constrained(features, wanted, mu):
    """min ||X w - l||^2 within ||w||_1 <= mu: bisection on the penalty."""
    low, high = 0.0, 2 * float(np.abs(features.T @ wanted).max())
    for _ in range(40):
        middle = (low + high) / 2
        if np.abs(lasso(features, wanted, middle)).sum() > mu:
            low = middle
        else:
            high = middle
    return lasso(features, wanted, high)
