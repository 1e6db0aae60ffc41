"""A share of what is trained on, held back to see when a training has learnt enough."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from curation.kernel.batching import in_batches
from curation.kernel.detector import Detector
from curation.kernel.manifest import Manifest, ManifestItem
from curation.kernel.types import Detections
from retrain import processes
from retrain.data import TrainingSet
from retrain.errors import TrainingDataInvalid
from retrain.evaluate import score_detections

LEAST_IMAGES, LEAST_OBJECTS = 8, 20
"""Of fewer, AP50 says nothing that a training could be ended by."""
MOST_IMAGES = 200
MOST_SHARE = 0.25
"""More than this is not taken from a set, however small it is."""
_MIN_SCORE = 0.01


@dataclass(frozen=True, slots=True)
class Held:
    """What is held back.

    Attributes:
        rows: of the training set, rising.
        objects: in them that count.
        why_not: why there are none, for people; "" where nobody asked.
    """

    rows: tuple[int, ...] = ()
    objects: int = 0
    why_not: str = ""


def held_out(items: Sequence[ManifestItem], share: float, seed: int) -> Held:
    """Rows to hold back: whole groups, drawn by the hash of seed and name.

    An image without a group is one by itself. Drawn images stay with the training: they are made
    of its images.

    Args:
        items: all that could be trained on, in the order of the rows.
        share: of the images, in (0, 1); more, up to a quarter, where it would be too few.
        seed: another one draws another share.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, item in enumerate(items):
        if not item.generated:
            groups[f"group {item.group}" if item.group else item.image].append(row)
    most = int(MOST_SHARE * len(items))
    wanted = min(max(round(share * len(items)), LEAST_IMAGES), MOST_IMAGES)
    rows: list[int] = []
    objects = 0
    for name in sorted(groups, key=lambda name: _drawn(seed, name)):
        if len(rows) >= wanted and objects >= LEAST_OBJECTS:
            break
        if len(rows) + len(groups[name]) <= most:
            rows += groups[name]
            objects += sum(not out for row in groups[name] for out in items[row].ignore)
    if len(rows) < LEAST_IMAGES or objects < LEAST_OBJECTS:
        return Held(
            why_not=f"{len(items)} images in {len(groups)} groups are too few to hold a validation "
            f"share back: it needs {LEAST_IMAGES} images with {LEAST_OBJECTS} objects, in whole "
            "groups, within a quarter of them"
        )
    return Held(tuple(sorted(rows)), objects)


def _drawn(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def ap50(detector: Detector, data: TrainingSet, rows: Sequence[int]) -> float | None:
    """AP50 on rows of a training set, in 0..1; None where no image can be read.

    Measured on the network's input, which the set holds in memory: overlaps do not change when
    images and boxes are stretched alike. Of several processes each looks at its share of the rows.
    """
    height, width = detector.input_size_hw
    seen: list[tuple[int, Detections]] = []
    mine = rows[processes.rank() :: processes.count()] if processes.count() > 1 else rows
    for batch in in_batches(mine, lambda _: height * width, 8):
        readable, read = [], []
        for row in batch:
            try:
                pixels, _ = data.sample(row)
            except TrainingDataInvalid:  # told at the end of the run, when it was to be trained on
                continue
            read.append(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
            readable.append(row)
        seen += zip(readable, detector.predict(read, _MIN_SCORE), strict=True)
    every = sorted(processes.gathered(seen), key=lambda one: one[0])
    if not every:
        return None
    items = tuple(_stretched(data.items[row], width, height) for row, _ in every)
    names = detector.class_names

    def scored() -> float | None:
        found = [one for _, one in every]
        return score_detections(found, Manifest(names, items), names, "").map50

    return processes.told_by_first(scored)


def _stretched(item: ManifestItem, width: int, height: int) -> ManifestItem:
    x, y = width / item.width_px, height / item.height_px
    boxes = tuple((a * x, b * y, c * x, d * y) for a, b, c, d in item.boxes_xyxy)
    return replace(item, boxes_xyxy=boxes, width_px=width, height_px=height)
