"""What a file gets wrong as a whole, told from its entries.

Ids that count from 0 where others count from 1, corners where sides are expected, shares where
pixels are: each leaves entries that look right, with the wrong class or in the wrong place. What
was refused gives such a file away, and nothing of it can be trusted.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import TypeAlias

import numpy as np

from curation.types import BoolArray, FloatArray

Size: TypeAlias = tuple[float, float]

FEWEST = 2
"""Boxes that only another reading makes fit; a single one may be a slip."""


def as_boxes(entries: Sequence[object], sizes_wh: Sequence[Size]) -> tuple[FloatArray, FloatArray]:
    """Those of the entries that are four finite numbers, as they stand, and their images' sizes.

    Args:
        entries: what a file gives as boxes, whatever it is.
        sizes_wh: of the image of each; (0, 0) where it is unknown.

    Returns:
        [N, 4] and [N, 2] float32; an unknown size is infinite.
    """
    good = [
        (entry, size)
        for entry, size in zip(entries, sizes_wh, strict=True)
        if isinstance(entry, list | tuple)
        and len(entry) == 4
        and all(isinstance(value, int | float) and abs(value) < 1e9 for value in entry)
    ]
    boxes = np.array([entry for entry, _ in good], np.float32).reshape(-1, 4)
    sizes = np.array([size if all(size) else (np.inf, np.inf) for _, size in good], np.float32)
    return boxes, sizes.reshape(-1, 2)


def misread(read: FloatArray, other: FloatArray, sizes: FloatArray, rounding: float) -> bool:
    """Whether boxes fit their images only if they are read in another way.

    Args:
        read: [N, 4] x1, y1, x2, y2, as the format says.
        other: [N, 4] the same, read in the other way.
        sizes: [N, 2] of the images, in the same unit.
        rounding: what a box may leave its image by.
    """
    wrong = ~_fit(read, sizes, rounding)
    return int(wrong.sum()) >= FEWEST and bool(_fit(other, sizes, rounding).all())


def normalised(values: FloatArray, sides: FloatArray) -> bool:
    """Whether numbers that should be px are shares of the image.

    Args:
        values: [N, 4] as they stand.
        sides: [N, 2] width and height of each box.
    """
    return bool(len(values)) and bool((values <= 1).all() or (sides < 1).all())


def misnumbered(what: str, known: Collection[Hashable], used: Collection[Hashable]) -> str:
    """How entries count what they refer to, where that is from 0 for 1 or from 1 for 0; else "".

    All but one of the ids are known then, and mean what stands beside the right one.

    Args:
        what: what is counted, such as ``categories``.
        known: ids that are listed.
        used: ids that are referred to.
    """
    listed = {number for number in known if isinstance(number, int)}
    asked = {number for number in used if isinstance(number, int)}
    first = min(listed, default=-1)
    stray, step = (0, 1) if first == 1 else (max(listed, default=0) + 1, -1)
    shifted = asked - listed == {stray} and {number + step for number in asked} <= listed
    if first not in (0, 1) or not shifted:
        return ""
    return f"it lists {what} from {first} and refers to them as if from {1 - first}"


def mistyped(known: Collection[Hashable], used: Collection[Hashable]) -> bool:
    """Whether ids are text in one place and numbers in another."""
    texts = {str(value) for value in known}
    return any(value not in known and str(value) in texts for value in used)


def most(refused: int, total: int, cause: str = "") -> str:
    """That most entries are refused, with the likely cause; "" where most are good."""
    if 2 * refused <= total:
        return ""
    return f"{refused} of its {total} annotations cannot be used" + (f": {cause}" if cause else "")


def _fit(boxes: FloatArray, sizes: FloatArray, rounding: float) -> BoolArray:
    """Which boxes [N, 4] are neither empty nor inverted, and lie in images of these sizes."""
    x1y1, x2y2 = boxes[:, :2], boxes[:, 2:]
    good = (x2y2 > x1y1) & (x1y1 >= -rounding) & (x2y2 <= sizes + rounding)  # [N, 2]
    fits: BoolArray = np.all(good, axis=1)
    return fits
