"""A known object in the surroundings of one that was missed: pixels, and nothing but pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray
from curation.synthesis.blend import Blending, blend, colours, move_colours
from curation.synthesis.cutout import cutout, painted_over
from curation.synthesis.geometry import Placement, carry, carry_mask, place

BLENDING: Blending = "pyramid"


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """An object in its picture, cut out.

    Attributes:
        pixels: [H, W, 3] uint8.
        box_xyxy: px.
        alpha: [H, W] float32 in 0..1, how much of each pixel is the object.
    """

    pixels: ImageArray
    box_xyxy: Box
    alpha: FloatArray

    @staticmethod
    def cut(pixels: ImageArray, box_xyxy: Box) -> Object:
        """See :func:`~curation.synthesis.cutout.cutout`."""
        return Object(pixels, box_xyxy, cutout(pixels, box_xyxy))


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """A frame without the object that stood in it.

    Attributes:
        pixels: [H, W, 3] uint8, the object painted over.
        box_xyxy: where it stood, px.
        light: mean and deviation of its Lab colours, see ``blend.colours``.
    """

    pixels: ImageArray
    box_xyxy: Box
    light: tuple[FloatArray, FloatArray]

    @staticmethod
    def of(pixels: ImageArray, box_xyxy: Box, vacant: bool = False) -> Surroundings:
        """Cut the object out and paint over where it stood; where none did, all stays as it is."""
        if vacant:
            return Surroundings(pixels, box_xyxy, colours(pixels, _filled(pixels, box_xyxy)))
        alpha = cutout(pixels, box_xyxy)
        return Surroundings(painted_over(pixels, alpha), box_xyxy, colours(pixels, alpha))


@dataclass(frozen=True, slots=True, eq=False)
class Composite:
    """A finished picture.

    Attributes:
        image: [H, W, 3] uint8.
        base: [H, W, 3] uint8, the object's picture as it was put in: with its colours moved,
            where they were.
        changed: [H, W] float32 in 0..1; where it is 0 the image is the base, byte for byte.
    """

    image: ImageArray
    base: ImageArray
    changed: FloatArray


def surround(
    known: Object,
    around: Surroundings,
    mask: BoolArray,
    light: bool = False,
    blending: Blending = BLENDING,
) -> Composite:
    """Put a known object into what surrounds another.

    Args:
        known: keeps its place, its box and its pixels.
        around: the surroundings that are moved there.
        mask: [H, W] bool on the frame of ``around``: which of its pixels are moved.
        light: whether the object also takes on the colours of the one that stood there.
        blending: see ``blend.blend``.

    Raises:
        InvalidBoxes: the two objects differ too much in size.
    """
    size_hw = known.alpha.shape[0], known.alpha.shape[1]
    placement = place(around.box_xyxy, known.box_xyxy)
    hole = carry_mask(mask, placement, size_hw)
    above = carry(around.pixels, placement, size_hw)
    return put(known, above, hole, around.light if light else None, blending)


def put(
    known: Object,
    above: ImageArray,
    hole: BoolArray,
    light: tuple[FloatArray, FloatArray] | None,
    blending: Blending = BLENDING,
) -> Composite:
    """The same with surroundings [H, W, 3] that were moved before, for many holes of one frame."""
    base = known.pixels if light is None else move_colours(known.pixels, known.alpha, *light)
    ground, changed = blend(base, above, hole, blending)
    weight = changed * (1 - known.alpha)
    keep = known.alpha[..., None]
    image = ground * (1 - keep) + base * keep
    image = np.where((weight > 0)[..., None], np.rint(image), base).astype(np.uint8)
    return Composite(image, base, weight)


def _filled(pixels: ImageArray, box_xyxy: Box) -> FloatArray:
    """[H, W] float32: 1 in the box."""
    filled = np.zeros(pixels.shape[:2], np.float32)
    x1, y1, x2, y2 = (max(0, round(side)) for side in box_xyxy)
    filled[y1:y2, x1:x2] = 1
    return filled


def placed(known: Object, around: Surroundings) -> Placement:
    """Where ``surround`` puts the one frame in the other."""
    return place(around.box_xyxy, known.box_xyxy)
