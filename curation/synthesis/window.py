"""The part of a picture that a network works on, at the size that it was trained for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from curation.kernel.types import BoolArray, FloatArray, ImageArray

MARGIN = 0.25
"""Of the sides of what is looked at, added on each side: what a pipeline fits its filling to."""
MAX_ENLARGED = 2.0
"""An enlarged picture is blurred, and a blurred one is continued blurred: where the picture has
the room, the window is widened instead."""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a picture, scaled and padded for a network.

    Attributes:
        box: x1, y1, x2, y2 in whole px of the picture.
        size_hw: to which it is scaled.
        padded_hw: with what is added at the lower and right ends: multiples of what the pipeline
            divides by.
    """

    box: tuple[int, int, int, int]
    size_hw: tuple[int, int]
    padded_hw: tuple[int, int]

    @staticmethod
    def around(what: BoolArray, side_px: int, multiple: int) -> Window:
        """The window around all that is true.

        Args:
            what: [H, W] bool, true somewhere.
            side_px: the window is scaled to the area of a square of this side, so that memory
                and time are the same for every picture.
            multiple: both padded sides are whole multiples of it.
        """
        height, width = what.shape
        least = max(1, round(side_px / MAX_ENLARGED))
        y1, y2 = _widened(what, 1, least, height)
        x1, x2 = _widened(what, 0, least, width)
        scale = side_px / math.sqrt((y2 - y1) * (x2 - x1))
        size_hw = (max(1, round((y2 - y1) * scale)), max(1, round((x2 - x1) * scale)))
        padded_hw = tuple(multiple * math.ceil(side / multiple) for side in size_hw)
        return Window((x1, y1, x2, y2), size_hw, (padded_hw[0], padded_hw[1]))

    @staticmethod
    def square(what: BoolArray, side_px: int) -> Window:
        """As square a window as the picture has room for, padded to ``side_px`` either way.

        Args:
            what: [H, W] bool, true somewhere.
            side_px: of the padded window; its longer side is scaled to it.
        """
        height, width = what.shape
        spans = [np.flatnonzero(what.any(axis=axis)) for axis in (1, 0)]
        longest = max(int(span[-1] - span[0]) + 1 for span in spans)
        least = max(round(side_px / MAX_ENLARGED), math.ceil(longest * (1 + 2 * MARGIN)))
        y1, y2 = _widened(what, 1, least, height)
        x1, x2 = _widened(what, 0, least, width)
        scale = side_px / max(y2 - y1, x2 - x1)
        sides = [min(side_px, max(1, round(side * scale))) for side in (y2 - y1, x2 - x1)]
        return Window((x1, y1, x2, y2), (sides[0], sides[1]), (side_px, side_px))

    def into(self, pixels: ImageArray) -> ImageArray:
        """The window of a picture [H, W, 3] uint8, scaled, its last rows and columns repeated."""
        scaled = _scaled(self._cut(pixels), self.size_hw)
        return np.asarray(self._padded(scaled), np.uint8)

    def into_mask(self, mask: BoolArray) -> BoolArray:
        """The same of a mask [H, W] bool; what was added is in no mask."""
        scaled = np.asarray(_scaled(self._cut(mask).astype(np.float32), self.size_hw), np.float32)
        padded = np.zeros(self.padded_hw, np.bool_)
        padded[: self.size_hw[0], : self.size_hw[1]] = scaled >= 0.5
        return padded

    def back(self, drawn: FloatArray, below: ImageArray) -> FloatArray:
        """A picture with the window filled: [H, W, 3] float32 in 0..255.

        Args:
            drawn: [h, w, 3] float32 in 0..255 of the padded size.
            below: [H, W, 3] uint8, beside the window.
        """
        x1, y1, x2, y2 = self.box
        inner = drawn[: self.size_hw[0], : self.size_hw[1]]
        filled = below.astype(np.float32)
        filled[y1:y2, x1:x2] = np.clip(_scaled(inner, (y2 - y1, x2 - x1)), 0, 255)
        return filled

    def _cut(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        x1, y1, x2, y2 = self.box
        return array[y1:y2, x1:x2]

    def _padded(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        more = [(0, self.padded_hw[n] - self.size_hw[n]) for n in range(2)]
        return np.pad(array, [*more, *[(0, 0)] * (array.ndim - 2)], mode="edge")


def _widened(what: BoolArray, across: int, least: int, length: int) -> tuple[int, int]:
    """Ends of what is true, seen across an axis: with margin, ``least`` long, within 0..length."""
    where = np.flatnonzero(what.any(axis=across))
    low, high = int(where[0]), int(where[-1]) + 1
    more = max(math.ceil((high - low) * MARGIN), math.ceil((least - (high - low)) / 2))
    low, high = low - more, high + more
    low, high = low - max(0, high - length), high - min(0, low)  # moved inwards, where it may
    return max(0, low), min(length, high)


def _scaled(array: npt.NDArray[np.generic], size_hw: tuple[int, int]) -> npt.NDArray[np.generic]:
    if array.shape[:2] == size_hw:
        return array
    smaller = size_hw[0] * size_hw[1] < array.shape[0] * array.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(array), size_hw[::-1], interpolation=way))
