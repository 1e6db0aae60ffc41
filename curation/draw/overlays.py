"""Pictures for people: attributions, boxes and regions over an image, rows, thumbnails.

Sheets of many captioned panels are in :mod:`curation.draw.sheet`.

All functions take and give RGB arrays [H, W, 3] uint8 and change nothing in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from curation.kernel.types import Attribution, BoolArray, Box, FloatArray, ImageArray

Colour: TypeAlias = tuple[int, int, int]

SUPPORTS: Colour = (220, 20, 20)
HURTS: Colour = (20, 60, 230)
TRUTH: Colour = (40, 200, 80)
DETECTED: Colour = (255, 200, 0)
_BACKDROP: Colour = (255, 255, 255)
_ALPHA = 0.6  # of the strongest superpixel, as in the published drawings
_BRIGHTEST = 99.5
"""Percentile of a pixel map's magnitudes that is drawn at full strength: relevance by layers has
single pixels tens of times stronger than the rest, beside which nothing else would be seen."""


def overlay(
    image: ImageArray,
    attribution: Attribution,
    box: Box | None = None,
    label_text: str = "",
    alpha: float = _ALPHA,
    scale: int = 1,
) -> ImageArray:
    """The image under its attribution: red supports, blue hurts, transparent is neutral.

    Args:
        image: [H, W, 3] uint8.
        attribution: drawn as :func:`strength` says; maps of pixels are drawn smoothly.
        box: outlined, px of the image; None for no box.
        label_text: beside the box.
        alpha: opacity of the strongest superpixel, in 0..1.
        scale: whole factor by which the picture is enlarged, so that text fits small images.

    Returns:
        [H * scale, W * scale, 3] uint8.
    """
    canvas = _enlarge(image, scale)
    height, width = canvas.shape[:2]
    smooth = attribution.pixels is not None
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    signed = _resize(strength(attribution), width, height, method)[:, :, None]  # [H, W, 1]
    colour = np.where(signed > 0, np.array(SUPPORTS), np.array(HURTS))  # [H, W, 3]
    opacity = alpha * np.abs(signed)
    blended = canvas * (1 - opacity) + colour * opacity
    picture = np.round(blended).astype(np.uint8)
    if box is None:
        return picture
    x1, y1, x2, y2 = box
    scaled = (x1 * scale, y1 * scale, x2 * scale, y2 * scale)
    return boxes(picture, [scaled], [DETECTED], [label_text])


def strength(attribution: Attribution) -> FloatArray:
    """What is drawn of an attribution: [h, w] float32 in -1..1, 0 where nothing is.

    The values are those that regions are made of, so that a region that hurts lies on blue.
    Superpixels are divided by their greatest magnitude, as in the published drawings. A map of
    pixels is divided by a high percentile of its magnitudes and cut at +-1.
    """
    signed = attribution.region_map()
    magnitude = np.abs(signed)
    top = float(magnitude.max(initial=0))
    if attribution.pixels is not None and top > 0:
        top = float(np.percentile(magnitude[magnitude > 0], _BRIGHTEST))
    if top == 0:
        return np.zeros_like(signed)
    clipped: FloatArray = np.clip(signed / top, -1, 1)
    return clipped


def boxes(
    image: ImageArray,
    boxes_xyxy: Sequence[Box],
    colours: Sequence[Colour],
    texts: Sequence[str],
    scale: int = 1,
) -> ImageArray:
    """The image with outlined boxes.

    Args:
        image: [H, W, 3] uint8.
        boxes_xyxy: px of the image; parts outside are cut.
        colours: one a box.
        texts: one a box, written above it where there is room, else inside; may be empty.
        scale: whole factor by which the picture is enlarged.

    Returns:
        [H * scale, W * scale, 3] uint8.
    """
    canvas = Image.fromarray(_enlarge(image, scale))
    pen = ImageDraw.Draw(canvas)
    thickness = max(1, round(min(canvas.size) / 150))
    for box, colour, text in zip(boxes_xyxy, colours, texts, strict=True):
        corners = _clip([value * scale for value in box], canvas.width, canvas.height)
        pen.rectangle(corners, outline=colour, width=thickness)
        if text:
            _write(pen, text, corners, colour, canvas.size)
    return np.asarray(canvas)


def outline(
    image: ImageArray,
    mask: BoolArray,
    colour: Colour = HURTS,
    thickness_px: int = 2,
    scale: int = 1,
) -> ImageArray:
    """The image with the border of a mask drawn just inside it.

    Args:
        image: [H, W, 3] uint8.
        mask: [h, w] bool on any grid over the image, such as the mask of a region.
        colour: of the line.
        thickness_px: of the line, in pixels of the result.
        scale: whole factor by which the picture is enlarged.

    Returns:
        [H * scale, W * scale, 3] uint8.
    """
    canvas = _enlarge(image, scale).copy()
    height, width = canvas.shape[:2]
    nearest = Image.Resampling.NEAREST
    inside = _resize(mask.astype(np.float32), width, height, nearest) > 0.5  # [H, W]
    core = inside
    for _ in range(thickness_px):
        core = _erode(core)
    canvas[inside & ~core] = colour
    return canvas


def side_by_side(
    images: Sequence[ImageArray], captions: Sequence[str] = (), gap_px: int = 8
) -> ImageArray:
    """Images in a row on white, scaled to the height of the tallest.

    Args:
        images: at least one, [H, W, 3] uint8 each.
        captions: none, or one an image, written under it.
        gap_px: between images.

    Returns:
        [H', W', 3] uint8.

    Raises:
        ValueError: there is no image, or the number of captions differs.
    """
    if not images or (captions and len(captions) != len(images)):
        raise ValueError(f"{len(images)} images and {len(captions)} captions")
    height = max(image.shape[0] for image in images)
    panels = [_to_height(image, height) for image in images]
    width = sum(panel.width for panel in panels) + gap_px * (len(panels) - 1)
    font = _font(height)
    strip = round(font.size * 1.8) if captions else 0
    sheet = Image.new("RGB", (width, height + strip), _BACKDROP)
    pen = ImageDraw.Draw(sheet)
    left = 0
    for index, panel in enumerate(panels):
        sheet.paste(panel, (left, 0))
        if captions:
            pen.text((left, height + round(font.size * 0.3)), captions[index], (0, 0, 0), font)
        left += panel.width + gap_px
    return np.asarray(sheet)


def thumbnail(image: ImageArray, max_side_px: int = 160) -> ImageArray:
    """The image, its longer side reduced to ``max_side_px``; a smaller one is not enlarged."""
    small = Image.fromarray(image)
    small.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
    return np.asarray(small)


def _enlarge(image: ImageArray, scale: int) -> ImageArray:
    if scale < 1:
        raise ValueError(f"scale is {scale}, expected at least 1")
    if scale == 1:
        return image
    size = (image.shape[1] * scale, image.shape[0] * scale)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def _resize(values: FloatArray, width: int, height: int, method: Image.Resampling) -> FloatArray:
    picture = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(picture.resize((width, height), method))


def _erode(mask: BoolArray) -> BoolArray:
    padded = np.pad(mask, 1)
    core: BoolArray = (
        mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    )
    return core


def _clip(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    x1, x2 = (min(max(round(value), 0), width - 1) for value in (box[0], box[2] - 1))
    y1, y2 = (min(max(round(value), 0), height - 1) for value in (box[1], box[3] - 1))
    return x1, y1, max(x1, x2), max(y1, y2)


def _font(height_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=max(10, round(height_px / 28)))
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _write(
    pen: ImageDraw.ImageDraw,
    text: str,
    corners: tuple[int, int, int, int],
    colour: Colour,
    size_wh: tuple[int, int],
) -> None:
    """Text on a plate of the box's colour, kept inside the picture."""
    font = _font(size_wh[1])
    left, top, right, bottom = pen.textbbox((0, 0), text, font)
    width, height = round(right - left) + 4, round(bottom - top) + 4
    x = max(0, min(corners[0], size_wh[0] - width))
    y = corners[1] - height if corners[1] >= height else corners[1]
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    dark = sum(colour) > 380
    pen.text((x + 2 - left, y + 2 - top), text, (0, 0, 0) if dark else (255, 255, 255), font)


def _to_height(image: ImageArray, height: int) -> Image.Image:
    picture = Image.fromarray(image)
    if picture.height == height:
        return picture
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)
