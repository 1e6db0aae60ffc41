"""Boxes that a person or program meant in another way than px corners of the upright picture.

What a whole annotation file gives away, ``curation.formats.doubt`` tells; here is one picture, and
the signs are the same: shares of the image, sides for corners, a picture that was turned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation.formats import doubt
from curation.kernel.boxes import LEAST_SIDE_PX, ROUNDING, too_thin, xywh_to_xyxy
from curation.kernel.errors import InvalidBoxes
from curation.kernel.types import FloatArray
from services.errors import InvalidRequest

GIVE_PIXELS = "coordinates look normalised: give x1, y1, x2, y2 in pixels"


def as_numbers(entries: Sequence[object], where: str) -> FloatArray:
    """Boxes [N, 4] float32 of what came in as JSON or from a command line.

    Raises:
        InvalidRequest: one is not a list of four numbers; true, false and texts are none.
    """
    for index, entry in enumerate(entries):
        numbers = isinstance(entry, list | tuple) and all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in entry
        )
        if not numbers or len(entry) != 4:  # type: ignore[arg-type]
            raise InvalidRequest(f"{where}: box {index} is not four numbers [x1, y1, x2, y2]")
    with np.errstate(over="ignore"):  # 1e39 becomes infinite, which is refused
        return np.array([_floats(entry) for entry in entries], np.float32).reshape(-1, 4)


def _floats(entry: object) -> list[float]:
    assert isinstance(entry, list | tuple)
    return [value if abs(value) < 1e38 else float("inf") for value in entry]  # long integers too


def require_visible(
    clean: FloatArray,
    said: FloatArray,
    ignored: Sequence[bool],
    size_wh: tuple[int, int],
    where: str,
) -> None:
    """Refuse boxes in which nothing can be seen, and say what they look like.

    Args:
        clean: [N, 4] px, cut at the border.
        said: the same as they came.
        ignored: N flags; nothing need be seen in an ignore region.
        size_wh: of the image, px.
        where: what to call the place in messages.

    Raises:
        InvalidBoxes: the boxes are shares of the image, or one is smaller than a pixel.
    """
    if doubt.normalised(said, said[:, 2:] - said[:, :2]):
        meant = np.round(said[0] * np.array([*size_wh, *size_wh]), 1).tolist()
        raise InvalidBoxes(
            f"{where}: {GIVE_PIXELS}; box 0 {_short(said[0])} would be {meant} of this image of "
            f"{size_wh[0]}x{size_wh[1]}"
        )
    small = np.flatnonzero(too_thin(clean) & ~np.array(ignored, bool))
    if len(small):
        first = int(small[0])
        raise InvalidBoxes(
            f"{where}: box {first} {_short(said[first])} is narrower than {LEAST_SIDE_PX:g} px "
            "in the image: nothing can be seen there; leave it out, or mark it `ignore`"
        )


def hint_on(said: FloatArray, size_wh: tuple[int, int]) -> str:
    """How boxes that cannot be right may have been meant; "" where that is not plain.

    Args:
        said: [N, 4] as they came.
        size_wh: of the image, px.
    """
    if not np.isfinite(said).all():
        return ""
    if _fit(xywh_to_xyxy(said), size_wh) and not _fit(said, size_wh):
        return "; as x, y, width, height all would fit: give corners x1, y1, x2, y2"
    if size_wh[0] != size_wh[1] and _fit(said, (size_wh[1], size_wh[0])):
        return (
            f"; in {size_wh[1]}x{size_wh[0]} all would fit: boxes are of the upright picture, as "
            "its EXIF orientation turns it"
        )
    return ""


def _fit(boxes: FloatArray, size_wh: tuple[int, int]) -> bool:
    """Whether boxes [N, 4] lie in an image and have sides that can be seen."""
    x1y1, x2y2 = boxes[:, :2], boxes[:, 2:]
    inside = (x1y1 >= -ROUNDING) & (x2y2 <= np.array(size_wh) + ROUNDING)
    return bool((inside & (x2y2 - x1y1 >= LEAST_SIDE_PX)).all())


def _short(box: FloatArray) -> list[float]:
    return [float(f"{value:g}") for value in box]
