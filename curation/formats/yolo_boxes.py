"""Boxes of YOLO's rows in pixels, and why the rows of a source are not what they seem."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from curation.formats import doubt
from curation.formats.base import Mended
from curation.formats.outlines import cut_turned
from curation.formats.yolo_rows import (
    QUAD,
    SIDES,
    SIXTH,
    TRIPLE,
    UPRIGHT_PX,
    Corners,
    Reading,
    Row,
    looks_like_key_points,
)
from curation.kernel.boxes import cxcywh_to_xyxy, xywh_to_xyxy
from curation.kernel.types import FloatArray

Kind: TypeAlias = Literal["box", "outline", "enclosing", "key points"]
ROUNDING = 0.01
"""Share of the image that a row may leave it by before the source as a whole is in doubt."""
_ROTATED = (
    "a rotated rectangle is no upright box: `--enclose-rotated` takes the upright one around it, "
    "which is larger than the object"
)
_CORNERS = "its boxes look like x1, y1, x2, y2: YOLO wants centre x, centre y, width, height"
_TOP_LEFT = (
    "its boxes look like left, top, width, height: YOLO wants centre x, centre y, width, height"
)
_PIXELS = (
    "its coordinates look like pixels: YOLO wants shares of the image (0..1), such as "
    "`0 0.5 0.5 0.2 0.1`"
)
_KEY_POINTS = (
    "its rows look like boxes with key points: say so with `kpt_shape` in data.yaml, or keep only "
    "`class cx cy width height`"
)


class NotABox(ValueError):
    """A row says something else than an upright box."""


def box_of(
    row: Row, reading: Reading, size_wh: tuple[int, int], enclose: bool, mended: Mended
) -> tuple[Corners, Kind]:
    """The box of a row, x1, y1, x2, y2 in px, not yet checked against its image; and its kind.

    Args:
        row: numbers of the class and what follows.
        reading: of all rows of the source.
        size_wh: of the image, px.
        enclose: whether a rotated rectangle becomes the upright one around it.
        mended: counts boxes that a turn took out of the picture.

    Raises:
        NotABox: the row is something else; the message says what and what to do.
    """
    count = len(row.values)
    if count == reading.key_points:
        return _centred(row, size_wh), "key points"
    if count == SIDES or (count == TRIPLE and reading.tracks):
        return _centred(row, size_wh), "box"
    if count == SIXTH:
        return _with_sixth(row, reading, size_wh, enclose, mended)
    if count < TRIPLE or count % 2:
        raise NotABox(
            f"expected `class cx cy width height`, found {count + 1} numbers; an outline has a "
            "class and pairs"
        )
    xs = [value * size_wh[0] for value in row.values[::2]]
    ys = [value * size_wh[1] for value in row.values[1::2]]
    around = (min(xs), min(ys), max(xs), max(ys))
    if count == QUAD and reading.quads == "rotated" and not _is_upright(xs, ys, around):
        if not enclose:
            raise NotABox(f"four corners of a slanting rectangle: {_ROTATED}")
        corners = list(zip(xs, ys, strict=True))
        sides = (math.dist(*corners[:2]), math.dist(*corners[1:3]))
        return _within(around, sides, size_wh, mended), "enclosing"
    return around, "outline"


def _with_sixth(
    row: Row, reading: Reading, size_wh: tuple[int, int], enclose: bool, mended: Mended
) -> tuple[Corners, Kind]:
    if reading.sixth in ("confidence", "track"):
        return _centred(row, size_wh), "box"
    if reading.sixth in ("?", "angle or track") and not enclose:
        other = "a confidence" if reading.sixth == "?" else "a track"
        raise NotABox(
            f"the sixth number may be {other} or an angle: leave it out if it is {other}; "
            "`--enclose-rotated` says that rectangles are rotated"
        )
    angle = row.values[-1]
    if reading.sixth in ("degrees", "angle or track"):
        angle = math.radians(angle)
    cx, cy, width, height = _scaled(row, size_wh)
    sine, cosine = abs(math.sin(angle)), abs(math.cos(angle))
    around = (width * cosine + height * sine, width * sine + height * cosine)
    upright = (width, height) if cosine > sine else (height, width)
    slack = max(abs(one - other) for one, other in zip(around, upright, strict=True))
    if slack > 2 * UPRIGHT_PX and not enclose:
        raise NotABox(f"the sixth number looks like an angle: {_ROTATED}")
    kind: Kind = "enclosing" if slack > 2 * UPRIGHT_PX else "box"
    box = _corners(cx, cy, *(around if kind == "enclosing" else upright))
    turned = kind == "enclosing" or upright != (width, height)
    return _within(box, (width, height), size_wh, mended) if turned else box, kind


def _within(
    around: Corners, sides_wh: tuple[float, float], size_wh: tuple[int, int], mended: Mended
) -> Corners:
    box, clipped = cut_turned(around, sides_wh, size_wh)
    mended.clipped += clipped
    return box[0], box[1], box[2], box[3]


def _scaled(row: Row, size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size_wh
    cx, cy, w, h = row.values[:SIDES]
    return cx * width, cy * height, w * width, h * height


def _centred(row: Row, size_wh: tuple[int, int]) -> Corners:
    return _corners(*_scaled(row, size_wh))


def _corners(cx: float, cy: float, width: float, height: float) -> Corners:
    return cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2


def _is_upright(xs: Sequence[float], ys: Sequence[float], around: Corners) -> bool:
    """Whether four points are the four corners of the rectangle around them."""
    x1, y1, x2, y2 = around
    corners = {
        (abs(x - x1) <= UPRIGHT_PX, abs(y - y1) <= UPRIGHT_PX)
        for x, y in zip(xs, ys, strict=True)
        if min(abs(x - x1), abs(x - x2)) <= UPRIGHT_PX
        and min(abs(y - y1), abs(y - y2)) <= UPRIGHT_PX
    }
    return len(corners) == len(xs)


def doubt_of_rows(rows: Sequence[Row], reading: Reading, names: Sequence[str | None]) -> str:
    """Why no row of a source is what it seems; "" if all is well.

    Args:
        rows: all that are numbers.
        reading: of them.
        names: of the classes by number, None where there is none.
    """
    known = [number for number, name in enumerate(names) if name is not None]
    used = [row.number for row in rows]
    if wrong := doubt.misnumbered("classes", known, used, doubt.FEWEST):
        return wrong
    if not reading.key_points and looks_like_key_points(rows):
        return _KEY_POINTS
    outside = sum(any(value > 1 + ROUNDING for value in _places(row, reading)) for row in rows)
    if 2 * outside > len(rows):
        return _PIXELS
    raw, sizes = doubt.as_boxes(
        [list(row.values[:SIDES]) for row in rows if _is_box(row, reading)],
        [(1.0, 1.0) for row in rows if _is_box(row, reading)],
    )
    return _doubt_of_boxes(raw, sizes)


def _doubt_of_boxes(raw: FloatArray, sizes: FloatArray) -> str:
    read = cxcywh_to_xyxy(raw)
    others = ((raw, _CORNERS), (xywh_to_xyxy(raw), _TOP_LEFT))
    likely = [
        (int(_fit(boxes).sum()), told)
        for boxes, told in others
        if doubt.misread(read, boxes, sizes, ROUNDING)
    ]
    return max(likely, key=lambda one: one[0])[1] if likely else ""


def _fit(boxes: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    inside = (boxes >= -ROUNDING).all(axis=1) & (boxes <= 1 + ROUNDING).all(axis=1)
    return np.asarray(inside & (boxes[:, 2:] > boxes[:, :2]).all(axis=1))


def _is_box(row: Row, reading: Reading) -> bool:
    count = len(row.values)
    with_sixth = count == SIXTH and reading.sixth in ("confidence", "track")
    pose = bool(reading.key_points) and count == reading.key_points
    return count == SIDES or with_sixth or pose or (count == TRIPLE and reading.tracks)


def _places(row: Row, reading: Reading) -> Sequence[float]:
    """The numbers of a row that are shares of the image."""
    count = len(row.values)
    outline = count >= TRIPLE and count != reading.key_points and not _is_box(row, reading)
    return row.values if outline else row.values[:SIDES]
