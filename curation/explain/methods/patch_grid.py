"""Square patches near a box, as VX-CODE cuts them: the smaller the box, the smaller the patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation.kernel.types import BoolArray, FloatArray
from curation.superpixels import SegmentArray

_SMALL, _MEDIUM = 0.01, 0.2
"""Shares of the image's area up to which a box is small or medium."""
_SIDES = (24, 16, 8)
"""Patches along a side of the image for small, medium and large boxes."""
_MARGIN = 1 / 7
"""Of the image's sides, around small and medium boxes; around large ones all patches count."""


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """P patches of a grid.

    Attributes:
        cells: [h, w] int32: which patch each pixel is of, -1 for none.
        count: P.
    """

    cells: SegmentArray
    count: int

    def mask(self, shown: BoolArray, beyond: bool) -> FloatArray:
        """[h, w] of 0 and 1: pixels of shown patches [P], and those of none if ``beyond``."""
        table = np.append(shown, beyond).astype(np.float32)  # the last is that of -1
        mask: FloatArray = table[self.cells]
        return mask

    def paint(self, values: FloatArray) -> FloatArray:
        """[h, w] float32: each pixel with its patch's value [P], 0 for none."""
        painted: FloatArray = np.append(values, 0).astype(np.float32)[self.cells]
        return painted


def patches_of(size_hw: tuple[int, ...], box_xyxy: FloatArray, most: int) -> Patches:
    """The patches near a box; those whose middle lies in the window, at most ``most``.

    Args:
        size_hw: (h, w) of the network input.
        box_xyxy: [4] px of it.
        most: where more lie in the window, the grid has fewer patches along a side.
    """
    height, width = size_hw
    x1, y1, x2, y2 = (float(side) for side in box_xyxy)
    share = max(0.0, x2 - x1) * max(0.0, y2 - y1) / (height * width)
    side = _SIDES[0] if share <= _SMALL else _SIDES[1] if share <= _MEDIUM else _SIDES[2]
    window = (0.0, 0.0, float(width), float(height))
    if share <= _MEDIUM:
        across, down = width * _MARGIN, height * _MARGIN
        window = (x1 - across, y1 - down, x2 + across, y2 + down)
    while True:
        found = _cut((height, width), side, window)
        if found.count <= most or side == 1:
            return found
        side -= 1


def _cut(size_hw: tuple[int, int], side: int, window: tuple[float, ...]) -> Patches:
    rows, middles_y = _steps(size_hw[0], side)
    columns, middles_x = _steps(size_hw[1], side)
    inside = ((middles_y >= window[1]) & (middles_y <= window[3]))[:, None] & (
        (middles_x >= window[0]) & (middles_x <= window[2])
    )[None, :]  # [rows, columns]
    if not inside.any():  # a box between the middles: the patch that is nearest
        away = np.abs(middles_y - (window[1] + window[3]) / 2)[:, None] + np.abs(
            middles_x - (window[0] + window[2]) / 2
        )
        inside.flat[int(away.argmin())] = True
    number = np.where(inside, np.cumsum(inside).reshape(inside.shape) - 1, -1)
    return Patches(number[np.ix_(rows, columns)].astype(np.int32), int(inside.sum()))


def _steps(length: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Which part each pixel is of, [length], and the middles of the parts; no part is empty."""
    parts = min(parts, length)
    part = np.arange(length) * parts // length
    middles = np.array([np.flatnonzero(part == one).mean() + 0.5 for one in range(parts)])
    return part, middles
