"""E2X by plain loops in float64 and central differences: no autograd, no batches."""

from __future__ import annotations

import math

import numpy as np
import torch

from curation.kernel.detector import ScoreKind
from curation.kernel.types import ImageArray, ScoreTarget

_STEP = 1e-4


def score_at(detector, inputs, segments, weights, target, kind) -> float:
    """Score of one image whose segments are dimmed by ``weights`` [S]."""
    dimmed = inputs.clone()
    for row in range(segments.shape[0]):
        for column in range(segments.shape[1]):
            dimmed[0, :, row, column] *= weights[segments[row, column]]
    with torch.no_grad():
        return float(detector.scores(dimmed, [target], kind)[0, 0])


def e2x(
    detector,
    image: ImageArray,
    target: ScoreTarget,
    segments: np.ndarray,
    weights: np.ndarray,
    kind: ScoreKind,
) -> tuple[list[float], list[float]]:
    """Values [S] and standard errors [S] for the dimming levels ``weights`` [K, S].

    The detector must compute in float64 for float64 inputs.
    """
    inputs = detector.preprocess([image]).double()
    num_samples, num_segments = weights.shape
    values, errors = [], []
    for segment in range(num_segments):
        slopes = []
        for sample in range(num_samples):
            up = weights[sample].astype(np.float64).copy()
            down = up.copy()
            up[segment] += _STEP
            down[segment] -= _STEP
            difference = score_at(detector, inputs, segments, up, target, kind) - score_at(
                detector, inputs, segments, down, target, kind
            )
            slopes.append(difference / (2 * _STEP))
        mean = sum(slopes) / num_samples
        variance = sum((slope - mean) ** 2 for slope in slopes) / (num_samples - 1)
        values.append(mean)
        errors.append(math.sqrt(variance / num_samples))
    return values, errors
