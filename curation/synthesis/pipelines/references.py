"""Pictures that condition a pipeline: one of what hurt, one of the object that stays."""

from __future__ import annotations

import numpy as np

from curation.kernel.types import BoolArray, Box, ImageArray
from curation.synthesis.base import Plan
from curation.synthesis.composite import Surroundings

MARGIN = 0.1
"""Of the sides of the object's box, shown with it."""


def of_harm(plan: Plan) -> ImageArray:
    """[S, S, 3] uint8: what hurt, and nothing else.

    What does not hurt has the mean colour of what does. The object that was missed is painted
    over, since it would be drawn a second time.
    """
    harm = plan.harm
    if not harm.mask.any():
        return _square(harm.pixels)
    pixels = Surroundings.of(harm.pixels, harm.box_xyxy, harm.vacant).pixels
    return _square(_only(pixels, harm.mask))


def of_object(plan: Plan) -> ImageArray:
    """[S, S, 3] uint8: the known object in its box."""
    return _square(_cut(plan.donor.pixels, plan.donor.box_xyxy))


def _only(pixels: ImageArray, mask: BoolArray) -> ImageArray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    inside = mask[part]
    mean = np.rint(pixels[mask].mean(axis=0)).astype(np.uint8)
    return np.where(inside[..., None], pixels[part], mean).astype(np.uint8)


def _cut(pixels: ImageArray, box_xyxy: Box) -> ImageArray:
    height, width = pixels.shape[:2]
    x1, y1, x2, y2 = box_xyxy
    across, down = (x2 - x1) * MARGIN, (y2 - y1) * MARGIN
    top, left = max(0, int(y1 - down)), max(0, int(x1 - across))
    bottom, right = min(height, round(y2 + down)), min(width, round(x2 + across))
    return pixels[top : max(top + 1, bottom), left : max(left + 1, right)]


def _square(pixels: ImageArray) -> ImageArray:
    """In the middle of a square of the mean colour: image encoders cut off what is not square."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    mean = np.rint(pixels.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    square = np.tile(mean, (side, side, 1))
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square
