"""Boxes of objects that are given otherwise: as polygons, as masks, as rotated rectangles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.formats.base import Mended
from curation.formats.numbers import number
from curation.kernel.boxes import ROUNDING
from curation.kernel.errors import AnnotationsInvalid

FEWEST_POINTS = 3
UNSEEN_TURN_PX = 0.5
"""How far a rotation may move a corner of a rectangle before it counts as one; label tools write
0.1 and 359.9 degrees for a hand that slipped."""


def box_of_segmentation(segmentation: Any, size_wh: tuple[int, int]) -> list[float] | None:
    """The box around COCO's ``segmentation``, x1, y1, x2, y2 px; None where it holds nothing.

    Args:
        segmentation: polygons, or a mask as run lengths: plain (a list) or packed (text).
        size_wh: of the image; (0, 0) where it is unknown.

    Raises:
        AnnotationsInvalid: it is none of these, or a mask of another size.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, Mapping):
        return _box_of_mask(segmentation, size_wh)
    if not isinstance(segmentation, list):
        raise AnnotationsInvalid("`segmentation` is neither polygons nor a mask")
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    points = [point for polygon in polygons for point in _points(polygon)]
    return box_of_points(points)


def box_of_points(points: Sequence[tuple[float, float]]) -> list[float]:
    """The box around points of an outline, x1, y1, x2, y2 px.

    Raises:
        AnnotationsInvalid: they are too few to enclose anything.
    """
    if len(points) < FEWEST_POINTS:
        raise AnnotationsInvalid(f"its outline has {len(points)} points, which enclose nothing")
    across, down = [x for x, _ in points], [y for _, y in points]
    if not all(map(math.isfinite, (*across, *down))):
        raise AnnotationsInvalid("its outline is not finite")
    return [min(across), min(down), max(across), max(down)]


def _points(polygon: Any) -> list[tuple[float, float]]:
    values = [number(value) for value in polygon] if isinstance(polygon, list) else []
    good = [value for value in values if value is not None]
    if len(good) != len(values) or len(good) % 2 or len(good) < 2 * FEWEST_POINTS:
        raise AnnotationsInvalid(
            "`segmentation` has a polygon that is not x, y of three points or more"
        )
    return list(zip(good[::2], good[1::2], strict=True))


def _box_of_mask(mask: Mapping[str, Any], size_wh: tuple[int, int]) -> list[float] | None:
    """The box around a mask of run lengths, down the columns; None where it is empty.

    Source:
        The COCO API's ``maskApi``: plain counts begin with the run of 0, ``size`` is height, width.
    """
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or [type(side) for side in size] != [int, int] or min(size) < 1:
        raise AnnotationsInvalid("`segmentation` is a mask without a `size` of height and width")
    if all(size_wh) and (size[1], size[0]) != tuple(size_wh):
        raise AnnotationsInvalid(
            f"`segmentation` is a mask of {size[1]}x{size[0]} in an image of "
            f"{size_wh[0]}x{size_wh[1]}"
        )
    # Imported here: few files have masks, and it brings compiled code with it.
    import faster_coco_eval.core.mask as runs

    try:
        if isinstance(counts, list):
            whole = sum(counts) == size[0] * size[1]
            if not whole or not all(type(run) is int and run >= 0 for run in counts):
                raise ValueError("its runs do not fill it")
            packed = runs.frPyObjects([{"size": size, "counts": counts}], *size)
        else:
            packed = [{"size": size, "counts": str(counts).encode("ascii")}]
        x, y, width, height = (float(value) for value in runs.toBbox(packed)[0])
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise AnnotationsInvalid(f"`segmentation` is no mask that can be read ({error})") from error
    return [x, y, x + width, y + height] if width and height else None


def is_turned(rotation_deg: float, sides_wh: tuple[float, float]) -> bool:
    """Whether a rectangle that is rotated about its centre is another one than before."""
    half = math.hypot(*sides_wh) / 2
    away = abs(math.remainder(rotation_deg, 180))
    return math.radians(away) * half >= UNSEEN_TURN_PX


def is_upright(rotation_deg: float, sides_wh: tuple[float, float]) -> bool:
    """Whether a rectangle that is rotated about its centre has upright sides."""
    return not is_turned(rotation_deg, sides_wh) or not is_turned(rotation_deg + 90, sides_wh)


