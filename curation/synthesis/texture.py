"""How rough pictures are: what fills a hole is no picture where it is black, flat or noise."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from curation.kernel.types import FloatArray, ImageArray


def texture_bounds(
    pictures: Sequence[ImageArray], rng: np.random.Generator, parts: int = 400
) -> tuple[float, float]:
    """How rough parts of real pictures are: a third of the 1 % and 1.5 times the 99 % quantile.

    Args:
        pictures: real ones [H, W, 3] uint8, one at least.
        rng: of the parts.
        parts: looked at, squares of a sixth to a third of the shorter side.
    """
    values = []
    for _ in range(parts):
        picture = pictures[int(rng.integers(len(pictures)))]
        short = min(picture.shape[:2])
        side = max(4, int(short * rng.uniform(1 / 6, 1 / 3)))
        top = int(rng.integers(max(1, picture.shape[0] - side)))
        left = int(rng.integers(max(1, picture.shape[1] - side)))
        values.append(float(roughness(picture)[top : top + side, left : left + side].mean()))
    low, high = np.quantile(values, [0.01, 0.99])
    return float(low / 3), float(high * 1.5)


def roughness(image: ImageArray) -> FloatArray:
    """[H, W] float32: how much each pixel differs from its neighbours, in levels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.abs(cv2.Laplacian(grey, cv2.CV_32F))
