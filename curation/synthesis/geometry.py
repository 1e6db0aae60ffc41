"""Where what hurt comes to lie: relative to the box of the object, feet on feet.

A frame in which an object was missed is moved so that the box of that object falls on the box of
a known one. What stood left of the first then stands left of the second, at its scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from curation.kernel.errors import InvalidBoxes
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, IntArray, Truth

MAX_SCALE = 8.0
"""Of a placement, either way: beyond it a few pixels would make a picture."""
HIDDEN, UNSURE = 0.5, 0.25
"""Share of a box that is covered, from which its object is gone, or nobody knows."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A point p px of the one frame lies at ``scale * p + shift_xy`` px of the other."""

    scale: float
    shift_xy: tuple[float, float]

    def boxes(self, boxes_xyxy: FloatArray) -> FloatArray:
        """[N, 4] float32 px of the other frame; may leave it."""
        moved = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4) * np.float32(self.scale)
        placed: FloatArray = moved + np.array(self.shift_xy * 2, np.float32)
        return placed


def place(box_xyxy: Box, onto_xyxy: Box) -> Placement:
    """Move one box onto another: same area, and the middles of their lower edges meet.

    Args:
        box_xyxy: of the object that was missed, px of its frame.
        onto_xyxy: of the known object, px of its picture.

    Raises:
        InvalidBoxes: a box is empty, or the scale is beyond ``MAX_SCALE``.
    """
    widths = [box[2] - box[0] for box in (box_xyxy, onto_xyxy)]
    heights = [box[3] - box[1] for box in (box_xyxy, onto_xyxy)]
    if min(*widths, *heights) <= 0:
        raise InvalidBoxes(f"boxes {box_xyxy} and {onto_xyxy} must both have an area")
    scale = float(np.sqrt(widths[1] * heights[1] / (widths[0] * heights[0])))
    if not 1 / MAX_SCALE <= scale <= MAX_SCALE:
        raise InvalidBoxes(
            f"box {onto_xyxy} is {scale:.2g} times the size of {box_xyxy}: choose a known object "
            f"within {MAX_SCALE:g} times the size of what was missed"
        )
    middle = (box_xyxy[0] + box_xyxy[2]) / 2
    onto_middle = (onto_xyxy[0] + onto_xyxy[2]) / 2
    return Placement(scale, (onto_middle - scale * middle, onto_xyxy[3] - scale * box_xyxy[3]))


def carry(image: ImageArray, placement: Placement, size_hw: tuple[int, int]) -> ImageArray:
    """A frame moved into another: [h, w, 3] uint8, black where it does not reach.

    Args:
        image: [H, W, 3] uint8.
        placement: of its pixels.
        size_hw: of the other frame.
    """
    smaller = placement.scale < 1
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(_carried(image, placement, size_hw, how, 0), np.uint8)


def carry_labels(
    labels: npt.NDArray[np.int32], placement: Placement, size_hw: tuple[int, int]
) -> npt.NDArray[np.int32]:
    """A map of numbers [H, W] moved likewise: [h, w] int32, -1 where it does not reach."""
    numbers = labels.astype(np.int32)
    return np.asarray(_carried(numbers, placement, size_hw, cv2.INTER_NEAREST, -1), np.int32)


def carry_mask(mask: BoolArray, placement: Placement, size_hw: tuple[int, int]) -> BoolArray:
    """A mask [H, W] moved likewise: [h, w] bool, False where it does not reach."""
    moved: BoolArray = carry_labels(mask.astype(np.int32), placement, size_hw) == 1
    return moved


def carry_alpha(alpha: FloatArray, placement: Placement, size_hw: tuple[int, int]) -> FloatArray:
    """A weight [H, W] in 0..1 moved likewise: [h, w] float32, 0 where it does not reach."""
    levels = np.rint(alpha * 255).astype(np.uint8)
    how = cv2.INTER_AREA if placement.scale < 1 else cv2.INTER_LINEAR
    return np.asarray(_carried(levels, placement, size_hw, how, 0), np.float32) / np.float32(255)


