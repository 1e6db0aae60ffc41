"""The soft mask of an object in its box, and what was behind it; no mask is ever labelled."""

from __future__ import annotations

import cv2
import numpy as np

from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, IntArray

MARGIN = 0.35
"""Of the box's longer side, that is looked at around it for the colours of the background."""
ROUNDS = 4
LEAST, MOST = 0.08, 0.98
"""Share of its box that an object fills; beyond them the cut failed."""
LEAST_REACH = 0.8
"""Share of its box that the box around a cutout covers; less of it, and an ellipse is added."""
SOFT_PX = 0.7
MAX_SIDE_PX = 256
"""Of a window in which an object is cut out: a larger one is shrunk, the mask is soft anyway."""
_RING = 2
_SHIFTS = 24
_PROBES = 400


def cutout(image: ImageArray, box_xyxy: Box) -> FloatArray:
    """How much of each pixel is the object.

    Args:
        image: [H, W, 3] uint8.
        box_xyxy: of the object, px.

    Returns:
        [H, W] float32 in 0..1, 0 outside of the box. An ellipse that fills the box, where the
        colours of object and background cannot be told apart, and with what was cut out, where
        that leaves a fifth of the box empty. Equal inputs, equal masks.

    Source:
        GrabCut (Rother et al., 2004) of OpenCV, started from the box.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = _whole_px(box_xyxy, width, height)
    margin = max(4, round(MARGIN * max(x2 - x1, y2 - y1)))
    left, top = max(0, x1 - margin), max(0, y1 - margin)
    right, bottom = min(width, x2 + margin), min(height, y2 + margin)
    part = np.ascontiguousarray(image[top:bottom, left:right])
    inside = np.zeros(part.shape[:2], np.bool_)
    inside[y1 - top : y2 - top, x1 - left : x2 - left] = True
    found = _grabbed(part, inside)
    if not LEAST <= found.sum() / inside.sum() <= MOST:
        found = _ellipse(inside)
    elif _box_area(found) < LEAST_REACH * inside.sum():  # a box is tight: a part was lost
        found = found | _ellipse(inside)
    alpha = np.zeros((height, width), np.float32)
    soft = cv2.GaussianBlur(found.astype(np.float32), (0, 0), SOFT_PX)
    soft = np.minimum(1, 1.3 * soft)  # the object's own rim stays, or its box would shrink
    alpha[top:bottom, left:right] = soft * inside
    return alpha


def painted_over(image: ImageArray, alpha: FloatArray) -> ImageArray:
    """The image as it may look without the object.

    The hole is filled with the picture itself, moved by that one shift under which the rim of the
    hole agrees best with what comes to lie on it: bricks are continued by bricks. What the shift
    brings from outside or from the object itself is diffused from the rim.

    Args:
        image: [H, W, 3] uint8.
        alpha: [H, W] float32 in 0..1 of the object.

    Returns:
        [H, W, 3] uint8; pixels a little outside of the object are as they were.
    """
    grown = cv2.dilate((alpha > 0.05).astype(np.uint8), np.ones((5, 5), np.uint8))
    hole: BoolArray = grown.astype(np.bool_)
    if not hole.any() or hole.all():
        return image
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    extent = (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    shift = _best_shift(image, hole, extent)
    filled = image.copy()
    left = hole
    if shift is not None:
        moved, usable = _shifted(image, hole, shift)
        take = hole & usable
        filled[take] = moved[take]
        left = hole & ~usable
    if left.any():
        painted = cv2.inpaint(filled, left.astype(np.uint8), 3, cv2.INPAINT_TELEA)
        filled = np.asarray(painted, np.uint8)
    weight = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), 1.0)[..., None]
    weight = np.maximum(weight, (alpha > 0.05)[..., None])
    blended = image * (1 - weight) + filled * weight
    return np.asarray(np.rint(blended), np.uint8)


def _whole_px(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    x1, y1 = min(width - 1, max(0, int(box[0]))), min(height - 1, max(0, int(box[1])))
    x2 = min(width, max(x1 + 1, int(np.ceil(box[2]))))
    y2 = min(height, max(y1 + 1, int(np.ceil(box[3]))))
    return x1, y1, x2, y2


def _grabbed(part: ImageArray, inside: BoolArray) -> BoolArray:
    """[h, w] bool; nothing where the whole window is the object."""
    if inside.all():
        return np.zeros_like(inside)
    shrink = min(1.0, MAX_SIDE_PX / max(part.shape[:2]))
    size = (max(1, round(part.shape[1] * shrink)), max(1, round(part.shape[0] * shrink)))
    pixels = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    small = np.asarray(cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST))
    if small.all() or not small.any():
        return np.zeros_like(inside)
    state = np.where(small, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    ground, object_ = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # its colour clusters start at random
    try:
        cv2.grabCut(pixels, state, (0, 0, 1, 1), ground, object_, ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # fewer colours than clusters: a plain picture has no object to be cut
        return np.zeros_like(inside)
    found = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    back = cv2.resize(found, part.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(back, np.bool_) & inside


def _ellipse(inside: BoolArray) -> BoolArray:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    y = (np.arange(len(inside)) - (rows[0] + rows[-1]) / 2) / (len(rows) / 2)
    x = (np.arange(inside.shape[1]) - (columns[0] + columns[-1]) / 2) / (len(columns) / 2)
    round_ = y[:, None] ** 2 + x[None, :] ** 2 <= 1
    ellipse: BoolArray = inside & round_
    return ellipse


def _box_area(mask: BoolArray) -> int:
    """Px of the box around a mask [h, w]."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0
    return int((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))


