"""Small pictures with a known object, and a champion with a known answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation.kernel.boxes import overlaps
from curation.kernel.types import Box, FloatArray, ImageArray, Truth
from curation.synthesis import Donor, Harm

SIZE_HW = (96, 128)
GUILTY = np.array((170, 60, 150))
PAINT = np.array((235, 220, 40))
CAR, VAN = 1, 2


def ground(rng: np.random.Generator) -> ImageArray:
    """A rough grey ground with blocks, another in every picture."""
    blocks = rng.integers(60, 140, (6, 8, 1)).repeat(16, 0).repeat(16, 1)
    return np.clip(blocks + rng.normal(0, 6, (*SIZE_HW, 3)), 0, 255).astype(np.uint8)


def paint(image: ImageArray, box: Box, colour: np.ndarray, rng: np.random.Generator) -> None:
    """Fill a box with a noisy colour."""
    x1, y1, x2, y2 = (int(side) for side in box)
    noise = rng.normal(0, 6, (y2 - y1, x2 - x1, 3))
    image[y1:y2, x1:x2] = np.clip(colour + noise, 0, 255)


def donor(seed: int, name: str | None = None, score: float = 0.9) -> Donor:
    """A yellow object on grey; its size and place differ by seed."""
    rng = np.random.default_rng(seed)
    image = ground(rng)
    x, y = rng.integers(30, 76), rng.integers(26, 56)
    width, height = rng.integers(16, 24), rng.integers(14, 20)
    box = (float(x), float(y), float(x + width), float(y + height))
    paint(image, box, PAINT, rng)
    truth = Truth(np.array([box], np.float32), np.array([CAR]), np.zeros(1, np.bool_))
    return Donor(name or f"donor-{seed}", "train", image, truth, 0, score)


def harm(seed: int, name: str | None = None, colour: np.ndarray = GUILTY, **more) -> Harm:
    """An object missed among the colour that hurts."""
    rng = np.random.default_rng(1000 + seed)
    image, box = ground(rng), (54.0, 40.0, 74.0, 56.0)
    around = (38.0, 28.0, 92.0, 68.0)
    paint(image, around, colour, rng)
    paint(image, box, PAINT, rng)
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[28:68, 38:92] = True
    told = {"truth": Truth.empty(), **more}
    return Harm(name or f"frame-{seed}", "field", image, mask, box, CAR, **told)


def harmless(seed: int) -> Harm:
    """The same without the colour."""
    return harm(seed, f"plain-{seed}", np.array((100, 100, 100)))


def champion(
    images: Sequence[ImageArray], boxes: Sequence[Box], labels: Sequence[int]
) -> FloatArray:
    """Finds what is yellow where it is, unless what hurts is around it."""
    scores = np.zeros(len(images), np.float32)
    for n, (image, box, label) in enumerate(zip(images, boxes, labels, strict=True)):
        yellow = np.abs(image.astype(int) - PAINT).sum(-1) < 90
        rows, columns = np.flatnonzero(yellow.sum(1) > 4), np.flatnonzero(yellow.sum(0) > 4)
        if label != CAR or not len(rows) or not len(columns):
            continue
        found = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        x1, y1, x2, y2 = (max(0, int(side)) for side in found)
        near = image[max(0, y1 - 6) : y2 + 6, max(0, x1 - 6) : x2 + 6].astype(int)
        guilt = (np.abs(near - GUILTY).sum(-1) < 120).mean()
        overlap = overlaps(box, np.array([found], np.float64))[0]
        scores[n] = (0.9 - 2 * guilt if overlap >= 0.5 else 0.0) if guilt < 0.45 else 0.0
    return np.maximum(scores, 0)
