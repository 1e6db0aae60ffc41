"""What the network is trained on: windows of real pictures with holes, and what was in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch

from curation.embedding.embed import pool_regions
from curation.kernel.detector import Encoder
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, IntArray
from curation.synthesis.base import require_picture
from curation.synthesis.cutout import cutout
from curation.synthesis.window import Window

REACH = 1.2
"""Of the box's longer side, that holes reach beyond the box."""
RING = 1 / 12
"""Of the picture's shorter side: width of a region's ring, as in the index of regions."""
_PARTS = (1, 4)
_PART = (0.3, 0.9)
"""Sides of the parts of a hole, of the box's longer side."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A real picture, with or without an object that is known in it.

    Attributes:
        image: its id. Pictures that judge models must not be among them.
        pixels: [H, W, 3] uint8.
        box_xyxy: of an object, px; None where none is known.
        label: its class, in 1..K-1; 0 without one.
    """

    image: str
    pixels: ImageArray
    box_xyxy: Box | None = None
    label: int = 0

    def __post_init__(self) -> None:
        require_picture(self.pixels, f"crop of {self.image}")
        if (self.box_xyxy is None) != (self.label == 0):
            raise ValueError(f"crop of {self.image}: a box and a class, or neither")


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """N windows with M holes each.

    Attributes:
        pixels: [N, s, s, 3] uint8.
        inside: [N, s, s] bool, where the window is picture and not padding.
        boxes: [N, s, s] bool, the object's box.
        holes: [N, M, s, s] bool; the object is in none.
        vectors: [N, M, V] float32 of unit length, the region vectors of the holes.
        labels: [N] int64.
        images: ids of the N pictures.
        encoder: version of the encoder of the vectors.
    """

    pixels: ImageArray
    inside: BoolArray
    boxes: BoolArray
    holes: BoolArray
    vectors: FloatArray
    labels: IntArray
    images: tuple[str, ...]
    encoder: str

    def __len__(self) -> int:
        """N."""
        return len(self.labels)

    @property
    def digest(self) -> str:
        """Hash of all of it: training goes on only with what it began with."""
        digest = hashlib.sha256(repr((self.images, self.encoder)).encode())
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                digest.update(f"{one.name}{value.shape}{value.dtype}".encode())
                digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()[:32]


def prepare(
    crops: Iterable[Crop],
    encoder: Encoder,
    side_px: int = 64,
    num_holes: int = 4,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Examples:
    """Windows, holes and region vectors of real pictures; one pass of the encoder a picture.

    Args:
        crops: read one at a time; of each about 40 KB are kept at 64 px.
        encoder: the one that searches the pool.
        side_px: of a window.
        num_holes: M, of each window.
        seed: of the holes.
        progress: is told how many pictures are done.

    Raises:
        ValueError: there is no crop.
        InvalidBoxes: a box lies outside of its picture.
    """
    rows: list[dict[str, Any]] = []
    images: list[str] = []
    for number, crop in enumerate(crops):
        rng = np.random.default_rng([seed, number])
        rows.append(_example(crop, encoder, side_px, num_holes, rng))
        images.append(crop.image)
        progress(number + 1)
    if not rows:
        raise ValueError("there is nothing to train on: give one picture at least")
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Examples(**stacked, images=tuple(images), encoder=encoder.version)


def _example(
    crop: Crop, encoder: Encoder, side_px: int, num_holes: int, rng: np.random.Generator
) -> dict[str, Any]:
    size_hw = crop.pixels.shape[0], crop.pixels.shape[1]
    box, alpha = crop.box_xyxy, np.zeros(size_hw, np.float32)
    if box is not None:
        alpha = cutout(crop.pixels, box)
    around = box or _any_box(size_hw, rng)
    holes = np.stack([_hole(around, alpha, rng) for _ in range(num_holes)])
    seen = holes.any(axis=0) | _filled(size_hw, around)
    window = Window.square(seen, side_px)
    features = encoder.encode([crop.pixels])[0]
    framed = np.stack([window.into_mask(hole) for hole in holes])
    box_mask = _filled(size_hw, box) if box is not None else np.zeros(size_hw, np.bool_)
    return {
        "pixels": window.into(crop.pixels),
        "inside": window.into_mask(np.ones(size_hw, np.bool_)),
        "boxes": window.into_mask(box_mask),
        "holes": framed,
        "vectors": region_vectors(features, holes),
        "labels": np.int64(crop.label),
    }


def region_vectors(features: torch.Tensor, masks: BoolArray) -> FloatArray:
    """[R, V] float32 of unit length: the vectors of regions, each beside that of its ring.

    Training and drawing both take them from here.

    Args:
        features: [D, fh, fw] of one image.
        masks: [R, H, W] bool on the image.
    """
    width = max(1, round(RING * min(masks.shape[1:])))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    rings = [cv2.dilate(mask.astype(np.uint8), kernel).astype(np.bool_) & ~mask for mask in masks]
    return pool_regions(features, masks, np.stack(rings))


def _hole(box: Box, alpha: FloatArray, rng: np.random.Generator) -> BoolArray:
    """[H, W] bool: some ellipses near a box, without the object."""
    height, width = alpha.shape
    side = max(box[2] - box[0], box[3] - box[1])
    hole = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(*_PARTS, endpoint=True)):
        low = np.array([box[0], box[1]]) - REACH * side / 2
        high = np.array([box[2], box[3]]) + REACH * side / 2
        x, y = np.clip(rng.uniform(low, high), 0, [width - 1, height - 1])
        axes = rng.uniform(*_PART, size=2) * side / 2
        cv2.ellipse(
            hole,
            (round(x), round(y)),
            (max(1, round(axes[0])), max(1, round(axes[1]))),
            float(rng.uniform(0, 180)),
            *(0, 360, 1, -1),
        )
    without = hole.astype(np.bool_) & (alpha < 0.5)
    return without if without.any() else alpha < 0.5


def _any_box(size_hw: tuple[int, int], rng: np.random.Generator) -> Box:
    height, width = size_hw
    side = rng.uniform(0.15, 0.35) * min(size_hw)
    x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
    return float(x), float(y), float(x + side), float(y + side)


def _filled(size_hw: tuple[int, int], box: Box) -> BoolArray:
    mask = np.zeros(size_hw, np.bool_)
    x1, y1, x2, y2 = box
    left, top = min(max(0, int(x1)), size_hw[1] - 1), min(max(0, int(y1)), size_hw[0] - 1)
    mask[top : max(top + 1, round(y2)), left : max(left + 1, round(x2))] = True
    return mask