def _best_shift(
    image: ImageArray, hole: BoolArray, extent: tuple[int, int]
) -> tuple[int, int] | None:
    """Rows and columns to move the picture by; None where no shift covers half of the hole."""
    size = np.ones((2 * _RING + 1, 2 * _RING + 1), np.uint8)
    rim = cv2.dilate(hole.astype(np.uint8), size).astype(np.bool_) & ~hole
    ring, inside = np.argwhere(rim), np.argwhere(hole)[:: max(1, int(hole.sum()) // _PROBES)]
    best, found = np.inf, None
    height, width = extent
    for dy in sorted({0, -height // 2, height // 2, -height, height}, key=abs):
        for dx in np.linspace(-1.6 * width, 1.6 * width, _SHIFTS).round().astype(int):
            shift = (dy, int(dx))
            share = _brought(hole, inside, shift).mean()
            both = _brought(hole, ring, shift)
            if share < 0.5 or both.mean() < 0.5:
                continue
            here = ring[both]
            there = here - shift
            difference = image[here[:, 0], here[:, 1]].astype(np.float32)
            difference -= image[there[:, 0], there[:, 1]]
            cost = float(np.abs(difference).mean()) + 30 * (1 - float(share))
            if cost < best:
                best, found = cost, shift
    return found


def _brought(hole: BoolArray, places: IntArray, shift: tuple[int, int]) -> BoolArray:
    """[N] bool: to which places (row, column) [N, 2] a shift brings what is not the hole."""
    source = places - shift
    within: BoolArray = (source >= 0) & (source < np.array(hole.shape))  # [N, 2]
    inside: BoolArray = within[:, 0] & within[:, 1]
    brought: BoolArray = inside.copy()
    brought[inside] = ~hole[source[inside, 0], source[inside, 1]]
    return brought


def _shifted(
    image: ImageArray, hole: BoolArray, shift: tuple[int, int]
) -> tuple[ImageArray, BoolArray]:
    """The picture moved by rows and columns, and where it brings what is not the hole itself."""
    dy, dx = shift
    height, width = hole.shape
    moved, usable = np.zeros_like(image), np.zeros_like(hole)
    to_rows = slice(max(0, dy), min(height, height + dy))
    to_columns = slice(max(0, dx), min(width, width + dx))
    rows = slice(max(0, -dy), min(height, height - dy))
    columns = slice(max(0, -dx), min(width, width - dx))
    moved[to_rows, to_columns] = image[rows, columns]
    usable[to_rows, to_columns] = ~hole[rows, columns]
    return moved, usable
