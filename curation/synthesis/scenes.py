"""Places at which nothing stands, for what was taken for an object where none was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.kernel.boxes import pairwise_iou
from curation.kernel.types import BoolArray, Box, Detections, FloatArray, ImageArray, Truth
from curation.synthesis.base import Harm, Role, Scene
from curation.synthesis.geometry import window

TRIES = 12
"""Places tried in a picture before the next is taken."""
HEIGHT = 0.15
"""Of the picture: how far above or below the place of the false detection a place may lie, since
what stands on the ground is taken for other things in the sky."""
SEEN_NEAR = 0.2
"""Overlap with whatever the champion sees, from which something is seen at a place."""
PLAIN = 1.5
"""Of the box of a place: what a control moves of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A picture all of whose objects are known.

    Attributes:
        image: its id.
        role: where it is from.
        pixels: [H, W, 3] uint8.
        truth: of all objects.
        seen: what the champion sees in it, down to scores far below the working threshold.
    """

    image: str
    role: Role
    pixels: ImageArray
    truth: Truth
    seen: Detections


def places(
    pictures: Sequence[Labelled],
    box_xyxy: Box,
    frame_hw: tuple[int, int],
    label: int,
    count: int,
    rng: np.random.Generator,
) -> list[Scene]:
    """Places of the size of a false detection, one a picture at most, in random order.

    Args:
        pictures: to look at.
        box_xyxy: of the false detection, px of its frame.
        frame_hw: of that frame.
        label: its class.
        count: wanted; fewer, where pictures run out.
        rng: of pictures and places.
    """
    found: list[Scene] = []
    for row in rng.permutation(len(pictures)):
        if len(found) == count:
            break
        picture = pictures[row]
        box = _place(picture, box_xyxy, frame_hw, rng)
        if box is not None:
            own = (picture.image, picture.role, picture.pixels, picture.truth)
            found.append(Scene(*own, box, label))
    return found


def _place(
    picture: Labelled, box_xyxy: Box, frame_hw: tuple[int, int], rng: np.random.Generator
) -> Box | None:
    """As large in its picture as the false detection in its frame, about as high."""
    height, width = picture.pixels.shape[:2]
    scale = (height / frame_hw[0], width / frame_hw[1])
    ratio = float(np.sqrt(scale[0] * scale[1]))
    wide, high = (box_xyxy[2] - box_xyxy[0]) * ratio, (box_xyxy[3] - box_xyxy[1]) * ratio
    if wide >= width or high >= height or min(wide, high) <= 0:
        return None
    foot = box_xyxy[3] * scale[0]
    for _ in range(TRIES):
        left = float(rng.uniform(0, width - wide))
        lower = float(np.clip(foot + rng.uniform(-HEIGHT, HEIGHT) * height, high, height))
        box = (left, lower - high, left + wide, lower)
        if _is_empty(picture, box):
            return box
    return None


def _is_empty(picture: Labelled, box: Box) -> bool:
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    half = np.array([box[2] - box[0], box[3] - box[1]]) / 2 * PLAIN
    others = picture.truth.boxes_xyxy  # [N, 4]
    apart = (others[:, :2] >= middle + half) | (others[:, 2:] <= middle - half)
    if not apart.any(axis=1).all():
        return False
    one: FloatArray = np.array([box], np.float32)
    return not bool((pairwise_iou(picture.seen.boxes_xyxy, one) > SEEN_NEAR).any())


def plain(scene: Scene) -> Harm:
    """An empty place as the source of a control: nothing is there, and nothing is seen."""
    size_hw = scene.pixels.shape[0], scene.pixels.shape[1]
    mask: BoolArray = window(scene.box_xyxy, PLAIN, size_hw)
    told = (scene.image, scene.role, scene.pixels, mask, scene.box_xyxy, scene.label, scene.truth)
    return Harm(*told, vacant=True)
