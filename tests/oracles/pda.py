"""Prediction difference analysis at a stride of 1, by plain loops in float64."""

from __future__ import annotations

import numpy as np
import torch

from curation.kernel.detector import ScoreKind
from curation.kernel.types import ImageArray, ScoreTarget


def conditional(
    mean: np.ndarray, covariance: np.ndarray, inside: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the numbers ``inside`` given the others, by the precision matrix."""
    precision = np.linalg.inv(covariance)
    across = precision[np.ix_(inside, ~inside)]
    left = np.linalg.inv(precision[np.ix_(inside, inside)])
    return mean[inside] - left @ across @ (given - mean[~inside]), left


def pda(
    detector,
    image: ImageArray,
    target: ScoreTarget,
    side: int,
    rectangle: tuple[int, int, int, int],
    fillings,
    kind: ScoreKind,
) -> np.ndarray:
    """Map [h, w].

    Args:
        detector: scores the target.
        image: [H, W, 3].
        target: what is explained.
        side: of the windows.
        rectangle: first and last row, first and last column of the windows' corners.
        fillings: (row, column) of a window to the patches [D, 3, side, side] that replace it.
        kind: unit of the score.
    """
    inputs = detector.preprocess([image])
    _, _, height, width = inputs.shape
    total, count = np.zeros((height, width)), np.zeros((height, width))
    with torch.no_grad():
        full = float(detector.scores(inputs, [target], kind)[0, 0])
    first_row, last_row, first_column, last_column = rectangle
    for row in range(first_row, last_row + 1):
        for column in range(first_column, last_column + 1):
            scores = []
            for patch in fillings(row, column):
                changed = inputs.clone()
                changed[0, :, row : row + side, column : column + side] = torch.as_tensor(patch)
                with torch.no_grad():
                    scores.append(float(detector.scores(changed, [target], kind)[0, 0]))
            fall = full - sum(scores) / len(scores)
            for y in range(row, row + side):
                for x in range(column, column + side):
                    total[y, x] += fall
                    count[y, x] += 1
    return np.where(count > 0, total / np.maximum(count, 1), 0)
