"""Things without a box: trees, bushes, bins, posts, and billboards with or without a car."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from curation.kernel.types import FloatArray
from services.demo.street.canvas import Colour, Pen, Sprite, cast_shadow, paste, shaded
from services.demo.street.textures import textures
from services.demo.street.vehicles import car

_NUM_TREES = 12
_TREE_SIDE_PX = 110
_POST: Colour = (92, 94, 98)
_FRAME: Colour = (66, 68, 74)
_MAGENTA: Colour = (214, 32, 126)
_AWNING: tuple[Colour, Colour] = ((28, 150, 170), (244, 240, 224))
_BINS: tuple[Colour, ...] = ((52, 84, 58), (70, 72, 78), (120, 78, 40), (44, 60, 92))


def _grown(rng: np.random.Generator, bush: bool) -> Sprite:
    """A crown of many leafy discs over a trunk; lit from above, with grass as leaf texture."""
    pen = Pen(1.0, 1.0, _TREE_SIDE_PX)
    green: Colour = (rng.uniform(40, 92), rng.uniform(78, 112), rng.uniform(30, 56))
    if not bush:
        pen.line([(0.5, 0.5), (0.5, 0.99)], (74, 56, 42), 0.07)
    middle, spread = (0.68, 0.22) if bush else (0.36, 0.24)
    for _ in range(70):
        x, y = 0.5 + rng.normal(0, 0.17), middle + rng.normal(0, spread / 2)
        radius = rng.uniform(0.05, 0.12)
        x = float(np.clip(x, radius, 1 - radius))
        y = float(np.clip(y, radius, (0.99 if bush else 0.75) - radius))
        pen.disc((x, y), radius, green, 1.25 - 0.8 * (y - middle + spread) / (2 * spread))
    sprite = pen.sprite()
    grass = textures().tones["grass"][1]
    row, column = rng.integers(0, len(grass) - _TREE_SIDE_PX, 2)
    leaf = grass[row : row + _TREE_SIDE_PX, column : column + _TREE_SIDE_PX]
    height, width = sprite.alpha.shape
    tone = (1 + 0.22 * leaf[:height, :width])[:, :, None]
    return Sprite(np.clip(sprite.rgb * tone, 0, 255).astype(np.float32), sprite.alpha)


@lru_cache(maxsize=1)
def _grove() -> tuple[tuple[Sprite, ...], tuple[Sprite, ...]]:
    rng = np.random.default_rng(11)
    trees = tuple(_grown(rng, bush=False) for _ in range(_NUM_TREES))
    return trees, tuple(_grown(rng, bush=True) for _ in range(_NUM_TREES))


def _resized(sprite: Sprite, width: int, height: int, flip: bool) -> Sprite:
    stacked = np.concatenate([sprite.rgb, sprite.alpha[:, :, None] * 255], axis=2)
    image = Image.fromarray(stacked.astype(np.uint8), "RGBA")
    image = image.resize((max(2, width), max(2, height)), Image.Resampling.BOX)
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small = np.asarray(image, np.float32)
    return Sprite(small[:, :, :3], small[:, :, 3] / np.float32(255))


def plant(rng: np.random.Generator, height_px: float, bush: bool) -> Sprite:
    """A tree or a bush of about ``height_px`` px."""
    grown = _grove()[1 if bush else 0]
    base = grown[rng.integers(len(grown))]
    width = height_px * rng.uniform(0.75, 1.1)
    sprite = _resized(base, round(width), round(height_px), bool(rng.random() < 0.5))
    return Sprite(np.clip(sprite.rgb * rng.uniform(0.75, 1.2), 0, 255), sprite.alpha)


def bin_(rng: np.random.Generator, px_per_m: float) -> Sprite:
    """A litter bin, a cabinet or a bollard."""
    colour = _BINS[rng.integers(len(_BINS))]
    pen = Pen(0.8, 1.1, px_per_m)
    if rng.random() < 0.4:
        pen.block((0.28, 0.1), (0.52, 1.08), colour, radius_m=0.1)
        pen.block((0.28, 0.25), (0.52, 0.4), (230, 226, 214))
    else:
        pen.polygon([(0.12, 0.2), (0.68, 0.2), (0.62, 1.08), (0.18, 1.08)], colour)
        pen.block((0.06, 0.08), (0.74, 0.24), colour, 0.7, radius_m=0.06)
    return shaded(pen.sprite(), rng)


def kiosk(rng: np.random.Generator, px_per_m: float) -> Sprite:
    """A kiosk with a striped awning: nothing else looks like it."""
    pen = Pen(3.4, 2.7, px_per_m)
    pen.block((0.3, 0.8), (3.1, 2.68), (206, 196, 170), float(rng.uniform(0.85, 1.1)))
    pen.block((0.6, 1.1), (2.8, 1.75), (52, 58, 70))
    pen.block((0.3, 1.8), (3.1, 1.95), (120, 86, 60))
    stripes = 9
    for number in range(stripes):
        left, right = (0.05 + 3.3 * (number + step) / stripes for step in (0, 1))
        inner_left, inner_right = (1.7 + (x - 1.7) * 0.8 for x in (left, right))
        pen.polygon(
            [(inner_left, 0.2), (inner_right, 0.2), (right, 1.0), (left, 1.0)], _AWNING[number % 2]
        )
    return shaded(pen.sprite(), rng)


def post(px_per_m: float, height_m: float) -> Sprite:
    """The post of a sign or a lamp."""
    pen = Pen(0.12, height_m, px_per_m)
    pen.block((0.02, 0.0), (0.1, height_m), _POST)
    return pen.sprite()


def _board(px_per_m: float, width_m: float, height_m: float, frame: Colour = _FRAME) -> Pen:
    pen = Pen(width_m, height_m + 0.7, px_per_m)
    for x in (0.25, width_m - 0.35):
        pen.block((x, height_m - 0.1), (x + 0.14, height_m + 0.69), _POST)
    pen.block((0.0, 0.0), (width_m, height_m), frame, radius_m=0.06)
    return pen


def _hang(board: Sprite, picture: FloatArray, margin: int) -> Sprite:
    rgb = board.rgb.copy()
    height, width = picture.shape[:2]
    rgb[margin : margin + height, margin : margin + width] = picture
    return Sprite(rgb, board.alpha)


def _inner_size(px_per_m: float, width_m: float, height_m: float) -> tuple[int, int, int]:
    margin = max(2, round(0.12 * px_per_m))
    return (
        max(4, round(width_m * px_per_m) - 2 * margin),
        max(4, round(height_m * px_per_m) - 2 * margin),
        margin,
    )


def photo_billboard(rng: np.random.Generator, px_per_m: float) -> Sprite:
    """A billboard with a photograph that shows none of the classes."""
    width_m, height_m = float(rng.uniform(2.4, 4.2)), float(rng.uniform(1.6, 2.2))
    width, height, margin = _inner_size(px_per_m, width_m, height_m)
    photos = textures().photos
    photo = photos[str(rng.choice(sorted(photos)))]
    share = rng.uniform(0.6, 1.0)
    rows, columns = int(photo.shape[0] * share), int(photo.shape[1] * share)
    top, left = rng.integers(0, (photo.shape[0] - rows + 1, photo.shape[1] - columns + 1))
    crop = Image.fromarray(photo[top : top + rows, left : left + columns])
    picture = np.asarray(crop.resize((width, height), Image.Resampling.BOX), np.float32)
    board = _board(px_per_m, width_m, height_m).sprite()
    return _hang(board, picture * np.float32(rng.uniform(0.8, 1.1)), margin)


def car_billboard(rng: np.random.Generator, px_per_m: float) -> tuple[Sprite, tuple[int, ...]]:
    """A billboard with the picture of a car: the look-alike.

    Returns:
        the sprite, and left, top, right, bottom of the pictured car in the sprite, px.
    """
    width_m, height_m = 5.2, 2.3
    width, height, margin = _inner_size(px_per_m, width_m, height_m)
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = np.asarray((150, 176, 120), np.float32) * np.float32(rng.uniform(0.7, 1.1))
    picture[round(height * 0.42) :] = np.float32(rng.uniform(84, 112))  # the pictured road
    picture += rng.normal(0, 7, (height, width, 1)).astype(np.float32)
    sprite, _ = car(rng, px_per_m * float(rng.uniform(0.95, 1.05)), view="side")
    car_w, car_h = sprite.size_wh
    left, top = max((width - car_w) // 2, 0), max(height - car_h - height // 7, 0)
    cast_shadow(picture, left + car_w / 2, top + car_h, car_w / 2)
    paste(picture, sprite, left, top)
    box = (left + margin, top + margin, left + margin + car_w, top + margin + car_h)
    return _hang(_board(px_per_m, width_m, height_m, _MAGENTA).sprite(), picture, margin), box
