"""The page's pictures: frames with boxes, overlays, outlined regions, as data URIs.

Everything is drawn after the picture has its final size, so that lines and words stay legible
whether the frame has 200 or 4000 pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from curation import draw
from curation.draw import Colour
from curation.kernel import images
from curation.kernel.types import Attribution, BoolArray, Box, Detections, ImageArray

PANEL_PX, SAMPLE_PX, THUMB_PX = 400, 240, 120
QUALITY = 80
DIM = 0.45
"""Brightness outside the outlined regions."""
WRONG: Colour = (235, 60, 60)
MATCHED: Colour = (70, 130, 255)
ZOOM_MARGIN, ZOOM_LEAST, ZOOM_WORTH = 0.3, 0.3, 0.75
"""Space around what is shown, smallest window and largest worth a zoom, as shares of the frame."""


@dataclass(slots=True)
class PictureBudget:
    """How many bytes the pictures of a page may take, and took.

    Attributes:
        limit: bytes of data URIs.
        spent: so far.
    """

    limit: int
    spent: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether pictures must be left out from now on."""
        return self.spent >= self.limit

    def encode(self, picture: ImageArray) -> str:
        """A picture as a data URI."""
        data = images.encode_jpeg(picture, QUALITY)
        text = "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")
        self.spent += len(text)
        return text


@dataclass(frozen=True, slots=True)
class View:
    """A window of a frame, shown at a given width.

    Attributes:
        window: px of the frame.
        width_px: of the picture.
    """

    window: Box
    width_px: int

    @staticmethod
    def whole(image: ImageArray, width_px: int) -> View:
        """The whole frame."""
        return View((0.0, 0.0, float(image.shape[1]), float(image.shape[0])), width_px)

    @property
    def scale(self) -> float:
        """Picture pixels a frame pixel."""
        return self.width_px / (self.window[2] - self.window[0])

    def crop(self, image: ImageArray) -> ImageArray:
        """The window of an image of the frame's size."""
        left, top, right, bottom = (round(value) for value in self.window)
        size = (self.width_px, max(1, round((bottom - top) * self.scale)))
        part = Pillow.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
        return np.asarray(part.resize(size, Pillow.Resampling.LANCZOS))

    def box(self, box: Sequence[float]) -> Box:
        """A box of the frame in pixels of the picture."""
        left, top, scale = self.window[0], self.window[1], self.scale
        x1, y1, x2, y2 = (float(value) for value in box)
        return (
            (x1 - left) * scale,
            (y1 - top) * scale,
            (x2 - left) * scale,
            (y2 - top) * scale,
        )

    def shows(self, box: Sequence[float]) -> bool:
        """Whether any of a box is inside."""
        x1, y1, x2, y2 = box
        left, top, right, bottom = self.window
        return x1 < right and x2 > left and y1 < bottom and y2 > top


def zoom(image: ImageArray, boxes: Sequence[Sequence[float]], width_px: int) -> View:
    """A view of these boxes with some space around, of the frame's shape; all of it if large."""
    height, width = image.shape[:2]
    corners = np.asarray(boxes, np.float64)
    x1, y1 = corners[:, 0].min(), corners[:, 1].min()
    x2, y2 = corners[:, 2].max(), corners[:, 3].max()
    share = max((x2 - x1) / width, (y2 - y1) / height) * (1 + 2 * ZOOM_MARGIN)
    share = max(share, ZOOM_LEAST)
    if share > ZOOM_WORTH:
        return View.whole(image, width_px)
    wide, high = round(width * share), round(height * share)
    left = min(max(round((x1 + x2 - wide) / 2), 0), width - wide)
    top = min(max(round((y1 + y2 - high) / 2), 0), height - high)
    return View((float(left), float(top), float(left + wide), float(top + high)), width_px)


@dataclass(frozen=True, slots=True)
class Mark:
    """A box to draw, px of the frame, with a word or none."""

    box: Sequence[float]
    colour: Colour
    text: str = ""


def detection_marks(detections: Detections, names: Sequence[str], threshold: float) -> list[Mark]:
    """What a detector shows at its working threshold."""
    shown = detections.above(threshold)
    return [
        Mark([float(v) for v in box], draw.DETECTED, f"{names[label]} {score:.0%}")
        for box, label, score in zip(shown.boxes_xyxy, shown.labels, shown.scores, strict=True)
    ]


def bold(box: Sequence[float], colour: Colour, view: View) -> list[Mark]:
    """A box with a line of twice the width."""
    x1, y1, x2, y2 = (float(value) for value in box)
    pixel = 1 / view.scale
    return [Mark(box, colour), Mark((x1 + pixel, y1 + pixel, x2 - pixel, y2 - pixel), colour)]


def frame(view: View, image: ImageArray, marks: Sequence[Mark]) -> ImageArray:
    """The window with boxes."""
    seen = [mark for mark in marks if view.shows(mark.box)]
    return draw.boxes(
        view.crop(image),
        [view.box(mark.box) for mark in seen],
        [mark.colour for mark in seen],
        [mark.text for mark in seen],
    )


def overlay(
    view: View, image: ImageArray, attribution: Attribution, marks: Sequence[Mark]
) -> ImageArray:
    """The window under its attribution: red supports, blue hurts."""
    return frame(view, draw.overlay(image, attribution), marks)


def regions(
    view: View, image: ImageArray, masks: BoolArray, colour: Colour, marks: Sequence[Mark]
) -> ImageArray:
    """The window with the regions [R, h, w] outlined and everything else dimmed."""
    height, width = image.shape[:2]
    merged = masks.any(axis=0) if len(masks) else np.zeros((1, 1), np.bool_)
    bright = Pillow.fromarray(merged.astype(np.uint8))
    sized = bright.resize((width, height), Pillow.Resampling.NEAREST)
    inside = np.asarray(sized)[:, :, None] > 0  # [H, W, 1]
    picture = np.where(inside, image, (image * DIM).astype(np.uint8))
    thickness = max(1, round(2 / view.scale))
    for mask in masks:
        picture = draw.outline(picture, mask, colour, thickness)
    return frame(view, picture, marks)
