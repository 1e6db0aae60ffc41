"""Drawing in metres, anti-aliased: sprites are drawn large with Pillow and shrunk once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from curation.kernel.types import BoolArray, FloatArray

Colour: TypeAlias = tuple[float, float, float]
"""Red, green, blue in 0..255."""
Point: TypeAlias = tuple[float, float]
"""x rightwards, y downwards, in metres."""

_OVERSAMPLE = 3
_SOLID = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A cut-out.

    Attributes:
        rgb: [h, w, 3] float32 in 0..255.
        alpha: [h, w] float32 in 0..1.
    """

    rgb: FloatArray
    alpha: FloatArray

    @property
    def size_wh(self) -> tuple[int, int]:
        """(w, h) px."""
        height, width = self.alpha.shape
        return width, height


def fill_of(colour: Colour, factor: float = 1.0) -> tuple[int, int, int, int]:
    """An opaque Pillow colour, brightened or darkened by ``factor``."""
    red, green, blue = (int(min(255, max(0, part * factor))) for part in colour)
    return red, green, blue, 255


class Pen:
    """Draws in metres on a transparent sheet; ``sprite`` shrinks it to pixels."""

    def __init__(self, width_m: float, height_m: float, px_per_m: float) -> None:
        self._scale = px_per_m * _OVERSAMPLE
        size = (
            max(2, round(width_m * px_per_m)) * _OVERSAMPLE,
            max(2, round(height_m * px_per_m)) * _OVERSAMPLE,
        )
        self.image = Image.new("RGBA", size)
        self._draw = ImageDraw.Draw(self.image)

    def _points(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self._scale, y * self._scale) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour, factor: float = 1.0) -> None:
        """Fill a polygon of metre points."""
        self._draw.polygon(self._points(points), fill=fill_of(colour, factor))

    def line(
        self, points: Sequence[Point], colour: Colour, width_m: float, factor: float = 1.0
    ) -> None:
        """Draw a line of ``width_m`` metres through metre points."""
        width = max(_OVERSAMPLE, round(width_m * self._scale))
        self._draw.line(
            self._points(points), fill=fill_of(colour, factor), width=width, joint="curve"
        )

    def disc(self, centre: Point, radius_m: float, colour: Colour, factor: float = 1.0) -> None:
        """Fill a circle."""
        self.oval(centre, radius_m, radius_m, colour, factor)

    def oval(
        self, centre: Point, half_w: float, half_h: float, colour: Colour, factor: float = 1.0
    ) -> None:
        """Fill an ellipse with half axes in metres."""
        (x, y) = centre
        corners = self._points([(x - half_w, y - half_h), (x + half_w, y + half_h)])
        self._draw.ellipse([*corners[0], *corners[1]], fill=fill_of(colour, factor))

    def ring(self, centre: Point, radius_m: float, colour: Colour, width_m: float) -> None:
        """Draw a circle's outline of ``width_m`` metres, inside the radius."""
        (x, y) = centre
        corners = self._points([(x - radius_m, y - radius_m), (x + radius_m, y + radius_m)])
        width = max(_OVERSAMPLE, round(width_m * self._scale))
        self._draw.ellipse([*corners[0], *corners[1]], outline=fill_of(colour), width=width)

    def block(
        self, start: Point, end: Point, colour: Colour, factor: float = 1.0, radius_m: float = 0.0
    ) -> None:
        """Fill a rectangle from its top left to its bottom right corner, rounded by a radius."""
        corners = self._points([start, end])
        self._draw.rounded_rectangle(
            [*corners[0], *corners[1]], radius=radius_m * self._scale, fill=fill_of(colour, factor)
        )

    def sprite(self, flip: bool = False, turn: float = 0.0) -> Sprite:
        """Shrink the sheet to a sprite.

        Args:
            flip: mirror it.
            turn: in 0..0.4; share of its height that the right end loses, as if it were
                further away.
        """
        image = self.image
        if turn:
            image = image.transform(
                image.size,
                Image.Transform.PERSPECTIVE,
                _turned(image.size, turn),
                Image.Resampling.BILINEAR,
            )
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        small = np.asarray(image.reduce(_OVERSAMPLE), np.float32)
        return Sprite(np.ascontiguousarray(small[:, :, :3]), small[:, :, 3] / np.float32(255))