def _carried(
    array: npt.NDArray[np.uint8] | npt.NDArray[np.int32],
    placement: Placement,
    size_hw: tuple[int, int],
    interpolation: int,
    outside: int,
) -> npt.NDArray[np.uint8] | npt.NDArray[np.int32]:
    out = np.full((*size_hw, *array.shape[2:]), outside, array.dtype)
    scale, shift = placement.scale, placement.shift_xy
    spans = []
    for axis in (0, 1):  # rows, columns: of the source only what can be seen is resized
        length, visible, offset = array.shape[axis], size_hw[axis], shift[1 - axis]
        low = max(0, int(np.floor(-offset / scale)) - 1)
        high = min(length, int(np.ceil((visible - offset) / scale)) + 1)
        start = round(low * scale + offset)
        end = round(high * scale + offset)
        if high <= low or end <= start:
            return out
        spans.append((low, high, start, end))
    (top, bottom, row, row_end), (left, right, column, column_end) = spans
    part: npt.NDArray[np.integer] = np.ascontiguousarray(array[top:bottom, left:right])
    size = (column_end - column, row_end - row)
    resized = cv2.resize(part, size, interpolation=interpolation)
    rows = slice(max(0, row), min(size_hw[0], row_end))
    columns = slice(max(0, column), min(size_hw[1], column_end))
    out[rows, columns] = resized[
        rows.start - row : rows.stop - row, columns.start - column : columns.stop - column
    ]
    return out


def window(box_xyxy: Box, scale: float, size_hw: tuple[int, int]) -> BoolArray:
    """[H, W] bool: pixels whose centre lies in the box scaled about its centre."""
    x, y = (box_xyxy[0] + box_xyxy[2]) / 2, (box_xyxy[1] + box_xyxy[3]) / 2
    half_w = (box_xyxy[2] - box_xyxy[0]) * scale / 2
    half_h = (box_xyxy[3] - box_xyxy[1]) * scale / 2
    columns = np.abs(np.arange(size_hw[1]) + 0.5 - x) <= half_w
    rows = np.abs(np.arange(size_hw[0]) + 0.5 - y) <= half_h
    inside: BoolArray = rows[:, None] & columns[None, :]
    return inside


def covered_share(boxes_xyxy: FloatArray, hidden: FloatArray) -> FloatArray:
    """[N] float32 in 0..1: share of each box that a cover [H, W] in 0..1 hides; 1 outside."""
    shares = np.ones(len(boxes_xyxy), np.float32)
    height, width = hidden.shape
    for row, (x1, y1, x2, y2) in enumerate(np.asarray(boxes_xyxy, np.float64)):
        left, right = max(0, round(x1)), min(width, round(x2))
        top, bottom = max(0, round(y1)), min(height, round(y2))
        area = (x2 - x1) * (y2 - y1)
        if right > left and bottom > top and area > 0:
            seen = (1 - hidden[top:bottom, left:right]).sum(dtype=np.float64)
            shares[row] = float(np.clip(1 - seen / area, 0, 1))
    return shares


def still_there(truth: Truth, hidden: FloatArray) -> Truth:
    """The objects that a cover leaves to be seen.

    Args:
        truth: of a frame; its boxes may leave the frame.
        hidden: [H, W] float32 in 0..1, how much of each pixel is covered.

    Returns:
        Objects of which more than ``HIDDEN`` is covered are left out; from ``UNSURE`` on they
        are ignored. Boxes are cut at the border and shrink to what is left of them, where that
        is a rectangle's side.
    """
    share = covered_share(truth.boxes_xyxy, hidden)
    keep: IntArray = np.flatnonzero(share <= HIDDEN)
    height, width = hidden.shape
    boxes = np.clip(truth.boxes_xyxy[keep], 0, np.array([width, height] * 2, np.float32))
    boxes = np.array([_left_of(box, hidden) for box in boxes], np.float32).reshape(-1, 4)
    return Truth(boxes, truth.labels[keep], truth.ignore[keep] | (share[keep] > UNSURE))


def _left_of(box: FloatArray, hidden: FloatArray) -> FloatArray:
    """The box around those rows and columns of a box of which a tenth can be seen."""
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    inside = 1 - hidden[y1:y2, x1:x2]
    if not inside.size:
        return box
    rows = np.flatnonzero(inside.mean(axis=1) >= 0.1)
    columns = np.flatnonzero(inside.mean(axis=0) >= 0.1)
    if not len(rows) or not len(columns):
        return box
    left = np.array([x1 + columns[0], y1 + rows[0], x1 + columns[-1] + 1, y1 + rows[-1] + 1])
    whole = inside.shape == (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    return box if whole else left.astype(np.float32)
