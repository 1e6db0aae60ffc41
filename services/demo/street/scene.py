"""One rendered scene with its truth: what a split yields, and the builder that composes it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageFilter

from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, Truth
from services.demo.street.backdrop import Layout
from services.demo.street.canvas import Sprite, cast_shadow, paste
from services.demo.street.vehicles import Tags

MIN_SIDE_PX = 8
_MIN_VISIBLE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Lookalike:
    """Something that is no object but looks like one.

    Attributes:
        box_xyxy: px, around what resembles the class.
        label: the class that it is taken for.
        cause: name of the planted cause.
        mask: [H, W] bool, its pixels.
    """

    box_xyxy: Box
    label: int
    cause: str
    mask: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One image of the street world.

    Attributes:
        name: unique over splits, seeds and indices; usable as a file name.
        image: [H, W, 3] uint8.
        truth: M objects; boxes enclose what is visible of each.
        attributes: per object: colour, view, flip, distance, height_px.
        causes: per object the name of its planted cause, or None.
        cause_masks: [M, H, W] bool; per object the pixels that make it fail, empty if none.
        lookalikes: planted causes without a box.
        tags: of the whole image: sky, ground, light.
    """

    name: str
    image: ImageArray
    truth: Truth
    attributes: tuple[Tags, ...]
    causes: tuple[str | None, ...]
    cause_masks: BoolArray
    lookalikes: tuple[Lookalike, ...] = ()
    tags: Tags = field(default_factory=dict)

    @property
    def planted(self) -> tuple[str, ...]:
        """Names of the causes in this image, sorted."""
        names = {cause for cause in self.causes if cause}
        return tuple(sorted(names | {entry.cause for entry in self.lookalikes}))


@dataclass(slots=True, eq=False)
class Thing:
    """A sprite at its place; ``label`` 0 is clutter."""

    sprite: Sprite
    left: int
    top: int
    base: float
    label: int = 0
    tags: Tags = field(default_factory=dict)
    cause: str | None = None
    shadow: bool = True
    visible: BoolArray | None = None

    @property
    def box(self) -> Box:
        """x1, y1, x2, y2 px; may leave the image."""
        width, height = self.sprite.size_wh
        return (self.left, self.top, self.left + width, self.top + height)


def stand(layout: Layout, sprite: Sprite, x: float, base: float, lift_px: float = 0.0) -> Thing:
    """A sprite whose lower edge is at row ``base``, centred on column ``x``, lifted by px."""
    width, height = sprite.size_wh
    return Thing(sprite, round(x - width / 2), round(base - height - lift_px), base)


def compose(canvas: FloatArray, things: list[Thing]) -> None:
    """Draw from far to near, in place; each thing learns which of its pixels stay visible."""
    things.sort(key=lambda thing: thing.base)
    for number, thing in enumerate(things):
        x1, _, x2, y2 = thing.box
        if thing.shadow:
            cast_shadow(canvas, (x1 + x2) / 2, y2, (x2 - x1) / 2)
        thing.visible = paste(canvas, thing.sprite, thing.left, thing.top)
        for earlier in things[:number]:
            if earlier.visible is not None:
                earlier.visible &= ~thing.visible


def box_of(mask: BoolArray) -> Box | None:
    """The box around a mask [H, W]; None if a side is shorter than 8 px."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    x1, y1, x2, y2 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    if min(x2 - x1, y2 - y1) < MIN_SIDE_PX:
        return None
    return float(x1), float(y1), float(x2), float(y2)


def enough_visible(thing: Thing) -> bool:
    """Whether a quarter of the sprite can be seen; what shows less is not labelled."""
    assert thing.visible is not None, "compose() has not run"
    solid = float((thing.sprite.alpha >= 0.5).sum())
    return float(thing.visible.sum()) >= _MIN_VISIBLE * solid


def lens(rng: np.random.Generator, canvas: FloatArray, sky: str) -> tuple[ImageArray, Tags]:
    """Light, exposure, blur and sensor noise: from canvas to image [H, W, 3] uint8 and tags."""
    exposure = float(rng.uniform(0.78, 1.15))
    warm = float(rng.uniform(-0.05, 0.05)) + (0.06 if sky == "dusk" else 0.0)
    gain = np.asarray((1 + warm, 1.0, 1 - warm), np.float32) * np.float32(exposure)
    image = np.clip(canvas * gain, 0, 255).astype(np.uint8)
    blur = float(max(0.0, rng.uniform(-0.4, 0.9)))
    if blur > 0.2:
        image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(blur)))
    sigma = float(rng.uniform(1.5, 7.0))
    # One value for the three colours: sensor noise is mostly of brightness, and it is three
    # times faster to draw.
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32) * np.float32(sigma)
    noisy: ImageArray = np.clip(image + noise[:, :, None], 0, 255).astype(np.uint8)
    return noisy, {"exposure": round(exposure, 3), "blur": round(blur, 3), "noise": round(sigma, 2)}
