"""Small pictures with a known object, and a champion with a known answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation.kernel.boxes import overlaps
from curation.kernel.types import Box, Detections, FloatArray, ImageArray, Truth
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


def find(image: ImageArray) -> tuple[Box, float] | None:
    """The yellow object of a picture, and how sure one is of it: less, the more guilt is around."""
    yellow = np.abs(image.astype(int) - PAINT).sum(-1) < 90
    rows, columns = np.flatnonzero(yellow.sum(1) > 4), np.flatnonzero(yellow.sum(0) > 4)
    if not len(rows) or not len(columns):
        return None
    x1, y1, x2, y2 = (float(s) for s in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    left, top = max(0, int(x1) - 6), max(0, int(y1) - 6)
    near = image[top : int(y2) + 6, left : int(x2) + 6].astype(int)
    guilt = (np.abs(near - GUILTY).sum(-1) < 120).mean()
    return (x1, y1, x2, y2), float(max(0.0, 0.9 - 2 * guilt))


def champion(
    images: Sequence[ImageArray], boxes: Sequence[Box], labels: Sequence[int]
) -> FloatArray:
    """Finds what is yellow where it is, unless what hurts is around it."""
    scores = np.zeros(len(images), np.float32)
    for n, (image, box, label) in enumerate(zip(images, boxes, labels, strict=True)):
        found = find(image)
        if found is not None and label == CAR:
            overlap = overlaps(box, np.array([found[0]], np.float64))[0]
            scores[n] = found[1] if overlap >= 0.5 else 0.0
    return scores


class Toy:
    """The same as a detector."""

    version = "toy"

    def predict(
        self, images: Sequence[ImageArray], score_threshold: float = 0.01
    ) -> list[Detections]:
        """One detection of each picture, or none."""
        answers = []
        for image in images:
            found = find(image)
            sure = [found] if found is not None and found[1] > score_threshold else []
            boxes = np.array([box for box, _ in sure], np.float32).reshape(-1, 4)
            scores = np.array([score for _, score in sure], np.float32)
            labels = np.full(len(sure), CAR, np.int64)
            answers.append(Detections(boxes, scores, labels, np.zeros(len(sure), np.int64)))
        return answers
