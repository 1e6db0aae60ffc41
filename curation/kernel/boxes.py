"""Boxes: overlaps of whole sets of them, conversions, and what makes a box a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from curation.kernel.errors import InvalidBoxes
from curation.kernel.types import FloatArray

ROUNDING = 1.0
"""Px that a box may leave its image by: label tools round."""
LEAST_SIDE_PX = 1.0
"""Of a box; nothing can be seen in less."""


def pairwise_iou(first_xyxy: FloatArray, second_xyxy: FloatArray) -> FloatArray:
    """Jaccard overlap of every box of one set with every box of another.

    Args:
        first_xyxy: [N, 4] float32 px.
        second_xyxy: [M, 4] float32 px.

    Returns:
        [N, M] float32 in 0..1.
    """
    if not len(first_xyxy) or not len(second_xyxy):
        return np.zeros((len(first_xyxy), len(second_xyxy)), np.float32)
    # Imported here: processes that only check boxes are spared 600 MB.
    import torch
    import torchvision.ops

    overlap = torchvision.ops.box_iou(
        torch.from_numpy(np.ascontiguousarray(first_xyxy, np.float32)),
        torch.from_numpy(np.ascontiguousarray(second_xyxy, np.float32)),
    )
    iou: FloatArray = overlap.numpy()
    return iou


def overlaps(
    box_xyxy: Sequence[float], boxes_xyxy: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Jaccard overlap [N] of one box with each of ``boxes_xyxy`` [N, 4], 0 where there is no area.

    In double precision and without PyTorch, for boxes as they are stored.
    """
    box = np.asarray(box_xyxy, np.float64)
    lower, upper = np.maximum(box[:2], boxes_xyxy[:, :2]), np.minimum(box[2:], boxes_xyxy[:, 2:])
    shared = np.clip(upper - lower, 0.0, None).prod(1)
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1)
    union = (box[2] - box[0]) * (box[3] - box[1]) + areas - shared
    found: npt.NDArray[np.float64] = np.divide(
        shared, union, out=np.zeros_like(shared), where=union > 0
    )
    return found


def pairwise_containment(inner_xyxy: FloatArray, outer_xyxy: FloatArray) -> FloatArray:
    """Share of each first box's area that lies inside each second box.

    Args:
        inner_xyxy: [N, 4] float32 px.
        outer_xyxy: [M, 4] float32 px.

    Returns:
        [N, M] float32 in 0..1; what ignore regions are matched by.
    """
    if not len(inner_xyxy) or not len(outer_xyxy):
        return np.zeros((len(inner_xyxy), len(outer_xyxy)), np.float32)
    top_left = np.maximum(inner_xyxy[:, None, :2], outer_xyxy[None, :, :2])  # [N, M, 2]
    bottom_right = np.minimum(inner_xyxy[:, None, 2:], outer_xyxy[None, :, 2:])  # [N, M, 2]
    shared = np.clip(bottom_right - top_left, 0, None).prod(axis=2)  # [N, M]
    area = (inner_xyxy[:, 2:] - inner_xyxy[:, :2]).prod(axis=1)  # [N]
    share: FloatArray = (shared / np.maximum(area, 1e-9)[:, None]).astype(np.float32)
    return share


def xywh_to_xyxy(boxes_xywh: FloatArray) -> FloatArray:
    """COCO's left, top, width, height to x1, y1, x2, y2; both [N, 4] px."""
    boxes = np.asarray(boxes_xywh, np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def xyxy_to_xywh(boxes_xyxy: FloatArray) -> FloatArray:
    """x1, y1, x2, y2 to COCO's left, top, width, height; both [N, 4] px."""
    boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def cxcywh_to_xyxy(boxes_cxcywh: FloatArray) -> FloatArray:
    """Centre x, centre y, width, height to x1, y1, x2, y2; both [N, 4], any one unit."""
    boxes = np.asarray(boxes_cxcywh, np.float32).reshape(-1, 4)
    half = boxes[:, 2:] / 2
    return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)


def xyxy_to_cxcywh(boxes_xyxy: FloatArray) -> FloatArray:
    """x1, y1, x2, y2 to centre x, centre y, width, height; both [N, 4], any one unit."""
    boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + size / 2, size], axis=1)


def clip_boxes(boxes_xyxy: FloatArray, width_px: int, height_px: int) -> FloatArray:
    """Cut [N, 4] px boxes at the border of an image; an outside box becomes empty."""
    limits = np.array([width_px, height_px, width_px, height_px], np.float32)
    clipped: FloatArray = np.clip(np.asarray(boxes_xyxy, np.float32), 0, limits)
    return clipped


def too_thin(boxes_xyxy: FloatArray) -> NDArray[np.bool_]:
    """Which boxes nothing can be seen in: a side is below ``LEAST_SIDE_PX``.

    Every way in asks this. A file of many becomes ignore regions there and says how many; of one
    picture that somebody reports the box is refused, for there is somebody to mend it.

    Args:
        boxes_xyxy: [N, 4] px, cut at the border.

    Returns:
        [N] flags.
    """
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return np.asarray((sides < LEAST_SIDE_PX).any(axis=1), dtype=bool)


def require_valid_boxes(
    boxes_xyxy: FloatArray, width_px: int, height_px: int, where: str
) -> FloatArray:
    """The same boxes, or an error that names the first bad one.

    Args:
        boxes_xyxy: [N, 4] px.
        width_px: of the image.
        height_px: of the image.
        where: what to call the place in the message, such as a file name.

    Returns:
        [N, 4] float32 px.

    Raises:
        InvalidBoxes: a box is not finite, has x2 <= x1 or y2 <= y1, or leaves the image by more
            than one pixel (rounding by labelling tools is cut silently).
    """
    boxes = np.asarray(boxes_xyxy, np.float32).reshape(-1, 4)
    for index, box in enumerate(boxes):
        problem = _problem_of(box, width_px, height_px)
        if problem:
            raise InvalidBoxes(f"{where}: box {index} {box.tolist()} {problem}")
    return clip_boxes(boxes, width_px, height_px)


def _problem_of(box: FloatArray, width_px: int, height_px: int) -> str | None:
    if not np.isfinite(box).all():
        return "is not finite"
    x1, y1, x2, y2 = (float(value) for value in box)
    if x2 <= x1 or y2 <= y1:
        return "is empty or inverted: x2 must exceed x1 and y2 exceed y1"
    if min(x1, y1) < -ROUNDING or x2 > width_px + ROUNDING or y2 > height_px + ROUNDING:
        return f"leaves the {width_px}x{height_px} image"
    return None
