"""What the corners of a whole VOC set tell: where they count from, and whether they are corners."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation.formats import doubt
from curation.kernel.boxes import ROUNDING, xywh_to_xyxy


def counts_from_one(corners: Sequence[Sequence[float]]) -> tuple[bool, str]:
    """Whether corners count pixels from 1 and include the last, as VOC does; and why not.

    Objects at the upper or left border tell: there a set that counts from 1 has a 1 where another
    has a 0. So do fractions, which no count of pixels has. VOC 2012 itself has some: they are few
    beside its ones.

    Args:
        corners: xmin, ymin, xmax, ymax of all objects.
    """
    boxes = np.array(corners, np.float64).reshape(-1, 4)
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    firsts = boxes[:, :2]
    zeros = int(((firsts >= 0) & (firsts < 1)).any(axis=1).sum())
    ones = int((firsts == 1).any(axis=1).sum())
    broken = int((boxes != np.round(boxes)).any(axis=1).sum())
    if zeros > ones:
        return False, f"{zeros} boxes begin at 0"
    if broken > ones and broken >= doubt.SOME * len(boxes):
        return False, f"{broken} boxes have fractions of pixels"
    return True, ""


def doubt_of(
    corners: Sequence[Sequence[float]],
    sizes_wh: Sequence[tuple[int, int]],
    refused: int,
    total: int,
    first: str,
) -> str:
    """Why no box of a set is what it seems; "" if all is well.

    Args:
        corners: as they stand, of all objects that have some.
        sizes_wh: of the image of each; (0, 0) where it is unknown.
        refused: objects that cannot be used.
        total: all objects.
        first: what is wrong with the first of them.
    """
    raw, sizes = doubt.as_boxes(corners, sizes_wh)
    if doubt.normalised(raw, raw[:, 2:] - raw[:, :2]):
        return "its coordinates look normalised (0..1): give pixels"
    first_pixel = np.array([1, 1, 0, 0], np.float32)  # xmin = xmax is a box one pixel wide
    if doubt.misread(raw - first_pixel, xywh_to_xyxy(raw), sizes, ROUNDING):
        return "its boxes look like x, y, width, height: VOC wants xmin, ymin, xmax, ymax"
    return doubt.most(refused, total, first)