def around_rotated(box_xyxy: Sequence[float], rotation_deg: float) -> list[float]:
    """The upright box x1, y1, x2, y2 px around a rectangle that is rotated about its centre.

    Args:
        box_xyxy: the rectangle before it is rotated.
        rotation_deg: in either direction, which makes no difference here.
    """
    x1, y1, x2, y2 = box_xyxy
    width, height = x2 - x1, y2 - y1
    if not is_turned(rotation_deg, (width, height)):
        return [x1, y1, x2, y2]
    angle = math.radians(math.remainder(rotation_deg, 180))
    if not is_turned(rotation_deg + 90, (width, height)):
        angle = math.pi / 2
    # Rounded, so that a quarter turn swaps the sides exactly.
    across, down = round(abs(math.cos(angle)), 12), round(abs(math.sin(angle)), 12)
    half_x = (width * across + height * down) / 2
    half_y = (width * down + height * across) / 2
    middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
    return [middle_x - half_x, middle_y - half_y, middle_x + half_x, middle_y + half_y]


@dataclass(frozen=True, slots=True)
class Upright:
    """The upright box of a rectangle that was rotated about its centre.

    Attributes:
        box_xyxy: x1, y1, x2, y2 px.
        enclosing: whether it is larger than the rectangle in it.
        clipped: whether it was cut at the border of the picture by more than rounding.
    """

    box_xyxy: list[float]
    enclosing: bool
    clipped: bool

    def count(self, mended: Mended) -> None:
        """Count what is not as it stands in the file."""
        mended.enclosing += self.enclosing
        mended.clipped += self.clipped


def cut_turned(
    around_xyxy: Sequence[float], sides_wh: tuple[float, float], size_wh: tuple[int, int]
) -> tuple[list[float], bool]:
    """The box around a rotated rectangle, cut where the turn alone took it out of the picture.

    A tool keeps what is drawn in the picture, and turns it about its centre afterwards: corners
    then stand out, and nobody meant them. A rectangle that would leave the picture without a turn
    is as doubtful as any other box that does, and stays as it is, to be judged as those are.

    Args:
        around_xyxy: the upright box around the rectangle, px; the centres of both are the same.
        sides_wh: of the rectangle, px.
        size_wh: of the picture, px; (0, 0) where it is unknown, then nothing is cut.

    Returns:
        The box, and whether more than rounding was cut.
    """
    box = [float(value) for value in around_xyxy]
    if not all(size_wh):
        return box, False
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    if not any(_lies_in(centre, sides, size_wh) for sides in (sides_wh, sides_wh[::-1])):
        return box, False
    cut = [min(max(value, 0.0), float(most)) for value, most in zip(box, size_wh * 2, strict=True)]
    return cut, max(abs(old - new) for old, new in zip(box, cut, strict=True)) > ROUNDING


def _lies_in(
    centre_xy: tuple[float, float], sides_wh: tuple[float, float], size_wh: tuple[int, int]
) -> bool:
    return all(
        middle - side / 2 >= -ROUNDING and middle + side / 2 <= most + ROUNDING
        for middle, side, most in zip(centre_xy, sides_wh, size_wh, strict=True)
    )


def upright(
    box_xyxy: Sequence[float], rotation_deg: float, enclose: bool, size_wh: tuple[int, int]
) -> Upright:
    """The box of a rectangle that may be rotated about its centre, within its picture.

    Args:
        box_xyxy: the rectangle before it is rotated, px.
        rotation_deg: of it.
        enclose: whether a box that is larger than the rectangle will do.
        size_wh: of the picture, px; (0, 0) where it is unknown; see :func:`cut_turned`.

    Raises:
        AnnotationsInvalid: it is rotated to where it has no upright sides, and it will not do.
    """
    sides = (box_xyxy[2] - box_xyxy[0], box_xyxy[3] - box_xyxy[1])
    if not math.isfinite(rotation_deg) or not all(map(math.isfinite, box_xyxy)):
        raise AnnotationsInvalid("a rectangle that is not finite")
    enclosing = not is_upright(rotation_deg, sides)
    if enclosing and not enclose:
        raise AnnotationsInvalid(
            f"a rectangle rotated by {rotation_deg:g} degrees, larger than which any upright box "
            "is: `--enclose-rotated` takes the upright box around it"
        )
    around = around_rotated(box_xyxy, rotation_deg)
    if not is_turned(rotation_deg, sides):
        return Upright(around, enclosing, clipped=False)
    box, clipped = cut_turned(around, sides, size_wh)
    return Upright(box, enclosing, clipped)
