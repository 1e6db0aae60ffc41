"""The rival that knows nothing of failures: known objects pasted at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from benchmarks.loop.worlds import World
from curation.kernel.types import ImageArray, Truth
from curation.synthesis import Donor
from curation.synthesis.cutout import cutout
from curation.synthesis.geometry import still_there

SCALES = 0.5, 1.5


def pasted(
    world: World,
    donors: Sequence[Donor],
    labels: Sequence[int],
    count: int,
    rng: np.random.Generator,
) -> Iterator[tuple[str, ImageArray, Truth]]:
    """Labelled pictures with a known object of a class that is missed, anywhere, at any scale.

    Args:
        world: whose labelled pictures.
        donors: known objects.
        labels: classes of what was missed, as often as they were; drawn from.
        count: pictures.
        rng: of all draws.

    Source:
        Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
        Segmentation", CVPR 2021: random places, scales jittered, labels of what is hidden removed.
    """
    for number in range(count):
        label = labels[int(rng.integers(len(labels)))]
        own = [one for one in donors if one.label == label]
        donor = own[int(rng.integers(len(own)))]
        scene = world.train[int(rng.integers(len(world.train)))]
        image, truth = _with(world.image(scene), scene.truth, donor, rng)
        yield f"pasted-{number}", image, truth


def _with(
    image: ImageArray, truth: Truth, donor: Donor, rng: np.random.Generator
) -> tuple[ImageArray, Truth]:
    x1, y1, x2, y2 = (round(side) for side in donor.box_xyxy)
    alpha = cutout(donor.pixels, donor.box_xyxy)[y1:y2, x1:x2]
    height, width = image.shape[:2]
    scale = min(rng.uniform(*SCALES), width / (x2 - x1), height / (y2 - y1))
    size_wh = max(1, int((x2 - x1) * scale)), max(1, int((y2 - y1) * scale))
    pixels = cv2.resize(donor.pixels[y1:y2, x1:x2], size_wh, interpolation=cv2.INTER_AREA)
    seen = cv2.resize(alpha, size_wh, interpolation=cv2.INTER_AREA)[..., None]
    left = int(rng.integers(width - size_wh[0] + 1))
    top = int(rng.integers(height - size_wh[1] + 1))
    part = slice(top, top + size_wh[1]), slice(left, left + size_wh[0])
    changed = image.copy()
    changed[part] = np.rint(pixels * seen + image[part] * (1 - seen)).astype(np.uint8)
    hidden = np.zeros((height, width), np.float32)
    hidden[part] = seen[..., 0]
    rest = still_there(truth, hidden)
    box = np.array([[left, top, left + size_wh[0], top + size_wh[1]]], np.float32)
    return changed, Truth(
        np.concatenate([box, rest.boxes_xyxy]),
        np.concatenate([[donor.label], rest.labels]).astype(np.int64),
        np.concatenate([[False], rest.ignore]),
    )
