"""What a file gets wrong as a whole, told from its entries.

Ids that count from 0 where others count from 1, corners where sides are expected, shares where
pixels are: each leaves entries that look right, with the wrong class or in the wrong place. What
fits only if it is read in the other way gives such a file away, and nothing of it can be trusted.

A file is judged by shares, for neither a slip in a good file nor an odd entry in a wrong one must
decide. In a good file the entries that only the other reading fits are slips: few, and fewer than
those that only the right reading fits. In a wrong one it is the reverse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from curation.formats.numbers import numbers
from curation.kernel.types import BoolArray, FloatArray

Size: TypeAlias = tuple[float, float]

FEWEST = 2
"""Entries that only another reading makes fit; a single one may be a slip."""
SOME = 0.05
"""Least share of them among all, where no more entries speak for the right reading: objects in the
upper left quarter fit as corners and as sides, so a wrong file may have few that tell."""
MIXED, FEWEST_MIXED = 0.2, 4
"""Share and number of them that is doubted although others speak for the right reading: two
files that were joined. Small objects alone cannot reach it in a good file."""
FAR = 0.05
"""Share of the image that a box leaves it by before that is more than a sloppy border; corners
read as sides leave it by half of it on average."""
WIDEST = 1e9
"""Greatest number that may be a coordinate."""


def as_boxes(entries: Sequence[object], sizes_wh: Sequence[Size]) -> tuple[FloatArray, FloatArray]:
    """Those of the entries that are four finite numbers, as they stand, and their images' sizes.

    Args:
        entries: what a file gives as boxes, whatever it is; numbers may be text.
        sizes_wh: of the image of each; (0, 0) where it is unknown.

    Returns:
        [N, 4] and [N, 2] float32; an unknown size is infinite.
    """
    found = [
        (box, size if all(size) else (np.inf, np.inf))
        for entry, size in zip(entries, sizes_wh, strict=True)
        if (box := numbers(entry, 4)) is not None and all(abs(value) < WIDEST for value in box)
    ]
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    sizes = np.array([size for _, size in found], np.float32).reshape(-1, 2)
    return boxes, sizes


def misread(read: FloatArray, other: FloatArray, sizes: FloatArray, rounding: float) -> bool:
    """Whether boxes fit their images only if they are read in another way.

    Args:
        read: [N, 4] x1, y1, x2, y2, as the format says.
        other: [N, 4] the same, read in the other way.
        sizes: [N, 2] of the images, in the same unit; infinite where unknown.
        rounding: what a box may leave its image by.
    """
    fits, would_fit = _fit(read, sizes, rounding), _fit(other, sizes, rounding)
    # An infinite size makes an infinite margin: only boxes that are inverted tell there.
    margin = np.maximum(rounding, FAR * sizes)
    amiss = ~_fit(read, sizes, margin) & would_fit
    return _outweigh(int(amiss.sum()), int((fits & ~would_fit).sum()), int((fits | amiss).sum()))


def normalised(values: FloatArray, sides: FloatArray) -> bool:
    """Whether numbers that should be px are shares of the image.

    Args:
        values: [N, 4] as they stand.
        sides: [N, 2] width and height of each box.
    """
    within = (np.abs(values - 0.5) <= 0.5 + SOME).all(axis=1)
    solid = (sides > 0).all(axis=1)  # [0, 0, 0, 0] stands for no box
    whole = (values == np.round(values)).all(axis=1)  # [0, 0, 1, 1] may be the first pixel
    shares = within & solid & ~whole
    if _outweigh(int(shares.sum()), int((solid & ~within).sum()), int(solid.sum())):
        return True
    # Or the sides alone, or a file of one box, or one in which each object fills its image.
    tiny = solid & ((sides < 1).all(axis=1) | within)
    return 2 * int(tiny.sum()) > int(solid.sum())


def misnumbered(
    what: str, known: Collection[Hashable], used: Iterable[Hashable], fewest: int = 1
) -> str:
    """How entries count what they refer to, where that is from 0 for 1 or from 1 for 0; else "".

    Nearly all of the ids are known then, and mean what stands beside the right one.

    Args:
        what: what is counted, such as ``categories``.
        known: ids that are listed.
        used: ids that are referred to, as often as they are: the more, the surer.
        fewest: references that only the other count makes right; fewer may be slips in a file
            that has many.
    """
    listed = {number for number in known if isinstance(number, int)}
    asked = Counter(number for number in used if isinstance(number, int))
    first = min(listed, default=-1)
    if first not in (0, 1):
        return ""
    step = 1 if first == 1 else -1
    amiss = sum(n for one, n in asked.items() if one not in listed and one + step in listed)
    right = sum(n for one, n in asked.items() if one in listed and one + step not in listed)
    needed = 1 if asked.total() <= 1 / SOME else fewest
    if amiss < needed or amiss <= right:
        return ""
    return f"it lists {what} from {first} and refers to them as if from {1 - first}"


def mistyped(known: Collection[Hashable], used: Iterable[Hashable]) -> bool:
    """Whether ids are text in one place and numbers in another."""
    texts = {str(value) for value in known}
    return any(value not in known and str(value) in texts for value in used)


def most(refused: int, total: int, cause: str = "") -> str:
    """That most entries are refused, with the likely cause; "" where most are good.

    Args:
        refused: entries that cannot be used.
        total: all entries.
        cause: of all of them, or else what is wrong with the first.
    """
    if 2 * refused <= total:
        return ""
    return f"{refused} of its {total} annotations cannot be used" + (f": {cause}" if cause else "")


def _outweigh(amiss: int, right: int, total: int) -> bool:
    """Whether entries that only another reading fits outweigh those that only the right one fits.

    Args:
        amiss: of the first kind.
        right: of the second.
        total: of both, and of those that fit either way.
    """
    if amiss >= FEWEST_MIXED and amiss >= MIXED * total:
        return True
    return amiss >= FEWEST and amiss > right and amiss >= SOME * total


def _fit(boxes: FloatArray, sizes: FloatArray, rounding: FloatArray | float) -> BoolArray:
    """Which boxes [N, 4] are neither empty nor inverted, and lie in images of these sizes."""
    x1y1, x2y2 = boxes[:, :2], boxes[:, 2:]
    good = (x2y2 > x1y1) & (x1y1 >= -rounding) & (x2y2 <= sizes + rounding)  # [N, 2]
    fits: BoolArray = np.all(good, axis=1)
    return fits