def _turned(size_wh: tuple[int, int], turn: float) -> tuple[float, ...]:
    """Coefficients of Pillow's inverse map ``(a x, d x + y) / (g x + 1)`` for a short right edge.

    The left edge stays; on the right, rows ``top .. top + shrink h`` show the source's 0..h. Two
    thirds of the loss are at the top, since we look slightly down on the street.
    """
    width, height = size_wh
    shrink = 1 - turn
    top = height * turn * 2 / 3
    return (shrink, 0.0, 0.0, -top / width, 1.0, 0.0, (shrink - 1) / width, 0.0)


def paste(canvas: FloatArray, sprite: Sprite, left: int, top: int) -> BoolArray:
    """Lay a sprite over a canvas in place.

    Args:
        canvas: [H, W, 3] float32, changed.
        sprite: may reach over the border.
        left: column of the sprite's first column.
        top: row of its first row.

    Returns:
        [H, W] bool: the pixels that the sprite covers by half or more.
    """
    height, width = canvas.shape[:2]
    covered = np.zeros((height, width), np.bool_)
    x1, y1 = max(left, 0), max(top, 0)
    x2 = min(left + sprite.size_wh[0], width)
    y2 = min(top + sprite.size_wh[1], height)
    if x1 >= x2 or y1 >= y2:
        return covered
    rows, columns = slice(y1 - top, y2 - top), slice(x1 - left, x2 - left)
    alpha = sprite.alpha[rows, columns]
    under = canvas[y1:y2, x1:x2]
    under += (sprite.rgb[rows, columns] - under) * alpha[:, :, None]
    covered[y1:y2, x1:x2] = alpha >= _SOLID
    return covered


def cast_shadow(canvas: FloatArray, centre_x: float, base_y: float, half_w: float) -> None:
    """Darken the ground under an object softly, in place; all px."""
    height, width = canvas.shape[:2]
    half_h = max(2.0, half_w * 0.14)
    x1, x2 = (int(np.clip(centre_x + s * half_w * 1.3, 0, width)) for s in (-1, 1))
    y1, y2 = (int(np.clip(base_y + s * half_h * 1.6, 0, height)) for s in (-1, 1))
    if x1 >= x2 or y1 >= y2:
        return
    x = (np.arange(x1, x2, dtype=np.float32) - centre_x) / half_w
    y = (np.arange(y1, y2, dtype=np.float32) - base_y) / half_h
    distance = x[None, :] ** 2 + y[:, None] ** 2
    shade = 1 - 0.55 * np.clip(1.4 - distance, 0, 1)
    canvas[y1:y2, x1:x2] *= shade[:, :, None].astype(np.float32)


def shaded(sprite: Sprite, rng: np.random.Generator) -> Sprite:
    """The sprite under light from above and from one side, with slight grime."""
    width, height = sprite.size_wh
    vertical = np.linspace(1.12, rng.uniform(0.72, 0.92), height, dtype=np.float32)
    side = rng.uniform(-0.14, 0.14)
    horizontal = np.linspace(1 - side, 1 + side, width, dtype=np.float32)
    grime = rng.normal(1, 0.035, (height // 3 + 1, width // 3 + 1)).astype(np.float32)
    grime = grime.repeat(3, axis=0).repeat(3, axis=1)[:height, :width]
    light = vertical[:, None] * horizontal[None, :] * grime
    return Sprite(np.clip(sprite.rgb * light[:, :, None], 0, 255), sprite.alpha)
