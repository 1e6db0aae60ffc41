"""LIME's regression by plain loops in float64: penalised normal equations with an intercept."""

from __future__ import annotations

import math

import numpy as np


def lime(
    masks: np.ndarray, scores: np.ndarray, kernel_width: float, ridge: float
) -> tuple[np.ndarray, float]:
    """Coefficients [S] and intercept for a design [K, S] and scores [K]."""
    size = masks.shape[1]
    system, right = np.zeros((size + 1, size + 1)), np.zeros(size + 1)
    for mask, score in zip(masks, scores, strict=True):
        row = [float(bit) for bit in mask] + [1.0]
        norm = math.sqrt(sum(row[:size]))
        cosine = sum(row[:size]) / (norm * math.sqrt(size)) if norm else 0.0
        weight = math.sqrt(math.exp(-((1 - cosine) ** 2) / kernel_width**2))
        for i in range(size + 1):
            right[i] += weight * row[i] * score
            for j in range(size + 1):
                system[i, j] += weight * row[i] * row[j]
    for i in range(size):
        system[i, i] += ridge
    solution = np.linalg.solve(system, right)
    return solution[:size], float(solution[size])
